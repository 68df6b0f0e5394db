#!/bin/bash
# Containers that join others' namespaces, as those of a pod do. RT=runc: the control.
. "$(dirname "$0")/../lib.sh"
trap finish EXIT

# namespaces PID KIND...: JSON of namespaces where those kinds are joined of process PID, or of a path (`=PATH`), the others new.
namespaces() {
    python3 - "$@" <<'P'
import json, sys
of, kinds = sys.argv[1], sys.argv[2:]
files = {"network": "net"}
path = lambda t: of[1:] if of[0] == "=" else "/proc/%s/ns/%s" % (of, files.get(t, t))
print(json.dumps([dict({"type": t}, **({"path": path(t)} if t in kinds else {})) for t in ("pid", "network", "ipc", "uts", "mount")]))
P
}
# up ID [OPTION...] [-- ARGS...]: a container that sleeps, or runs ARGS, in the background. pid_of ID: its pid.
up() {
    local id=$1 options=(); shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
    [ $# -gt 0 ] && shift || set -- sleep 1000
    bundle "b-$id" --root "$PWD/rootfs" --cgroup "/it-$MARK-$id" "${options[@]}" -- "$@"
    rt run -d -b "b-$id" "$id" </dev/null >"out-$id" 2>&1 || fail "$id: $(cat "out-$id")"
}
pid_of() { rt state "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'; }
# join ID OF KIND... [-- ARGS...]: up, in namespaces of container OF.
join() {
    local id=$1 of=$2 kinds=(); shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do kinds+=("$1"); shift; done
    up "$id" --set /linux/namespaces "$(namespaces "$(pid_of "$of")" "${kinds[@]}")" --set /hostname '""' "$@"
}
down() { local id; for id; do rt delete -f "$id"; done; }
same_status() { [ "$(status_of "$1")" = "$2" ]; }
hasnt() { [[ $1 != *"$2"* ]] || fail "'$2' in '$1'"; }
ns() { readlink "/proc/$(pid_of "$1")/ns/$2"; }
sentry_of() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["sentry"]["pid"])' "$STATE/$1/state.json"; }

joined_namespaces() { # really, on the host
    local k; up it-a; join it-b it-a network ipc uts
    for k in net ipc uts; do eq "$(ns it-a $k)" "$(ns it-b $k)"; done
    [ "$(ns it-a pid)" != "$(ns it-b pid)" ] || fail 'one pid namespace'
    eq "$(rt exec it-a readlink /proc/self/ns/net)" "$(rt exec it-b readlink /proc/self/ns/net)"
    eq "$(rt exec it-b readlink /proc/self/ns/uts)" "$(ns it-a uts)"; down it-a it-b
}
host_name() {
    up it-a; join it-b it-a uts; eq "$(rt exec it-b hostname)" conformance
    rt exec --cap CAP_SYS_ADMIN it-a hostname new; eq "$(rt exec it-b hostname)" new; eq "$(rt exec it-b uname -n)" new; down it-a it-b
}
own_host_name() { up it-a; up it-b --set /hostname '"other"'; eq "$(rt exec it-a hostname)" conformance; eq "$(rt exec it-b hostname)" other; down it-a it-b; }
loopback() {
    up it-a -- sh -c 'echo hello >/tmp/page; exec httpd -f -p 127.0.0.1:8080 -h /tmp'; join it-b it-a network
    soon rt exec it-b wget -qO- http://127.0.0.1:8080/page; eq "$(rt exec it-b wget -qO- http://127.0.0.1:8080/page)" hello
    up it-c; rc 1 rt exec it-c wget -qO- http://127.0.0.1:8080/page 2>/dev/null; down it-a it-b it-c
}
processes() {
    up it-a; join it-b it-a pid; has "$(rt exec it-b ps)" 'sleep 1000'; eq "$(rt exec it-b cat /proc/1/comm)" sleep
    local n; n=$(rt exec it-b ps | grep -c 'sleep 1000'); eq "$n" 2; eq "$(rt exec it-a ps | grep -c 'sleep 1000')" 2; down it-b it-a
}
signals() {
    up it-a -- sh -c 'trap "echo usr1 >/root/got" USR1; while :; do sleep .1; done'; join it-b it-a pid; sleep .3
    rt exec it-b kill -USR1 1; soon [ -e rootfs/root/got ]
    local p; p=$(rt exec it-a sh -c 'pidof sleep | tr " " "\n" | sort -n | tail -1'); rc 1 rt exec --user 5:5 it-b kill -KILL 1 2>/dev/null
    eq "$(status_of it-a)" running
    # Also the other way: a process of the second one.
    p=$(rt exec it-b sh -c 'for p in /proc/[0-9]*; do [ "$(cat $p/cmdline 2>/dev/null | tr "\0" " ")" = "sleep 1000 " ] && echo ${p#/proc/}; done; true'); rt exec it-a kill -KILL "$p"
    soon same_status it-b stopped; eq "$(status_of it-a)" running; down it-b it-a
}
one_ends() { # and the others go on
    up it-a; join it-b it-a network ipc uts; join it-c it-a network ipc uts
    rt kill it-a KILL; soon same_status it-a stopped; rt delete it-a
    rt exec it-b true; join it-d it-b network; eq "$(ns it-d net)" "$(ns it-c net)"; eq "$(rt exec it-c hostname)" conformance
    down it-b it-c; eq "$(rt exec it-d echo on)" on; down it-d
}
first_process_ends() { # and takes along all in its pid namespace
    up it-a; join it-b it-a pid; rt kill it-a KILL; soon same_status it-a stopped; soon same_status it-b stopped; down it-b it-a
}
init_ends() { # in another's pid namespace nobody dies of it but by kill --all
    up it-a; join it-b it-a pid -- sh -c 'sleep 500 & exec sleep .3'
    soon same_status it-b stopped; has "$(rt exec it-a ps)" 'sleep 500'
    rt kill --all it-b KILL; soon not_listed it-a 'sleep 500'; rt delete it-b; eq "$(status_of it-a)" running; down it-a
}
not_listed() { [[ $(rt exec "$1" ps) != *"$2"* ]]; }
attached_run() {
    up it-a; bundle b --root "$PWD/rootfs" --cgroup "/it-$MARK-b" --set /linux/namespaces "$(namespaces "$(pid_of it-a)" pid)" -- sh -c 'sleep 500 & exit 3'
    rc 3 rt run -b b it-b </dev/null; hasnt "$(rt exec it-a ps)" 'sleep 500'; down it-a
}
paused() {
    up it-a; join it-b it-a network pid; rt pause it-b; eq "$(rt exec it-a echo on)" on; eq "$(status_of it-b)" paused
    rt resume it-b; eq "$(rt exec it-b echo on)" on; down it-b it-a
}
exec_in_shared_pids() { up it-a; join it-b it-a pid; rc 7 rt exec it-b sh -c 'exit 7'; eq "$(rt exec it-b sh -c 'sleep 0 & wait $!; echo $?')" 0; down it-b it-a; }
bound_network() { # a namespace that is nobody's
    ip netns add "$MARK" || fail 'no ip netns'; ip -n "$MARK" link set lo up
    up it-a --set /linux/namespaces "$(namespaces "=/run/netns/$MARK" network)" -- sh -c 'echo hello >/tmp/page; exec httpd -f -p 127.0.0.1:8080 -h /tmp'
    join it-b it-a network; soon rt exec it-b wget -qO- http://127.0.0.1:8080/page; down it-a it-b; ip netns del "$MARK"
}
at_once() { # those that come first into a namespace, at the same moment: one sentry for all
    local id; ip netns add "$MARK" || fail 'no ip netns'; ip -n "$MARK" link set lo up
    for id in it-a it-b it-c it-d; do
        bundle "b-$id" --root "$PWD/rootfs" --cgroup "/it-$MARK-$id" --set /linux/namespaces "$(namespaces "=/run/netns/$MARK" network)" -- sleep 1000
        rt run -d -b "b-$id" "$id" </dev/null >"out-$id" 2>&1 &
    done
    wait; for id in it-b it-c it-d; do eq "$(sentry_of $id)" "$(sentry_of it-a)"; done
    down it-a it-b it-c it-d; ip netns del "$MARK"
}
host_processes() { # in sight, and out of reach: not for the control, which would kill them
    local path other n=0
    setpriv --reuid 65534 --regid 65534 --clear-groups env TEST_MARK=$MARK sleep 700 </dev/null >/dev/null 2>&1 & other=$!
    for path in '[{"type": "mount"}, {"type": "network"}, {"type": "uts"}]' "$(namespaces $$ pid)"; do
        n=$((n + 1)); up it-$n --set /linux/namespaces "$path" -- sh -c 'sleep 600 & exec sleep 1000'
        eq "$(rt exec it-$n cat /proc/1/comm)" "$(cat /proc/1/comm)"; has "$(rt exec it-$n ps)" 'sleep 700'; has "$(rt exec it-$n ps)" 'sleep 600'
        eq "$(rt exec it-$n cat /proc/$other/comm)" sleep; rc 1 rt exec it-$n ls /proc/4000000 2>/dev/null
        rc 1 rt exec it-$n kill -KILL $other 2>/dev/null; rc 1 rt exec it-$n kill -0 1 2>/dev/null; rc 1 rt exec it-$n renice -n 19 -p $other 2>/dev/null
        rt exec it-$n sh -c 'kill -KILL -1'; alive $other || fail 'a process of the host was killed'
        soon same_status it-$n stopped; down it-$n
    done
    kill $other
}
refused() { # with the property's name, leaving nothing
    local kind
    for kind in mount time; do
        bundle b --root "$PWD/rootfs" --set /linux/namespaces "$(python3 -c 'import json,sys; print(json.dumps([{"type": "pid"}, {"type": sys.argv[1], "path": "/proc/1/ns/" + sys.argv[1]}]))' $kind | sed 's,ns/mount,ns/mnt,')" -- true
        rc 1 rt create -b b it-r 2>e </dev/null >/dev/null; has "$(cat e)" 'linux.namespaces[1].path'
    done
    bundle b --root "$PWD/rootfs" --set /linux/namespaces "$(namespaces =/nonexistent ipc)" -- true
    rc 1 rt create -b b it-r 2>e </dev/null >/dev/null; has "$(cat e)" 'linux.namespaces[2].path'
    bundle b --root "$PWD/rootfs" --set /linux/namespaces "$(namespaces =/etc/passwd ipc)" -- true
    rc 1 rt create -b b it-r 2>e </dev/null >/dev/null; has "$(cat e)" 'ipc namespace /etc/passwd'
}
one_sentry() {
    up it-a; up it-x; join it-b it-a network; join it-c it-b pid
    eq "$(sentry_of it-b)" "$(sentry_of it-a)"; eq "$(sentry_of it-c)" "$(sentry_of it-a)"; [ "$(sentry_of it-x)" != "$(sentry_of it-a)" ] || fail 'one sentry for all'
    local s; s=$(sentry_of it-a); down it-a it-x it-c; alive "$s" || fail 'it ended before its last user'; down it-b; soon gone "$s"
}
supervisor_killed() { # of one; the others go on, and so does their sentry
    up it-a; join it-b it-a network uts
    local s; s=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["supervisor"]["pid"])' "$STATE/it-a/state.json")
    kill -KILL "$s"; soon same_status it-a stopped; eq "$(rt exec it-b hostname)" conformance; join it-c it-b network; down it-a; eq "$(rt exec it-c echo on)" on; down it-b it-c
}
sentry_killed() {
    up it-a; join it-b it-a network; kill -KILL "$(sentry_of it-a)"; soon same_status it-a stopped; soon same_status it-b stopped; down it-a it-b
}
make_abstract() {
    musl-gcc -static -O1 -o rootfs/bin/abstract -x c - <<'C' || fail 'no musl-gcc'
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_un a = {AF_UNIX, "\0pods"};
    socklen_t n = sizeof(sa_family_t) + 5;
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    char b[8] = {0};
    if (argc > 1) {
        if (bind(s, (void *)&a, n) || listen(s, 5)) return 2;
        for (;;) { int c = accept(s, 0, 0); write(c, "hello\n", 6); close(c); }
    }
    if (connect(s, (void *)&a, n)) return 3;
    write(1, b, read(s, b, 8));
    return 0;
}
C
}
abstract_sockets() { # of the network namespace; busybox has no client for them, a static program does
    make_abstract
    up it-a -- abstract serve; join it-b it-a network; up it-c
    soon rt exec it-b abstract; eq "$(rt exec it-b abstract)" hello; rc 3 rt exec it-c abstract; down it-a it-b it-c
}
distant_sentry() { # many sandboxes of one: only those share that join
    make_abstract
    "$SENTRY" serve --unix "$PWD/s" </dev/null >sentry.log 2>&1 & local s=$!
    soon [ -S s ]; rt() { TEST_MARK=$MARK "$RT" --root "$STATE" --sentry "unix://$PWD/s" "$@"; }
    up it-a -- abstract serve; up it-x; unset -f rt; rt() { TEST_MARK=$MARK "$RT" --root "$STATE" "$@"; }
    join it-b it-a network uts pid -- sleep 900 # which brings it to the same sentry, whatever it is told
    rt exec --cap CAP_SYS_ADMIN it-a hostname new; eq "$(rt exec it-b hostname)" new; eq "$(rt exec it-x hostname)" conformance
    has "$(rt exec it-a ps)" 'sleep 900'; hasnt "$(rt exec it-x ps)" 'sleep 900'; eq "$(rt exec it-b abstract)" hello; rc 3 rt exec it-x abstract
    rt kill it-b KILL; soon same_status it-b stopped; eq "$(rt exec it-a echo on)" on
    down it-b it-a it-x; kill $s; wait $s || :
}
beside() { # what serves a container is in a cgroup of its own
    up it-a; join it-b it-a network; local s c
    s=$(sentry_of it-a)
    for c in memory cpu; do
        [ -d /sys/fs/cgroup/$c ] || continue
        has "$(cat "/proc/$s/cgroup")" "/rsc-it-$MARK-it-a"
        grep -q "^$(pid_of it-a)\$" "/sys/fs/cgroup/$c/it-$MARK-it-a/cgroup.procs"
        hasnt "$(cat "/sys/fs/cgroup/$c/it-$MARK-it-a/cgroup.procs")" "$s"
    done
    rt pause it-a; rt pause it-b; rt resume it-b; rt resume it-a
    down it-a; has "$(cat "/proc/$s/cgroup")" "/rsc-it-$MARK-it-b"; down it-b
}

# Of an ordinary user, who has no rights in its own user namespace. user_home: a place where that user may go, in $U.
RL=61235
as_user() { setpriv --reuid $RL --regid $RL --clear-groups env -i "PATH=$PATH" "TEST_MARK=$MARK" "XDG_RUNTIME_DIR=$U/run" "$@"; }
urt() { as_user "$U/bin/${RT##*/}" "$@"; }
user_home() {
    U=$(mktemp -d "${TMPDIR:-/tmp}/rsc-rl.XXXXXX"); trap 'rm -rf --one-file-system "$U"' EXIT
    chmod 755 "$U"; mkdir "$U/bin" "$U/run" "$U/home"; cp "$RT" "$U/bin/"; [ -n "$CONTROL" ] || cp "${RT%/*}"/{sentry,gofer} "$U/bin/"
    cp -a rootfs "$U/home/"; chown -R $RL:$RL "$U/home" "$U/run"; chmod 700 "$U/run" "$U/home"
}
# user_up ID OF KINDS ARGS...: a container in namespaces of container OF (-: none).
user_up() {
    local id=$1 of=$2 kinds=$3 name=first map="[{\"containerID\": 0, \"hostID\": $RL, \"size\": 1}]"; shift 3
    [ "$of" = - ] || { of=$(user_pid "$of"); name=; }
    bundle "$U/home/b-$id" --root "$U/home/rootfs" --set /linux/namespaces "$(namespaces "$of" $kinds | sed 's,^\[,[{"type": "user"}\, ,')" \
        --set /hostname "\"$name\"" --set /linux/uidMappings "$map" --set /linux/gidMappings "$map" \
        --set /mounts '[{"destination": "/proc", "type": "proc", "source": "proc"}]' -- "$@"
    case " $kinds " in *" user "*) sed -i "s,\"type\": \"user\",&\, \"path\": \"/proc/$of/ns/user\"," "$U/home/b-$id/config.json" ;; esac
    chown -R $RL:$RL "$U/home/b-$id"; (cd "$U/home" && urt run -d -b "b-$id" "$id" </dev/null) >"out-$id" 2>&1 || fail "$id: $(cat "out-$id")"
}
user_pid() { urt state "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'; }
user_ns() { readlink "/proc/$(user_pid "$1")/ns/$2"; }
user_joins() { # KINDS: a second container in those, and a third in the second's
    local k pids=; user_home; [[ $1 != *pid* ]] || pids=1
    user_up a - '' sh -c 'echo hello >/root/page; httpd -p 127.0.0.1:8080 -h /root; exec sleep 900'
    user_up b a "$1" sleep 800; user_up c b "$1" sleep 700
    for k in net ipc uts ${pids:+pid}; do eq "$(user_ns b $k)" "$(user_ns a $k)"; eq "$(user_ns c $k)" "$(user_ns a $k)"; done
    for k in b c; do
        eq "$(urt exec $k hostname)" first; soon urt exec $k wget -qO- http://127.0.0.1:8080/page
        eq "$(urt exec $k wget -qO- http://127.0.0.1:8080/page)" hello; [ -z "$pids" ] || has "$(urt exec $k ps)" 'sleep 900'
    done
    # Other tools find the service in that namespace, too.
    eq "$(nsenter -t "$(user_pid c)" -n "$CACHE/busybox/bin/busybox" wget -qO- http://127.0.0.1:8080/page)" hello
    [ -z "$pids" ] || { urt exec b kill -0 1; urt kill c KILL; soon user_hasnt a 'sleep 700'; has "$(urt exec a ps)" 'sleep 800'; }
    for k in c b a; do urt delete -f $k; done
}
user_hasnt() { [[ $(urt exec "$1" ps) != *"$2"* ]]; }
user_with_way_in() { user_joins 'user pid network ipc uts'; }
user_without_way_in() { user_joins 'pid network ipc uts'; }
user_some() { user_joins 'user network ipc uts'; }
user_refused() { # namespaces of another user
    local k; user_home; up it-a
    for k in network ipc uts; do
        bundle "$U/home/b" --root "$U/home/rootfs" --set /linux/namespaces "$(namespaces "$(pid_of it-a)" $k)" -- true; chown -R $RL:$RL "$U/home/b"
        rc 1 urt create -b "$U/home/b" x 2>e </dev/null; has "$(cat e)" namespaces
    done; down it-a
}

step joined-namespaces host-name own-host-name loopback processes signals one-ends first-process-ends init-ends attached-run paused \
    exec-in-shared-pids bound-network abstract-sockets
if setpriv --reuid $RL --regid $RL --clear-groups unshare --user --map-root-user true 2>/dev/null; then
    step user-with-way-in user-some
    only_rsc user-without-way-in user-refused
else skip 'user-with-way-in user-some user-without-way-in user-refused' "users may not make user namespaces on this machine"; fi
only_rsc at-once host-processes refused one-sentry supervisor-killed sentry-killed distant-sentry beside
