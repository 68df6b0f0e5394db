// vfork: memory shared, the parent waits for exec or exit. posix_spawn stands on it.
#include "t.h"
#include <spawn.h>
const char *name = "vfork";
int again(int c, char **v) { (void)c; return atoi(v[2]); }
static volatile int shared;
void cases(void) {
    char *v[] = {"vfork", "x", "33", 0}, *none[] = {0};
    pid_t p = vfork();
    if (p == 0) { shared = 5; _exit(4); }
    CASE("exit", "%s shared %d", t_wait(p), shared);
    p = vfork();
    if (p == 0) { execve("/proc/self/exe", v, none); _exit(99); }
    CASE("exec", "%s", t_wait(p));
    p = vfork();
    if (p == 0) { execve("/none", v, none); shared = errno; _exit(98); }
    CASE("exec-fails", "%s %s", t_wait(p), t_errno(shared));
    int q[2];
    pipe(q);
    if ((p = vfork()) == 0) { close(q[0]); _exit(0); }
    CASE("own-descriptors", "%s %d", t_wait(p), fcntl(q[0], F_GETFD));
    p = vfork();
    if (p == 0) { raise(SIGKILL); _exit(0); }
    CASE("killed", "%s", t_wait(p));
    CASE("spawn", "%d %s", posix_spawn(&p, "/proc/self/exe", 0, 0, v, none), t_wait(p));
    CASE("spawn-missing", "%s", t_errno(posix_spawn(&p, "/none", 0, 0, v, none)));
    posix_spawn_file_actions_t a;
    posix_spawn_file_actions_init(&a), posix_spawn_file_actions_addopen(&a, 9, "/none/none", O_RDONLY, 0);
    CASE("spawn-action-fails", "%s", t_errno(posix_spawn(&p, "/proc/self/exe", &a, 0, v, none)));
    CASE("system", "%d", WEXITSTATUS(system("exit 12")));
}
