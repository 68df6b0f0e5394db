#!/bin/bash
# Ordinary processes some of whose calls a sentry carries out: launched, attached to, in all sorts of programs; and what is refused.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip mixed "not with the control"; exit 0; }
trap finish EXIT
unset RSC_RULES RSC_SYSCALLS RSC_EXPORT RSC_CWD RSC_BROKER RSC_TOKEN_FILE
export XDG_RUNTIME_DIR=$W/run; mkdir -m 700 "$XDG_RUNTIME_DIR"
for program in demo calls; do gcc -O1 -pthread -o "$W/$program" "$TOP/tests/preload/$program.c" || exit 2; done
gcc -O1 -static -o "$W/static" "$TOP/tests/preload/demo.c" || exit 2
CGO_ENABLED=0 go build -o "$W/go" "$TOP/tests/remote/go.go" || exit 2
DEMO=openat,read,write,close

# serve ARGS...: a sentry with the tree ./srv; its standard output is ./server. It ends with the step.
serve() {
    mkdir -p srv here
    ${IN:-} env TEST_MARK=$MARK "$SENTRY" serve --export "work=$PWD/srv" "$@" >server 2>sentry.log </dev/null &
    SERVER=$!
    trap 'kill -TERM $SERVER 2>/dev/null || true; wait $SERVER || true; eval "${AFTER:-:}"' EXIT
}
local_sentry() { serve --unix "$PWD/s" "$@"; soon [ -S s ]; export RSC_SENTRY=unix://$PWD/s; }
port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
remote() { rt remote "$@"; }
# there: paths below /there are the server's.
there() { printf '[[rule]]\npath = "/there/**"\naction = "remote"\nmap = "/"\n' >r.toml; mixed() { rt remote --rules r.toml "$@"; }; }
says() { local got=0; "${@:3}" >o 2>e </dev/null || got=$?; eq "$got" "$1"; eq "$(grep -c . e)" 1; has "$(cat e)" "$2"; }

shows_demo() { # shows_demo OPTIONS...: the classic demonstration
    echo 'read by the client' >srv/cs_r.txt
    local program; for program in "$W/demo" "$W/static"; do
        rm -f srv/ce_w.txt; eq "$(cd here && remote "$@" --cwd / --syscalls $DEMO -- "$program")" 'read by the client'
        eq "$(cat srv/ce_w.txt)" 'written by the client'
    done
    eq "$(ls here)" ''
}
demo() { local_sentry; shows_demo; }
demo_at_server() {
    local_sentry --allow-stdio; echo 'read by the client' >srv/cs_r.txt
    eq "$(cd here && remote --cwd / --stdio remote --syscalls $DEMO -- "$W/demo")" ''
    eq "$(cat server)" 'read by the client'; eq "$(cat srv/ce_w.txt)" 'written by the client'
}
demo_tcp() {
    local p; p=$(port); echo 'a-token-long-enough-to-be-one tester' >tokens; echo a-token-long-enough-to-be-one >token; chmod 600 token tokens
    serve --tcp "127.0.0.1:$p" --token-file tokens; soon grep -q listening sentry.log || sleep 1
    export RSC_SENTRY=tcp://127.0.0.1:$p; shows_demo --token-file "$PWD/token"
    echo wrong-token-of-some-length >wrong; chmod 600 wrong; says 125 token remote --token-file wrong --syscalls $DEMO -- touch here/x; [ ! -e here/x ]
}
# attached OPTIONS...: attaches to $TARGET, which begins to find /there/f1.
attached() { rtx attach --syscalls openat "$@" "$TARGET" >attach.log 2>&1 </dev/null & ATTACH=$!; soon grep -q '^text' t; }
target() {
    python3 -u -c '
import time, sys
held = None
while True:
    try:
        with open("/there/f1") as f: print(f.read().strip())
        if len(sys.argv) > 1 and held is None: held = open("/there/f1")
    except OSError as error: print(error.strerror)
    time.sleep(0.1)' "$@" >t 2>&1 </dev/null &
    TARGET=$!; soon grep -q 'No such file' t
}
attach() {
    local_sentry; mkdir srv/there; echo text >srv/there/f1; target; attached
    # Refused while the file is open, which it is for moments.
    grep -q "TracerPid:.$ATTACH" /proc/$TARGET/status; soon rt detach $TARGET; wait $ATTACH
    : >t; soon grep -q 'No such file' t; grep -q 'TracerPid:.0' /proc/$TARGET/status; ! grep -q text t
    attached; interrupted() { kill -INT $ATTACH 2>/dev/null; sleep .2; gone $ATTACH; }; soon interrupted; wait $ATTACH; : >t; soon grep -q 'No such file' t; kill $TARGET
}
detach_is_refused() {
    local_sentry; mkdir srv/there; echo text >srv/there/f1; target hold; attached; sleep .3
    says 1 'remote descriptors are open' rt detach $TARGET; alive $ATTACH
    rt detach --force $TARGET; wait $ATTACH; alive $TARGET; grep -q 'TracerPid:.0' /proc/$TARGET/status; kill $TARGET
}
attach_threads() {
    local_sentry; mkdir srv/there; echo text >srv/there/f1
    python3 -u -c '
import threading, time
def look(name):
    while True:
        try: print(name, open("/there/f1").read().strip())
        except OSError as error: print(name, error.strerror)
        time.sleep(0.1)
for name in "abc": threading.Thread(target=look, args=name).start()' >t 2>&1 </dev/null &
    TARGET=$!; soon grep -q 'c No such' t; rtx attach --syscalls openat $TARGET >attach.log 2>&1 </dev/null & ATTACH=$!
    soon grep -q 'a text' t; soon grep -q 'b text' t; soon grep -q 'c text' t; soon rt detach $TARGET; wait $ATTACH; kill -KILL $TARGET
}
calls() {
    local_sentry; there; mkdir -p srv/d native/d
    local memory; memory=$(mktemp -d /dev/shm/rsc-it.XXXXXX); AFTER="rm -rf $memory"
    timeout 30 "$W/calls" "$PWD/native" "$memory" >native.txt 2>&1; rm -rf "${memory:?}"/*
    mixed -- "$W/calls" /there "$memory" >remote.txt 2>&1; diff native.txt remote.txt >difference || fail "$(cat difference)"
}
python() {
    local_sentry; there; for i in 1 2 3; do echo "file $i" >srv/f$i; done; head -c 3000000 /dev/urandom >srv/big
    local sum; sum=$(md5sum <srv/big | cut -c1-32)
    eq "$(mixed -- python3 -c '
import hashlib, mmap, os, subprocess
md5 = lambda data: hashlib.md5(data).hexdigest()
print(sorted(os.listdir("/there")), os.stat("/there/f2").st_size, os.path.exists("/there/none"))
with open("/there/new", "w") as f: f.write("new\n")
os.rename("/there/new", "/there/newer")
print(md5(open("/there/big", "rb").read()) == md5(mmap.mmap(os.open("/there/big", os.O_RDONLY), 0, prot=mmap.PROT_READ)))
print(md5(open("/there/big", "rb").read()))
os.chdir("/there"); print(os.getcwd(), open("f3").read().strip())
os.chdir("/proc"); print(os.getcwd())
print(subprocess.run(["cat", "/there/f1"], capture_output=True).stdout)')" "['big', 'f1', 'f2', 'f3'] 7 False
True
$sum
/there file 3
/proc
b'file 1\\n'"
    eq "$(cat srv/newer)" new
}
shell() {
    local_sentry; there; for i in 1 2 3; do echo "file $i" >srv/f$i; done; seq 100000 >srv/big
    eq "$(cd here && rt remote --rules ../r.toml -- sh -c 'cat /there/f1 >x; cat x; echo w >/there/w; cp /there/big y; cmp y /there/big && echo same
        ls /there | wc -l; find /there -name "f?" | sort | tr "\n" " "; cat </there/f2; exec 5</there/f3; read a <&5; echo $a; exit 7' || echo $?)" \
       'file 1
same
5
/there/f1 /there/f2 /there/f3 file 2
file 3
7'
    eq "$(cat srv/w)" w; eq "$(ls here | tr '\n' ' ')" 'x y '
}
poll() {
    local_sentry; there; echo "file 1" >srv/f1; mkdir native; cp srv/f1 native
    python3 "$TOP/tests/remote/poll.py" "$PWD/native" >native.txt 2>&1; mixed -- python3 "$TOP/tests/remote/poll.py" /there >remote.txt 2>&1
    diff native.txt remote.txt >difference || fail "$(cat difference)"; has "$(cat remote.txt)" interrupted
}
go_static() { local_sentry; there; echo "file 1" >srv/f1; eq "$(mixed -- "$W/go" /there)" 'file 1
<nil>
<nil>'; eq "$(cat srv/from-go)" 'from go'; }
# networks: the sentry's network namespace (as $IN) reaches 10.9.8.2 in another one; this one does not.
networks() {
    ip netns add it-a-$$; ip netns add it-b-$$; AFTER="ip netns del it-a-$$; ip netns del it-b-$$"; trap 'eval "$AFTER"' EXIT
    ip -n it-a-$$ link add v type veth peer name v netns it-b-$$
    ip -n it-a-$$ addr add 10.9.8.1/24 dev v; ip -n it-b-$$ addr add 10.9.8.2/24 dev v
    local n; for n in a b; do ip -n it-$n-$$ link set v up; ip -n it-$n-$$ link set lo up; done
    IN="ip netns exec it-a-$$"; THERE="ip netns exec it-b-$$"
    printf '[[rule]]\naddress = "10.9.8.0/24"\naction = "remote"\n' >net.toml
}
sockets() {
    networks; echo 'from the far side' >index.html
    $THERE env TEST_MARK=$MARK python3 -m http.server 8080 --bind 10.9.8.2 >http.log 2>&1 & AFTER="kill $!; $AFTER"
    local_sentry --net host; soon $IN curl -s http://10.9.8.2:8080/
    [ "$(curl -s -m 1 --noproxy '*' http://10.9.8.2:8080/)" != 'from the far side' ] || fail "reached from here"
    eq "$(rt remote --rules net.toml -- curl -s -m 20 --noproxy '*' http://10.9.8.2:8080/)" 'from the far side'
    eq "$(rt remote --rules net.toml -- python3 -c '
import socket, urllib.request
print(socket.create_connection(("10.9.8.2", 8080), 20).getpeername())
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open("http://10.9.8.2:8080/", timeout=20).read())')" "('10.9.8.2', 8080)
b'from the far side\\n'"
    there; cat net.toml >>r.toml; echo "file 1" >srv/f1
    eq "$(NO_PROXY='*' mixed -- "$W/go" /there http://10.9.8.2:8080/ | tail -2)" 'from the far side
<nil>'
}
redis() {
    networks; $THERE env TEST_MARK=$MARK redis-server --port 7000 --bind 10.9.8.2 --save '' --protected-mode no >redis.log 2>&1 & AFTER="kill $!; $AFTER"
    local_sentry --net host; soon $IN redis-cli -h 10.9.8.2 -p 7000 ping
    eq "$(rt remote --rules net.toml -- redis-cli -h 10.9.8.2 -p 7000 set a b)" OK
    eq "$(rt remote --rules net.toml -- redis-cli -h 10.9.8.2 -p 7000 get a)" b
}
nginx() {
    local_sentry; there; echo "file 1" >srv/f1; head -c 3000000 /dev/urandom >srv/big; local p; p=$(port); mkdir n
    cat >n/conf <<C
daemon off; master_process off; pid $PWD/n/pid; error_log $PWD/n/log; events { worker_connections 64; }
http { access_log off; sendfile on; client_body_temp_path $PWD/n/b; proxy_temp_path $PWD/n/p; fastcgi_temp_path $PWD/n/f; uwsgi_temp_path $PWD/n/u; scgi_temp_path $PWD/n/s;
server { listen 127.0.0.1:$p; root /there; } }
C
    rtx remote --rules r.toml -- /usr/sbin/nginx -p "$PWD/n" -c "$PWD/n/conf" >n/out 2>&1 </dev/null &
    local own=$!; soon curl -s "http://127.0.0.1:$p/f1"
    eq "$(curl -s "http://127.0.0.1:$p/f1")" 'file 1'; eq "$(curl -s "http://127.0.0.1:$p/big" | md5sum)" "$(md5sum <srv/big)"
    eq "$(curl -s -o nothing -w '%{http_code}' "http://127.0.0.1:$p/none")" 404; kill -TERM $own; wait $own || true
}
ends() { # exit status, signals and children are as without us
    local_sentry; rc 3 remote --syscalls uname -- sh -c 'exit 3'; rc 143 remote --syscalls uname -- sh -c 'kill -TERM $$'
    rc 127 remote --syscalls uname -- ./not-there; rc 126 remote --syscalls uname -- /etc/passwd
    eq "$(remote --syscalls uname -- sh -c '(sleep .3; echo late) & echo early' | tr '\n' ' ')" 'early late '
    eq "$(remote --syscalls uname -- sh -c 'trap "echo got it" USR1; kill -USR1 $$; echo on' | tr '\n' ' ')" 'got it on '
}
server_gone() { # remote descriptors fail with EIO after the grace time, local ones go on
    local_sentry; there; seq 100000 >srv/f1
    rtx --loss-grace 1 remote --rules r.toml -- python3 -u -c '
import os, sys, time
there, here = os.open("/there/f1", os.O_RDONLY), os.open("/etc/passwd", os.O_RDONLY)
print(len(os.read(there, 10)))
while True:
    time.sleep(0.1)
    try: os.read(there, 1)
    except OSError as error: print(error.errno, len(os.read(here, 4))); break
try: os.open("/there/f1", os.O_RDONLY)
except OSError as error: print(error.errno)' >o 2>e </dev/null &
    local own=$!; soon grep -q 10 o; kill -KILL $SERVER; rc 0 wait $own; eq "$(tr '\n' ' ' <o)" '10 5 4 5 '; has "$(cat e)" lost
}
refusals() {
    says 125 'no sentry is named' remote --syscalls read -- true
    export RSC_SENTRY=unix://$PWD/none; says 125 "$PWD/none" remote --syscalls read -- touch x; [ ! -e x ]
    local_sentry; says 125 'nothing is to be carried out there' remote -- touch x; says 125 'opneat' remote --syscalls opneat -- touch x
    printf '[[rule]]\npath = "/a"\naction = "remot"\n' >bad.toml; says 125 'bad.toml, line 3, column 10' remote --rules bad.toml -- touch x
    says 125 none remote --export none --syscalls read -- touch x; [ ! -e x ]
    says 1 'no process' rt attach --syscalls openat 4194303; says 1 'no attach of yours' rt detach 1
    sleep 100 & local p=$!; strace -p $p -o /dev/null 2>strace.log & soon grep -q 'TracerPid:.[1-9]' /proc/$p/status
    says 1 'traces it already' rt attach --syscalls openat $p; alive $p; kill %strace 2>/dev/null || pkill -f "strace -p $p"; soon grep -q 'TracerPid:.0' /proc/$p/status
    kill $p; python3 - <<'P'
import os, struct
# mov eax,29 (pause); int 0x80; jmp back
code = b"\xb8\x1d\x00\x00\x00\xcd\x80\xeb\xf7"
head = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 40, 0, 0)
load = struct.pack("<IIIIIIII", 1, 0, 0x8048000, 0x8048000, 84 + len(code), 84 + len(code), 5, 0x1000)
open("narrow", "wb").write(head + load + code)
os.chmod("narrow", 0o755)
P
    ./narrow & p=$!; if sleep .2; alive $p; then says 1 32-bit rt attach --syscalls openat $p; alive $p; kill $p; else echo "SKIP 32-bit: this kernel does not run such programs"; fi
    # Somebody else's: as a user without rights.
    sleep 100 & p=$!; chmod 711 "$W" "$PWD"; chmod 777 s
    local got=0; setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_RUNTIME_DIR= "$RT" --sentry "unix://$PWD/s" attach --syscalls openat $p >o 2>e </dev/null || got=$?
    eq $got 1; eq "$(grep -c . e)" 1; alive $p; grep -q 'TracerPid:.0' /proc/$p/status; kill $p
}

step demo demo-at-server demo-tcp attach detach-is-refused attach-threads calls python shell poll go-static sockets redis nginx ends server-gone refusals
