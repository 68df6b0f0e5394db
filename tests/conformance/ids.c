// User and group ids: get, set, saved ids, supplementary groups, fsuid; what an ordinary user may.
#include "t.h"
const char *name = "ids";
static const char *uids(void) {
    uid_t r, e, s;
    getresuid(&r, &e, &s);
    return t_fmt("%d,%d,%d", r, e, s);
}
static const char *gids(void) {
    gid_t r, e, s;
    getresgid(&r, &e, &s);
    return t_fmt("%d,%d,%d", r, e, s);
}
#define IN(...) t_wait(CHILD(__VA_ARGS__))
void cases(void) {
    gid_t g[40];
    CASE("start", "%s %s %d %d %d %d", uids(), gids(), getuid(), geteuid(), getgid(), getegid());
    IN(CASE("setuid-root", "%s %s %s", R(setuid(5)), uids(), R(setuid(0))));
    IN(CASE("seteuid", "%s %s %s %s", R(seteuid(5)), uids(), R(seteuid(0)), uids()));
    IN(CASE("setreuid", "%s %s", R(setreuid(7, 8)), uids()));
    IN(CASE("setreuid-swap", "%s %s %s", (setresuid(5, 6, 7), R(setreuid(6, 5))), uids(), R(setreuid(0, -1))));
    IN(CASE("setresuid", "%s %s %s %s", R(setresuid(1, 2, 3)), uids(), R(setresuid(-1, 3, -1)), uids()));
    IN(CASE("setresuid-refused", "%s %s", (setresuid(1, 2, 3), R(setresuid(9, -1, -1))), uids()));
    IN(CASE("setgid", "%s %s", R(setgid(5)), gids()));
    IN(CASE("setregid", "%s %s %s", R(setregid(7, 8)), gids(), R(setresgid(1, 2, 3))));
    IN(CASE("setresgid-user", "%s %s", (setresgid(1, 2, 3), setuid(9), R(setgid(3))), gids()));
    IN(CASE("setgid-refused", "%s", (setuid(9), R(setgid(77)))));
    IN(CASE("invalid", "%s %s", R(setuid(-1)), R(setgid(-1))));
    IN(CASE("groups", "%s %s %d", R(setgroups(3, (gid_t[]){30, 10, 20})), R(getgroups(40, g)), g[0] + g[1] + g[2]));
    IN(CASE("groups-size", "%s %s", (setgroups(3, (gid_t[]){30, 10, 20}), R(getgroups(0, 0))), R(getgroups(2, g))));
    IN(CASE("groups-errors", "%s %s %s %s", R(getgroups(-1, g)), R(setgroups(70000, g)), R(setgroups(1, BAD)), (setuid(9), R(setgroups(0, 0)))));
    IN(CASE("fsuid", "%d %d %d", setfsuid(5), setfsuid(6), setfsuid(-1)));
    IN(CASE("fsgid", "%d %d", setfsgid(5), setfsgid(-1)));
    IN(setfsuid(5); close(open("by-fsuid", O_CREAT | O_WRONLY, 0600)); struct stat s; CASE("fsuid-file", "%d", stat("by-fsuid", &s) ? -1 : (int)s.st_uid));
    chmod(".", 0777);
    IN(setfsuid(5); close(open("by-fsuid", O_CREAT | O_WRONLY, 0600)); struct stat s; stat("by-fsuid", &s); CASE("fsuid-owner", "%d", s.st_uid));
    IN(setgid(60); setuid(70); close(open("mine", O_CREAT | O_WRONLY, 0644)); struct stat s; stat("mine", &s); CASE("file-owner", "%d:%d", s.st_uid, s.st_gid));
    CASE("bad-pointers", "%s %s", R(syscall(SYS_getresuid, BAD, g, g)), R(syscall(SYS_getresgid, g, BAD, g)));
    CASE("umask-inherited", "%s", (umask(031), IN(_exit(umask(0)))));
    umask(022);
    // A set-user-id program takes its owner's id, unless new privileges are given up.
    CASE("proc-status", "%s", ({ char *s = strstr(t_slurp("/proc/self/status"), "\nUid:"); int a, b, c, d; s && sscanf(s, "\nUid: %d %d %d %d", &a, &b, &c, &d) == 4 ? t_fmt("%d %d %d %d", a, b, c, d) : "no line"; }));
}
