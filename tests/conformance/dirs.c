// Directories: mkdir, rmdir, getdents64 with its positions, changes while reading.
#include "t.h"
const char *name = "dirs";
static int order(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
static const char *list(const char *p) {
    DIR *d = opendir(p);
    struct dirent *e;
    char *n[64], *b = t_text();
    int k = 0;
    if (!d) return t_errno(errno);
    while ((e = readdir(d)) && k < 64) n[k++] = t_fmt("%s%s", e->d_name, e->d_type == DT_DIR ? "/" : e->d_type == DT_LNK ? "@" : e->d_type == DT_REG ? "" : "?"), n[k - 1] = strdup(n[k - 1]);
    closedir(d);
    qsort(n, k, sizeof *n, order);
    *b = 0;
    for (int i = 0; i < k; i++) strcat(strcat(b, i ? " " : ""), n[i]);
    return b;
}
void cases(void) {
    char buf[8192];
    CASE("mkdir", "%s %s", R(mkdir("d", 0777)), list("d"));
    struct stat s;
    stat("d", &s);
    CASE("umask", "%o", s.st_mode);
    mkdir("d/sub", 0700), t_spit("d/f", ""), symlink("f", "d/l");
    CASE("list", "%s", list("d"));
    stat("d", &s);
    CASE("nlink", "%ld", (long)s.st_nlink);
    CASE("rmdir-not-empty", "%s", R(rmdir("d")));
    CASE("rmdir-file", "%s", R(rmdir("d/f")));
    CASE("unlink-dir", "%s", R(unlink("d/sub")));
    CASE("rmdir", "%s %s", R(rmdir("d/sub")), list("d"));
    CASE("unlinkat-removedir", "%s %s", R(unlinkat(AT_FDCWD, "d/f", AT_REMOVEDIR)), R(unlinkat(AT_FDCWD, "d/f", 4)));
    CASE("missing-parent", "%s %s", R(mkdir("x/y", 0755)), R(rmdir("x/y")));
    int fd = open("d", O_RDONLY), f = open("d/f", O_RDONLY);
    CASE("small-buffer", "%s", R(syscall(SYS_getdents64, fd, buf, 10)));
    CASE("of-file", "%s", R(syscall(SYS_getdents64, f, buf, sizeof buf)));
    CASE("bad-fd", "%s", R(syscall(SYS_getdents64, 99, buf, sizeof buf)));
    CASE("bad-pointer", "%s", R(syscall(SYS_getdents64, fd, BAD, sizeof buf)));
    for (int i = 0; i < 300; i++) close(open(t_fmt("d/file-%03d", i), O_CREAT | O_WRONLY, 0600));
    int n = 0, calls = 0, dup = 0;
    long k;
    char seen[300] = "";
    lseek(fd, 0, SEEK_SET);
    while ((k = syscall(SYS_getdents64, fd, buf, 1000)) > 0)
        for (calls++; k > 0;) {
            char *at = buf;
            for (; at < buf + k; at += *(unsigned short *)(at + 16), n++) {
                int i;
                if (sscanf(at + 19, "file-%d", &i) == 1 && i < 300) dup += seen[i]++;
            }
            break;
        }
    CASE("many", "%d entries, %d twice, more than one call: %s, end %ld", n, dup, calls > 5 ? "yes" : "no", k);
    CASE("end-again", "%s", R(syscall(SYS_getdents64, fd, buf, sizeof buf)));
    CASE("rewind", "%s %s", R(lseek(fd, 0, SEEK_SET)), syscall(SYS_getdents64, fd, buf, sizeof buf) > 0 ? "entries" : "none");
    DIR *D = opendir("d");
    for (int i = 0; i < 100; i++) readdir(D);
    long at = telldir(D);
    char after[64];
    strcpy(after, readdir(D)->d_name);
    for (int i = 0; i < 50; i++) readdir(D);
    seekdir(D, at);
    CASE("seekdir", "%s", strcmp(after, readdir(D)->d_name) ? "another" : "the same");
    closedir(D);
    D = opendir("d");
    int gone = 0;
    for (struct dirent *e; (e = readdir(D));) gone += e->d_name[0] == 'f' && unlink(t_fmt("d/%s", e->d_name)) == 0;
    closedir(D);
    CASE("unlink-while-reading", "%d %s", gone, list("d"));
    unlink("d/l");
    CASE("removed-while-open", "%s", R(rmdir("d")));
    lseek(fd, 0, SEEK_SET);
    CASE("getdents-of-removed", "%s", R(syscall(SYS_getdents64, fd, buf, sizeof buf)));
    CASE("create-in-removed", "%s %s", R(openat(fd, "x", O_CREAT | O_WRONLY, 0600)), R(mkdirat(fd, "y", 0700)));
    fstat(fd, &s);
    CASE("nlink-of-removed", "%ld", (long)s.st_nlink);
}
