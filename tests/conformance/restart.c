// Which calls start again after a handler: with SA_RESTART, without, and those that never do.
#include "t.h"
const char *name = "restart";
static volatile int *shared; // with the child that signals, which waits for each to be handled
#define hits (*shared)
static void hit(int s) { (void)s, hits++; }
// A child sleeps, signals, sleeps, and then does what ends the call.
static int p[2], fu;
static const char *E(long r) { return r == -1 ? t_errno(errno) : t_fmt("%ld", r); }
// Runs `call` with a signal coming every 60 ms, three times, then `end` in the child.
#define UNDER(flags, call, end) ({ t_handle(SIGUSR1, hit, flags); hits = 0; pid_t me_ = getpid(); \
    pid_t c_ = CHILD(for (int i = 0; i < 3; i++) { t_ms(60); kill(me_, SIGUSR1); WAIT_FOR(hits > i); } t_ms(60); end; t_ms(400)); \
    const char *e_ = E(call); int h_ = hits; kill(c_, SIGKILL); t_wait(c_); t_fmt("%s %s", e_, h_ == 3 ? "after three" : h_ ? "at once" : "without"); })
void cases(void) {
    char b[64];
    int s[2];
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pipe(p);
    CASE("read-restart", "%s", UNDER(SA_RESTART, read(p[0], b, 8), write(p[1], "abc", 3)));
    CASE("read-no-restart", "%s", UNDER(0, read(p[0], b, 8), write(p[1], "abc", 3)));
    while (fcntl(p[0], F_SETFL, O_NONBLOCK), read(p[0], b, 64) > 0) {}
    fcntl(p[0], F_SETFL, 0);
    CASE("wait-restart", "%s", ({ const char *r = UNDER(SA_RESTART, waitpid(c_, 0, 0) == c_ ? 0 : -1, _exit(0)); r; }));
    CASE("wait-no-restart", "%s", UNDER(0, waitpid(c_, 0, 0) == c_ ? 0 : -1, _exit(0)));
    struct timespec ts = {0, 350000000}, rem = {9, 9};
    CASE("nanosleep", "%s left %s", UNDER(SA_RESTART, nanosleep(&ts, &rem), (void)0), rem.tv_sec == 0 && rem.tv_nsec < 340000000 ? "some" : "wrong");
    CASE("clock-nanosleep", "%s", UNDER(SA_RESTART, ({ int e = clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, 0); errno = e; e ? -1 : 0; }), (void)0));
    struct pollfd w = {p[0], POLLIN, 0};
    CASE("poll", "%s", UNDER(SA_RESTART, poll(&w, 1, 2000), write(p[1], "abc", 3)));
    fd_set r;
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    CASE("select", "%s", UNDER(SA_RESTART, select(p[0] + 1, &r, 0, 0, 0), write(p[1], "abc", 3)));
    while (fcntl(p[0], F_SETFL, O_NONBLOCK), read(p[0], b, 64) > 0) {}
    fcntl(p[0], F_SETFL, 0);
    int e = epoll_create1(0);
    struct epoll_event ev = {EPOLLIN, {0}};
    epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev);
    CASE("epoll", "%s", UNDER(SA_RESTART, epoll_wait(e, &ev, 1, 2000), (void)0));
    CASE("pause", "%s", UNDER(SA_RESTART, pause(), (void)0));
    CASE("futex-restart", "%s", UNDER(SA_RESTART, syscall(SYS_futex, &fu, FUTEX_WAIT, 0, &(struct timespec){0, 350000000}, 0, 0), (void)0));
    CASE("futex-no-restart", "%s", UNDER(0, syscall(SYS_futex, &fu, FUTEX_WAIT, 0, 0, 0, 0), (void)0));
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    CASE("recv-restart", "%s", UNDER(SA_RESTART, recv(s[0], b, 8, 0), write(s[1], "abc", 3)));
    CASE("recv-no-restart", "%s", UNDER(0, recv(s[0], b, 8, 0), (void)0));
    struct timeval tv = {2, 0};
    setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    CASE("recv-with-timeout", "%s", UNDER(SA_RESTART, recv(s[0], b, 8, 0), (void)0));
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "restart-sock"};
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(l, (void *)&a, sizeof a), listen(l, 1);
    CASE("accept-restart", "%s", UNDER(SA_RESTART, accept(l, 0, 0) < 0 ? -1 : 0, ({ int c = socket(AF_UNIX, SOCK_STREAM, 0); connect(c, (void *)&a, sizeof a); })));
    CASE("accept-no-restart", "%s", UNDER(0, accept(l, 0, 0), (void)0));
    fcntl(p[1], F_SETPIPE_SZ, 4096);
    write(p[1], malloc(4096), 4096);
    CASE("write-restart", "%s", UNDER(SA_RESTART, write(p[1], b, 8), ({ char x[4096]; read(p[0], x, 4096); })));
    fcntl(p[1], F_SETFL, O_NONBLOCK);
    while (write(p[1], b, 8) > 0) {}
    fcntl(p[1], F_SETFL, 0);
    CASE("write-no-restart", "%s", UNDER(0, write(p[1], b, 8), (void)0));
    int f = open("lock", O_CREAT | O_RDWR, 0600), g = open("lock", O_RDWR);
    flock(f, LOCK_EX);
    CASE("flock-no-restart", "%s", UNDER(0, flock(g, LOCK_EX), (void)0));
    CASE("flock-restart", "%s", UNDER(SA_RESTART, flock(g, LOCK_EX), flock(f, LOCK_UN)));
    sigset_t m;
    sigemptyset(&m), sigaddset(&m, SIGUSR2), sigprocmask(SIG_BLOCK, &m, 0);
    CASE("sigtimedwait", "%s", UNDER(SA_RESTART, sigtimedwait(&m, 0, &(struct timespec){2, 0}), (void)0));
    CASE("sigsuspend", "%s", UNDER(SA_RESTART, (sigemptyset(&m), sigsuspend(&m)), (void)0));
    // A signal without a handler does not end a call that it does not end the process of.
    signal(SIGUSR1, SIG_IGN);
    CASE("ignored", "%s", ({ pid_t me = getpid(), c = CHILD(t_ms(60); kill(me, SIGUSR1); kill(me, SIGWINCH); t_ms(60); write(s[1], "zz", 2)); const char *k = R(read(s[0], b, 8)); t_wait(c); k; }));
}
