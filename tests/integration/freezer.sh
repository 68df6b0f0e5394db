#!/bin/bash
# The container's cgroup is frozen and thawed in the middle of a read and of a write: nothing lost, nothing twice.
. "$(dirname "$0")/../lib.sh"
trap finish EXIT
freezer() { local d=/sys/fs/cgroup/freezer/it-$MARK; [ -d $d ] && { echo "$1" >$d/freezer.state; return; }; d=/sys/fs/cgroup/it-$MARK; [ "$1" = FROZEN ] && echo 1 >$d/cgroup.freeze || echo 0 >$d/cgroup.freeze; }
frozen_read() {
    local p; for p in ptrace seccomp; do
        [ -z "$CONTROL" ] && flag=--platform=$p || flag=--debug
        bundle b --root "$PWD/rootfs" --cgroup "/it-$MARK" -- sh -c 'echo up; while read x; do echo "got $x"; done; echo end'
        rm -f in o; mkfifo in; rtx $flag run -b b "it-$p" <in >o 2>e & local c=$!
        exec 5>in; soon grep -q up o
        local i; for i in 1 2 3 4 5; do freezer FROZEN; sleep .1; echo "$i" >&5; sleep .1; freezer THAWED; soon grep -q "got $i" o; done
        exec 5>&-; rc 0 wait $c; eq "$(grep -c got o)" 5
    done
}
frozen_write() {
    bundle b --root "$PWD/rootfs" --cgroup "/it-$MARK" -- sh -c 'echo up >&2; seq 30000'
    rtx run -b b it-w 2>e >o </dev/null & local c=$!
    soon grep -q up e
    local i; for i in $(seq 20); do freezer FROZEN 2>/dev/null; sleep .02; freezer THAWED 2>/dev/null; sleep .02; done || true
    rc 0 wait $c; cmp o <(seq 30000) || fail "output differs"
}
step frozen-read frozen-write
