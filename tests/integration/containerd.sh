#!/bin/bash
# containerd by ctr, and the CRI with a pod of two containers, through containerd-shim-rsc-v1. RT=runc: the control, with its own shim.
set -u
HERE=$(cd "$(dirname "$0")/.." && pwd)
BIN=${RSC_BIN:-${CARGO_TARGET_DIR:-$HERE/../target}/release}
export RT=${RT:-$BIN/rsc-runtime}
"$HERE/setup" clients || exit 2
if [ "${RT##*/}" = rsc-runtime ]; then
    export SHIM=${RT%/*}/containerd-shim-rsc-v1
    [ -x "$SHIM" ] || { echo "no shim at $SHIM: cargo build --release" >&2; exit 2; }
else
    export SHIM=io.containerd.runc.v2
fi
failed=()
for client in containerd cri; do
    echo "-- $client"
    "$HERE/clients/$client.sh" || failed+=("$client")
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
