// access, faccessat, faccessat2 and permissions as an ordinary user.
#include "t.h"
const char *name = "access";
static void become(int uid, int gid) { setgroups(0, 0), setgid(gid), setuid(uid); }
void cases(void) {
    t_spit("f", "x"), t_spit("secret", "x"), mkdir("d", 0700), t_spit("d/f", "x"), symlink("none", "dangling"), mkdir("sticky", 0777);
    chmod("secret", 0640), chmod("f", 0644), chown("secret", 0, 60), chmod("sticky", 01777), t_spit("sticky/root", "");
    int fd = open("secret", O_RDONLY);
    CASE("root", "%s %s %s", R(access("secret", R_OK | W_OK)), R(access("f", X_OK)), R(access("d", X_OK)));
    CASE("missing", "%s %s", R(access("none", F_OK)), R(access("dangling", F_OK)));
    CASE("mode", "%s %s", R(access("f", 8)), R(syscall(SYS_access, BAD, 0)));
    CASE("faccessat2", "%s %s", R(syscall(SYS_faccessat2, AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW)), R(syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH)));
    CASE("faccessat2-flag", "%s %s", R(syscall(SYS_faccessat2, AT_FDCWD, "f", F_OK, 1)), R(syscall(SYS_faccessat, 99, "f", F_OK)));
    CASE("user", "%s", t_wait(CHILD(become(1000, 1000);
        CASE("user-access", "%s %s %s %s", R(access("f", R_OK)), R(access("f", W_OK)), R(access("secret", R_OK)), R(access("d/f", F_OK)));
        CASE("user-open", "%s %s %s", OK(close(open("f", O_RDONLY))), R(open("f", O_WRONLY)), R(open("secret", O_RDONLY)));
        CASE("user-create", "%s %s %s", R(open("new", O_CREAT | O_WRONLY, 0600)), R(mkdir("newdir", 0700)), R(symlink("x", "newlink")));
        CASE("user-remove", "%s %s %s", R(unlink("f")), R(rename("f", "g")), R(rmdir("d")));
        CASE("user-chmod", "%s %s %s", R(chmod("f", 0777)), R(chown("f", 1000, -1)), R(truncate("f", 0)));
        CASE("user-times", "%s %s", R(utimensat(AT_FDCWD, "f", 0, 0)), R(utimensat(AT_FDCWD, "f", (struct timespec[2]){{1, 0}, {1, 0}}, 0)));
        CASE("user-search", "%s %s %s", R(chdir("d")), R(open("d/f", O_RDONLY)), R(open("d", O_RDONLY)));
        CASE("user-sticky", "%s %s %s", R(unlink("sticky/root")), OK(close(open("sticky/mine", O_CREAT | O_WRONLY, 0600))), R(unlink("sticky/mine")));
        CASE("user-link", "%s", R(link("secret", "sticky/l")));
        CASE("user-inherited-fd", "%s", R(fchmod(fd, 0777)))))) ;
    CASE("group", "%s", t_wait(CHILD(become(1000, 60); CASE("group-access", "%s %s", R(access("secret", R_OK)), R(access("secret", W_OK))))));
    CASE("supplementary", "%s", t_wait(CHILD(gid_t g[2] = {5, 60}; setgroups(2, g); setgid(1000); setuid(1000);
        CASE("supplementary-access", "%s", OK(close(open("secret", O_RDONLY)))))));
    CASE("real-or-effective", "%s", t_wait(CHILD(setresuid(0, 1000, 0);
        CASE("real-uid", "access %s, AT_EACCESS %s", R(access("secret", W_OK)), R(faccessat(AT_FDCWD, "secret", W_OK, AT_EACCESS))))));
    CASE("owner-class-first", "%s", t_wait(CHILD(t_spit("own", "x"); chown("own", 1000, 1000); chmod("own", 0077); become(1000, 1000); CASE("owner-denied", "%s", R(open("own", O_RDONLY))))));
}
