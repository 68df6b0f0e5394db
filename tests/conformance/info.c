// uname, sysinfo, limits, usage, times, scheduling, cpu: what the system says about itself.
#include "t.h"
const char *name = "info";
void cases(void) {
    struct utsname u;
    struct sysinfo s;
    struct rlimit l, o;
    struct rusage r;
    struct tms t;
    CASE("uname", "%s %s %s %s", R(uname(&u)), u.sysname, u.machine, u.nodename);
    CASE("uname-bad", "%s", R(uname(BAD)));
    char h[65] = "";
    CASE("hostname", "%s %s", R(gethostname(h, 64)), h);
    CASE("sethostname-user", "%s", t_wait(CHILD(setuid(1000); _exit(sethostname("x", 1) == -1 && errno == EPERM))));
    CASE("sysinfo", "%s ram %d procs %d unit %d", R(sysinfo(&s)), s.totalram > 0, s.procs > 0, s.mem_unit > 0);
    CASE("nofile", "%s %ld %ld", R(getrlimit(RLIMIT_NOFILE, &l)), (long)l.rlim_cur, (long)l.rlim_max);
    o = l, l.rlim_cur = 100;
    CASE("setrlimit", "%s %ld", R(setrlimit(RLIMIT_NOFILE, &l)), (getrlimit(RLIMIT_NOFILE, &l), (long)l.rlim_cur));
    CASE("prlimit", "%s %ld", R(prlimit(0, RLIMIT_NOFILE, &o, &l)), (long)l.rlim_cur);
    l.rlim_cur = 10, l.rlim_max = 5;
    CASE("limit-errors", "%s %s %s %s", R(setrlimit(RLIMIT_NOFILE, &l)), R(getrlimit(99, &l)), R(prlimit(999999, RLIMIT_NOFILE, 0, &l)), R(syscall(SYS_getrlimit, RLIMIT_NOFILE, BAD)));
    CASE("lower-hard", "%s", t_wait(CHILD(l.rlim_cur = l.rlim_max = 50; setrlimit(RLIMIT_NOFILE, &l); setuid(1000); l.rlim_max = 60; _exit(setrlimit(RLIMIT_NOFILE, &l) == -1 && errno == EPERM))));
    CASE("inherited", "%s", t_wait(CHILD(l.rlim_cur = l.rlim_max = 55; setrlimit(RLIMIT_NOFILE, &l); _exit(WEXITSTATUS(system("exit `ulimit -n`"))))));
    CASE("stack", "%s %s", R(getrlimit(RLIMIT_STACK, &l)), l.rlim_cur > 100000 ? "sane" : "small");
    CASE("getrusage", "%s %s %s", R(getrusage(RUSAGE_SELF, &r)), R(getrusage(RUSAGE_CHILDREN, &r)), R(getrusage(99, &r)));
    CASE("rusage-thread", "%s %d", R(getrusage(RUSAGE_THREAD, &r)), r.ru_maxrss > 0);
    CASE("times", "%s %s", OK(times(&t)), R(syscall(SYS_times, BAD)));
    cpu_set_t c;
    CPU_ZERO(&c);
    CASE("affinity", "%s %d", OK(syscall(SYS_sched_getaffinity, 0, sizeof c, &c)), CPU_COUNT(&c) > 0);
    CASE("affinity-set", "%s %s", R(sched_setaffinity(0, sizeof c, &c)), R(syscall(SYS_sched_getaffinity, 0, 1, &c)));
    unsigned cpu, node;
    CASE("getcpu", "%s", R(syscall(SYS_getcpu, &cpu, &node, 0)));
    struct sched_param p = {0};
    CASE("scheduler", "%s %s %d", R(sched_getscheduler(0)), R(sched_getparam(0, &p)), p.sched_priority);
    CASE("scheduler-errors", "%s %s %s", R(sched_getscheduler(-1)), R(sched_setscheduler(0, 99, &p)), R(sched_getparam(999999, &p)));
    CASE("priorities", "%s %s %s", R(sched_get_priority_max(SCHED_FIFO)), R(sched_get_priority_min(SCHED_OTHER)), R(sched_get_priority_max(99)));
    CASE("yield", "%s", R(sched_yield()));
    struct timespec ts;
    CASE("rr-interval", "%s", R(sched_rr_get_interval(0, &ts)));
    CASE("nice", "%s %s %s", (nice(5), R(getpriority(PRIO_PROCESS, 0))), R(setpriority(PRIO_PROCESS, 0, 7)), R(getpriority(PRIO_PROCESS, 0)));
    CASE("priority-errors", "%s %s", R(getpriority(99, 0)), R(getpriority(PRIO_PROCESS, 999999)));
    CASE("cpus", "%s", sysconf(_SC_NPROCESSORS_ONLN) > 0 ? "some" : "none");
    unsigned char q[32] = {0};
    CASE("getrandom", "%s %s %s", R(syscall(SYS_getrandom, q, 32, 0)), R(syscall(SYS_getrandom, q, 1, 99)), R(syscall(SYS_getrandom, BAD, 1, 0)));
    CASE("ioprio", "%s", R(syscall(SYS_ioprio_get, 1, 0)));
}
