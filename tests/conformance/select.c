// select and pselect6: sets in and out, time left, wrong descriptors.
#include "t.h"
const char *name = "select";
void cases(void) {
    fd_set r, w, x;
    int p[2];
    char b[4];
    pipe(p);
    struct timeval z = {0, 0}, t = {0, 30000};
    FD_ZERO(&r); FD_ZERO(&w); FD_ZERO(&x); FD_SET(p[0], &r), FD_SET(p[1], &w), FD_SET(p[0], &x);
    CASE("writable", "%s %d %d %d", R(select(p[1] + 1, &r, &w, &x, &z)), FD_ISSET(p[0], &r) != 0, FD_ISSET(p[1], &w) != 0, FD_ISSET(p[0], &x) != 0);
    FD_ZERO(&r); FD_SET(p[0], &r);
    CASE("time-out", "%s left %ld set %d", R(select(p[1] + 1, &r, 0, 0, &t)), (long)t.tv_usec, FD_ISSET(p[0], &r) != 0);
    write(p[1], "x", 1), FD_SET(p[0], &r), FD_SET(p[1], &w);
    CASE("both", "%s", R(select(p[1] + 1, &r, &w, 0, 0)));
    FD_ZERO(&r); FD_SET(p[1], &r);
    CASE("beyond-n", "%s %d", R(select(p[1], &r, 0, 0, &z)), FD_ISSET(p[1], &r) != 0);
    FD_ZERO(&r); FD_SET(50, &r);
    CASE("bad-fd", "%s", R(select(100, &r, 0, 0, &z)));
    struct timeval neg = {-1, 0};
    CASE("errors", "%s %s %s", R(select(-1, 0, 0, 0, &z)), R(select(0, 0, 0, 0, &neg)), R(select(5, BAD, 0, 0, &z)));
    t.tv_usec = 20000;
    CASE("sleep", "%s", R(select(0, 0, 0, 0, &t)));
    CASE("huge-n", "%s", R(select(1 << 30, 0, 0, 0, &z)));
    read(p[0], b, 1);
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    pid_t c = CHILD(t_ms(50); close(p[0]); close(p[1]));
    close(p[1]);
    struct timespec ts = {5, 0};
    CASE("pselect-end", "%s %d %ld", R(pselect(p[0] + 1, &r, 0, 0, &ts, 0)), FD_ISSET(p[0], &r) != 0, (long)ts.tv_sec);
    t_wait(c);
    struct { const void *m; size_t n; } arg = {&r, 3};
    CASE("pselect6-set-size", "%s", R(syscall(SYS_pselect6, 0, 0, 0, 0, &ts, &arg)));
    int f = open("f", O_CREAT | O_RDWR, 0644);
    FD_ZERO(&r); FD_ZERO(&w); FD_SET(f, &r), FD_SET(f, &w);
    CASE("file", "%s", R(select(f + 1, &r, &w, 0, &z)));
}
