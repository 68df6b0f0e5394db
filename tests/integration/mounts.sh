#!/bin/bash
# What somebody sees who enters the mount namespace of a container's init, as podman cp and podman top do. RT=runc: the control.
. "$(dirname "$0")/../lib.sh"
trap finish EXIT

up() { local id=$1; shift; bundle "b-$id" --root "$PWD/rootfs" --cgroup "/it-$MARK-$id" "$@" -- sleep 1000; rt run -d -b "b-$id" "$id" </dev/null >"out-$id" 2>&1 || fail "$id: $(cat "out-$id")"; }
down() { local id; for id; do rt delete -f "$id"; done; }
pid_of() { rt state "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'; }
# within ID PYTHON: runs it in the mount namespace of ID's init.
within() {
    python3 - "$(pid_of "$1")" "$2" <<'P'
import ctypes, errno, os, sys
def refused(what, name):
    try: what()
    except OSError as error: assert errno.errorcode[error.errno] == name, error
    else: raise AssertionError("not refused")
def put(path, text="x"): open(path, "w").write(text)
libc = ctypes.CDLL(None, use_errno=True)
namespace = os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY)
for done in (libc.unshare(0x20000), libc.setns(namespace, 0x20000)):
    assert done == 0, os.strerror(ctypes.get_errno())
exec(sys.argv[2])
P
}
bind() { echo "{\"destination\": \"$1\", \"type\": \"bind\", \"source\": \"$2\", \"options\": [\"rbind\", \"$3\"]}"; }

files_are_seen() {
    up it-a; rt exec it-a sh -c 'echo inside >/root/f'
    within it-a 'assert open("/root/f").read() == "inside\n"; put("/root/g", "outside\n")'
    eq "$(rt exec it-a cat /root/g)" outside; down it-a
}
processes_are_seen() {
    up it-a; rt exec it-a sleep 700 & soon eval "within it-a 'assert len([p for p in os.listdir(\"/proc\") if p.isdigit()]) == 2'"
    within it-a 'assert open("/proc/1/comm").read() == "sleep\n"'; down it-a; wait
}
read_only_root() { up it-a --readonly; within it-a 'refused(lambda: put("/root/g"), "EROFS"); os.stat("/etc/passwd")'; down it-a; }
volumes_are_seen() {
    mkdir v w; echo v >v/f; echo w >w/f; echo one >one
    up it-a --mount "$(bind /vol/new/v "$PWD/v" rw)" --mount "$(bind /w "$PWD/w" ro)" --mount "$(bind /root/one "$PWD/one" rw)"
    within it-a 'put("/vol/new/v/g"); refused(lambda: put("/w/g"), "EROFS"); put("/root/one", "two"); assert open("/w/f").read() == "w\n"'
    [ -e v/g ]; eq "$(rt exec it-a cat /root/one)" two; down it-a
}
nested_volumes() {
    mkdir -p v w; echo w >w/f; up it-a --mount "$(bind /vol "$PWD/v" rw)" --mount "$(bind /vol/in/w "$PWD/w" rw)"
    within it-a 'assert open("/vol/in/w/f").read() == "w\n"'; down it-a
}
# A link in an image to somewhere on the host is one to somewhere in the image.
links_stay_within() {
    local o=/var/tmp/it-$MARK; mkdir -p v "$o" "rootfs$o"; trap "rmdir '$o'" EXIT; echo v >v/f; ln -s "$o" rootfs/evil; ln -s ../../../../../../../../.. rootfs/up
    up it-a --mount "$(bind /evil "$PWD/v" rw)"
    within it-a 'assert open("/evil/f").read() == "v\n"; assert sorted(os.listdir("/up")) == sorted(os.listdir("/"))'
    eq "$(ls "$o")" ''; eq "$(rt exec it-a cat /evil/f)" v; down it-a
}
# What lives in the sentry is no place to put something.
tmpfs_is_not_seen() {
    echo stray >rootfs/tmp/stray 2>/dev/null || { mkdir -p rootfs/tmp; echo stray >rootfs/tmp/stray; }
    up it-a; rt exec it-a sh -c 'echo x >/tmp/x'
    within it-a 'assert os.listdir("/tmp") == os.listdir("/dev") == []; [refused(lambda: put(d + "/x"), "EROFS") for d in ("/tmp", "/dev")]'; down it-a
}
# It would run outside of the sandbox, with the rights of whoever entered.
nothing_executable() { up it-a; within it-a 'refused(lambda: os.execv("/bin/busybox", ["busybox", "true"]), "EACCES")'; down it-a; }
# Neither by their roots nor by their directories do the workload's processes have anything of it.
workload_has_nothing() {
    local p dir; up it-a; rt exec -d --pid-file pid it-a sleep 600 </dev/null
    for p in "$(pid_of it-a)" "$(cat pid)"; do
        for dir in root cwd root/.. cwd/..; do eq "$(ls -A "/proc/$p/$dir/")" ''; done
        eq "$(cat "/proc/$p/mountinfo")" ''; eq "$(cat "/proc/$p/mounts")" ''; rc 1 touch "/proc/$p/root/x" 2>/dev/null
        eq "$(readlink "/proc/$p/ns/mnt")" "$(readlink "/proc/$(pid_of it-a)/ns/mnt")"
    done; down it-a
}
nothing_comes_back() { # neither from the host to it, nor from it to the host
    mkdir -p rootfs/on v; up it-a --mount "$(bind /vol "$PWD/v" rw)"
    mkdir v/sub; mount -t tmpfs it-sub v/sub; echo x >v/sub/x
    within it-a 'assert os.listdir("/vol/sub") == []'
    within it-a 'assert libc.mount(b"t", b"/on", b"tmpfs", 0, None) == 0; put("/on/x")'
    eq "$(ls rootfs/on)" ''; umount v/sub; down it-a; eq "$(grep -c it-sub /proc/self/mountinfo)" 0
}
joined() { # a container in another's namespaces shows its own
    up it-a; mkdir other; cp -a rootfs/. other; echo b >other/which; echo a >rootfs/which
    bundle b --root "$PWD/other" --cgroup "/it-$MARK-b" --set /linux/namespaces "[{\"type\": \"mount\"}, {\"type\": \"pid\"}, {\"type\": \"network\", \"path\": \"/proc/$(pid_of it-a)/ns/net\"}]" --set /hostname '""' -- sleep 900
    rt run -d -b b it-b </dev/null >out 2>&1; within it-b 'assert open("/which").read() == "b\n"'; within it-a 'assert open("/which").read() == "a\n"'; down it-b it-a
}
unreachable_root() { # one that only root may go to
    mkdir -p closed; mv rootfs closed/rootfs; chmod 700 closed
    bundle b --root "$PWD/closed/rootfs" --cgroup "/it-$MARK-a" -- sleep 1000; rt run -d -b b it-a </dev/null >out 2>&1
    within it-a 'assert os.path.exists("/bin/busybox")'; down it-a
}

step files-are-seen processes-are-seen read-only-root volumes-are-seen nested-volumes links-stay-within joined unreachable-root
only_rsc tmpfs-is-not-seen nothing-executable workload-has-nothing nothing-comes-back
