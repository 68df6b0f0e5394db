// flock, POSIX record locks, open file description locks: who excludes whom and when they end.
#include "t.h"
const char *name = "locks";
static struct flock lk(int type, long start, long len) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}
static const char *set(int fd, int cmd, int type, long start, long len) {
    struct flock l = lk(type, start, len);
    return R(fcntl(fd, cmd, &l));
}
static volatile int hits;
static void hit(int s) { (void)s, hits++; }
void cases(void) {
    t_spit("f", "0123456789");
    int a = open("f", O_RDWR), b = open("f", O_RDWR), c = dup(a), r = open("f", O_RDONLY);
    CASE("flock", "%s %s", R(flock(a, LOCK_EX | LOCK_NB)), R(flock(b, LOCK_EX | LOCK_NB)));
    CASE("flock-dup", "%s", R(flock(c, LOCK_EX | LOCK_NB)));
    CASE("flock-shared", "%s %s", R(flock(a, LOCK_SH)), R(flock(b, LOCK_SH | LOCK_NB)));
    CASE("flock-upgrade", "%s", R(flock(a, LOCK_EX | LOCK_NB)));
    flock(a, LOCK_UN), flock(b, LOCK_UN);
    CASE("flock-errors", "%s %s %s", R(flock(99, LOCK_EX)), R(flock(a, 0)), R(flock(a, 99)));
    flock(a, LOCK_EX);
    pid_t p = CHILD(CASE("flock-inherited", "%s", R(flock(c, LOCK_EX | LOCK_NB))); flock(c, LOCK_UN));
    t_wait(p);
    CASE("flock-unlocked-by-child", "%s", R(flock(b, LOCK_EX | LOCK_NB)));
    close(b), b = open("f", O_RDWR);
    CASE("flock-ends-at-close", "%s", R(flock(a, LOCK_EX | LOCK_NB)));
    p = CHILD(alarm(0); t_handle(SIGALRM, hit, 0); struct itimerval t = {{0, 50000}, {0, 50000}}; setitimer(ITIMER_REAL, &t, 0); CASE("flock-wait-interrupted", "%s", R(flock(b, LOCK_EX))));
    t_wait(p);
    p = CHILD(t_ms(100); flock(a, LOCK_UN));
    CASE("flock-wait", "%s", R(flock(b, LOCK_EX)));
    t_wait(p), flock(b, LOCK_UN);
    CASE("posix", "%s %s", set(a, F_SETLK, F_WRLCK, 0, 5), set(b, F_SETLK, F_WRLCK, 3, 5));
    p = CHILD(struct flock l = lk(F_RDLCK, 4, 2); CASE("posix-other", "%s %s", set(a, F_SETLK, F_WRLCK, 4, 1), set(a, F_SETLK, F_WRLCK, 8, 2));
        const char *g = R(fcntl(a, F_GETLK, &l)); CASE("posix-getlk", "%s type %s from %ld len %ld by the parent %d", g, l.l_type == F_WRLCK ? "write" : "other", (long)l.l_start, (long)l.l_len, l.l_pid == getppid()));
    t_wait(p);
    CASE("posix-not-inherited", "%s", t_wait(CHILD(_exit(strcmp(set(a, F_SETLK, F_RDLCK, 0, 1), "EAGAIN") ? 1 : 7))));
    set(a, F_SETLK, F_UNLCK, 2, 2);
    p = CHILD(struct flock l = lk(F_WRLCK, 0, 0); fcntl(a, F_GETLK, &l); CASE("posix-split", "%ld %ld, free part %s", (long)l.l_start, (long)l.l_len, set(a, F_SETLK, F_WRLCK, 2, 2)));
    t_wait(p);
    close(open("f", O_RDONLY));
    CASE("posix-ends-at-any-close", "%s", t_wait(CHILD(_exit(strcmp(set(a, F_SETLK, F_WRLCK, 0, 0), "0") != 0))));
    CASE("posix-wrong-mode", "%s %s", set(r, F_SETLK, F_WRLCK, 0, 1), set(r, F_SETLK, F_RDLCK, 0, 1));
    CASE("posix-errors", "%s %s %s %s", set(99, F_SETLK, F_RDLCK, 0, 1), set(a, F_SETLK, 9, 0, 1), set(a, F_SETLK, F_RDLCK, -5, 1), R(fcntl(a, F_SETLK, BAD)));
    set(a, F_SETLK, F_UNLCK, 0, 0);
    int q[2];
    char x;
    pipe(q);
    p = CHILD(set(a, F_SETLK, F_WRLCK, 0, 1); write(q[1], "x", 1); t_ms(150));
    read(q[0], &x, 1);
    CASE("posix-wait", "%s then %s", set(b, F_SETLK, F_WRLCK, 0, 1), set(b, F_SETLKW, F_WRLCK, 0, 1));
    t_wait(p);
    // Each of two processes has one byte and wants the other's.
    int u[2];
    pipe(u);
    set(b, F_SETLK, F_WRLCK, 1, 1);
    p = CHILD(set(a, F_SETLK, F_WRLCK, 7, 1); write(q[1], "x", 1); set(a, F_SETLKW, F_WRLCK, 0, 1); _exit(0));
    read(q[0], &x, 1), t_ms(150);
    CASE("posix-deadlock", "%s", set(b, F_SETLKW, F_WRLCK, 7, 1));
    set(b, F_SETLK, F_UNLCK, 0, 0), t_wait(p);
    CASE("ofd", "%s %s %s", set(a, F_OFD_SETLK, F_WRLCK, 0, 5), set(b, F_OFD_SETLK, F_WRLCK, 0, 5), set(c, F_OFD_SETLK, F_WRLCK, 0, 9));
    struct flock l = lk(F_RDLCK, 0, 0);
    CASE("ofd-getlk", "%s pid %d", R(fcntl(b, F_OFD_GETLK, &l)), l.l_pid);
    l.l_pid = 1;
    CASE("ofd-pid", "%s", R(fcntl(b, F_OFD_SETLK, &l)));
    close(a);
    CASE("ofd-kept-by-dup", "%s", set(b, F_OFD_SETLK, F_WRLCK, 0, 1));
    close(c);
    CASE("ofd-ends-at-last-close", "%s", set(b, F_OFD_SETLK, F_WRLCK, 0, 1));
}
