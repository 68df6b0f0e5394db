// Descriptors and credentials passed over unix sockets.
#include "t.h"
const char *name = "scm_rights";
static long send_fds(int s, int *fds, int n, const char *text) {
    union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int) * 8)]; } u;
    struct iovec v = {(void *)text, strlen(text)};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = CMSG_SPACE(sizeof(int) * n)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    return sendmsg(s, &m, 0);
}
static int flags_seen;
static long recv_fds(int s, int *fds, int *n, size_t space, int flags, int len) {
    static char text[64];
    union { struct cmsghdr h; char b[256]; } u;
    struct iovec v = {text, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = space};
    long r = recvmsg(s, &m, flags);
    struct cmsghdr *c = r < 0 ? 0 : CMSG_FIRSTHDR(&m);
    flags_seen = m.msg_flags & ~MSG_CMSG_CLOEXEC;
    *n = c && c->cmsg_type == SCM_RIGHTS ? (int)(c->cmsg_len - CMSG_LEN(0)) / 4 : 0;
    if (*n) memcpy(fds, CMSG_DATA(c), *n * 4);
    return r;
}
void cases(void) {
    int s[2], got[8], n, p[2];
    char b[32] = "";
    t_spit("f", "0123456789");
    int f = open("f", O_RDONLY);
    lseek(f, 3, SEEK_SET);
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    CASE("send", "%s", R(send_fds(s[0], &f, 1, "x")));
    CASE("receive", "%s %d", R(recv_fds(s[1], got, &n, 256, 0, 9)), n);
    CASE("shares-position", "%s %.2s %ld", R(read(got[0], b, 2)), b, (long)lseek(f, 0, SEEK_CUR));
    CASE("number", "%d cloexec %d", got[0], fcntl(got[0], F_GETFD));
    send_fds(s[0], &f, 1, "x");
    CASE("cmsg-cloexec", "%s %d", R(recv_fds(s[1], got, &n, 256, MSG_CMSG_CLOEXEC, 9)), fcntl(got[0], F_GETFD));
    pipe(p);
    int two[2] = {p[0], p[1]};
    send_fds(s[0], two, 2, "pp");
    close(p[0]), close(p[1]);
    recv_fds(s[1], got, &n, 256, 0, 9);
    CASE("pipe-in-flight", "%d %s %s", n, R(write(got[1], "through", 7)), R(read(got[0], b, 32)));
    send_fds(s[0], two, 1, "x");
    CASE("closed-fd", "%s", R(send_fds(s[0], (int[]){99}, 1, "x")));
    recv_fds(s[1], got, &n, 256, MSG_DONTWAIT, 9);
    int three[3] = {f, f, f};
    send_fds(s[0], three, 3, "x");
    CASE("truncated", "%s", R(recv_fds(s[1], got, &n, CMSG_SPACE(8), 0, 9)));
    CASE("truncated-count", "%d flags %#x", n, flags_seen);
    send_fds(s[0], &f, 1, "x");
    CASE("no-space", "%s flags %#x", R(recv_fds(s[1], got, &n, 0, 0, 9)), flags_seen);
    send_fds(s[0], &f, 1, "first"), write(s[0], "second", 6);
    CASE("barrier", "%s %d then %s %d", R(recv_fds(s[1], got, &n, 256, 0, 60)), n, R(recv_fds(s[1], got, &n, 256, 0, 60)), n);
    send_fds(s[0], &f, 1, "long message");
    CASE("partial", "%s %d then %s %d", R(recv_fds(s[1], got, &n, 256, 0, 4)), n, R(recv_fds(s[1], got, &n, 256, 0, 60)), n);
    send_fds(s[0], &f, 1, "plain");
    CASE("plain-read-drops", "%s", R(read(s[1], b, 32)));
    pid_t c = CHILD(int g[8]; int k; recv_fds(s[1], g, &k, 256, 0, 9); char t[8] = ""; lseek(g[0], 0, SEEK_SET); CASE("to-child", "%s %s", R(read(g[0], t, 4)), t));
    send_fds(s[0], &f, 1, "x"), t_wait(c);
    CASE("moved-by-child", "%ld", (long)lseek(f, 0, SEEK_CUR));
    send_fds(s[0], s, 2, "own"), recv_fds(s[1], got, &n, 256, 0, 9);
    CASE("own-sockets", "%d %s %s", n, R(write(got[0], "abc", 3)), R(read(s[1], b, 32)));
    // What is only in flight is closed when the socket goes.
    int t[2];
    pipe(p), socketpair(AF_UNIX, SOCK_DGRAM, 0, t), send_fds(t[0], &p[1], 1, "x"), close(p[1]);
    struct pollfd w = {p[0], POLLIN, 0};
    CASE("in-flight-open", "%s", R(poll(&w, 1, 0)));
    close(t[0]), close(t[1]);
    CASE("in-flight-closed", "%s %#x", R(poll(&w, 1, 2000)), w.revents);
    int on = 1;
    struct ucred u = {0};
    union { struct cmsghdr h; char b[128]; } cb;
    struct iovec v = {b, 32};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = cb.b, .msg_controllen = 128};
    CASE("passcred", "%s", R(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, 4)));
    write(s[0], "c", 1), recvmsg(s[1], &m, 0);
    if (CMSG_FIRSTHDR(&m)) memcpy(&u, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof u);
    CASE("credentials", "type %d own %d uid %d", CMSG_FIRSTHDR(&m) ? CMSG_FIRSTHDR(&m)->cmsg_type : -1, u.pid == getpid(), u.uid);
}
