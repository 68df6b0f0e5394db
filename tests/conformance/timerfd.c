// timerfd: one shot, interval, absolute, reading, settings.
#include "t.h"
const char *name = "timerfd";
static const char *get(int fd) {
    uint64_t v;
    return read(fd, &v, 8) < 0 ? t_errno(errno) : v == 1 ? "1" : v ? "several" : "0";
}
void cases(void) {
    struct itimerspec t = {{0, 0}, {0, 20000000}}, o;
    char b[8];
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), n = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    CASE("create", "%d %d %#x", fcntl(fd, F_GETFD), fcntl(n, F_GETFD), fcntl(n, F_GETFL));
    CASE("unset", "%s", get(n));
    CASE("once", "%s %s", R(timerfd_settime(fd, 0, &t, 0)), get(fd));
    CASE("gettime", "%s %ld %ld", R(timerfd_gettime(fd, &o)), o.it_value.tv_nsec, o.it_interval.tv_nsec);
    t.it_interval.tv_nsec = 5000000;
    timerfd_settime(fd, 0, &t, 0), t_ms(100);
    CASE("interval", "%s", get(fd));
    CASE("interval-gettime", "%s %ld %s", R(timerfd_gettime(fd, &o)), o.it_interval.tv_nsec, o.it_value.tv_nsec <= 5000000 ? "within" : "beyond");
    CASE("disarm", "%s %ld", R(timerfd_settime(fd, 0, &(struct itimerspec){}, &o)), o.it_interval.tv_nsec);
    clock_gettime(CLOCK_MONOTONIC, &t.it_value), t.it_interval.tv_nsec = 0;
    CASE("absolute-past", "%s %s", R(timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, 0)), get(fd));
    struct pollfd p = {n, POLLIN, 0};
    CASE("poll", "%s %s %#x", R(poll(&p, 1, 0)), (t = (struct itimerspec){{0, 0}, {0, 10000000}}, timerfd_settime(n, 0, &t, 0), R(poll(&p, 1, 2000))), p.revents);
    CASE("read-short", "%s %s", R(read(n, b, 4)), get(n));
    CASE("write", "%s", R(write(n, b, 8)));
    t.it_value.tv_nsec = 1000000000;
    CASE("errors", "%s %s %s %s", R(timerfd_settime(n, 0, &t, 0)), R(timerfd_settime(n, 99, &t, 0)), R(timerfd_create(99, 0)), R(timerfd_create(CLOCK_MONOTONIC, 1)));
    CASE("not-a-timer", "%s %s", R(timerfd_gettime(0, &o)), R(timerfd_gettime(99, &o)));
    CASE("bad-pointer", "%s %s", R(syscall(SYS_timerfd_settime, n, 0, BAD, 0)), R(syscall(SYS_timerfd_gettime, n, BAD)));
}
