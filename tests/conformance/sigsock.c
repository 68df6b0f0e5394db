// Signals during connect, accept, recv and send of sockets.
#include "t.h"
const char *name = "sigsock";
static volatile int hits;
static void hit(int s) { (void)s, hits++; }
void cases(void) {
    char b[64];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM, 0), s[2];
    bind(l, (void *)&a, n), listen(l, 4), getsockname(l, (void *)&a, &n);
    t_handle(SIGALRM, hit, 0);
    struct itimerval t = {{0, 60000}, {0, 60000}}, off = {{0, 0}, {0, 0}};
#define WITH(call) ({ setitimer(ITIMER_REAL, &t, 0); const char *r_ = R(call); setitimer(ITIMER_REAL, &off, 0); r_; })
    CASE("accept", "%s", WITH(accept(l, 0, 0)));
    int c = socket(AF_INET, SOCK_STREAM, 0);
    CASE("connect-after", "%s", R(connect(c, (void *)&a, n)));
    int x = accept(l, 0, 0);
    CASE("recv", "%s", WITH(recv(x, b, 8, 0)));
    CASE("recvmsg", "%s", ({ struct iovec v = {b, 8}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; WITH(recvmsg(x, &m, 0)); }));
    write(c, "ab", 2);
    CASE("waitall-part", "%s", WITH(recv(x, b, 8, MSG_WAITALL)));
    CASE("poll", "%s", ({ struct pollfd p = {x, POLLIN, 0}; WITH(poll(&p, 1, 5000)); }));
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    CASE("unix-recv", "%s", WITH(read(s[0], b, 8)));
    fcntl(s[0], F_SETFL, O_NONBLOCK);
    static char big[1 << 16];
    while (write(s[0], big, sizeof big) > 0) {}
    while (write(s[0], big, 1) > 0) {}
    fcntl(s[0], F_SETFL, 0);
    CASE("unix-send-full", "%s", WITH(write(s[0], big, sizeof big)));
    int d = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un u = {.sun_family = AF_UNIX, .sun_path = "dg"};
    bind(d, (void *)&u, sizeof u);
    CASE("dgram", "%s", WITH(recvfrom(d, b, 8, 0, 0, 0)));
    CASE("hits", "%s", hits >= 7 ? "each" : "missing");
    alarm(15), signal(SIGALRM, SIG_DFL);
}
