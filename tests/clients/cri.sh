#!/bin/bash
# [RT=]cri.sh [RUNTIME]: an OCI runtime under the CRI (CONTAINERD=1.6|1.7|2.1): a pod of two containers by cri_client.py.
# SHIM=/path/containerd-shim-NAME-vN or a runtime type: that shim in place of containerd-shim-runc-v2; it finds RUNTIME by PATH.
NETNS=${NETNS-1} # a network namespace, for the pod network; NETNS= : the host's
. "$(dirname "$0")/lib.sh"
enter "$@"
V=${CONTAINERD:-1.7} S=$W/c.sock
B=$ROOT/containerd-$V/usr/bin; [ -x "$B/containerd" ] || die "no containerd $V: tests/setup clients"
[ -e "$ROOT/venv/.ready" ] || die "no grpcio: tests/setup clients"
use_shim
PATH=$W/bin:${RT%/*}:$SHIM_DIR$B:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p "$W/cni"
cat >"$W/cni/10-kit.conflist" <<T
{"cniVersion": "0.4.0", "name": "kit", "plugins": [{"type": "ptp", "ipMasq": false,
  "ipam": {"type": "host-local", "dataDir": "$W/ipam", "ranges": [[{"subnet": "10.77.0.0/24"}]]}}]}
T
cat >"$W/config.toml" <<T
version = 2
root = "$W/root"
state = "$W/state"
[grpc]
  address = "$S"
[ttrpc]
  address = "$S.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$ROOT/cni/usr/lib/cni"
    conf_dir = "$W/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "kit"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kit]
    runtime_type = "${SHIM_TYPE:-io.containerd.runc.v2}"
    pod_annotations = ["dev.rsc.*"]
    container_annotations = ["dev.rsc.*"]
T
[ -n "$SHIM_TYPE" ] || cat >>"$W/config.toml" <<T
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kit.options]
      BinaryName = "$RT"
      Root = "$W/rr"
T
C="$B/ctr -a $S -n k8s.io"
cri_up() { $C version && "$B/ctr" -a "$S" plugins ls | grep -q 'grpc.v1 *cri .*ok'; }
nothing_left() { eq "$($C t ls -q; $C c ls -q)" ''; [ ! -d "$W/rr/k8s.io" ] || eq "$(ls "$W/rr/k8s.io")" ''; no_cgroups; eq "$(ls /run/netns 2>/dev/null)" ''; }

start containerd cri_up "$B/containerd" -c "$W/config.toml"
for i in bb pause; do $C images import "$ROOT/$i.tar" >>"$W/log/import.log" 2>&1; done
while read -r w n f; do
    [ "$w" = COUNT ] && { PASS=$n FAIL=$f; continue; }
    echo "$w $n${f:+ $f}"
done < <(PYTHONPATH=$ROOT/gen "$ROOT/venv/bin/python" -B "$HERE/cri_client.py" "$S" kit "$W" 2>"$W/log/client.log")
[ $((PASS + FAIL)) -gt 0 ] || { echo "FAIL client: $(tail -n 1 "$W/log/client.log")"; FAIL=1; }
last_steps nothing-left
