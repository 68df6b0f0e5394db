#!/bin/bash
# A sentry over unix, TCP with a token, TCP with mutual TLS: the same bundle, only the URL differs; and what is refused.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip remote "not with the control"; exit 0; }
trap finish EXIT

# serve ARGS...: starts a sentry for the step; its log is sentry.log. It ends with the step.
serve() {
    TEST_MARK=$MARK "$SENTRY" serve "$@" >sentry.log 2>&1 </dev/null &
    SERVER=$!
    trap 'kill -TERM $SERVER 2>/dev/null && wait $SERVER || true' EXIT
}
port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
work() { bundle b --root "$PWD/rootfs" -- sh -c 'echo "$(hostname) $(id -u)"; echo kept >/root/f; cat /root/f; seq 3 | wc -l; exit 3'; }
check() { local got=0; rt "$@" run -b b c1 >o 2>e </dev/null || got=$?; [ $got = 3 ] || fail "exit code $got, not 3, with $*: $(cat e)"; eq "$(tr '\n' ' ' <o)" 'conformance 0 kept 3 '; eq "$(cat rootfs/root/f)" kept; }
refused() {
    local got=0; rm -f log; rt --log log --log-format json "$@" run -b b c1 >o 2>e </dev/null || got=$?
    [ $got = 1 ] || fail "exit code $got, not 1, with $*"; eq "$(grep -c . e)" 1; eq "$(cat o)" ''
    tail -n 1 log | python3 -c 'import json,sys; m=json.load(sys.stdin); assert m["level"]=="error" and m["msg"] and m["time"]' || fail "log with $*: $(cat log)"
    eq "$(ls "$STATE")" ''
}
certs() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca -addext basicConstraints=critical,CA:TRUE
    local n; for n in server client; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $n.key -out $n.csr -subj /CN=$n
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' >$n.ext
        openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $n.ext -out $n.pem
    done
} 2>/dev/null

over_unix() { work; serve --unix "$PWD/s"; soon [ -S s ]; check --sentry "unix://$PWD/s"; }
over_tcp_token() {
    work; local p; p=$(port); echo 'a-token-long-enough-to-be-one tester' >tokens; echo a-token-long-enough-to-be-one >token; chmod 600 token tokens
    serve --tcp 127.0.0.1:$p --token-file tokens; soon listens $p
    check --sentry tcp://127.0.0.1:$p --token-file token
    echo another-token-that-is-wrong >wrong; refused --sentry tcp://127.0.0.1:$p --token-file wrong; refused --sentry tcp://127.0.0.1:$p
    check --sentry tcp://127.0.0.1:$p --token-file token
}
over_tcp_tls() {
    work; certs; local p; p=$(port)
    serve --tcp 127.0.0.1:$p --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem; soon listens $p
    check --sentry tcp://localhost:$p --tls-ca ca.pem --tls-cert client.pem --tls-key client.key
    refused --sentry tcp://localhost:$p --tls-ca ca.pem
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout x.key -out x.pem -days 2 -subj /CN=client 2>/dev/null
    refused --sentry tcp://localhost:$p --tls-ca ca.pem --tls-cert x.pem --tls-key x.key
    refused --sentry tcp://localhost:$p --tls-ca x.pem --tls-cert client.pem --tls-key client.key
    check --sentry tcp://localhost:$p --tls-ca ca.pem --tls-cert client.pem --tls-key client.key
}
environment() { work; serve --unix "$PWD/s"; soon [ -S s ]; export RSC_SENTRY=unix://$PWD/s; check; }
needs_protection() { local got=0; timeout 5 "$SENTRY" serve --tcp 127.0.0.1:0 >o 2>e || got=$?; [ $got != 0 ] && [ $got != 124 ] || fail "serves TCP without protection ($got)"; eq "$(grep -c . e)" 1; }
insecure() { work; local p; p=$(port); serve --tcp 127.0.0.1:$p --insecure; soon listens $p; check --sentry tcp://127.0.0.1:$p; }
two_listeners() { work; local p; p=$(port); serve --unix "$PWD/s" --tcp 127.0.0.1:$p --insecure; soon [ -S s ]; soon listens $p; check --sentry "unix://$PWD/s"; check --sentry tcp://127.0.0.1:$p; }
several_at_once() { work; serve --unix "$PWD/s"; soon [ -S s ]; local i pids=(); for i in 1 2 3 4; do bundle b$i --root "$PWD/rootfs" -- sh -c "sleep .5; echo $i"; rtx --sentry "unix://$PWD/s" run -b b$i c$i >o$i </dev/null & pids+=($!); done; wait "${pids[@]}"; eq "$(cat o1 o2 o3 o4 | tr '\n' ' ')" '1 2 3 4 '; }
export_root() {
    mkdir tree; cp -a rootfs tree/root; echo here >tree/root/where; serve --unix "$PWD/s" --export "tree=$PWD/tree/root"; soon [ -S s ]
    bundle b --root nothing --annotation dev.rsc.rootfs=sentry:tree -- sh -c 'cat /where; echo w >/written'
    eq "$(rt --sentry "unix://$PWD/s" --allow-annotations run -b b c1 </dev/null)" here; eq "$(cat tree/root/written)" w; [ ! -e b/nothing ]
    refused --sentry "unix://$PWD/s"
    bundle b --root nothing --annotation dev.rsc.rootfs=sentry:other -- true; refused --sentry "unix://$PWD/s" --allow-annotations
}
export_read_only() { cp -a rootfs tree; serve --unix "$PWD/s" --export "t=$PWD/tree:ro"; soon [ -S s ]; bundle b --root nothing --annotation dev.rsc.rootfs=sentry:t -- sh -c 'echo x >/f || echo refused'; has "$(rt --sentry "unix://$PWD/s" --allow-annotations run -b b c1 2>&1 </dev/null)" refused; }
drains() { work; serve --unix "$PWD/s"; soon [ -S s ]; bundle b --root "$PWD/rootfs" -- sh -c 'echo up; sleep 1; echo end'; rtx --sentry "unix://$PWD/s" run -b b c1 >o </dev/null & soon grep -q up o; kill -TERM $SERVER; rc 0 wait $!; has "$(cat o)" end; soon gone $SERVER; [ ! -S s ] || true; }
ps_lists() { serve --unix "$PWD/s"; soon [ -S s ]; bundle b --root "$PWD/rootfs" -- sleep 1000; rt --sentry "unix://$PWD/s" run -d -b b it-ps >/dev/null 2>&1 </dev/null; has "$("$SENTRY" ps --sentry "unix://$PWD/s" 2>&1 || "$SENTRY" ps "unix://$PWD/s")" it-ps; rt delete -f it-ps; }
# in_netns ID ARGS...: runs ARGS in the container's network namespace on the compute host, as port-forward and probes do.
in_netns() { local pid; pid=$(rt state "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'); shift; nsenter -t "$pid" -n "$@"; }
# ask PORT: says what standard input says to it, its own half closed at the end of that, and prints the answer.
ask() { in_netns it-pub python3 -c '
import socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5); s.settimeout(20)
data = sys.stdin.buffer.read()
def say(): s.sendall(data); s.shutdown(socket.SHUT_WR)
t = threading.Thread(target=say); t.start()
while got := s.recv(65536): sys.stdout.buffer.write(got)
t.join()' "$1"; }
answers() { in_netns it-pub python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)' "$1" 2>/dev/null; }
refuses() { ! answers "$1"; }
publish() {
    local p; p=$(port); serve --tcp 127.0.0.1:$p --insecure; soon listens $p
    bundle b --root "$PWD/rootfs" --annotation dev.rsc.publish=8080:80/tcp,8081 -- sh -c 'mkdir /www; echo hello >/www/index.html
        until [ -e /go ]; do sleep .1; done; httpd -p 80 -h /www; nc -ll -p 8081 -e sort & until [ -e /stop ]; do sleep .1; done; killall httpd; sleep 1000'
    rt --sentry tcp://127.0.0.1:$p run -d -b b it-pub >/dev/null 2>&1 </dev/null
    refuses 8080; refuses 8081; touch rootfs/go # nobody listens inside yet, and so a probe learns
    soon answers 8080; soon answers 8081
    has "$(printf 'GET /index.html HTTP/1.0\r\n\r\n' | ask 8080)" hello
    eq "$(printf 'b\nc\na\n' | ask 8081 | tr '\n' ' ')" 'a b c ' # an answer after the end of the question: each half closes by itself
    seq 100000 299999 >many; shuf many | ask 8081 >got; cmp many got
    local pids=() i; for i in 1 2 3 4 5 6 7 8; do seq 5 | ask 8081 >o$i & pids+=($!); done; wait "${pids[@]}"; for i in 1 2 3 4 5 6 7 8; do eq "$(wc -l <o$i)" 5; done
    in_netns it-pub python3 -c 'import socket,time; s=socket.create_connection(("127.0.0.1", 8080)); s.sendall(b"GET /"); time.sleep(30)' & # one that says nothing more stalls nobody
    has "$(printf 'GET / HTTP/1.0\r\n\r\n' | ask 8080)" hello; kill $!
    touch rootfs/stop; soon refuses 8080; has "$(printf 'x\n' | ask 8081)" x
    rt delete -f it-pub
}
# The connection between the hosts breaks while bytes are on their way: none is lost or doubled.
publish_cut() {
    local p; serve --unix "$PWD/s"; soon [ -S s ]
    "${RT%/*}/cut-relay" "$PWD/r" "$PWD/s" --cuts 15 --between 50..250 --pause 5..50 >relayed & local relay=$! i
    soon [ -S r ]
    bundle b --root "$PWD/rootfs" --annotation dev.rsc.publish=8081 -- nc -ll -p 8081 -e cat
    rt --sentry "unix://$PWD/r" run -d -b b it-pub >/dev/null 2>&1 </dev/null
    soon answers 8081
    head -c 20000000 /dev/urandom >data
    for i in 1 2 3; do ask 8081 <data >got; cmp data got; done
    rt delete -f it-pub; wait $relay; has "$(cat relayed)" 'cuts 15'
}
# With a private sentry the sandbox's network is the namespace: a port that keeps its number needs nothing, another one a relay.
publish_local() {
    bundle b --root "$PWD/rootfs" --annotation dev.rsc.publish=8081,9000:8081 -- nc -ll -p 8081 -e sort
    rt run -d -b b it-pub >/dev/null 2>&1 </dev/null
    soon answers 9000; local i
    for i in 8081 9000; do eq "$(printf 'b\na\n' | ask $i | tr '\n' ' ')" 'a b '; done
    rt delete -f it-pub
}

step over-unix over-tcp-token over-tcp-tls environment needs-protection insecure two-listeners several-at-once export-root export-read-only drains ps-lists publish publish-cut publish-local
