#!/bin/bash
# Every system call goes to the sentry: under strict, the logical calls by name that the trap side sent and that the sentry counted are
# equal, and the calls by which the workload's tasks enter the host's kernel, as the tracepoint raw_syscalls:sys_enter sees them, are
# only those that the sentry let run natively and those that the supervisor put in their place. Prints the columns: sent by the trap
# side; counted by the sentry; of these answered, and let run natively; entries of the host that the supervisor made instead: its own and
# the loader's (rewritten execve, mmap, close), parks, restarts; and what the tracepoint saw. It is attached when the program already
# waits for its input, so it sees at most what is accounted for. Both platforms, a sentry that serves and the private one.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip witness "not with the control"; exit 0; }
command -v bpftrace >/dev/null || { apt-get -qq install -y --no-install-recommends bpftrace >/dev/null 2>&1 || { echo "no bpftrace" >&2; exit 2; }; }
trap finish EXIT
SCRIPT='i=0; while [ $i -lt 150 ]; do echo $i >>/root/log; read x </etc/passwd; [ -e /root/log ]; i=$((i+1)); done; ls -l /bin | wc -l; cat /root/log | wc -l; for i in 1 2 3 4 5; do sh -c "exit 0"; done'
# witness PLATFORM FLAGS...: runs the script under strict, with the tracepoint attached; leaves the container it-w1 stopped.
witness() {
    local platform=$1; shift
    bundle b --root "$PWD/rootfs" -- sh -c 'read go; '"$SCRIPT"'; read end'
    mkfifo in; sleep 100 >in & HOLD=$!
    rt --platform=$platform --placement=strict "--strace=$PWD/calls" "$@" create -b b it-w1 <in >o 2>e
    rt start it-w1; exec 5>in; kill $HOLD
    local pid ns; pid=$(rt state it-w1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
    ns=$(readlink "/proc/$pid/ns/pid" | tr -dc 0-9)
    # The filter is the number of the jail's pid namespace, read from each task's own structures.
    unshare -m sh -c 'mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/tracing; exec bpftrace -e "$1"' x \
        "tracepoint:raw_syscalls:sys_enter /((struct task_struct *)curtask)->nsproxy->pid_ns_for_children->ns.inum == $ns/ { @[args->id] = count(); }" >seen 2>bpf.err & local b=$!
    soon attached; sleep 1
    echo go >&5; until grep -q '^150$' o; do sleep .2; done # takes what it takes
    [ -z "${SERVED:-}" ] || "$SENTRY" ps --format json "unix://$PWD/s" >ps
    echo end >&5; exec 5>&-
    soon stopped it-w1
    kill -INT $b; wait $b || true
}
stopped() { [ "$(status_of "$1")" = stopped ]; }
attached() { grep -q Attaching seen bpf.err; }
served() {
    TEST_MARK=$MARK "$SENTRY" serve --unix "$PWD/s" 2>sentry.log </dev/null & local server=$!
    soon [ -S s ]
    SERVED=1 witness "$1" --sentry "unix://$PWD/s"
    soon grep -q 'calls of a session' sentry.log; columns sentry.log ps
    rt delete it-w1; kill -TERM $server; wait $server || true
}
private() { witness "$1"; soon grep -q 'calls of a session' "$STATE/it-w1/helpers.log"; columns "$STATE/it-w1/helpers.log"; rt delete it-w1; }
# columns LOG [PS]: the sentry's log, and its list of sessions from before the end.
columns() {
    python3 - seen calls "$@" <<'P' || fail "the columns do not agree: see the log"
import json, re, subprocess, sys
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
account = [l for l in open(sys.argv[3]) if "calls of a session" in l]
if len(account) != 1:
    sys.exit(f"{len(account)} accounts in the sentry's log")
account = re.sub(r"\x1b\[[0-9;]*m", "", account[0])
account = re.search(r"counts=(.*) unimplemented=", account)[1]
counted = {name: int(n) for name, n in (pair.split("=") for pair in account.split())}
if len(sys.argv) > 4:
    listed = json.load(open(sys.argv[4]))[0]["counts"]
    ahead = [name for name, n in listed.items() if n > counted.get(name, 0)]
    if ahead or sum(listed.values()) < 2000:
        sys.exit(f"sentry ps does not fit: {listed}")
head.insert(1, "counted")
for name in set(table) | set(counted):
    table.setdefault(name, dict.fromkeys(head, 0))["counted"] = counted.get(name, 0)
print("".join(f"{h:>10}" for h in head) + f"{'witness':>10}  call")
bad = total = 0
for name in sorted(set(table) | set(host)):
    row = table.get(name, dict.fromkeys(head, 0))
    seen = host.get(name, 0)
    why = []
    if row["sent"] != row["counted"]:
        why.append("the sentry counted others")
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
served_ptrace() { served ptrace; }
served_seccomp() { served seccomp; }
private_ptrace() { private ptrace; }
private_seccomp() { private seccomp; }
STEP_TIMEOUT=120 SHOW=1 step served-ptrace served-seccomp private-ptrace private-seccomp
