// chmod, chown, umask, times, and what the stat family says afterwards.
#include "t.h"
#include <linux/stat.h>
const char *name = "attrs";
static struct stat s;
static struct stat *st(const char *p) { return lstat(p, &s) ? memset(&s, 0, sizeof s) : &s; }
void cases(void) {
    struct statx x;
    struct timespec t[2] = {{1000, 5}, {2000, 123456789}};
    t_spit("f", "12345"), mkdir("d", 0755), symlink("f", "l");
    int fd = open("f", O_RDWR), d = open(".", O_RDONLY);
    CASE("chmod", "%s %o", R(chmod("f", 04711)), st("f")->st_mode);
    CASE("fchmod", "%s %o", R(fchmod(fd, 0600)), st("f")->st_mode);
    CASE("fchmodat", "%s %o", R(fchmodat(d, "f", 0640, 0)), st("f")->st_mode);
    CASE("chmod-link", "%s %o %o", R(chmod("l", 0644)), st("f")->st_mode, st("l")->st_mode);
    CASE("chmod-extra-bits", "%s %o", R(chmod("f", 0177755)), st("f")->st_mode);
    CASE("chmod-missing", "%s %s", R(chmod("none", 0)), R(chmod(BAD, 0)));
    CASE("fchmod-bad", "%s", R(fchmod(99, 0)));
    CASE("chown", "%s %d:%d", R(chown("f", 12, 34)), st("f")->st_uid, st("f")->st_gid);
    CASE("chown-part", "%s %d:%d", R(chown("f", -1, 35)), st("f")->st_uid, st("f")->st_gid);
    CASE("lchown", "%s %d %d", R(lchown("l", 77, -1)), st("l")->st_uid, st("f")->st_uid);
    CASE("fchown", "%s %d:%d", R(fchown(fd, 0, 0)), st("f")->st_uid, st("f")->st_gid);
    CASE("fchownat-empty", "%s %d", R(fchownat(fd, "", 5, 5, AT_EMPTY_PATH)), st("f")->st_uid);
    CASE("fchownat-nofollow", "%s %d", R(fchownat(d, "l", 6, 6, AT_SYMLINK_NOFOLLOW)), st("l")->st_uid);
    CASE("fchownat-flag", "%s", R(fchownat(d, "l", 6, 6, 1)));
    chmod("f", 06755);
    CASE("chown-drops-suid", "%s %o", R(chown("f", 0, 0)), st("f")->st_mode);
    CASE("umask", "%o %o", umask(077), umask(0177777));
    CASE("umask-kept-bits", "%o", umask(027));
    CASE("umask-mkdir", "%s %o", R(mkdir("u", 0777)), st("u")->st_mode);
    CASE("umask-open", "%s %o", OK(close(open("uf", O_CREAT | O_WRONLY, 0666))), st("uf")->st_mode);
    umask(022);
    CASE("sgid-dir", "%s %s %s", R(chmod("d", 02775)), R(chown("d", -1, 50)), OK(close(open("d/f", O_CREAT | O_WRONLY, 0644))));
    CASE("sgid-inherit", "file gid %d, dir %s gid %d mode %o", st("d/f")->st_gid, R(mkdir("d/d", 0755)), st("d/d")->st_gid, st("d/d")->st_mode);
    CASE("utimensat", "%s %ld.%ld %ld.%09ld", R(utimensat(AT_FDCWD, "f", t, 0)), st("f")->st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    t[0].tv_nsec = UTIME_OMIT, t[1].tv_sec = 5, t[1].tv_nsec = 0;
    CASE("utime-omit", "%s %ld %ld", R(utimensat(AT_FDCWD, "f", t, 0)), st("f")->st_atim.tv_sec, s.st_mtim.tv_sec);
    t[1].tv_nsec = UTIME_NOW;
    CASE("utime-now", "%s %s", R(futimens(fd, t)), st("f")->st_mtim.tv_sec > 1700000000 ? "now" : "old");
    t[1].tv_nsec = 1000000000;
    CASE("utime-invalid", "%s", R(utimensat(AT_FDCWD, "f", t, 0)));
    t[0] = t[1] = (struct timespec){7, 0};
    CASE("utime-link", "%s %ld %s", R(utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW)), st("l")->st_mtim.tv_sec, st("f")->st_mtim.tv_sec == 7 ? "followed" : "not followed");
    CASE("utime-null-path", "%s %s", R(syscall(SYS_utimensat, fd, 0, t, 0)), R(syscall(SYS_utimensat, AT_FDCWD, 0, t, 0)));
    struct timeval v[2] = {{11, 22}, {33, 44}};
    CASE("utimes", "%s %ld %ld", R(syscall(SYS_utimes, "f", v)), st("f")->st_atim.tv_nsec, s.st_mtim.tv_nsec);
    v[1].tv_usec = 1000000;
    CASE("utimes-invalid", "%s", R(syscall(SYS_utimes, "f", v)));
    long old[2] = {99, 98};
    CASE("utime", "%s %ld %ld", R(syscall(SYS_utime, "f", old)), st("f")->st_atim.tv_sec, s.st_mtim.tv_sec);
    CASE("futimesat", "%s %ld", R(syscall(SYS_futimesat, d, "f", 0)), st("f")->st_mtim.tv_sec > 1700000000 ? 1l : 0l);
    ftruncate(fd, 5000);
    CASE("fstat", "%s %o %ld %ld", R(fstat(fd, &s)), s.st_mode, (long)s.st_size, (long)s.st_nlink);
    CASE("stat-errors", "%s %s %s %s", R(syscall(SYS_stat, "none", &s)), R(syscall(SYS_stat, "f", BAD)), R(syscall(SYS_fstat, 99, BAD)), R(syscall(SYS_lstat, BAD, &s)));
    CASE("old-stat", "%s %s %s", R(syscall(SYS_stat, "l", &s)), S_ISREG(s.st_mode) ? "file" : "link", (R(syscall(SYS_lstat, "l", &s)), S_ISLNK(s.st_mode) ? "link" : "file"));
    memset(&x, 0, sizeof x);
    CASE("statx", "%s %o %ld uid %d nlink %d %s", R(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x)), x.stx_mode, (long)x.stx_size, x.stx_uid, x.stx_nlink, (x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS ? "all" : "part");
    CASE("statx-link", "%s %s", R(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x)), S_ISLNK(x.stx_mode) ? "link" : "file");
    CASE("statx-fd", "%s %s", R(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x)), x.stx_size == 5000 ? "size" : "wrong");
    CASE("statx-errors", "%s %s %s %s", R(statx(AT_FDCWD, "f", 0x10, STATX_SIZE, &x)), R(statx(AT_FDCWD, "f", 0, 0x80000000, &x)), R(statx(99, "f", 0, 1, &x)), R(syscall(SYS_statx, AT_FDCWD, "f", 0, 1, BAD)));
    CASE("statx-sync-flags", "%s", R(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 1, &x)));
    CASE("blksize", "%s", st("f")->st_blksize >= 512 ? "sane" : "odd");
}
