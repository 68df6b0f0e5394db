// link, symlink, readlink, unlink: counts, open files without a name, linkat's flags.
#include "t.h"
const char *name = "links";
static long nlink(const char *p) {
    struct stat s;
    return lstat(p, &s) ? -1 : (long)s.st_nlink;
}
void cases(void) {
    char b[64] = "", c[64];
    struct stat s;
    t_spit("f", "content");
    CASE("link", "%s %ld", R(link("f", "g")), nlink("f"));
    CASE("link-exists", "%s", R(link("f", "g")));
    CASE("link-missing", "%s %s", R(link("none", "h")), R(link("f", "none/h")));
    CASE("link-dir", "%s", R(link(".", "h")));
    CASE("same-file", "%s", ({ struct stat a; stat("f", &a), stat("g", &s); a.st_ino == s.st_ino ? "yes" : "no"; }));
    int fd = open("f", O_RDWR);
    CASE("unlink-open", "%s %s %s", R(unlink("f")), R(unlink("g")), R(unlink("f")));
    fstat(fd, &s);
    CASE("nameless", "nlink %ld size %ld %s %.7s", (long)s.st_nlink, (long)s.st_size, R(pread(fd, b, 63, 0)), b);
    CASE("nameless-write", "%s %s", R(pwrite(fd, "C", 1, 0)), R(ftruncate(fd, 3)));
    CASE("symlink", "%s", R(symlink("target/of/it", "l")));
    memset(c, '#', 64);
    CASE("readlink", "%s %.13s", R(readlink("l", c, 64)), c);
    memset(c, '#', 64);
    CASE("readlink-short", "%s %.6s", R(readlink("l", c, 4)), c);
    CASE("readlink-zero", "%s %s", R(readlink("l", c, 0)), R(syscall(SYS_readlink, "l", c, -1)));
    CASE("readlink-file", "%s %s", R(readlink(".", c, 9)), R(readlink("none", c, 9)));
    CASE("readlink-bad", "%s", R(readlink("l", BAD, 9)));
    lstat("l", &s);
    CASE("lstat", "%o size %ld", s.st_mode, (long)s.st_size);
    CASE("symlink-empty", "%s", R(symlink("", "e")));
    CASE("symlink-exists", "%s", R(symlink("x", "l")));
    int l = open("l", O_PATH | O_NOFOLLOW);
    memset(c, '#', 64);
    CASE("readlinkat-empty", "%s %.3s", R(readlinkat(l, "", c, 64)), c);
    t_spit("t", "t"), symlink("t", "lt");
    CASE("link-of-symlink", "%s %s", R(link("lt", "lt2")), ({ lstat("lt2", &s); S_ISLNK(s.st_mode) ? "link" : "file"; }));
    CASE("linkat-follow", "%s %s", R(linkat(AT_FDCWD, "lt", AT_FDCWD, "t2", AT_SYMLINK_FOLLOW)), ({ lstat("t2", &s); S_ISLNK(s.st_mode) ? "link" : "file"; }));
    int t = open("t", O_RDONLY);
    CASE("linkat-proc", "%s %ld", R(linkat(AT_FDCWD, t_fmt("/proc/self/fd/%d", t), AT_FDCWD, "t3", AT_SYMLINK_FOLLOW)), nlink("t"));
    CASE("linkat-unknown-flag", "%s", R(linkat(AT_FDCWD, "t", AT_FDCWD, "t4", 1)));
    CASE("linkat-slash", "%s %s", R(linkat(AT_FDCWD, "t/", AT_FDCWD, "t4", 0)), R(linkat(AT_FDCWD, "t", AT_FDCWD, "t4/", 0)));
    int m = open(".", O_TMPFILE | O_RDWR, 0640);
    fstat(m, &s);
    CASE("tmpfile", "%s nlink %ld mode %o %s", m >= 0 ? "ok" : "no", (long)s.st_nlink, s.st_mode, R(write(m, "hidden", 6)));
    CASE("tmpfile-link", "%s %s", R(linkat(AT_FDCWD, t_fmt("/proc/self/fd/%d", m), AT_FDCWD, "named", AT_SYMLINK_FOLLOW)), t_slurp("named"));
    CASE("unlink-symlink", "%s %s", R(unlink("lt")), t_slurp("t"));
    CASE("unlinkat-bad-fd", "%s %s", R(unlinkat(99, "t", 0)), R(unlinkat(99, "t", 1)));
}
