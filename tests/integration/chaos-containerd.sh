#!/bin/bash
# COUNT (100) containers through containerd (CONTAINERD=1.7) and our shim. Of each something is killed at a random moment: the
# workload, the supervisor, the sentry, another helper, a command of the runtime, the shim, containerd, or several at once; while it is
# made, while it runs, or while it is removed. Then `ctr` removes it, and nothing of any of them is left: no process, mount, cgroup, socket, namespace or file. SEED repeats a run.
# RT=runc, with its own shim, is there for comparison: that leaves sockets in /run/containerd/s.
NETNS=1 # so that all unix sockets that are seen are ours
BIN=${RSC_BIN:-${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/../.." && pwd)/target}/release}
export RT=${RT:-$BIN/rsc-runtime} SEED=${SEED:-$RANDOM} COUNT=${COUNT:-100}
case ${RT##*/} in runc) export SHIM=${SHIM:-io.containerd.runc.v2} ;; *) export SHIM=${SHIM:-${RT%/*}/containerd-shim-rsc-v1} ;; esac
[ -n "${KIT_INSIDE:-}" ] || "$(dirname "$0")/../setup" clients || exit 2
. "$(dirname "$0")/../clients/lib.sh"
enter "$@"
V=${CONTAINERD:-1.7} S=$W/c.sock I=localhost/bb:1
B=$ROOT/containerd-$V/usr/bin; [ -x "$B/containerd" ] || die "no containerd $V: tests/setup clients"
use_shim
PATH=$W/bin:${RT%/*}:$SHIM_DIR$B:/usr/sbin:/usr/bin:/sbin:/bin
cat >"$W/config.toml" <<T
version = 2
root = "$W/root"
state = "$W/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "$S"
[ttrpc]
  address = "$S.ttrpc"
T
C="timeout 20 $B/ctr -a $S -n $NS"
STATES=/run/containerd/rsc/$NS
kinds="workload supervisor sentry helper command shim containerd several all removal"
[ "${RT##*/}" != runc ] || kinds="workload command shim containerd several removal"
daemon() { start containerd "$C version" "$B/containerd" -c "$W/config.toml"; }
status() { $C t ls | awk -v c="$1" '$1==c {print $3}'; }
shim_of() { # of the container, or of its pod
    local f; for f in /proc/[0-9]*; do case $(tr '\0' ' ' 2>/dev/null <"$f/cmdline") in *-shim-*-id\ $1\ *) echo "${f##*/}" ;; esac; done
}
# processes_of ID NAME: of a container's own; without a record of ours its init.
processes_of() { python3 - "$STATES" "$W/state/io.containerd.runtime.v2.task/$NS" "$1" "$2" <<'P'
import json, sys
states, bundles, id, kind = sys.argv[1:]
try: r = json.load(open(f"{states}/{id}/state.json"))
except (OSError, ValueError):
    try: r = {"init": {"pid": int(open(f"{bundles}/{id}/init.pid").read())}}
    except (OSError, ValueError): sys.exit()
one = lambda name: [r.get(name)]
pids = {"workload": one("init"), "supervisor": one("supervisor"), "sentry": one("sentry"), "helper": r.get("helpers", []),
    "all": one("init") + one("supervisor") + one("sentry") + r.get("helpers", [])}[kind]
print(*(p["pid"] for p in pids if p and p["pid"] > 1))
P
}
commands_of() { # commands of the runtime that are at work on a container
    local f; for f in /proc/[0-9]*; do case $(tr '\0' ' ' 2>/dev/null <"$f/cmdline") in "$RT"\ *\ $1\ | runc\ *\ $1\ ) echo "${f##*/}" ;; esac; done
}
pids_of() { # of container ID and SHIM's id, those of KIND
    case $3 in
        shim) shim_of "$2" ;;
        command) commands_of "$1" ;;
        several) echo $(shim_of "$2") $(processes_of "$1" "$OTHER") ;;
        all) echo $(shim_of "$2") $(commands_of "$1") $(processes_of "$1" all) ;;
        *) processes_of "$1" "$3" ;;
    esac
}
pick() { local name=$1 which; shift; which=$((RANDOM % $# + 1)); eval "$name=\${$which}"; } # no subshell: that has a RANDOM of its own
kill_hard() { # KIND ID SHIM'S-ID: what there is of it; waits a while for it to come
    [ "$1" = containerd ] && { bring_down; return; }
    local i pids; for i in $(seq 60); do pids=$(pids_of "$2" "$3" "$1"); [ -z "${pids// /}" ] || break; sleep .02; done
    kill -KILL $pids 2>/dev/null
}
# Not the lock for what is started: it would be held for good.
bring_down() { (flock 9; kill -KILL "$(cat "$W/containerd.pid")"; sleep 0.$((RANDOM % 5)); daemon 9>&-) 9>"$W/lock"; }

# Everything that containers could leave, but for what belongs to the client (its FIFOs) or stays with containerd (images).
picture() { python3 - "$W" "$NS" <<'P'
import glob, os, re, sys
w, ns = sys.argv[1:]
seen = set()
def text(path):
    try: return open(path, errors="replace").read()
    except OSError: return ""
def parent(pid):
    found = re.search(r"^PPid:\s*(\d+)", text(f"/proc/{pid}/status"), re.M)
    return int(found[1]) if found else 0
ours, pid = {int(text(f"{w}/containerd.pid") or 0)}, os.getpid()
while pid: ours.add(pid); pid = parent(pid)
kinds = os.listdir("/proc/1/ns")
def link(path):
    try: return os.readlink(path)
    except OSError: return None
known = {link(f"/proc/1/ns/{kind}") for kind in kinds}
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) not in ours and os.path.exists(f"/proc/{pid}"):
        words = text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        state = re.search(r"^State:\s*(\S)", text(f"/proc/{pid}/status"), re.M)
        seen.add(f"process {text(f'/proc/{pid}/comm').strip()} {state and state[1]} {words}")
    for kind in kinds:
        if (it := link(f"/proc/{pid}/ns/{kind}")) and it not in known: seen.add(f"namespace {it} of a process")
    try: fds = os.listdir(f"/proc/{pid}/fd")
    except OSError: fds = []
    for fd in fds:
        it = link(f"/proc/{pid}/fd/{fd}") or ""
        if re.match(r"(net|mnt|pid|ipc|uts|user|cgroup|time):\[", it) and it not in known: seen.add(f"namespace {it} held by a descriptor")
    for line in text(f"/proc/{pid}/mountinfo").splitlines(): seen.add("mount " + line.split()[4])
for line in text("/proc/net/unix").splitlines()[1:]:
    fields = line.split()
    if len(fields) > 7: seen.add("socket " + fields[7])
for at, _, _ in os.walk("/sys/fs/cgroup"):
    if f"/{ns}/" in at: seen.add("cgroup " + at) # the one of all of them is the namespace's
for at in glob.glob("/sys/block/loop*/loop/backing_file"):
    if w in text(at): seen.add("loop device " + at)
for tree in ("/run", f"{w}/state", f"{w}/root/io.containerd.runtime.v2.task", "/dev/shm", "/dev/mqueue"):
    for at, folders, files in os.walk(tree):
        if at == "/run/containerd": folders[:] = [it for it in folders if it != "fifo"]
        # A folder that containerd was taking away when it was killed; it never looks at it again.
        if at.startswith(f"{w}/"): folders[:] = [it for it in folders if it[0] != "."]
        for name in folders + files: seen.add("file " + os.path.join(at, name))
print(*sorted(seen), sep="\n")
P
}
left() { picture >"$W/now"; comm -13 "$W/before" "$W/now"; } # nothing beside it: its own processes would be seen

with_terminal() { script -qec "$(printf '%q ' "$@")" /dev/null </dev/null >/dev/null; }
# What runs: something that waits, writes and forks. One that begins a lot of processes is there to be killed half-way.
work='while :; do echo x >>/tmp/f; wc -l </tmp/f >/dev/null; (sleep 0.01); done'
# Only an answer counts: containerd may be down.
gone() { local tasks containers; tasks=$($C t ls -q) && containers=$($C c ls -q) && ! grep -qx "$1" <<<"$tasks"$'\n'"$containers"; }
remove() { # as somebody who wants it gone, however often that takes
    local i; for i in $(seq 40); do
        $C t rm -f "$1"; $C c rm "$1"
        gone "$1" >/dev/null && return; sleep .25
    done >/dev/null 2>&1
    return 1
}
ended() { local tasks; tasks=$($C t ls) && ! grep -q "^$1 .*\(RUNNING\|PAUSED\|CREATED\)" <<<"$tasks"; }
within() { local i; for i in $(seq 80); do "$@" >/dev/null 2>&1 && return; sleep .25; done; return 1; } # 20 s and more
victim() { # victim N
    set +e # what fails because something was killed is no failure
    RANDOM=$((SEED + $1))
    local id=x-$1 shim=x-$1 kind way more last OTHER early= paused= pod= run=() ids out
    pick kind $kinds; pick way null null io tty pod; pick more none none exec tty pause; pick OTHER workload supervisor all
    pick last shim command all containerd
    [ $((RANDOM % 3)) != 0 ] || early=1
    case $kind in command) early=1 ;; removal) early= ;; esac
    run=($C run --runtime "$SHIM_TYPE"); ids=$id
    case $way in
        null) run+=(-d) ;;
        tty) run+=(-d -t) ;;
        pod) # the second of two
            shim=p-$1 ids="$id $shim"
            "${run[@]}" -d --annotation io.containerd.runc.v2.group="$shim" $I "$shim" sleep 1000 
            pod=$(processes_of "$shim" workload)
            run+=(-d --annotation io.containerd.runc.v2.group="$shim")
            [ -z "$pod" ] || run+=(--with-ns "pid:/proc/$pod/ns/pid" --with-ns "ipc:/proc/$pod/ns/ipc") ;;
    esac
    run+=($I "$id" sh -c "$work"); [ $way != tty ] || run=(with_terminal "${run[@]}")
    echo "victim $1: $kind, $way${early:+, early}, $more"
    if [ -n "$early" ]; then
        "${run[@]}" >"$W/log/out-$1" 2>&1 </dev/null &
        case $kind in command) ;; *) sleep 0.$((RANDOM % 4))$((RANDOM % 10)) ;; esac
        kill_hard "$kind" "$id" "$shim"
    else
        if [ $way = io ]; then
            "${run[@]}" >"$W/log/out-$1" 2>&1 </dev/null &
            within same RUNNING "status $id"
        else
            "${run[@]}"
        fi
        case $more in
            exec) $C t exec -d --exec-id e "$id" sleep 1000 ;;
            tty) with_terminal $C t exec -d -t --exec-id e "$id" sh -c "$work" ;;
            pause) paused=1; $C t pause "$id" ;;
        esac
        sleep 0.$((RANDOM % 10))
        if [ $kind = removal ]; then
            $C t rm -f "$id" & sleep 0.$((RANDOM % 3))$((RANDOM % 10))
            kill_hard "$last" "$id" "$shim"
        else
            kill_hard "$kind" "$id" "$shim"
        fi
        # What is frozen is killed when it goes on.
        case $kind:$paused in
            workload: | supervisor: | sentry: | shim:* | several:* | all:*) within ended "$id" || { echo "victim $1 runs on after $kind ($way)"; return 1; } ;;
        esac
    fi
    for out in $ids; do remove "$out" || { echo "victim $1: $out can't be removed after $kind ($way): $($C t rm -f "$out" 2>&1; $C c rm "$out" 2>&1)"; return 1; }; done
    echo "$kind" >>"$W/ways"
}
killed() {
    local i j pids said failed=0
    # What comes with the first container stays: folders.
    $C run --rm --runtime "$SHIM_TYPE" $I first true
    within nothing_runs || :; picture >"$W/before"; ! grep '^process' "$W/before" || fail "processes before it begins"
    for ((i = 1; i <= COUNT; i += 4)); do
        pids=()
        for ((j = i; j < i + 4 && j <= COUNT; j++)); do victim $j >"$W/log/victim-$j" 2>&1 & pids+=($!); done
        for j in "${pids[@]}"; do wait "$j" || failed=$((failed + 1)); done
        said=; for ((j = 0; j < 60; j++)); do said=$(left); [ -n "$said" ] || break; sleep .25; done
        [ -z "$said" ] || { tail -n 2 $(eval echo "$W/log/victim-{$i..$((i + 3))}"); fail "SEED=$SEED: left by $i to $((i + 3)): $(head -4 <<<"$said" | tr '\n' ';')"; }
        [ $failed = 0 ] || fail "SEED=$SEED: $(tail -qn 1 $(eval echo "$W/log/victim-{$i..$((i + 3))}") 2>/dev/null | grep -v '^victim [0-9]*: [a-z]*, ' | tr '\n' ';')"
    done
    sort "$W/ways" | uniq -c
}
nothing_runs() { picture >"$W/now"; ! grep '^process' "$W/now"; }

daemon; $C images import "$ROOT/bb.tar" >"$W/log/import.log" 2>&1
echo "SEED=$SEED COUNT=$COUNT containerd $V"
STEP_TIMEOUT=$((120 + COUNT * 10)) step killed
