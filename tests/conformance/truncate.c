// truncate, ftruncate, fallocate and its modes.
#include "t.h"
#include <linux/falloc.h>
const char *name = "truncate";
static long size(int fd) {
    struct stat s;
    return fstat(fd, &s) ? -1 : (long)s.st_size;
}
void cases(void) {
    char b[8] = "........";
    t_spit("f", "0123456789");
    int fd = open("f", O_RDWR), r = open("f", O_RDONLY), d = open(".", O_RDONLY), p[2];
    pipe(p);
    CASE("shorter", "%s %s", R(truncate("f", 4)), t_slurp("f"));
    CASE("longer", "%s %ld %s %d", R(ftruncate(fd, 8)), size(fd), R(pread(fd, b, 8, 0)), b[6]);
    CASE("negative", "%s %s", R(truncate("f", -1)), R(ftruncate(fd, -1)));
    CASE("read-only-fd", "%s", R(ftruncate(r, 0)));
    CASE("directory", "%s %s", R(truncate(".", 0)), R(ftruncate(d, 0)));
    CASE("pipe", "%s", R(ftruncate(p[1], 0)));
    CASE("missing", "%s %s %s", R(truncate("none", 0)), R(truncate(BAD, 0)), R(ftruncate(99, 0)));
    lseek(fd, 6, SEEK_SET);
    CASE("position-kept", "%s %ld", R(ftruncate(fd, 2)), (long)lseek(fd, 0, SEEK_CUR));
    CASE("write-behind-end", "%s %ld", R(write(fd, "x", 1)), size(fd));
    CASE("fallocate", "%s %ld", R(fallocate(fd, 0, 0, 100)), size(fd));
    CASE("keep-size", "%s %ld", R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 10000)), size(fd));
    pwrite(fd, "abcdefgh", 8, 0);
    CASE("punch", "%s %s %d %c", R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3)), R(pread(fd, b, 8, 0)), b[2], b[5]);
    CASE("punch-without-keep", "%s", R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1)));
    CASE("errors", "%s %s %s %s", R(fallocate(fd, 0, -1, 1)), R(fallocate(fd, 0, 0, 0)), R(fallocate(r, 0, 0, 1)), R(fallocate(p[1], 0, 0, 1)));
    CASE("unknown-mode", "%s", R(fallocate(fd, 0x4000, 0, 1)));
    struct rlimit l, old;
    getrlimit(RLIMIT_FSIZE, &old);
    l = old, l.rlim_cur = 1000;
    t_wait(CHILD(t_handle(SIGXFSZ, SIG_IGN, 0); setrlimit(RLIMIT_FSIZE, &l);
        const char *a = R(ftruncate(fd, 1001)), *e = R(pwrite(fd, "abc", 3, 998)), *g = R(pwrite(fd, "abc", 3, 1000));
        setrlimit(RLIMIT_FSIZE, &old); // the output may be a file too
        CASE("fsize-limit", "%s %s %s", a, e, g)));
    CASE("fsize-signal", "%s", t_wait(CHILD(t_handle(SIGXFSZ, SIG_DFL, 0); l.rlim_cur = 1; setrlimit(RLIMIT_FSIZE, &l); setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); write(fd, "x", 1))));
}
