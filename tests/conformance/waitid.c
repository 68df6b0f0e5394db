// waitid: id types, what it tells, leaving the child, pidfds.
#include "t.h"
const char *name = "waitid";
void cases(void) {
    siginfo_t i;
    pid_t c = CHILD(_exit(7));
    memset(&i, 0, sizeof i);
    CASE("nowait", "%s code %d status %d own %d signo %d", R(waitid(P_PID, c, &i, WEXITED | WNOWAIT)), i.si_code, i.si_status, i.si_pid == c, i.si_signo);
    CASE("still-there", "%s %d", R(waitid(P_PID, c, &i, WEXITED)), i.si_status);
    CASE("gone", "%s", R(waitid(P_PID, c, &i, WEXITED)));
    CASE("no-options", "%s %s", R(waitid(P_ALL, 0, &i, 0)), R(waitid(P_ALL, 0, &i, WNOHANG)));
    CASE("bad-type", "%s %s", R(waitid(99, 0, &i, WEXITED)), R(waitid(P_PID, 0, &i, WEXITED)));
    c = CHILD(raise(SIGKILL));
    CASE("killed", "%s code %d status %d", R(waitid(P_ALL, 0, &i, WEXITED)), i.si_code, i.si_status);
    c = CHILD(pause());
    i.si_pid = 99;
    CASE("nohang", "%s pid %d", R(waitid(P_PID, c, &i, WEXITED | WNOHANG)), i.si_pid);
    kill(c, SIGSTOP);
    CASE("stopped", "%s code %d status %d", R(waitid(P_PID, c, &i, WSTOPPED)), i.si_code, i.si_status);
    kill(c, SIGCONT);
    CASE("continued", "%s code %d status %d", R(waitid(P_PID, c, &i, WCONTINUED)), i.si_code, i.si_status);
    kill(c, SIGTERM);
    CASE("terminated", "%s code %d status %d", R(waitid(P_PGID, 0, &i, WEXITED)), i.si_code, i.si_status);
    c = CHILD(_exit(1));
    CASE("null-info", "%s", R(waitid(P_PID, c, 0, WEXITED)));
    c = CHILD(pause());
    int fd = syscall(SYS_pidfd_open, c, 0);
    struct pollfd p = {fd, POLLIN, 0};
    CASE("pidfd", "%s poll %s", fd >= 0 ? "ok" : "no", R(poll(&p, 1, 0)));
    CASE("pidfd-signal", "%s poll %s", R(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0)), R(poll(&p, 1, 5000)));
    CASE("pidfd-wait", "%s status %d", R(waitid(3, fd, &i, WEXITED)), i.si_status);
    CASE("pidfd-errors", "%s %s", R(syscall(SYS_pidfd_open, -1, 0)), R(syscall(SYS_pidfd_open, 1, 99)));
}
