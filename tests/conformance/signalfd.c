// signalfd: reading blocked signals as records.
#include "t.h"
const char *name = "signalfd";
void cases(void) {
    struct signalfd_siginfo i[3];
    sigset_t m;
    sigemptyset(&m), sigaddset(&m, SIGUSR1), sigaddset(&m, SIGUSR2), sigprocmask(SIG_BLOCK, &m, 0);
    int fd = signalfd(-1, &m, SFD_NONBLOCK | SFD_CLOEXEC);
    CASE("create", "%d", fcntl(fd, F_GETFD));
    CASE("empty", "%s", R(read(fd, i, sizeof i)));
    kill(getpid(), SIGUSR1);
    CASE("one", "%s signo %d code %d own %d", R(read(fd, i, sizeof i)), i[0].ssi_signo, i[0].ssi_code, (int)i[0].ssi_pid == getpid());
    union sigval v = {.sival_int = 42};
    sigqueue(getpid(), SIGUSR2, v), kill(getpid(), SIGUSR1), kill(getpid(), SIGUSR1);
    CASE("two", "%s %d %d", R(read(fd, i, sizeof i)), i[0].ssi_signo, i[1].ssi_signo);
    CASE("value", "%d code %d", i[1].ssi_int, i[1].ssi_code);
    CASE("short", "%s", R(read(fd, i, 100)));
    struct pollfd p = {fd, POLLIN, 0};
    CASE("poll", "%s %s", R(poll(&p, 1, 0)), (kill(getpid(), SIGUSR2), R(poll(&p, 1, 1000))));
    sigemptyset(&m), sigaddset(&m, SIGUSR1);
    CASE("change", "%s %s", OK(signalfd(fd, &m, 0)), R(read(fd, i, sizeof i)));
    CASE("errors", "%s %s %s", R(signalfd(99, &m, 0)), R(signalfd(0, &m, 0)), R(signalfd(-1, &m, 5)));
    pid_t c = CHILD(t_ms(50); kill(getppid(), SIGUSR1));
    fcntl(fd, F_SETFL, 0);
    CASE("wait", "%s %d", R(read(fd, i, sizeof i)), i[0].ssi_signo);
    t_wait(c);
    CASE("write", "%s", R(write(fd, i, 8)));
}
