// Threads: creation, mutexes, conditions, thread-local storage, shared descriptors and directories, exit, signals to one.
#include "t.h"
const char *name = "threads";
static __thread int tls = 5;
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cv = PTHREAD_COND_INITIALIZER;
static int count, ready, p[2];
static volatile int handled_by, seen;
static pthread_barrier_t bar;
static void *add(void *v) {
    for (int i = 0; i < 20000; i++) pthread_mutex_lock(&m), count++, pthread_mutex_unlock(&m);
    tls += (long)v;
    return (void *)(long)tls;
}
static void *waiter(void *v) {
    pthread_mutex_lock(&m);
    while (!ready) pthread_cond_wait(&cv, &m);
    pthread_mutex_unlock(&m);
    return v;
}
static void *reader(void *v) {
    char b[8];
    (void)v;
    return (void *)(long)read(p[0], b, 8);
}
static void *opener(void *v) { return (void *)(long)open(v, O_RDONLY); }
static void *mover(void *v) { return (void *)(long)chdir(v); }
static void on(int s) { (void)s, handled_by = syscall(SYS_gettid); }
static void *sleeper(void *v) {
    *(int *)v = syscall(SYS_gettid), pthread_barrier_wait(&bar);
    long r = pause();
    return (void *)(r == -1 && errno == EINTR ? (long)handled_by : 0);
}
static void *ender(void *v) {
    (void)v;
    t_ms(50);
    exit(17);
}
static void *exiter(void *v) {
    (void)v;
    syscall(SYS_exit, 3);
    return 0;
}
static void *uid(void *v) {
    (void)v;
    pthread_barrier_wait(&bar), pthread_barrier_wait(&bar);
    return (void *)(long)getuid();
}
static void *rawuid(void *v) {
    (void)v;
    return (void *)(syscall(SYS_setuid, 7) * 100 + syscall(SYS_getuid));
}
static void *after_leader(void *v) { (void)v, t_ms(100), _exit(23); }
void cases(void) {
    pthread_t t[8];
    void *r;
    int ok = 0;
    for (long i = 0; i < 8; i++) pthread_create(t + i, 0, add, (void *)i);
    for (long i = 0; i < 8; i++) pthread_join(t[i], &r), ok += (long)r == 5 + i;
    CASE("mutex", "%d", count);
    CASE("tls", "%d own %d", ok, tls);
    for (int i = 0; i < 8; i++) pthread_create(t + i, 0, waiter, (void *)1);
    t_ms(50), pthread_mutex_lock(&m), ready = 1, pthread_cond_broadcast(&cv), pthread_mutex_unlock(&m), ok = 0;
    for (int i = 0; i < 8; i++) pthread_join(t[i], &r), ok += (long)r;
    CASE("condition", "%d", ok);
    pipe(p), pthread_create(t, 0, reader, 0), t_ms(50), write(p[1], "abc", 3), pthread_join(*t, &r);
    CASE("pipe-between", "%ld", (long)r);
    t_spit("f", "x"), pthread_create(t, 0, opener, "f"), pthread_join(*t, &r);
    CASE("shared-table", "%s", OK(close((long)r)));
    mkdir("d", 0755), pthread_create(t, 0, mover, "d"), pthread_join(*t, &r);
    CASE("shared-cwd", "%s %s", R((long)r), OK(access("../d", F_OK)));
    chdir("..");
    int tid;
    t_handle(SIGUSR1, on, 0), pthread_barrier_init(&bar, 0, 2);
    pthread_create(t, 0, sleeper, &tid), pthread_barrier_wait(&bar), t_ms(50), pthread_kill(*t, SIGUSR1), pthread_join(*t, &r);
    CASE("signal-to-thread", "%s", (long)r == tid ? "that one" : "another");
    CASE("exit-in-thread", "%s", t_wait(CHILD(pthread_create(t, 0, ender, 0); for (;;) pause())));
    CASE("thread-exits-alone", "%s", t_wait(CHILD(pthread_create(t, 0, exiter, 0); t_ms(100); _exit(4))));
    CASE("leader-exits-first", "%s", t_wait(CHILD(pthread_create(t, 0, after_leader, 0); syscall(SYS_exit, 1))));
    CASE("fork-in-thread", "%s", t_wait(CHILD(pthread_create(t, 0, sleeper, &tid); pthread_barrier_wait(&bar); _exit(atoi(strchr(strstr(t_slurp("/proc/self/status"), "Pid:"), '\t')) == getpid()))));
    CASE("setuid-all", "%s", t_wait(CHILD(pthread_create(t, 0, uid, 0); pthread_barrier_wait(&bar); setuid(9); pthread_barrier_wait(&bar); pthread_join(*t, &r); _exit((long)r))));
    CASE("raw-setuid-one", "%s", t_wait(CHILD(pthread_create(t, 0, rawuid, 0); pthread_join(*t, &r); _exit((long)r * 10 + (int)syscall(SYS_getuid)))));
    CASE("kill-all", "%s", t_wait(CHILD(pthread_create(t, 0, sleeper, &tid); pthread_barrier_wait(&bar); kill(getpid(), SIGTERM); pause())));
    CASE("many", "%s", t_wait(CHILD(int n = 0; for (int k = 0; k < 10; k++) { for (int i = 0; i < 8; i++) pthread_create(t + i, 0, waiter, 0); for (int i = 0; i < 8; i++) n += pthread_join(t[i], 0) == 0; } _exit(n))));
    CASE("gettid", "%s", getpid() == syscall(SYS_gettid) ? "leader" : "?");
    CASE("close-while-reading", "%s", ({ int q[2]; pipe(q); memcpy(p, q, 8); pthread_create(t, 0, reader, 0); t_ms(50); int w = dup(q[1]); close(q[0]); close(q[1]); write(w, "z", 1); close(w); pthread_join(*t, &r); t_fmt("%ld", (long)r); }));
}
