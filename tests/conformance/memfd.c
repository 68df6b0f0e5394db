// memfd_create and its seals.
#include "t.h"
const char *name = "memfd";
void cases(void) {
    char b[16] = "";
    struct stat s;
    int fd = memfd_create("n", MFD_CLOEXEC | MFD_ALLOW_SEALING), u = memfd_create("u", 0);
    CASE("create", "%d %d", fcntl(fd, F_GETFD), fcntl(u, F_GETFD));
    CASE("write", "%s %s %s", R(write(fd, "hello", 5)), R(pread(fd, b, 16, 0)), b);
    CASE("stat", "%s %o %ld %ld", R(fstat(fd, &s)), s.st_mode, (long)s.st_size, (long)s.st_nlink);
    CASE("truncate", "%s %s", R(ftruncate(fd, 8192)), R(lseek(fd, 0, SEEK_END)));
    CASE("name", "%s", (b[readlink(t_fmt("/proc/self/fd/%d", fd), b, 15)] = 0, b));
    char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    m[0] = 'J';
    CASE("shared", "%s %c", R(pread(fd, b, 1, 0)), b[0]);
    pwrite(fd, "Q", 1, 4096);
    CASE("coherent", "%c", m[4096]);
    CASE("seal-mapped", "%s", R(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
    munmap(m, 8192);
    CASE("seals", "%s %s %s", R(fcntl(fd, F_GET_SEALS)), R(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE)), R(fcntl(fd, F_GET_SEALS)));
    CASE("sealed", "%s %s %s", R(write(fd, "x", 1)), R(ftruncate(fd, 1)), R(ftruncate(fd, 10000)));
    CASE("sealed-map", "%s", mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? t_errno(errno) : "mapped");
    CASE("seal-seal", "%s %s", R(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL)), R(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW)));
    CASE("unsealable", "%s %s", R(fcntl(u, F_GET_SEALS)), R(fcntl(u, F_ADD_SEALS, F_SEAL_GROW)));
    CASE("errors", "%s %s", R(memfd_create("x", 0x100000)), R(syscall(SYS_memfd_create, BAD, 0)));
    char n[300];
    memset(n, 'n', 299), n[299] = 0;
    CASE("long-name", "%s", R(memfd_create(n, 0)));
}
