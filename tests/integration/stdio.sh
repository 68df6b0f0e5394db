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
preserve_fds() {
    echo one >f; seq 5 >g
    job sh -c 'cat <&3; read a <&4; echo "$a"; echo out >&5; [ -e /proc/self/fd/5 ] && [ ! -e /proc/self/fd/6 ] && echo these'
    exec 6</dev/null; rt run --preserve-fds 3 -b b c1 3<f 4<g 5>o </dev/null >e; eq "$(tr '\n' ' ' <e)" 'one 1 these '; eq "$(cat o)" out
}
preserve_position() { seq 5 >g; job sh -c 'tail -c 4 <&3; dd bs=2 skip=1 count=1 <&4 2>/dev/null; read a <&4; echo "$a"'; { rt run --preserve-fds 2 -b b c1 3<g; read -r rest <&4; echo "$rest"; } </dev/null 4<g >o; eq "$(tr '\n' ' ' <o)" '4 5 2 3 4 '; }
preserve_pipe() {
    mkfifo p; job sh -c 'cat <&3'; rtx run --preserve-fds 1 -b b c1 3<p >o </dev/null & exec 5>p; local i; for i in 1 2 3; do echo $i >&5; soon grep -q $i o; done; exec 5>&-; rc 0 wait $!
    job sh -c 'seq 50000 >&3'; rt run --preserve-fds 1 -b b c2 3> >(sleep .5; wc -l >o) </dev/null; soon grep -q 50000 o
}
preserve_socket() {
    job sh -c 'read x <&3; echo "got $x" >&3; cat <&3'
    python3 -c '
import os, socket, subprocess, sys
os.open("/dev/null", os.O_RDONLY); ours, theirs = socket.socketpair() # 3 is taken, so neither is that
os.dup2(theirs.fileno(), 3, inheritable=True); theirs.close()
p = subprocess.Popen(sys.argv[1:], pass_fds=[3], stdin=subprocess.DEVNULL); os.close(3)
ours.sendall(b"hi\n"); print(ours.recv(100).decode(), end="", flush=True)
ours.sendall(b"rest\n"); ours.shutdown(socket.SHUT_WR); sys.exit(p.wait())' "$RT" --root "$STATE" run --preserve-fds 1 -b b c1 >o
    eq "$(sort o | tr '\n' ' ')" 'got hi rest '
}
preserve_exec() { echo one >f; job sleep 1000; rt run -d -b b it-pr >/dev/null 2>&1 </dev/null; eq "$(rt exec --preserve-fds 1 it-pr sh -c 'cat <&3; [ -e /proc/self/fd/4 ] || echo alone' 3<f 4<f </dev/null | tr '\n' ' ')" 'one alone '; rt delete -f it-pr; }
preserve_missing() { echo one >f; job true; ! rt run --preserve-fds 2 -b b c1 3<f 4<&- </dev/null 2>e || fail 'runs'; has "$(cat e)" 'descriptor 4'; eq "$(ls "$STATE")" ''; }
preserve_refused() {
    job true; ! rt run --preserve-fds 1 -b b c1 3<. </dev/null 2>e || fail 'runs'; has "$(cat e)" 'descriptor 3'; has "$(cat e)" 'is a directory'
    ! python3 -c 'import os,socket,sys; os.open("/dev/null",0); s=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(); os.dup2(s.fileno(),3); os.execv(sys.argv[1], sys.argv[1:])' "$RT" --root "$STATE" run --preserve-fds 1 -b b c1 </dev/null 2>e || fail 'runs'; has "$(cat e)" 'a socket that listens'; eq "$(ls "$STATE")" ''
}
listen_fds() {
    echo one >f; echo two >g; job sh -c 'echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4'
    eq "$(sh -c 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$RT" --root "$STATE" run --preserve-fds 1 -b b c1' 3<f 4<g </dev/null | tr '\n' ' ')" '1 1 one two '
    job sh -c 'echo "-$LISTEN_FDS$LISTEN_PID-"'; eq "$(LISTEN_FDS=1 LISTEN_PID=1 rt run -b b c2 3<f </dev/null)" --
}

only_rsc preserve-missing preserve-refused
step preserve-fds preserve-position preserve-pipe preserve-socket preserve-exec listen-fds
only_rsc file-position reader-gone # runc copies standard input and output itself
step pipes big-output files append dev-null closed closed-output same-pipe late-input nonblocking interactive \
    signal-term signal-int signal-usr1 interrupt-read killed
