#!/bin/bash
# COUNT (100) containers, each killed in a random way at a random moment; `delete` (by force where that is what clients would do) then
# removes everything of it. SEED repeats a run.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip chaos "not with the control"; exit 0; }
trap finish EXIT
COUNT=${COUNT:-100} SEED=${SEED:-$RANDOM}

# processes_of ID NAME: those of a container's own by their command name, the supervisor being its `rsc-runtime`.
processes_of() { python3 - "$STATE" "$1" "$2" <<'P'
import json, sys
state, id, kind = sys.argv[1:]
try: r = json.load(open(f"{state}/{id}/state.json"))
except OSError: sys.exit()
pids = {"workload": [r.get("init")], "supervisor": [r.get("supervisor")], "helpers": r.get("helpers", [])}[kind]
print(*(p["pid"] for p in pids if p))
P
}
# What runs: something that computes, waits, reads and writes, forks.
work='while :; do echo x >>/tmp/f; cat /tmp/f | wc -l >/dev/null; (sleep 0.01); done'
victim() { # victim N: creates, starts perhaps, and kills something
    local id=it-$1 what pid out
    RANDOM=$((SEED + $1))
    rt create -b b $id </dev/null >/dev/null 2>&1 || { echo "$1: create failed"; return 1; }
    [ $((RANDOM % 4)) = 0 ] || rt start $id || { echo "$1: start failed"; return 1; }
    sleep 0.$((RANDOM % 10))
    case $((RANDOM % 7)) in
        0) what=workload; kill -KILL $(processes_of $id workload) ;;
        1) what=supervisor; kill -KILL $(processes_of $id supervisor) ;;
        2) what=helpers; kill -KILL $(processes_of $id helpers) ;;
        3) what=one-helper; pid=($(processes_of $id helpers)); kill -KILL ${pid[$((RANDOM % ${#pid[@]}))]} ;;
        4) what=all; kill -KILL $(processes_of $id workload) $(processes_of $id supervisor) $(processes_of $id helpers) ;;
        5) what=stopped; kill -STOP $(processes_of $id supervisor) ;;
        6) what=kill-command; rt kill $id KILL ;;
    esac 2>/dev/null
    out=$(rt delete --force $id 2>&1) || { echo "$1: delete after $what: $out"; return 1; }
    rt state $id >/dev/null 2>&1 && { echo "$1: still there after $what"; return 1; }
    echo "$what" >>ways
}
killed() {
    job sh -c "$work"
    local i j pids failed=0
    echo "SEED=$SEED"
    for ((i = 1; i <= COUNT; i += 5)); do
        pids=()
        for ((j = i; j < i + 5 && j <= COUNT; j++)); do victim $j >>said 2>&1 & pids+=($!); done
        for j in "${pids[@]}"; do wait "$j" || failed=$((failed + 1)); done
    done
    cat said; sort ways | uniq -c
    [ $failed = 0 ] || fail "SEED=$SEED: $failed failed: $(head -3 said | tr '\n' ';')"
}
# A command that is killed half-way leaves a container that delete removes.
commands_killed() {
    job sh -c "$work"
    local i
    for i in $(seq 20); do
        RANDOM=$((SEED + i))
        rtx create -b b it-k$i </dev/null >/dev/null 2>&1 & sleep 0.0$((RANDOM % 6)); kill -KILL $! 2>/dev/null || true; wait $! 2>/dev/null || true
        rt delete --force it-k$i
        ! rt state it-k$i >/dev/null 2>&1 || fail "SEED=$SEED: $i is still there"
    done
}
STEP_TIMEOUT=300 step killed commands-killed
