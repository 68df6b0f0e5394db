// fork and wait4: exit codes, signals, options, what is copied and what is shared.
#include "t.h"
const char *name = "fork_wait";
static int global = 1;
void cases(void) {
    int s = 0, p[2];
    char b[8];
    struct rusage ru;
    CASE("exit-code", "%s %s %s", t_wait(CHILD(_exit(0))), t_wait(CHILD(_exit(42))), t_wait(CHILD(_exit(-1))));
    CASE("signal", "%s %s", t_wait(CHILD(raise(SIGTERM))), t_wait(CHILD(raise(SIGKILL))));
    CASE("abort", "%s", t_wait(CHILD(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); abort())));
    CASE("segv", "%s", t_wait(CHILD(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); *(volatile int *)BAD = 1)));
    CASE("no-child", "%s %s", R(wait(&s)), R(waitpid(-1, &s, WNOHANG)));
    pipe(p);
    pid_t c = CHILD(read(p[0], b, 1));
    CASE("nohang", "%s", R(waitpid(c, &s, WNOHANG)));
    write(p[1], "x", 1);
    CASE("pid", "%s", waitpid(c, &s, 0) == c ? t_status(s) : "other");
    CASE("not-mine", "%s %s", R(waitpid(1, &s, 0)), R(waitpid(getpid(), &s, 0)));
    CASE("bad-options", "%s", R(waitpid(-1, &s, 0x100)));
    // Enough pages that a processor's own count of them is added to the process's.
    c = CHILD(static volatile char big_[8 << 20]; for (size_t i_ = 0; i_ < sizeof big_; i_ += 4096) big_[i_] = 1; _exit(3));
    CASE("rusage", "%s %s", wait4(c, &s, 0, &ru) == c ? "ok" : "no", ru.ru_maxrss > 0 ? "some memory" : "none");
    c = CHILD(_exit(5)), t_ms(50);
    CASE("null-status", "%s", waitpid(c, 0, 0) == c ? "ok" : "no");
    c = CHILD(_exit(5));
    CASE("bad-status-pointer", "%s", R(syscall(SYS_wait4, c, BAD, 0, 0)));
    CASE("reaped-by-it", "%s", R(waitpid(c, &s, 0)));
    c = CHILD(raise(SIGSTOP); read(p[0], b, 1); _exit(6)); // not gone before it was seen to go on
    CASE("untraced", "%s", waitpid(c, &s, WUNTRACED) == c ? t_status(s) : "no");
    kill(c, SIGCONT);
    CASE("continued", "%s", waitpid(c, &s, WCONTINUED) == c ? t_status(s) : "no");
    write(p[1], "x", 1);
    CASE("then-exit", "%s", t_wait(c));
    int sum = 0, bad = 0;
    for (int i = 0; i < 20; i++) CHILD(_exit(i));
    for (int i = 0; i < 20; i++) bad += wait(&s) < 0, sum += WEXITSTATUS(s);
    CASE("twenty", "sum %d bad %d then %s", sum, bad, R(wait(0)));
    c = CHILD(global = 2; _exit(global));
    CASE("memory-copied", "%s %d", t_wait(c), global);
    CASE("getppid", "%s", t_wait(CHILD(pid_t me = getppid(); _exit(me > 0 ? 0 : 1))));
    CASE("group-wait", "%s", t_wait(CHILD(pid_t g = CHILD(_exit(9)); int st; _exit(waitpid(0, &st, 0) == g && WEXITSTATUS(st) == 9 ? 0 : 1))));
    CASE("other-group", "%s", t_wait(CHILD(pid_t g = CHILD(setpgid(0, 0); t_ms(100); _exit(8)); setpgid(g, g); int st; const char *e = R(waitpid(0, &st, 0)); pid_t w = waitpid(-g, &st, 0); CASE("other-group-inside", "%s then %s", e, w == g ? t_status(st) : "no"))));
    signal(SIGCHLD, SIG_IGN);
    c = CHILD(_exit(1));
    CASE("sigchld-ignored", "%s", R(waitpid(c, &s, 0)));
    signal(SIGCHLD, SIG_DFL);
    struct timespec t0 = {0, 0};
    sigset_t m;
    sigemptyset(&m), sigaddset(&m, SIGCHLD), sigprocmask(SIG_BLOCK, &m, 0);
    c = CHILD(_exit(1));
    siginfo_t si;
    t0.tv_sec = 5;
    CASE("sigchld", "%s code %d status %d own %d", R(sigtimedwait(&m, &si, &t0)), si.si_code, si.si_status, si.si_pid == c);
    t_wait(c);
    CASE("many-deep", "%s", t_wait(CHILD(for (int i = 0; i < 12; i++) { pid_t k = fork(); if (k) { int st; waitpid(k, &st, 0); _exit(WEXITSTATUS(st) + 1); } } _exit(0))));
}
