// SIGPIPE and EPIPE; waking readers and writers at the other side's end; fork and inherited ends.
#include "t.h"
const char *name = "pipe_signals";
static volatile int got;
static void handler(int s) { got = s; }
void cases(void) {
    char b[8];
    int p[2];
    pipe(p), close(p[0]);
    CASE("default", "%s", t_wait(CHILD(write(p[1], "x", 1))));
    t_handle(SIGPIPE, SIG_IGN, 0);
    CASE("ignored", "%s", R(write(p[1], "x", 1)));
    t_handle(SIGPIPE, handler, 0);
    CASE("handled", "%s signal %d", R(write(p[1], "x", 1)), got);
    got = 0;
    CASE("zero-length", "%s signal %d", R(write(p[1], "x", 0)), got);
    sigset_t m, pend;
    sigemptyset(&m), sigaddset(&m, SIGPIPE), sigprocmask(SIG_BLOCK, &m, 0);
    CASE("blocked", "%s pending %d", R(write(p[1], "x", 1)), (sigpending(&pend), sigismember(&pend, SIGPIPE)));
    got = 0, sigprocmask(SIG_UNBLOCK, &m, 0);
    CASE("unblocked", "%d", got);
    close(p[1]);
    pipe(p);
    pid_t c = CHILD(close(p[1]); CASE("reader-woken-by-close", "%s", R(read(p[0], b, 8))));
    close(p[0]), t_ms(100), close(p[1]), t_wait(c);
    pipe(p);
    c = CHILD(close(p[0]); char x[65536]; write(p[1], x, 65536); t_handle(SIGPIPE, SIG_IGN, 0); CASE("writer-woken-by-close", "%s", R(write(p[1], x, 1))));
    close(p[1]), t_ms(100), close(p[0]), t_wait(c);
    pipe(p);
    c = CHILD(t_ms(50); write(p[1], "late", 4));
    close(p[1]);
    CASE("reader-waits", "%s then %s", R(read(p[0], b, 8)), R(read(p[0], b, 8)));
    t_wait(c), close(p[0]);
    pipe(p);
    c = CHILD(close(p[0]); t_handle(SIGPIPE, SIG_IGN, 0); static char x[200000]; CASE("partial-before-epipe", "%s", R(write(p[1], x, 200000)) [0] == 'E' ? "error" : "some"));
    close(p[1]), read(p[0], b, 8), t_ms(100), close(p[0]), t_wait(c);
}
