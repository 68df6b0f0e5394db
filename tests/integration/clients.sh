#!/bin/bash
# Real clients: containerd by ctr, the CRI with a pod of two containers, Docker, Podman rootful and rootless. Their scripts are in
# tests/clients; RT=runc is the control.
set -u
HERE=$(cd "$(dirname "$0")/.." && pwd)
BIN=${RSC_BIN:-${CARGO_TARGET_DIR:-$HERE/../target}/release}
export RT=${RT:-$BIN/rsc-runtime}
"$HERE/setup" clients || exit 2
if [ "${RT##*/}" = rsc-runtime ]; then
    # Where an ordinary user may read it, for rootless Podman.
    at=$(mktemp -d "${RSC_TEST_CACHE:-${TMPDIR:-/tmp}/rsc-tests}/clients/bin.XXXXXX") || exit
    trap 'rm -rf "$at"' EXIT
    chmod 755 "$at"; cp "${RT%/*}"/{rsc-runtime,sentry,gofer} "$at" || exit
    RT=$at/rsc-runtime
fi
failed=()
for client in ${CLIENTS:-containerd cri docker podman}; do
    echo "-- $client"
    "$HERE/clients/$client.sh" || failed+=("$client")
done
# With a sentry on TCP: roots that are its exports, so that this host holds no files, and a pod's ports, relayed. The other steps look at
# the image's own files; they run so with OVER=tcp alone.
if [ "${RT##*/}" = rsc-runtime ]; then
    for client in containerd cri; do
        [[ " ${CLIENTS:-containerd cri} " == *" $client "* ]] || continue
        echo "-- $client, over TCP"
        OVER=tcp ONLY='second-container|published|root-elsewhere|served-over|no-session' "$HERE/clients/$client.sh" || failed+=("$client over TCP")
    done
fi
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
