// The older forms of calls, which libraries no longer use but programs may.
#include "t.h"
#include <utime.h>
const char *name = "oldcalls";
void cases(void) {
    char b[512];
    int p[2];
    CASE("creat", "%s", OK(close(syscall(SYS_creat, "c", 0644))));
    CASE("open", "%s", OK(close(syscall(SYS_open, "f", O_CREAT | O_RDWR, 0644))));
    CASE("mkdir-rmdir", "%s %s", R(syscall(SYS_mkdir, "d", 0755)), R(syscall(SYS_rmdir, "d")));
    CASE("link-unlink", "%s %s", R(syscall(SYS_link, "f", "g")), R(syscall(SYS_unlink, "g")));
    CASE("symlink-readlink", "%s %s", R(syscall(SYS_symlink, "f", "l")), R(syscall(SYS_readlink, "l", b, 9)));
    CASE("rename", "%s", R(syscall(SYS_rename, "f", "h")));
    CASE("chmod-chown", "%s %s %s", R(syscall(SYS_chmod, "h", 0600)), R(syscall(SYS_chown, "h", 0, 0)), R(syscall(SYS_lchown, "l", 0, 0)));
    CASE("access", "%s", R(syscall(SYS_access, "h", R_OK)));
    CASE("stat", "%s %s", R(syscall(SYS_stat, "h", b)), R(syscall(SYS_lstat, "l", b)));
    CASE("pipe", "%s %s", R(syscall(SYS_pipe, p)), R(write(p[1], "x", 1)));
    CASE("dup2", "%s", R(syscall(SYS_dup2, p[0], 40)));
    CASE("poll", "%s", ({ struct pollfd w = {p[0], POLLIN, 0}; R(syscall(SYS_poll, &w, 1, 100)); }));
    CASE("select", "%s", ({ fd_set r; FD_ZERO(&r); FD_SET(p[0], &r); R(syscall(SYS_select, p[0] + 1, &r, 0, 0, 0)); }));
    CASE("epoll", "%s", ({ int e = syscall(SYS_epoll_create, 1); struct epoll_event v = {EPOLLIN, {0}}; epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v); R(syscall(SYS_epoll_wait, e, &v, 1, 100)); }));
    CASE("mknod", "%s", R(syscall(SYS_mknod, "fifo", S_IFIFO | 0600, 0)));
    CASE("fork", "%s", ({ int c = syscall(SYS_fork); if (!c) _exit(3); t_wait(c); }));
    CASE("alarm-pause", "%s", ({ struct itimerval t = {{0, 0}, {0, 30000}}; t_handle(SIGALRM, SIG_IGN, 0); setitimer(ITIMER_REAL, &t, 0); alarm(15) <= 1 ? "rounded" : "?"; }));
    signal(SIGALRM, SIG_DFL);
    CASE("getpgrp", "%s", syscall(SYS_getpgrp) == getpgid(0) ? "same" : "?");
    CASE("inotify", "%s", OK(close(syscall(SYS_inotify_init))));
    CASE("signalfd", "%s", ({ sigset_t m; sigemptyset(&m); OK(close(syscall(SYS_signalfd, -1, &m, 8))); }));
    CASE("getdents", "%s", ({ int d = open(".", O_RDONLY); syscall(SYS_getdents, d, b, 512) > 0 ? "entries" : "none"; }));
    CASE("utime", "%s", R(syscall(SYS_utime, "h", 0)));
    CASE("futimesat", "%s", R(syscall(SYS_futimesat, AT_FDCWD, "h", 0)));
    CASE("rt-tgsigqueueinfo", "%s", ({ siginfo_t i = {.si_signo = 0, .si_code = SI_QUEUE}; R(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), 0, &i)); }));
}
