// lseek: every whence, holes, pipes, directories.
#include "t.h"
const char *name = "seek";
void cases(void) {
    int fd = open("f", O_CREAT | O_RDWR, 0644), p[2];
    write(fd, "0123456789", 10);
    CASE("set-cur-end", "%s %s %s", R(lseek(fd, 4, SEEK_SET)), R(lseek(fd, 2, SEEK_CUR)), R(lseek(fd, -1, SEEK_END)));
    CASE("past-end", "%s", R(lseek(fd, 1000, SEEK_END)));
    CASE("negative", "%s %s", R(lseek(fd, -1, SEEK_SET)), R(lseek(fd, -2000, SEEK_CUR)));
    CASE("kept", "%s", R(lseek(fd, 0, SEEK_CUR)));
    CASE("bad-whence", "%s", R(lseek(fd, 0, 99)));
    CASE("bad-fd-bad-whence", "%s", R(lseek(99, 0, 99)));
    CASE("overflow", "%s", R(lseek(fd, LONG_MAX, SEEK_END)));
    pipe(p);
    CASE("pipe", "%s %s", R(lseek(p[0], 0, SEEK_CUR)), R(lseek(p[1], 0, 99)));
    CASE("pipe-pread", "%s %s", R(pread(p[0], BAD, 1, 0)), R(pwrite(p[1], "x", 1, 0)));
    int h = open("h", O_CREAT | O_RDWR, 0644);
    ftruncate(h, 1 << 20);
    pwrite(h, "data", 4, 512 << 10);
    CASE("data", "%s %s", R(lseek(h, 0, SEEK_DATA)), R(lseek(h, (512 << 10) + 2, SEEK_DATA)));
    CASE("hole", "%s %s", R(lseek(h, 0, SEEK_HOLE)), R(lseek(h, 512 << 10, SEEK_HOLE)));
    CASE("data-past-end", "%s %s", R(lseek(h, 1 << 20, SEEK_DATA)), R(lseek(h, 2 << 20, SEEK_HOLE)));
    CASE("data-none-left", "%s", R(lseek(h, 768 << 10, SEEK_DATA)));
    int e = dup(fd);
    lseek(fd, 3, SEEK_SET);
    CASE("shared-by-dup", "%s", R(lseek(e, 0, SEEK_CUR)));
    int g = open("f", O_RDONLY);
    CASE("own-by-open", "%s", R(lseek(g, 0, SEEK_CUR)));
    t_wait(CHILD(lseek(fd, 7, SEEK_SET)));
    CASE("shared-by-fork", "%s", R(lseek(fd, 0, SEEK_CUR)));
    int d = open(".", O_RDONLY);
    CASE("directory", "%s", R(lseek(d, 0, SEEK_SET)));
    int o = open("f", O_PATH);
    CASE("o-path", "%s", R(lseek(o, 0, SEEK_SET)));
}
