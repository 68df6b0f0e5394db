#!/bin/bash
# The commands of the runtime: life cycle, what they print, and what they say to bad input. RT=runc: the control.
. "$(dirname "$0")/../lib.sh"
trap finish EXIT

run_true() { job true; rc 0 rt run --bundle b c1; }
run_output() { job sh -c 'echo out; echo err >&2'; eq "$(rt run -b b c1 2>e)" out; eq "$(cat e)" err; }
exit_codes() { local c; for c in 0 1 42 255; do job sh -c "exit $c"; rc $c rt run -b b c1; done; }
exit_signal() { job sh -c 'kill -KILL $$; :'; bundle b --root "$PWD/rootfs" -- sh -c 'sh -c "kill -TERM \$\$"; exit $?'; rc 143 rt run -b b c1; }
arguments() { job printf '%s|' 'two words' '' '*' "it's"; eq "$(rt run -b b c1)" "two words||*|it's|"; }
environment() { bundle b --root "$PWD/rootfs" --env 'X=a b' -- sh -c 'echo "$X"'; eq "$(rt run -b b c1)" 'a b'; }
cwd_user() { bundle b --root "$PWD/rootfs" --cwd /tmp --user 1000:1001 -- sh -c 'echo "$(pwd) $(id -u):$(id -g)"'; eq "$(rt run -b b c1)" '/tmp 1000:1001'; }
hostname() { job hostname; eq "$(rt run -b b c1)" conformance; }
relative_root() { bundle b -- cat /etc/passwd; mv rootfs b/; has "$(rt run -b b c1)" root:x:0; }
read_only_root() { bundle b --root "$PWD/rootfs" --readonly -- sh -c 'echo x >/x; echo $?'; has "$(rt run -b b c1 2>&1)" 'Read-only file system'; }
bind_mount() {
    mkdir vol; echo there >vol/f
    bundle b --root "$PWD/rootfs" --mount "{\"destination\":\"/vol\",\"type\":\"bind\",\"source\":\"$PWD/vol\",\"options\":[\"rbind\",\"rw\"]}" -- sh -c 'cat /vol/f; echo new >/vol/g'
    eq "$(rt run -b b c1)" there; eq "$(cat vol/g)" new
}
bind_read_only() { # in either word
    local word; mkdir vol
    for word in ro rro; do
        bundle b --root "$PWD/rootfs" --mount "{\"destination\":\"/vol\",\"type\":\"bind\",\"source\":\"$PWD/vol\",\"options\":[\"rbind\",\"$word\"]}" -- sh -c 'echo new >/vol/g'
        has "$(rt run -b b c1 2>&1)" 'Read-only file system'; [ ! -e vol/g ] || fail "$word: written"
    done
}
mounts_within() { # with CAP_SYS_ADMIN, of what the workload may see and nobody else
    local caps='["CAP_SYS_ADMIN","CAP_DAC_OVERRIDE"]' want; mkdir -p rootfs/mnt rootfs/media
    cat >program <<'P'
mount -t tmpfs -o size=1m,mode=755 t /mnt && grep -o '^t /mnt tmpfs rw,relatime,size=1024k,mode=755' /proc/mounts
echo text >/mnt/f; mkdir /mnt/d; mount -t tmpfs inner /mnt/d; echo inner >/mnt/d/g
mount --bind /mnt /media; cat /media/f; ls /media/d
mount --rbind /mnt /root; cat /root/d/g
mount -o remount,bind,ro /media; echo x 2>/dev/null >/media/h || echo read-only; echo x >/mnt/h && cat /media/h
cd /mnt/d; umount /mnt/d 2>/dev/null || echo busy; cd /; umount /mnt 2>/dev/null || echo full; umount /mnt/d && ls /mnt/d
mkdir /mnt/from /mnt/to; mount -t tmpfs m /mnt/from; echo moved >/mnt/from/f; mount --move /mnt/from /mnt/to; cat /mnt/to/f; ls /mnt/from
mount --make-rprivate /mnt && echo private
mount -t nosuch n /mnt/d 2>/dev/null || echo no such type
mount -t tmpfs -o nosuch t /mnt/d 2>/dev/null || echo no such option
umount /mnt/from 2>/dev/null || echo not mounted
umount -l /root && ls /root; umount -l /mnt; ls /mnt; umount /media
grep -cE ' /(mnt|media|root)' /proc/mounts
P
    bundle b --root "$PWD/rootfs" --set /process/capabilities "{\"bounding\":$caps,\"effective\":$caps,\"permitted\":$caps}" -- sh -c "$(cat program)"
    want='t /mnt tmpfs rw,relatime,size=1024k,mode=755
text
inner
read-only
x
busy
full
moved
private
no such type
no such option
not mounted
0'
    eq "$(rt run -b b c1 2>&1)" "$want"; [ -z "$(ls rootfs/mnt)$(ls rootfs/media)" ]
}
mounts_fixed() { # not what the container was given; nor without the capability
    local caps='["CAP_SYS_ADMIN","CAP_DAC_OVERRIDE"]'; mkdir -p rootfs/mnt
    bundle b --root "$PWD/rootfs" --readonly --set /linux/maskedPaths '["/proc/version"]' --set /process/capabilities "{\"bounding\":$caps,\"effective\":$caps,\"permitted\":$caps}" -- \
        sh -c 'mount -o remount,bind,rw / || echo 1; umount /proc/version || echo 2; mount --bind /proc /mnt || echo 3; mount --rbind /proc /mnt && cat /mnt/version /proc/version; echo x >/f || echo 4'
    eq "$(rt run -b b c1 2>/dev/null)" $'1\n2\n3\n4'
    job sh -c 'mount -t tmpfs t /mnt || umount /tmp || echo none'
    eq "$(rt run -b b c1 2>/dev/null)" none
}
file_written() { job sh -c 'echo text >/root/f; mkdir /root/dir; ln -s f /root/l'; rc 0 rt run -b b c1; eq "$(cat rootfs/root/l)" text; [ -d rootfs/root/dir ]; }
pid_file() { job true; rc 0 rt run -b b --pid-file pid c1; [ "$(cat pid)" -gt 0 ]; }
without_id() { job echo made; eq "$(rt run --bundle b)" made; }
bundle_is_cwd() { job echo here; cd b; eq "$(rt run c1)" here; }

life_cycle() {
    job sh -c 'trap "exit 7" TERM; echo up >/root/up; while :; do sleep .1; done'
    rt create --bundle b --pid-file pid it-c1 >out 2>&1
    eq "$(status_of it-c1)" created; [ ! -e rootfs/root/up ]
    has "$(rt list)" it-c1
    rt start it-c1; soon [ -e rootfs/root/up ]; eq "$(status_of it-c1)" running
    eq "$(rt state it-c1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')" "$(cat pid)"
    rc 1 rt delete it-c1
    rt kill it-c1 TERM; soon same_status it-c1 stopped
    rt delete it-c1; rc 1 rt state it-c1 2>e
    eq "$(rt list -q)" ''
}
same_status() { [ "$(status_of "$1")" = "$2" ]; }
delete_force() { job sleep 1000; rt create -b b it-c2 >/dev/null 2>&1; rt start it-c2; rt delete --force it-c2; rc 0 rt delete --force it-c2; }
delete_created() { job sleep 1000; rt create -b b it-c3 >/dev/null 2>&1; rt delete --force it-c3; }
kill_created() { job sleep 1000; rt create -b b it-c4 >/dev/null 2>&1; rt kill it-c4 KILL; soon same_status it-c4 stopped; rt delete it-c4; }
kill_numbers() { job sleep 1000; rt create -b b it-c5 >/dev/null 2>&1; rt start it-c5; rt kill it-c5 9; soon same_status it-c5 stopped; rc 1 rt kill it-c5 9; rt delete it-c5; }
start_twice() { job sleep 1000; rt create -b b it-c6 >/dev/null 2>&1; rt start it-c6; rc 1 rt start it-c6; rt delete -f it-c6; }
cgroup_gone() { bundle b --root "$PWD/rootfs" --cgroup "/it-$MARK" -- true; rc 0 rt run -b b c1; }
detached() { job sleep 1000; rt run -d -b b --pid-file pid it-c7 >/dev/null 2>&1; eq "$(status_of it-c7)" running; rt delete -f it-c7; soon gone "$(cat pid)"; }
versions() { has "$(rt --version)" "spec: "; rt features | python3 -c 'import json,sys; assert json.load(sys.stdin)["ociVersionMin"]' || fail features; }
spec() { rt spec; python3 -c 'import json; assert json.load(open("config.json"))["process"]["args"]'; rc 1 rt spec 2>/dev/null; }
list_json() { job sleep 1000; rt run -d -b b it-c8 >/dev/null 2>&1; eq "$(rt list --format json | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["id"])')" it-c8; rt delete -f it-c8; }

# Properties that no client's steps look at closely.
tmpfs_options() {
    bundle b --root "$PWD/rootfs" --mount '{"destination":"/t","type":"tmpfs","source":"t","options":["nosuid","size=1m","mode=750","uid=7","gid=8"]}' \
        -- sh -c 'stat -c %a:%u:%g /t; grep " /t " /proc/mounts | tr "\054 " "\n\n" | grep -x -e nosuid -e size=1024k; dd if=/dev/zero of=/t/f bs=64k count=20 2>/dev/null || echo full'
    eq "$(rt run -b b c1 | tr '\n' ' ')" '750:7:8 nosuid size=1024k full '
}
cwd_made() { bundle b --root "$PWD/rootfs" --cwd /made/here -- pwd; eq "$(rt run -b b c1)" /made/here; [ -d rootfs/made/here ]; }
umask_set() { bundle b --root "$PWD/rootfs" --set /process/user/umask 23 -- sh -c 'umask; : >/root/f'; eq "$(rt run -b b c1)" 0027; eq "$(stat -c %a rootfs/root/f)" 640; }
process_limits() {
    bundle b --root "$PWD/rootfs" --set /process/rlimits '[{"type":"RLIMIT_NOFILE","soft":50,"hard":60},{"type":"RLIMIT_STACK","soft":4194304,"hard":4194304},{"type":"RLIMIT_FSIZE","soft":8192,"hard":8192},{"type":"RLIMIT_CORE","soft":0,"hard":0}]' \
        -- sh -c 'ulimit -Sn; ulimit -Hn; ulimit -s; dd if=/dev/zero of=/root/f bs=4k count=3 2>/dev/null; echo $?'
    eq "$(rt run -b b c1 2>/dev/null | tr '\n' ' ')" '50 60 4096 153 '; eq "$(stat -c %s rootfs/root/f)" 8192
}
oom_score() { bundle b --root "$PWD/rootfs" --set /process/oomScoreAdj 321 -- sleep 1000; rt run -d -b b --pid-file pid it-oom >/dev/null 2>&1; eq "$(cat /proc/"$(cat pid)"/oom_score_adj)" 321; rt delete -f it-oom; }
annotations_shown() { bundle b --root "$PWD/rootfs" --annotation com.example.a=b -- sleep 1000; rt run -d -b b it-an >/dev/null 2>&1; eq "$(rt state it-an | python3 -c 'import json,sys; print(json.load(sys.stdin)["annotations"]["com.example.a"])')" b; rt delete -f it-an; }
host_namespaces() { # those without an entry are the host's
    bundle b --root "$PWD/rootfs" --set /hostname '""' --set /linux/namespaces '[{"type":"pid"},{"type":"mount"},{"type":"network"}]' -- sh -c 'readlink /proc/self/ns/uts; readlink /proc/self/ns/ipc; readlink /proc/self/ns/net'
    local own; own=$(rt run -b b c1); eq "$(head -n 2 <<<"$own")" "$(readlink /proc/self/ns/uts /proc/self/ns/ipc)"; [ "$(tail -n 1 <<<"$own")" != "$(readlink /proc/self/ns/net)" ]
}
paths_covered() {
    bundle b --root "$PWD/rootfs" --set /linux/maskedPaths '["/proc/version","/root","/none/such"]' --set /linux/readonlyPaths '["/etc","/none/such"]' \
        -- sh -c 'wc -c </proc/version; ls /root; echo x >/etc/new; echo $?; echo x >/new; echo $?'
    : >rootfs/root/hidden; eq "$(rt run -b b c1 2>/dev/null | tr '\n' ' ')" '0 1 0 '
}
flags_without_use() { job echo ran; eq "$(rt --rootless=false run --no-pivot --no-new-keyring -b b c1)" ran; }
flags_of_others() { job true; bad 0 run --no-subreaper -b b c1; bad 0 update --l3-cache-schema x c1; bad 0 update --mem-bw-schema x c1; }
run_keep() { job true; rc 0 rt run --keep -b b it-keep; eq "$(status_of it-keep)" stopped; rt delete it-keep; }

# profile RULES [DEFAULT]: a seccomp profile, for --set of bundle.
profile() { echo "{\"defaultAction\":\"${2:-SCMP_ACT_ALLOW}\",\"architectures\":[\"SCMP_ARCH_X86_64\"],\"syscalls\":[$1]}"; }
each_placement() { # CODE OUTPUT: of the bundle b, in both placements
    local p got out; for p in auto strict; do
        [ -z "$CONTROL" ] || p=
        got=0; out=$(rt run ${p:+--placement=$p} -b b c1 2>e) || got=$?
        eq "$got $out" "$1 $2"
        [ -z "$CONTROL" ] || return 0
    done
}
seccomp_errno() {
    bundle b --root "$PWD/rootfs" --set /linux/seccomp "$(profile '{"names":["mkdir","mkdirat","no_such_call"],"action":"SCMP_ACT_ERRNO"},{"names":["rmdir"],"action":"SCMP_ACT_ERRNO","errnoRet":2},{"names":["uname"],"action":"SCMP_ACT_LOG"}')" \
        -- sh -c 'mkdir /root/d 2>&1; rmdir /root 2>&1; uname -s; grep Seccomp /proc/self/status'
    each_placement 0 "mkdir: can't create directory '/root/d': Operation not permitted
rmdir: '/root': No such file or directory
Linux
Seccomp:	2
Seccomp_filters:	1"
}
# A call that is native without a profile, and arguments.
seccomp_native() {
    bundle b --root "$PWD/rootfs" --set /linux/seccomp "$(profile '{"names":["nanosleep","clock_nanosleep"],"action":"SCMP_ACT_ERRNO","errnoRet":38}')" \
        -- sh -c 'a=$(cut -d. -f1 /proc/uptime); sleep 5; b=$(cut -d. -f1 /proc/uptime); [ $((b - a)) -lt 4 ] && echo at once'
    each_placement 0 'at once'
    bundle b --root "$PWD/rootfs" --set /linux/seccomp "$(profile '{"names":["kill"],"action":"SCMP_ACT_ERRNO","errnoRet":13,"args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}')" \
        -- sh -c 'trap "echo usr2" USR2; kill -USR1 $$ 2>&1; kill -USR2 $$; echo end'
    each_placement 0 "sh: can't kill pid 1: Permission denied
usr2
end"
}
seccomp_kill() {
    local a; for a in SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_TRAP; do
        bundle b --root "$PWD/rootfs" --set /linux/seccomp "$(profile '{"names":["mkdir"],"action":"'$a'"}')" -- sh -c 'trap "" SYS; (mkdir /root/d); echo $?'
        each_placement 0 159
    done
    # Of init: by the data plane, and by a call that is native else.
    bundle b --root "$PWD/rootfs" --set /linux/seccomp "$(profile '{"names":["mkdir"],"action":"SCMP_ACT_KILL"}')" -- mkdir /root/d
    each_placement 159 ''
    bundle b --root "$PWD/rootfs" --set /linux/seccomp "$(profile '{"names":["nanosleep","clock_nanosleep"],"action":"SCMP_ACT_KILL_PROCESS"}')" -- sleep 1
    each_placement 159 ''
}

# rootless COMMAND...: as an ordinary user, with this environment alone.
RL=61234
rootless() { setpriv --reuid $RL --regid $RL --clear-groups env -i "PATH=$PATH" "TEST_MARK=$MARK" "$@"; }
rootless_run() {
    local d env got; d=$(mktemp -d "${TMPDIR:-/tmp}/rsc-rl.XXXXXX"); trap "rm -rf --one-file-system '$d' /tmp/rsc-$RL" EXIT
    # Where that user may go: neither the build's folder nor this test's need be.
    chmod 755 "$d"; mkdir "$d/bin" "$d/rl" "$d/xdg"; cp "${RT%/*}"/{rsc-runtime,sentry,gofer} "$d/bin/"; cp -a rootfs "$d/rl/"
    chown -R $RL:$RL "$d/rl" "$d/xdg"; chmod 700 "$d/xdg"
    cd "$d/rl"; rootless "$d/bin/rsc-runtime" spec --rootless
    python3 - "$MARK" <<'P'
import json, sys
c = json.load(open("config.json"))
c["process"].update(terminal=False, args=["sh", "-c", "echo $(id -u):$(id -g); echo kept >/root/f; cat /root/f; seq 3 | wc -l; exit 3"])
c["process"]["env"].append("TEST_MARK=" + sys.argv[1])
c["root"]["readonly"] = False
json.dump(c, open("config.json", "w"))
P
    for env in X= XDG_RUNTIME_DIR= "XDG_RUNTIME_DIR=$d/xdg"; do
        got=0; rootless "$env" "$d/bin/rsc-runtime" run c1 >"$d/o" 2>"$d/e" </dev/null || got=$?
        eq "$got $(tr '\n' ' ' <"$d/o")$(cat "$d/e")" '3 0:0 kept 3 '; eq "$(stat -c %u rootfs/root/f)" $RL; rm rootfs/root/f
        eq "$(find "$d/xdg" /tmp/rsc-$RL -mindepth 1 ! -path "$d/xdg/rsc" 2>/dev/null)" ''
    done
    [ -d "$d/xdg/rsc" ] || fail "XDG_RUNTIME_DIR was not used"
    # A life cycle with a state directory that nobody named.
    { rootless "$d/bin/rsc-runtime" create c2 && rootless "$d/bin/rsc-runtime" start c2; } >"$d/o" 2>"$d/e" </dev/null || fail "create and start: $(cat "$d/e")"
    soon [ -e rootfs/root/f ]; rootless "$d/bin/rsc-runtime" delete --force c2 2>"$d/e" || fail "delete: $(cat "$d/e")"
    # One in its place that others can write to is refused.
    chmod 777 /tmp/rsc-$RL; got=0; rootless "$d/bin/rsc-runtime" run c3 >"$d/o" 2>"$d/e" </dev/null || got=$?
    eq $got 1; eq "$(grep -c . "$d/e")" 1; has "$(cat "$d/e")" "not a directory of this user's alone"
}
# Containers of the same id in two state directories: the end of one is not that of the other.
same_id_elsewhere() {
    job sleep 1000; rt run -d -b b it-same >/dev/null 2>&1
    STATE=$PWD/other rt run -d -b b it-same >/dev/null 2>&1
    rt delete -f it-same; eq "$(STATE=$PWD/other status_of it-same)" running
    STATE=$PWD/other rt delete -f it-same
}

# bad CODE COMMAND...: it ends with CODE (0: any but 0), one line on standard error, and the same as JSON in the log.
bad() {
    local want=$1 got=0; shift
    rm -f log e; rt --log log --log-format json "$@" >o 2>e || got=$?
    [ $got != 0 ] || fail "accepted: $*"
    [ "$want" = 0 ] || [ -n "$CONTROL" ] || [ $got = "$want" ] || fail "exit code $got, not $want, of: $* ($(cat e))"
    [ -n "$CONTROL" ] || [ "$(grep -c . e)" = 1 ] || fail "not one line: $(cat e)"
    [ -n "$CONTROL" ] && [ ! -s log ] && return
    tail -n 1 log | python3 -c 'import json,sys; m=json.load(sys.stdin); assert m["level"]=="error" and m["msg"] and m["time"]' || fail "log of $*: $(cat log)"
}
bad_bundle() {
    bad 0 run -b none c1; mkdir empty; bad 0 run -b empty c1
    mkdir broken; echo '{"ociVersion": 1' >broken/config.json; bad 0 run -b broken c1; echo '[]' >broken/config.json; bad 0 run -b broken c1
    head -c 100000 /dev/urandom >broken/config.json; bad 0 run -b broken c1
}
bad_config() {
    bundle b --set /process/args '[]' -- x; bad 0 run -b b c1
    bundle b --set /ociVersion '"9.9.9"' -- x; [ -n "$CONTROL" ] || bad 0 run -b b c1
    bundle b --root "$PWD/rootfs" --cwd relative -- true; bad 0 run -b b c1
    bundle b --root "$PWD/rootfs" --set /linux/namespaces '[{"type":"nonsense"}]' -- true; bad 0 run -b b c1
}
bad_root() { bundle b --root "$PWD/none" -- true; bad 0 run -b b c1; echo x >file; bundle b --root "$PWD/file" -- true; bad 0 run -b b c1; }
bad_id() {
    job true
    local id; for id in '' ../x a/b 'a b' "$(printf 'x%.0s' $(seq 2000))"; do bad 0 run -b b "$id"; done
    job sleep 1000; rt create -b b it-taken >/dev/null 2>&1; bad 0 create -b b it-taken; bad 0 run -b b it-taken; rt delete -f it-taken
}
bad_program() {
    job none-such; bad 127 run -b b c1; job /none/such; bad 127 run -b b c1
    job /etc/passwd; bad 126 run -b b c1; job /etc; bad 126 run -b b c1
}
bad_mount() { bundle b --root "$PWD/rootfs" --mount '{"destination":"/v","type":"bind","source":"/none/such","options":["rbind"]}' -- true; bad 0 run -b b c1; }
no_such_container() { local c; for c in state start kill delete; do bad 0 $c nobody; done; }
unknown_flag() { bad 0 run --frobnicate; bad 0 --frobnicate run c1; bad 0 frobnicate; bad 0 run -b; }
bad_values() { job true; local f; for f in --platform=kvm --placement=far --on-loss=cry --loss-grace=x --sentry=ftp://x --sentry=tcp://x --sentry=vsock://a:1; do
    bad 0 run "$f" -b b c1; done; }
bad_files() {
    job true; local f; for f in --strace=/none/such --pid-file=/none/such --console-socket=/none/such --sentry=tcp://127.0.0.1:1\ --token-file=/none/such \
        --sentry=tcp://127.0.0.1:1\ --tls-ca=/none/such --sentry=tcp://127.0.0.1:1\ --tls-ca=/etc/passwd; do bad 1 run $f -b b c1; done
    job none-such; rc 1 rt --log /none/such/log run -b b c1 2>e; eq "$(grep -c . e)" 1
    # As with runc, it is create that says so.
    bad 127 create -b b it-none; job /etc/passwd; bad 126 create -b b it-none
}
bad_formats() {
    mkdir rootfs/x; printf '\x7fELFgarbage' >rootfs/x/elf; : >rootfs/x/empty; printf '#!/none/such\n' >rootfs/x/script; printf '#!/x/loop\n' >rootfs/x/loop; chmod 755 rootfs/x/*
    job /x/elf; bad 126 run -b b c1; job /x/empty; bad 126 run -b b c1; job /x/script; bad 127 run -b b c1; job /x/loop; bad 126 run -b b c1
}
annotation_refused() { job true; bundle b --root "$PWD/rootfs" --annotation dev.rsc.rootfs=sentry:x -- true; bad 0 run -b b c1; bundle b --root "$PWD/rootfs" --annotation dev.rsc.sentry=unix:///x -- true; bad 0 run -b b c1; }
# configure: the lines of standard input are the host's configuration.
configure() { cat >config.toml; chmod 644 config.toml; }
host_config() {
    job sh -c 'echo up; sleep 1000'; configure <<<$'platform = "ptrace"\nplacement = "strict"\non-loss = "freeze"\nloss-grace = 7'
    rt --config config.toml run -d -b b it-hc >o 2>e </dev/null; local has='import json,sys; s=json.load(sys.stdin)["settings"]; print(s["platform"], s["placement"], s["on_loss"], s["loss_grace"])'
    eq "$(python3 -c "$has" <"$STATE/it-hc/state.json")" 'ptrace strict freeze 7'; rt delete -f it-hc
    bundle b --root "$PWD/rootfs" --annotation dev.rsc.platform=seccomp -- sleep 1000
    rt --config config.toml --loss-grace 9 run -d -b b it-hc >o 2>e </dev/null
    eq "$(python3 -c "$has" <"$STATE/it-hc/state.json")" 'seccomp strict freeze 9'; rt delete -f it-hc
    job true; configure <<<'sentry = "unix:///none/such"'; bad 1 --config config.toml run -b b c1; has "$(cat e)" unix:///none/such
}
host_config_annotations() {
    bundle b --root "$PWD/rootfs" --annotation dev.rsc.sentry=unix:///none/such -- true
    configure <<<$'[annotations]\nallow = ["dev.rsc.sentry"]'; bad 1 --config config.toml run -b b c1; has "$(cat e)" 'reach the sentry'
    configure <<<$'[annotations]\nallow = ["dev.rsc.rootfs"]'; bad 1 --config config.toml run -b b c1; has "$(cat e)" 'not permitted'
    bad 1 --config config.toml --allow-annotations run -b b c1; has "$(cat e)" 'reach the sentry'
    bundle b --root "$PWD/rootfs" --annotation dev.rsc.placement=strict -- true; bad 1 --config config.toml run -b b c1; has "$(cat e)" 'not permitted'
}
host_config_bad() {
    job true; bad 1 --config none run -b b c1; bad 1 --config . run -b b c1
    configure <<<$'platform = "auto"\nplatfrom = "auto"'; bad 1 --config config.toml run -b b c1; has "$(cat e)" 'line 2'
    configure <<<'tls-ca = "relative"'; bad 1 --config config.toml run -b b c1; has "$(cat e)" 'line 1'
    configure <<<''; chmod 666 config.toml; bad 1 --config config.toml run -b b c1; chmod 644 config.toml; rc 0 rt --config config.toml run -b b c1
    # What ends containers does not depend on it.
    job sleep 1000; rt run -d -b b it-hb >/dev/null 2>&1 </dev/null; configure <<<'nonsense'; rt --config config.toml kill it-hb KILL; soon same_status it-hb stopped; rt --config config.toml delete it-hb
}
sentry_unreachable() { job true; bad 0 run --sentry "unix://$PWD/none.sock" -b b c1; bad 0 run --sentry tcp://127.0.0.1:1 -b b c1; }

step run-true run-output exit-codes exit-signal arguments environment cwd-user hostname relative-root read-only-root bind-mount bind-read-only mounts-within \
    file-written pid-file bundle-is-cwd
only_rsc without-id mounts-fixed
step life-cycle delete-force delete-created kill-created kill-numbers start-twice seccomp-errno seccomp-native seccomp-kill cgroup-gone detached versions spec list-json \
    tmpfs-options cwd-made umask-set process-limits oom-score annotations-shown host-namespaces paths-covered flags-without-use run-keep
only_rsc same-id-elsewhere
if setpriv --reuid $RL --regid $RL --clear-groups unshare --user --map-root-user true 2>/dev/null; then only_rsc rootless-run
else skip rootless-run "users may not make user namespaces on this machine"; fi
step bad-bundle bad-config bad-root bad-id bad-program bad-mount no-such-container unknown-flag
only_rsc flags-of-others bad-values bad-files bad-formats annotation-refused sentry-unreachable host-config host-config-annotations host-config-bad
