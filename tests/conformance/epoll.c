// epoll: ctl and its errors, level, edge and one-shot, nested, what dup and close do.
#include "t.h"
const char *name = "epoll";
static int E;
static const char *ctl(int op, int fd, uint32_t ev, uint64_t data) {
    struct epoll_event e = {ev, {.u64 = data}};
    return R(epoll_ctl(E, op, fd, &e));
}
static const char *wait_(int ep, int ms) {
    struct epoll_event e[8];
    int n = epoll_wait(ep, e, 8, ms);
    if (n < 0) return t_errno(errno);
    char *b = t_text();
    sprintf(b, "%d", n);
    for (int i = 0; i < n; i++) sprintf(b + strlen(b), " %llu:%#x", (unsigned long long)e[i].data.u64, e[i].events);
    return b;
}
void cases(void) {
    int p[2], f = open("f", O_CREAT | O_RDWR, 0644);
    char b[16];
    struct epoll_event ev[2];
    pipe(p);
    E = epoll_create1(EPOLL_CLOEXEC);
    CASE("create", "%d %s %s %s", fcntl(E, F_GETFD), R(epoll_create1(1)), R(epoll_create(0)), OK(close(epoll_create(1))));
    CASE("add", "%s %s", ctl(EPOLL_CTL_ADD, p[0], EPOLLIN, 7), wait_(E, 0));
    CASE("add-twice", "%s", ctl(EPOLL_CTL_ADD, p[0], EPOLLIN, 7));
    CASE("add-file", "%s", ctl(EPOLL_CTL_ADD, f, EPOLLIN, 7));
    CASE("add-self", "%s", ctl(EPOLL_CTL_ADD, E, EPOLLIN, 7));
    CASE("add-bad", "%s %s", ctl(EPOLL_CTL_ADD, 99, EPOLLIN, 7), R(epoll_ctl(f, EPOLL_CTL_ADD, p[0], ev)));
    CASE("mod-missing", "%s %s", ctl(EPOLL_CTL_MOD, p[1], EPOLLIN, 7), ctl(EPOLL_CTL_DEL, p[1], 0, 0));
    CASE("bad-op", "%s", ctl(9, p[0], EPOLLIN, 7));
    CASE("bad-pointer", "%s %s", R(epoll_ctl(E, EPOLL_CTL_ADD, p[1], BAD)), R(epoll_ctl(E, EPOLL_CTL_DEL, p[0], 0)));
    CASE("wait-errors", "%s %s %s %s", R(epoll_wait(99, ev, 1, 0)), R(epoll_wait(f, ev, 1, 0)), R(epoll_wait(E, ev, 0, 0)), R(epoll_wait(E, ev, -1, 0)));
    ctl(EPOLL_CTL_ADD, p[0], EPOLLIN, 7);
    write(p[1], "ab", 2);
    CASE("level", "%s, %s", wait_(E, 0), wait_(E, 0));
    CASE("wait-bad-pointer", "%s", R(epoll_wait(E, BAD, 1, 0)));
    CASE("mod", "%s %s", ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 8), wait_(E, 0));
    CASE("edge-quiet", "%s", wait_(E, 0));
    write(p[1], "c", 1);
    CASE("edge-again", "%s", wait_(E, 0));
    CASE("oneshot", "%s %s", ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 9), wait_(E, 0));
    write(p[1], "d", 1);
    CASE("oneshot-off", "%s", wait_(E, 0));
    CASE("oneshot-rearm", "%s %s", ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 9), wait_(E, 0));
    ctl(EPOLL_CTL_ADD, p[1], EPOLLOUT, 1);
    CASE("several", "%s %s", ctl(EPOLL_CTL_MOD, p[0], EPOLLIN, 2), wait_(E, 0)[0] == '2' ? "two" : "other");
    CASE("max-one", "%s", R(epoll_wait(E, ev, 1, 0)));
    CASE("del", "%s %s", ctl(EPOLL_CTL_DEL, p[1], 0, 0), wait_(E, 0));
    int outer = epoll_create1(0);
    struct epoll_event n = {EPOLLIN, {.u64 = 5}};
    CASE("nested", "%s %s", R(epoll_ctl(outer, EPOLL_CTL_ADD, E, &n)), wait_(outer, 0));
    CASE("nested-loop", "%s", ctl(EPOLL_CTL_ADD, outer, EPOLLIN, 1));
    struct pollfd q = {E, POLLIN, 0};
    CASE("poll-of-epoll", "%s %#x", R(poll(&q, 1, 0)), q.revents);
    read(p[0], b, 16);
    CASE("nested-quiet", "%s", wait_(outer, 0));
    int d = dup(p[0]);
    close(p[0]);
    write(p[1], "x", 1);
    CASE("closed-but-dup", "%s", wait_(E, 0));
    close(d);
    CASE("closed", "%s", wait_(E, 0));
    pipe(p), ctl(EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLRDHUP, 3);
    pid_t c = CHILD(t_ms(50); write(p[1], "x", 1));
    CASE("woken", "%s", wait_(E, 5000));
    t_wait(c), read(p[0], b, 1), close(p[1]);
    CASE("hangup", "%s", wait_(E, 0));
    int s[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    ctl(EPOLL_CTL_DEL, p[0], 0, 0), ctl(EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, 4);
    CASE("socket-edge", "%s, %s", wait_(E, 0), wait_(E, 0));
    write(s[1], "x", 1);
    CASE("socket-edge-in", "%s", wait_(E, 0));
    close(s[1]);
    CASE("socket-closed", "%s", wait_(E, 0));
    long t = t_now();
    ctl(EPOLL_CTL_DEL, s[0], 0, 0);
    CASE("time-out", "%s %s", wait_(E, 50), t_now() - t >= 50 ? "waited" : "early");
    struct timespec ts = {0, 10000000};
    CASE("pwait2", "%s %s", R(syscall(SYS_epoll_pwait2, E, ev, 1, &ts, 0, 8)), R(syscall(SYS_epoll_pwait, E, ev, 1, 0, 0, 8)));
    CASE("pwait-set-size", "%s", R(syscall(SYS_epoll_pwait, E, ev, 1, 0, &ts, 3)));
    pipe(p);
    CASE("exclusive", "%s %s", ctl(EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLEXCLUSIVE, 1), ctl(EPOLL_CTL_MOD, p[0], EPOLLIN, 1));
}
