#!/bin/bash
# Every system call goes to the sentry: under strict, the calls by which the workload's tasks enter the host's kernel, as the tracepoint
# raw_syscalls:sys_enter sees them, are only those that the sentry let run natively and those that the supervisor put in their place.
# Prints the columns: name, logical calls (trap side), host entries, of them native, substituted.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip witness "not with the control"; exit 0; }
command -v bpftrace >/dev/null || { apt-get -qq install -y --no-install-recommends bpftrace >/dev/null 2>&1 || { echo "no bpftrace" >&2; exit 2; }; }
trap finish EXIT
# What the supervisor puts in the place of calls: the loader's own, rewritten execveat and mmap, parking, descriptors' end, restarts.
SUBSTITUTED="execveat mmap munmap close pause ppoll restart_syscall rt_sigreturn prctl arch_prctl mprotect exit exit_group"
SCRIPT='i=0; while [ $i -lt 150 ]; do echo $i >>/root/log; read x </etc/passwd; [ -e /root/log ]; i=$((i+1)); done; ls -l /bin | wc -l; cat /root/log | wc -l; for i in 1 2 3 4 5; do sh -c "exit 0"; done'
witnessed() {
    bundle b --root "$PWD/rootfs" -- sh -c 'read go; '"$SCRIPT"
    mkfifo in
    rtx --placement=strict "--strace=$PWD/calls" run -b b it-w1 <in >o 2>e & local c=$!
    exec 5>in
    soon running it-w1
    local pid ns; pid=$(rt state it-w1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
    ns=$(readlink "/proc/$pid/ns/pid" | tr -dc 0-9)
    # The filter is the number of the jail's pid namespace, read from each task's own structures.
    bpftrace -e "tracepoint:raw_syscalls:sys_enter /curtask->nsproxy->pid_ns_for_children->ns.inum == $ns/ { @[args->id] = count(); }" >seen 2>bpf.err & local b=$!
    soon attached; sleep 1
    wc -l <calls >skip-lines
    echo go >&5; exec 5>&-
    rc 0 wait $c
    kill -INT $b; wait $b || true
    python3 - "$PWD/seen" "$PWD/calls" "$(cat skip-lines)" "$SUBSTITUTED" <<'P' || fail "calls entered the host that nobody allowed: see the columns"
import collections, ctypes, re, subprocess, sys
seen, calls, skipped, substituted = sys.argv[1:]
names = dict((int(n), s) for s, n in re.findall(r"#define __NR_(\w+) (\d+)", subprocess.run(["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], capture_output=True, text=True).stdout))
host = {names.get(int(n), n): int(c) for n, c in re.findall(r"@\[(\d+)\]: (\d+)", open(seen).read())}
logical, native = collections.Counter(), collections.Counter()
for line in open(calls, errors="replace").read().splitlines()[int(skipped):]:
    m = re.search(r"(?:^|\s)([a-z_0-9]+)\(", line)
    if m:
        logical[m[1]] += 1
        native[m[1]] += "native" in line
print(f"{'call':22}{'logical':>9}{'host':>9}{'native':>9}{'put in':>9}")
bad = 0
for n in sorted(set(logical) | set(host)):
    rest = max(0, host.get(n, 0) - native[n])
    wrong = rest and n not in substituted.split()
    bad += bool(wrong)
    print(f"{n:22}{logical[n]:9}{host.get(n, 0):9}{native[n]:9}{rest:9}{'  <- not allowed' if wrong else ''}")
print("logical calls:", sum(logical.values()), "host entries:", sum(host.values()))
sys.exit(bad or sum(logical.values()) < 1000)
P
}
running() { [ "$(status_of "$1")" = running ]; }
attached() { grep -q Attaching seen; }
STEP_TIMEOUT=120 SHOW=1 step witnessed
