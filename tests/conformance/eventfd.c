// eventfd: counter, semaphore, limits, waking.
#include "t.h"
const char *name = "eventfd";
static const char *get(int fd) {
    uint64_t v;
    ssize_t n = read(fd, &v, 8);
    return n < 0 ? t_errno(errno) : t_fmt("%llu", (unsigned long long)v);
}
static const char *put(int fd, uint64_t v) { return R(write(fd, &v, 8)); }
void cases(void) {
    char b[16];
    int e = eventfd(3, EFD_NONBLOCK), s = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
    CASE("initial", "%s %s", get(e), get(e));
    CASE("add", "%s %s %s", put(e, 5), put(e, 6), get(e));
    CASE("semaphore", "%s %s %s", get(s), get(s), get(s));
    CASE("cloexec", "%d %d", fcntl(e, F_GETFD), fcntl(s, F_GETFD));
    CASE("max", "%s %s %s", put(e, ~0ull), put(e, ~0ull - 1), put(e, 1));
    CASE("drained", "%s", get(e));
    CASE("short", "%s %s %s", R(read(e, b, 7)), R(write(e, b, 7)), R(read(s, b, 16)));
    put(e, 1);
    CASE("long", "%s", R(read(e, b, 16)));
    CASE("errors", "%s %s %s", R(eventfd(0, 4)), R(lseek(e, 0, SEEK_SET)), R(pread(e, b, 8, 0)));
    CASE("old-call", "%s", OK(close(syscall(SYS_eventfd, 1))));
    struct pollfd p = {e, POLLIN | POLLOUT, 0};
    CASE("poll-empty", "%s %#x", R(poll(&p, 1, 0)), p.revents);
    put(e, ~0ull - 1);
    CASE("poll-full", "%s %#x", R(poll(&p, 1, 0)), p.revents);
    int w = eventfd(0, 0);
    pid_t c = CHILD(t_ms(50); put(w, 7));
    CASE("wait", "%s", get(w));
    t_wait(c);
    put(w, ~0ull - 1);
    c = CHILD(t_ms(50); get(w));
    CASE("writer-waits", "%s %s", put(w, 2), get(w));
    t_wait(c);
}
