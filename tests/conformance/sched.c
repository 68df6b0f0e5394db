// Scheduling of other tasks: by pid, by process group, and who may.
#include "t.h"
const char *name = "sched";
static int get(int which, int who) { return syscall(SYS_ioprio_get, which, who); }
void cases(void) {
    struct sched_param p = {0};
    cpu_set_t c;
    sched_getaffinity(0, sizeof c, &c);
    pid_t child = CHILD(setpgid(0, 0); pause());
    WAIT_FOR(getpgid(child) == child);
    CASE("own-pid", "%s %s %s", R(sched_setscheduler(getpid(), SCHED_OTHER, &p)), R(setpriority(PRIO_PROCESS, getpid(), 0)), R(sched_setaffinity(getpid(), sizeof c, &c)));
    CASE("child", "%s %s %s", R(sched_setscheduler(child, SCHED_BATCH, &p)), R(sched_getscheduler(child)), R(sched_setaffinity(child, sizeof c, &c)));
    CASE("child-nice", "%s %s", R(setpriority(PRIO_PROCESS, child, 3)), R(getpriority(PRIO_PROCESS, child)));
    CASE("group-nice", "%s %s %s", R(setpriority(PRIO_PGRP, child, 5)), R(getpriority(PRIO_PGRP, child)), R(getpriority(PRIO_PROCESS, 0)));
    CASE("child-ioprio", "%s %d", R(syscall(SYS_ioprio_set, 1, child, 2 << 13 | 6)), get(1, child) == (2 << 13 | 6));
    CASE("group-ioprio", "%s %d", R(syscall(SYS_ioprio_set, 2, child, 2 << 13 | 7)), get(2, child) == (2 << 13 | 7));
    CASE("nobody", "%s %s %s", R(setpriority(PRIO_PROCESS, 999999, 0)), R(sched_setparam(999999, &p)), R(sched_setaffinity(999999, sizeof c, &c)));
    CASE("nobody-ioprio", "%s %s", R(get(1, 999999)), R(syscall(SYS_ioprio_set, 1, 999999, 2 << 13)));
    CASE("bad-which", "%s %s %s %s", R(setpriority(7, 0, 0)), R(getpriority(-1, 0)), R(get(0, 0)), R(get(9, 0)));
    CASE("negative", "%s %s", R(sched_setparam(-5, &p)), R(setpriority(PRIO_PROCESS, -5, 0)));
    t_wait(CHILD(setuid(1000);
        CASE("other-user", "%s %s %s %s", R(setpriority(PRIO_PROCESS, child, 6)), R(sched_setscheduler(child, SCHED_OTHER, &p)), R(sched_setaffinity(child, sizeof c, &c)), R(syscall(SYS_ioprio_set, 1, child, 2 << 13)));
        CASE("other-user-group", "%s %s", R(setpriority(PRIO_PGRP, child, 6)), R(syscall(SYS_ioprio_set, 2, child, 2 << 13)));
        CASE("other-user-reads", "%s %s %d", R(getpriority(PRIO_PROCESS, child)), R(sched_getscheduler(child)), get(1, child) == (2 << 13 | 7))));
    kill(child, SIGKILL), waitpid(child, 0, 0);
    CASE("settime", "%s %s %s", R(syscall(SYS_clock_settime, 99, &(struct timespec){1, 0})), R(syscall(SYS_clock_settime, CLOCK_BOOTTIME, &(struct timespec){1, 0})), R(syscall(SYS_clock_settime, CLOCK_REALTIME, BAD)));
}
