// What the preload library must get right, a line each; paths below argv[1] are remote, argv[2] is a folder of this machine.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char there[4096], here[4096];
static char *at(const char *base, const char *name) {
    static _Thread_local char path[2][8192];
    static _Thread_local int turn;
    char *p = path[turn++ & 1];
    snprintf(p, sizeof path[0], "%s/%s", base, name);
    return p;
}
#define SAY(name, ...) (printf("%s: ", name), printf(__VA_ARGS__), puts(""))
// The call comes before what is looked at after it.
#define DO(name, call, format, ...) do { errno = 0; long r = (long)(call); SAY(name, "%ld " format, r, __VA_ARGS__); } while (0)

static void files(void) {
    int fd = open(at(there, "f"), O_RDWR | O_CREAT | O_TRUNC, 0640);
    struct stat st;
    SAY("write", "%zd", write(fd, "0123456789", 10));
    SAY("pwrite", "%zd", pwrite(fd, "AB", 2, 3));
    struct iovec iov[2] = {{"xy", 2}, {"z", 1}};
    SAY("writev", "%zd", writev(fd, iov, 2));
    char buf[64] = "";
    SAY("lseek", "%ld", (long)lseek(fd, 1, SEEK_SET));
    struct iovec to[2] = {{buf, 4}, {buf + 10, 20}};
    DO("readv", readv(fd, to, 2), "%.4s %.8s", buf, buf + 10);
    fstat(fd, &st);
    SAY("fstat", "%ld %o", (long)st.st_size, st.st_mode);
    errno = 77;
    DO("errno kept", (errno = 77, dup2(fd, 200)), "%d", errno);
    SAY("dup shares its place", "%ld", (long)lseek(200, 0, SEEK_CUR));
    close(fd);
    SAY("dup lives on", "%zd", pread(200, buf, 3, 0));
    char *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 200, 0);
    SAY("mmap", "%.5s", map == MAP_FAILED ? "none" : map);
    close(200);
    DO("closed", read(200, buf, 1), "%s", strerror(errno));
    DO("missing", open(at(there, "none"), O_RDONLY), "%s", strerror(errno));
    SAY("access", "%d %d", access(at(there, "f"), R_OK), access(at(there, "none"), R_OK));
    DO("rename across", rename(at(there, "f"), at(here, "f")), "%s", strerror(errno));
    SAY("rename", "%d", rename(at(there, "f"), at(there, "g")));
    SAY("raw", "%ld", syscall(SYS_access, at(there, "g"), F_OK));
    int local = open(at(here, "l"), O_RDWR | O_CREAT | O_TRUNC, 0600), in = open(at(there, "g"), O_RDONLY);
    SAY("sendfile", "%zd", sendfile(local, in, NULL, 100));
    DO("copied", pread(local, buf, 13, 0), "%.13s", buf);
    SAY("lowest number", "%d", in - local);
    close(in), close(local);
    char name[8192];
    snprintf(name, sizeof name, "%s/tmpXXXXXX", there);
    fd = mkstemp(name);
    SAY("mkstemp", "%d %d", fd >= 0, access(name, F_OK));
    close(fd), unlink(name);
    SAY("realpath", "%s", realpath(at(there, "./d/.././g"), NULL) ? "found" : strerror(errno));
}

static void streams(void) {
    FILE *f = fopen(at(there, "s"), "w+");
    fprintf(f, "one\ntwo\n%d\n", 3);
    rewind(f);
    char line[100];
    while (fgets(line, sizeof line, f)) printf("stream: %s", line);
    SAY("ftell", "%ld", ftell(f));
    DO("fseek", fseek(f, 4, SEEK_SET), "%c", fgetc(f));
    SAY("fileno", "%d", fcntl(fileno(f), F_GETFL) & O_ACCMODE);
    SAY("fclose", "%d", fclose(f));
    f = fopen(at(there, "s"), "a");
    fputs("more\n", f), fclose(f);
    struct stat st;
    stat(at(there, "s"), &st);
    SAY("appended", "%ld", (long)st.st_size);
    mkdir(at(there, "dir"), 0755);
    close(creat(at(there, "dir/a"), 0644));
    close(creat(at(there, "dir/b"), 0644));
    DIR *d = opendir(at(there, "dir"));
    int count = 0;
    for (struct dirent *e; (e = readdir(d));) count++;
    rewinddir(d);
    for (struct dirent *e; (e = readdir(d));) count++;
    SAY("readdir", "%d %d", count, fstat(dirfd(d), &st));
    SAY("closedir", "%d", closedir(d));
}

static void *in_thread(void *arg) {
    char name[30], buf[2000];
    snprintf(name, sizeof name, "t%ld", (long)arg);
    for (int i = 0; i < 5; i++) {
        int fd = open(at(there, name), O_RDWR | O_CREAT | O_TRUNC, 0600);
        memset(buf, 'a' + (long)arg, sizeof buf);
        if (write(fd, buf, sizeof buf) != sizeof buf || pread(fd, buf, 1, 1999) != 1 || buf[0] != 'a' + (long)arg)
            return "wrong";
        close(fd);
    }
    return NULL;
}

static void processes(void) {
    pthread_t t[6];
    int wrong = 0;
    for (long i = 0; i < 6; i++) pthread_create(&t[i], NULL, in_thread, (void *)i);
    for (int i = 0; i < 6; i++) {
        void *result;
        pthread_join(t[i], &result);
        wrong += result != NULL;
    }
    SAY("threads", "%d wrong", wrong);
    int fd = open(at(there, "p"), O_RDWR | O_CREAT | O_TRUNC, 0600), status;
    write(fd, "parent ", 7);
    if (!fork()) {
        write(fd, "child ", 6);
        _exit(0);
    }
    wait(&status);
    if (!vfork()) {
        dup2(fd, 1);
        execlp("echo", "echo", "executed", NULL);
        _exit(127);
    }
    wait(&status);
    SAY("after exec", "%d", WEXITSTATUS(status));
    char buf[100] = "";
    pread(fd, buf, 99, 0);
    SAY("all of them wrote", "%s", buf);
    SAY("system", "%d", system("exit 3") >> 8);
    close(fd);
    chdir(there);
    getcwd(buf, sizeof buf);
    SAY("chdir", "%d %d", strcmp(buf, there), access("p", F_OK));
    fflush(stdout);
    SAY("inherited", "%d", system("test -f p && test -d dir") >> 8);
    chdir(here);
    SAY("back", "%d %d", access("p", F_OK), access("l", F_OK));
}

static volatile int handled;
static void handler(int sig) { handled = sig; }
static void *later(void *fd) {
    usleep(300000);
    write((int)(long)fd, "late", 4);
    return NULL;
}

static void waits(void) {
    mkfifo(at(there, "fifo"), 0600);
    int fd = open(at(there, "fifo"), O_RDWR), pair[2];
    char buf[10];
    pipe(pair);
    struct sigaction act = {.sa_handler = handler};
    sigaction(SIGALRM, &act, NULL);
    ualarm(200000, 0);
    DO("interrupted", read(fd, buf, 10), "%s %d", strerror(errno), handled == SIGALRM);
    act.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &act, NULL);
    handled = 0;
    pthread_t t;
    pthread_create(&t, NULL, later, (void *)(long)fd);
    ualarm(100000, 0);
    DO("restarted", read(fd, buf, 10), "%d", handled == SIGALRM);
    pthread_join(t, NULL);
    struct pollfd p[2] = {{fd, POLLIN, 0}, {pair[0], POLLIN, 0}};
    SAY("poll nothing", "%d", poll(p, 2, 50));
    write(pair[1], "x", 1);
    DO("poll local", poll(p, 2, 5000), "%d %d", p[0].revents, p[1].revents);
    read(pair[0], buf, 1);
    pthread_create(&t, NULL, later, (void *)(long)fd);
    DO("poll remote", poll(p, 2, 5000), "%d %d", p[0].revents, p[1].revents);
    pthread_join(t, NULL);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set), FD_SET(pair[0], &set);
    DO("select", select(100, &set, NULL, NULL, NULL), "%d", FD_ISSET(fd, &set) != 0);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    snprintf(there, sizeof there, "%s", argv[1]);
    snprintf(here, sizeof here, "%s", argv[2]);
    files();
    streams();
    processes();
    fflush(stdout);
    waits();
    return 0;
}
