#!/bin/bash
# A Debian root: what real programs print under the runtime, with the root in the bundle and as an export of a sentry, must be
# what they print under runc.
. "$(dirname "$0")/../lib.sh"
trap finish EXIT
"$HERE/setup" debian || exit 2
root=$CACHE/debian
mkdir -p "$root/opt/t"
cat >"$W/threads.c" <<'C'
#include <pthread.h>
#include <stdio.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static long n;
static void *add(void *v) { for (int i = 0; i < 10000; i++) { pthread_mutex_lock(&m); n += (long)v; pthread_mutex_unlock(&m); } return 0; }
int main(void) { pthread_t t[8]; for (long i = 0; i < 8; i++) pthread_create(t + i, 0, add, (void *)i); for (int i = 0; i < 8; i++) pthread_join(t[i], 0); printf("%ld\n", n); }
C
cat >"$W/hello.go" <<'G'
package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

func main() {
	var wg sync.WaitGroup
	c := make(chan int, 100)
	for i := 0; i < 20; i++ {
		wg.Add(1)
		go func(n int) { defer wg.Done(); time.Sleep(10 * time.Millisecond); c <- n * n }(i)
	}
	wg.Wait()
	close(c)
	s := 0
	for v := range c {
		s += v
	}
	h, _ := os.Hostname()
	d, err := os.ReadDir("/etc")
	fmt.Println("go", s, h, len(d) > 10, err, os.WriteFile("/tmp/go", []byte("x"), 0644))
}
G
cat >"$W/musl.c" <<'C'
#include <dirent.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) { int n = 0; DIR *d = opendir("/"); while (readdir(d)) n++; if (!fork()) { execl("/bin/echo", "echo", "from musl", (char *)0); _exit(1); } int s; wait(&s); printf("%d %d\n", n > 10, s); }
C
gcc -O1 -pthread -o "$root/opt/t/threads" "$W/threads.c" && musl-gcc -O1 -static -o "$root/opt/t/musl" "$W/musl.c" &&
    (cd "$W" && CGO_ENABLED=0 GOCACHE="$CACHE/go" HOME=/root GO111MODULE=off go build -o "$root/opt/t/hello" hello.go) || exit 2

# both ARGS...: the same output and exit code under the reference runtime and this one.
REFERENCE=$(command -v runc)
both() {
    local want=0 got=0
    bundle b --root "$root" -- "$@"
    "$REFERENCE" --root "$PWD/ref" run -b b "ref-$MARK" >want 2>want.err </dev/null || want=$?
    rt run -b b c1 >got 2>got.err </dev/null || got=$?
    cmp -s want got || fail "differs: $(diff want got | head -3 | tr '\n' ' ') $(head -c 300 got.err)"
    eq "$got" "$want"
    [ -n "$CONTROL" ] && return
    TEST_MARK=$MARK "$SENTRY" serve --unix "$PWD/s" --export "debian=$root" >sentry.log 2>&1 </dev/null &
    SERVER=$!; trap 'kill -TERM $SERVER 2>/dev/null && wait $SERVER || true' EXIT
    soon [ -S s ]
    bundle x --root none --annotation dev.rsc.rootfs=sentry:debian -- "$@"
    got=0; rt --sentry "unix://$PWD/s" --allow-annotations run -b x c2 >got 2>got.err </dev/null || got=$?
    cmp -s want got || fail "differs on an export: $(diff want got | head -3 | tr '\n' ' ') $(head -c 300 got.err)"
    eq "$got" "$want"
}
bash_pipeline() { both bash -c 'for i in 1 2 3; do echo $i | cat; done'; }
list_lib() { both sh -c 'ls -lR /usr/lib | md5sum'; }
python() { both python3 -c "import json, subprocess; print(subprocess.check_output(['uname','-a']))"; }
c_threads() { both /opt/t/threads; }
go_static() { both /opt/t/hello; }
musl_static() { both /opt/t/musl; }
apt_list() { both dpkg -l; }
perl() { both perl -e 'open F, ">/tmp/f"; print F "x" x 100000; close F; print -s "/tmp/f", "\n"; print join(",", map { $_ * 2 } 1..5), "\n"'; }
archive() { both sh -c 'cd /tmp && tar cf t.tar /etc 2>/dev/null; tar tf t.tar | wc -l; mkdir x; tar xf t.tar -C x; find x | wc -l; rm -r x; ls'; }
find_sort() { both sh -c 'find /usr/share -type f | sort | md5sum; find / -xdev -name "*.so*" | wc -l'; }
python_threads() { both python3 -c 'import threading,queue; q=queue.Queue(); t=[threading.Thread(target=lambda i=i: q.put(i*i)) for i in range(20)]; [x.start() for x in t]; [x.join() for x in t]; print(sum(q.get() for _ in range(20)))'; }
python_sockets() { both python3 -c 'import socket,threading; s=socket.create_server(("127.0.0.1",0)); threading.Thread(target=lambda: s.accept()[0].sendall(b"x"*100000)).start(); c=socket.create_connection(s.getsockname()); n=0
while b:=c.recv(65536): n+=len(b)
print(n)'; }
# Pseudo-terminals that programs make for others: names, settings, size, what is typed, what becomes of it, the end.
python_terminal() { both python3 -c '
import fcntl, os, pty, select, signal, struct, sys, termios, time, tty
def show(name, value): print(name, value, flush=True)
def run(script, *steps):
    pid, fd = pty.fork()
    if pid == 0: os.execv("/bin/sh", ["sh", "-c", script])
    seen, at = b"", 0
    def read():
        nonlocal seen
        try: data = os.read(fd, 4096)
        except OSError as e: return e.errno
        seen += data
        return None if data else "end"
    for text, act in steps:
        while (found := seen.find(text, at)) < 0:
            if (e := read()) is not None: return seen, "no", text, e
        at = found + len(text)
        act(fd) if callable(act) else os.write(fd, act)
    while (e := read()) is None: pass
    os.close(fd)
    return seen, e, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
size = lambda fd: fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 7, 77, 0, 0))
show("edit", run("echo up; read x; echo got:$x", (b"up", b"ab\x7fc\x15one two\x17x\x16\x03\r")))
show("end", run("echo up; cat; echo done", (b"up", b"half\x04\x04")))
show("intr", run("trap \"echo int\" INT; echo up; sleep 5; echo on; exit 4", (b"up", b"\x03")))
show("quit", run("ulimit -c 0; echo up; exec sleep 5", (b"up", b"\x1c")))
show("stop", run("set -m; sh -c \"echo up; exec sleep 5\"; echo $?; jobs | cut -c1-12; kill -9 %1", (b"up", b"\x1a")))
show("size", run("trap \"stty size; exit\" WINCH; echo up; while :; do sleep .01; done", (b"up", size)))
show("raw", run("stty raw -echo; echo up; head -c 3 | od -c; stty sane; echo sane", (b"up", b"\x03\r\x04")))
show("min", run("stty -icanon min 0 time 2; echo up; dd bs=10 count=1 2>/dev/null | wc -c", ))
show("noecho", run("stty -echo; echo up; read x; echo $x", (b"up", b"secret\n")))
show("ctty", run("ps -o tty= -p $$; tty </dev/tty; setsid sh -c \"echo x >/dev/tty\" 2>&1 | grep -o No.such.*"))
show("flow", run("stty; echo up; read x; stty -ixon; echo $x", (b"up", b"a\x13b\x11\n")))
master, slave = pty.openpty()
show("names", (os.ttyname(slave), os.isatty(master), os.isatty(slave), oct(os.fstat(slave).st_mode), os.fstat(slave).st_rdev, os.stat("/dev/ptmx").st_rdev))
show("pending", (os.write(slave, b"out\n"), os.read(master, 10), os.write(master, b"in\n"), select.select([slave], [slave], [], 1) == ([slave], [slave], []), os.read(slave, 10), os.read(master, 10)))
show("attributes", (termios.tcgetattr(slave)[:4], termios.tcgetattr(master) == termios.tcgetattr(slave), termios.tcgetattr(slave)[6]))
tty.setraw(slave); show("raw", termios.tcgetattr(slave)[:4]); os.write(master, b"\x04\n"); show("bytes", os.read(slave, 10))
def error(call, *args):
    try: return call(*args)
    except (OSError, termios.error) as e: return e.args[0]
show("errors", (error(os.tcgetpgrp, slave), error(os.tcsetpgrp, slave, 1), error(fcntl.ioctl, slave, termios.TIOCGWINSZ, b"x" * 8)))
os.close(slave); show("hung", (error(os.read, master, 1), [e for _, e in (lambda p: (p.register(master), p.poll(0))[1])(select.poll())]))
m2, s2 = pty.openpty(); os.close(m2); show("gone", (error(os.read, s2, 1), error(os.write, s2, b"x"), error(termios.tcgetattr, s2)))
show("reused", os.ttyname(pty.openpty()[1]))
'; }
STEP_TIMEOUT=120 step python-terminal bash-pipeline list-lib python c-threads go-static musl-static apt-list perl archive find-sort python-threads python-sockets
