// Process groups and sessions.
#include "t.h"
const char *name = "pgrp";
void cases(void) {
    int s;
    pid_t c;
    CASE("inherited", "%s", t_wait(CHILD(_exit(getpgrp() == getpgid(getppid()) && getsid(0) == getsid(getppid())))));
    CASE("setpgid-self", "%s", t_wait(CHILD(int r = setpgid(0, 0); _exit(r == 0 && getpgrp() == getpid()))));
    c = CHILD(t_ms(5000));
    CASE("setpgid-child", "%s %s", R(setpgid(c, c)), getpgid(c) == c ? "own" : "other");
    CASE("setpgid-back", "%s %s", R(setpgid(c, getpgrp())), getpgid(c) == getpgrp() ? "ours" : "other");
    setpgid(c, c);
    CASE("kill-group", "%s %s", R(kill(-c, SIGTERM)), t_wait(c));
    CASE("setpgid-errors", "%s %s %s", R(setpgid(0, -1)), R(setpgid(-1, 0)), R(setpgid(1, 0)));
    CASE("setpgid-no-group", "%s", t_wait(CHILD(_exit(setpgid(0, 12345) && errno == EPERM))));
    CASE("getpgid-errors", "%s %s", R(getpgid(-1)), R(getsid(-1)));
    CASE("setsid", "%s", t_wait(CHILD(pid_t r = setsid(); _exit(r == getpid() && getsid(0) == r && getpgrp() == r))));
    CASE("setsid-leader", "%s", t_wait(CHILD(setpgid(0, 0); _exit(setsid() == -1 && errno == EPERM))));
    CASE("setpgid-session-leader", "%s", t_wait(CHILD(setsid(); _exit(setpgid(0, 0) == -1 && errno == EPERM))));
    int p[2];
    char b;
    pipe(p);
    c = CHILD(setsid(); write(p[1], "x", 1); t_ms(5000));
    read(p[0], &b, 1);
    CASE("setpgid-other-session", "%s", R(setpgid(c, getpgrp())));
    kill(c, SIGKILL), waitpid(c, &s, 0);
    c = CHILD(setpgid(0, 0); pid_t k = CHILD(t_ms(5000)); signal(SIGTERM, SIG_IGN); kill(0, SIGTERM); _exit(strcmp(t_wait(k), "killed by TERM") ? 1 : 2));
    CASE("kill-zero", "%s", t_wait(c));
    CASE("tcgetpgrp", "%s %s", R(ioctl(p[0], TIOCGPGRP, &s)), R(ioctl(99, TIOCGPGRP, &s)));
    c = CHILD(char *v[] = {"sh", "-c", ":", 0}; execv("/bin/sh", v); _exit(9));
    t_ms(100);
    const char *e = R(setpgid(c, c));
    CASE("setpgid-after-exec", "%s %s", strcmp(e, "EACCES") && strcmp(e, "ESRCH") && strcmp(e, "0") ? e : "refused or gone", t_wait(c));
}
