// statfs, fstatfs, ustat: of places that every container has, and wrong arguments.
#include "t.h"
const char *name = "statfs";
void cases(void) {
    struct statfs s;
    int p[2], fd = open(".", O_RDONLY);
    pipe(p);
    CASE("dir", "%s blocks %d bsize %d namelen %ld", R(statfs(".", &s)), s.f_blocks > 0, s.f_bsize >= 512, (long)s.f_namelen);
    CASE("fstatfs", "%s %d", R(fstatfs(fd, &s)), s.f_bavail <= s.f_bfree && s.f_bfree <= s.f_blocks);
    CASE("proc", "%s %#lx", R(statfs("/proc", &s)), (long)s.f_type);
    CASE("dev", "%s %#lx", R(statfs("/dev", &s)), (long)s.f_type);
    CASE("pipe", "%s %#lx", R(fstatfs(p[0], &s)), (long)s.f_type);
    CASE("errors", "%s %s %s %s", R(statfs("none", &s)), R(statfs(".", BAD)), R(statfs(BAD, &s)), R(fstatfs(99, BAD)));
    struct stat st;
    stat("/", &st);
    CASE("root", "%o %d", st.st_mode & S_IFMT, st.st_nlink > 1);
}
