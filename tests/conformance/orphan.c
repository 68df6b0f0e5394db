// Orphans get a new parent; subreapers; the parent-death signal; process name.
#include "t.h"
const char *name = "orphan";
void cases(void) {
    int p[2], s;
    char b[64] = "";
    pipe(p);
    pid_t c = CHILD(pid_t me = getpid(); if (fork() == 0) { WAIT_FOR(getppid() != me); int n = getppid() == 1; write(p[1], n ? "init" : "other", 5); _exit(0); } _exit(0));
    t_wait(c);
    CASE("to-init", "%s %.4s", R(read(p[0], b, 5)), b);
    CASE("subreaper", "%s %s %d", R(prctl(PR_SET_CHILD_SUBREAPER, 1)), (s = 0, R(prctl(PR_GET_CHILD_SUBREAPER, &s))), s);
    c = CHILD(if (fork() == 0) { t_ms(50); _exit(44); } _exit(0));
    t_wait(c);
    pid_t o = wait(&s);
    CASE("adopted", "%s %s", o > 0 && o != c ? "another child" : "?", t_status(s));
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    pipe(p);
    c = CHILD(close(p[0]); pid_t k = CHILD(prctl(PR_SET_PDEATHSIG, SIGKILL); write(p[1], "x", 1); pause()); (void)k; char r; (void)r; t_ms(100); _exit(0));
    close(p[1]), read(p[0], b, 1), t_wait(c);
    CASE("pdeathsig", "%s", R(read(p[0], b, 1)));
    CASE("pdeathsig-get", "%s %s %d", R(prctl(PR_SET_PDEATHSIG, 10)), R(prctl(PR_GET_PDEATHSIG, &s)), s);
    CASE("pdeathsig-fork", "%s", t_wait(CHILD(int d = -1; prctl(PR_GET_PDEATHSIG, &d); _exit(d))));
    CASE("pdeathsig-bad", "%s", R(prctl(PR_SET_PDEATHSIG, 999)));
}
