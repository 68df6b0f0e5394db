// Path walk: dots, slashes, symlinks in the middle and at the end, the empty path, lengths.
#include "t.h"
const char *name = "paths";
static const char *kind(const char *p, int flags) {
    struct stat s;
    if (fstatat(AT_FDCWD, p, &s, flags)) return t_errno(errno);
    return S_ISDIR(s.st_mode) ? "dir" : S_ISREG(s.st_mode) ? "file" : S_ISLNK(s.st_mode) ? "link" : "other";
}
void cases(void) {
    char *p = malloc(8000), n[16];
    struct stat a, b;
    mkdir("d", 0755), mkdir("d/e", 0755), t_spit("d/f", "x");
    symlink("d", "ld"), symlink("d/", "lds"), symlink("d/f", "lf"), symlink("none", "dangling"), symlink(".", "self");
    CASE("plain", "%s %s %s", kind("d", 0), kind("d/f", 0), kind("none", 0));
    CASE("slashes", "%s %s %s", kind("d/", 0), kind("d//e///", 0), kind("d/f/", 0));
    CASE("dots", "%s %s %s", kind("d/./e/..//f", 0), kind("d/f/..", 0), kind("none/..", 0));
    CASE("link", "%s %s", kind("ld", 0), kind("ld", AT_SYMLINK_NOFOLLOW));
    CASE("link-slash", "%s %s", kind("ld/", AT_SYMLINK_NOFOLLOW), kind("lf/", AT_SYMLINK_NOFOLLOW));
    CASE("link-inside", "%s %s", kind("ld/f", 0), kind("lds/e/../f", 0));
    CASE("dangling", "%s %s %s", kind("dangling", 0), kind("dangling", AT_SYMLINK_NOFOLLOW), kind("dangling/", AT_SYMLINK_NOFOLLOW));
    CASE("empty", "%s", kind("", 0));
    CASE("root", "%s %s %s", kind("/", 0), kind("/..", 0), kind("/../../..//", 0));
    stat("/", &a), stat("/../..", &b);
    CASE("root-dotdot", "%s", a.st_ino == b.st_ino && a.st_dev == b.st_dev ? "the same" : "another");
    int d = open("d", O_PATH), f = open("d/f", O_RDONLY);
    CASE("empty-path-flag", "%s %s", OK(fstatat(d, "", &a, AT_EMPTY_PATH)), OK(fstatat(f, "", &b, AT_EMPTY_PATH)));
    CASE("empty-path-cwd", "%s", OK(fstatat(AT_FDCWD, "", &a, AT_EMPTY_PATH)));
    CASE("empty-path-no-flag", "%s", R(fstatat(d, "", &a, 0)));
    CASE("unknown-at-flag", "%s", R(fstatat(d, "f", &a, 0x40000)));
    strcpy(p, "self"); // 39 links on the way, then 41
    for (int i = 0; i < 38; i++) strcat(p, "/self");
    CASE("39-links", "%s", kind(p, 0));
    strcat(p, "/self/self");
    CASE("41-links", "%s", kind(p, 0));
    for (int i = 0; i < 45; i++) sprintf(n, "c%d", i), symlink(i ? t_fmt("c%d", i - 1) : "d", n);
    CASE("chain", "%s %s", kind("c39", 0), kind("c40", 0));
    *p = 0;
    for (int i = 0; i < 2047; i++) strcat(p, "./");
    CASE("4094-bytes", "%s", kind(p, 0));
    strcat(p, ".");
    CASE("4095-bytes", "%s", kind(p, 0));
    strcat(p, "/");
    CASE("4096-bytes", "%s", kind(p, 0));
    memset(p, 'n', 256), p[255] = 0;
    CASE("255-name", "%s %s", OK(mkdir(p, 0755)), kind(p, 0));
    p[255] = 'n', p[256] = 0;
    CASE("256-name", "%s %s", R(mkdir(p, 0755)), kind(p, 0));
    CASE("mkdir-slash", "%s %s", R(mkdir("m/", 0755)), kind("m", 0));
    CASE("mkdir-existing", "%s %s %s %s", R(mkdir("d", 0755)), R(mkdir("d/f", 0755)), R(mkdir("dangling", 0755)), R(mkdir("/", 0755)));
    CASE("unlink-slash", "%s %s", R(unlink("d/f/")), R(unlink("d/")));
    CASE("rmdir-dots", "%s %s %s", R(rmdir(".")), R(rmdir("d/..")), R(rmdir("ld")));
}
