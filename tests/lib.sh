# Common part of the integration tests (sourced): where things are, named steps, checks, leaks.
#
# RT: the runtime, default rsc-runtime of the release build; another one (runc) is a control: steps about what only rsc has
# are left out. ONLY=REGEX picks steps. KEEP=1 keeps the working directory.
set -ua # -a: functions too are exported, for the steps, which run in a bash of their own
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(dirname "$HERE")
CACHE=${RSC_TEST_CACHE:-${TMPDIR:-/tmp}/rsc-tests}
BIN=${RSC_BIN:-${CARGO_TARGET_DIR:-$TOP/target}/release}
RT=${RT:-$BIN/rsc-runtime}
case $RT in */*) RT=$(realpath -s "$RT") ;; *) RT=$(command -v "$RT") || { echo "no runtime $RT" >&2; exit 2; } ;; esac
SENTRY=${RT%/*}/sentry
CONTROL=; [ "${RT##*/}" = rsc-runtime ] || CONTROL=1
unset RSC_SENTRY
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 2; }
[ -x "$RT" ] || { echo "no runtime at $RT: cargo build --release, or set RT" >&2; exit 2; }
[ -x "$CACHE/busybox/bin/busybox" ] || "$HERE/setup" base >&2 || exit 2

W=$(mktemp -d "${TMPDIR:-/tmp}/rsc-it.XXXXXX")
MARK=mark-${W##*.}
STATE=$W/state
PASS=0 FAIL=0
finish() {
    local code=$?
    marked | while read -r pid rest; do kill -KILL "$pid" 2>/dev/null; done
    [ -n "${KEEP:-}" ] && echo "kept: $W" || rm -rf --one-file-system "$W"
    [ $code = 0 ] || exit $code
    echo "$PASS passed, $FAIL failed"
    [ $FAIL = 0 ] || exit 1
    [ $PASS != 0 ] || { echo "no step was run${ONLY:+: none matches ONLY=$ONLY}" >&2; exit 1; }
}

# marked: processes that this test's containers have left running, `PID NAME`: the mark is in the environment of the runtime, of
# all that it starts, and of the workload.
marked() {
    local f p n
    for f in $(grep -lsa "TEST_MARK=$MARK" /proc/[0-9]*/environ); do
        p=${f%/environ} n=
        grep -q '^State:.[ZX]' "$p/status" 2>/dev/null && continue
        read -r n 2>/dev/null <"$p/comm" || continue
        echo "${p#/proc/} $n"
    done
}

# picture: what containers could leave behind.
picture() {
    {
        marked | sed 's/^/process /'
        awk '{ print "mount", $5 }' /proc/self/mountinfo
        find /sys/fs/cgroup -mindepth 2 -type d -path "*${MARK}*" 2>/dev/null | sed 's/^/cgroup /'
        find /sys/fs/cgroup -mindepth 2 -type d -path "*/it-*" ! -path "*mark-*" 2>/dev/null | sed 's/^/cgroup /'
        awk -v w="$W/" '$4 == "00010000" && (index($8, w) || $8 ~ "^@?/run/rsc") { print "socket", $8 }' /proc/net/unix
        find "$STATE" /run/rsc -mindepth 1 2>/dev/null | sed 's/^/state /'
    } | sort -u
}

# step NAME...: runs the function NAME (dashes as underscores) with a time limit, and looks for what it left behind.
step() {
    local n f rc began left i
    for n; do
        [[ $n =~ ${ONLY:-.} ]] || continue
        f=${n//-/_} rc=0 began=$SECONDS
        mkdir -p "$W/step" "$STATE" "$W/log"
        cp -al "$CACHE/busybox" "$W/step/rootfs" 2>/dev/null || cp -a "$CACHE/busybox" "$W/step/rootfs"
        picture >"$W/before"; : >"$W/why"
        (cd "$W/step" && timeout -k 5 "${STEP_TIMEOUT:-60}" bash -eu${TRACE:+x}c "$f") >"$W/log/$n" 2>&1 </dev/null || rc=$?
        left=
        for i in $(seq 50); do # what ends by itself within five seconds is no leak
            left=$(picture | comm -13 "$W/before" -)
            [ -n "$left" ] || break
            sleep .1
        done
        marked | while read -r pid _; do kill -KILL "$pid" 2>/dev/null; done
        rm -rf --one-file-system "$W/step" "$STATE"
        if [ $rc = 0 ] && [ -z "$left" ]; then
            echo "ok $n"; PASS=$((PASS + 1))
            [ -z "${SHOW:-}" ] || sed 's/^/     /' "$W/log/$n"
            continue
        fi
        FAIL=$((FAIL + 1))
        [ $rc = 0 ] || why=$(head -1 "$W/why" | cut -c6-)
        [ $rc = 0 ] && why="left behind: $(echo "$left" | head -5 | tr '\n' ';')" || why=${why:-"exit code $rc, $(tail -n 2 "$W/log/$n" | tr '\n' ' ')"}
        [ $((SECONDS - began)) -lt "${STEP_TIMEOUT:-60}" ] || why="no end after ${STEP_TIMEOUT:-60} s; $why"
        echo "FAIL $n: ${why:0:600}"
    done
}
skip() { echo "skip $1: $2"; }
only_rsc() { [ -n "$CONTROL" ] && { skip "$*" "not with the control"; return; }; step "$@"; }

fail() { echo "why: $*" >>"$W/why"; exit 1; } # a file: the step may have redirected its output
rc() { local want=$1 got=0; shift; "$@" || got=$?; [ $got = "$want" ] || fail "exit code $got, not $want, of: $*"; }
eq() { [ "$1" = "$2" ] || fail "got '$1', not '$2'"; }
has() { [[ $1 == *"$2"* ]] || fail "no '$2' in '$1'"; }
soon() { local i; for i in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep .1; done; fail "not true after 10 s: $*"; }
alive() { [ -e "/proc/$1" ] && ! grep -q '^State:.[ZX]' "/proc/$1/status"; }
gone() { ! alive "$1"; }

rt() { TEST_MARK=$MARK "$RT" --root "$STATE" "$@"; }
# The same as the last thing of a shell, so that `rtx … &` leaves the runtime's own pid in $!.
rtx() { TEST_MARK=$MARK exec "$RT" --root "$STATE" "$@"; }
bundle() { TEST_MARK=$MARK "$HERE/mkbundle" "$@"; }
# job ARGS...: a bundle that runs ARGS in ./b on the busybox root; run it: rt run --bundle b ID.
job() { bundle b --root "$PWD/rootfs" -- "$@"; }
status_of() { rt state "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["status"])'; }
