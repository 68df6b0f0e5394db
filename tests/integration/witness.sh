#!/bin/bash
# Every system call goes to the sentry: under strict, the calls by which the workload's tasks enter the host's kernel, as the tracepoint
# raw_syscalls:sys_enter sees them, are only those that the sentry let run natively and those that the supervisor put in their place.
# Prints the columns of the trap side (calls sent, answered by the sentry, let run natively; and what the supervisor entered the host
# with instead: calls of its own and the loader's, parking, restarts) and beside them what the tracepoint saw. The tracepoint is attached
# when the program already waits for its input, so it sees at most what is accounted for.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip witness "not with the control"; exit 0; }
command -v bpftrace >/dev/null || { apt-get -qq install -y --no-install-recommends bpftrace >/dev/null 2>&1 || { echo "no bpftrace" >&2; exit 2; }; }
trap finish EXIT
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
    unshare -m sh -c 'mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/tracing; exec bpftrace -e "$1"' x \
        "tracepoint:raw_syscalls:sys_enter /((struct task_struct *)curtask)->nsproxy->pid_ns_for_children->ns.inum == $ns/ { @[args->id] = count(); }" >seen 2>bpf.err & local b=$!
    soon attached; sleep 1
    echo go >&5; exec 5>&-
    rc 0 wait $c
    kill -INT $b; wait $b || true
    python3 - seen calls <<'P' || fail "the columns do not agree: see the log"
import re, subprocess, sys
header = subprocess.run(["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], capture_output=True, text=True).stdout
names = {int(n): s for s, n in re.findall(r"#define __NR_(\w+) (\d+)", header)}
host = {names.get(int(n), f"syscall_{int(n):#x}"): int(c) for n, c in re.findall(r"@\[(\d+)\]: (\d+)", open(sys.argv[1]).read())}
lines = open(sys.argv[2], errors="replace").read().splitlines()
table, head, logical = {}, None, {}
for line in lines:
    words = line.split()
    if line.startswith("--- ") and words[1] == "call":
        head = words[2:]
    elif line.startswith("--- ") and head and len(words) == len(head) + 2:
        table[words[1]] = dict(zip(head, map(int, words[2:])))
    elif m := re.match(r"\[\d+\] ([a-z_0-9]+)\(", line):
        logical[m[1]] = logical.get(m[1], 0) + 1
if not table:
    sys.exit("the trap side printed no columns")
print("".join(f"{h:>10}" for h in head) + f"{'witness':>10}  call")
bad = total = 0
for name in sorted(set(table) | set(host)):
    row = table.get(name, dict.fromkeys(head, 0))
    seen = host.get(name, 0)
    why = []
    if row["sent"] != row["answered"] + row["native"]:
        why.append("not every call sent was answered or let run")
    if seen > row["native"] + row["own"] + row["park"] + row["restart"]:
        why.append("entered the host more often than allowed")
    total += row["sent"]
    bad += bool(why)
    print("".join(f"{row[h]:10}" for h in head) + f"{seen:10}  {name}" + (f"  <- {', '.join(why)}" if why else ""))
print(f"{total} logical calls, {sum(host.values())} entries of the host seen, {bad} names disagree")
sys.exit(bool(bad) or total < 2000 or not host)
P
}
running() { [ "$(status_of "$1")" = running ]; }
attached() { grep -q Attaching seen bpf.err; }
STEP_TIMEOUT=120 SHOW=1 step witnessed
