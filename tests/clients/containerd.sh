#!/bin/bash
# [RT=]containerd.sh [RUNTIME]: an OCI runtime under containerd (CONTAINERD=1.6|1.7|2.1) through ctr.
# SHIM=/path/containerd-shim-NAME-vN or a runtime type: that shim in place of containerd-shim-runc-v2; it finds RUNTIME by PATH.
. "$(dirname "$0")/lib.sh"
enter "$@"
V=${CONTAINERD:-1.7} S=$W/c.sock RR=$W/rr I=localhost/bb:1
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
[plugins."io.containerd.snapshotter.v1.blockfile"]
  scratch_file = "$W/scratch"
  fs_type = "ext4"
T
truncate -s 16M "$W/scratch"; mkfs.ext4 -q -m 0 -O ^has_journal "$W/scratch"
C="$B/ctr -a $S -n $NS"
if [ -n "$SHIM_TYPE" ]; then CR="--runtime $SHIM_TYPE"; else CR="--runc-binary $RT --runc-root $RR"; fi
CC="$C c create ${SHIM_TYPE:+--runtime $SHIM_TYPE}" CR="$C run $CR" # create takes no --runc-binary: runc by PATH
R="$RT --root $RR/$NS"
daemon() { start containerd "$C version" "$B/containerd" -c "$W/config.toml"; }
status() { $C t ls | awk -v c="$1" '$1==c {print $3}'; }

version() { "$RT" --version; }
run() { eq "$($CR --rm $I t echo hello)" hello; }
exit_code() { rc 7 $CR --rm $I t sh -c 'exit 7'; }
stdout_stderr() { eq "$($CR --rm $I t sh -c 'echo o; echo e >&2' 2>"$D/err")" o; eq "$(cat "$D/err")" e; }
big_output() { eq "$($CR --rm $I t sh -c 'seq 200000' | md5sum)" "$(seq 200000 | md5sum)"; }
stdin() { eq "$(lines hi | $CR --rm $I t cat)" hi; }
tty_run() { tty 4 "$CR --rm -t $I t sh -c 'tty; stty size; exit 4'" | tee "$D/o"; has "$(cat "$D/o")" /dev/; }
env_cwd() { eq "$($CR --rm --env A='b c' --cwd /tmp $I t sh -c 'echo "$A" $PWD')" 'b c /tmp'; }
user() { eq "$($CR --rm --user 65534:65534 $I t sh -c 'echo $(id -u) $(id -g)')" '65534 65534'; }
read_only() { rc 1 $CR --rm --read-only $I t sh -c 'echo x > /x || exit 1'; }
bind_mount() { echo in >"$D/in"; $CR --rm --mount type=bind,src="$D",dst=/d,options=rbind:rw $I t sh -c 'cat /d/in > /d/out'; eq "$(cat "$D/out")" in; }
bind_read_only() { rc 1 $CR --rm --mount type=bind,src="$D",dst=/d,options=rbind:ro $I t sh -c 'echo x > /d/x || exit 1'; [ ! -e "$D/x" ]; }
tmpfs() { has "$($CR --rm --mount type=tmpfs,src=tmpfs,dst=/t,options=size=1m $I t sh -c 'echo x > /t/x && grep " /t " /proc/mounts')" tmpfs; }
pid_1() { eq "$($CR --rm $I t sh -c 'echo $$')" 1; }
join_pid_namespace() { has "$($CR --rm --with-ns pid:/proc/1/ns/pid $I t sh -c 'cat /proc/1/comm')" bash; }
killed_code() { $CR --rm $I t sleep 1000 & soon same RUNNING 'status t'; $C t kill -s KILL t; rc 137 wait $!; }
missing_program() { refused $CR --rm $I t /nonexistent; eq "$($C t ls -q)" ''; $C c rm t 2>/dev/null || :; }
oom() { local r=0; $CR --rm --memory-limit 33554432 $I t sh -c 'tail /dev/zero' || r=$?; [ $r = 137 ] || [ $r = 1 ] || fail "exit code $r, not 137"; }
limits() { $CR --rm --memory-limit 67108864 --cpu-quota 50000 --cpu-period 100000 $I t true; }
hooks() {
    local h=$D/hooks.txt rf=$W/hookfs; mkdir -p "$rf/bin" "$rf/proc" "$rf/dev" "$rf/sys" "$rf/h"; cp "$ROOT/busybox" "$rf/bin/sh"; : >"$h"
    $C oci spec >"$W/spec.json"
    python3 - "$W/spec.json" "$rf" "$D" "$h" "$NS" <<'P'
import json, sys
f, root, d, h, ns = sys.argv[1:]
s = json.load(open(f))
s["root"] = {"path": root}
s["process"].update(args=["/bin/sh", "-c", "exit 3"], terminal=False, env=["PATH=/bin"])
s["linux"]["cgroupsPath"] = "/%s/hook" % ns
s["mounts"].append({"destination": "/h", "type": "bind", "source": d, "options": ["rbind", "rw"]})
s["hooks"] = {n: [{"path": "/bin/sh", "args": ["sh", "-c", "read s; echo %s >> %s" % (n, "/h/hooks.txt" if n == "startContainer" else h)]}]
    for n in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")}
json.dump(s, open(f, "w"))
P
    rc 3 $CR --rm --config "$W/spec.json" hook
    eq "$(sort "$h" | tr '\n' ' ')" 'createContainer createRuntime poststart poststop prestart startContainer '
    eq "$(grep -v -e prestart -e poststart "$h" | tr '\n' ' ')" 'createRuntime createContainer startContainer poststop '
}
detach() { $CR -d --mount type=bind,src="$D",dst=/d,options=rbind:rw $I c1 sh -c "$LOOP"; soon same RUNNING 'status c1'; counts; }
state() { has "$($R state c1)" '"running"'; has "$($R list)" c1; }
double_create() { refused $CC $I c1; }
double_create_runtime() { refused $R create -b "$W/state/io.containerd.runtime.v2.task/$NS/c1" c1; counts; }
delete_running() { refused $C t rm c1; refused $C c rm c1; counts; }
delete_running_runtime() { refused $R delete c1; counts; }
exec_code() { rc 5 $C t exec --exec-id e1 c1 sh -c 'echo in-exec; exit 5'; }
exec_stdin() { eq "$(lines hi | $C t exec --exec-id e2 c1 cat)" hi; }
exec_tty() { tty 6 "$C t exec -t --exec-id e3 c1 sh -c 'tty; exit 6'" | tee "$D/o"; has "$(cat "$D/o")" /dev/; }
exec_cwd_user() { eq "$($C t exec --exec-id e4 --cwd /tmp --user 65534 c1 sh -c 'echo $PWD $(id -u)')" '/tmp 65534'; }
exec_missing() { refused $C t exec --exec-id e5 c1 /nonexistent; counts; }
exec_kill() { $C t exec -d --exec-id e6 c1 sleep 1000; $C t kill --exec-id e6 -s KILL c1; soon exec_gone; counts; }
exec_gone() { $C t rm --exec-id e6 c1; [ $? = 137 ]; }
ps() { [ "$($C t ps c1 | tail -n +2 | wc -l)" -ge 1 ]; }
metrics() { has "$($C t metrics c1)" memory; }
pause() { $C t pause c1; eq "$(status c1)" PAUSED; stands; }
resume() { $C t resume c1; eq "$(status c1)" RUNNING; counts; }
update() { $R update --memory 67108864 c1; counts; }
kill_handled() { $C t kill -s USR1 c1; soon test -e "$D/usr1"; counts; }
daemon_restart() { counts; rc 4 $C t exec --exec-id e7 c1 sh -c 'exit 4'; eq "$(status c1)" RUNNING; }
kill_term() { $C t kill -s TERM c1; soon same STOPPED 'status c1'; }
task_delete() { has "$($C t rm c1 2>&1)" 'exit code 9' || :; refused $R state c1; }
start_again() { $C t start -d c1; soon same RUNNING 'status c1'; counts; $C t kill -s KILL c1; soon same STOPPED 'status c1'; $C t rm c1 || :; $C c rm c1; }
create_start() { $CC $I c2 false; rc 1 $C t start c2; $C c rm c2; }
kill_all() { $CR -d $I c3 sh -c 'sleep 1000 & sleep 1000'; $C t kill -a -s KILL c3; soon same STOPPED 'status c3'; $C t rm -f c3 || :; $C c rm c3; }
delete_force() { $CR -d $I c4 sleep 1000; $C t rm -f c4 || :; eq "$(status c4)" ''; $C c rm c4; }
log_file() { $CR --rm --log-uri "file://$D/said" $I t sh -c 'echo o; echo e >&2'; eq "$(sort "$D/said" | tr '\n' ' ')" 'e o '; }
log_program() {
    printf '%s\n' '#!/bin/bash' "exec 5>&-; cat <&3 >$D/logged & cat <&4 >>$D/logged & echo \$CONTAINER_NAMESPACE \$CONTAINER_ID >$D/logger; wait" >"$W/logger"
    chmod 755 "$W/logger"; $CR --rm --log-uri "binary://$W/logger?a=b" $I t sh -c 'echo out'
    soon grep -qx out "$D/logged"; eq "$(cat "$D/logger")" "$NS t"
}
oom_event() {
    $C events >"$D/events" & local r=0 e=$!; sleep .3
    $CR --rm --memory-limit 33554432 $I t sh -c 'tail /dev/zero' || r=$?
    soon grep -q /tasks/oom "$D/events"; kill $e; [ $r != 0 ]
}
checkpoint_refused() { counts; refused $C t checkpoint c1 localhost/saved:1; counts; }
shared_shim() { # by the containers of a group
    $CR -d --annotation io.containerd.runc.v2.group=g $I g sleep 1000; $CR -d --annotation io.containerd.runc.v2.group=g $I h sleep 1000
    eq "$(shims g | wc -w) $(shims h | wc -w)" '1 0'; $C t rm -f h || :; eq "$(status g)" RUNNING; kill -9 "$(shims g)"
    soon same '' '$C t ls -q | grep -x g'; $C c rm g h
}
# As the CRI hands it on: a file in the form of the host's configuration.
config_path() {
    echo 'platform = "ptrace"' >"$W/host.toml"; eq "$($CR --rm --runtime-config-path "$W/host.toml" $I t echo hello)" hello
    printf '# c\nplatform = "none"\n' >"$W/host.toml"; has "$($CR --rm --runtime-config-path "$W/host.toml" $I t true 2>&1 || :)" 'host.toml, line 2'
    $C c rm t 2>/dev/null || :
}
# A root from a loop device, which is free again when the container is gone.
block_root() {
    eq "$($CR --rm --snapshotter blockfile $I t sh -c 'echo x >/x; cat /x; grep -c " / " /proc/mounts' | tr '\n' ' ')" 'x 1 '
    soon loops_gone
}
loops_gone() { ! grep -s "$W/root" /sys/block/loop*/loop/backing_file; }
# Options that no client of these hands to this shim: as containerd does, on the standard input of start.
start_shim() { # CGROUP
    mkdir -p "$W/direct"; echo '{}' >"$W/direct/config.json"
    python3 -c '
import sys
field = lambda number, data: bytes([number << 3 | 2, len(data)]) + data
sys.stdout.buffer.write(field(1, b"containerd.runc.v1.Options") + field(2, field(3, sys.argv[1].encode())))' "$1" |
        (cd "$W/direct" && "$SHIM" -namespace "$NS" -id direct -address "$S" start)
}
shim_cgroup() {
    local c p; for c in memory pids; do mkdir -p "/sys/fs/cgroup/$c/$NS/shims"; done
    has "$(start_shim "/$NS/shims")" unix:///run/containerd/s/; p=$(shims direct)
    for c in memory pids; do has "$(cat "/proc/$p/cgroup")" ":$c:/$NS/shims"; done
    kill -TERM "$p"; soon same '' 'shims direct'; rmdir /sys/fs/cgroup/{memory,pids}/"$NS/shims"
    has "$(start_shim "/$NS/none" 2>&1 || :)" "there is no cgroup /$NS/none"; eq "$(shims direct)" ''
}
# OVER=tcp: the sentry's own tree is the root.
root_elsewhere() { eq "$($CR --rm --annotation dev.rsc.rootfs=sentry:tree $I t sh -c 'read a </where; echo $a; echo w >/written')" there; eq "$(cat "$W/tree/written")" w; }
parallel() {
    local i p=(); for i in 1 2 3 4; do $CR --rm $I p$i sh -c "exit $i" & p+=($!); done
    for i in 1 2 3 4; do rc $i wait "${p[i - 1]}"; done
}
shim_killed() {
    $CR -d $I c5 sleep 1000; local p; p=$(shims c5); [ -n "$p" ] || fail "no shim"; kill -9 $p
    soon same '' '$C t ls -q | grep c5'; [ -n "$SHIM_TYPE" ] || soon eval "! $R state c5"; $C c rm c5
}
shims() { # of container ID, or all
    local f; for f in /proc/[0-9]*; do case $(tr '\0' ' ' 2>/dev/null <"$f/cmdline") in *-shim*-id\ ${1:-*}\ *) echo "${f##*/}" ;; esac; done
}
nothing_left() {
    eq "$($C t ls -q; $C c ls -q)" ''; soon same '' shims
    [ ! -d "$RR/$NS" ] || eq "$(ls "$RR/$NS")" ''
    no_cgroups
}

daemon; $C images import "$ROOT/bb.tar" >"$W/log/import.log" 2>&1
step version run exit-code stdout-stderr big-output stdin tty-run env-cwd read-only bind-mount bind-read-only tmpfs pid-1 \
    join-pid-namespace killed-code missing-program oom limits hooks detach double-create delete-running
[ "$V" = 1.6 ] && skip user "ctr 1.6 run has no --user" || step user
[ -n "$SHIM_TYPE" ] || step state double-create-runtime delete-running-runtime update
step exec-code exec-stdin exec-tty exec-cwd-user exec-missing exec-kill ps metrics pause resume kill-handled checkpoint-refused
stop containerd; daemon
step daemon-restart kill-term
[ -n "$SHIM_TYPE" ] || step task-delete
[ -z "$SHIM_TYPE" ] || $C t rm c1 >/dev/null 2>&1
step start-again create-start kill-all delete-force parallel log-file log-program oom-event shared-shim
if [ "$V" = 1.6 ]; then skip block-root "no such snapshotter"
elif [ ! -e /dev/loop-control ]; then skip block-root "no loop devices"
else step block-root; fi
case ${SHIM:-} in */containerd-shim-rsc-v1) step config-path; [ ! -d /sys/fs/cgroup/memory ] || step shim-cgroup ;; esac
[ -z "${OVER:-}" ] || step root-elsewhere
last_steps shim-killed nothing-left
