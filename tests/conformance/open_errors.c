// open, openat, openat2: wrong arguments and the order in which they are seen.
#include "t.h"
#include <linux/openat2.h>
const char *name = "open_errors";
static long open2(int d, const char *p, uint64_t flags, uint64_t mode, uint64_t resolve, size_t size) {
    struct { struct open_how h; uint64_t more[2]; } how = {.h = {flags, mode, resolve}};
    return syscall(SYS_openat2, d, p, &how, size);
}
void cases(void) {
    char longname[300], *longpath = malloc(5000);
    int d, f;
    memset(longname, 'a', 299), longname[299] = 0;
    memset(longpath, '/', 4999), longpath[4999] = 0;
    t_spit("f", "text");
    mkdir("d", 0755);
    t_spit("d/in", "inside");
    symlink("loop2", "loop1"), symlink("loop1", "loop2");
    symlink("../f", "d/up"), symlink("/", "root");
    d = open("d", O_RDONLY | O_DIRECTORY), f = open("f", O_RDONLY);
    CASE("null-path", "%s", R(syscall(SYS_open, 0, O_RDONLY)));
    CASE("bad-path", "%s", R(syscall(SYS_open, BAD, O_RDONLY)));
    CASE("empty-path", "%s", R(open("", O_RDONLY)));
    CASE("empty-path-creat", "%s", R(open("", O_CREAT | O_RDWR, 0600)));
    CASE("name-too-long", "%s", R(open(longname, O_RDONLY)));
    CASE("path-too-long", "%s", R(open(longpath, O_RDONLY)));
    CASE("file-as-dir", "%s %s", R(open("f/x", O_RDONLY)), R(open("f/", O_RDONLY)));
    CASE("missing-dir", "%s", R(open("none/x", O_CREAT | O_RDWR, 0600)));
    CASE("creat-slash", "%s", R(open("new/", O_CREAT | O_RDWR, 0600)));
    CASE("loop", "%s %s", R(open("loop1", O_RDONLY)), R(open("loop1/x", O_RDONLY)));
    CASE("loop-nofollow", "%s", R(open("loop1", O_RDONLY | O_NOFOLLOW)));
    CASE("bad-dirfd-relative", "%s", R(openat(99, "f", O_RDONLY)));
    CASE("bad-dirfd-absolute", "%s", OK(close(openat(99, "/", O_RDONLY))));
    CASE("bad-dirfd-bad-path", "%s", R(syscall(SYS_openat, 99, BAD, O_RDONLY)));
    CASE("bad-dirfd-empty-path", "%s", R(openat(99, "", O_RDONLY)));
    CASE("file-dirfd", "%s", R(openat(f, "x", O_RDONLY)));
    CASE("dirfd", "%s", OK(close(openat(d, "in", O_RDONLY))));
    CASE("dirfd-dotdot", "%s", OK(close(openat(d, "../f", O_RDONLY))));
    CASE("tmpfile-needs-write", "%s", R(open(".", O_TMPFILE | O_RDONLY, 0600)));
    CASE("tmpfile-of-file", "%s", R(open("f", O_TMPFILE | O_RDWR, 0600)));
    CASE("openat2", "%s", OK(close(open2(AT_FDCWD, "f", O_RDONLY, 0, 0, sizeof(struct open_how)))));
    CASE("openat2-small", "%s", R(open2(AT_FDCWD, "f", O_RDONLY, 0, 0, 8)));
    CASE("openat2-larger", "%s", OK(close(open2(AT_FDCWD, "f", O_RDONLY, 0, 0, sizeof(struct open_how) + 8))));
    CASE("openat2-unknown-flag", "%s", R(open2(AT_FDCWD, "f", 1ull << 40, 0, 0, sizeof(struct open_how))));
    CASE("openat2-mode-without-creat", "%s", R(open2(AT_FDCWD, "f", O_RDONLY, 0600, 0, sizeof(struct open_how))));
    CASE("openat2-unknown-resolve", "%s", R(open2(AT_FDCWD, "f", O_RDONLY, 0, 1ull << 30, sizeof(struct open_how))));
    CASE("openat2-beneath", "%s %s", R(open2(d, "../f", O_RDONLY, 0, RESOLVE_BENEATH, sizeof(struct open_how))),
         R(open2(d, "up", O_RDONLY, 0, RESOLVE_BENEATH, sizeof(struct open_how))));
    CASE("openat2-beneath-absolute", "%s", R(open2(d, "/etc", O_RDONLY, 0, RESOLVE_BENEATH, sizeof(struct open_how))));
    CASE("openat2-no-symlinks", "%s", R(open2(AT_FDCWD, "root/tmp", O_RDONLY, 0, RESOLVE_NO_SYMLINKS, sizeof(struct open_how))));
    CASE("openat2-in-root", "%s", OK(close(open2(d, "/../../in", O_RDONLY, 0, RESOLVE_IN_ROOT, sizeof(struct open_how)))));
    CASE("openat2-null-how", "%s", R(syscall(SYS_openat2, AT_FDCWD, "f", BAD, sizeof(struct open_how))));
    CASE("close-bad", "%s %s %s", R(close(99)), R(close(-1)), R(syscall(SYS_close, 1ul << 31)));
}
