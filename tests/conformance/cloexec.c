// What of the descriptor table lives over execve.
#include "t.h"
const char *name = "cloexec";
int again(int c, char **v) {
    char b[512] = "";
    (void)c;
    for (int fd = 3; fd < 40; fd++)
        if (fcntl(fd, F_GETFD) >= 0) strcat(b, t_fmt(" %d", fd));
    CASE(v[2], "open:%s", b);
    char x[4] = "";
    CASE(t_fmt("%s-position", v[2]), "%s %.3s", R(read(3, x, 3)), x);
    return 0;
}
static char self[PATH_MAX];
static void run(const char *how) {
    char *v[] = {self, "x", (char *)how, 0};
    execv("/proc/self/exe", v);
    CASE(how, "exec: %s", t_errno(errno));
}
void cases(void) {
    strcpy(self, name);
    t_spit("f", "0123456789");
    int a = open("f", O_RDONLY), b = open("f", O_RDONLY | O_CLOEXEC), p[2], e[2];
    pipe2(p, O_CLOEXEC), pipe(e);
    lseek(a, 4, SEEK_SET);
    CASE("before", "%d %d %d %d %d %d", a, b, p[0], p[1], e[0], e[1]);
    t_wait(CHILD(run("plain")));
    t_wait(CHILD(fcntl(b, F_SETFD, 0); fcntl(e[0], F_SETFD, FD_CLOEXEC); run("changed")));
    t_wait(CHILD(dup2(b, 20); dup3(a, 21, O_CLOEXEC); run("dup")));
    close_range(3, 39, 4);
    dup2(1, 3);
    t_wait(CHILD(run("close-range")));
    // A table shared with another task is unshared by execve: the other keeps what is closed here.
    close(3), a = open("f", O_RDONLY), b = open("f", O_RDONLY | O_CLOEXEC);
    t_wait(CHILD(pid_t q = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0); if (!q) run("shared-table"); t_wait(q); CASE("shared-table-after", "%d", fcntl(4, F_GETFD))));
    int pf[2];
    pipe2(pf, O_CLOEXEC);
    pid_t q = CHILD(run("close-tells"));
    char x;
    close(pf[1]);
    const char *end = R(read(pf[0], &x, 1));
    t_wait(q);
    CASE("end-of-pipe-at-exec", "%s", end);
}
