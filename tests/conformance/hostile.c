// Calls with arguments that make no sense: each must answer with Linux's errno, and nothing may break.
#include "t.h"
#include <linux/unistd.h>
const char *name = "hostile";
void cases(void) {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    CASE("unknown-numbers", "%s %s %s", R(syscall(999)), R(syscall(100000)), R(syscall(-5)));
    CASE("high-bits-of-fd", "%s %s", R(syscall(SYS_lseek, 0x700000000l | fd, 0, SEEK_CUR)), R(syscall(SYS_read, -1l, 0, 0)));
    CASE("kernel-address", "%s %s", R(syscall(SYS_read, fd, 0xffffffff80000000, 4)), R(syscall(SYS_write, fd, 0xffffffff80000000, 4)));
    CASE("non-canonical", "%s %s", R(syscall(SYS_write, fd, 0x8000000000000000, 4)), R(syscall(SYS_open, 0x7fffffffffffffff, 0)));
    CASE("wrapping-length", "%s %s", R(syscall(SYS_write, fd, 0x7ffffffff000, 0x7fffffff)), R(syscall(SYS_write, fd, 16, -1l)));
    char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(m + 4096, 4096), memset(m, 'p', 4096);
    CASE("path-to-page-end", "%s", R(open(m + 4000, O_RDONLY)));
    strcpy(m + 4094, "f");
    CASE("path-ends-at-page-end", "%s", OK(close(open(m + 4094, O_RDONLY))));
    CASE("struct-over-page-end", "%s", R(syscall(SYS_fstat, fd, m + 4090)));
    CASE("iovec-over-page-end", "%s", R(syscall(SYS_readv, fd, m + 4088, 1)));
    write(fd, "0123456789", 10);
    CASE("read-over-page-end", "%s %.4s", R(pread(fd, m + 4092, 10, 0)), m + 4092);
    CASE("write-from-page-end", "%s", R(pwrite(fd, m + 4092, 10, 0)));
    CASE("sockaddr-length", "%s", ({ int s = socket(AF_UNIX, SOCK_STREAM, 0); R(syscall(SYS_bind, s, m, 0x7fffffff)); }));
    CASE("recv-negative-address-length", "%s", ({ int s = socket(AF_INET, SOCK_DGRAM, 0); struct sockaddr_in a; socklen_t n = -1; R(getsockname(s, (void *)&a, &n)); }));
    CASE("poll-many", "%s", R(syscall(SYS_poll, m, 0x7fffffff, 0)));
    CASE("epoll-many", "%s", ({ int e = epoll_create1(0); R(syscall(SYS_epoll_wait, e, m, 0x7fffffff, 0)); }));
    CASE("fcntl-commands", "%s %s %s", R(fcntl(fd, -1)), R(fcntl(fd, 1029, 77)), R(fcntl(fd, F_SETOWN, 0)));
    CASE("ioctl-unknown", "%s %s", R(ioctl(fd, 0x12345678, BAD)), R(ioctl(fd, 0, 0)));
    CASE("rename-nulls", "%s %s %s", R(syscall(SYS_rename, 0, 0)), R(syscall(SYS_symlink, 0, "x")), R(syscall(SYS_link, "f", 0)));
    CASE("mount-refused", "%s", t_wait(CHILD(setuid(1000); _exit(syscall(SYS_mount, "none", "/", "tmpfs", 0, 0) == -1 && errno == EPERM))));
    CASE("umount-refused", "%s", t_wait(CHILD(setuid(1000); _exit(syscall(SYS_umount2, "/", 0) == -1 && errno == EPERM))));
    CASE("reboot-refused", "%s", t_wait(CHILD(setuid(1000); _exit(syscall(SYS_reboot, 0, 0, 0, 0) == -1 && errno == EPERM))));
    CASE("ptrace-refused", "%s", R(syscall(SYS_ptrace, 16, 999999, 0, 0)));
    CASE("old-calls", "%s %s %s", R(syscall(SYS_uselib, "f")), R(syscall(SYS_create_module, 0)), R(syscall(SYS_vserver)));
    CASE("vm-readv-self", "%s", ({ char x[4] = "abc", y[4] = ""; struct iovec l = {y, 4}, r = {x, 4}; long n = syscall(SYS_process_vm_readv, getpid(), &l, 1, &r, 1, 0); n == 4 || (n < 0 && (errno == ENOSYS || errno == EPERM)) ? "copied or refused" : "?"; }));
    CASE("getdents-of-nothing", "%s %s", R(syscall(SYS_getdents64, fd, m, 100)), R(syscall(SYS_getdents, fd, m, 100)));
    CASE("nul-in-middle", "%s", ({ memcpy(m, "f\0junk", 7); OK(close(open(m, O_RDONLY))); }));
    CASE("vfs-long-symlink", "%s", ({ char *l = malloc(5000); memset(l, 'x', 4096); l[4096] = 0; R(symlink(l, "sl")); }));
    CASE("still-well", "%s", R(pread(fd, m, 4, 0)));
}
