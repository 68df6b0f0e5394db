#!/bin/bash
# The caller's standard input, output and error in all their kinds, signals to `run`, and terminals. RT=runc: the control.
. "$(dirname "$0")/../lib.sh"
trap finish EXIT

pipes() { job sh -c 'wc -c; echo e >&2'; eq "$(seq 20000 | rt run -b b c1 2>e)" "$(seq 20000 | wc -c)"; eq "$(cat e)" e; }
big_output() { job sh -c 'seq 200000'; rt run -b b c1 </dev/null >o; cmp o <(seq 200000) || fail "output differs"; }
files() { seq 5 >in; job sh -c 'read a; read b; echo $b; cat >&2'; rt run -b b c1 <in >o 2>e; eq "$(cat o)" 2; eq "$(cat e | tr '\n' ' ')" '3 4 5 '; }
file_position() { seq 5 >in; job sh -c 'read a'; { rt run -b b c1; read -r rest; echo "$rest"; } <in >o; eq "$(cat o)" 2; }
append() { echo first >o; job echo second; rt run -b b c1 >>o </dev/null; eq "$(tr '\n' ' ' <o)" 'first second '; }
dev_null() { job sh -c 'cat; echo $?'; rt run -b b c1 </dev/null >/dev/null 2>&1; }
closed() { job sh -c 'echo x'; rt run -b b c1 0<&- 2>/dev/null >o || true; has "$(cat o)" x; }
closed_output() { job sh -c 'echo x; true'; rc 0 rt run -b b c1 >&- 2>/dev/null; }
reader_gone() { job sh -c 'trap "" PIPE; i=0; while echo x 2>/dev/null; do i=$((i+1)); [ $i -lt 100000 ] || exit 9; done; exit 5'; set +o pipefail; (got=0; rt run -b b c1 || got=$?; echo $got >code) </dev/null 2>/dev/null | head -n 1 >/dev/null; eq "$(cat code)" 5; }
same_pipe() { job sh -c 'echo a; echo b >&2; echo c'; eq "$(rt run -b b c1 2>&1 </dev/null | tr '\n' ' ')" 'a b c '; }
late_input() { job sh -c 'read x; echo "got $x"'; eq "$( (sleep 1; echo late) | rt run -b b c1)" 'got late'; }
nonblocking() { job sh -c 'timeout 1 cat; echo $?'; eq "$(sleep 3 | rt run -b b c1)" 143; }
interactive() { # answers come while the program still runs
    mkfifo in out; job sh -c 'while read x; do echo "<$x>"; done'
    rtx run -b b c1 <in >out & exec 5>in 6<out
    local a i; for i in 1 2 3; do echo $i >&5; read -r -t 10 a <&6; eq "$a" "<$i>"; done
    exec 5>&-; wait $!; exec 6<&-
}
signal_term() { job sh -c 'trap "echo term; exit 9" TERM; echo up; while :; do sleep .1; done'; rtx run -b b c1 >o </dev/null & soon grep -q up o; kill -TERM $!; rc 9 wait $!; has "$(cat o)" term; }
signal_int() { job sh -c 'trap "exit 8" INT; echo up; while :; do sleep .1; done'; (trap - INT; TEST_MARK=$MARK exec python3 -c 'import os,signal,sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' "$RT" --root "$STATE" run -b b c1) >o </dev/null & soon grep -q up o; kill -INT $!; rc 8 wait $!; }
signal_usr1() { job sh -c 'trap "echo usr1" USR1; echo up; n=0; while [ $n -lt 20 ]; do sleep .1; n=$((n+1)); done'; rtx run -b b c1 >o </dev/null & soon grep -q up o; kill -USR1 $!; rc 0 wait $!; has "$(cat o)" usr1; }
interrupt_read() { job sh -c 'trap "echo int; exit 4" INT; echo up; read x; echo read'; mkfifo in; rtx run -b b c1 <in >o & exec 5>in; soon grep -q up o; sleep .3; kill -INT $!; rc 4 wait $!; exec 5>&-; has "$(cat o)" int; }
killed() { job sh -c 'echo up; sleep 1000'; rtx run -b b it-k1 >o </dev/null 2>&1 & soon grep -q up o; rt kill it-k1 KILL; rc 137 wait $!; }
terminal() { bundle b --root "$PWD/rootfs" --tty -- sh -c 'tty; stty size; [ -t 0 ] && echo yes'; script -qec "$(declare -f rt); rt run -b b c1" /dev/null >o </dev/null; has "$(cat o)" /dev/; has "$(cat o)" yes; }

only_rsc file-position reader-gone # runc copies standard input and output itself
step pipes big-output files append dev-null closed closed-output same-pipe late-input nonblocking interactive \
    signal-term signal-int signal-usr1 interrupt-read killed
