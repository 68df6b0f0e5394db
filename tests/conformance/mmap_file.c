// File mappings: private and shared, coherence with read and write, the end of the file, permissions, msync, fork.
#include "t.h"
const char *name = "mmap_file";
static sigjmp_buf jb;
static void jump(int s) { siglongjmp(jb, s); }
static int touch(volatile char *p, int w) {
    int r = sigsetjmp(jb, 1);
    if (r) return r;
    if (w) *p = 1;
    else (void)*p;
    return 0;
}
#define PG 4096
#define RW (PROT_READ | PROT_WRITE)
static const char *M(void *p) { return p == MAP_FAILED ? t_errno(errno) : "mapped"; }
void cases(void) {
    char b[64] = "";
    t_handle(SIGSEGV, jump, SA_NODEFER), t_handle(SIGBUS, jump, SA_NODEFER);
    int fd = open("f", O_CREAT | O_RDWR, 0644), r = open("f", O_RDONLY), w = open("f", O_WRONLY), d = open(".", O_RDONLY), p[2];
    pipe(p);
    char *page = malloc(3 * PG);
    for (int i = 0; i < 3 * PG; i++) page[i] = 'a' + i / PG;
    write(fd, page, 2 * PG + 100);
    char *m = mmap(0, 3 * PG, PROT_READ, MAP_PRIVATE, fd, 0);
    CASE("private-read", "%s %c %c %c", M(m), m[0], m[PG], m[2 * PG + 99]);
    CASE("behind-end-zero", "%d", m[2 * PG + 100]);
    CASE("no-write", "%d", touch(m, 1));
    char *x = mmap(0, 5 * PG, PROT_READ, MAP_PRIVATE, fd, 0);
    CASE("past-end", "%d %d", touch(x + 2 * PG, 0), touch(x + 3 * PG, 0));
    char *o = mmap(0, PG, PROT_READ, MAP_PRIVATE, fd, PG);
    CASE("offset", "%c", o[0]);
    char *c = mmap(0, PG, RW, MAP_PRIVATE, r, 0);
    c[0] = 'X', pread(fd, b, 1, 0);
    CASE("private-write", "%c file %c", c[0], b[0]);
    char *s = mmap(0, 3 * PG, RW, MAP_SHARED, fd, 0);
    s[1] = 'S', pread(r, b, 2, 0);
    CASE("shared-write-read", "%.2s", b);
    pwrite(fd, "W", 1, 2);
    CASE("write-shared-read", "%.3s", s);
    CASE("write-private-clean", "%c", m[2]);
    strcpy(s + 2 * PG + 50, "tail");
    CASE("msync", "%s %s %s", R(msync(s, 3 * PG, MS_SYNC)), R(msync(s, PG, MS_ASYNC)), R(msync(s, PG, MS_INVALIDATE)));
    CASE("msync-errors", "%s %s %s", R(msync(s + 1, PG, MS_SYNC)), R(msync(s, PG, MS_SYNC | MS_ASYNC)), R(msync((void *)0x700000000000, PG, MS_SYNC)));
    pread(r, b, 5, 2 * PG + 50);
    CASE("tail", "%s", b);
    char *t = mmap(0, PG, RW, MAP_SHARED, fd, 0);
    t[10] = 'T';
    CASE("two-mappings", "%c", s[10]);
    t_wait(CHILD(s[20] = 'C'; int k = open("f", O_RDWR); char *z = mmap(0, PG, RW, MAP_SHARED, k, 0); z[21] = 'D'));
    pread(r, b, 2, 20);
    CASE("child-shared", "%c%c file %.2s", s[20], s[21], b);
    CASE("permissions", "%s %s %s %s", M(mmap(0, PG, RW, MAP_SHARED, r, 0)), M(mmap(0, PG, PROT_READ, MAP_PRIVATE, w, 0)), M(mmap(0, PG, PROT_WRITE, MAP_SHARED, w, 0)), M(mmap(0, PG, PROT_READ, MAP_SHARED, r, 0)));
    CASE("kinds", "%s %s %s", M(mmap(0, PG, PROT_READ, MAP_PRIVATE, d, 0)), M(mmap(0, PG, PROT_READ, MAP_PRIVATE, p[0], 0)), M(mmap(0, PG, PROT_READ, MAP_PRIVATE, 99, 0)));
    CASE("offset-errors", "%s %s", M(mmap(0, PG, PROT_READ, MAP_PRIVATE, fd, 100)), M((void *)syscall(SYS_mmap, 0, PG, PROT_READ, MAP_PRIVATE, fd, -PG)));
    char *q = mmap(0, PG, PROT_READ, MAP_SHARED, r, 0);
    CASE("mprotect-read-only-fd", "%s", R(mprotect(q, PG, RW)));
    char *v = mmap(0, PG, PROT_READ, MAP_SHARED, fd, 0);
    CASE("mprotect-writable-fd", "%s %d", R(mprotect(v, PG, RW)), touch(v, 1));
    close(fd), close(w);
    s[30] = 'Z', pread(r, b, 1, 30);
    CASE("after-close", "%c", b[0]);
    fd = open("f", O_RDWR), ftruncate(fd, PG);
    CASE("truncated", "%d %d", touch(s, 0), touch(s + PG, 0));
    ftruncate(fd, 3 * PG);
    CASE("grown-again", "%d %d", touch(s + PG, 0), s[PG]);
    char *g = mremap(t, PG, 3 * PG, MREMAP_MAYMOVE);
    CASE("mremap-file", "%s %c %d", M(g), g[10], g[2 * PG]);
    munmap(s, 3 * PG), munmap(g, 3 * PG);
    CASE("written-back", "%s %c", R(pread(r, b, 1, 30)), b[0]);
    unlink("f"), m = mmap(0, PG, PROT_READ, MAP_SHARED, r, 0);
    CASE("unlinked", "%s %c", M(m), m[10]);
    int e = open("empty", O_CREAT | O_RDWR, 0600);
    char *n = mmap(0, PG, RW, MAP_SHARED, e, 0);
    CASE("empty-file", "%s %d", M(n), touch(n, 0));
    ftruncate(e, 10), n[0] = 'e';
    CASE("empty-grown", "%s", t_slurp("empty"));
    char *z = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, open("/dev/zero", O_RDONLY), 0);
    CASE("dev-zero", "%s %d", M(z), touch(z, 1));
    CASE("read-into-mapping", "%s", ({ int k = open("g", O_CREAT | O_RDWR, 0600); ftruncate(k, PG); char *u = mmap(0, PG, RW, MAP_SHARED, k, 0); pwrite(r, "x", 0, 0); const char *y = R(pread(r, u + 5, 10, 0)); pread(k, b, 10, 10); u[15] == b[5] ? y : "different"; }));
    CASE("dontneed-private", "%c", ({ c[0] = 'Y'; madvise(c, PG, MADV_DONTNEED); c[1]; }));
    CASE("remove", "%s", ({ int k = open("h", O_CREAT | O_RDWR, 0600); write(k, page, PG); char *u = mmap(0, PG, RW, MAP_SHARED, k, 0); const char *y = R(madvise(u, PG, MADV_REMOVE)); pread(k, b, 1, 0); t_fmt("%s %d", y, b[0]); }));
}
