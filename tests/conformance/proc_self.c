// /proc: what a program reads about itself and its container.
#include "t.h"
const char *name = "proc_self";
static const char *line(const char *file, const char *key) {
    static char b[65536];
    int fd = open(file, O_RDONLY), n = 0, k;
    if (fd < 0) return t_errno(errno);
    while ((k = read(fd, b + n, sizeof b - 1 - n)) > 0) n += k;
    close(fd), b[n] = 0;
    char *p = strncmp(b, key, strlen(key)) ? strstr(b, t_fmt("\n%s", key)) : b;
    if (!p) return "none";
    p += *p == '\n';
    return t_fmt("%.*s", (int)strcspn(p, "\n"), p);
}
static const char *lnk(const char *p) {
    char *b = t_text();
    int n = readlink(p, b, 500);
    if (n < 0) return t_errno(errno);
    b[n] = 0;
    return b;
}
static int has(const char *f, const char *text) {
    static char b[1 << 17];
    int fd = open(f, O_RDONLY), n = 0, k;
    while (fd >= 0 && (k = read(fd, b + n, sizeof b - 1 - n)) > 0) n += k;
    close(fd), b[n] = 0;
    return strstr(b, text) != 0;
}
void cases(void) {
    char cwd[PATH_MAX], b[PATH_MAX];
    getcwd(cwd, sizeof cwd);
    CASE("self", "%s", atoi(lnk("/proc/self")) == getpid() ? "own pid" : "other");
    CASE("thread-self", "%s", ({ char *e = t_fmt("%d/task/%d", getpid(), getpid()); !strcmp(lnk("/proc/thread-self"), e) ? "own" : "other"; }));
    CASE("exe", "%s", strrchr(lnk("/proc/self/exe"), '/') + 1);
    CASE("cwd", "%s", strcmp(lnk("/proc/self/cwd"), cwd) ? lnk("/proc/self/cwd") : "same");
    CASE("root", "%s", lnk("/proc/self/root"));
    int fd = open("f", O_CREAT | O_RDWR, 0600), p[2];
    pipe(p);
    CASE("fd-link", "%s", strcmp(lnk(t_fmt("/proc/self/fd/%d", fd)), t_fmt("%s/f", cwd)) ? "other" : "the path");
    CASE("fd-pipe", "%.6s", lnk(t_fmt("/proc/self/fd/%d", p[0])));
    unlink("f");
    CASE("fd-deleted", "%s", strstr(lnk(t_fmt("/proc/self/fd/%d", fd)), "/f (deleted)") ? "marked" : "not marked");
    CASE("fd-open", "%s", ({ write(fd, "text", 4); int k = open(t_fmt("/proc/self/fd/%d", fd), O_RDONLY); R(read(k, b, 9)); }));
    DIR *d = opendir("/proc/self/fd");
    int n = 0, mine = 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.', mine += atoi(e->d_name) == fd;
    closedir(d);
    CASE("fd-list", "%d mine %d", n, mine);
    CASE("fdinfo", "%s", line(t_fmt("/proc/self/fdinfo/%d", fd), "pos:"));
    CASE("cmdline", "%s", ({ int k = open("/proc/self/cmdline", O_RDONLY); n = read(k, b, sizeof b); close(k); int z = 0; for (int i = 0; i < n; i++) z += !b[i]; t_fmt("%d parts %s", z, strrchr(b, '/') ? strrchr(b, '/') + 1 : b); }));
    CASE("comm", "%s", line("/proc/self/comm", ""));
    CASE("environ", "%d", has("/proc/self/environ", "PATH="));
    CASE("status-name", "%s", line("/proc/self/status", "Name:"));
    CASE("status-pid", "%s", atoi(line("/proc/self/status", "Pid:") + 4) == getpid() && atoi(line("/proc/self/status", "PPid:") + 5) == getppid() ? "own" : "other");
    CASE("status-ids", "%s, %s", line("/proc/self/status", "Uid:"), line("/proc/self/status", "Gid:"));
    CASE("status-threads", "%s", line("/proc/self/status", "Threads:"));
    CASE("status-nnp", "%s", line("/proc/self/status", "NoNewPrivs:"));
    CASE("status-state", "%.8s", line("/proc/self/status", "State:"));
    CASE("stat", "%s", ({ const char *s = line("/proc/self/stat", ""); char *q = strchr(s, '('); atoi(s) == getpid() && q ? t_fmt("%.*s", (int)(strchr(q, ')') - q + 3), q) : "?"; }));
    CASE("statm", "%d", atoi(line("/proc/self/statm", "")) > 0);
    CASE("maps-stack", "%d heap %d", has("/proc/self/maps", "[stack]"), (sbrk(4096), has("/proc/self/maps", "[heap]")));
    CASE("maps-exe", "%d", has("/proc/self/maps", t_fmt("/%s\n", name)));
    char *m = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CASE("maps-new", "%d", has("/proc/self/maps", t_fmt("%lx-", (long)m)) || has("/proc/self/maps", t_fmt("-%lx", (long)m + 4096)));
    CASE("auxv", "%d", ({ int k = open("/proc/self/auxv", O_RDONLY); n = read(k, b, sizeof b); n > 100 && n % 16 == 0; }));
    CASE("limits", "%d", has("/proc/self/limits", "Max open files"));
    CASE("oom", "%s", OK(close(open("/proc/self/oom_score_adj", O_RDONLY))));
    CASE("task", "%s", ({ struct stat s; R(stat(t_fmt("/proc/self/task/%d", getpid()), &s)); }));
    CASE("mem", "%s", ({ static char x[4] = "abc", y[4]; int k = open("/proc/self/mem", O_RDONLY); pread(k, y, 4, (off_t)(long)x); y; }));
    CASE("other-pid", "%s", R(open("/proc/999999/stat", O_RDONLY)));
    pid_t c = CHILD(pause());
    CASE("child", "%s", atoi(line(t_fmt("/proc/%d/status", c), "PPid:") + 5) == getpid() ? "mine" : "?");
    kill(c, SIGKILL), t_wait(c);
    CASE("child-gone", "%s", R(access(t_fmt("/proc/%d", c), F_OK)));
    CASE("mounts", "%d %d", has("/proc/self/mounts", " / "), has("/proc/mounts", "/proc proc"));
    CASE("mountinfo", "%d", has("/proc/self/mountinfo", " / / ") || has("/proc/self/mountinfo", " / "));
    CASE("uptime", "%d", atof(line("/proc/uptime", "")) > 0);
    CASE("loadavg", "%d", strlen(line("/proc/loadavg", "")) > 10);
    CASE("meminfo", "%d", has("/proc/meminfo", "MemTotal:"));
    CASE("cpuinfo", "%d", has("/proc/cpuinfo", "processor"));
    CASE("stat-cpu", "%.3s", line("/proc/stat", "cpu"));
    CASE("version", "%.13s", line("/proc/version", ""));
    CASE("filesystems", "%d", has("/proc/filesystems", "proc"));
    CASE("pid-max", "%d", atoi(line("/proc/sys/kernel/pid_max", "")) > 100);
    CASE("hostname", "%s", line("/proc/sys/kernel/hostname", ""));
    CASE("random-uuid", "%d", (int)strlen(line("/proc/sys/kernel/random/uuid", "")));
    CASE("create-refused", "%s", R(open("/proc/none", O_CREAT | O_WRONLY, 0600)));
    CASE("mkdir-refused", "%s %s", R(mkdir("/proc/x", 0700)), R(unlink("/proc/version")));
    CASE("cgroup", "%s", OK(close(open("/proc/self/cgroup", O_RDONLY))));
    CASE("ns", "%.5s", lnk("/proc/self/ns/pid"));
}
