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
STEP_TIMEOUT=150 step over-vsock
