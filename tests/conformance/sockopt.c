// socket, getsockopt, setsockopt: kinds, values, wrong arguments.
#include "t.h"
const char *name = "sockopt";
void cases(void) {
    int v = 0, t = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_UNIX, SOCK_STREAM, 0), f = open("f", O_CREAT | O_RDWR, 0600), s[2];
    socklen_t n = 4;
    struct sockaddr_in a = {.sin_family = AF_INET};
    CASE("socket-errors", "%s %s %s %s", R(socket(999, SOCK_STREAM, 0)), R(socket(AF_INET, 99, 0)), R(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP)), R(socket(AF_UNIX, SOCK_STREAM | 0x10000, 0)));
    CASE("unix-protocol", "%s %s", OK(close(socket(AF_UNIX, SOCK_STREAM, 1))), R(socket(AF_UNIX, SOCK_STREAM, 7)));
    CASE("pair-errors", "%s %s %s", R(socketpair(AF_INET, SOCK_STREAM, 0, s)), R(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD)), R(socketpair(AF_UNIX, SOCK_STREAM, 5, s)));
    CASE("type", "%s %d", R(getsockopt(t, SOL_SOCKET, SO_TYPE, &v, &n)), v);
    CASE("domain", "%s %d %s %d", R(getsockopt(t, SOL_SOCKET, SO_DOMAIN, &v, &n)), v, R(getsockopt(t, SOL_SOCKET, SO_PROTOCOL, &v, &n)), v);
    CASE("not-a-socket", "%s %s %s %s", R(getsockopt(f, SOL_SOCKET, SO_TYPE, &v, &n)), R(bind(f, (void *)&a, sizeof a)), R(listen(f, 1)), R(send(f, "x", 1, 0)));
    CASE("bad-fd", "%s %s %s", R(getsockopt(99, SOL_SOCKET, SO_TYPE, &v, &n)), R(connect(99, BAD, 1)), R(recv(99, BAD, 1, 0)));
    CASE("unknown", "%s %s %s", R(getsockopt(t, SOL_SOCKET, 9999, &v, &n)), R(getsockopt(t, 9999, 1, &v, &n)), R(setsockopt(t, SOL_SOCKET, 9999, &v, 4)));
    CASE("bad-pointer", "%s %s %s", R(getsockopt(t, SOL_SOCKET, SO_TYPE, BAD, &n)), R(getsockopt(t, SOL_SOCKET, SO_TYPE, &v, BAD)), R(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, BAD, 4)));
    CASE("short", "%s %s", R(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, &v, 2)), (n = -1, R(getsockopt(t, SOL_SOCKET, SO_TYPE, &v, &n))));
    n = 2, v = -1;
    CASE("short-get", "%s len %d value %#x", R(getsockopt(t, SOL_SOCKET, SO_TYPE, &v, &n)), (int)n, v);
    n = 4, v = 1;
    CASE("reuseaddr", "%s %s %d", R(setsockopt(t, SOL_SOCKET, SO_REUSEADDR, &v, 4)), (v = 0, R(getsockopt(t, SOL_SOCKET, SO_REUSEADDR, &v, &n))), v);
    v = 10000;
    CASE("rcvbuf-doubled", "%s %s %d", R(setsockopt(u, SOL_SOCKET, SO_RCVBUF, &v, 4)), R(getsockopt(u, SOL_SOCKET, SO_RCVBUF, &v, &n)), v);
    v = 10000;
    CASE("sndbuf-doubled", "%s %s %d", R(setsockopt(u, SOL_SOCKET, SO_SNDBUF, &v, 4)), R(getsockopt(u, SOL_SOCKET, SO_SNDBUF, &v, &n)), v);
    struct linger l = {1, 7};
    CASE("linger", "%s %s %d %d", R(setsockopt(t, SOL_SOCKET, SO_LINGER, &l, sizeof l)), (l.l_linger = 0, n = sizeof l, R(getsockopt(t, SOL_SOCKET, SO_LINGER, &l, &n))), l.l_onoff, l.l_linger);
    struct timeval tv = {0, 50000};
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    CASE("rcvtimeo", "%s %s", R(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)), R(recv(s[0], &v, 1, 0)));
    tv.tv_usec = 2000000;
    CASE("rcvtimeo-invalid", "%s", R(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)));
    CASE("read-only-options", "%s %s", R(setsockopt(t, SOL_SOCKET, SO_TYPE, &v, 4)), R(setsockopt(t, SOL_SOCKET, SO_ERROR, &v, 4)));
    CASE("unix-tcp-option", "%s", R(setsockopt(u, IPPROTO_TCP, TCP_NODELAY, &v, 4)));
    CASE("ttl", "%s %s %d", (v = 42, R(setsockopt(t, IPPROTO_IP, IP_TTL, &v, 4))), (v = 0, n = 4, R(getsockopt(t, IPPROTO_IP, IP_TTL, &v, &n))), v);
    CASE("cloexec-nonblock", "%d", ({ int k = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); fcntl(k, F_GETFD) + (fcntl(k, F_GETFL) & O_NONBLOCK); }));
    CASE("lseek-stat", "%s %o", R(lseek(t, 0, SEEK_SET)), ({ struct stat st; fstat(t, &st); st.st_mode & S_IFMT; }));
    struct msghdr m = {.msg_iovlen = 2000};
    CASE("msg-errors", "%s %s %s", R(sendmsg(s[0], BAD, 0)), R(sendmsg(s[0], &m, 0)), R(recvmsg(s[0], BAD, 0)));
    CASE("send-flags", "%s", R(send(s[0], "x", 1, MSG_OOB | MSG_NOSIGNAL)));
}
