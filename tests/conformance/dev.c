// The devices every container has, and the terminal that this one has not.
#include "t.h"
#include <sys/sysmacros.h>
#include <termios.h>
const char *name = "dev";
static const char *kind(const char *p) {
    struct stat s;
    if (lstat(p, &s)) return t_errno(errno);
    return S_ISCHR(s.st_mode) ? t_fmt("char %d:%d %o", major(s.st_rdev), minor(s.st_rdev), s.st_mode & 07777) : S_ISLNK(s.st_mode) ? "link" : S_ISDIR(s.st_mode) ? "dir" : "other";
}
void cases(void) {
    char b[4096];
    struct termios t;
    struct winsize w;
    memset(b, 1, sizeof b);
    CASE("null", "%s", kind("/dev/null"));
    CASE("zero", "%s", kind("/dev/zero"));
    CASE("full", "%s", kind("/dev/full"));
    CASE("random", "%s %s", kind("/dev/random"), kind("/dev/urandom"));
    CASE("tty", "%s", kind("/dev/tty"));
    CASE("links", "%s %s", kind("/dev/fd"), kind("/dev/stdin"));
    CASE("dirs", "%s %s", kind("/dev/shm"), kind("/dev/pts"));
    int n = open("/dev/null", O_RDWR), z = open("/dev/zero", O_RDWR), f = open("/dev/full", O_RDWR), u = open("/dev/urandom", O_RDONLY);
    CASE("null-io", "%s %s", R(write(n, b, 4096)), R(read(n, b, 4096)));
    CASE("zero-io", "%s %s %d", R(write(z, b, 4096)), R(read(z, b, 4096)), b[4095]);
    CASE("full-io", "%s %s", R(write(f, b, 1)), R(read(f, b, 9)));
    CASE("urandom", "%s %s", R(read(u, b, 4096)), ({ int k = 0; for (int i = 0; i < 4096; i++) k += b[i] == 0; k < 200 ? "random" : "zero"; }));
    CASE("null-trunc", "%s", OK(close(open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0600))));
    CASE("null-append", "%s", R(write(open("/dev/null", O_WRONLY | O_APPEND), b, 3)));
    CASE("null-seek", "%s %s", R(lseek(n, 100, SEEK_SET)), R(lseek(z, 0, SEEK_END)));
    CASE("open-tty", "%s", R(open("/dev/tty", O_RDWR)));
    CASE("isatty", "%s %s %s", R(ioctl(n, TCGETS, &t)), R(ioctl(n, TIOCGWINSZ, &w)), R(ioctl(z, FIONREAD, &w)));
    CASE("ftruncate", "%s", R(ftruncate(n, 0)));
    CASE("null-bad-pointer", "%s %s", R(write(n, BAD, 5)), R(read(z, BAD, 5)));
    CASE("stdin-link", "%s", ({ char x[64]; int k = readlink("/dev/stdin", x, 63); x[k < 0 ? 0 : k] = 0; t_fmt("%s", x); }));
    CASE("fd-open", "%s", ({ int k = open("file", O_CREAT | O_RDWR, 0600); write(k, "abc", 3); int o = open(t_fmt("/dev/fd/%d", k), O_RDONLY); R(read(o, b, 9)); }));
    CASE("shm", "%s", ({ int k = open("/dev/shm/x", O_CREAT | O_RDWR, 0600); k < 0 ? t_errno(errno) : R(write(k, "abc", 3)); }));
    unlink("/dev/shm/x");
    CASE("unknown", "%s %s", R(open("/dev/none", O_RDONLY)), OK(access("/dev/ptmx", F_OK)));
}
