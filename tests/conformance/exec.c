// execve: arguments, environment, ids of the image, what is reset and what stays; execveat; scripts; what can't be executed.
#include "t.h"
#include <sys/auxv.h>
const char *name = "exec";
extern char **environ;
static char self[PATH_MAX];
static volatile int hits;
static void hit(int s) { (void)s, hits++; }
int again(int c, char **v) {
    if (!strcmp(v[2], "args")) {
        char b[256] = "";
        for (int i = 3; i < c; i++) strcat(strcat(b, " "), v[i]);
        CASE("argv", "%d%s", c, b);
        int n = 0;
        while (environ[n]) n++;
        CASE("environ", "%d %s %s", n, environ[0] ? environ[0] : "-", n > 1 ? environ[1] : "-");
        CASE("auxv", "page %lu uid %lu secure %lu random %d execfn %s", getauxval(AT_PAGESZ), getauxval(AT_UID), getauxval(AT_SECURE), getauxval(AT_RANDOM) != 0, strrchr((char *)getauxval(AT_EXECFN), '/') + 1);
    } else if (!strcmp(v[2], "signals")) {
        struct sigaction u, x;
        sigset_t m, p;
        sigaction(SIGUSR1, 0, &u), sigaction(SIGUSR2, 0, &x), sigprocmask(SIG_BLOCK, 0, &m), sigpending(&p);
        CASE("dispositions", "handled %s ignored %s", u.sa_handler == SIG_DFL ? "default" : "other", x.sa_handler == SIG_IGN ? "ignored" : "other");
        CASE("mask-kept", "%d pending %d", sigismember(&m, SIGHUP), sigismember(&p, SIGHUP));
        char n[16] = "";
        prctl(PR_GET_NAME, n);
        CASE("comm", "%s", n);
        CASE("kept", "umask %o nice %d pid %s", umask(022), getpriority(PRIO_PROCESS, 0), v[3] && atoi(v[3]) == getpid() ? "the same" : "another");
    } else if (!strcmp(v[2], "big")) {
        long t = 0;
        for (int i = 3; i < c; i++) t += strlen(v[i]);
        CASE("big", "%d arguments %ld bytes", c, t);
    } else if (!strcmp(v[2], "alarm")) {
        // Blocked until there is a handler.
        sigset_t m;
        sigemptyset(&m), t_handle(SIGALRM, hit, 0);
        CASE("alarm-kept", "%s", sigsuspend(&m) < 0 && hits ? "came" : "no");
    }
    return 0;
}
static void *exec_thread(void *p) {
    char *v[] = {"t", "x", "signals", p, 0};
    execv("/proc/self/exe", v);
    return 0;
}
void cases(void) {
    char *env[] = {"A=1", "B=two words", 0}, *noenv[] = {0}, pid[16];
    readlink("/proc/self/exe", self, sizeof self - 1);
    t_wait(CHILD(char *v[] = {"zero", "x", "args", "one", "", "last arg", 0}; execve(self, v, env)));
    t_wait(CHILD(char *v[] = {"z", "x", "args", 0}; execve(self, v, noenv)));
    t_wait(CHILD(t_handle(SIGUSR1, hit, 0); signal(SIGUSR2, SIG_IGN); sigset_t m; sigemptyset(&m); sigaddset(&m, SIGHUP); sigprocmask(SIG_BLOCK, &m, 0); kill(getpid(), SIGHUP); umask(027); nice(3); sprintf(pid, "%d", getpid());
        char *v[] = {"z", "x", "signals", pid, 0}; execve(self, v, env)));
    CASE("from-thread", "%s", t_wait(CHILD(sprintf(pid, "%d", getpid()); pthread_t t; pthread_create(&t, 0, exec_thread, pid); pause())));
    t_wait(CHILD(struct itimerval t = {{0, 0}, {0, 300000}}; sigset_t m; sigemptyset(&m), sigaddset(&m, SIGALRM), sigprocmask(SIG_BLOCK, &m, 0); setitimer(ITIMER_REAL, &t, 0); char *v[] = {"z", "x", "alarm", 0}; execve(self, v, env)));
    t_wait(CHILD(char *v[2000]; v[0] = "z", v[1] = "x", v[2] = "big"; char *s = malloc(101); memset(s, 'y', 100), s[100] = 0; for (int i = 3; i < 1999; i++) v[i] = s; v[1999] = 0; execve(self, v, env)));
    char *v[] = {"z", "x", "args", 0}, *huge = malloc(200000);
    memset(huge, 'h', 199999), huge[199999] = 0;
    char *hv[] = {"z", huge, 0};
    CASE("too-big", "%s", R(execve(self, hv, env)));
    CASE("bad-pointers", "%s %s %s", R(execve(BAD, v, env)), R(execve(self, BAD, env)), R(execve(self, (char *[]){BAD, 0}, env)));
    t_spit("text", "no program\n"), t_spit("noexec", "#!/bin/sh\n"), mkdir("dir", 0755), chmod("text", 0755), t_spit("empty", ""), chmod("empty", 0755);
    CASE("missing", "%s %s %s", R(execve("none", v, env)), R(execve("text/x", v, env)), R(execve("", v, env)));
    CASE("not-executable", "%s %s %s %s", R(execve("noexec", v, env)), R(execve("dir", v, env)), R(execve("text", v, env)), R(execve("empty", v, env)));
    t_spit("lost", "#!/none/interpreter\n"), chmod("lost", 0755);
    CASE("missing-interpreter", "%s", R(execve("lost", v, env)));
    char elf[64] = "\177ELF\2\1\1";
    int fd = open("broken", O_CREAT | O_WRONLY, 0755);
    write(fd, elf, 64), close(fd);
    CASE("broken-elf", "%s", R(execve("broken", v, env)));
    t_spit("script", "#!/bin/sh\necho \"case script: $# $1 $2\"\n"), chmod("script", 0755);
    t_wait(CHILD(char *w[] = {"ignored", "first", "second", 0}; execve("./script", w, env)));
    t_spit("opts", "#! /bin/sh -eu  \nfalse || exit 5\n"), chmod("opts", 0755);
    CASE("script-options", "%s", t_wait(CHILD(execve("./opts", v, env))));
    t_spit("nested", "#!./script\n"), chmod("nested", 0755);
    t_wait(CHILD(char *w[] = {"n", 0}; execve("./nested", w, env)));
    t_spit("self-ref", "#!./self-ref\n"), chmod("self-ref", 0755);
    CASE("script-loop", "%s", R(execve("./self-ref", v, env)));
    fd = open(self, O_RDONLY);
    CASE("execveat-empty", "%s", t_wait(CHILD(syscall(SYS_execveat, fd, "", (char *[]){"z", "x", "none", 0}, env, AT_EMPTY_PATH); _exit(99))));
    int d = open(".", O_RDONLY);
    CASE("execveat-dir", "%s", t_wait(CHILD(syscall(SYS_execveat, d, "opts", v, env, 0); _exit(99))));
    CASE("execveat-errors", "%s %s %s", R(syscall(SYS_execveat, d, "", v, env, 0)), R(syscall(SYS_execveat, 99, "opts", v, env, 0)), R(syscall(SYS_execveat, d, "opts", v, env, 1)));
    symlink("opts", "link");
    CASE("execveat-nofollow", "%s", R(syscall(SYS_execveat, d, "link", v, env, AT_SYMLINK_NOFOLLOW)));
    CASE("busy-text", "%s", ({ int w = open(self, O_WRONLY); w < 0 ? t_errno(errno) : "writable"; }));
    CASE("user-noexec", "%s", t_wait(CHILD(chmod("script", 0700); setuid(1000); execve("./script", v, env); _exit(errno == EACCES ? 3 : 4))));
}
