#!/bin/bash
# tests/bench/server.sh: what a thin server needs: memory of the sentry and its gofers at rest, for each process and each session
# that it serves. SENTRY: the program, default the static one (tests/static-sentry); RT: rsc-runtime; N: how many, default 50.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
N=${N:-50} RT=${RT:-${CARGO_TARGET_DIR:-$here/../target}/release/rsc-runtime} SENTRY=${SENTRY:-$("$here/static-sentry" | tail -n 1)}
CACHE=${RSC_TEST_CACHE:-${TMPDIR:-/tmp}/rsc-tests}; [ -x "$CACHE/busybox/bin/busybox" ] || "$here/setup" base
W=$(mktemp -d) runs=()
trap 'kill "${runs[@]}" $server 2>/dev/null; wait; rm -rf "$W"' EXIT
"$SENTRY" serve --unix "$W/s" --export "bb=$CACHE/busybox:ro" 2>"$W/log" & server=$!
until [ -S "$W/s" ]; do sleep .1; done
tree() { local p; echo "$1"; for p in $(pgrep -P "$1"); do tree "$p"; done; }
# KiB of all processes of the server: pages that they share are counted once.
memory() { sleep 1; local p; for p in $(tree $server); do awk '/^Pss:/ { print $2 }' "/proc/$p/smaps_rollup"; done | awk '{ s += $1 } END { print s }'; }
run() { "$RT" remote --all --sentry "unix://$W/s" -- "$@" >"$W/out.${#runs[@]}" </dev/null & runs+=($!); }
up() { local i; for i in $(seq 600); do ! grep -q up "$W/out.$1" 2>/dev/null || return 0; sleep .1; done; echo "a program does not start" >&2; exit 1; }
sleepers() { run sh -c "i=0; while [ \$i -lt $1 ]; do sleep 100000 & i=\$((i+1)); done; echo up; wait"; up $((${#runs[@]} - 1)); }
end() { kill -KILL "${runs[@]}"; wait "${runs[@]}" 2>/dev/null || true; runs=(); rm -f "$W"/out.*; for _ in $(seq 100); do [ "$(tree $server | wc -l)" -gt "$rest_tree" ] || return 0; sleep .2; done; }
rest=$(memory) rest_tree=$(tree $server | wc -l)
echo "at rest: $rest KiB in $rest_tree processes (sentry and its starter)"
sleepers 1; one=$(memory); end
echo "one session with a process: $one KiB"
sleepers "$N"; many=$(memory); end
echo "one session with $N processes: $many KiB, $(((many - one) / (N - 1))) KiB a process"
sleepers 1; one=$(memory)
for _ in $(seq 2 "$N"); do sleepers 1; done
many=$(memory)
echo "$N sessions with a process each: $many KiB, $(((many - one) / (N - 1))) KiB a session, its gofer included"
end; echo "afterwards: $(memory) KiB"
