// Pipes: order, sizes, ends, non-blocking, flags.
#include "t.h"
const char *name = "pipes";
void cases(void) {
    char b[70000] = "";
    int p[2], n;
    CASE("pipe", "%s %d %d", R(pipe(p)), p[0], p[1]);
    CASE("transfer", "%s %s %.3s", R(write(p[1], "hello", 5)), R(read(p[0], b, 3)), b);
    CASE("fionread", "%s %d", R(ioctl(p[0], FIONREAD, &n)), n);
    CASE("rest", "%s %.2s", R(read(p[0], b, 100)), b);
    CASE("wrong-end", "%s %s", R(write(p[0], "x", 1)), R(read(p[1], b, 1)));
    CASE("bad-pointer", "%s %s", R(write(p[1], BAD, 1)), (write(p[1], "x", 1), R(read(p[0], BAD, 1))));
    read(p[0], b, 1);
    CASE("zero-length", "%s %s", R(write(p[1], b, 0)), R(read(p[0], b, 0)));
    CASE("flags", "%#x %#x", fcntl(p[0], F_GETFL), fcntl(p[1], F_GETFL));
    CASE("size", "%s", R(fcntl(p[1], F_GETPIPE_SZ)));
    CASE("set-size", "%s %s", R(fcntl(p[1], F_SETPIPE_SZ, 5000)), R(fcntl(p[0], F_GETPIPE_SZ)));
    CASE("set-size-errors", "%s %s", ({ int z = open("/dev/null", O_RDONLY); const char *e = R(fcntl(z, F_GETPIPE_SZ)); close(z); e; }), R(fcntl(p[0], F_SETPIPE_SZ, -1)));
    int q[2];
    CASE("pipe2", "%s %#x %d", R(pipe2(q, O_NONBLOCK | O_CLOEXEC)), fcntl(q[0], F_GETFL), fcntl(q[1], F_GETFD));
    CASE("pipe2-errors", "%s %s", R(pipe2(q, O_APPEND)), R(syscall(SYS_pipe2, BAD, 0)));
    CASE("empty-nonblock", "%s", R(read(q[0], b, 1)));
    int total = 0;
    for (ssize_t k; (k = write(q[1], b, 4096)) > 0;) total += k;
    CASE("fill", "%d then %s", total, R(write(q[1], b, 1)));
    CASE("full-fionread", "%s %d", R(ioctl(q[1], FIONREAD, &n)), n);
    read(q[0], b, 4095);
    CASE("atomic", "%s", R(write(q[1], b, 4096)));
    read(q[0], b, 1);
    CASE("atomic-fits", "%s", R(write(q[1], b, 4096)));
    read(q[0], b, 8192);
    CASE("large-partial", "%s", R(write(q[1], b, 70000)));
    close(q[1]);
    for (total = 0; (n = read(q[0], b, sizeof b)) > 0;) total += n;
    CASE("drain", "%d then %d", total, n);
    fcntl(p[1], F_SETPIPE_SZ, 65536);
    pid_t c = CHILD(close(p[0]); for (int i = 0; i < 200000; i += 5000) { char x[5000]; memset(x, 'a' + i / 5000 % 26, 5000); write(p[1], x, 5000); });
    close(p[1]);
    long sum = 0;
    for (total = 0; (n = read(p[0], b, 7777)) > 0; total += n)
        for (int i = 0; i < n; i++) sum = (sum * 31 + b[i]) % 1000000007;
    CASE("stream", "%d bytes sum %ld, then %d", total, sum, n);
    t_wait(c);
    struct stat s;
    CASE("fstat", "%s %o", R(fstat(p[0], &s)), s.st_mode & S_IFMT);
    pipe(q);
    struct iovec v[2] = {{"one", 3}, {"two", 3}};
    CASE("vectors", "%s %s %.6s", R(writev(q[1], v, 2)), R(read(q[0], b, 10)), b);
    CASE("direct", "%s %s %s", R(pipe2(p, O_DIRECT)), R(write(p[1], "ab", 2)), (write(p[1], "cd", 2), R(read(p[0], b, 10))));
}
