# Common part of the client scripts (sourced): namespaces, named steps, checks, clean-up.
set -ua # -a: functions too are exported, for the steps run in a bash of their own under timeout(1)
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${RSC_TEST_CACHE:-${TMPDIR:-/tmp}/rsc-tests}/clients
die() { echo "$*" >&2; exit 2; }

# enter [ARGS]: run the script again inside its own mount and PID namespace and wait. Inside: no hybrid cgroup2 mount, an empty
# /run, a bash that reaps as PID 1. When it ends, every process and mount of the run is gone; what is left to remove are files
# and cgroups. NETNS=1 (set by the caller) adds a network namespace.
enter() {
    [ "${KIT_INSIDE:-}" = 1 ] && { inside; return; }
    [ "$(id -u)" = 0 ] || die "needs root"
    [ -e "$ROOT/bb.tar" ] || die "run tests/setup clients first"
    RT=${1:-${RT:-runc}}; RT=$(command -v "$RT") || die "no runtime ${1:-$RT}"; RT=$(realpath -s "$RT")
    case ${SHIM:-} in */*) SHIM=$(realpath -s "$SHIM") ;; esac
    local fd rc=0 net=() p=0 f=0
    for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"; done
    W=$(mktemp -d "$ROOT/run.XXXXXX"); chmod 755 "$W"; mkdir "$W/log"; NS=kit-${W##*.}
    [ -z "${NETNS:-}" ] || net=(-n)
    export KIT_INSIDE=1 RT W NS
    unshare -m -p -f --mount-proc --kill-child --propagation private "${net[@]}" bash "$0" & local u=$!
    trap 'kill -KILL $u 2>/dev/null; sleep 1' INT TERM HUP # the namespace's PID 1 dies with it, and all the rest with that
    wait $u || rc=$?
    find /sys/fs/cgroup -depth -type d -path "*/$NS*" -exec rmdir {} \; 2>/dev/null
    read -r p f 2>/dev/null <"$W/count" || { f=1; echo "FAIL script: ended with $rc before the last step"; }
    if [ "$f" = 0 ] && [ -z "${KEEP:-}" ]; then rm -rf --one-file-system "$W"
    else find "$W" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf --one-file-system {} +; echo "logs: $W/log"; fi
    echo "$p passed, $f failed"
    [ "$f" = 0 ]; exit
}

inside() {
    cd "$W" || exit; mount -t tmpfs tmpfs /run # conmon writes an `oom` file where it is started
    # the empty tmpfs: crun makes folders there, which else would stay in the host's tmpfs below its cgroup2 mount
    umount /sys/fs/cgroup/unified 2>/dev/null && mount -t tmpfs tmpfs /sys/fs/cgroup/unified
    [ -z "${NETNS:-}" ] || ip link set lo up
    PASS=0 FAIL=0 D=$W/d; mkdir -p "$D" "$W/bin"; chmod 777 "$D"
    printf '#!/bin/sh\nexec %q "$@"\n' "$RT" >"$W/bin/runc"; chmod 755 "$W/bin/runc" # the clients' default name
    case ${OVER:-} in '') ;; tcp) over_tcp ;; *) die "OVER=tcp, or nothing" ;; esac
}

# OVER=tcp: the containers' kernel is a sentry on TCP, which serves the images' own roots: the host's configuration names it, for
# daemons hand on nothing but PATH and HOME. The /etc that it is in is this run's alone.
over_tcp() {
    SENTRY_AT=tcp://127.0.0.1:$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
    mkdir -p "$W/etc/new" "$W/etc/work"
    mount -t overlay -o "lowerdir=/etc,upperdir=$W/etc/new,workdir=$W/etc/work" overlay /etc || die "no overlay on /etc"
    mkdir -p /etc/rsc; head -c 24 /dev/urandom | base64 >/etc/rsc/token; sed 's/$/ nodes/' /etc/rsc/token >/etc/rsc/tokens
    printf 'sentry = "%s"\ntoken-file = "/etc/rsc/token"\n[annotations]\nallow = ["dev.rsc.rootfs", "dev.rsc.publish"]\n' "$SENTRY_AT" >/etc/rsc/config.toml
    chmod 755 /etc/rsc; chmod 644 /etc/rsc/config.toml; chmod "${TOKEN_MODE:-600}" /etc/rsc/token; chmod 600 /etc/rsc/tokens
    mkdir -p "$W"/tree/{bin,proc,dev,sys,tmp,etc}; cp "$ROOT/busybox" "$W/tree/bin/sh"; echo there >"$W/tree/where" # for dev.rsc.rootfs
    start sentry "(exec 3<>/dev/tcp/127.0.0.1/${SENTRY_AT##*:})" "${RT%/*}/sentry" serve --tcp "${SENTRY_AT#tcp://}" --token-file /etc/rsc/tokens --export "tree=$W/tree"
}
served_over_tcp() { grep -a 'calls of a session' "$W/log/sentry.log"; }
no_session_left() { soon sessions_gone; }
sessions_gone() { eq "$("${RT%/*}/sentry" ps --format json --token-file /etc/rsc/token "$SENTRY_AT")" '[]'; }
last_steps() { step "$@"; [ -z "${OVER:-}" ] || step served-over-tcp no-session-left; }

# step NAME...: run the function NAME (dashes as underscores) of each; ONLY=REGEX picks some; PREFIX goes before the names shown.
step() {
    local n f rc t
    for n; do
        [[ $n =~ ${ONLY:-.} ]] || continue
        f=${n//-/_} rc=0 n=${PREFIX:-}$n t=$SECONDS
        timeout -k 5 "${STEP_TIMEOUT:-60}" bash -euc "$f" >"$W/log/$n.log" 2>&1 </dev/null || rc=$?
        if [ $rc = 0 ]; then echo "ok $n"; PASS=$((PASS + 1)); continue; fi
        FAIL=$((FAIL + 1))
        why=$(grep -a '^why: ' "$W/log/$n.log" | head -1 | cut -c6-); why=${why:-exit code $rc, $(tail -n 1 "$W/log/$n.log")}
        [ $((SECONDS - t)) -lt "${STEP_TIMEOUT:-60}" ] || why="no end after ${STEP_TIMEOUT:-60} s"
        echo "FAIL $n: ${why:0:400}"
    done
    echo "$PASS $FAIL" >"$W/count"
}
skip() { echo "skip $1: $2"; }

fail() { echo "why: $*" >&2; exit 1; }
rc() { local want=$1 got=0; shift; "$@" || got=$?; [ $got = "$want" ] || fail "exit code $got, not $want, of: $*"; }
eq() { [ "$1" = "$2" ] || fail "got '$1', not '$2'"; }
has() { [[ $1 == *"$2"* ]] || fail "no '$2' in '$1'"; }
refused() { if "$@"; then fail "not refused: $*"; fi; }
soon() { local i; for i in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep .1; done; fail "not true after 10 s: $*"; }
same() { [ "$(eval "$2")" = "$1" ]; } # soon same RUNNING 'command'
tty() { local i=$1; shift; rc "$i" script -qec "$*" /dev/null; } # tty RC COMMAND: with a pseudo-terminal

all_caps() { [ "$(awk '/^CapBnd/ {print $2}' /proc/self/status)" = "$(printf '%016x' $(((1 << ($(cat /proc/sys/kernel/cap_last_cap) + 1)) - 1)))" ]; }

# The program of the long-running container: counts into /d/n, exits 9 on TERM, notes USR1.
LOOP='trap "exit 9" TERM; trap "echo usr1 > /d/usr1" USR1; n=0; while :; do n=$((n+1)); echo $n > /d/n; sleep .1; done'
lines() { (printf '%s\n' "$1"; sleep 2); } # standard input that ends late: ctr loses an end that comes before the task is made
num() { local i v; for i in $(seq 50); do v=$(cat "$D/n" 2>/dev/null); [ -n "$v" ] && break; sleep .05; done; echo "${v:-0}"; } # empty while written
counts() { local a; a=$(num); soon eval "[ \$(num) -gt $a ]"; }
stands() { local a; sleep .5; a=$(cat "$D/n"); sleep .7; eq "$(cat "$D/n")" "$a"; }

# start NAME PROBE COMMAND...: a daemon in a clean environment, until PROBE works.
start() {
    local n=$1 probe=$2 i; shift 2
    (cd / && exec env -i PATH="$PATH" HOME="${HOME:-/root}" "$@") >>"$W/log/$n.log" 2>&1 </dev/null &
    echo $! >"$W/$n.pid"
    for i in $(seq 300); do eval "$probe" >/dev/null 2>&1 && return; kill -0 $! 2>/dev/null || break; sleep .1; done
    echo "FAIL $n: did not start: $(tail -n 1 "$W/log/$n.log")"; FAIL=$((FAIL + 1)); echo "$PASS $FAIL" >"$W/count"; exit 1
}
stop() { local p i; p=$(cat "$W/$1.pid"); kill "$p" 2>/dev/null; for i in $(seq 100); do kill -0 "$p" 2>/dev/null || return 0; sleep .1; done; kill -9 "$p"; }

# Nothing may stay behind: cgroups of the run, shims, entries of the runtime's root folder.
cgroups_left() { find /sys/fs/cgroup -path /sys/fs/cgroup/unified -prune -o -type d -path "*/$NS/*" ! -name conmon -print; }
no_cgroups() { local i; for i in $(seq 100); do [ -z "$(cgroups_left)" ] && return; sleep .1; done; fail "cgroups left:" $(cgroups_left); }

# SHIM=path or runtime type -> SHIM_TYPE (empty: containerd-shim-runc-v2) and SHIM_DIR (for PATH).
use_shim() {
    SHIM_TYPE= SHIM_DIR=; local b
    case ${SHIM:-} in
    '') ;;
    */*) b=${SHIM##*/}
        if [[ $b =~ ^containerd-shim-(.+)-(v[0-9]+)$ ]]; then SHIM_TYPE=io.containerd.${BASH_REMATCH[1]}.${BASH_REMATCH[2]} SHIM_DIR=${SHIM%/*}:
        else SHIM_TYPE=$SHIM; fi ;;
    *) SHIM_TYPE=$SHIM ;;
    esac
}
