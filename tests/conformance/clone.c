// clone and clone3: what flags share, thread ids, wrong combinations.
#include "t.h"
#include <linux/sched.h>
const char *name = "clone";
static char stack[4][65536] __attribute__((aligned(16)));
static volatile int word, tidword, parent_tid;
static int set_word(void *v) { word = (long)v; return 21; }
static int close_three(void *v) { (void)v; close(10); chdir("/"); umask(0); return 0; }
static int tids(void *v) { (void)v; return tidword == (int)syscall(SYS_gettid) && getpid() == (int)syscall(SYS_gettid) ? 1 : 2; }
void cases(void) {
    pid_t p;
    int s;
    p = clone(set_word, stack[0] + 65536, SIGCHLD, (void *)5);
    CASE("plain", "%s %d", t_wait(p), word);
    p = clone(set_word, stack[0] + 65536, CLONE_VM | SIGCHLD, (void *)6);
    CASE("vm", "%s %d", t_wait(p), word);
    p = clone(set_word, stack[0] + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)7);
    CASE("vfork", "%d %s", word, t_wait(p));
    dup2(1, 10);
    p = clone(close_three, stack[0] + 65536, CLONE_FILES | SIGCHLD, 0);
    CASE("files", "%s %s", t_wait(p), R(fcntl(10, F_GETFD)));
    char b[PATH_MAX], d[PATH_MAX];
    getcwd(d, sizeof d);
    dup2(1, 10), p = clone(close_three, stack[0] + 65536, CLONE_FS | SIGCHLD, 0);
    CASE("fs", "%s cwd %s umask %o fd %s", t_wait(p), getcwd(b, sizeof b), umask(022), OK(fcntl(10, F_GETFD)));
    chdir(d);
    p = clone(tids, stack[0] + 65536, CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | SIGCHLD, 0, &parent_tid, 0, &tidword);
    CASE("settid", "%s parent %d", t_wait(p), parent_tid == p);
    CASE("thread-without-sighand", "%s", R(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0)));
    CASE("sighand-without-vm", "%s", R(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0)));
    CASE("fs-and-newns", "%s", R(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0)));
    p = clone(set_word, stack[0] + 65536, CLONE_VM, (void *)8);
    CASE("no-exit-signal", "%s %s", R(waitpid(p, &s, 0)), waitpid(p, &s, __WALL) == p ? t_status(s) : "no");
    p = clone(set_word, stack[0] + 65536, CLONE_PARENT | SIGCHLD, (void *)9);
    CASE("clone-parent", "%s", R(waitpid(p, &s, 0)));
    // A thread by hand: its end clears the word and wakes the futex.
    p = clone(set_word, stack[1] + 65536, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID, (void *)11, &tidword, 0, &tidword);
    while (tidword) syscall(SYS_futex, &tidword, FUTEX_WAIT, p, 0, 0, 0);
    CASE("thread", "%d %s", word, R(waitpid(p, &s, __WALL)));
    CASE("unshare-files", "%s", t_wait(CHILD(_exit(unshare(CLONE_FILES) || unshare(CLONE_FS)))));
    CASE("unshare-errors", "%s %s", R(unshare(0x1)), t_wait(CHILD(setuid(1000); _exit(unshare(CLONE_NEWNET) && errno == EPERM ? 0 : 1))));
    // clone3 is there or ENOSYS, which libraries take for an old kernel; wrong arguments never make a child.
    struct clone_args a = {.exit_signal = SIGCHLD};
    p = syscall(SYS_clone3, &a, sizeof a);
    if (p == 0) _exit(13);
    CASE("clone3", "%s", p > 0 ? t_wait(p) : errno == ENOSYS ? "exit 13" : t_errno(errno));
    int nosys = p < 0;
    a.flags = CLONE_THREAD;
    p = syscall(SYS_clone3, &a, sizeof a);
    CASE("clone3-invalid", "%s", p < 0 && (nosys || errno == EINVAL) ? "refused" : "?");
    p = syscall(SYS_clone3, BAD, sizeof a);
    CASE("clone3-bad-pointer", "%s", p < 0 && (nosys || errno == EFAULT) ? "refused" : "?");
    p = syscall(SYS_clone3, &a, 8);
    CASE("clone3-small", "%s", p < 0 && (nosys || errno == EINVAL) ? "refused" : "?");
}
