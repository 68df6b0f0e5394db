/* Workloads of the engine's tests: the first argument says which. They write lines to 1 and use the fake pipe 3, 4. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    write(1, line, length);
}

static void nap(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) && errno == EINTR) {}
}

static volatile int handled;
static void handler(int signal) { handled = signal; }

static void handle(int signal, int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signal, &action, 0);
}

static int hello(int argc, char **argv) {
    char name[17] = {0};
    prctl(PR_GET_NAME, name);
    say("hello %d %s %s %s\n", argc, argv[2] ? argv[2] : "-", getenv("A"), name);
    say("uid %lu execfn %s\n", getauxval(AT_UID), strrchr((char *)getauxval(AT_EXECFN), '/'));
    return 7;
}

static int memory(void) {
    char *a = malloc(100), *b = malloc(10 << 20);
    memset(b, 1, 10 << 20);
    char *start = sbrk(0);
    int grown = sbrk(1 << 20) == start;
    *start = 1;
    say("brk %d\n", grown);
    free(a), free(b);
    return 0;
}

static int forks(void) {
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (child == 0) {
            say("child %d\n", i);
            _exit(i);
        }
        int status;
        pid_t got = waitpid(child, &status, 0);
        say("waited %d %d\n", got == child, WEXITSTATUS(status));
    }
    return 0;
}

static int sum;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *adder(void *value) {
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&lock);
        sum += (long)value;
        pthread_mutex_unlock(&lock);
    }
    say("thread\n");
    return 0;
}

static int threads(void) {
    pthread_t t[4];
    for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, adder, (void *)(i + 1));
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    say("sum %d\n", sum);
    return 0;
}

/* A blocked read and SIGALRM, with or without SA_RESTART; a child writes later. */
static int interrupted(int flags) {
    handle(SIGALRM, flags);
    pid_t child = fork();
    if (child == 0) {
        nap(200);
        write(4, "data", 4);
        _exit(0);
    }
    struct itimerval timer = {{0, 0}, {0, 50000}};
    setitimer(ITIMER_REAL, &timer, 0);
    char buffer[16] = {0};
    int got = read(3, buffer, 16);
    say("read %d %s %s handled %d\n", got, got < 0 ? strerror(errno) : "-", buffer, handled == SIGALRM);
    if (got < 0) say("again %zd\n", read(3, buffer, 16));
    wait(0);
    return 0;
}

/* Ignored signals, by default or choice, disturb nothing, not even calls that never restart. */
static int ignored(void) {
    pid_t child = fork();
    if (child == 0) {
        nap(50);
        kill(getppid(), SIGWINCH);
        kill(getppid(), SIGURG);
        nap(50);
        write(4, "x", 1);
        _exit(0);
    }
    struct pollfd fd = {3, POLLIN};
    say("ppoll %d\n", ppoll(&fd, 1, 0, 0));
    char c;
    say("read %zd\n", read(3, &c, 1));
    waitpid(child, 0, 0);
    return 0;
}

static int stopped(void) {
    pid_t child = fork();
    if (child == 0) {
        char buffer[16] = {0};
        for (int i = 0; i < 3; i++) {
            int got = read(3, buffer, 4);
            say("read %d %.4s\n", got, buffer);
        }
        _exit(3);
    }
    int status;
    for (int i = 0; i < 3; i++) {
        nap(30);
        kill(child, SIGSTOP);
        waitpid(child, &status, WUNTRACED);
        say("stopped %d\n", WIFSTOPPED(status));
        if (i == 1) write(4, "abcd", 4);
        nap(20);
        kill(child, SIGCONT);
        waitpid(child, &status, WCONTINUED);
        say("continued %d\n", WIFCONTINUED(status));
        nap(30);
        if (i != 1) write(4, "efgh", 4);
        nap(30);
    }
    waitpid(child, &status, 0);
    say("exit %d\n", WEXITSTATUS(status));
    return 0;
}

/* ppoll with a mask that unblocks: the handler runs, EINTR, and the old mask is back. */
static int masked(void) {
    sigset_t block, none, now;
    sigemptyset(&none), sigemptyset(&block), sigaddset(&block, SIGUSR1);
    handle(SIGUSR1, SA_RESTART);
    sigprocmask(SIG_BLOCK, &block, 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        nap(60);
        kill(parent, SIGUSR1);
        nap(60);
        kill(parent, SIGUSR1);
        write(4, "x", 1);
        _exit(0);
    }
    struct pollfd fd = {3, POLLIN};
    int got = ppoll(&fd, 1, 0, &none);
    sigprocmask(SIG_BLOCK, 0, &now);
    say("ppoll %d %d handled %d blocked %d\n", got, errno == EINTR, handled == SIGUSR1, sigismember(&now, SIGUSR1));
    handled = 0;
    got = ppoll(&fd, 1, 0, 0);
    say("ppoll %d handled %d\n", got, handled);
    sigset_t pending;
    waitpid(child, 0, 0);
    sigpending(&pending);
    say("pending %d\n", sigismember(&pending, SIGUSR1));
    sigsuspend(&none);
    say("sigsuspend handled %d\n", handled == SIGUSR1);
    return 0;
}

static int files(const char *path) {
    int fd = open(path, O_RDONLY);
    char *p = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *q = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 4096);
    char *r = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say("mmap %d %d %s\n", p != MAP_FAILED, q != MAP_FAILED, r == MAP_FAILED ? strerror(errno) : "writable");
    p[0] = 'x';
    say("%.4s %.4s %.4s\n", p, p + 4096 + 1, q + 2);
    say("protect %d\n", mprotect(q, 4096, PROT_READ | PROT_WRITE));
    for (int i = 0; i < 200; i++) {
        char *m = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        if (m == MAP_FAILED) say("mmap %d: %s\n", i, strerror(errno));
        munmap(m, 4096);
    }
    return 0;
}

/* Threads map files while others fork: no child may keep a descriptor of the host's. */
static const char *mapped;
static volatile int stop;
static void *mapper(void *unused) {
    int fd = open(mapped, O_RDONLY);
    while (!stop) {
        char *m = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        if (m == MAP_FAILED || m[1] != '1') say("mmap: %s\n", strerror(errno));
        munmap(m, 4096);
    }
    return 0;
}

static int mixed(const char *path) {
    pthread_t t[3];
    mapped = path;
    for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, mapper, 0);
    int bad = 0;
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) _exit(i);
        int status;
        if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != i) bad++;
    }
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(t[i], 0);
    say("bad %d\n", bad);
    return 0;
}

static char *self, *next[] = {"renamed", "hello", "again", 0}, *bad[] = {"x", 0};

static void *executor(void *unused) {
    execv(self, next);
    say("exec: %s\n", strerror(errno));
    return 0;
}

static int execs(const char *how) {
    if (!strcmp(how, "plain")) {
        execv("/does/not/exist", next);
        say("exec: %s\n", strerror(errno));
        execv(self, (char **)8);
        say("exec: %s\n", strerror(errno));
        execv(self, next);
    } else if (!strcmp(how, "thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, executor, 0);
        for (;;) pause();
    } else if (!strcmp(how, "vfork")) {
        pid_t child = vfork();
        if (child == 0) {
            execv(self, next);
            _exit(1);
        }
        int status;
        waitpid(child, &status, 0);
        say("waited %d\n", WEXITSTATUS(status));
        return 0;
    }
    return 1;
}

static int fatal(void) {
    pid_t child = fork();
    if (child == 0) {
        char c;
        read(3, &c, 1);
        _exit(0);
    }
    nap(40);
    kill(child, SIGTERM);
    int status;
    waitpid(child, &status, 0);
    say("signal %d\n", WTERMSIG(status));
    child = fork();
    if (child == 0) {
        *(volatile int *)0 = 1;
        _exit(0);
    }
    waitpid(child, &status, 0);
    say("signal %d\n", WTERMSIG(status));
    child = fork();
    if (child == 0) {
        struct pollfd fd = {3, POLLIN};
        for (;;) ppoll(&fd, 1, 0, 0);
    }
    nap(40);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    say("signal %d\n", WTERMSIG(status));
    return 0;
}

/* Entries that are not the 64-bit one. */
static int entries(void) {
    long value = 20;
    __asm__ volatile("int $0x80" : "+a"(value) : : "memory", "r8", "r9", "r10", "r11");
    say("int 0x80 %ld\n", value);
    errno = 0;
    value = syscall(0x40000000 | SYS_getpid);
    say("x32 %ld %d\n", value, errno);
    errno = 0;
    value = syscall(0x727363);
    say("magic %ld %d\n", value, errno);
    errno = 0;
    value = syscall(SYS_clone, 0x00800000 | SIGCHLD, 0, 0, 0, 0);
    say("untraced %ld %d\n", value, errno);
    return 0;
}

/* Many signals into many short and long calls: each byte arrives once. */
static int storm(void) {
    handle(SIGALRM, SA_RESTART);
    struct itimerval timer = {{0, 700}, {0, 700}};
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 300; i++) {
            char c = 'a' + i % 26;
            if (write(4, &c, 1) != 1) _exit(1);
            if (i % 10 == 0) nap(3);
        }
        _exit(0);
    }
    setitimer(ITIMER_REAL, &timer, 0);
    int bad = 0;
    for (int i = 0; i < 300; i++) {
        char c = 0;
        int got = read(3, &c, 1);
        if (got != 1 || c != 'a' + i % 26) bad++;
    }
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_REAL, &timer, 0);
    say("bad %d handled %d\n", bad, handled == SIGALRM);
    return 0;
}

/* Reads and writes one byte at a time while somebody outside freezes and thaws. */
static int frozen(void) {
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 400; i++) {
            char c = 'a' + i % 26;
            if (write(4, &c, 1) != 1) _exit(1);
            if (i % 40 == 0) nap(12);
        }
        _exit(0);
    }
    int bad = 0;
    for (int i = 0; i < 400; i++) {
        char c = 0;
        if (read(3, &c, 1) != 1 || c != 'a' + i % 26) bad++;
    }
    int status;
    waitpid(child, &status, 0);
    say("bad %d %d\n", bad, status);
    return 0;
}

/* What a lying kernel can do: it answers these calls wrongly. */
static int lies(void) {
    char near[8] = "before", buffer[4], after[8] = "after";
    errno = 0;
    int got = syscall(SYS_getcwd, buffer, 4);
    say("getcwd %d %d %s %s\n", got, errno, near, after);
    errno = 0;
    got = open("/dev/null", O_RDONLY);
    say("open %d %d\n", got, errno);
    errno = 0;
    got = syscall(SYS_fchdir, 0);
    say("fchdir %d %d\n", got, errno);
    errno = 0;
    got = syscall(SYS_umask, 0);
    say("umask %d %d\n", got, errno);
    errno = 0;
    got = syscall(SYS_sync);
    say("sync %d %d\n", got, errno);
    return 0;
}

/* Stops and handlers in waits that go on by restart_syscall, native ones and the kernel's. */
static int restarts(void) {
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        for (int i = 0; i < 3; i++) {
            nap(60);
            kill(getppid(), i == 2 ? SIGUSR2 : SIGWINCH);
        }
        _exit(0);
    }
    handle(SIGUSR2, SA_RESTART);
    struct pollfd fd = {3, POLLIN};
    int got = poll(&fd, 1, -1);
    say("poll %d %d handled %d\n", got, errno == EINTR, handled == SIGUSR2);
    waitpid(child, 0, 0);
    child = fork();
    if (child == 0) {
        got = poll(&fd, 1, -1);
        char c;
        read(3, &c, 1);
        struct timespec before, after, wait = {0, 150000000}, left = {9, 9};
        clock_gettime(CLOCK_MONOTONIC, &before);
        int slept = nanosleep(&wait, &left);
        clock_gettime(CLOCK_MONOTONIC, &after);
        long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
        say("poll %d sleep %d %d\n", got, slept, ms >= 149);
        _exit(0);
    }
    for (int i = 0; i < 4; i++) {
        nap(40);
        kill(child, SIGSTOP);
        waitpid(child, 0, WUNTRACED);
        nap(10);
        kill(child, SIGCONT);
        if (i == 1) write(4, "x", 1);
    }
    waitpid(child, 0, 0);
    return 0;
}

/* Whatever its tasks do, the sandbox ends when init is killed from outside. */
static void *reader(void *unused) {
    char c;
    read(3, &c, 1);
    return 0;
}
static int killed(void) {
    pthread_t t;
    for (int i = 0; i < 3; i++) pthread_create(&t, 0, reader, 0);
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            if (i == 0) reader(0);
            if (i == 1) for (;;) pause();
            for (;;) syscall(SYS_sync);
        }
    }
    nap(50);
    say("ready\n");
    reader(0);
    return 0;
}

static int epoll(void) {
    sigset_t block, none, now;
    sigemptyset(&none), sigemptyset(&block), sigaddset(&block, SIGUSR1);
    handle(SIGUSR1, SA_RESTART);
    sigprocmask(SIG_BLOCK, &block, 0);
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) {
            nap(40);
            kill(getppid(), SIGWINCH);
            nap(20);
            kill(getppid(), SIGUSR1);
            _exit(0);
        }
        handled = 0;
        int got;
        if (i == 0) {
            struct epoll_event event;
            got = epoll_pwait(9, &event, 1, -1, &none);
        } else if (i == 1) {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(3, &set);
            got = pselect(4, &set, 0, 0, 0, &none);
        } else {
            got = sigsuspend(&none);
        }
        int error = errno;
        sigprocmask(SIG_BLOCK, 0, &now);
        say("%d %d handled %d blocked %d\n", got, error == EINTR, handled == SIGUSR1, sigismember(&now, SIGUSR1));
        while (waitpid(child, 0, 0) < 0) {}
    }
    return 0;
}

/* Not a test: what a call, a fork, a mapping and an exec cost. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int costs(const char *path) {
    double start = now();
    for (int i = 0; i < 20000; i++) syscall(SYS_sync);
    say("call %.1f us\n", (now() - start) / 20000);
    start = now();
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        waitpid(child, 0, 0);
    }
    say("fork, exit, wait %.1f us\n", (now() - start) / 200);
    int fd = open(path, O_RDONLY);
    start = now();
    for (int i = 0; i < 1000; i++) munmap(mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0), 4096);
    say("mmap of a file %.1f us\n", (now() - start) / 1000);
    start = now();
    for (int i = 0; i < 100; i++) {
        pid_t child = vfork();
        if (child == 0) {
            execl(self, "x", "nothing", NULL);
            _exit(1);
        }
        waitpid(child, 0, 0);
    }
    say("vfork, exec, wait %.1f us\n", (now() - start) / 100);
    return 0;
}

int main(int argc, char **argv) {
    self = (char *)getauxval(AT_EXECFN);
    char *what = argc > 1 ? argv[1] : "hello";
    if (argc > 1 && strchr(what, '/')) what = "hello";
    if (!strcmp(what, "hello")) return hello(argc, argv);
    if (!strcmp(what, "memory")) return memory();
    if (!strcmp(what, "forks")) return forks();
    if (!strcmp(what, "threads")) return threads();
    if (!strcmp(what, "eintr")) return interrupted(0);
    if (!strcmp(what, "restart")) return interrupted(SA_RESTART);
    if (!strcmp(what, "ignored")) return ignored();
    if (!strcmp(what, "stopped")) return stopped();
    if (!strcmp(what, "masked")) return masked();
    if (!strcmp(what, "files")) return files(argv[2]);
    if (!strcmp(what, "mixed")) return mixed(argv[2]);
    if (!strcmp(what, "execs")) return execs(argv[2]);
    if (!strcmp(what, "fatal")) return fatal();
    if (!strcmp(what, "entries")) return entries();
    if (!strcmp(what, "storm")) return storm();
    if (!strcmp(what, "costs")) return costs(argv[2]);
    if (!strcmp(what, "restarts")) return restarts();
    if (!strcmp(what, "killed")) return killed();
    if (!strcmp(what, "epoll")) return epoll();
    if (!strcmp(what, "frozen")) return frozen();
    if (!strcmp(what, "lies")) return lies();
    return 2;
}
