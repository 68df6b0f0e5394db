// inotify: events of a directory and a file.
#include "t.h"
const char *name = "inotify";
static const char *events(int fd) {
    char b[4096], *o = t_text();
    ssize_t n = read(fd, b, sizeof b);
    if (n < 0) return t_errno(errno);
    *o = 0;
    for (char *p = b; p < b + n;) {
        struct inotify_event *e = (void *)p;
        sprintf(o + strlen(o), "%s%#x%s%s", *o ? " " : "", e->mask, e->len ? ":" : "", e->len ? e->name : "");
        p += sizeof *e + e->len;
    }
    return o;
}
void cases(void) {
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), w, k;
    mkdir("d", 0755), t_spit("d/old", "x");
    CASE("watch", "%s %s", R(w = inotify_add_watch(fd, "d", IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY)), events(fd));
    k = open("d/f", O_CREAT | O_WRONLY, 0600);
    CASE("create", "%s", events(fd));
    write(k, "x", 1), close(k);
    CASE("modify-close", "%s", events(fd));
    rename("d/f", "d/g"), unlink("d/g");
    CASE("rename-unlink", "%s", events(fd));
    mkdir("d/sub", 0755);
    CASE("mkdir", "%s", events(fd));
    CASE("again-same", "%s", inotify_add_watch(fd, "d", IN_DELETE_SELF | IN_ONLYDIR) == w ? "same" : "new");
    CASE("remove-watch", "%s %s", R(inotify_rm_watch(fd, w)), events(fd));
    CASE("errors", "%s %s %s %s", R(inotify_rm_watch(fd, w)), R(inotify_add_watch(fd, "none", IN_CREATE)), R(inotify_add_watch(fd, "d", 0)), R(inotify_add_watch(0, "d", IN_CREATE)));
    CASE("onlydir", "%s", R(inotify_add_watch(fd, "d/old", IN_MODIFY | IN_ONLYDIR)));
    CASE("init-flags", "%s %s", R(inotify_init1(1)), OK(close(inotify_init())));
}
