// SIGSTOP and SIGCONT in the middle of reads and writes: nothing lost, nothing twice.
#include "t.h"
const char *name = "stopcont";
static volatile int hits;
static void hit(int s) { (void)s, hits++; }
void cases(void) {
    int p[2], q[2], s;
    char b[64] = "";
    pipe(p), pipe(q);
    pid_t c = CHILD(char x[8] = ""; ssize_t n = read(p[0], x, 8); CASE("read", "%ld %s", (long)n, x));
    t_ms(100), kill(c, SIGSTOP);
    CASE("stopped-in-read", "%s", (waitpid(c, &s, WUNTRACED), t_status(s)));
    kill(c, SIGCONT), t_ms(50), kill(c, SIGSTOP), waitpid(c, &s, WUNTRACED), write(p[1], "data", 4), t_ms(50);
    CASE("stays-stopped", "%s", R(waitpid(c, &s, WNOHANG)));
    kill(c, SIGCONT);
    CASE("goes-on", "%s", t_wait(c));
    fcntl(q[1], F_SETPIPE_SZ, 4096);
    c = CHILD(close(q[0]); static char x[100000]; for (int i = 0; i < 100000; i++) x[i] = i % 251; int at = 0; while (at < 100000) { int k = write(q[1], x + at, 100000 - at); if (k <= 0) _exit(9); at += k; });
    close(q[1]);
    long total = 0, wrong = 0;
    fcntl(q[0], F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 10; i++) {
        t_ms(10), kill(c, SIGSTOP), waitpid(c, &s, WUNTRACED);
        int n = read(q[0], b, 50);
        for (int k = 0; k < n; k++) wrong += (unsigned char)b[k] != total++ % 251;
        kill(c, SIGCONT);
    }
    fcntl(q[0], F_SETFL, 0);
    static char big[5000];
    for (int n; (n = read(q[0], big, sizeof big)) > 0;)
        for (int k = 0; k < n; k++) wrong += (unsigned char)big[k] != total++ % 251;
    CASE("write-complete", "%ld bytes, %ld wrong, %s", total, wrong, t_wait(c));
    c = CHILD(t_handle(SIGCONT, hit, 0); ssize_t n = read(p[0], b, 8); CASE("cont-handler", "%ld %s %d", (long)n, n < 0 ? t_errno(errno) : "-", hits));
    t_ms(80), kill(c, SIGSTOP), waitpid(c, &s, WUNTRACED), kill(c, SIGCONT), t_wait(c);
    c = CHILD(struct timespec t = {0, 300000000}; long a = t_now(); int r = nanosleep(&t, 0); CASE("sleep", "%d %s", r, t_now() - a >= 300 ? "whole" : "short"));
    t_ms(50), kill(c, SIGSTOP), waitpid(c, &s, WUNTRACED), t_ms(20), kill(c, SIGCONT), t_wait(c);
    c = CHILD(pause());
    kill(c, SIGSTOP), waitpid(c, &s, WUNTRACED), kill(c, SIGTERM);
    CASE("term-while-stopped", "%s", R(waitpid(c, &s, WNOHANG)));
    kill(c, SIGCONT);
    CASE("then-killed", "%s", t_wait(c));
    c = CHILD(pause()), kill(c, SIGSTOP), waitpid(c, &s, WUNTRACED), kill(c, SIGKILL);
    CASE("kill-while-stopped", "%s", t_wait(c));
    struct epoll_event ev = {EPOLLIN, {0}};
    c = CHILD(int e = epoll_create1(0); epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev); CASE("epoll-stopped", "%s", R(epoll_wait(e, &ev, 1, 5000))));
    t_ms(80), kill(c, SIGSTOP), waitpid(c, &s, WUNTRACED), kill(c, SIGCONT), t_ms(30), write(p[1], "x", 1);
    CASE("epoll", "%s", t_wait(c));
    read(p[0], b, 8);
    c = CHILD(setpgid(0, 0); raise(SIGTSTP); CASE("tstp", "continued"));
    CASE("tstp-status", "%s", (waitpid(c, &s, WUNTRACED), t_status(s)));
    kill(c, SIGCONT), t_wait(c);
}
