// Unix datagram and sequenced-packet sockets: boundaries, truncation, addresses.
#include "t.h"
const char *name = "unix_dgram";
static socklen_t un(struct sockaddr_un *a, const char *path) {
    memset(a, 0, sizeof *a), a->sun_family = AF_UNIX, strcpy(a->sun_path, path);
    return offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1;
}
void cases(void) {
    struct sockaddr_un a, p;
    socklen_t n, pn = sizeof p;
    char b[64] = "";
    int s[2], q, r, v;
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    write(s[0], "one", 3), write(s[0], "three", 5), write(s[0], "", 0);
    CASE("fionread", "%s %d", R(ioctl(s[1], FIONREAD, &v)), v);
    CASE("boundaries", "%s %s %s", R(read(s[1], b, 64)), R(read(s[1], b, 64)), R(read(s[1], b, 64)));
    write(s[0], "truncated", 9), write(s[0], "next", 4);
    CASE("truncated", "%s %s", R(recv(s[1], b, 4, 0)), R(recv(s[1], b, 64, 0)));
    write(s[0], "truncated", 9);
    CASE("msg-trunc", "%s", R(recv(s[1], b, 4, MSG_TRUNC)));
    CASE("empty", "%s", R(recv(s[1], b, 4, MSG_DONTWAIT)));
    write(s[0], "peek", 4);
    CASE("peek", "%s %s %s", R(recv(s[1], b, 2, MSG_PEEK)), R(recv(s[1], b, 64, MSG_PEEK | MSG_TRUNC)), R(recv(s[1], b, 64, 0)));
    q = socket(AF_UNIX, SOCK_DGRAM, 0), r = socket(AF_UNIX, SOCK_DGRAM, 0);
    n = un(&a, "q");
    CASE("bind", "%s", R(bind(q, (void *)&a, n)));
    CASE("unnamed-sender", "%s %s %d", R(sendto(r, "hi", 2, 0, (void *)&a, n)), R(recvfrom(q, b, 64, 0, (void *)&p, &pn)), (int)pn);
    struct sockaddr_un ra;
    socklen_t rn = un(&ra, "r");
    bind(r, (void *)&ra, rn), pn = sizeof p;
    CASE("named-sender", "%s %s %s", R(sendto(r, "hi", 2, 0, (void *)&a, n)), R(recvfrom(q, b, 64, 0, (void *)&p, &pn)), p.sun_path);
    CASE("not-connected", "%s", R(write(r, "x", 1)));
    CASE("connect", "%s %s %s", R(connect(r, (void *)&a, n)), R(write(r, "x", 1)), R(read(q, b, 64)));
    connect(q, (void *)&ra, rn);
    int o = socket(AF_UNIX, SOCK_DGRAM, 0);
    CASE("connected-elsewhere", "%s", R(sendto(o, "x", 1, 0, (void *)&a, n)));
    close(q);
    CASE("receiver-closed", "%s", R(write(r, "x", 1)));
    CASE("listen", "%s %s", R(listen(r, 1)), R(accept(r, 0, 0)));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CASE("disconnect", "%s %s", R(connect(r, &none, sizeof none)), R(write(r, "x", 1)));
    CASE("too-big", "%s", R(send(s[0], malloc(1 << 20), 1 << 20, MSG_DONTWAIT)));
    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s);
    write(s[0], "abc", 3), write(s[0], "defgh", 5);
    CASE("seqpacket", "%s %s", R(read(s[1], b, 64)), R(read(s[1], b, 2)));
    struct iovec io = {b, 3};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
    write(s[0], "defgh", 5);
    CASE("seqpacket-trunc-flag", "%s %#x", R(recvmsg(s[1], &m, 0)), m.msg_flags);
    CASE("seqpacket-end", "%s %s", (write(s[0], "z", 1), close(s[0]), R(read(s[1], b, 9))), R(read(s[1], b, 9)));
    q = socket(AF_UNIX, SOCK_SEQPACKET, 0), r = socket(AF_UNIX, SOCK_STREAM, 0), n = un(&a, "sq");
    bind(q, (void *)&a, n), listen(q, 1);
    CASE("wrong-type", "%s", R(connect(r, (void *)&a, n)));
    CASE("type", "%s %d", (n = 4, R(getsockopt(q, SOL_SOCKET, SO_TYPE, &v, &n))), v);
    CASE("acceptconn", "%s %d", (n = 4, R(getsockopt(q, SOL_SOCKET, SO_ACCEPTCONN, &v, &n))), v);
    CASE("domain-protocol", "%s %d %s %d", (n = 4, R(getsockopt(q, SOL_SOCKET, SO_DOMAIN, &v, &n))), v, R(getsockopt(q, SOL_SOCKET, SO_PROTOCOL, &v, &n)), v);
}
