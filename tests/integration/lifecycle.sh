#!/bin/bash
# Commands on a container that runs: exec, and what else the life cycle has beside create, start and delete. RT=runc: the control.
. "$(dirname "$0")/../lib.sh"
trap finish EXIT

# up ID [OPTION...]: a container that sleeps; down ID ends it.
up() { local id=$1; shift; bundle b --root "$PWD/rootfs" --cgroup "/it-$MARK-$id" "$@" -- sleep 1000; rt run -d -b b "$id" </dev/null >/dev/null 2>&1; }
down() { rt delete -f "$1"; }
# says CODE TEXT COMMAND...: it fails with CODE and TEXT in what it says.
says() { local want=$1 text=$2 got=0; shift 2; "$@" 2>e >/dev/null </dev/null || got=$?; eq "$got" "$want"; has "$(cat e)" "$text"; }
# process JSON: a process.json with these properties changed.
process() { python3 -c 'import json,sys; p=json.load(open("b/config.json"))["process"]; p.update(json.loads(sys.argv[1])); json.dump(p, open("p.json","w"))' "$1"; }

exec_codes() {
    up it-e1; local c; for c in 0 1 42 255; do rc $c rt exec it-e1 sh -c "exit $c"; done
    rc 137 rt exec it-e1 sh -c 'kill -KILL $$'; rc 143 rt exec it-e1 sh -c 'kill -TERM $$'; down it-e1
}
exec_output() { up it-e2; eq "$(rt exec it-e2 sh -c 'echo out; echo err >&2' 2>e)" out; eq "$(cat e)" err; down it-e2; }
exec_input() { up it-e3; eq "$(seq 20000 | rt exec it-e3 wc -l)" 20000; eq "$(rt exec it-e3 cat </dev/null)" ''; down it-e3; }
exec_many() {
    up it-e4; local i; for i in 1 2 3 4 5; do rt exec it-e4 sh -c "sleep .2; echo $i" >o$i </dev/null & done; wait
    eq "$(cat o? | sort | tr -d '\n')" 12345; down it-e4
}
exec_shares() {
    up it-e5; rt exec it-e5 sh -c 'echo text >/root/f'; eq "$(cat rootfs/root/f)" text
    rt exec -d it-e5 sh -c 'exec sleep 500' </dev/null >/dev/null 2>&1; has "$(rt exec it-e5 ps)" 'sleep 500'
    eq "$(rt exec it-e5 hostname)" conformance; down it-e5
}
exec_flags() {
    up it-e6
    eq "$(rt exec --cwd /tmp -e A=1 -e B=2 it-e6 sh -c 'echo $(pwd) $A $B $HOME')" '/tmp 1 2 /root'
    eq "$(rt exec --user 5:6 -g 7 -g 8 it-e6 id)" 'uid=5 gid=6 groups=7,8'
    has "$(rt exec --no-new-privs it-e6 grep NoNew /proc/self/status)" 1
    has "$(rt exec --cap CAP_SYS_ADMIN it-e6 grep CapPrm /proc/self/status)" a82425fb
    eq "$(rt exec it-e6 echo -v --version --root x)" '-v --version --root x'
    down it-e6
}
exec_process() {
    up it-e7; process '{"args": ["sh","-c","echo $X $(pwd) $(id -u)"], "env": ["X=y","PATH=/bin"], "cwd": "/tmp", "user": {"uid": 9, "gid": 9}}'
    eq "$(rt exec --process p.json it-e7)" 'y /tmp 9'; eq "$(rt exec -p p.json it-e7)" 'y /tmp 9'; down it-e7
}
exec_detached() {
    up it-e8; process '{"args": ["sh","-c","echo up; read x; echo got $x"]}'
    mkfifo in out; exec 6<>in 7<>out
    rt exec --process p.json --detach --pid-file pid it-e8 <in >out 2>&1
    local line pid; read -r -t 10 line <&7; eq "$line" up; pid=$(cat pid); alive "$pid"
    echo x >&6; read -r -t 10 line <&7; eq "$line" 'got x'; soon gone "$pid"; down it-e8
}
# The readers of its output see the end with the process, and not with the container.
exec_end_of_output() { up it-e9; eq "$(rt exec -d it-e9 sh -c 'echo a; sleep .2; echo b' </dev/null | tr -d '\n')" ab; down it-e9; }
exec_background() { up it-e10; eq "$(rt exec it-e10 sh -c 'sleep 500 >/dev/null 2>&1 & echo done' </dev/null)" 'done'; has "$(rt exec it-e10 ps)" 'sleep 500'; down it-e10; }
exec_errors() {
    up it-e11
    says 255 'executable file not found in $PATH' rt exec it-e11 no-such
    says 255 'no such file or directory' rt exec it-e11 /no/such
    says 255 'permission denied' rt exec it-e11 /etc/passwd
    says 255 'no such file or directory' rt exec --cwd /no/such it-e11 true
    says 255 'does not exist' rt exec it-nobody true
    says 255 '' rt exec it-e11
    says 255 '' rt exec --process none it-e11
    says 255 '' rt exec --cwd relative it-e11 true
    says 255 '' rt exec --user nobody it-e11 true
    says 255 'console socket' rt exec -d -t it-e11 true
    process '{"args": []}'; says 255 '' rt exec --process p.json it-e11
    echo '{"args": ["true"], "cwd"' >p.json; says 255 '' rt exec --process p.json it-e11
    rc 0 rt exec it-e11 true
    down it-e11
}
exec_stopped() { up it-e12; rt kill it-e12 KILL; soon same_status it-e12 stopped; says 255 stopped rt exec it-e12 true; down it-e12; }
same_status() { [ "$(status_of "$1")" = "$2" ]; }
exec_created() { job sleep 1000; rt create -b b it-e13 </dev/null >/dev/null 2>&1; eq "$(rt exec it-e13 echo early)" early; rt start it-e13; eq "$(rt exec it-e13 echo late)" late; down it-e13; }
exec_killed() { # by its pid, without a word to anybody
    up it-e14; rt exec -d --pid-file pid it-e14 sh -c 'echo x >/root/lock; exec sleep 500' </dev/null >/dev/null 2>&1
    soon [ -e rootfs/root/lock ]; kill -KILL "$(cat pid)"; soon gone "$(cat pid)"
    hasnt "$(rt exec it-e14 ps)" 'sleep 500'; eq "$(status_of it-e14)" running; down it-e14
}
hasnt() { [[ $1 != *"$2"* ]] || fail "'$2' in '$1'"; }
exec_ends_with_init() {
    up it-e15; rtx exec it-e15 sleep 500 </dev/null & local c=$!
    soon listed it-e15 'sleep 500'; rt kill it-e15 KILL; rc 137 wait $c; soon same_status it-e15 stopped; down it-e15
}
listed() { [[ $(rt exec "$1" ps) == *"$2"* ]]; }
exec_signals() { up it-e16; rtx exec it-e16 sh -c 'trap "exit 9" TERM; echo up; while :; do sleep .1; done' </dev/null >o & soon grep -q up o; kill -TERM $!; rc 9 wait $!; down it-e16; }
exec_cgroup() {
    up it-e17; rt exec -d --pid-file pid it-e17 sleep 500 </dev/null >/dev/null 2>&1
    has "$(cat /proc/"$(cat pid)"/cgroup)" "it-$MARK-it-e17"; down it-e17
}
exec_namespaces() {
    up it-e18 --set /linux/namespaces '[{"type":"pid"},{"type":"mount"},{"type":"network"},{"type":"ipc"},{"type":"uts"}]'
    rt exec -d --pid-file pid it-e18 sleep 500 </dev/null >/dev/null 2>&1
    local n init; init=$(rt state it-e18 | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
    for n in user pid mnt net ipc uts; do eq "$(readlink /proc/"$(cat pid)"/ns/$n)" "$(readlink /proc/"$init"/ns/$n)"; done
    down it-e18
}
holds_the_loader_alone() { local f held; for f in /proc/"$1"/fd/*; do held=$(readlink "$f"); [[ $held = */memfd:rsc-loader* ]] || return 1; done; }
exec_unprivileged_fds() { # it holds nothing of the host's, once its program is loaded
    up it-e19; rt exec -d --pid-file pid it-e19 sleep 500 </dev/null >/dev/null 2>&1
    soon holds_the_loader_alone "$(cat pid)"
    eq "$(grep CapEff /proc/"$(cat pid)"/status | tr -d '\t')" CapEff:0000000000000000; down it-e19
}
console() { # console SOCKET OUT: receives a terminal's master and copies it to OUT
    python3 - "$1" "$2" <<'P' &
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1)
c, _ = s.accept(); _, anc, _, _ = c.recvmsg(100, socket.CMSG_SPACE(4))
fd = array.array("i", anc[0][2])[0]
os.write(fd, b"typed\n")
with open(sys.argv[2], "wb", buffering=0) as out:
    try:
        while data := os.read(fd, 4096): out.write(data)
    except OSError: pass
P
    soon [ -S "$1" ]
}
exec_terminal() {
    up it-e20; process '{"terminal": true, "consoleSize": {"height": 33, "width": 77}, "args": ["sh","-c","read x; echo got:$x; stty size; [ -t 1 ] && echo yes; sleep .2"]}'
    local s=$PWD/s; console s o; rt exec --process p.json --tty --console-socket "$s" --detach --pid-file pid it-e20 </dev/null >/dev/null 2>&1
    wait; has "$(cat o)" got:typed; has "$(cat o)" '33 77'; has "$(cat o)" yes; down it-e20
}
exec_terminal_signal() { # what is typed is a signal for it
    up it-e21; process '{"terminal": true, "args": ["sh","-c","trap \"echo int; sleep .2; exit 3\" INT; echo up; while :; do sleep .1; done"]}'
    python3 - <<'P' &
import array, os, socket
s = socket.socket(socket.AF_UNIX); s.bind("s"); s.listen(1)
c, _ = s.accept(); _, anc, _, _ = c.recvmsg(100, socket.CMSG_SPACE(4))
fd = array.array("i", anc[0][2])[0]
seen, typed = b"", False
try:
    while True:
        if b"up" in seen and not typed: typed = os.write(fd, b"\x03") == 1
        data = os.read(fd, 4096)
        if not data: break
        seen += data
except OSError: pass
open("o", "wb").write(seen)
P
    soon [ -S s ]; rt exec --process p.json --console-socket "$PWD/s" --detach it-e21 </dev/null >/dev/null 2>&1; wait; has "$(cat o)" int; down it-e21
}
# terminal ARGS...: the runtime on a terminal of its own. Each line of the file `script` is a text to wait for and, behind a tab, what
# to type then; SIZE ROWS COLUMNS makes it another size. Prints all that was shown.
terminal() {
    python3 - "$RT" "$STATE" "$@" <<'P'
import fcntl, os, pty, select, struct, sys, termios, time
size = lambda fd, rows, cols: fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
pid, fd = pty.fork()
if pid == 0:
    size(0, 31, 91); os.execv(sys.argv[1], [sys.argv[1], "--root", sys.argv[2], *sys.argv[3:]])
seen, at = b"", 0
def read(limit):
    global seen
    if not select.select([fd], [], [], limit)[0]: return None
    try: data = os.read(fd, 4096)
    except OSError: return False
    seen += data
    return bool(data)
for line in open("script").read().splitlines():
    text, _, keys = line.partition("\t")
    end = time.time() + 20
    while (found := seen.find(text.encode(), at)) < 0:
        if time.time() > end or read(1) is False: sys.exit(f"no {text!r} in {seen[at:][-300:]!r}, after {seen[:at][-600:]!r}")
    at = found + len(text)
    if keys.startswith("SIZE "): size(fd, *map(int, keys.split()[1:]))
    else: os.write(fd, keys.encode().decode("unicode_escape").encode())
while read(20): pass
_, status = os.waitpid(pid, 0)
sys.stdout.write(seen.decode(errors="replace").replace("\r", ""))
sys.exit(os.waitstatus_to_exitcode(status))
P
}
# job_control COMMAND...: a shell on a terminal: the terminal's names, what is typed for whom, stops, changes of size, the background.
job_control() {
    local sleeper='sh -c "echo run""ning; exec sleep 100"\n'
    printf '%s\t%s\n' '# ' 'tty; stty size; test -c /dev/pts/0 && echo x >/dev/tty && echo na""med\n' '31 91' '' 'named' "$sleeper" 'running' '\x03' \
        '# ' 'echo after $?\n' 'after 130' "$sleeper" 'running' '\x1a' 'Stopped' 'bg; kill %1; echo kil""led\n' 'killed' "sh -c 'trap \"echo win\"\"ch\" WINCH; echo rea\"\"dy; while sleep .1; do :; done'\n" \
        'ready' 'SIZE 40 100' 'winch' '\x03' '# ' 'stty size\n' '40 100' 'sh -c "echo rea""dy; exec cat"\n' 'ready' 'typed\n' 'typed' '' 'typed' '\x04' '# ' 'cat &\n' '# ' 'sleep 1; jobs; echo li""sted\n' \
        'input' '' 'listed' 'kill -9 %1; sleep 1; exit 7\n' >script
    local got=0; "$@" >shown 2>&1 || got=$?; cat shown; eq $got 7
}
run_terminal() { bundle b --root "$PWD/rootfs" --tty -- sh -c 'ls -l /dev/console | tr -s " " | cut -c1; exec sh -i'; job_control terminal run -b b it-t1; has "$(cat shown)" /dev/pts/0; }
exec_job_control() { up it-t2; job_control terminal exec -t it-t2 sh -i; has "$(cat shown)" /dev/pts/0; down it-t2; }
# hook_list STAGE...: each appends the stage's name to the file `ran`; that of startContainer is the container's own program.
hook_list() { python3 - "$PWD" "$@" <<'P'
import json, sys
where, *stages = sys.argv[1:]
at = lambda stage: "/d" if stage == "startContainer" else where
print(json.dumps({s: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {at(s)}/{s}.json; echo {s} $(uname -n) >> {at(s)}/ran"], "env": ["PATH=/bin:/usr/bin"], "timeout": 20}] for s in stages}))
P
}
hooks_of_every_stage() {
    bundle b --root "$PWD/rootfs" --mount "{\"destination\":\"/d\",\"type\":\"bind\",\"source\":\"$PWD\",\"options\":[\"rbind\",\"rw\"]}" \
        --set /hooks "$(hook_list prestart createRuntime createContainer startContainer poststart poststop)" -- sh -c 'echo workload >>/d/ran; sleep 1'
    : >ran; rt create -b b it-h1 </dev/null >/dev/null 2>&1; eq "$(cut -d' ' -f1 ran | grep -v poststart | tr '\n' ' ')" 'prestart createRuntime createContainer '
    rt start it-h1; soon same_status it-h1 stopped; rt delete it-h1
    eq "$(cut -d' ' -f1 ran | grep -v -e workload -e poststart | tr '\n' ' ')" 'prestart createRuntime createContainer startContainer poststop '
    has "$(cat ran)" poststart; eq "$(grep -n -e startC -e workload ran | cut -d: -f2 | cut -d' ' -f1 | tr '\n' ' ')" 'startContainer workload '
    local s; for s in 'prestart creating' 'createRuntime creating' 'createContainer creating' 'poststart running' 'poststop stopped'; do
        [ -z "$CONTROL" ] || [ "$s" != 'poststart running' ] || continue # runc 1.1 says created
        python3 -c 'import json,sys; s=json.load(open(sys.argv[1]+".json")); assert s["status"]==sys.argv[2] and s["id"]=="it-h1" and s["bundle"], s' $s; done
    python3 -c 'import json; s=json.load(open("startContainer.json")); assert s["id"] == "it-h1", s'
    eq "$(grep startContainer ran)" 'startContainer conformance'
}
hooks_that_fail() { # nothing is left, and it is said whose fault it was
    local s; for s in createRuntime createContainer; do
        bundle b --root "$PWD/rootfs" --set /hooks "{\"$s\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"echo wrong >&2; exit 3\"]}]}" -- true
        says 1 hook rt create -b b it-h2; says 1 'does not exist' rt state it-h2
    done
    bundle b --root "$PWD/rootfs" --set /hooks '{"startContainer":[{"path":"/bin/false"}]}' -- sh -c 'echo ran >/root/ran'
    rt create -b b it-h3 </dev/null >/dev/null 2>&1; [ -n "$CONTROL" ] && rt start it-h3 2>e || says 1 '' rt start it-h3; [ ! -e rootfs/root/ran ]; soon same_status it-h3 stopped; rt delete -f it-h3
    bundle b --root "$PWD/rootfs" --set /hooks '{"createRuntime":[{"path":"/bin/sleep","args":["sleep","100"],"timeout":1}]}' -- true; says 1 '' rt create -b b it-h4
}
hooks_that_fail_words() {
    bundle b --root "$PWD/rootfs" --set /hooks '{"startContainer":[{"path":"/bin/true"},{"path":"/bin/sh","args":["sh","-c","echo wrong; exit 3"]}]}' -- true
    rt create -b b it-h5 </dev/null >/dev/null 2>&1; says 1 'startContainer hook #1 (/bin/sh): exit status 3, output: wrong' rt start it-h5; soon same_status it-h5 stopped; rt delete it-h5
    bundle b --root "$PWD/rootfs" --set /hooks '{"startContainer":[{"path":"/no/such"}]}' -- true
    rt create -b b it-h6 </dev/null >/dev/null 2>&1; says 1 'no such file or directory' rt start it-h6; rt delete -f it-h6
    bundle b --root "$PWD/rootfs" --set /hooks '{"startContainer":[{"path":"/bin/sleep","args":["sleep","100"],"timeout":1}]}' -- true
    rt create -b b it-h7 </dev/null >/dev/null 2>&1; says 1 'timeout' rt start it-h7; rt delete -f it-h7
}
# A network namespace that is there already: its address, and a port that only its owner may have.
joined_network() {
    ip netns add "it-$MARK" 2>/dev/null || unshare -n true || return 0
    trap 'ip netns del "it-$MARK"' EXIT; ip -n "it-$MARK" link set lo up; ip -n "it-$MARK" addr add 10.9.8.7/32 dev lo
    bundle b --root "$PWD/rootfs" --set /linux/namespaces "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"network\",\"path\":\"/run/netns/it-$MARK\"}]" \
        -- sh -c 'echo there >/root/index.html; httpd -p 10.9.8.7:80 -h /root; readlink /proc/self/ns/net; exec sleep 1000'
    rt run -d -b b it-n1 </dev/null >o 2>&1; soon ip netns exec "it-$MARK" busybox wget -qO got http://10.9.8.7/; eq "$(cat got)" there
    eq "$(cat o)" "net:[$(stat -Lc %i "/run/netns/it-$MARK")]"; down it-n1
}
home_default() { # where nobody says one, it is that of the user
    local u; for u in 0:0 5:5 65534:65534; do
        bundle b --root "$PWD/rootfs" --set /process/env '["PATH=/bin:/usr/bin"]' --user $u -- sh -c 'echo $HOME'
        eq "$(rt run -b b it-m1 </dev/null)" "$(awk -F: -v u=${u%:*} '$3 == u { h = $6 } END { print h ? h : "/" }' rootfs/etc/passwd)"
    done
    up it-m2; process '{"args": ["sh", "-c", "echo $HOME"], "env": ["PATH=/bin:/usr/bin"], "user": {"uid": 7, "gid": 7}}'; eq "$(rt exec -p p.json it-m2)" /; down it-m2
}
sysctls() {
    bundle b --root "$PWD/rootfs" --set /linux/sysctl '{"net.ipv4.ip_unprivileged_port_start": "99", "kernel.msgmax": "4242"}' -- sh -c 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax'
    eq "$(rt run -b b it-y1 </dev/null | tr '\n' ' ')" '99 4242 '
    bundle b --root "$PWD/rootfs" --set /linux/sysctl '{"kernel.panic": "1"}' -- true; says 1 'kernel.panic' rt run -b b it-y2
}
exec_sub_cgroup() { up it-e22; says 255 '' rt exec --cgroup no-such it-e22 true; says 255 '' rt exec --cgroup ../.. it-e22 true; down it-e22; }


field() { rt state "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$2"; }
# leaf ID CONTROLLER: the folder of its cgroup.
leaf() { local d=/sys/fs/cgroup/$2/it-$MARK-$1; [ -d "$d" ] || d=/sys/fs/cgroup/it-$MARK-$1; [ -d "$d" ] || fail "no cgroup $2 of $1"; echo "$d"; }
# limit ID CONTROLLER FILE-OF-V1 FILE-OF-V2: what stands in it.
limit() { local d; d=$(leaf "$1" "$2"); cat "$d/$3" 2>/dev/null || cat "$d/$4"; }

ps_json() { up it-p1; eq "$(rt ps --format json it-p1)" "[$(field it-p1 pid)]"; rt exec -d --pid-file pid it-p1 sleep 500 </dev/null >/dev/null 2>&1; eq "$(rt ps -f json it-p1 | tr -d '[]\n' | tr , '\n' | sort)" "$(printf '%s\n' "$(field it-p1 pid)" "$(cat pid)" | sort)"; down it-p1; }
ps_table() {
    up it-p2; local pid; pid=$(field it-p2 pid); has "$(rt ps it-p2 | head -n 1)" PID; has "$(rt ps it-p2)" "$pid"; eq "$(rt ps it-p2 | wc -l)" 2
    has "$(rt ps it-p2 -e -o pid,comm)" "$pid sleep"; says 1 '' rt ps it-p2 --no-such-option; says 1 'does not exist' rt ps it-nobody; down it-p2
}
ps_stopped() { up it-p3; rt kill it-p3 KILL; soon same_status it-p3 stopped; eq "$(rt ps --format json it-p3 | tr -d '\n')" "$([ -n "$CONTROL" ] && echo null || echo '[]')"; down it-p3; }
pause_resume() {
    bundle b --root "$PWD/rootfs" --cgroup "/it-$MARK-it-q1" -- sh -c 'while :; do echo x >>/root/f; sleep .02; done'
    rt run -d -b b it-q1 </dev/null >/dev/null 2>&1; soon [ -s rootfs/root/f ]
    rt pause it-q1; eq "$(status_of it-q1)" paused; has "$(rt list)" paused
    local n; n=$(wc -c <rootfs/root/f); sleep .3; eq "$(wc -c <rootfs/root/f)" "$n"
    says 1 'container not running' rt pause it-q1
    says 255 '--ignore-paused' rt exec it-q1 true
    says 1 'not stopped: paused' rt delete it-q1
    rt resume it-q1; eq "$(status_of it-q1)" running; soon grew "$n"
    says 1 'container not paused' rt resume it-q1; down it-q1
}
grew() { [ "$(wc -c <rootfs/root/f)" -gt "$1" ]; }
pause_often() { up it-q2; local i; for i in 1 2 3 4 5 6 7 8; do rt pause it-q2; rt resume it-q2; eq "$(rt exec it-q2 echo $i)" $i; done; down it-q2; }
pause_delete() { up it-q3; rt pause it-q3; rt delete --force it-q3; }
pause_kill() { up it-q4; rt pause it-q4; rt kill it-q4 KILL; soon same_status it-q4 stopped; down it-q4; }
pause_exec() { # one that enters meanwhile waits for the others
    up it-q5; rt pause it-q5; rtx exec --ignore-paused it-q5 echo in </dev/null >o & sleep .5; eq "$(cat o)" ''
    rt resume it-q5; rc 0 wait $!; eq "$(cat o)" in; down it-q5
}
pause_nobody() { says 1 'does not exist' rt pause it-nobody; says 1 'does not exist' rt resume it-nobody; up it-q6; rt kill it-q6 KILL; soon same_status it-q6 stopped; says 1 'container not running' rt pause it-q6; says 1 'not paused' rt resume it-q6; down it-q6; }
kill_all() {
    bundle b --root "$PWD/rootfs" --cgroup "/it-$MARK-it-k1" -- sh -c 'trap "" TERM; sleep 500 & echo up >/root/up; while :; do sleep 300; done'
    rt run -d -b b it-k1 </dev/null >/dev/null 2>&1; soon [ -e rootfs/root/up ]; soon several it-k1
    rt kill --all it-k1 KILL; soon same_status it-k1 stopped; rc 0 rt kill --all it-k1 KILL; says 1 'container not running' rt kill it-k1 KILL; down it-k1
}
several() { [[ $(rt ps -f json "$1") == *,* ]]; }
kill_errors() { up it-k2; says 1 'unknown signal' rt kill it-k2 FOO; says 1 '' rt kill it-k2 99; rc 0 rt kill it-k2 0; says 1 'does not exist' rt kill it-nobody 9; down it-k2; }
update_flags() {
    up it-u1; rc 0 rt update it-u1
    rt update --memory 64m --cpu-share 512 --pids-limit 77 --cpu-period 100000 --cpu-quota 50000 --cpuset-cpus 0 it-u1
    eq "$(limit it-u1 memory memory.limit_in_bytes memory.max)" 67108864; eq "$(limit it-u1 pids pids.max pids.max)" 77
    eq "$(limit it-u1 cpuset cpuset.cpus cpuset.cpus)" 0
    [ ! -d /sys/fs/cgroup/cpu ] || { eq "$(limit it-u1 cpu cpu.shares -)" 512; eq "$(limit it-u1 cpu cpu.cfs_quota_us -)" 50000; }
    rt update --memory 128m it-u1; eq "$(limit it-u1 memory memory.limit_in_bytes memory.max)" 134217728
    rt update --pids-limit -1 it-u1; eq "$(limit it-u1 pids pids.max pids.max)" max
    rc 0 rt exec it-u1 true; down it-u1
}
update_resources() {
    up it-u2; echo '{"memory": {"limit": 67108864, "swap": 134217728}, "pids": {"limit": 66}, "cpu": {"quota": 200000, "period": 100000}, "blockIO": {"weight": 0}}' >r.json
    rt update --resources r.json it-u2; eq "$(limit it-u2 pids pids.max pids.max)" 66
    echo '{"pids": {"limit": 55}}' | rt update --resources - it-u2; eq "$(limit it-u2 pids pids.max pids.max)" 55
    echo '{"pids": {"limit": 44}}' | rt update --resources=- it-u2; eq "$(limit it-u2 pids pids.max pids.max)" 44
    # Both limits grow together, and shrink together.
    echo '{"memory": {"limit": 268435456, "swap": 268435456}}' | rt update -r - it-u2; eq "$(limit it-u2 memory memory.limit_in_bytes memory.max)" 268435456
    echo '{"memory": {"limit": 33554432, "swap": 33554432}}' | rt update -r - it-u2; eq "$(limit it-u2 memory memory.limit_in_bytes memory.max)" 33554432
    down it-u2
}
update_errors() {
    up it-u3; says 1 '' rt update --memory x it-u3; says 1 '' rt update --cpuset-cpus 999 it-u3; says 1 '' rt update --resources none it-u3
    echo '{"pids": ' >r.json; says 1 '' rt update --resources r.json it-u3; says 1 'does not exist' rt update it-nobody
    rt kill it-u3 KILL; soon same_status it-u3 stopped; says 1 'container not running' rt update it-u3; down it-u3
}
limits_of_config() {
    up it-l1 --set /linux/resources '{"memory": {"limit": 67108864, "reservation": 33554432}, "pids": {"limit": 33}, "cpu": {"shares": 300, "cpus": "0"}}'
    eq "$(limit it-l1 memory memory.limit_in_bytes memory.max)" 67108864; eq "$(limit it-l1 pids pids.max pids.max)" 33; eq "$(limit it-l1 cpuset cpuset.cpus cpuset.cpus)" 0; down it-l1
}
limits_hold() { # the host's kernel sees to it
    up it-l2 --set /linux/resources '{"pids": {"limit": 3}}'; hasnt "$(rt exec it-l2 sh -c 'for i in 1 2 3 4 5; do sleep 1 & done; wait; echo all' 2>&1 | tail -n 1)" all; down it-l2
}
limits_huge() {
    up it-l3 --set /linux/resources '{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}'
    local f; for f in /sys/fs/cgroup/*/it-"$MARK"-it-l3/hugetlb.2MB.{max,limit_in_bytes} /sys/fs/cgroup/it-"$MARK"-it-l3/hugetlb.2MB.max; do [ ! -e "$f" ] || eq "$(cat "$f")" 4194304; done; down it-l3
}
limits_refused() {
    local r; for r in '{"network": {"classID": 7}}' '{"rdma": {"x": {"hcaHandles": 1}}}' '{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}' '{"unified": {"../x": "1"}}' '{"cpu": {"cpus": "999"}}'; do
        bundle b --root "$PWD/rootfs" --set /linux/resources "$r" -- true; got=0; rt run -b b it-l4 2>e || got=$?; eq $got 1; done
}
events_stats() {
    up it-v1; rt events --stats it-v1 | python3 -c 'import json,sys
e=json.load(sys.stdin); d=e["data"]
assert e["type"]=="stats" and e["id"]=="it-v1", e
assert d["cpu"]["usage"]["total"] > 0 and d["memory"]["usage"]["usage"] > 0 and d["pids"]["current"] == 1, d' || fail stats; down it-v1
}
events_interval() {
    up it-v2; rtx events --interval 100ms it-v2 >o & soon lines 3 o; down it-v2; rc 0 wait $!
    up it-v2; rt kill it-v2 KILL; soon same_status it-v2 stopped; says 1 'is not running' rt events it-v2; says 1 'does not exist' rt events it-nobody; says 1 '' rt events --interval 0s it-v2; down it-v2
}
lines() { [ "$(wc -l <"$2")" -ge "$1" ]; }
events_oom() {
    up it-v3 --set /linux/resources '{"memory": {"limit": 16777216, "swap": 16777216}}'
    rtx events --interval 10s it-v3 >o & soon lines 1 o
    rt exec it-v3 sh -c 'x=0123456789abcdef; while :; do x=$x$x; done' </dev/null >/dev/null 2>&1 || true
    soon grep -q '"oom"' o; down it-v3; wait
}
checkpoint_refused() { up it-c1; says 1 'not supported' rt checkpoint --image-path x it-c1; says 1 'not supported' rt restore --bundle b it-c9; eq "$(status_of it-c1)" running; down it-c1; }
systemd_refused() { [ -d /run/systemd/system ] || says 1 'systemd support for managing cgroups is not available' rt --systemd-cgroup run -b b it-s1; }
# with_systemd STEP: it seems to run, and what stands in for it writes into the file `said` what it is asked.
with_systemd() {
    "$HERE/systemd" "$PWD/bus" "$PWD/said" & trap "kill $!" EXIT; soon [ -S bus ]
    DBUS_SYSTEM_BUS_ADDRESS=unix:path=$PWD/bus unshare -m --propagation private bash -euc "mount -t tmpfs t /run; mkdir -p /run/systemd/system; $1"
}
# asked MEMBER TEXT...: what it was asked last by that name.
asked() { local last t; last=$(grep "^\[\"$1\"" said | tail -n 1); shift; for t; do has "$last" "$t"; done; }
scope_of() { local c; while IFS=: read -r _ c d; do case $c in ''|*hugetlb*|*perf*|*net*|*rdma*|*misc*) ;; *) eq "$d" "$2" ;; esac; done <"/proc/$1/cgroup"; }
systemd_scope() { with_systemd scope_steps; }
scope_steps() {
    local name=it-$MARK-s2 pid where
    bundle b --root "$PWD/rootfs" --cgroup "rsctest-a.slice:it:$MARK-s2" --annotation "org.systemd.property.CollectMode='inactive-or-failed'" \
        --set /linux/resources '{"memory": {"limit": 67108864}, "pids": {"limit": 55}, "cpu": {"shares": 512, "quota": 50000, "period": 100000}}' -- sleep 1000
    rt --systemd-cgroup create -b b it-s2 </dev/null >/dev/null 2>&1; pid=$(field it-s2 pid); where=/rsctest.slice/rsctest-a.slice/$name.scope
    asked StartTransientUnit "$name.scope\", \"replace\"" '["Slice", "rsctest-a.slice"]' "[\"PIDs\", [$pid]]" '["Delegate", 1]' '["DefaultDependencies", 0]' \
        '["MemoryAccounting", 1]' '["CollectMode", "inactive-or-failed"]'
    asked SetUnitProperties "$name.scope" 67108864 '["TasksMax", 55]' '["CPUQuotaPerSecUSec", 500000]' '["CPUQuotaPeriodUSec", 100000]'
    scope_of "$pid" "$where"; rt start it-s2
    rt exec -d --pid-file p it-s2 sleep 500 </dev/null >/dev/null 2>&1; scope_of "$(cat p)" "$where"
    eq "$(cat /sys/fs/cgroup/{memory,}"$where"/memory.{limit_in_bytes,max} 2>/dev/null)" 67108864
    rt --systemd-cgroup update --memory 128m --cpuset-cpus 0 it-s2; asked SetUnitProperties 134217728 '["AllowedCPUs", [1]]'
    eq "$(cat /sys/fs/cgroup/{memory,}"$where"/memory.{limit_in_bytes,max} 2>/dev/null)" 134217728
    rt pause it-s2; eq "$(status_of it-s2)" paused; rt resume it-s2; rt events --stats it-s2 | grep -q '"current":2' || fail 'two processes'
    # Later commands know it without the flag.
    rt delete -f it-s2; asked StopUnit "$name.scope"; asked ResetFailedUnit "$name.scope"; [ -z "$(find /sys/fs/cgroup -name "$name.scope")" ]
    bundle b --root "$PWD/rootfs" -- true; rc 0 rt --systemd-cgroup run -b b "it-$MARK-s3"; asked StartTransientUnit "rsc-it-$MARK-s3.scope" '["Slice", "system.slice"]'
}
systemd_errors() { with_systemd scope_errors; }
scope_errors() { # nothing is left, and no unit of another's is stopped
    bundle b --root "$PWD/rootfs" --cgroup /a/b -- true; says 1 'to be of format "slice:prefix:name"' rt --systemd-cgroup run -b b it-s4
    bundle b --root "$PWD/rootfs" --cgroup "a--b.slice:it:x" -- true; says 1 'a--b.slice' rt --systemd-cgroup run -b b it-s4
    bundle b --root "$PWD/rootfs" --cgroup ":exists:x" -- true; says 1 'UnitExists' rt --systemd-cgroup run -b b it-s4; asked ResetFailedUnit exists-x.scope
    bundle b --root "$PWD/rootfs" --cgroup ":fails:x" -- true; says 1 'got `failed`' rt --systemd-cgroup run -b b it-s4; ! grep StopUnit said
    bundle b --root "$PWD/rootfs" --annotation org.systemd.property.Some=nonsense -- true; says 1 'org.systemd.property.Some' rt --systemd-cgroup run -b b it-s4
    job true; DBUS_SYSTEM_BUS_ADDRESS=unix:path=/none/such says 1 /none/such rt --systemd-cgroup run -b b it-s4; eq "$(rt list -q)" ''
}
spec_rootless() { rt spec --rootless; python3 -c 'import json; c=json.load(open("config.json")); assert {"type":"user"} in c["linux"]["namespaces"] and c["linux"]["uidMappings"]'; mkdir d; rt spec --bundle d; [ -s d/config.json ]; says 1 '' rt spec --bundle none; }

step exec-codes exec-output exec-input exec-many exec-shares exec-flags exec-process exec-detached exec-end-of-output exec-background \
    exec-errors exec-stopped exec-created exec-killed exec-ends-with-init exec-signals exec-cgroup exec-terminal exec-terminal-signal run-terminal exec-job-control \
    exec-sub-cgroup hooks-of-every-stage hooks-that-fail joined-network sysctls home-default
only_rsc hooks-that-fail-words
only_rsc exec-namespaces exec-unprivileged-fds
step ps-json ps-table ps-stopped pause-resume pause-often pause-delete pause-kill pause-nobody kill-all kill-errors update-flags update-resources \
    update-errors limits-of-config limits-hold events-stats events-interval spec-rootless
only_rsc pause-exec limits-huge limits-refused events-oom checkpoint-refused systemd-refused systemd-scope systemd-errors
