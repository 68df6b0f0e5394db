#!/bin/bash
# [RT=]podman.sh [RUNTIME]: an OCI runtime under podman and conmon, rootful and then rootless (MODE=rootful|rootless|both).
. "$(dirname "$0")/lib.sh"
TOKEN_MODE=644 # OVER=tcp: for the ordinary user too
enter "$@"
PATH=$W/bin:${RT%/*}:/usr/sbin:/usr/bin:/sbin:/bin I=localhost/bb:1
command -v podman >/dev/null || die "no podman: tests/setup clients"
get() { $P inspect -f "{{.State.$2}}" "$1"; }

version() { "$RT" --version; has "$($P info --format '{{.Host.OCIRuntime.Path}}')" "$RT"; }
run() { eq "$($R --rm $I echo hello)" hello; }
exit_code() { rc 7 $R --rm $I sh -c 'exit 7'; }
stdout_stderr() { eq "$($R --rm $I sh -c 'echo o; echo e >&2' 2>"$D/err")" o; eq "$(cat "$D/err")" e; }
big_output() { eq "$($R --rm $I seq 200000 | md5sum)" "$(seq 200000 | md5sum)"; }
stdin() { eq "$(echo hi | $R -i --rm $I cat)" hi; }
tty_run() { tty 4 "$R --rm -t $I sh -c 'tty; stty size; exit 4'" | tee "$D/o"; has "$(cat "$D/o")" /dev/; }
env_cwd_user() { eq "$($R --rm -e A='b c' -w /tmp -u $USER1:$USER1 $I sh -c 'echo "$A" $PWD $(id -u) $(id -g)')" "b c /tmp $USER1 $USER1"; }
hostname() { eq "$($R --rm -h other $I sh -c 'echo $$ $(hostname)')" '1 other'; }
read_only() { rc 1 $R --rm --read-only $I sh -c 'echo x > /x || exit 1'; }
bind_mount() { echo in >"$D/in"; $R --rm -v "$D:/d" $I sh -c 'cat /d/in > /d/out'; eq "$(cat "$D/out")" in; }
bind_read_only() { rc 1 $R --rm -v "$D:/d:ro" $I sh -c 'echo x > /d/x || exit 1'; [ ! -e "$D/x" ]; }
volume() { $R --rm -v vol:/v $I sh -c 'echo 1 > /v/f'; eq "$($R --rm -v vol:/v $I cat /v/f)" 1; $P volume rm vol; }
tmpfs() { has "$($R --rm --tmpfs /t:size=1m $I sh -c 'echo x > /t/x && grep " /t " /proc/mounts')" tmpfs; }
limits() { $R --rm -m 64m --cpus .5 --pids-limit 20 $I true; }
cap_drop() { has "$($R --rm --cap-drop ALL $I grep CapEff /proc/self/status)" 0000000000000000; }
no_new_privileges() { has "$($R --rm --security-opt no-new-privileges $I grep NoNewPrivs /proc/self/status)" 1; }
sysctl() { eq "$($R --rm --sysctl net.ipv4.ip_unprivileged_port_start=99 $I cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" 99; }
network_host() { eq "$(${R/--network none/--network host} --rm $I readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"; }
init() { [ -x /usr/libexec/podman/catatonit ] || return 0; has "$($R --rm --init $I cat /proc/1/comm)" catatonit; }
killed_code() { $R --rm --name c0 $I sleep 1000 & soon same true 'get c0 Running'; $P kill c0; rc 137 wait $!; }
missing_program() { rc 127 $R --rm $I /nonexistent; }
not_executable() { rc 126 $R --rm $I /etc/passwd; }
oom() { rc 137 $R --rm -m 24m $I sh -c 'tail /dev/zero'; }
hooks() {
    mkdir -p "$W/hooks"; local h=$D/hooks.txt n; rm -f "$h"
    for n in prestart poststart poststop; do
        echo "{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/bin/sh\", \"args\": [\"sh\", \"-c\", \"read s; echo $n >> $h\"]}, \"when\": {\"always\": true}, \"stages\": [\"$n\"]}" >"$W/hooks/$n.json"
    done
    chmod -R a+rX "$W/hooks"
    rc 3 ${R/ run / --hooks-dir $W/hooks run } --name hk $I sh -c 'exit 3'; ${P} --hooks-dir "$W/hooks" rm -f hk
    eq "$(tr '\n' ' ' <"$h")" 'prestart poststart poststop '
}
detach() { $R -d --name c1 -v "$D:/d" $I sh -c "echo start; $LOOP"; eq "$(get c1 Running)" true; counts; }
state() { has "$($RTC state "$(id c1)")" '"running"'; }
id() { $P inspect -f '{{.Id}}' "$1"; }
double_create() { refused $R -d --name c1 $I true; counts; }
delete_running() { refused $P rm c1; counts; }
delete_running_runtime() { refused $RTC delete "$(id c1)"; counts; }
exec_code() { rc 5 $P exec c1 sh -c 'echo in-exec; exit 5'; }
exec_stdin() { eq "$(echo hi | $P exec -i c1 cat)" hi; }
exec_tty() { tty 6 "$P exec -t c1 sh -c 'tty; exit 6'" | tee "$D/o"; has "$(cat "$D/o")" /dev/; }
exec_env_cwd_user() { eq "$($P exec -e A='b c' -w /tmp -u $USER1 c1 sh -c 'echo "$A" $PWD $(id -u)')" "b c /tmp $USER1"; }
exec_missing() { rc 127 $P exec c1 /nonexistent; counts; }
exec_detach() { $P exec -d c1 sh -c 'echo x > /d/ex'; soon test -e "$D/ex"; }
top() { has "$($P top c1 pid comm)" sh; }
stats() { $P stats --no-stream c1 | grep c1; }
pause() { $P pause c1; eq "$(get c1 Paused)" true; stands; refused $P exec c1 true; }
resume() { $P unpause c1; eq "$(get c1 Paused)" false; counts; }
update() { $P update --cpus 0.5 c1; counts; }
kill_handled() { $P kill -s USR1 c1; soon test -e "$D/usr1"; }
logs() { eq "$($P logs c1)" start; }
copy() { echo x >"$D/f"; $P cp "$D/f" c1:/tmp/f; eq "$($P exec c1 cat /tmp/f)" x; }
restart() { local p; p=$(get c1 Pid); $P restart -t 10 c1; [ "$p" != "$(get c1 Pid)" ]; counts; }
stop_grace() { $P stop -t 20 c1; eq "$(get c1 ExitCode)" 9; }
start_again() { $P start c1; counts; }
delete_force() { $P rm -f -t 0 c1; refused $P inspect c1; }
stop_kill() { $R -d --name c2 $I sh -c 'trap "" TERM; while :; do sleep .2; done'; $P stop -t 1 c2; eq "$(get c2 ExitCode)" 137; $P rm c2; }
create_start() { ${R/ run / create } --name c3 $I sh -c 'echo o; exit 8'; rc 8 $P start -a c3; $P rm c3; }
init_container() { ${R/ run / create } --name c3 $I sleep 1000; $P init c3; eq "$(get c3 Status)" initialized; $P start c3; eq "$(get c3 Status)" running; $P rm -f -t 0 c3; }
wait_code() { $R -d --name c4 $I sh -c 'sleep 1; exit 6'; eq "$($P wait c4)" 6; $P rm c4; }
restart_policy() { $R -d --name c5 --restart on-failure:2 $I sh -c 'exit 8'; soon same 2 '$P inspect -f "{{.RestartCount}}" c5'; $P rm -f -t 0 c5; }
share_namespaces() {
    $R -d --name c7 $I sh -c 'exec sleep 1000'
    has "$(${R/--network none/--network container:c7} --rm --pid container:c7 $I ps)" 'sleep 1000'; $P rm -f -t 0 c7
}
pod() {
    $P pod create --name pd --network none --infra-image localhost/pause:1 --infra-command '/bin/sleep 2000000000' --share net,ipc,uts
    $P run -d --pod pd $LIM --name pd1 $I sh -c 'httpd -p 127.0.0.1:8080 -h /etc; exec sleep 1000'
    has "$($P run --rm --pod pd $LIM $I sh -c 'ip link set lo up; until wget -qO- http://127.0.0.1:8080/passwd; do sleep .1; done')" root
    $P pod rm -f -t 0 pd
}
parallel() {
    local i p=(); for i in 1 2 3 4; do $R --rm $I sh -c "exit $i" & p+=($!); done
    for i in 1 2 3 4; do rc $i wait "${p[i - 1]}"; done
}
nothing_left() { eq "$($P ps -aq)" ''; no_cgroups; soon same '' 'conmons'; }
conmons() { local f; for f in /proc/[0-9]*/comm; do case $(cat "$f" 2>/dev/null) in conmon) echo "$f" ;; esac; done; }

LIM="--ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --cgroup-parent /$NS"
common="version run exit-code stdout-stderr big-output stdin tty-run env-cwd-user hostname read-only bind-mount bind-read-only volume tmpfs
 cap-drop no-new-privileges network-host init killed-code missing-program not-executable hooks detach state double-create
 delete-running delete-running-runtime exec-code exec-stdin exec-tty exec-env-cwd-user exec-missing exec-detach"
late="kill-handled logs copy restart stop-grace start-again delete-force stop-kill create-start init-container wait-code restart-policy
 parallel nothing-left"
podman() { P="${U:-} env -i HOME=$1 XDG_RUNTIME_DIR=$2 PATH=$PATH TMPDIR=$3/var podman --root $3/root --runroot $3/run --tmpdir $3/tmp
 --cgroup-manager cgroupfs --events-backend file --storage-driver overlay --runtime $RT"
    P=$(echo $P); R="$P run --network none $LIM"; mkdir -p "$3/var"; RTC=${U:+$P unshare }$RT; }

if [ "${MODE:-both}" != rootless ]; then
    PREFIX=rootful- USER1=65534 U=; podman "$HOME" '' "$W/rootful"
    for i in bb pause; do $P load -i "$ROOT/$i.tar" >>"$W/log/load.log" 2>&1; done
    step $common limits sysctl oom top stats pause resume update share-namespaces pod $late
fi
if [ "${MODE:-both}" != rootful ]; then # the user exists only in this mount namespace
    n=4242 h=$W/home; mkdir -p "$h" /run/user/$n; rm -rf "$D"/*; USER1=1000
    { cat /etc/passwd; echo "kit:x:$n:$n::$h:/bin/sh"; } >"$W/passwd"; { cat /etc/group; echo "kit:x:$n:"; } >"$W/group"; echo "kit:1000000:65536" >"$W/subid"
    touch /etc/subuid /etc/subgid
    for i in passwd:passwd group:group subid:subuid subid:subgid; do chmod 644 "$W/${i%:*}"; mount --bind "$W/${i%:*}" "/etc/${i#*:}"; done
    PREFIX=rootless- U="setpriv --reuid $n --regid $n --clear-groups"; podman "$h" /run/user/$n "$h/p"; chown -R $n:$n "$h" /run/user/$n; chmod 777 "$D"
    LIM=${LIM% --cgroup-parent*} R="$P run --network none ${LIM% --cgroup-parent*}"; cd "$h" || exit
    $U test -x "$RT" || echo "FAIL rootless-runtime: $RT cannot be read by another user"
    for i in bb pause; do $P load -i "$ROOT/$i.tar" >>"$W/log/load.log" 2>&1; done
    step $common share-namespaces pod $late
fi
last_steps
