// futex: wait, wake, requeue, bitset, priority inheritance, robust lists, wrong arguments.
#include "t.h"
const char *name = "futex";
static int *w;
static long fx(int *a, int op, int v, void *t, int *b, int c) { return syscall(SYS_futex, a, op, v, t, b, c); }
void cases(void) {
    struct timespec z = {0, 20000000};
    w = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CASE("wait-changed", "%s", R(fx(w, FUTEX_WAIT, 1, 0, 0, 0)));
    CASE("wait-time-out", "%s", R(fx(w, FUTEX_WAIT, 0, &z, 0, 0)));
    CASE("wake-none", "%s", R(fx(w, FUTEX_WAKE, 5, 0, 0, 0)));
    CASE("errors", "%s %s %s %s", R(fx((int *)BAD, FUTEX_WAIT, 0, 0, 0, 0)), R(fx((int *)((char *)w + 1), FUTEX_WAIT, 0, 0, 0, 0)), R(fx(w, 999, 0, 0, 0, 0)), R(fx(w, FUTEX_WAIT, 0, BAD, 0, 0)));
    CASE("bad-time", "%s", R(fx(w, FUTEX_WAIT, 0, &(struct timespec){0, -5}, 0, 0)));
    pid_t c[3];
    for (int i = 0; i < 3; i++) c[i] = CHILD(__atomic_add_fetch(w + 1, 1, 5); _exit(fx(w, FUTEX_WAIT, 0, 0, 0, 0) ? 1 : 0));
    WAIT_FOR(__atomic_load_n(w + 1, 5) == 3), t_ms(150);
    CASE("requeue", "%s", R(fx(w, FUTEX_CMP_REQUEUE, 1, (void *)9, w + 2, 0)));
    CASE("wake-requeued", "%s %s", R(fx(w + 2, FUTEX_WAKE, 9, 0, 0, 0)), R(fx(w, FUTEX_WAKE, 9, 0, 0, 0)));
    CASE("ended", "%s %s %s", t_wait(c[0]), t_wait(c[1]), t_wait(c[2]));
    CASE("requeue-changed", "%s", R(fx(w, FUTEX_CMP_REQUEUE, 1, (void *)1, w + 2, 7)));
    c[0] = CHILD(_exit(fx(w, FUTEX_WAIT_BITSET, 0, 0, 0, 2) ? 1 : 0));
    t_ms(100);
    CASE("bitset", "%s %s %s", R(fx(w, FUTEX_WAKE_BITSET, 1, 0, 0, 1)), (WAIT_FOR(fx(w, FUTEX_WAKE_BITSET, 1, 0, 0, 2) == 1) ? "1" : "0"), t_wait(c[0]));
    CASE("bitset-zero", "%s", R(fx(w, FUTEX_WAIT_BITSET, 0, 0, 0, 0)));
    w[4] = 0;
    CASE("lock-pi", "%s %d", R(fx(w + 4, FUTEX_LOCK_PI, 0, 0, 0, 0)), w[4] == getpid());
    CASE("lock-pi-own", "%s", R(fx(w + 4, FUTEX_LOCK_PI, 0, 0, 0, 0)));
    CASE("trylock-pi-other", "%s", t_wait(CHILD(_exit(fx(w + 4, FUTEX_TRYLOCK_PI, 0, 0, 0, 0) == -1 && errno == EAGAIN))));
    CASE("unlock-pi", "%s %d", R(fx(w + 4, FUTEX_UNLOCK_PI, 0, 0, 0, 0)), w[4]);
    CASE("unlock-pi-not-mine", "%s", R(fx(w + 4, FUTEX_UNLOCK_PI, 0, 0, 0, 0)));
    void *head;
    size_t len;
    CASE("robust-list", "%s %d", R(syscall(SYS_get_robust_list, 0, &head, &len)), (int)len);
    CASE("robust-list-errors", "%s %s", R(syscall(SYS_set_robust_list, head, 5)), R(syscall(SYS_get_robust_list, 999999, &head, &len)));
    pthread_mutexattr_t a;
    pthread_mutex_t *m = (void *)(w + 100);
    pthread_mutexattr_init(&a), pthread_mutexattr_setpshared(&a, 1), pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST), pthread_mutex_init(m, &a);
    t_wait(CHILD(pthread_mutex_lock(m)));
    CASE("robust-owner-died", "%s", t_errno(pthread_mutex_lock(m)));
    CASE("robust-consistent", "%d %d", pthread_mutex_consistent(m), pthread_mutex_unlock(m));
    c[0] = CHILD(pthread_mutex_lock(m); w[8] = 1; pause());
    WAIT_FOR(__atomic_load_n(w + 8, 5)), kill(c[0], SIGKILL);
    CASE("robust-killed", "%s", t_errno(pthread_mutex_lock(m)));
    t_wait(c[0]);
    // The same word of a file, mapped twice at different addresses.
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    ftruncate(fd, 4096);
    int *x = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *y = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    c[0] = CHILD(_exit(fx(x, FUTEX_WAIT, 0, &(struct timespec){5, 0}, 0, 0) ? 1 : 0));
    CASE("on-file", "%s %s", WAIT_FOR(fx(y, FUTEX_WAKE, 1, 0, 0, 0) == 1) ? "woken" : "lost", t_wait(c[0]));
}
