/* Calls of rsc.h, and what becomes of wrong ones. The server has /f, with "file" in it. `calls attach`: opens files of two
 * sessions, once it is attached to. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <rsc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WANT(what)                                                                               \
    do {                                                                                         \
        if (!(what)) {                                                                           \
            printf("line %d: %s: errno %d, %s\n", __LINE__, #what, errno, rsc_last_error());     \
            return 1;                                                                            \
        }                                                                                        \
    } while (0)
#define FAILS(what, error) WANT((what) == -1 && errno == (error))

static void show(const char *name) {
    char text[64];
    int fd = open(name, O_RDONLY), got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got < 0) puts("not there");
    else printf("%.*s", got, text);
    fflush(stdout);
    if (fd >= 0) close(fd);
}

static int attached(void) {
    printf("ready %d\n", getpid());
    fflush(stdout);
    for (int tries = 0, fd = -1; fd < 0; tries++, usleep(20000)) {
        fd = open("/attached/f", O_RDONLY);
        if (fd >= 0) close(fd);
        WANT(tries < 1000);
    }
    show("/attached/f");
    WANT(rsc_region_begin(NULL) == 0);
    show("/r");
    WANT(rsc_region_end() == 0);
    show("/attached/f");
    show("/r");
    return 0;
}

int main(int argc, char **argv) {
    (void)argv;
    char text[64] = "", names[1024];
    struct stat stat;
    if (argc > 1) return attached();
    WANT(rsc_connect(NULL) == 0 && rsc_connect(NULL) == 0);
    int fd = rsc_open("/f", O_RDWR, 0);
    WANT(fd >= 0 && rsc_read(fd, text, 4) == 4 && !strcmp(text, "file"));
    WANT(rsc_pread(fd, text, 2, 2) == 2 && !memcmp(text, "le", 2) && rsc_lseek(fd, 0, SEEK_END) == 5);
    WANT(rsc_fstat(fd, &stat) == 0 && stat.st_size == 5 && S_ISREG(stat.st_mode));
    /* The C library's own calls work with the descriptor, and so does its number's copy. */
    WANT(lseek(fd, 1, SEEK_SET) == 1 && read(fd, text, 3) == 3 && !memcmp(text, "ile", 3));
    int copy = dup(fd);
    WANT(copy >= 0 && copy != fd && rsc_lseek(copy, 0, SEEK_CUR) == 4 && close(copy) == 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    WANT(poll(&polled, 1, 5000) == 1 && polled.revents & POLLIN);
    WANT(rsc_syscall(SYS_lseek, fd, 2, SEEK_SET) == 2);
    pid_t child = fork();
    if (child == 0) _exit(rsc_read(fd, text, 1) == 1 && *text == 'l' ? 0 : 1);
    int status;
    WANT(waitpid(child, &status, 0) == child && status == 0 && rsc_lseek(fd, 0, SEEK_CUR) == 3);
    WANT(rsc_ftruncate(fd, 2) == 0 && rsc_fsync(fd) == 0 && rsc_close(fd) == 0);
    FAILS(rsc_close(fd), EBADF);
    FAILS(rsc_read(0, text, 1), EBADF);
    FAILS(rsc_open("/none", O_RDONLY, 0), ENOENT);
    FAILS(rsc_syscall(SYS_getppid + 100000), ENOSYS);
    FAILS(rsc_syscall(SYS_fork), ENOSYS);
    WANT(rsc_mkdir("/d", 0755) == 0 && rsc_rename("/f", "/d/g") == 0 && rsc_stat("/d/g", &stat) == 0 && stat.st_size == 2);
    WANT(rsc_syscall(SYS_symlink, "g", "/d/l") == 0 && rsc_readlink("/d/l", text, sizeof text) == 1 && *text == 'g');
    WANT(rsc_lstat("/d/l", &stat) == 0 && S_ISLNK(stat.st_mode));
    fd = rsc_open("/d", O_RDONLY | O_DIRECTORY, 0);
    WANT(fd >= 0 && rsc_getdents64(fd, names, sizeof names) > 0 && rsc_close(fd) == 0);
    FAILS(rsc_rmdir("/d"), ENOTEMPTY);
    WANT(rsc_unlink("/d/l") == 0 && rsc_unlink("/d/g") == 0 && rsc_rmdir("/d") == 0);
    FAILS(rsc_region_end(), EINVAL);
    FAILS(rsc_region_begin("nosuchcall"), EACCES);
    WANT(strstr(rsc_last_error(), "nosuchcall"));
    struct rsc_settings other = {.sentry = "unix:///other"};
    WANT((fd = rsc_open("/", O_RDONLY, 0)) >= 0);
    FAILS(rsc_connect(&other), EBUSY);
    puts("ok");
    return 0;
}
