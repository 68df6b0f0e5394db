#!/bin/bash
# Many sandboxes: COUNT (200) one after another and AT_ONCE (50) at the same time against one sentry; nothing may be left, and the
# sentry's descriptors and memory return to what they were.
. "$(dirname "$0")/../lib.sh"
[ -z "$CONTROL" ] || { skip many "not with the control"; exit 0; }
trap finish EXIT
COUNT=${COUNT:-200} AT_ONCE=${AT_ONCE:-50}
serve() { TEST_MARK=$MARK "$SENTRY" serve --unix "$PWD/s" >sentry.log 2>&1 </dev/null & SERVER=$!; trap 'kill -TERM $SERVER 2>/dev/null && wait $SERVER || true' EXIT; soon [ -S s ]; }
fds() { ls "/proc/$SERVER/fd" | wc -l; }
pss() { awk '/^Pss:/ { print $2 }' "/proc/$SERVER/smaps_rollup"; }
settled() { [ "$(fds)" -le "$1" ]; }
one_after_another() {
    serve; bundle b --root "$PWD/rootfs" -- sh -c 'echo x >/tmp/f; cat /tmp/f | wc -l'
    local i warm half first last
    for i in $(seq "$COUNT"); do
        eq "$(rt --sentry "unix://$PWD/s" run -b b "it-$i" </dev/null)" 1
        [ "$i" = 20 ] && warm=$(fds)
        [ "$i" = $((COUNT / 2)) ] && first=$(pss)
    done
    last=$(pss)
    soon settled "$warm"
    echo "descriptors $warm then $(fds); memory $first KiB then $last KiB"
    [ "$last" -le $((first * 11 / 10)) ] || fail "memory grew from $first to $last KiB"
}
at_once() {
    serve; bundle b --root "$PWD/rootfs" -- sh -c 'sleep 2; echo done'
    local before i pids=(); rt --sentry "unix://$PWD/s" run -b b it-0 >/dev/null </dev/null; before=$(fds)
    for i in $(seq "$AT_ONCE"); do rtx --sentry "unix://$PWD/s" run -b b "it-$i" >"o$i" 2>"e$i" </dev/null & pids+=($!); done
    for i in "${!pids[@]}"; do wait "${pids[$i]}" || fail "sandbox $((i + 1)): exit code $?: $(cat "e$((i + 1))")"; done
    eq "$(cat o* | grep -c done)" "$AT_ONCE"
    soon settled "$before"
}
embedded() { bundle b --root "$PWD/rootfs" -- true; local i; for i in $(seq 10); do rc 0 rt run -b b "it-$i" </dev/null; done; }
STEP_TIMEOUT=600 step one-after-another at-once embedded
