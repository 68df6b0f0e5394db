// mmap, munmap, mprotect, mremap, madvise, brk: anonymous memory and wrong arguments.
#include "t.h"
const char *name = "mmap";
static sigjmp_buf jb;
static void jump(int s) { siglongjmp(jb, s); }
static int touch(volatile char *p, int w) { // 0 or the signal
    int r = sigsetjmp(jb, 1);
    if (r) return r;
    if (w) *p = 1;
    else (void)*p;
    return 0;
}
#define PG 4096
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
static const char *M(void *p) { return p == MAP_FAILED ? t_errno(errno) : "mapped"; }
void cases(void) {
    t_handle(SIGSEGV, jump, SA_NODEFER), t_handle(SIGBUS, jump, SA_NODEFER);
    char *a = mmap(0, 4 * PG, RW, ANON, -1, 0), *b;
    CASE("anonymous", "%s zero %d aligned %d", M(a), a[100] == 0, ((uintptr_t)a & (PG - 1)) == 0);
    CASE("munmap-middle", "%s %d %d %d", R(munmap(a + PG, PG)), touch(a, 1), touch(a + PG, 0), touch(a + 2 * PG, 1));
    CASE("mprotect", "%s %d %d", R(mprotect(a + 2 * PG, PG, PROT_READ)), touch(a + 2 * PG, 0), touch(a + 2 * PG, 1));
    CASE("mprotect-none", "%s %d", R(mprotect(a + 2 * PG, PG, PROT_NONE)), touch(a + 2 * PG, 0));
    CASE("mprotect-errors", "%s %s %s", R(mprotect(a + 1, PG, RW)), R(mprotect(a + PG, PG, RW)), R(mprotect(a, PG, 0x1000)));
    CASE("errors", "%s %s %s %s", M(mmap(0, 0, RW, ANON, -1, 0)), M(mmap(0, PG, RW, MAP_ANONYMOUS, -1, 0)), M(mmap(0, PG, RW, MAP_PRIVATE, -1, 0)), M(mmap(0, PG, RW, MAP_PRIVATE, 0, 1)));
    CASE("huge", "%s", M(mmap(0, 1ul << 60, RW, ANON, -1, 0)));
    CASE("hint-unaligned", "%s", M(mmap((void *)0x700000001, PG, RW, ANON, -1, 0)));
    CASE("fixed-unaligned", "%s", M(mmap(a + 1, PG, RW, ANON | MAP_FIXED, -1, 0)));
    CASE("fixed", "%s", mmap(a + PG, PG, RW, ANON | MAP_FIXED, -1, 0) == a + PG ? "there" : "elsewhere");
    CASE("noreplace", "%s %s", M(mmap(a, PG, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0)), (munmap(a, PG), mmap(a, PG, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == a ? "there" : "elsewhere"));
    CASE("munmap-errors", "%s %s %s", R(munmap(a + 1, PG)), R(munmap(a, 0)), R(munmap((void *)0x700000000000, PG)));
    mprotect(a, 4 * PG, RW), memset(a, 7, 4 * PG);
    CASE("dontneed", "%s %d %d", R(madvise(a, PG, MADV_DONTNEED)), a[5], a[PG]);
    CASE("madvise-errors", "%s %s %s", R(madvise(a + 1, PG, MADV_DONTNEED)), R(madvise(a, PG, 9999)), R(madvise((void *)0x700000000000, PG, MADV_DONTNEED)));
    CASE("wipe-on-fork", "%s %s", R(madvise(a + PG, PG, MADV_WIPEONFORK)), t_wait(CHILD(_exit(a[PG]))));
    CASE("dontfork", "%s %s", R(madvise(a + 2 * PG, PG, MADV_DONTFORK)), t_wait(CHILD(_exit(touch(a + 2 * PG, 0)))));
    b = mmap(0, 2 * PG, RW, ANON, -1, 0), strcpy(b, "moved");
    CASE("mremap-grow", "%s %s", ({ b = mremap(b, 2 * PG, 64 * PG, MREMAP_MAYMOVE); M(b); }), b);
    CASE("mremap-shrink", "%s %d", mremap(b, 64 * PG, PG, 0) == b ? "in place" : "?", touch(b + PG, 0));
    char *t = mmap(0, PG, PROT_NONE, ANON, -1, 0);
    CASE("mremap-fixed", "%s %s", mremap(b, PG, PG, MREMAP_MAYMOVE | MREMAP_FIXED, t) == t ? "there" : "?", t);
    CASE("mremap-errors", "%s %s %s", M(mremap(t + 1, PG, PG, 0)), M(mremap(t, PG, 0, 0)), M(mremap((void *)0x700000000000, PG, 2 * PG, 0)));
    char *s = mmap(0, PG, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    t_wait(CHILD(strcpy(s, "from the child")));
    CASE("shared-anonymous", "%s", s);
    char *c = sbrk(0);
    CASE("brk", "%s %d", syscall(SYS_brk, c + 3 * PG) == (long)c + 3 * PG ? "grown" : "?", touch(c + 2 * PG, 1));
    CASE("brk-shrink", "%s %d", syscall(SYS_brk, c) == (long)c ? "shrunk" : "?", touch(c + 2 * PG, 0));
    CASE("brk-zero", "%s", syscall(SYS_brk, 0) == (long)c ? "unchanged" : "?");
    CASE("exec-page", "%d", ({ unsigned char *x = mmap(0, PG, RW, ANON, -1, 0); memcpy(x, "\xb8\x2a\0\0\0\xc3", 6); mprotect(x, PG, PROT_READ | PROT_EXEC); ((int (*)(void))x)(); }));
    unsigned char v[4];
    CASE("mincore", "%s %d", R(mincore(a, PG, v)), v[0] & 1);
    CASE("mincore-errors", "%s %s", R(mincore(a + 1, PG, v)), R(mincore(a, PG, BAD)));
    CASE("mlock", "%s %s %s", R(mlock(a, PG)), R(munlock(a, PG)), R(munlockall()));
    CASE("populate", "%s", M(mmap(0, 16 * PG, RW, ANON | MAP_POPULATE | MAP_NORESERVE | MAP_STACK, -1, 0)));
    CASE("growsdown", "%s", M(mmap(0, PG, RW, ANON | MAP_GROWSDOWN, -1, 0)));
    CASE("limit", "%s", t_wait(CHILD(setrlimit(RLIMIT_AS, &(struct rlimit){64 << 20, 64 << 20}); _exit(mmap(0, 128 << 20, RW, ANON, -1, 0) == MAP_FAILED && errno == ENOMEM))));
    CASE("membarrier", "%s", syscall(SYS_membarrier, 0, 0, 0) >= 0 ? "ok" : t_errno(errno));
}
