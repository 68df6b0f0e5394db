// Extended attributes of the user namespace: by path, by link, by descriptor.
#include "t.h"
const char *name = "xattr";
void cases(void) {
    char b[256] = "";
    t_spit("f", ""), symlink("f", "l");
    int fd = open("f", O_RDWR);
    CASE("set", "%s", R(setxattr("f", "user.a", "value", 5, 0)));
    CASE("get", "%s %.5s", R(getxattr("f", "user.a", b, sizeof b)), b);
    CASE("size", "%s", R(getxattr("f", "user.a", 0, 0)));
    CASE("small", "%s", R(getxattr("f", "user.a", b, 2)));
    CASE("missing", "%s", R(getxattr("f", "user.none", b, 9)));
    CASE("create-replace", "%s %s", R(setxattr("f", "user.a", "x", 1, XATTR_CREATE)), R(setxattr("f", "user.b", "x", 1, XATTR_REPLACE)));
    CASE("fsetxattr", "%s %s", R(fsetxattr(fd, "user.b", "bb", 2, XATTR_CREATE)), R(fgetxattr(fd, "user.b", b, 9)));
    ssize_t n = listxattr("f", b, sizeof b);
    int a = 0, c = 0;
    for (char *p = b; n > 0 && p < b + n; p += strlen(p) + 1) a |= !strcmp(p, "user.a"), c |= !strcmp(p, "user.b");
    CASE("list", "%d %d %s", a, c, R(flistxattr(fd, b, 3)));
    CASE("through-link", "%s %s", R(getxattr("l", "user.a", b, 9)), R(lgetxattr("l", "user.a", b, 9)));
    CASE("on-link", "%s", R(lsetxattr("l", "user.a", "x", 1, 0)));
    CASE("remove", "%s %s %s", R(removexattr("f", "user.a")), R(removexattr("f", "user.a")), R(fremovexattr(fd, "user.b")));
    CASE("lremove", "%s", R(lremovexattr("l", "user.a")));
    CASE("names", "%s %s %s", R(setxattr("f", "plain", "x", 1, 0)), R(setxattr("f", "user.", "x", 1, 0)), R(setxattr("f", "", "x", 1, 0)));
    memset(b, 'n', 256), memcpy(b, "user.", 5), b[255] = 0;
    CASE("long-name", "%s", OK(setxattr("f", b, "x", 1, 0)));
    CASE("flags", "%s %s", R(setxattr("f", "user.c", "x", 1, 4)), R(setxattr("none", "user.c", "x", 1, 4)));
    CASE("bad", "%s %s %s", R(setxattr(BAD, "user.c", "x", 1, 0)), R(setxattr("f", BAD, "x", 1, 0)), R(setxattr("f", "user.c", BAD, 1, 0)));
    CASE("bad-fd", "%s %s", R(fgetxattr(99, "user.c", b, 1)), R(flistxattr(99, b, 1)));
    CASE("llist", "%s", OK(llistxattr("l", b, 256)));
    CASE("too-big", "%s", R(setxattr("f", "user.c", b, 65537, 0)));
}
