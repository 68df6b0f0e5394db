#!/bin/bash
# True AF_VSOCK, both ends inside a User-Mode Linux machine: the same bundle as everywhere, the URL alone differs.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip vsock "not with the control"; exit 0; }
trap finish EXIT
inside='set -eu; cd "$1"
"$SENTRY" serve --vsock 9999 >sentry.log 2>&1 & s=$!
for i in $(seq 50); do python3 -c "import socket; s=socket.socket(socket.AF_VSOCK); s.connect((1,9999))" 2>/dev/null && break; sleep .2; done
got=0; "$RT" --root /run/state --sentry vsock://1:9999 run -b b c1 </dev/null || got=$?
kill $s; wait $s || true; [ $got = 7 ]'
over_vsock() {
    "$HERE/setup" uml
    bundle b --root "$PWD/rootfs" -- sh -c 'echo "on $(hostname)"; echo x >/root/f; cat /root/f; exit 7'
    eq "$(UML_TIMEOUT=100 "$HERE/uml" bash -c "$inside" x "$PWD" | tr '\n' ' ')" 'on conformance x '
    eq "$(cat rootfs/root/f)" x
}
# The classic demonstration of ordinary processes, by each way in that such a kernel has (it has no tracepoints for eBPF).
inside_demo='set -eu; cd "$1"
"$SENTRY" serve --vsock 9999 --export "work=$1/srv" >sentry.log 2>&1 & s=$!
for i in $(seq 50); do python3 -c "import socket; s=socket.socket(socket.AF_VSOCK); s.connect((1,9999))" 2>/dev/null && break; sleep .2; done
export RSC_SENTRY=vsock://1:9999 XDG_RUNTIME_DIR="$1/run"; list=openat,read,write,close; cd here
shown() { echo "$1: $(cat out) $(cat ../srv/ce_w.txt)"; rm ../srv/ce_w.txt out; }
"$RT" remote --cwd / --syscalls $list -- ../demo >out; shown launch
RSC_CWD=/ RSC_SYSCALLS=$list LD_PRELOAD=$BIN/librsc_preload.so ../demo >out; shown preload
sh -c "while [ ! -e ../go ]; do sleep .2; done; exec ../demo" >out & p=$!
"$RT" attach --cwd / --syscalls $list $p 2>../attach.log & a=$!
for i in $(seq 100); do grep -q "TracerPid:.0" /proc/$p/status || break; sleep .1; done; touch ../go; wait $p; wait $a; shown attach
ls; kill $s; wait $s || true'
demo_over_vsock() {
    "$HERE/setup" uml; mkdir -m 700 run; mkdir srv here; echo read >srv/cs_r.txt; gcc -O1 -o demo "$TOP/tests/preload/demo.c"
    eq "$(UML_TIMEOUT=140 "$HERE/uml" bash -c "$inside_demo" x "$PWD" | tr '\n' ' ')" 'launch: read written by the client preload: read written by the client attach: read written by the client '
}
STEP_TIMEOUT=150 step over-vsock demo-over-vsock
