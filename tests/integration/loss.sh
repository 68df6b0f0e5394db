#!/bin/bash
# A connection that breaks: no line lost or written twice over ten cuts; a sentry that is gone for good: kill and freeze.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip loss "not with the control"; exit 0; }
trap finish EXIT
RELAY=${RT%/*}/cut-relay
[ -x "$RELAY" ] || { (cd "$TOP" && cargo build -q --release --locked -p rsc-tests --bin cut-relay) || exit 2; RELAY=$BIN/cut-relay; }

serve() { TEST_MARK=$MARK "$SENTRY" serve --unix "$PWD/s" >>sentry.log 2>&1 </dev/null & SERVER=$!; trap 'kill -KILL $SERVER 2>/dev/null || true' EXIT; soon [ -S s ]; }
same_status() { [ "$(status_of "$1")" = "$2" ]; }
lost() { [ "$(rt state "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin).get("annotations",{}).get("dev.rsc.session"))')" = lost ]; }
# relayed ARGS...: the relay cuts ten times at random moments while it runs.
nothing_lost() {
    serve
    "$RELAY" "$PWD/relay" "$PWD/s" --cuts 10 --between 100..900 --pause 10..300 >relay.log & local r=$!
    soon [ -S relay ]
    bundle b --root "$PWD/rootfs" -- sh -c 'i=1; while [ $i -le 20000 ]; do echo $i >>/root/lines; echo $i; i=$((i+1)); done'
    rc 0 rt --sentry "unix://$PWD/relay" --loss-grace 20 run -b b c1 </dev/null | cat >o
    seq 20000 >want; cmp want rootfs/root/lines || fail "the file differs: $(diff want rootfs/root/lines | head -3)"; cmp want o || fail "the output differs: $(diff want o | head -3)"
    wait $r; has "$(cat relay.log)" 'cuts 10'
}
gone_kill() {
    serve; bundle b --root "$PWD/rootfs" -- sh -c 'echo up; while :; do sleep .1; done'
    rtx --sentry "unix://$PWD/s" --loss-grace 1 --on-loss kill run -b b c1 >o 2>e </dev/null & local c=$!
    soon grep -q up o; kill -KILL $SERVER; rm -f s
    local got=0; wait $c || got=$?; [ $got != 0 ] || fail "ended with 0"
}
gone_freeze() {
    serve; bundle b --root "$PWD/rootfs" -- sh -c 'echo up; while :; do sleep .1; done'
    rt --sentry "unix://$PWD/s" --loss-grace 1 --on-loss freeze run -d -b b it-fr >o 2>e </dev/null
    soon grep -q up o; kill -KILL $SERVER; rm -f s
    soon lost it-fr; sleep 1; lost it-fr; has "$(status_of it-fr)" n
    rt kill it-fr KILL; soon same_status it-fr stopped; rt delete it-fr
}
gone_freeze_delete() {
    serve; bundle b --root "$PWD/rootfs" -- sleep 1000
    rt --sentry "unix://$PWD/s" --loss-grace 1 --on-loss freeze run -d -b b it-fd >o 2>e </dev/null
    kill -KILL $SERVER; rm -f s; soon lost it-fd; rt delete --force it-fd
}
sentry_restarted() { # a session that a new sentry does not know is lost at once, whatever the grace
    serve; bundle b --root "$PWD/rootfs" -- sh -c 'echo up; while :; do sleep .1; done'
    rtx --sentry "unix://$PWD/s" --loss-grace 100 run -b b c1 >o 2>e </dev/null & local c=$!
    soon grep -q up o; kill -KILL $SERVER; rm -f s; serve
    local got=0; wait $c || got=$?; [ $got != 0 ] || fail "ended with 0"
}
STEP_TIMEOUT=240 step nothing-lost
step gone-kill gone-freeze gone-freeze-delete sentry-restarted
