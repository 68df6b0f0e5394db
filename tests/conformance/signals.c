// sigaction and delivery: handlers, flags, masks, pending, siginfo, alternate stacks.
#include "t.h"
const char *name = "signals";
static volatile int hits, order[16], at, in_mask, on_stack;
static siginfo_t last;
static char alt[65536];
static void hit(int s) { hits++, order[at++ % 16] = s; }
static void info(int s, siginfo_t *i, void *u) {
    (void)u;
    last = *i, hits++, order[at++ % 16] = s;
    sigset_t m;
    sigprocmask(SIG_BLOCK, 0, &m);
    in_mask = sigismember(&m, SIGUSR1) | sigismember(&m, SIGUSR2) << 1;
    char x;
    on_stack = &x >= alt && &x < alt + sizeof alt;
}
static jmp_buf jb;
static void jump(int s) { siglongjmp(jb, s); }
void cases(void) {
    struct sigaction a = {.sa_handler = hit}, o;
    sigset_t m, p;
    union sigval v = {.sival_int = 77};
    CASE("default", "%s %s", R(sigaction(SIGUSR1, &a, &o)), o.sa_handler == SIG_DFL ? "default" : "other");
    CASE("raise", "%s %d", R(raise(SIGUSR1)), hits);
    CASE("query", "%s %s", R(sigaction(SIGUSR1, 0, &o)), o.sa_handler == hit ? "mine" : "other");
    CASE("errors", "%s %s %s", R(sigaction(SIGKILL, &a, 0)), R(sigaction(SIGSTOP, &a, 0)), R(syscall(SYS_rt_sigaction, 99, 0, 0, 8)));
    CASE("set-size", "%s %s", R(syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 4)), R(syscall(SYS_rt_sigprocmask, 0, 0, 0, 4)));
    CASE("bad-pointer", "%s %s", R(syscall(SYS_rt_sigaction, SIGUSR1, BAD, 0, 8)), R(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, 0, 8)));
    a.sa_flags = SA_RESETHAND, sigaction(SIGUSR1, &a, 0), raise(SIGUSR1), sigaction(SIGUSR1, 0, &o);
    CASE("resethand", "%s", o.sa_handler == SIG_DFL ? "default" : "kept");
    a = (struct sigaction){.sa_sigaction = info, .sa_flags = SA_SIGINFO}, sigaddset(&a.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &a, 0), kill(getpid(), SIGUSR1);
    CASE("siginfo-kill", "code %d own %d uid %d", last.si_code, last.si_pid == getpid(), last.si_uid);
    CASE("mask-in-handler", "%d", in_mask);
    a.sa_flags |= SA_NODEFER, sigemptyset(&a.sa_mask), sigaction(SIGUSR1, &a, 0), raise(SIGUSR1);
    CASE("nodefer", "%d code %d", in_mask, last.si_code);
    sigqueue(getpid(), SIGUSR1, v);
    CASE("queue", "code %d value %d", last.si_code, last.si_value.sival_int);
    sigemptyset(&m), sigaddset(&m, SIGUSR1), sigaddset(&m, SIGRTMIN), sigaddset(&m, SIGRTMIN + 1), sigprocmask(SIG_BLOCK, &m, 0);
    hits = 0, kill(getpid(), SIGUSR1), kill(getpid(), SIGUSR1), sigpending(&p);
    CASE("pending", "%d %d", sigismember(&p, SIGUSR1), sigismember(&p, SIGUSR2));
    sigprocmask(SIG_UNBLOCK, &m, 0);
    CASE("merged", "%d", hits);
    t_handle(SIGRTMIN, hit, 0), t_handle(SIGRTMIN + 1, hit, 0), sigprocmask(SIG_BLOCK, &m, 0);
    hits = at = 0, sigqueue(getpid(), SIGRTMIN + 1, v), sigqueue(getpid(), SIGRTMIN, v), sigqueue(getpid(), SIGRTMIN, v), sigprocmask(SIG_UNBLOCK, &m, 0);
    CASE("real-time", "%d, last run %d", hits, order[2] - SIGRTMIN);
    sigprocmask(SIG_BLOCK, &m, 0);
    CASE("mask-kill", "%s %d", (sigfillset(&p), R(sigprocmask(SIG_SETMASK, &p, 0))), (sigprocmask(SIG_BLOCK, 0, &p), sigismember(&p, SIGKILL)));
    sigemptyset(&p), sigprocmask(SIG_SETMASK, &p, 0);
    CASE("mask-how", "%s", R(syscall(SYS_rt_sigprocmask, 9, &p, 0, 8)));
    stack_t st = {.ss_sp = alt, .ss_size = sizeof alt}, old;
    CASE("altstack", "%s %s %d", R(sigaltstack(&st, 0)), R(sigaltstack(0, &old)), old.ss_flags);
    a.sa_flags = SA_SIGINFO | SA_ONSTACK, sigaction(SIGUSR1, &a, 0), raise(SIGUSR1);
    CASE("on-altstack", "%d", on_stack);
    st.ss_size = 100;
    CASE("altstack-errors", "%s %s", R(sigaltstack(&st, 0)), (st.ss_size = sizeof alt, st.ss_flags = 99, R(sigaltstack(&st, 0))));
    CASE("stack-overflow", "%s", t_wait(CHILD(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); struct sigaction z = {.sa_handler = jump, .sa_flags = SA_ONSTACK}; sigaction(SIGSEGV, &z, 0); if (sigsetjmp(jb, 1)) _exit(3); volatile char *q = (char *)&q; for (;;) *(q -= 4096) = 1)));
    t_handle(SIGSEGV, jump, 0), t_handle(SIGFPE, jump, 0), t_handle(SIGILL, jump, 0), t_handle(SIGTRAP, jump, 0);
    volatile int z = 0, r = sigsetjmp(jb, 1);
    if (!r) *(volatile int *)BAD = 1;
    CASE("fault", "%d", r);
    if (!(r = sigsetjmp(jb, 1))) __asm__ volatile("xor %%edx, %%edx; idivl %0" : : "m"(z), "a"(1) : "edx");
    CASE("division", "%d", r);
    if (!(r = sigsetjmp(jb, 1))) __asm__("ud2");
    CASE("illegal", "%d", r);
    if (!(r = sigsetjmp(jb, 1))) __asm__("int3");
    CASE("trap", "%d", r);
    a.sa_flags = SA_SIGINFO, a.sa_sigaction = info;
    sigaction(SIGCHLD, &a, 0);
    pid_t c = CHILD(_exit(9));
    WAIT_FOR(last.si_signo == SIGCHLD);
    CASE("sigchld", "code %d status %d own %d", last.si_code, last.si_status, last.si_pid == c);
    t_wait(c);
    signal(SIGCHLD, SIG_DFL);
    CASE("kill-errors", "%s %s %s", R(kill(getpid(), 99)), R(kill(999999, 0)), R(kill(getpid(), 0)));
    CASE("tgkill", "%s %s %s", R(syscall(SYS_tgkill, getpid(), getpid(), 0)), R(syscall(SYS_tgkill, getpid(), 1, 0)), R(syscall(SYS_tgkill, -1, 1, 0)));
    CASE("tkill", "%s %s", R(syscall(SYS_tkill, getpid(), 0)), R(syscall(SYS_tkill, -1, 0)));
    CASE("queue-code-refused", "%s", ({ siginfo_t q = {.si_signo = SIGUSR1, .si_code = SI_USER}; R(syscall(SYS_rt_sigqueueinfo, 1, SIGUSR1, &q)); }));
    c = CHILD(setuid(1000); _exit(kill(getppid(), 0) == -1 && errno == EPERM ? 1 : 0));
    CASE("kill-not-permitted", "%s", t_wait(c));
    c = CHILD(setuid(1000); pause());
    t_ms(50), kill(c, SIGINT);
    CASE("killed-sleeping", "%s", t_wait(c));
    CASE("ignored", "%s", t_wait(CHILD(signal(SIGTERM, SIG_IGN); raise(SIGTERM); _exit(6))));
    CASE("default-ignored", "%s", t_wait(CHILD(raise(SIGWINCH); raise(SIGURG); raise(SIGCHLD); raise(SIGCONT); _exit(7))));
    CASE("sigreturn-registers", "%d", ({ register long x __asm__("r15") = 1234; __asm__ volatile("" : "+r"(x)); raise(SIGUSR1); __asm__ volatile("" : "+r"(x)); (int)x; }));
}
