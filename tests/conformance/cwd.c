// chdir, fchdir, getcwd, chroot: the places where relative and absolute paths begin.
#include "t.h"
const char *name = "cwd";
static const char *tail(const char *p, const char *base) {
    size_t n = strlen(base);
    return strncmp(p, base, n) ? p : p[n] ? t_fmt("+%s", p + n) : "+";
}
void cases(void) {
    char base[PATH_MAX], b[PATH_MAX];
    getcwd(base, sizeof base);
    mkdir("d", 0755), mkdir("d/e", 0755), symlink("d/e", "l"), t_spit("f", "x");
    CASE("chdir", "%s %s", R(chdir("d")), tail(getcwd(b, sizeof b), base));
    CASE("up", "%s %s", R(chdir("..")), tail(getcwd(b, sizeof b), base));
    CASE("through-link", "%s %s", R(chdir("l")), tail(getcwd(b, sizeof b), base));
    CASE("link-up", "%s %s", R(chdir("..")), tail(getcwd(b, sizeof b), base));
    chdir(base);
    CASE("errors", "%s %s %s %s", R(chdir("f")), R(chdir("none")), R(chdir("")), R(chdir(BAD)));
    int f = open("f", O_RDONLY), d = open("d", O_RDONLY), o = open("d/e", O_PATH);
    CASE("fchdir", "%s %s", R(fchdir(d)), tail(getcwd(b, sizeof b), base));
    CASE("fchdir-path", "%s %s", R(fchdir(o)), tail(getcwd(b, sizeof b), base));
    CASE("fchdir-errors", "%s %s", R(fchdir(f)), R(fchdir(99)));
    CASE("getcwd-result", "%s", syscall(SYS_getcwd, b, sizeof b) == (long)strlen(b) + 1 ? "length with end" : "other");
    CASE("getcwd-small", "%s %s", R(syscall(SYS_getcwd, b, 3)), R(syscall(SYS_getcwd, b, 0)));
    CASE("getcwd-bad", "%s", R(syscall(SYS_getcwd, BAD, 4096)));
    rename("../../d", "../../moved");
    CASE("moved", "%s", tail(getcwd(b, sizeof b), base));
    CASE("removed", "%s %s", R(rmdir("../e")), R(syscall(SYS_getcwd, b, sizeof b)));
    CASE("in-removed", "%s %s %s", R(open("x", O_CREAT | O_WRONLY, 0600)), R(access(".", F_OK)), R(chdir(".")));
    chdir(base);
    pid_t p = CHILD(chdir("moved"));
    t_wait(p);
    CASE("own-per-process", "%s", tail(getcwd(b, sizeof b), base));
    mkdir("jail", 0755), mkdir("jail/in", 0755), t_spit("jail/hello", "from the jail"), symlink("/hello", "jail/abs");
    p = CHILD(int out = open(".", O_RDONLY); CASE("chroot", "%s", R(chroot("jail"))); syscall(SYS_getcwd, b, sizeof b);
        CASE("chroot-cwd-outside", "%s", strncmp(b, "(unreachable)", 13) ? "reachable" : "unreachable");
        CASE("chroot-look-up", "%s %s", t_slurp("/hello"), t_slurp("/abs"));
        CASE("chroot-relative", "%s", t_slurp("jail/hello"));
        CASE("chroot-inside", "%s %s %s", R(chdir("/in")), R(chdir("../../../..")), getcwd(b, sizeof b) ? b : "?");
        CASE("chroot-escape-fd", "%s %s", R(fchdir(out)), OK(access("jail", F_OK))));
    t_wait(p);
    p = CHILD(setuid(1000); CASE("chroot-user", "%s", R(chroot("jail"))));
    t_wait(p);
    CASE("chroot-errors", "%s %s", R(chroot("f")), R(chroot("none")));
}
