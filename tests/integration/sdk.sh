#!/bin/bash
# The SDK: librsc.so and rsc.h, the crate rsc-sdk, and marked regions in C and Rust.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip sdk "not with the control"; exit 0; }
trap finish EXIT
LIB=$BIN/librsc.so
[ -e "$LIB" ] || { echo "no library at $LIB: cargo build -p rsc-sdk-c" >&2; exit 2; }
unset RSC_RULES RSC_SYSCALLS RSC_EXPORT RSC_CWD RSC_BROKER RSC_TOKEN_FILE LD_PRELOAD
for program in demo region; do
    gcc -Wall -Werror -O1 -pthread -I "$TOP/runtime/sdk/c" -o "$W/$program" "$TOP/runtime/sdk/examples/$program.c" -L "$BIN" -lrsc "-Wl,-rpath,$BIN" || exit 2
done
gcc -Wall -Werror -O1 -I "$TOP/runtime/sdk/c" -o "$W/calls" "$TOP/tests/sdk/calls.c" -L "$BIN" -lrsc "-Wl,-rpath,$BIN" || exit 2
(cd "$TOP" && cargo build -q --locked -p rsc-sdk --examples $([ "${BIN##*/}" = release ] && echo --release)) || exit 2
EXAMPLES=$BIN/examples

# serve ARGS...: a sentry with the tree ./srv, and a broker for it. Both end with the step.
serve() {
    mkdir -p srv/tmp
    TEST_MARK=$MARK "$SENTRY" serve --export "work=$PWD/srv" "$@" >sentry.log 2>&1 </dev/null &
    SERVER=$!
    export RSC_BROKER=$PWD/b.sock
    rtx ${GRACE:+--loss-grace $GRACE} broker >broker.log 2>&1 </dev/null &
    BROKER=$!
    trap 'kill -TERM $SERVER $BROKER 2>/dev/null; wait $SERVER $BROKER || true' EXIT
    soon [ -S b.sock ]
}
local_sentry() { serve --unix "$PWD/s" "$@"; soon [ -S s ]; export RSC_SENTRY=unix://$PWD/s; }
run() { TEST_MARK=$MARK timeout 30 "$@"; }
port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

shows_demo() {
    echo 'read by the client' >srv/cs_r.txt
    eq "$(run "$@")" 'read by the client'
    eq "$(cat srv/ce_w.txt)" 'written by the client'; rm srv/ce_w.txt
    [ ! -e /cs_r.txt ] && [ ! -e /ce_w.txt ] || fail "files here"
}
demo() { local_sentry; shows_demo "$W/demo"; shows_demo "$EXAMPLES/demo"; }
demo_tcp() {
    local p program; p=$(port); echo 'a-token-long-enough-to-be-one tester' >tokens; echo a-token-long-enough-to-be-one >token; chmod 600 token tokens
    serve --tcp "127.0.0.1:$p" --token-file tokens; soon listens "$p"; export RSC_SENTRY=tcp://127.0.0.1:$p RSC_TOKEN_FILE=token
    shows_demo "$W/demo"; shows_demo "$EXAMPLES/demo"
    echo wrong-token-of-some-length >wrong; export RSC_TOKEN_FILE=wrong
    for program in "$W/demo" "$EXAMPLES/demo"; do rc 1 run "$program" >o 2>e; eq "$(cat o)" ''; eq "$(grep -c . e)" 1; has "$(cat e)" token; done
}
net() { local_sentry; eq "$(run "$EXAMPLES/net" | tr '\n' ' ')" '127.0.0.1 through the server 3 true b '; }
calls() { local_sentry; echo file >srv/f; run "$W/calls" >o 2>&1 || fail "$(cat o)"; eq "$(tail -n 1 o)" ok; }
region() {
    local_sentry; echo 'the server has it' >srv/it; export RSC_SYSCALLS=openat,read,write,close
    printf '%s\n' 'before: not there' 'within: the server has it' 'nested: not there' 'within again: the server has it' 'after: not there' 'kept: 1 t' >want
    run "$W/region" /it >o 2>e || fail "$(cat e)"
    head -n 6 o | diff want - >difference || fail "$(cat difference)"
    has "$(tail -n 1 o)" 'end without begin: -1, this thread is in no region'
    eq "$(ls srv/tmp | tr '\n' ' ')" 'rsc-region-1 rsc-region-3 rsc-region-5 '; eq "$(ls /tmp/rsc-region-? | tr '\n' ' ')" '/tmp/rsc-region-0 /tmp/rsc-region-2 /tmp/rsc-region-4 '
    rm /tmp/rsc-region-?
}
# Rules of a file count in regions too, and nowhere else.
region_rules() {
    local_sentry; echo 'mapped' >srv/m; printf '[[rule]]\npath = "/there/**"\naction = "remote"\nmap = "/"\n' >r.toml; export RSC_RULES=r.toml
    run "$W/region" /there/m >o 2>e || fail "$(cat e)"; rm -f /tmp/rsc-region-?
    eq "$(sed -n '1,5p' o | tr '\n' ' ')" 'before: not there within: mapped nested: mapped within again: mapped after: not there '
}
region_rust() {
    local_sentry; echo 'the server has it' >srv/cs_r.txt
    rc 1 run "$EXAMPLES/region" >o 2>e; has "$(cat e)" LD_PRELOAD=librsc.so
    local lib; for lib in librsc librsc_preload; do
        eq "$(RSC_PRELOAD_IDLE=1 LD_PRELOAD=$BIN/$lib.so run "$EXAMPLES/region" | cut -d'(' -f1 | tr '\n' '|')" 'before: No such file or directory |within: the server has it|another thread: No such file or directory |after: No such file or directory |'
    done
}
# A process that is taken over by another session meanwhile: both have their own calls.
region_attach() {
    local_sentry; mkdir srv/a; echo attached >srv/a/f; echo 'of the region' >srv/r
    printf '[[rule]]\npath = "/attached/**"\naction = "remote"\nmap = "/a"\n' >attach.toml
    export RSC_SYSCALLS=openat
    TEST_MARK=$MARK timeout 40 "$W/calls" attach >o 2>e & local job=$! pid
    soon grep -q ready o; pid=$(sed -n 's/ready //p' o)
    rtx attach --rules attach.toml "$pid" >attach.log 2>&1 </dev/null & local attach=$!
    wait $job || fail "$(cat o e attach.log)"; kill -INT $attach 2>/dev/null || true; wait $attach || true
    eq "$(sed 1d o | tr '\n' ' ')" 'attached of the region attached not there '
}
errors() {
    export RSC_BROKER=$PWD/b.sock; local program
    for program in "$W/demo" "$EXAMPLES/demo"; do
        rc 1 run "$program" 2>e; has "$(cat e)" RSC_SENTRY; eq "$(grep -c . e)" 1
    done
    export RSC_SENTRY=unix://$PWD/nothing RSC_RUNTIME=/nothing
    rc 1 run "$W/demo" 2>e; has "$(cat e)" "no broker answers at $PWD/b.sock"
    unset RSC_RUNTIME; rtx broker >broker.log 2>&1 </dev/null & BROKER=$!; trap 'kill $BROKER; wait $BROKER || true' EXIT; soon [ -S b.sock ]
    rc 1 run "$W/demo" 2>e; has "$(cat e)" "$PWD/nothing"; eq "$(grep -c . e)" 1
    rc 1 run "$W/region" 2>e; has "$(cat e)" 'nothing would be carried out there'
    RSC_SYSCALLS=opnat rc 1 run "$W/region" 2>e; has "$(cat e)" 'did you mean openat?'
}
on_demand() {
    mkdir srv; TEST_MARK=$MARK "$SENTRY" serve --export "work=$PWD/srv" --unix "$PWD/s" >sentry.log 2>&1 </dev/null & SERVER=$!
    trap 'kill -TERM $SERVER $(marked | sed -n "s/ rsc-runtime//p") 2>/dev/null; wait $SERVER || true' EXIT
    soon [ -S s ]; export RSC_SENTRY=unix://$PWD/s RSC_BROKER=$PWD/x/b.sock RSC_RUNTIME=$RT
    shows_demo "$W/demo"; shows_demo "$EXAMPLES/demo"; eq "$(marked | grep -c rsc-runtime)" 1
}

step demo demo-tcp net calls region region-rules region-rust region-attach errors on-demand
