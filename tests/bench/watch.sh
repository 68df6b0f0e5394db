#!/bin/bash
# What `rsc-runtime watch` costs processes that it does not mean, and how long it holds one that it means. As root, on a quiet machine.
# RSC_BIN: the folder with rsc-runtime. ROUNDS: each figure is the least of so many, taken in turns.
set -eu
RT=${RSC_BIN:-$(dirname "$0")/../../target/release}/rsc-runtime
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT; cd "$W"
cat >cost.c <<'C'
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double at(clockid_t clock) { struct timespec t; clock_gettime(clock, &t); return t.tv_sec * 1e9 + t.tv_nsec; }
/* Calls by the thread's own time, which others on the machine do not disturb. */
#define CALLS CLOCK_THREAD_CPUTIME_ID
static double best[3] = {1e18, 1e18, 1e18};
static void take(int what, double time, int n) { if (time / n < best[what]) best[what] = time / n; }
int main(int argc, char **argv) {
    for (int round = 0; round < 5; round++) {
        double began = at(CALLS);
        for (int i = 0; i < 100000; i++) syscall(SYS_getpid);
        take(0, at(CALLS) - began, 100000);
        began = at(CALLS);
        for (int i = 0; i < 20000; i++) close(open("/dev/null", O_RDONLY));
        take(1, at(CALLS) - began, 20000);
        began = at(CLOCK_MONOTONIC);
        for (int i = 0; i < 50; i++) {
            pid_t pid = vfork();
            if (!pid) { execl(argv[1], argv[1], (char *)0); _exit(1); }
            waitpid(pid, 0, 0);
        }
        take(2, at(CLOCK_MONOTONIC) - began, 50);
    }
    printf("%.1f %.1f %.1f\n", best[0], best[1], best[2] / 1e3);
}
C
cc -O2 -o cost cost.c; cp /bin/true other; cp /bin/true meant
printf '[[watch]]\nexecutable = ["%s/meant", "/opt/**"]\n' "$W" >process
printf '[[watch]]\nsyscalls = "connect"\nport = 54399\n' >call
printf '[[watch]]\nsyscalls = "%%file"\npath = ["/srv/data/**", "/var/lib/app/**"]\n' >file
measure() { # measure NAME PROGRAM
    local pid=
    if [ -s "$1" ]; then
        "$RT" watch --rules "$1" --dry-run >report 2>/dev/null & pid=$!
        for _ in $(seq 100); do grep -q watching report && break; sleep .05; done
    fi
    echo "$1 $(basename "$2") $(./cost "$2")" >>all
    [ -z "$pid" ] || { kill -INT $pid; wait $pid || true; }
}
for _ in $(seq "${ROUNDS:-5}"); do for name in none process call file; do measure $name "$W/other"; done; measure process "$W/meant"; done
python3 - <<'P'
best = {}
for line in open("all"):
    name, program, *values = line.split()
    key = f"{name}, {program} program"
    best[key] = [min(a, float(b)) for a, b in zip(best.get(key, [1e18] * 3), values)]
base = best["none, other program"]
for key, values in best.items():
    print(f"{key:24}", "  ".join(f"{what} {value:.1f} (x{value / first:.2f})" for what, value, first in zip(("getpid ns", "open+close ns", "exec us"), values, base)))
P
