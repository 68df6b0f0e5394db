// Descriptor tables: dup, dup2, dup3, fcntl, close_range, the limit, lowest numbers first.
#include "t.h"
#include <linux/close_range.h>
const char *name = "fdtable";
static int is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }
void cases(void) {
    t_spit("f", "0123456789");
    int a = open("f", O_RDONLY), b = dup(a);
    CASE("lowest", "%d %d", a, b);
    close(a);
    CASE("lowest-again", "%s", R(open("f", O_RDONLY)));
    CASE("dup2", "%s %d", R(dup2(a, 20)), is_open(20));
    CASE("dup2-self", "%s %s", R(dup2(a, a)), R(dup2(77, 77)));
    CASE("dup2-onto", "%s %s", R(dup2(b, 20)), R(lseek(20, 0, SEEK_CUR)));
    CASE("dup2-errors", "%s %s %s", R(dup2(99, 5)), R(dup2(a, -1)), R(dup2(a, 1 << 30)));
    CASE("dup3", "%s %d", R(dup3(a, 21, O_CLOEXEC)), fcntl(21, F_GETFD));
    CASE("dup3-errors", "%s %s %s %s", R(dup3(a, a, 0)), R(dup3(a, 22, O_NONBLOCK)), R(dup3(99, 99, 0)), R(dup3(99, 98, 0)));
    CASE("dup-errors", "%s %s", R(dup(99)), R(dup(-1)));
    CASE("dupfd", "%s %s %d", R(fcntl(a, F_DUPFD, 10)), R(fcntl(a, F_DUPFD_CLOEXEC, 10)), fcntl(11, F_GETFD));
    CASE("dupfd-errors", "%s %s", R(fcntl(a, F_DUPFD, -1)), R(fcntl(a, F_DUPFD, 1 << 30)));
    CASE("setfd", "%s %d %d", R(fcntl(a, F_SETFD, FD_CLOEXEC)), fcntl(a, F_GETFD), fcntl(b, F_GETFD));
    CASE("setfl-shared", "%s %#x %#x", R(fcntl(a, F_SETFL, O_NONBLOCK)), fcntl(a, F_GETFL) & O_NONBLOCK, fcntl(b, F_GETFL) & O_NONBLOCK);
    CASE("setfl-ignored", "%s %#x", R(fcntl(a, F_SETFL, O_RDWR | O_CREAT)), fcntl(a, F_GETFL) & 3);
    CASE("fcntl-errors", "%s %s", R(fcntl(99, F_GETFD)), R(fcntl(a, 9999)));
    CASE("ioctl-cloexec", "%s %d %s %d", R(ioctl(a, FIONCLEX)), fcntl(a, F_GETFD), R(ioctl(a, FIOCLEX)), fcntl(a, F_GETFD));
    CASE("close-twice", "%s %s", R(close(b)), R(close(b)));
    for (int i = 30; i < 40; i++) dup2(a, i);
    CASE("close-range", "%s %d %d %d %d", R(close_range(32, 34, 0)), is_open(31), is_open(32), is_open(34), is_open(35));
    CASE("close-range-cloexec", "%s %d %d", R(close_range(35, 36, CLOSE_RANGE_CLOEXEC)), fcntl(36, F_GETFD), fcntl(37, F_GETFD));
    CASE("close-range-errors", "%s %s", R(close_range(5, 4, 0)), R(close_range(90, 91, 64)));
    CASE("close-range-all", "%s %d %d", R(close_range(30, ~0u, 0)), is_open(31), is_open(39));
    struct rlimit l, old;
    getrlimit(RLIMIT_NOFILE, &old);
    l = old, l.rlim_cur = 25;
    CASE("setrlimit", "%s", R(setrlimit(RLIMIT_NOFILE, &l)));
    int n = 0, first = -1;
    for (int fd; (fd = dup(a)) >= 0; n++)
        if (first < 0) first = fd;
    CASE("limit", "%s first %d, %d more", R(dup(a)), first, n);
    CASE("limit-open", "%s %s", R(open("f", O_RDONLY)), R(open("none", O_RDONLY)));
    int p[2];
    CASE("limit-pipe", "%s", R(pipe(p)));
    close(24);
    CASE("limit-pipe-one-left", "%s %d", R(pipe(p)), is_open(24));
    CASE("limit-dup2", "%s %s", R(dup2(a, 25)), R(dup2(a, 24)));
    CASE("limit-dupfd", "%s %s", R(fcntl(a, F_DUPFD, 25)), R(fcntl(a, F_DUPFD, 24)));
    setrlimit(RLIMIT_NOFILE, &old);
    CASE("limit-getdtablesize", "%s", getdtablesize() == (int)old.rlim_cur ? "the limit" : "other");
    dup2(a, 50);
    CASE("fork-copies", "%s %d", t_wait(CHILD(close(50); _exit(is_open(50)))), is_open(50));
}
