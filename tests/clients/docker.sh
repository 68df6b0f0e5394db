#!/bin/bash
# [RT=]docker.sh [RUNTIME]: an OCI runtime under dockerd (DOCKER=20|26, with containerd 1.6|1.7).
# SHIM=/path/containerd-shim-NAME-vN or a runtime type (DOCKER=26): that shim; it finds RUNTIME by PATH.
. "$(dirname "$0")/lib.sh"
enter "$@"
V=${DOCKER:-26} I=localhost/bb:1
case $V in 20) CV=1.6 ;; *) CV=1.7 ;; esac
B=$ROOT/docker-$V/usr; [ -x "$B/sbin/dockerd" ] || die "no docker $V: tests/setup clients"
use_shim
PATH=$W/bin:${RT%/*}:$SHIM_DIR$B/sbin:$B/bin:$ROOT/containerd-$CV/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ -n "$SHIM_TYPE" ]; then KIT="\"runtimeType\": \"$SHIM_TYPE\""; else KIT="\"path\": \"$RT\""; fi
cat >"$W/daemon.json" <<T
{"data-root": "$W/root", "exec-root": "$W/exec", "pidfile": "$W/docker.pid", "hosts": ["unix://$W/docker.sock"], "storage-driver": "overlay2",
 "iptables": false, "ip6tables": false, "ip-forward": false, "bridge": "none", "live-restore": true, "exec-opts": ["native.cgroupdriver=cgroupfs"],
 "default-runtime": "kit", "runtimes": {"kit": {$KIT}}}
T
export DOCKER_CONFIG=$W/cfg
K="$B/bin/docker -H unix://$W/docker.sock"
R="$K run --network none --cgroup-parent /$NS"
daemon() { start dockerd "$K version" "$B/sbin/dockerd" --config-file "$W/daemon.json"; }
get() { $K inspect -f "{{.State.$2}}" "$1"; }

version() { "$RT" --version; has "$($K info)" kit; }
run() { eq "$($R --rm $I echo hello)" hello; }
exit_code() { rc 7 $R --rm $I sh -c 'exit 7'; }
stdout_stderr() { eq "$($R --rm $I sh -c 'echo o; echo e >&2' 2>"$D/err")" o; eq "$(cat "$D/err")" e; }
big_output() { eq "$($R --rm $I seq 200000 | md5sum)" "$(seq 200000 | md5sum)"; }
stdin() { eq "$(echo hi | $R -i --rm $I cat)" hi; }
tty_run() { tty 4 "$R --rm -t $I sh -c 'tty; stty size; exit 4'" | tee "$D/o"; has "$(cat "$D/o")" /dev/; }
env_cwd_user() { eq "$($R --rm -e A='b c' -w /tmp -u 65534:65534 $I sh -c 'echo "$A" $PWD $(id -u) $(id -g)')" 'b c /tmp 65534 65534'; }
hostname() { eq "$($R --rm -h other $I sh -c 'echo $$ $(hostname)')" '1 other'; }
read_only() { rc 1 $R --rm --read-only $I sh -c 'echo x > /x || exit 1'; }
bind_mount() { echo in >"$D/in"; $R --rm -v "$D:/d" $I sh -c 'cat /d/in > /d/out'; eq "$(cat "$D/out")" in; }
bind_read_only() { rc 1 $R --rm -v "$D:/d:ro" $I sh -c 'echo x > /d/x || exit 1'; [ ! -e "$D/x" ]; }
volume() { $R --rm -v vol:/v $I sh -c 'echo 1 > /v/f'; eq "$($R --rm -v vol:/v $I cat /v/f)" 1; $K volume rm vol; }
tmpfs() { has "$($R --rm --tmpfs /t:size=1m $I sh -c 'echo x > /t/x && grep " /t " /proc/mounts')" tmpfs; }
shm_size() { has "$($R --rm --shm-size 2m $I df /dev/shm)" 2048; }
limits() { $R --rm -m 64m --cpus .5 --pids-limit 20 --ulimit nofile=100:100 $I sh -c '[ $(ulimit -n) = 100 ]'; }
cap_drop() { has "$($R --rm --cap-drop ALL $I grep CapEff /proc/self/status)" 0000000000000000; }
no_new_privileges() { has "$($R --rm --security-opt no-new-privileges $I grep NoNewPrivs /proc/self/status)" 1; }
sysctl() { eq "$($R --rm --sysctl net.ipv4.ip_unprivileged_port_start=99 $I cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" 99; }
privileged() { $R --rm --privileged $I sh -c 'mount -t tmpfs t /tmp && echo x > /tmp/x'; }
network_host() { eq "$($K run --rm --network host --cgroup-parent /$NS $I readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"; }
init() { eq "$($R --rm --init $I cat /proc/1/comm)" docker-init; }
killed_code() { $R --rm --name c0 $I sleep 1000 & soon same true 'get c0 Running'; $K kill c0; rc 137 wait $!; }
missing_program() { rc 127 $R --rm $I /nonexistent; }
not_executable() { rc 126 $R --rm $I /etc/passwd; }
oom() { rc 137 $R --name oom -m 24m $I sh -c 'tail /dev/zero'; eq "$(get oom OOMKilled)" true; $K rm oom; }
detach() { $R -d --name c1 -v "$D:/d" $I sh -c "echo start; $LOOP"; eq "$(get c1 Running)" true; counts; }
double_create() { refused $R -d --name c1 $I true; counts; }
delete_running() { refused $K rm c1; counts; }
exec_code() { rc 5 $K exec c1 sh -c 'echo in-exec; exit 5'; }
exec_stdin() { eq "$(echo hi | $K exec -i c1 cat)" hi; }
exec_tty() { tty 6 "$K exec -t c1 sh -c 'tty; exit 6'" | tee "$D/o"; has "$(cat "$D/o")" /dev/; }
exec_env_cwd_user() { eq "$($K exec -e A='b c' -w /tmp -u 65534 c1 sh -c 'echo "$A" $PWD $(id -u)')" 'b c /tmp 65534'; }
exec_missing() { refused $K exec c1 /nonexistent; counts; }
exec_detach() { $K exec -d c1 sh -c 'echo x > /d/ex'; soon test -e "$D/ex"; }
top() { has "$($K top c1)" sh; }
stats() { $K stats --no-stream c1 | grep c1; }
pause() { $K pause c1; eq "$(get c1 Paused)" true; stands; refused $K exec c1 true; }
resume() { $K unpause c1; eq "$(get c1 Paused)" false; counts; }
update() { $K update --cpus 0.5 -m 64m --memory-swap 64m c1; counts; }
kill_handled() { $K kill -s USR1 c1; soon test -e "$D/usr1"; }
logs() { eq "$($K logs c1)" start; }
copy() { echo x >"$D/f"; $K cp "$D/f" c1:/tmp/f; eq "$($K exec c1 cat /tmp/f)" x; $K cp c1:/tmp/f "$D/g"; eq "$(cat "$D/g")" x; }
daemon_restart() { counts; eq "$(get c1 Running)" true; rc 4 $K exec c1 sh -c 'exit 4'; }
restart() { local p; p=$(get c1 Pid); $K restart -t 10 c1; [ "$p" != "$(get c1 Pid)" ]; counts; }
stop_grace() { $K stop -t 20 c1; eq "$(get c1 ExitCode)" 9; }
start_again() { $K start c1; counts; }
delete_force() { $K rm -f c1; refused $K inspect --type container c1; } # a network's id may begin so
stop_kill() { $R -d --name c2 $I sh -c 'trap "" TERM; while :; do sleep .2; done'; $K stop -t 1 c2; eq "$(get c2 ExitCode)" 137; $K rm c2; }
create_start() { $K create --network none --cgroup-parent /$NS --name c3 $I sh -c 'echo o; exit 8'; rc 8 $K start -a c3; $K rm c3; }
wait_code() { $R -d --name c4 $I sh -c 'sleep 1; exit 6'; eq "$($K wait c4)" 6; $K rm c4; }
restart_policy() { $R -d --name c5 --restart on-failure:2 $I sh -c 'exit 8'; soon same 2 '$K inspect -f "{{.RestartCount}}" c5'; $K rm -f c5; }
health() { $R -d --name c6 --health-cmd true --health-interval 1s $I sleep 1000; soon same healthy 'get c6 Health.Status'; $K rm -f c6; }
share_namespaces() {
    $R -d --name c7 $I sh -c 'exec sleep 1000'
    has "$($K run --rm --network container:c7 --pid container:c7 --cgroup-parent /$NS $I ps)" 'sleep 1000'; $K rm -f c7
}
parallel() {
    local i p=(); for i in 1 2 3 4; do $R --rm $I sh -c "exit $i" & p+=($!); done
    for i in 1 2 3 4; do rc $i wait "${p[i - 1]}"; done
}
nothing_left() { eq "$($K ps -aq)" ''; no_cgroups; eq "$(ls "$W/exec/runtime-kit/moby" "$W/exec/runtime-runc/moby" 2>/dev/null | grep -v :)" ''; }

daemon; $K load -i "$ROOT/bb.tar" >"$W/log/load.log" 2>&1
step version run exit-code stdout-stderr big-output stdin tty-run env-cwd-user hostname read-only bind-mount bind-read-only volume tmpfs shm-size \
    limits cap-drop no-new-privileges sysctl network-host init killed-code missing-program not-executable oom \
    detach double-create delete-running exec-code exec-stdin exec-tty exec-env-cwd-user exec-missing exec-detach top stats \
    pause resume update kill-handled logs copy
if [ "$V" = 20 ] && ! all_caps; then skip privileged "no CAP_SYS_RESOURCE here"; else step privileged; fi
stop dockerd; daemon
last_steps daemon-restart restart stop-grace start-again delete-force stop-kill create-start wait-code restart-policy health share-namespaces \
    parallel nothing-left
