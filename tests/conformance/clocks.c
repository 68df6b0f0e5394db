// Clocks and sleeping.
#include "t.h"
const char *name = "clocks";
void cases(void) {
    struct timespec a, b, r;
    struct timeval v;
    struct timezone z = {9, 9};
    static const int ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    int ok = 0, res = 0, forward = 0;
    for (unsigned i = 0; i < LEN(ids); i++) {
        ok += syscall(SYS_clock_gettime, ids[i], &a) == 0;
        res += clock_getres(ids[i], &r) == 0 && r.tv_sec == 0 && r.tv_nsec > 0;
        syscall(SYS_clock_gettime, ids[i], &b);
        forward += b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec);
    }
    CASE("all", "%d gettime %d getres %d forward", ok, res, forward);
    CASE("errors", "%s %s %s", R(syscall(SYS_clock_gettime, 99, &a)), R(syscall(SYS_clock_getres, 99, &a)), R(syscall(SYS_clock_gettime, 0, BAD)));
    CASE("gettimeofday", "%s %s %d", R(syscall(SYS_gettimeofday, &v, &z)), labs(v.tv_sec - time(0)) < 3 ? "agrees" : "differs", z.tz_minuteswest);
    CASE("time", "%s", labs(syscall(SYS_time, 0) - time(0)) < 3 ? "agrees" : "differs");
    CASE("settime-refused", "%s", R(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &a)));
    long t = t_now();
    a = (struct timespec){0, 60000000};
    CASE("nanosleep", "%s %s", R(nanosleep(&a, 0)), t_now() - t >= 60 ? "whole" : "short");
    CASE("nanosleep-errors", "%s %s %s", (a.tv_nsec = 1000000000, R(nanosleep(&a, 0))), (a = (struct timespec){-1, 0}, R(nanosleep(&a, 0))), R(syscall(SYS_nanosleep, BAD, 0)));
    clock_gettime(CLOCK_MONOTONIC, &a);
    a.tv_nsec += 50000000, a.tv_sec += a.tv_nsec / 1000000000, a.tv_nsec %= 1000000000, t = t_now();
    CASE("absolute", "%d %s", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &a, 0), t_now() - t >= 48 ? "whole" : "short");
    CASE("absolute-past", "%d", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &a, 0));
    CASE("clock-nanosleep-errors", "%s %s", t_errno(clock_nanosleep(99, 0, &a, 0)), t_errno(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &a, 0)));
    struct timex x = {0};
    CASE("adjtimex", "%s", OK(syscall(SYS_adjtimex, &x)));
    clockid_t c;
    CASE("cpu-clock", "%d %s", clock_getcpuclockid(getpid(), &c), R(clock_gettime(c, &a)));
}
