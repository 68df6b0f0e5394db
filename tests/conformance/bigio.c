// Big transfers: 10 MiB through a file, a pipe and a socket, long vectors, huge lengths.
#include "t.h"
const char *name = "bigio";
#define N (10 << 20)
static long sum(const unsigned char *p, long n) {
    unsigned long s = 0;
    for (long i = 0; i < n; i++) s = s * 31 + p[i];
    return s % 1000000007;
}
void cases(void) {
    unsigned char *a = malloc(N), *b = calloc(1, N);
    for (long i = 0; i < N; i++) a[i] = i * 131 >> 5;
    int fd = open("f", O_CREAT | O_RDWR, 0644), p[2], s[2];
    CASE("write", "%s", R(write(fd, a, N)));
    CASE("pread", "%s %d", R(pread(fd, b, N, 0)), memcmp(a, b, N) == 0);
    CASE("pread-odd", "%s %d", R(pread(fd, b, N - 12345, 12321)), memcmp(a + 12321, b, N - 12345) == 0);
    static struct iovec v[1024];
    for (int i = 0; i < 1024; i++) v[i] = (struct iovec){b + i * 1000, 1000};
    memset(b, 0, N);
    CASE("preadv-1024", "%s %ld", R(preadv(fd, v, 1024, 0)), sum(b, 1024000));
    for (int i = 0; i < 1024; i++) v[i].iov_base = a + i * 1000;
    CASE("pwritev-1024", "%s %ld", R(pwritev(fd, v, 1024, N)), (long)lseek(fd, 0, SEEK_END));
    CASE("huge-length", "%s", ({ ssize_t n = pread(fd, b, 1ul << 31, N); n == 1024000 ? "1024000" : n < 0 ? t_errno(errno) : "?"; }));
    CASE("length-overflow", "%s", R(read(fd, b, -1)));
    pipe(p);
    pid_t c = CHILD(close(p[0]); long k = 0; while (k < N) k += write(p[1], a + k, N - k));
    close(p[1]);
    long n, t = 0;
    memset(b, 0, N);
    while ((n = read(p[0], b + t, N - t)) > 0) t += n;
    CASE("pipe", "%ld %d %s", t, memcmp(a, b, N) == 0, t_wait(c));
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    c = CHILD(close(s[0]); _exit(write(s[1], a, N) == N ? 5 : 6));
    close(s[1]), memset(b, 0, N);
    CASE("waitall", "%s %d %s", R(recv(s[0], b, N, MSG_WAITALL)), memcmp(a, b, N) == 0, t_wait(c));
    CASE("truncate", "%s %s", R(ftruncate(fd, 3 << 20)), R(pread(fd, b, N, 0)));
    CASE("sparse", "%s %s %d", R(ftruncate(fd, 5l << 30)), R(pread(fd, b, 4, 4l << 30)), b[3]);
    CASE("sparse-write", "%s %ld", R(pwrite(fd, "end", 3, 6l << 30)), (long)lseek(fd, 0, SEEK_END) >> 20);
}
