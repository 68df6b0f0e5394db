// TCP over IPv4 and IPv6 loopback: connections, refusals, addresses, half-closed, options, non-blocking.
#include "t.h"
const char *name = "inet_tcp";
static int family;
static union { struct sockaddr a; struct sockaddr_in v4; struct sockaddr_in6 v6; } A, B;
static socklen_t len(void) { return family == AF_INET ? sizeof A.v4 : sizeof A.v6; }
static void loopback(int port) {
    memset(&A, 0, sizeof A), A.a.sa_family = family;
    if (family == AF_INET) A.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK), A.v4.sin_port = htons(port);
    else A.v6.sin6_addr = in6addr_loopback, A.v6.sin6_port = htons(port);
}
#define N(n) t_fmt("%s-%s", family == AF_INET ? "v4" : "v6", n)
static void one(int f) {
    char b[64] = "", t[64];
    socklen_t n = sizeof B;
    int v;
    family = f;
    int l = socket(f, SOCK_STREAM, 0), c = socket(f, SOCK_STREAM, IPPROTO_TCP), x;
    loopback(0);
    CASE(N("bind"), "%s", R(bind(l, &A.a, len())));
    CASE(N("bind-again"), "%s", R(bind(l, &A.a, len())));
    CASE(N("accept-before-listen"), "%s", R(accept(l, 0, 0)));
    CASE(N("listen"), "%s", R(listen(l, 5)));
    getsockname(l, &A.a, &n);
    CASE(N("getsockname"), "len %d port %s", (int)n, A.v4.sin_port ? "given" : "none");
    CASE(N("connect"), "%s", R(connect(c, &A.a, len())));
    n = sizeof B;
    CASE(N("accept"), "%s", OK(x = accept(l, &B.a, &n)));
    CASE(N("accept-address"), "len %d %s", (int)n, inet_ntop(f, f == AF_INET ? (void *)&B.v4.sin_addr : (void *)&B.v6.sin6_addr, t, 64));
    CASE(N("transfer"), "%s %s %s", R(send(c, "hello", 5, 0)), R(recv(x, b, 5, MSG_WAITALL)), b);
    struct pollfd w = {x, POLLIN, 0};
    send(c, "abc", 3, 0), poll(&w, 1, 2000);
    CASE(N("peek"), "%s %s", R(recv(x, b, 2, MSG_PEEK)), R(recv(x, b, 64, 0)));
    CASE(N("dontwait"), "%s", R(recv(x, b, 1, MSG_DONTWAIT)));
    CASE(N("connect-connected"), "%s", R(connect(c, &A.a, len())));
    CASE(N("options"), "%s %s %s", R(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, (v = 1, &v), 4)), (n = 4, v = 0, R(getsockopt(c, IPPROTO_TCP, TCP_NODELAY, &v, &n))), v ? "on" : "off");
    CASE(N("so-error"), "%s %d", (n = 4, R(getsockopt(c, SOL_SOCKET, SO_ERROR, &v, &n))), v);
    CASE(N("keepalive"), "%s %s %d", R(setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, (v = 1, &v), 4)), (v = 0, R(getsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &v, &n))), v);
    shutdown(c, SHUT_WR), poll(&w, 1, 2000);
    CASE(N("half-closed"), "%s %s %s", R(recv(x, b, 9, 0)), R(send(x, "back", 4, 0)), R(recv(c, b, 4, MSG_WAITALL)));
    CASE(N("send-after-shutdown"), "%s", R(send(c, "x", 1, MSG_NOSIGNAL)));
    close(x), close(c);
    c = socket(f, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int r = connect(c, &A.a, len()), e = errno;
    CASE(N("nonblock-connect"), "%s", r == 0 || e == EINPROGRESS ? "done or in progress" : t_errno(e));
    w = (struct pollfd){c, POLLOUT, 0};
    CASE(N("nonblock-connect-done"), "%s %#x %s %d", R(poll(&w, 1, 2000)), w.revents, (n = 4, R(getsockopt(c, SOL_SOCKET, SO_ERROR, &v, &n))), v);
    close(accept(l, 0, 0)), close(c);
    fcntl(l, F_SETFL, O_NONBLOCK);
    CASE(N("accept-nonblock"), "%s", R(accept(l, 0, 0)));
    close(l), c = socket(f, SOCK_STREAM, 0);
    CASE(N("refused"), "%s", R(connect(c, &A.a, len())));
    close(c), c = socket(f, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(c, &A.a, len()), w = (struct pollfd){c, POLLOUT, 0}, poll(&w, 1, 2000);
    CASE(N("refused-nonblock"), "%#x %s", w.revents & (POLLERR | POLLHUP), (n = 4, v = 0, getsockopt(c, SOL_SOCKET, SO_ERROR, &v, &n), v ? t_errno(v) : "none"));
    CASE(N("not-connected"), "%s %s", R(getpeername(c, &B.a, &n)), R(send(c, "x", 1, MSG_NOSIGNAL)));
    close(c), c = socket(f, SOCK_STREAM, 0);
    CASE(N("short-address"), "%s %s", R(connect(c, &A.a, 3)), R(bind(c, BAD, len())));
}
void cases(void) {
    one(AF_INET);
    one(AF_INET6);
    family = AF_INET;
    int l = socket(AF_INET, SOCK_STREAM, 0), m = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    socklen_t n = sizeof A;
    loopback(0), bind(l, &A.a, len()), listen(l, 1), getsockname(l, &A.a, &n);
    CASE("address-in-use", "%s", R(bind(m, &A.a, len())));
    A.v4.sin_addr.s_addr = htonl(0xc0000201);
    CASE("address-not-ours", "%s", R(bind(m, &A.a, len())));
    CASE("reuseaddr", "%s", R(setsockopt(m, SOL_SOCKET, SO_REUSEADDR, &one, 4)));
    loopback(80);
    CASE("low-port-root", "%s", R(bind(m, &A.a, len())));
    CASE("family-mismatch", "%s", (A.a.sa_family = AF_INET6, R(connect(m, &A.a, len()))));
    // A big transfer through small buffers, both ends in step.
    loopback(0), l = socket(AF_INET, SOCK_STREAM, 0), bind(l, &A.a, len()), listen(l, 1), n = sizeof A, getsockname(l, &A.a, &n);
    pid_t p = CHILD(int c = socket(AF_INET, SOCK_STREAM, 0); connect(c, &A.a, len()); char *b = malloc(1 << 20); for (int i = 0; i < 1 << 20; i++) b[i] = i * 7 >> 3;
        for (int i = 0; i < 4; i++) for (int k = 0; k < 1 << 20;) k += write(c, b + k, (1 << 20) - k));
    int c = accept(l, 0, 0);
    long sum = 0, total = 0;
    static char b[30000];
    for (int k; (k = read(c, b, sizeof b)) > 0; total += k)
        for (int i = 0; i < k; i++) sum = (sum * 33 + (unsigned char)b[i]) % 1000000007;
    CASE("megabytes", "%ld %ld %s", total, sum, t_wait(p));
    struct linger lg = {1, 0};
    p = CHILD(int d = socket(AF_INET, SOCK_STREAM, 0); connect(d, &A.a, len()); setsockopt(d, SOL_SOCKET, SO_LINGER, &lg, sizeof lg); close(d));
    c = accept(l, 0, 0), t_wait(p);
    CASE("reset", "%s", R(read(c, b, 1)));
}
