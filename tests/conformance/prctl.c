// prctl: name, dumpable, no_new_privs, keepcaps, timer slack, unknown operations.
#include "t.h"
const char *name = "prctl";
void cases(void) {
    char b[32] = "";
    int s = 0;
    CASE("set-name", "%s %s %s", R(prctl(PR_SET_NAME, "a-very-long-process-name")), R(prctl(PR_GET_NAME, b)), b);
    CASE("name-in-proc", "%s", strtok(t_slurp("/proc/self/comm"), "\n"));
    CASE("name-bad", "%s %s", R(prctl(PR_SET_NAME, BAD)), R(prctl(PR_GET_NAME, BAD)));
    CASE("dumpable", "%s %s", R(prctl(PR_SET_DUMPABLE, 0)), R(prctl(PR_GET_DUMPABLE)));
    CASE("dumpable-bad", "%s %s", R(prctl(PR_SET_DUMPABLE, 7)), R(prctl(PR_SET_DUMPABLE, 1)));
    CASE("keepcaps", "%s %s %s", R(prctl(PR_SET_KEEPCAPS, 1)), R(prctl(PR_GET_KEEPCAPS)), R(prctl(PR_SET_KEEPCAPS, 9)));
    CASE("no-new-privs", "%s", t_wait(CHILD(CASE("no-new-privs-set", "%s %s %s", R(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)), R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)), R(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0))))));
    CASE("timerslack", "%s %s", R(prctl(PR_SET_TIMERSLACK, 70000)), R(prctl(PR_GET_TIMERSLACK)));
    CASE("unknown", "%s", R(prctl(99999, 0, 0, 0, 0)));
    CASE("tid-address", "%s", syscall(SYS_set_tid_address, &s) == syscall(SYS_gettid) ? "tid" : "other");
    CASE("personality", "%s", R(syscall(SYS_personality, 0xffffffff)));
    long fs = 0;
    CASE("arch-prctl", "%s %s", R(syscall(SYS_arch_prctl, 0x1003, &fs)), fs ? "fs" : "none");
    CASE("arch-prctl-bad", "%s %s", R(syscall(SYS_arch_prctl, 0x1003, BAD)), R(syscall(SYS_arch_prctl, 0x9999, &fs)));
    CASE("capbset", "%s %s", R(prctl(PR_CAPBSET_READ, CAP_CHOWN)), R(prctl(PR_CAPBSET_READ, 99)));
    CASE("securebits", "%s", R(prctl(PR_GET_SECUREBITS)));
}
