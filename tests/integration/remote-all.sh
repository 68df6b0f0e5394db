#!/bin/bash
# `remote --all`: programs in the context of a server, over unix sockets and TCP: what they see, how they end, what goes wrong.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip remote-all "not with the control"; exit 0; }
trap finish EXIT
"$HERE/setup" debian || exit 2
DEBIAN=$CACHE/debian

# serve ARGS...: starts a sentry for the step, on a host called thatside; its standard output is sentry.out, its log sentry.log. WRAP:
# what it is started by.
serve() {
    unshare --uts sh -c 'hostname thatside; exec "$@"' sh ${WRAP:-} env TEST_MARK="$MARK" "$SENTRY" serve "$@" \
        >sentry.out 2>sentry.log <"${SENTRY_IN:-/dev/null}" &
    SERVER=$!
    trap 'kill -TERM $SERVER 2>/dev/null && wait $SERVER || true; eval "${AFTER:-true}"' EXIT
}
# at ARGS...: serve with a unix socket, and wait for it.
at() { serve --unix "$PWD/s" "$@"; soon [ -S s ]; }
# ra ARGS...: remote --all at that sentry.
ra() { rt remote --all --sentry "${URL:-unix://$PWD/s}" "$@"; }
rax() { rtx remote --all --sentry "${URL:-unix://$PWD/s}" "$@"; }
port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# refused CODE TEXT ARGS...: fails so, with one line that says TEXT.
refused() {
    local code=$1 text=$2 got=0; shift 2
    "$@" >o 2>e </dev/null || got=$?
    [ $got = "$code" ] || fail "exit code $got, not $code, of: $*: $(cat e)"; [ "$(grep -c . e)" = 1 ] || fail "not one line: $(cat e)"; has "$(cat e)" "$text"; eq "$(cat o)" ''
}

context() {
    at --export "deb=$DEBIAN"
    eq "$(ra hostname)" thatside
    eq "$(ra id)" 'uid=0(root) gid=0(root) groups=0(root)'
    # The mount points are the sandbox's.
    eq "$(ra -- ls -l / | grep -Ev ' (proc|sys|dev)$|^total')" "$(chroot "$DEBIAN" ls -l / | grep -Ev ' (proc|sys|dev)$|^total')"
    eq "$(ra --cwd /usr/share -- sh -c 'pwd; echo $PWD; cat /etc/debian_version' | tr '\n' ' ')" "/usr/share /usr/share $(cat "$DEBIAN/etc/debian_version") "
    eq "$(MINE=yes ra -e A=b -e HOME -- sh -c 'echo $MINE $A ${HOME-none}')" 'yes b none'
    has "$(ra -- cat /proc/self/mounts)" 'proc /proc proc'; eq "$(ra -- cat /proc/sys/kernel/hostname)" thatside
    eq "$(umask 027; ra -- sh -c 'umask; ulimit -Sn 77; ulimit -Sn')" "0027
77"
    eq "$(ra -- sh -c 'echo x >/tmp/made-there; cat /tmp/made-there')" x; eq "$(cat "$DEBIAN/tmp/made-there")" x; rm "$DEBIAN/tmp/made-there"
}
programs() {
    at --export "deb=$DEBIAN"
    eq "$(ra -- bash -c 'a=(1 2 3); echo ${#a[@]} $BASH; exit 0')" '3 /usr/bin/bash'
    eq "$(ra -- python3 -c 'import os, socket, sys; print(os.getcwd(), socket.gethostname(), sys.executable, os.getuid())')" '/ thatside /usr/bin/python3 0'
    eq "$(seq 1000 | ra -- python3 -c 'import sys; print(sum(map(int, sys.stdin)))')" 500500
    has "$(ra -- python3 -c 'import subprocess; print(subprocess.run(["sh", "-c", "echo from $(hostname)"], capture_output=True, text=True).stdout)')" 'from thatside'
}
git_status() {
    cp -a --reflink=auto "$DEBIAN" tree 2>/dev/null; mkdir tree/work
    chroot tree sh -c 'cd /work; git init -q; git config user.email a@b; git config user.name c; seq 9 >f; git add f; git commit -qm one'
    echo more >>tree/work/f; echo new >tree/work/g
    at --export "deb=$PWD/tree"
    eq "$(ra --cwd /work -- git status --short | tr '\n' ' ')" ' M f ?? g '
    rc 0 ra --cwd /work -- git commit -qam two; eq "$(chroot tree git -C /work log --format=%s | tr '\n' ' ')" 'two one '
}
# Two network namespaces: the page is in one, and only the sentry's can reach it.
network() {
    local a=it-a-${MARK##*-} b=it-b-${MARK##*-}
    AFTER="ip netns del $a; ip netns del $b"; trap 'eval "$AFTER"' EXIT
    ip netns add "$a"; ip netns add "$b"; ip -n "$a" link add v0 type veth peer name v1 netns "$b"
    ip -n "$a" addr add 10.77.1.1/24 dev v0; ip -n "$b" addr add 10.77.1.2/24 dev v1
    for n in "$a" "$b"; do ip -n "$n" link set lo up; done; ip -n "$a" link set v0 up; ip -n "$b" link set v1 up
    mkdir www; echo 'only there' >www/index.html
    TEST_MARK=$MARK ip netns exec "$b" busybox httpd -f -p 10.77.1.2:80 -h "$PWD/www" & local web=$!
    AFTER="kill $web; $AFTER"
    soon ip netns exec "$a" busybox wget -qO got http://10.77.1.2/
    ! busybox wget -T 1 -qO got http://10.77.1.2/ 2>/dev/null || fail 'this machine reaches it, too'
    WRAP="ip netns exec $a" at --export "deb=$DEBIAN" --net host
    eq "$(ra -- curl -s http://10.77.1.2/)" 'only there'
    eq "$(ra -- python3 -c 'import urllib.request as u; print(u.urlopen("http://10.77.1.2/").read().decode(), end="")')" 'only there'
}
program_from_here() {
    at --export "bb=$PWD/rootfs"
    cat >p.c <<'C'
#include <stdio.h>
#include <unistd.h>
int main(int n, char **v) { char h[99]; gethostname(h, 99); printf("%s %s %d\n", v[0], h, access("/bin/busybox", X_OK)); return 40 + n; }
C
    gcc -static -O1 -o only-here p.c
    got=0; o=$(ra -- ./only-here x) || got=$?; eq "$got $o" '42 ./only-here thatside 0'
    got=0; o=$(PATH=$PWD:$PATH ra -- only-here) || got=$?; eq "$got $o" '41 only-here thatside 0'
    # The server's comes first.
    cp only-here cat; echo there >rootfs/f; eq "$(PATH=$PWD:$PATH ra -- cat /f)" there
    printf '#!/bin/sh\necho "script $0 $1 on $(hostname)"\n' >script; chmod +x script; eq "$(ra -- ./script a)" 'script /dev/.rsc/script a on thatside'
    # Its interpreter is not there: that of a program is the server's, too.
    gcc -O1 -o dynamic p.c; refused 127 dynamic ra -- ./dynamic
    eq "$(ls -A rootfs/dev rootfs/proc)" "$(ls -A "$CACHE/busybox/dev" "$CACHE/busybox/proc" | sed "s,$CACHE/busybox,rootfs,")"
}
# A tree that is no root file system stays as it is.
plain_tree() {
    mkdir work here; echo data >work/file; cp rootfs/bin/busybox here; at --export "work=$PWD/work"
    eq "$(ra -- here/busybox cat /file)" data; rc 0 ra -- here/busybox sh -c 'echo new >/made; test -c /dev/null && test -e /proc/self/stat'
    eq "$(ls -A work | tr '\n' ' ')" 'file made '
}
over_tcp() {
    local p; p=$(port); echo 'a-token-long-enough-to-be-one tester bb' >tokens; echo a-token-long-enough-to-be-one >token; chmod 600 token tokens
    mkdir other; serve --tcp 127.0.0.1:$p --token-file tokens --export "bb=$PWD/rootfs" --export "other=$PWD/other"; soon listens $p
    export URL=tcp://127.0.0.1:$p
    # Of the two exports the token may use one, which need not be named.
    eq "$(ra --token-file token -- sh -c 'hostname; id -u' | tr '\n' ' ')" 'thatside 0 '
    refused 125 'may not use the export "other"' ra --token-file token --export other -- true
    echo another-token-that-is-wrong >wrong; chmod 600 wrong; refused 125 refuses ra --token-file wrong -- true; refused 125 '' ra -- true
    gcc -static -x c -o here - <<<'int main() { return 9; }'; rc 9 ra --token-file token -- ./here
}
refusals() {
    refused 125 'is `sentry serve` running there' ra -- true
    refused 125 '--sentry' rt remote --all -- true
    at --export "bb=$PWD/rootfs" --export "two=$PWD/rootfs"
    refused 125 'several exports for this peer: bb, two' ra -- true
    refused 125 'no export "three"' ra --export three -- true
    export ONE=--export=bb
    refused 127 'not found in $PATH' ra $ONE -- nosuchprogram
    refused 127 'no such file' ra $ONE -- /bin/nosuchprogram
    refused 126 'permission denied' ra $ONE -- /etc/passwd
    printf 'no program' >rootfs/bin/junk; chmod +x rootfs/bin/junk; refused 126 'exec format error' ra $ONE -- junk
    refused 125 'not absolute' ra $ONE --cwd etc -- true
    refused 125 'chdir to cwd ("/nowhere")' ra $ONE --cwd /nowhere -- true; [ ! -e rootfs/nowhere ]
    refused 125 '--user' ra $ONE --user root -- true
    refused 125 'cannot be used with' rt remote --all --rules f -- true
    refused 125 'does not lend' ra $ONE --stdio remote -- true
    refused 125 'required' rt remote --all
    kill -TERM $SERVER; wait $SERVER || true; serve --unix "$PWD/s2"; soon [ -S s2 ]
    URL=unix://$PWD/s2 refused 125 'no export for this peer' ra -- true
}
ends() {
    at --export "bb=$PWD/rootfs"
    rc 0 ra -- true; rc 1 ra -- false; rc 77 ra -- sh -c 'exit 77'; rc 139 ra -- sh -c 'kill -SEGV $$' 2>/dev/null
    # As if it had run here: the caller sees the signal itself.
    eq "$(python3 -c 'import subprocess, sys; print(subprocess.run(sys.argv[1:]).returncode)' "$RT" remote --all --sentry "unix://$PWD/s" -- sh -c 'kill -TERM $$')" -15
    rax -- sleep 1000 & sleep 1; kill -TERM $!; rc 143 wait $!
    rax -- sh -c 'trap "echo term; exit 9" TERM; echo up; while :; do sleep .1; done' >o & soon grep -q up o; kill -TERM $!; rc 9 wait $!; has "$(cat o)" term
    # What whoever started it has it ignore, it ignores.
    (trap '' HUP; rax -- sh -c 'echo up; sleep 2; exit 5') >o2 & sleep .1; soon grep -q up o2; kill -HUP $!; rc 5 wait $!
    # What it left running ends with it.
    eq "$(ra -- sh -c '(sleep 1000 >/dev/null 2>&1 &); echo end')" end; soon eval '[ -z "$(marked | grep -v sentry)" ]'
}
killed() {
    at --export "bb=$PWD/rootfs"
    rax -- sh -c 'echo up; sleep 1000' >o & soon grep -q up o; kill -KILL $!; rc 137 wait $! 2>/dev/null
    soon eval '[ -z "$(marked | grep -v sentry)" ]'; soon eval '! "$SENTRY" ps "unix://$PWD/s" | grep -q remote-'
}
stops() {
    at --export "bb=$PWD/rootfs"; local states='ps -o stat= --pid'
    rax -- sh -c 'echo up; i=0; while :; do i=$((i+1)); done' >o & local p=$!; soon grep -q up o
    kill -TSTP $p; soon eval '$states $p | grep -q T'; local q; for q in $(pgrep -P $p); do case $(cat /proc/$q/comm) in sh) break ;; esac; done
    soon eval '$states $q | grep -qi t'; kill -CONT $p; soon eval '$states $p | grep -q S'; soon eval '$states $q | grep -q R'
    kill -TERM $p; rc 143 wait $p
}
stdio_remote() {
    mkfifo in; exec 7<>in; SENTRY_IN=in at --export "bb=$PWD/rootfs" --allow-stdio
    exec 8>in; echo typed there >&8
    eq "$(echo here | ra --stdio remote -- sh -c 'read x; echo "<$x>"; echo e >&2; seq 30000')" ''
    eq "$(head -n 1 sentry.out)" '<typed there>'; cmp <(tail -n +2 sentry.out) <(seq 30000) || fail 'output is not whole'; has "$(cat sentry.log)" e
    exec 7>&- 8>&-
}
own_user() {
    mkdir tree; cp -a rootfs/bin tree/; mkdir tree/etc tree/home; echo 'u:x:1234:1234::/:/bin/sh' >tree/etc/passwd; chown 1234:1234 tree/home; mkdir sock; chmod 777 sock
    install -m 755 "$SENTRY" sock/sentry; chmod 755 "$W" "$PWD"
    SENTRY=$PWD/sock/sentry WRAP='setpriv --reuid 1234 --regid 1234 --clear-groups' serve --unix "$PWD/sock/s" --allow-uid 0 --export "t=$PWD/tree"; soon [ -S sock/s ]
    export URL=unix://$PWD/sock/s
    eq "$(ra -- id)" 'uid=1234(u) gid=1234'; eq "$(ra -- sh -c 'echo x >/home/f; stat -c %u:%g /home /home/f' | tr '\n' ' ')" '1234:1234 1234:1234 '
}
users() {
    at --export "bb=$PWD/rootfs"
    eq "$(ra --user 1000:50 -- sh -c 'id -u; id -g; cat /root/x 2>/dev/null; grep CapEff /proc/self/status' | tr '\n' ' ')" '1000 50 CapEff:	0000000000000000 '
    mkdir rootfs/own; chown 1000 rootfs/own; ra -u 1000 -- touch /own/f; eq "$(stat -c %u:%g rootfs/own/f)" 1000:1000
}
loss() {
    at --export "bb=$PWD/rootfs"
    rt remote --all --sentry "unix://$PWD/s" --loss-grace 1 -- sh -c 'echo up; while cd /; do i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done; done; exit 3' >o 2>e & soon grep -q up o
    kill -KILL $SERVER; rc 3 wait $!; has "$(cat e)" 'on-loss is eio'
}
terminal() {
    at --export "deb=$DEBIAN"
    cat >drive.py <<'P'
import fcntl, os, pty, re, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
seen = b""
def until(what, text=b""):
    global seen
    os.write(fd, text); end = time.time() + 20
    while not re.search(what, seen):
        if time.time() > end or not select.select([fd], [], [], 1)[0] and time.time() > end: sys.exit(f"no {what!r} in {seen!r}")
        if select.select([fd], [], [], .2)[0]: seen += os.read(fd, 4096)
    seen = seen[re.search(what, seen).end():]
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
until(b"ready>", b"PS1=ready'>'\n")
until(rb"33 77\r\n/dev/pts/0\r\n", b"stty size; tty\n")
until(rb"on thatside\r\n", b"echo on $(hostname); cat\n"); until(rb"one\r\none\r\n", b"one\n")
until(rb"Stopped", b"\x1a"); until(rb"(?s)fg\r\n.*?cat\r\n", b"fg\n"); until(rb"two\r\ntwo\r\n", b"two\n"); until(rb"ready>", b"\x04")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 88, 0, 0))
until(rb"0 is 44 88", b"echo $? is $(stty size)\n")
os.write(fd, b"exit 6\n")
try:
    while os.read(fd, 4096): pass
except OSError: pass
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
P
    eq "$(TEST_MARK=$MARK timeout -k 2 50 python3 drive.py "$RT" remote --all --sentry "unix://$PWD/s" -- bash --norc -i)" 6
}
# One static binary: the whole server.
static_server() {
    "$HERE/static-sentry" >build.log 2>&1 || fail "building it: $(tail -n 3 build.log)"
    local static; static=$(tail -n 1 build.log)
    ! readelf -l "$static" | grep -q INTERP || fail "$static is not static"
    mkdir bin; cp "$static" bin/sentry; mkdir empty
    # With nothing else in sight: no libraries, no gofer.
    SENTRY=$PWD/bin/sentry; at --export "bb=$PWD/rootfs"
    local kib; kib=$(for p in $(pgrep -P $SERVER) $SERVER; do cat /proc/$p/smaps_rollup; done | awk '/^Pss:/ { s += $2 } END { print s }')
    [ "$kib" -lt 10240 ] || fail "$kib KiB at rest"
    eq "$(ra -- sh -c 'hostname; echo x >/f; cat /f' | tr '\n' ' ')" 'thatside x '; eq "$(cat rootfs/f)" x
    for p in $(pgrep -P $SERVER) $SERVER; do ! grep -q '\.so' /proc/$p/maps || fail "libraries in $p"; done
}

skip terminal-interrupt "what is typed at a shell's prompt after Ctrl-C ended a program is lost at times: docs/remote.md"
step context programs git-status network program-from-here plain-tree over-tcp refusals ends killed stops stdio-remote own-user users loss terminal
STEP_TIMEOUT=900 step static-server
