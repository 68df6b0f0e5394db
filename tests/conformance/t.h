// Common part of the conformance programs. A program is a list of cases; each prints one line, `case NAME: what it saw`, made only
// of facts that are the same on every run (no pids, times, addresses or inode numbers), so that the output under one kernel
// can be compared with that under another, line by line. Usage: PROGRAM DIR, with DIR a writable directory.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define BAD ((void *)16) // an address that is never mapped
#define LEN(a) (sizeof(a) / sizeof *(a))

extern const char *name; // of the program
void cases(void);        // what the program does

// CASE(name, format, ...): one line of output, in one write. C leaves the order of a call's arguments open: each is evaluated into
// a variable first, from left to right.
#define CASE(n, ...) T_CAT(T_CASE, T_COUNT(__VA_ARGS__))(n, __VA_ARGS__)
#define T_CAT(a, b) T_CAT2(a, b)
#define T_CAT2(a, b) a##b
#define T_COUNT(...) T_COUNT2(__VA_ARGS__, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, )
#define T_COUNT2(f, a, b, c, d, e, g, h, i, j, k, n, ...) n
#define T_CASE0(n, f) t_case(n, f)
#define T_CASE1(n, f, p1) ({ __auto_type a1_ = p1; t_case(n, f, a1_); })
#define T_CASE2(n, f, p1, p2) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; t_case(n, f, a1_, a2_); })
#define T_CASE3(n, f, p1, p2, p3) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; t_case(n, f, a1_, a2_, a3_); })
#define T_CASE4(n, f, p1, p2, p3, p4) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; __auto_type a4_ = p4; t_case(n, f, a1_, a2_, a3_, a4_); })
#define T_CASE5(n, f, p1, p2, p3, p4, p5) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; __auto_type a4_ = p4; __auto_type a5_ = p5; t_case(n, f, a1_, a2_, a3_, a4_, a5_); })
#define T_CASE6(n, f, p1, p2, p3, p4, p5, p6) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; __auto_type a4_ = p4; __auto_type a5_ = p5; __auto_type a6_ = p6; t_case(n, f, a1_, a2_, a3_, a4_, a5_, a6_); })
#define T_CASE7(n, f, p1, p2, p3, p4, p5, p6, p7) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; __auto_type a4_ = p4; __auto_type a5_ = p5; __auto_type a6_ = p6; __auto_type a7_ = p7; t_case(n, f, a1_, a2_, a3_, a4_, a5_, a6_, a7_); })
#define T_CASE8(n, f, p1, p2, p3, p4, p5, p6, p7, p8) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; __auto_type a4_ = p4; __auto_type a5_ = p5; __auto_type a6_ = p6; __auto_type a7_ = p7; __auto_type a8_ = p8; t_case(n, f, a1_, a2_, a3_, a4_, a5_, a6_, a7_, a8_); })
#define T_CASE9(n, f, p1, p2, p3, p4, p5, p6, p7, p8, p9) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; __auto_type a4_ = p4; __auto_type a5_ = p5; __auto_type a6_ = p6; __auto_type a7_ = p7; __auto_type a8_ = p8; __auto_type a9_ = p9; t_case(n, f, a1_, a2_, a3_, a4_, a5_, a6_, a7_, a8_, a9_); })
#define T_CASE10(n, f, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10) ({ __auto_type a1_ = p1; __auto_type a2_ = p2; __auto_type a3_ = p3; __auto_type a4_ = p4; __auto_type a5_ = p5; __auto_type a6_ = p6; __auto_type a7_ = p7; __auto_type a8_ = p8; __auto_type a9_ = p9; __auto_type a10_ = p10; t_case(n, f, a1_, a2_, a3_, a4_, a5_, a6_, a7_, a8_, a9_, a10_); })
// R(call): its result as text, a number or the name of the errno. OK(call): the same with `ok` for every result that is no error.
#define R(x) ({ errno = 0; t_result((long)(x), 0); })
#define OK(x) ({ errno = 0; t_result((long)(x), 1); })
// CHILD(body): forks; the child runs body and exits with 0.
#define CHILD(...) ({ pid_t p_ = fork(); if (p_ == 0) { __VA_ARGS__; _exit(0); } p_; })
// Times out a loop that waits for a condition: WAIT_FOR(cond) is 1 when it came true within 5 s.
#define WAIT_FOR(c) ({ int i_ = 0, ok_; while (!(ok_ = !!(c)) && i_++ < 500) t_ms(10); ok_; })

static char *t_text(void) {
    static __thread char bufs[16][512];
    static __thread int at;
    return bufs[at++ % 16];
}
__attribute__((unused)) static char *t_fmt(const char *f, ...) {
    char *b = t_text();
    va_list v;
    va_start(v, f);
    vsnprintf(b, 512, f, v);
    va_end(v);
    return b;
}
__attribute__((unused)) static const char *t_errno(int e) {
    const char *n = strerrorname_np(e);
    return n ? n : t_fmt("errno %d", e);
}
__attribute__((unused)) static const char *t_result(long r, int hide) {
    if (r == -1) return t_errno(errno);
    return hide ? "ok" : t_fmt("%ld", r);
}
__attribute__((format(printf, 2, 3))) static void t_case(const char *n, const char *f, ...) {
    char b[4096];
    int k = snprintf(b, sizeof b, "case %s: ", n);
    va_list v;
    va_start(v, f);
    k += vsnprintf(b + k, sizeof b - k - 1, f, v);
    va_end(v);
    if (k > (int)sizeof b - 2) k = sizeof b - 2;
    b[k++] = '\n';
    if (write(1, b, k) != k) _exit(99);
}
__attribute__((unused)) static void t_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) && errno == EINTR) {}
}
__attribute__((unused)) static long t_now(void) { // ms, monotonic
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
// What a wait status says.
__attribute__((unused)) static const char *t_status(int s) {
    if (WIFEXITED(s)) return t_fmt("exit %d", WEXITSTATUS(s));
    if (WIFSIGNALED(s)) return t_fmt("killed by %s", sigabbrev_np(WTERMSIG(s)));
    if (WIFSTOPPED(s)) return t_fmt("stopped by %s", sigabbrev_np(WSTOPSIG(s)));
    return WIFCONTINUED(s) ? "continued" : "?";
}
// Waits for the child and says how it ended.
__attribute__((unused)) static const char *t_wait(pid_t p) {
    int s;
    pid_t r;
    while ((r = waitpid(p, &s, 0)) < 0 && errno == EINTR) {}
    return r == p ? t_status(s) : t_errno(errno);
}
// Makes a file with this text.
__attribute__((unused)) static void t_spit(const char *path, const char *text) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644), n = strlen(text);
    if (fd < 0 || write(fd, text, n) != n || close(fd)) CASE("set-up", "cannot write %s: %s", path, t_errno(errno));
}
// The text of a file, up to 500 bytes.
__attribute__((unused)) static char *t_slurp(const char *path) {
    char *b = t_text();
    int fd = open(path, O_RDONLY), n = fd < 0 ? -1 : read(fd, b, 500);
    if (n < 0) return t_fmt("(%s)", t_errno(errno));
    close(fd);
    b[n] = 0;
    return b;
}
__attribute__((unused)) static void t_handle(int sig, void (*h)(int), int flags) {
    struct sigaction a = {.sa_handler = h, .sa_flags = flags};
    sigaction(sig, &a, 0);
}

int main(int c, char **v) {
    if (c < 2) return dprintf(2, "usage: %s DIR\n", v[0]), 2;
    if (c > 2) { // a program that executes itself says what to be in a further argument
        extern int again(int, char **) __attribute__((weak));
        return again ? again(c, v) : 2;
    }
    // A runner in the background may have been started with signals ignored; that must not be seen here.
    for (int s_ = 1; s_ < NSIG; s_++) signal(s_, SIG_DFL);
    sigset_t none_;
    sigemptyset(&none_), sigprocmask(SIG_SETMASK, &none_, 0);
    // As the first process of a pid namespace, be its init, and let a child be the program.
    if (getpid() == 1) {
        pid_t p = fork(), q;
        int s = 0;
        if (p) {
            while ((q = wait(&s)) != p && (q > 0 || errno == EINTR)) {}
            return WIFEXITED(s) ? WEXITSTATUS(s) : 128 + WTERMSIG(s);
        }
    }
    alarm(20);
    umask(022);
    if (chdir(v[1]) || (mkdir(name, 0755), chdir(name))) return perror(v[1]), 2;
    dprintf(1, "program %s\n", name);
    cases();
    dprintf(1, "end %s\n", name);
    return 0;
}
