#!/bin/bash
# librsc_preload.so and rsc-runtime broker: ordinary programs, some of whose calls a sentry carries out.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip preload "not with the control"; exit 0; }
trap finish EXIT
LIB=$BIN/librsc_preload.so
[ -e "$LIB" ] || { echo "no library at $LIB: cargo build -p rsc-preload" >&2; exit 2; }
unset RSC_RULES RSC_SYSCALLS RSC_EXPORT RSC_CWD RSC_BROKER RSC_TOKEN_FILE
for program in demo calls; do gcc -O1 -pthread -o "$W/$program" "$TOP/tests/preload/$program.c" || exit 2; done
gcc -O1 -static -o "$W/static" "$TOP/tests/preload/demo.c" || exit 2

# serve ARGS...: a sentry with the tree ./srv, and a broker for it. Both end with the step.
serve() {
    mkdir -p srv here
    TEST_MARK=$MARK "$SENTRY" serve --export "work=$PWD/srv" "$@" >sentry.log 2>&1 </dev/null &
    SERVER=$!
    export RSC_BROKER=$PWD/b.sock
    rtx ${GRACE:+--loss-grace $GRACE} broker >broker.log 2>&1 </dev/null &
    BROKER=$!
    trap 'kill -TERM $SERVER $BROKER 2>/dev/null; wait $SERVER $BROKER || true' EXIT
    soon [ -S b.sock ]
}
local_sentry() { serve --unix "$PWD/s"; soon [ -S s ]; export RSC_SENTRY=unix://$PWD/s; }
# there: paths below /there are the server's.
there() { printf '[[rule]]\npath = "/there/**"\naction = "remote"\nmap = "/"\n' >r.toml; export RSC_RULES=$PWD/r.toml; }
pre() { TEST_MARK=$MARK LD_PRELOAD=$LIB timeout 30 "$@"; }
port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }

shows_demo() {
    echo 'read by the client' >srv/cs_r.txt
    export RSC_SYSCALLS=openat,read,write,close RSC_CWD=/
    eq "$(pre "$W/demo")" 'read by the client'
    eq "$(cat srv/ce_w.txt)" 'written by the client'
    [ ! -e ce_w.txt ] || fail "written here"
}
demo() { local_sentry; shows_demo; }
demo_tcp() {
    local p; p=$(port); echo 'a-token-long-enough-to-be-one tester' >tokens; echo a-token-long-enough-to-be-one >token; chmod 600 token tokens
    serve --tcp "127.0.0.1:$p" --token-file tokens; export RSC_SENTRY=tcp://127.0.0.1:$p RSC_TOKEN_FILE=token; shows_demo
    echo wrong-token-of-some-length >wrong; export RSC_TOKEN_FILE=wrong; rc 125 pre "$W/demo" 2>e; eq "$(grep -c . e)" 1
}
calls() {
    local_sentry; there; mkdir -p srv/d native/d
    local memory; memory=$(mktemp -d /dev/shm/rsc-it.XXXXXX); trap "rm -rf $memory; kill -TERM $SERVER $BROKER; wait" EXIT
    timeout 30 "$W/calls" "$PWD/native" "$memory" >native.txt 2>&1; rm -rf "${memory:?}"/*
    pre "$W/calls" /there "$memory" >preloaded.txt 2>&1; diff native.txt preloaded.txt >difference || fail "$(cat difference)"
}
programs() {
    local_sentry; there; mkdir srv/d; seq 1000 >srv/numbers; echo a >srv/d/a
    eq "$(pre cat /there/numbers | md5sum)" "$(md5sum <srv/numbers)"
    pre cp /there/numbers here/copy; cmp srv/numbers here/copy; pre cp here/copy /there/back; cmp srv/numbers srv/back
    eq "$(pre ls /there | tr '\n' ' ')" 'back d numbers '
    eq "$(pre ls -l /there | sed 1d)" "$(ls -l srv | sed 1d)"
    eq "$(pre find /there -type f | sort | tr '\n' ' ')" '/there/back /there/d/a /there/numbers '
    pre mv /there/back here/moved; cmp srv/numbers here/moved; [ ! -e srv/back ] || fail "still there"
    pre tar cf here/t.tar -C /there d; eq "$(tar tf here/t.tar | tr '\n' ' ')" 'd/ d/a '
    eq "$(pre sed -n 7p /there/numbers)$(pre wc -l </dev/null /there/numbers)$(pre grep -c 9 /there/numbers)" '71000 /there/numbers271'
    eq "$(pre perl -e 'open F, "<", "/there/numbers"; my @l = <F>; print scalar @l')" 1000
    eq "$(pre readlink -f /there/d/../numbers)" /there/numbers
    pre touch -d @1000000000 /there/old; eq "$(stat -c %Y srv/old)" 1000000000; pre chmod 604 /there/old; eq "$(stat -c %a srv/old)" 604
    pre rm -r /there/d; [ ! -e srv/d ] || fail "still there"
}
shells() {
    local_sentry; there; mkdir srv/d
    local sh; for sh in sh bash; do
        eq "$(pre $sh -c 'echo 1 >/there/f; echo 2 >>/there/f; read x </there/f; echo $x; cat /there/f; ls /there >/there/l; cat /there/l; wc -l </there/f; for i in 3 1 2; do echo $i; done | sort >/there/s; tr -d "\n" </there/s')" \
            "$(printf '1\n1\n2\nd\nf\nl\n2\n123')"
        eq "$(cat srv/f)" "$(printf '1\n2')"; rm srv/f srv/l srv/s
        eq "$(pre $sh -c 'cd /there/d && echo x >y && cat y && ls && pwd && /bin/pwd && (cd .. && ls -d *) && cd / && ls -d tmp && rm /there/d/y' | tr '\n' ' ')" 'x y /there/d /there/d d tmp '
    done
    eq "$(pre bash -c 'while read n; do echo "[$n]"; done </there/n; exec 5</there/n; read -u 5 a; read -u 5 b; echo $a$b; cat <&5' 2>&1 | head -1 | grep -c 'No such file')" 1
}
python() {
    local_sentry; there; mkdir srv/d
    local python; python=$(command -v /usr/bin/python3 || command -v python3)
    eq "$(pre "$python" - <<'END'
import mmap, os, subprocess, tempfile, threading
open("/there/f", "w").write("line\n" * 1000)
print(len(open("/there/f").readlines()), os.stat("/there/f").st_size, sorted(os.listdir("/there")))
with open("/there/f", "rb") as f: print(bytes(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:4]))
bad = []
def work(i):
    for n in range(5):
        with open(f"/there/d/{i}", "w+") as f:
            f.write(str(i) * 3000); f.seek(0)
            if f.read() != str(i) * 3000: bad.append(i)
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(bad, len(os.listdir("/there/d")))
print(subprocess.run(["cat", "/there/d/7"], capture_output=True).stdout == b"7" * 3000)
with open("/there/out", "w") as out: subprocess.run(["echo", "by a child"], stdout=out)
print(open("/there/out").read().strip())
pid = os.fork()
if not pid: open("/there/child", "w").write("c"); os._exit(0)
os.waitpid(pid, 0); print(open("/there/child").read())
with tempfile.TemporaryDirectory(dir="/there") as d: open(d + "/x", "w").close(); print(os.path.exists(d + "/x"))
try: open("/there/none")
except FileNotFoundError as e: print(e.strerror)
END
)" "$(printf '%s\n' "1000 5000 ['d', 'f']" "b'line'" '[] 8' True 'by a child' c True 'No such file or directory')"
    eq "$(ls srv | tr '\n' ' ')" 'child d f out '
}
mixed() {
    local_sentry; mkdir here/secret; echo s >here/secret/s; echo l >here/l; echo m >here/m
    printf '[[rule]]\npath = "%s/here/secret/**"\ndeny = "EACCES"\n[[rule]]\npath = "%s/here/m"\nmap = "%s/here/l"\n[[rule]]\npath = "/there/**"\naccess = "write"\ndeny = "EROFS"\n[[rule]]\npath = "/there/**"\naction = "remote"\nmap = "/"\n' "$PWD" "$PWD" "$PWD" >r.toml
    export RSC_RULES=r.toml; echo r >srv/r
    eq "$(pre cat "$PWD/here/m" "$PWD/here/l" /there/r | tr '\n' ' ')" 'l l r '
    has "$(pre cat here/secret/s 2>&1 || true)" 'Permission denied'; has "$(pre touch /there/x 2>&1 || true)" 'Read-only file system'
    eq "$(pre sh -c 'uname -n')" "$(uname -n)"
}
# A server that only the sentry's network namespace can reach.
sockets() {
    mkdir srv here; echo 'page of the server' >srv/page; local p=18099
    TEST_MARK=$MARK unshare -n bash -c "ip link set lo up; cd srv; python3 -m http.server $p --bind 127.0.0.1 >/dev/null 2>&1 & exec '$SENTRY' serve --net host --unix '$PWD/s' --export 'work=$PWD/srv'" >sentry.log 2>&1 </dev/null & SERVER=$!
    export RSC_BROKER=$PWD/b.sock RSC_SENTRY=unix://$PWD/s; rtx broker >broker.log 2>&1 </dev/null & BROKER=$!
    trap 'kill -TERM $SERVER $BROKER $(marked | sed -n "s/ python3.*//p") 2>/dev/null; wait $SERVER $BROKER || true' EXIT
    soon [ -S b.sock ]; soon [ -S s ]; soon nsenter -n -t $SERVER bash -c "exec 3<>/dev/tcp/127.0.0.1/$p"
    printf '[[rule]]\naddress = "127.0.0.1"\nport = %s\naction = "remote"\n' $p >r.toml; export RSC_RULES=$PWD/r.toml
    eq "$(pre curl -sS http://127.0.0.1:$p/page)" 'page of the server'
    eq "$(pre bash -c "exec 3<>/dev/tcp/127.0.0.1/$p; printf 'GET /page HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3")" 'page of the server'
    eq "$(pre python3 -c "import socket; s = socket.create_connection(('127.0.0.1', $p)); print(s.getpeername()[1])")" $p
    rc 7 timeout 5 curl -s http://127.0.0.1:$p/page
    # By name: an address that was not looked up under it is another one.
    printf '[[rule]]\nhost = "localhost"\nport = %s\naction = "remote"\n' $p >h.toml; export RSC_RULES=$PWD/h.toml
    rc 7 pre curl -s http://127.0.0.1:$p/page
    eq "$(pre python3 -c "import socket; print(socket.create_connection(('localhost', $p)).getpeername()[1])")" $p
}
on_demand() {
    mkdir srv here; echo d >srv/d; TEST_MARK=$MARK "$SENTRY" serve --export "work=$PWD/srv" --unix "$PWD/s" >sentry.log 2>&1 </dev/null & SERVER=$!
    trap 'kill -TERM $SERVER $(marked | sed -n "s/ rsc-runtime//p") 2>/dev/null; wait $SERVER || true' EXIT
    soon [ -S s ]; there; export RSC_SENTRY=unix://$PWD/s RSC_BROKER=$PWD/x/b.sock
    eq "$(pre cat /there/d)" d; [ -S x/b.sock ]; eq "$(pre cat /there/d)$(pre cat /there/d)" dd
    eq "$(marked | grep -c rsc-runtime)" 1
}
refusals() {
    export RSC_BROKER=$PWD/b.sock RSC_SENTRY=unix://$PWD/nothing RSC_SYSCALLS=openat
    rtx broker >broker.log 2>&1 </dev/null & BROKER=$!; trap 'kill $BROKER; wait $BROKER || true' EXIT; soon [ -S b.sock ]
    rc 125 pre true 2>e; eq "$(grep -c . e)" 1; has "$(cat e)" "$PWD/nothing"
    export RSC_SYSCALLS=opnat; rc 125 pre true 2>e; has "$(cat e)" 'did you mean openat?'
    unset RSC_SYSCALLS; printf '[[rule]]\npath = "x"\naction = "remote"\n' >bad.toml; export RSC_RULES=bad.toml
    rc 125 pre true 2>e; has "$(cat e)" 'bad.toml, line 2, column 8'
    unset RSC_RULES RSC_SENTRY; eq "$(pre sh -c 'echo ran; true' 2>e)" ran; has "$(cat e)" 'RSC_SENTRY'; eq "$(grep -c . e)" 1
}
unseen() { local_sentry; there; has "$(pre sh -c "cd srv; $W/static; $W/static" 2>&1 || true)" 'statically linked: all its calls'; }
lost() {
    GRACE=1 local_sentry; there; echo f >srv/f; mkfifo go
    pre bash -c 'exec 5</there/f; echo open; read x <go; cat <&5; cat /there/f; echo here >here/h; cat here/h' >o 2>&1 & local job=$!
    soon grep -q open o; kill -KILL $SERVER; echo >go; wait $job || true
    eq "$(grep -c 'Input/output error' o)" 2; eq "$(tail -n 1 o)" here
}

step demo demo-tcp calls programs shells python mixed sockets on-demand refusals unseen lost
