// mknod and FIFOs: opening blocks until the other side is there.
#include "t.h"
#include <sys/sysmacros.h>
const char *name = "fifo";
static void nothing(int s) { (void)s; }
void cases(void) {
    struct stat s;
    char b[16] = "";
    CASE("mkfifo", "%s %o", R(mkfifo("p", 0666)), (stat("p", &s), s.st_mode));
    CASE("mknod-file", "%s %o", R(mknod("reg", S_IFREG | 0640, 0)), (stat("reg", &s), s.st_mode));
    CASE("mknodat", "%s", R(mknodat(AT_FDCWD, "p2", S_IFIFO | 0600, 0)));
    CASE("mknod-exists", "%s", R(mknod("p", S_IFIFO | 0600, 0)));
    CASE("mknod-socket", "%s %o", R(mknod("s", S_IFSOCK | 0600, 0)), (stat("s", &s), s.st_mode));
    CASE("mknod-dir", "%s %s", R(mknod("x", S_IFDIR | 0600, 0)), R(mknod("x", 0170000, 0)));
    CASE("mknod-user-device", "%s", t_wait(CHILD(chmod(".", 0777); setuid(1000); _exit(mknod("dev", S_IFCHR | 0600, makedev(1, 3)) && errno == EPERM ? 3 : 4))));
    CASE("open-socket-node", "%s", R(open("s", O_RDONLY)));
    CASE("write-end-nonblock", "%s", R(open("p", O_WRONLY | O_NONBLOCK)));
    int r = open("p", O_RDONLY | O_NONBLOCK);
    CASE("read-end-nonblock", "%s %s", r >= 0 ? "ok" : "no", R(read(r, b, 1)));
    int w = open("p", O_WRONLY | O_NONBLOCK);
    CASE("empty", "%s", R(read(r, b, 1)));
    CASE("transfer", "%s %s %s", R(write(w, "hello", 5)), R(read(r, b, 16)), b);
    fstat(r, &s);
    CASE("fstat", "%o size %ld", s.st_mode, (long)s.st_size);
    close(w);
    CASE("end", "%s", R(read(r, b, 1)));
    close(r);
    pid_t p = CHILD(int fd = open("p", O_WRONLY); write(fd, "from child", 10));
    r = open("p", O_RDONLY);
    CASE("blocking-open", "%s %s", R(read(r, b, 10)), b);
    t_wait(p), close(r);
    r = open("p", O_RDWR);
    CASE("read-write", "%s %s", R(write(r, "x", 1)), R(read(r, b, 1)));
    close(r);
    p = CHILD(alarm(0); t_handle(SIGALRM, nothing, 0);
        struct itimerval t = {{0, 50000}, {0, 50000}}; setitimer(ITIMER_REAL, &t, 0); CASE("open-interrupted", "%s", R(open("p", O_RDONLY))));
    t_wait(p);
}
