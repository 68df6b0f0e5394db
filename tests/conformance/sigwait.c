// sigsuspend, sigtimedwait, temporary masks of ppoll, pselect6 and epoll_pwait, alarms and timers.
#include "t.h"
const char *name = "sigwait";
static volatile int hits, last;
static void hit(int s) { hits++, last = s; }
static sigset_t only(int s) {
    sigset_t m;
    sigemptyset(&m);
    if (s) sigaddset(&m, s);
    return m;
}
static int blocked(int s) {
    sigset_t m;
    sigprocmask(SIG_BLOCK, 0, &m);
    return sigismember(&m, s);
}
void cases(void) {
    sigset_t u1 = only(SIGUSR1), none = only(0);
    siginfo_t i;
    struct timespec z = {0, 0}, two = {2, 0};
    t_handle(SIGUSR1, hit, 0), t_handle(SIGALRM, hit, 0), sigprocmask(SIG_BLOCK, &u1, 0);
    CASE("timedwait-none", "%s", R(sigtimedwait(&u1, &i, &z)));
    raise(SIGUSR1);
    CASE("timedwait", "%s code %d handler %d", R(sigtimedwait(&u1, &i, &z)), i.si_code, hits);
    pid_t c = CHILD(t_ms(60); kill(getppid(), SIGUSR1));
    CASE("sigwait", "%s own %d", R(sigtimedwait(&u1, &i, &two)), i.si_pid == c);
    t_wait(c);
    CASE("timedwait-errors", "%s %s", R(sigtimedwait(&u1, 0, &(struct timespec){0, -1})), R(syscall(SYS_rt_sigtimedwait, &u1, 0, 0, 3)));
    raise(SIGUSR1);
    CASE("suspend-pending", "%s %d blocked %d", R(sigsuspend(&none)), hits, blocked(SIGUSR1));
    c = CHILD(t_ms(60); kill(getppid(), SIGUSR1));
    CASE("suspend", "%s %d", R(sigsuspend(&none)), hits);
    t_wait(c), raise(SIGUSR1);
    int p[2];
    pipe(p);
    struct pollfd w = {p[0], POLLIN, 0};
    CASE("ppoll-unblocks", "%s %d blocked %d", R(ppoll(&w, 1, &two, &none)), hits, blocked(SIGUSR1));
    c = CHILD(t_ms(60); kill(getppid(), SIGUSR1));
    CASE("ppoll-later", "%s %d", R(ppoll(&w, 1, &two, &none)), hits);
    t_wait(c);
    c = CHILD(t_ms(60); kill(getppid(), SIGUSR1); t_ms(60); write(p[1], "x", 1));
    CASE("ppoll-blocked", "%s %d", R(ppoll(&w, 1, &two, &u1)), hits);
    t_wait(c);
    sigtimedwait(&u1, 0, &z), raise(SIGUSR1);
    fd_set r;
    FD_ZERO(&r);
    CASE("pselect-unblocks", "%s %d", R(pselect(0, &r, 0, 0, &two, &none)), hits);
    raise(SIGUSR1);
    CASE("ppoll-ready-first", "%s %d", R(ppoll(&w, 1, &two, &none)), hits);
    CASE("put-off", "%s code %d", R(sigtimedwait(&u1, &i, &z)), i.si_code);
    union sigval value = {.sival_int = 77};
    sigqueue(getpid(), SIGUSR1, value);
    CASE("queued-ready-first", "%s %d", R(ppoll(&w, 1, &two, &none)), hits);
    CASE("queued-put-off", "%s code %d value %d", R(sigtimedwait(&u1, &i, &z)), i.si_code, i.si_value.sival_int);
    int e = epoll_create1(0), n = hits;
    struct epoll_event ev = {EPOLLIN, {0}};
    raise(SIGUSR1);
    CASE("epoll-pwait", "%s %d blocked %d", R(epoll_pwait(e, &ev, 1, 2000, &none)), hits - n, blocked(SIGUSR1));
    CASE("alarm", "%s %s", t_fmt("%d", alarm(100) > 0), t_fmt("%d", alarm(0) > 90));
    struct itimerval t = {{0, 0}, {0, 50000}}, o;
    char b[8];
    read(p[0], b, 8);
    CASE("alarm-into-read", "%s %s signal %d", R(setitimer(ITIMER_REAL, &t, 0)), R(read(p[0], b, 8)), last);
    t.it_interval.tv_usec = 20000, n = hits, setitimer(ITIMER_REAL, &t, 0);
    CASE("interval", "%d", WAIT_FOR(hits >= n + 3));
    CASE("getitimer", "%s %ld", R(getitimer(ITIMER_REAL, &o)), (long)o.it_interval.tv_usec);
    CASE("disarm", "%s %ld", (memset(&t, 0, sizeof t), R(setitimer(ITIMER_REAL, &t, &o))), (long)o.it_interval.tv_usec);
    CASE("setitimer-errors", "%s %s %s", R(setitimer(9, &t, 0)), (t.it_value.tv_usec = 1000000, R(setitimer(ITIMER_REAL, &t, 0))), R(syscall(SYS_setitimer, 0, BAD, 0)));
    CASE("virtual-timer", "%s", t_wait(CHILD(struct itimerval q = {{0, 0}, {0, 10000}}; t_handle(SIGVTALRM, hit, 0); hits = 0; setitimer(ITIMER_VIRTUAL, &q, 0); while (!hits) {} _exit(last))));
    timer_t id;
    struct sigevent se = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value = {.sival_int = 5}};
    struct itimerspec its = {{0, 0}, {0, 20000000}}, cur;
    CASE("timer-create", "%s %s", R(timer_create(CLOCK_MONOTONIC, &se, &id)), R(timer_settime(id, 0, &its, 0)));
    CASE("timer-signal", "%s code %d value %d", R(sigtimedwait(&u1, &i, &two)), i.si_code, i.si_value.sival_int);
    CASE("timer-gettime", "%s %ld %s", R(timer_gettime(id, &cur)), cur.it_value.tv_nsec, R(timer_getoverrun(id)));
    CASE("timer-delete", "%s %s", R(timer_delete(id)), R(syscall(SYS_timer_delete, 12345)));
    CASE("timer-errors", "%s", R(timer_create(99, &se, &id)));
    alarm(15);
    CASE("alarm-not-inherited", "%s", t_wait(CHILD(_exit(alarm(0)))));
}
