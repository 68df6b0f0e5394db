#!/bin/bash
# `rsc-runtime watch`: processes are found in the kernel, by what they are and by what they call; others are left alone. Needs a
# kernel that lets root load eBPF programs, and says so where it does not.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip watch "not with the control"; exit 0; }
trap finish EXIT

# watching TEXT ARGS...: watches with these rules for the step, once it is ready; its lines are in ./report.
watching() {
    printf '%s\n' "$1" >rules.toml; shift
    rm -f report
    TEST_MARK=$MARK "$RT" --root "$STATE" "$@" watch --rules rules.toml --report report ${WATCH:-} >watch.log 2>&1 </dev/null &
    WATCHER=$!
    trap 'kill -INT $WATCHER 2>/dev/null && wait $WATCHER || true' EXIT
    ready() { gone $WATCHER || grep -qs '"event":"watching"' report; }
    soon ready; alive $WATCHER || fail "$(tail -n 1 watch.log)"
}
over() { rc 0 kill -INT $WATCHER; rc 0 wait $WATCHER; trap - EXIT; eq "$(stuck)" ''; }
stuck() { grep -lsa "TEST_MARK=$MARK" /proc/[0-9]*/environ | while read -r f; do grep -H '^State:.*stopped' "${f%/environ}/status" || true; done; }
# lines KEY...: of each line about a process, these keys.
lines() {
    python3 - "$@" <<'P'
import json, sys
for line in map(json.loads, open("report")):
    if line["event"] not in ("watching",):
        print(*[line.get("call", {}).get(k[5:]) if k.startswith("call.") else line.get(k) for k in sys.argv[1:]])
P
}
# own NAME [PROGRAM]: a copy of a program, whose name and folder nobody else has.
own() { mkdir -p "${1%/*}"; cp "/bin/${2:-cat}" "$1"; export TEST_MARK=$MARK; }
export WATCH=--dry-run

at_exec() {
    own bin/ours; own bin/others; echo text >f
    watching "[[watch]]
name = \"mine\"
executable = \"$PWD/bin/ours\""
    eq "$(bin/ours f)" text; eq "$(bin/others f)" text
    eq "$(bash -c 'echo $$; exec -a other-name bin/ours f')" "$(lines pid | tail -n 1)
text"
    over
    eq "$(lines event executable watch call)" "found $PWD/bin/ours rules.toml, line 1 (\"mine\") None
found $PWD/bin/ours rules.toml, line 1 (\"mine\") None"
}
# It is stopped before its first call, so nothing that it does happens.
before_its_first_call() {
    own bin/toucher touch
    watching "[[watch]]
executable = \"$PWD/bin/toucher\""
    kill -STOP $WATCHER
    bin/toucher made & local pid=$!
    held() { grep -q '^State:.*stopped' /proc/$pid/status; }
    soon held
    [ ! -e made ] || fail "it has made a call"
    eq "$(cut -d' ' -f1 /proc/$pid/syscall)" 59 # still on its way out of execve(2)
    kill -CONT $WATCHER
    rc 0 wait $pid; [ -e made ]
    over
}
other_names_of_a_program() {
    own a/ours; ln -s "$PWD/a/ours" a/link; echo text >f; printf '#!/bin/sh\necho script\n' >a/script; chmod +x a/script
    watching "[[watch]]
executable = [\"$PWD/a/link\", \"$PWD/a/script\"]"
    (cd a; ./link ../f; ./script) >out; a/ours f >/dev/null
    over
    eq "$(tr '\n' ' ' <out)" 'text script '
    eq "$(lines executable | sed "s|^.*/||; s|dash|sh|; s|bash|sh|")" 'ours
sh'
}
folders_and_wildcards() {
    own opt/app/bin/one; own opt/other/two; own opt/app/three-x; echo text >f
    watching "[[watch]]
name = \"folder\"
executable = \"$PWD/opt/app/bin/**\"
[[watch]]
name = \"begins\"
executable = \"$PWD/opt/app/th*x\""
    opt/app/bin/one f; opt/other/two f; opt/app/three-x f
    over
    eq "$(lines executable watch)" "$PWD/opt/app/bin/one rules.toml, line 1 (\"folder\")
$PWD/opt/app/three-x rules.toml, line 4 (\"begins\")"
}
by_user() {
    own bin/ours; chmod 755 . bin; echo text >f
    watching "[[watch]]
executable = \"$PWD/bin/ours\"
uid = [54321, 54322]"
    bin/ours f; setpriv --reuid 54321 --clear-groups "$PWD/bin/ours" /etc/hostname; setpriv --reuid 54320 --clear-groups "$PWD/bin/ours" /etc/hostname
    over
    eq "$(lines event)" found
}
by_cgroup() {
    local top=/sys/fs/cgroup/pids id=3f2a9c04d1e7b8a6f5c4d3e2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a09f8e group
    [ -d $top ] || top=/sys/fs/cgroup
    own bin/ours; echo text >f
    watching "[[watch]]
executable = \"$PWD/bin/ours\"
container = \"3f2a9c04d1e7\"
[[watch]]
executable = \"$PWD/bin/ours\"
cgroup = \"/rsc-$MARK/plain\""
    trap 'kill -INT $WATCHER; wait $WATCHER; rmdir $top/rsc-$MARK/*/ $top/rsc-$MARK' EXIT
    for group in docker-$id.scope plain other; do
        mkdir -p "$top/rsc-$MARK/$group"
        bash -c 'echo $$ >"$0/cgroup.procs"; exec bin/ours f' "$top/rsc-$MARK/$group"
    done
    kill -INT $WATCHER; wait $WATCHER; rmdir $top/rsc-$MARK/*/ $top/rsc-$MARK; trap - EXIT
    eq "$(lines watch)" 'rules.toml, line 1
rules.toml, line 4'
}
by_path() {
    own bin/ours; mkdir -p data/deep near; echo text | tee f data/f data/deep/f near/f >/dev/null
    watching "[[watch]]
executable = \"$PWD/bin/ours\"
syscalls = \"openat\"
path = [\"$PWD/data/**\", \"$PWD/none\"]"
    for name in f near/f "$PWD/near/f" data/../f; do bin/ours $name; done
    bin/ours "$PWD/data/f"; bin/ours data/f; (cd data/deep; "$OLDPWD/bin/ours" f); bin/ours "$PWD/none" 2>/dev/null || true
    bin/ours f data/f data/deep/f # once is enough
    over
    eq "$(lines call.name call.path call.result | sed "s|$PWD|.|; s| [0-9]*$| ok|")" 'openat ./data/f ok
openat data/f ok
openat f ok
openat ./none -2
openat data/f ok'
}
relative_to_a_descriptor() {
    mkdir -p data near; echo text | tee data/f near/f >/dev/null
    watching "[[watch]]
path = \"$PWD/data/**\"
uid = 0
syscalls = \"openat\""
    python3 -c 'import os
for d in "near", "data":
    fd = os.open(d, os.O_PATH | os.O_DIRECTORY)
    os.close(os.open("f", os.O_RDONLY, dir_fd=fd))' 3<near
    over
    has "$(lines call.path | tail -n 1)" data # the folder's own name comes first
}
by_port() {
    watching '[[watch]]
port = ["50-60", 54398]
executable = "/**/python3*"'
    python3 - <<'P'
import socket
for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    for port in 54397, 54398:
        try: socket.socket(family, socket.SOCK_STREAM).connect((address, port))
        except OSError: pass
P
    over
    eq "$(lines call.name call.port)" 'connect 54398'
}
a_thread_group() {
    watching "[[watch]]
syscalls = \"openat\"
path = \"$PWD/none\""
    python3 - <<P
import threading, time
done = []
def count():
    while len(done) < 8: time.sleep(.001)
def call():
    try: open("$PWD/none")
    except OSError: pass
    done.append(1)
others = [threading.Thread(target=count) for _ in range(4)] + [threading.Thread(target=call) for _ in range(8)]
for t in others: t.start()
for t in others: t.join()
P
    over
    eq "$(lines event call.path)" "found $PWD/none"
}
many_at_once() {
    own bin/ours true
    watching "[[watch]]
executable = \"$PWD/bin/ours\""
    local i pids=(); for i in $(seq 300); do bin/ours & pids+=($!); done; rc 0 wait "${pids[@]}"
    pids=(); for i in $(seq 30); do bash -c 'for i in 1 2 3; do bin/ours; done' & pids+=($!); done; rc 0 wait "${pids[@]}"
    over
    [ "$(lines event | grep -c found)" -ge 380 ] || fail "found $(lines event | grep -c found) of 390: $(cat watch.log)"
}
others_are_not_touched() {
    own bin/ours; own bin/others; echo text >f
    watching "[[watch]]
executable = \"$PWD/bin/ours\"
[[watch]]
executable = \"$PWD/bin/ours\"
syscalls = \"%file\"
path = \"$PWD/**\""
    # Its parent sees neither a stop nor a continuation.
    python3 - <<'P'
import os
for _ in range(20):
    pid = os.posix_spawn("bin/others", ["others", "f"], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
    got, status = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status
P
    over
    eq "$(lines pid)" ''
}
refusals() {
    refused() { # refused TEXT RULES COMMAND...
        local want=$1 got=0; printf '%s\n' "$2" >r.toml; shift 2
        "$@" "$RT" watch --rules r.toml --dry-run >o 2>e </dev/null || got=$?
        eq "$got" 1; has "$(cat e)" "$want"; eq "$(cat o)" ''
    }
    local rules='[[watch]]
uid = 54321'
    refused 'no [[watch]]' '' env
    refused 'line 2, column 1' '[[watch]]
excutable = "/x"' env
    refused 'CAP_BPF' "$rules" setpriv --bounding-set=-bpf,-perfmon,-sys_admin --inh-caps=-all
    refused 'CAP_PERFMON' "$rules" setpriv --bounding-set=-perfmon,-sys_admin --inh-caps=-all
    refused 'CAP_BPF' "$rules" setpriv --reuid 54321 --clear-groups
    if command -v unshare >/dev/null; then refused 'user namespace' "$rules" unshare -U -r; fi
}

# serve: a sentry for the step, whose export is ./srv; then watch with --sentry "unix://$PWD/s".
serve() {
    mkdir -p srv
    TEST_MARK=$MARK "$SENTRY" serve --unix "$PWD/s" --export "work=$PWD/srv" >sentry.log 2>&1 </dev/null & SERVER=$!
    soon [ -S s ]
}
taking_over() { WATCH= watching "$1" --sentry "unix://$PWD/s"; trap 'kill -INT $WATCHER; wait $WATCHER || true; kill $SERVER; wait $SERVER || true' EXIT; }
taken_over() { over; kill $SERVER; wait $SERVER || true; }
rules() { printf '[[rule]]\npath = "%s/**"\nmap = "/"\naction = "remote"\n' "$PWD/there"; }
# ours KEY: that key's value in the line which tells of the end of the last process.
last() { python3 -c 'import json, sys; print(json.dumps([l for l in map(json.loads, open("report")) if "here" in l][-1][sys.argv[1]]))' "$1"; }

# The classic demonstration: both files are at the server alone.
classic() {
    serve; echo 'a line of the server' >srv/cs_r.txt; own bin/demo; rm bin/demo
    cat >demo.c <<'C'
#include <fcntl.h>
#include <unistd.h>
int main(void) {
    char line[256];
    int f = open("cs_r.txt", O_RDONLY);
    ssize_t n = read(f, line, sizeof line);
    if (n < 0 || close(f) || write(1, line, n) != n) return 1;
    f = open("ce_w.txt", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    return f < 0 || write(f, line, n) != n || close(f);
}
C
    cc -o bin/demo demo.c; cc -static -o bin/demo-static demo.c
    printf '[[watch]]\nexecutable = "%s/bin/demo*"\n' "$PWD" >text
    WATCH='--syscalls openat,read,write,close --cwd /' watching "$(cat text)" --sentry "unix://$PWD/s"
    local program; for program in demo demo-static; do
        eq "$(bin/$program)" 'a line of the server'; eq "$(cat srv/ce_w.txt)" 'a line of the server'; rm srv/ce_w.txt
        [ ! -e ce_w.txt ]
        ended() { [ "$(lines event | tail -n 1)" = ended ]; }; soon ended
        eq "$(last there)" '{"close": 2, "openat": 2, "read": 1, "write": 1}'
        has "$(last here)" '"write": 1'; has "$(last here)" '"exit_group": 1'
    done
    taken_over
}
# The first call has run here; later ones go there.
after_a_call() {
    serve; echo there >srv/f; mkdir there; echo here >there/f
    taking_over "[[watch]]
path = \"$PWD/there/**\"
executable = \"/**/python3*\"
$(rules)"
    eq "$(timeout 20 python3 - <<P
import signal, time
continued = []
signal.signal(signal.SIGCONT, lambda *_: continued.append(1))
print(open("$PWD/there/f").read().strip())
time.sleep(.1)
for _ in range(200):
    text = open("$PWD/there/f").read().strip()
    if text != "here": break
    time.sleep(.01)
print(text, len(continued))
P
)" 'here
there 0'
    taken_over
    eq "$(lines event call.path 2>/dev/null | head -n 1)" "found $PWD/there/f"
}
children_too() {
    serve; echo there >srv/f; own bin/shell bash
    taking_over "[[watch]]
executable = \"$PWD/bin/shell\"
$(rules)"
    eq "$(timeout 20 bin/shell -c "cat $PWD/there/f; (cat <$PWD/there/f); echo written >$PWD/there/w; bin/shell -c 'cat $PWD/there/w'")" 'there
there
written'
    eq "$(cat srv/w)" written
    taken_over
    eq "$(lines event | sort | uniq -c | tr -s ' ')" ' 3 ended
 1 found'
}
given_back() {
    serve; echo there >srv/f; mkdir there; own bin/shell bash
    taking_over "[[watch]]
executable = \"$PWD/bin/shell\"
$(rules)"
    bin/shell -c "exec 9>&1; while [ ! -e stop ]; do cat $PWD/there/f 2>/dev/null || echo here; sleep .1; done" >out & local pid=$!
    soon grep -q there out
    has "$(grep TracerPid /proc/$pid/status)" $WATCHER
    taken_over
    eq "$(grep TracerPid /proc/$pid/status | tr -d '\t')" TracerPid:0
    echo more >out; soon grep -q here out; touch stop; rc 0 wait $pid
}
traced_by_another() {
    command -v strace >/dev/null || return 0
    serve; own bin/ours; echo text >f
    taking_over "[[watch]]
executable = \"$PWD/bin/ours\"
$(rules)"
    eq "$(timeout 20 strace -o /dev/null bin/ours f)" text
    taken_over
    eq "$(lines event)" refused; has "$(lines error)" 'traces it already'
}
no_server() {
    local got=0; printf '[[watch]]\nuid = 54321\n' >r.toml
    "$RT" --sentry "unix://$PWD/none" watch --rules r.toml >o 2>e </dev/null || got=$?
    eq "$got" 1; has "$(cat e)" "$PWD/none"; eq "$(cat o)" ''
    got=0; "$RT" watch --rules r.toml >o 2>e </dev/null || got=$?; eq "$got" 1; has "$(cat e)" '--sentry'
}

# Where root may not do it, nothing can be tested.
printf '[[watch]]\nuid = 54321\n' >"$W/probe.toml"
timeout -s INT 2 "$RT" watch --rules "$W/probe.toml" --dry-run >"$W/probe" 2>&1 </dev/null || true
if ! grep -q '"event":"watching"' "$W/probe"; then skip watch "$(tail -n 1 "$W/probe")"; trap - EXIT; rm -rf "$W"; exit 0; fi
step at-exec before-its-first-call other-names-of-a-program folders-and-wildcards by-user by-cgroup by-path \
    relative-to-a-descriptor by-port a-thread-group many-at-once others-are-not-touched refusals \
    classic after-a-call children-too given-back traced-by-another no-server
