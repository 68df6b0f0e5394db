// capget and capset: version negotiation, dropping, what users lose.
#include "t.h"
const char *name = "caps";
static char *get(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{0}};
    return syscall(SYS_capget, &h, d) ? (char *)t_errno(errno) : t_fmt("%x%08x/%x%08x", d[1].effective, d[0].effective, d[1].permitted, d[0].permitted);
}
static long set(uint32_t eff, uint32_t perm) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{.effective = eff, .permitted = perm}};
    return syscall(SYS_capset, &h, d);
}
void cases(void) {
    struct __user_cap_header_struct h = {0x12345, 0};
    struct __user_cap_data_struct d[2];
    CASE("get", "%s", get());
    CASE("version", "%s %#x", R(syscall(SYS_capget, &h, d)), h.version);
    CASE("version-probe", "%s", (h.version = 0, R(syscall(SYS_capget, &h, 0))));
    CASE("bad-pid", "%s %s", (h.version = _LINUX_CAPABILITY_VERSION_3, h.pid = -1, R(syscall(SYS_capget, &h, d))), (h.pid = 99999, R(syscall(SYS_capget, &h, d))));
    CASE("bad-pointer", "%s %s", R(syscall(SYS_capget, BAD, d)), (h.pid = 0, R(syscall(SYS_capget, &h, BAD))));
    t_spit("f", ""), chmod("f", 0), mkdir("shut", 0), t_spit("shut/x", "");
    t_wait(CHILD(CASE("drop", "%s %s", R(set(1 << CAP_CHOWN, 1 << CAP_CHOWN)), get()); CASE("dropped", "%s %s %s", R(chown("f", 1, 1)), R(setuid(5)), R(chroot("."))); CASE("raise-again", "%s", R(set(3, 3)))));
    t_wait(CHILD(set(0, 0); CASE("dac", "%s %s", R(open("f", O_RDONLY)), R(open("shut/x", O_RDONLY)))));
    t_wait(CHILD(set(1 << CAP_DAC_OVERRIDE, 1 << CAP_DAC_OVERRIDE); CASE("dac-override", "%s %s", OK(close(open("f", O_RDONLY))), OK(access("shut/x", F_OK)))));
    t_wait(CHILD(set(0, 1 << CAP_CHOWN | 1 << CAP_SETUID); CASE("effective-off", "%s %s %s", R(chown("f", 1, 1)), R(set(1 << CAP_CHOWN, 1 << CAP_CHOWN)), R(chown("f", 0, 0)))));
    t_wait(CHILD(setuid(1000); CASE("user", "%s", get())));
    t_wait(CHILD(prctl(PR_SET_KEEPCAPS, 1); setuid(1000); CASE("keepcaps", "%s", strncmp(get(), "000000000/0", 11) && strchr(get(), '/')[1] ? "permitted kept" : "lost"); CASE("keepcaps-effective", "%s %s", R(chown("f", 2, 2)), R(set(1, 1))); CASE("keepcaps-used", "%s", R(chown("f", 2, 2)))));
    t_wait(CHILD(setresuid(-1, 1000, -1); CASE("euid-user", "%s", strtok(get(), "/")); setresuid(-1, 0, -1); CASE("euid-back", "%s", strcmp(strtok(get(), "/"), "00") ? "back" : "none")));
    t_wait(CHILD(CASE("bounding-drop", "%s %s", R(prctl(PR_CAPBSET_DROP, CAP_NET_RAW)), R(prctl(PR_CAPBSET_READ, CAP_NET_RAW)))));
    t_wait(CHILD(CASE("ambient", "%s %s", R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0)), R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0)))));
}
