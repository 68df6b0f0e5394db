#!/usr/bin/env python3
"""Runs the same bundles and workloads under OCI runtimes; see docs/performance.md."""
import argparse, contextlib, ctypes, fcntl, glob, json, math, os, re, resource, shlex, shutil, signal, struct, subprocess, sys, time, uuid

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH_ROOT = os.environ.get("BENCH_ROOT") or os.path.join(os.environ.get("TMPDIR", "/tmp"), "rsc-bench")
LOCK = os.environ.get("BENCH_LOCK")                      # held for each timed container, if set
QUIET_WAIT = float(os.environ.get("QUIET_WAIT", "5"))    # longest wait for other programs to leave the CPUs
PRIO = os.environ.get("BENCH_PRIO") == "1"               # outrank other programs on a busy machine, see prioritize()
TIMEOUT = float(os.environ.get("BENCH_TIMEOUT", "60"))   # per container
STATE = os.path.join(BENCH_ROOT, "state")
VOL = os.path.join(BENCH_ROOT, "vol")

# name -> the command to which "run --bundle B ID" and so on are appended; ${VAR:-default} and $STATE expand
RUNTIMES = {
    "native": None,
    "runc": "${RUNC:-runc} --root $STATE/runc",
    # crun 1.8 refuses hybrid cgroup hierarchies; hiding the v2 half makes it plain v1
    "crun": "unshare -m sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec ${CRUN:-crun} --root $STATE/crun \"$@\"' crun",
    "runsc-systrap": "${RUNSC:-runsc} --root $STATE/runsc --network=none --platform=systrap",
    "runsc-ptrace": "${RUNSC:-runsc} --root $STATE/runsc --network=none --platform=ptrace",
    "runsc-kvm": "${RUNSC:-runsc} --root $STATE/runsc --network=none --platform=kvm",
    "rsc-runtime": "${RSC_RUNTIME:-rsc-runtime} --root $STATE/rsc",
}

MICRO = """warm_up cpu_loop getpid getpid_inline gettid clock_gettime sched_yield read_zero_1 pread_4k pwrite_4k pread_1m pwrite_1m
open_close create_unlink stat stat_missing readdir_1000 mmap_munmap mmap_anon_touch_1m mmap_file_touch_1m epoll_wait
signal_self pipe_pp_threads pipe_pp_procs unix_pp_procs futex_pp thread_join fork_wait fork_exec_true tcp_connect
tcp_pp_procs vdso_clock""".split()
MICRO_VOL = """pread_4k pwrite_4k pread_1m pwrite_1m open_close create_unlink stat stat_missing readdir_1000
mmap_file_touch_1m""".split()
WORK = {  # workload -> repeats in one container; the table takes the fastest
    "python_pass": 5, "python_imports": 3, "git_status": 3, "git_log": 3, "find": 3, "tar": 2, "gcc": 2, "spawn200": 3,
    "sqlite_txn": 3, "sqlite_auto": 2, "sqlite_nosync": 2, "redis_p1": 2, "redis_p16": 2, "nginx_close": 2,
    "nginx_keep": 2, "dd_write": 2, "dd_read": 2, "fio": 2, "dd_write_vol": 2, "dd_read_vol": 2, "fio_vol": 2,
}
CAPS = ["CAP_" + c for c in """AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP
SETGID SETPCAP SETUID SYS_CHROOT""".split()]


waited = 0.0  # for the lock and for quiet


def log(*a):
    print(*a, file=sys.stderr, flush=True)


def prioritize():
    """Puts this process and its children in a CPU cgroup of the highest weight, with a short time slice."""
    for base, knob, value in (("/sys/fs/cgroup/cpu", "cpu.shares", 262144), ("/sys/fs/cgroup", "cpu.weight", 10000)):
        g = os.path.join(base, "rsc-bench")
        if os.path.exists(os.path.join(base, "cgroup.procs")):
            os.makedirs(g, exist_ok=True)
            open(os.path.join(g, knob), "w").write(str(value))
            open(os.path.join(g, "cgroup.procs"), "w").write(str(os.getpid()))
            break
    attr = struct.pack("IIQiIQQQ", 48, 0, 0, 0, 0, 300_000, 0, 0)  # SCHED_OTHER, slice of 0.3 ms: short ones preempt
    ctypes.CDLL(None).syscall(314, 0, attr, 0)  # sched_setattr


def write_bundle(rootfs, args, cid):
    d = os.path.join(BENCH_ROOT, "bundle")
    os.makedirs(d, exist_ok=True)
    m = lambda dst, typ, src, *opt: {"destination": dst, "type": typ, "source": src, "options": list(opt)}
    nodev = ("nosuid", "noexec", "nodev")
    nofile = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    config = {
        "ociVersion": "1.0.2", "hostname": "bench",
        "root": {"path": os.path.join(BENCH_ROOT, "rootfs-" + rootfs), "readonly": False},
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": args, "terminal": False, "noNewPrivileges": True,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {k: CAPS for k in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": nofile, "soft": nofile}],
        },
        "mounts": [
            m("/proc", "proc", "proc"), m("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            m("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
            m("/dev/shm", "tmpfs", "shm", *nodev, "mode=1777", "size=65536k"), m("/dev/mqueue", "mqueue", "mqueue", *nodev),
            m("/sys", "sysfs", "sysfs", *nodev, "ro"), m("/vol", "bind", VOL, "rbind", "rw"),
        ],
        "linux": {"cgroupsPath": ("/rsc-bench/" if PRIO else "/") + cid, "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")],
                  "resources": {"devices": [{"allow": False, "access": "rwm"}]}},
    }
    with open(os.path.join(d, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
    return d


class Runtime:
    def __init__(self, name, cmd):
        self.name, self.native = name, cmd is None
        if cmd:
            cmd = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: os.environ.get(m[1]) or m[2], cmd)
            self.cmd = shlex.split(cmd.replace("$STATE", STATE))

    def version(self):
        if self.native:
            return os.uname().release
        p = subprocess.run(self.cmd + ["--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return p.stdout.splitlines()[0] if p.stdout else "?"

    def argv(self, rootfs, args, cid, *flags):
        """The host command that runs args; paths in args are the container's."""
        if not self.native:
            return self.cmd + ["run", *flags, "--bundle", write_bundle(rootfs, args, cid), cid]
        root = os.path.join(BENCH_ROOT, "rootfs-" + rootfs)
        host = [root + a if a.startswith(("/bench", "/bin/")) else VOL if a == "/vol" else a for a in args]
        env = ["env", "BENCH=" + root + "/bench", "ROOT=" + root, "VOL=" + VOL]
        if args[0] == "/bin/true":
            return host
        return ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *env, *host]

    def run(self, rootfs, args):
        """Start to exit: (stdout, wall seconds, what went wrong or None)."""
        cid = "b" + uuid.uuid4().hex[:12]
        argv = self.argv(rootfs, args, cid)
        t0 = time.monotonic()
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)
        try:
            out, err = p.communicate(timeout=TIMEOUT)
            wall = time.monotonic() - t0
            return out, wall, None if p.returncode == 0 else f"exit {p.returncode}: {err.strip()[-300:]}"
        except subprocess.TimeoutExpired:
            self.delete(cid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            try:
                out = p.communicate(timeout=10)[0]
            except subprocess.TimeoutExpired:
                out = ""
            return out or "", time.monotonic() - t0, "timeout"

    def delete(self, cid):
        if not self.native:
            subprocess.run(self.cmd + ["delete", "--force", cid], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           timeout=30)


@contextlib.contextmanager
def quiet():
    """Holds the lock and waits, for a time, until the CPUs are idle."""
    global waited
    with open(LOCK or os.devnull, "w") as f:
        t0 = time.monotonic()
        if LOCK:
            fcntl.flock(f, fcntl.LOCK_EX)
        end = time.monotonic() + (0 if PRIO else QUIET_WAIT)
        while True:
            a = cpu_times(); time.sleep(0.2); b = cpu_times()
            d = [y - x for x, y in zip(a, b)]
            busy = 1 - (d[3] + d[4]) / max(1, sum(d))
            if busy < 0.15 or time.monotonic() > end:
                break
        waited += time.monotonic() - t0
        yield busy


def cpu_times():
    with open("/proc/stat") as f:
        return [int(x) for x in f.readline().split()[1:9]]


def micro(rt, vol):
    """Survives tests that hang or crash: goes on in a new container without the one at fault."""
    todo, res = list(MICRO_VOL if vol else MICRO), {}
    for _ in range(8):
        with quiet() as busy:
            out, wall, err = rt.run("debian", ["/bench/micro", "/vol" if vol else "/bench/tmp", *todo])
        for line in out.splitlines():
            name, med, lo, n = line.split()
            res[name] = {"unit": "ns", "min": float(lo), "median": float(med), "n": int(n), "busy_before": round(busy, 2)}
        todo = [t for t in todo if t not in res]
        if todo:
            bad = todo.pop(0)
            res[bad] = {"error": err or "no result"}
            log(f"  micro {bad}: {res[bad]['error']}")
        if not todo:
            break
    return {("vol_" if vol else "") + k: v for k, v in res.items()}


def work(rt, name, repeats):
    with quiet() as busy:
        out, wall, err = rt.run("debian", ["/bench/work.sh", name, str(repeats)])
    t = [float(x) for x in re.findall(r"^time (\S+)$", out, re.M)]
    r = {"unit": "s", "times": t, "outer_wall": round(wall, 3), "busy_before": round(busy, 2)}
    if t:
        r.update(min=min(t), median=sorted(t)[len(t) // 2])
    if err:
        r["error"] = err
    return r


def start_true(rt, reps=10):
    ts = []
    with quiet() as busy:
        for _ in range(reps):
            _, wall, err = rt.run("busybox", ["/bin/true"])
            if err:
                return {"error": err}
            ts.append(wall)
    return {"unit": "s", "times": [round(t, 4) for t in ts], "min": min(ts), "median": sorted(ts)[reps // 2],
            "busy_before": round(busy, 2)}


def processes(pid, mark):
    """pid, every process with mark in its command line or environment, and all their descendants."""
    parent, mine = {}, set()
    for d in glob.glob("/proc/[0-9]*"):
        p = int(d[6:])
        try:
            parent[p] = int(open(d + "/stat").read().rsplit(")", 1)[1].split()[1])
            if p != os.getpid() and (p == pid or mark in open(d + "/cmdline", "rb").read()
                                     or mark in open(d + "/environ", "rb").read()):
                mine.add(p)
        except OSError:
            pass
    while True:
        more = {p for p, q in parent.items() if q in mine} - mine
        if not more:
            return mine
        mine |= more


def memory(pids):
    total = {"pss": 0, "hwm": 0, "procs": []}
    for p in sorted(pids):
        try:
            pss = sum(int(x) for x in re.findall(r"^Pss:\s+(\d+)", open(f"/proc/{p}/smaps_rollup").read(), re.M))
            hwm = sum(int(x) for x in re.findall(r"^VmHWM:\s+(\d+)", open(f"/proc/{p}/status").read(), re.M))
            name = open(f"/proc/{p}/comm").read().strip()
        except OSError:
            continue
        total["pss"] += pss
        total["hwm"] += hwm
        total["procs"].append([name, pss, hwm])
    return total


def idle_sandbox(rt):
    """A detached `sleep`: time to start it, its processes' memory one second later, time to kill and delete it."""
    if rt.native:
        p = subprocess.Popen(rt.argv("busybox", ["/bin/sleep", "100"], ""), stdin=subprocess.DEVNULL)
        time.sleep(1)
        m = memory(processes(p.pid, b"\0no\0"))
        p.kill(); p.wait()
        return {"mem_pss": {"unit": "KiB", "min": m["pss"], "procs": m["procs"]},
                "mem_peak_rss": {"unit": "KiB", "min": m["hwm"]}}
    start, stop, mem, nul = [], [], [], subprocess.DEVNULL
    for _ in range(4):
        cid = "b" + uuid.uuid4().hex[:12]
        argv = rt.argv("busybox", ["/bin/sleep", "100"], cid, "--detach")
        with quiet():
            t0 = time.monotonic()
            with open(os.path.join(BENCH_ROOT, "detach.err"), "w+") as errf:
                rc = subprocess.run(argv, stdin=nul, stdout=nul, stderr=errf, timeout=TIMEOUT,
                                    env={**os.environ, "BENCH_MARK": cid}).returncode
                errf.seek(0)
                if rc:
                    rt.delete(cid)
                    return {"start_detached": {"error": f"exit {rc}: {errf.read()[-300:]}"}}
            start.append(time.monotonic() - t0)
            time.sleep(1)
            state = json.loads(subprocess.run(rt.cmd + ["state", cid], stdout=subprocess.PIPE, stderr=nul).stdout)
            mem.append(memory(processes(state["pid"], cid.encode())))
            t0 = time.monotonic()
            subprocess.run(rt.cmd + ["delete", "--force", cid], stdout=nul, stderr=nul, timeout=TIMEOUT)
            stop.append(time.monotonic() - t0)
    best = min(mem, key=lambda m: m["pss"])
    s = lambda v: {"unit": "s", "min": min(v), "median": sorted(v)[len(v) // 2]}
    return {"start_detached": s(start), "delete_force": s(stop),
            "mem_pss": {"unit": "KiB", "min": best["pss"], "procs": best["procs"]},
            "mem_peak_rss": {"unit": "KiB", "min": min(m["hwm"] for m in mem)}}


def measure(rt, only):
    want = lambda k: not only or k in only
    res = {}
    if want("start_true"):
        res["start_true"] = start_true(rt)
        log("  start_true", res["start_true"])
    if want("idle"):
        res.update(idle_sandbox(rt))
    if want("micro"):
        res.update(micro(rt, False))
        res.update(micro(rt, True))
    for name, n in WORK.items():
        if want(name) or want("work"):
            res[name] = work(rt, name, n)
            log(f"  {name}: {res[name].get('times')} {res[name].get('error', '')}")
    return res


def show(r):
    if not r or "min" not in r:
        return None
    v, u = r["min"], r["unit"]
    if u == "KiB":
        return f"{v / 1024:.1f} MiB"
    ns = v * 1e9 if u == "s" else v
    for lim, div, unit in ((999.5, 1, "ns"), (999.5e3, 1e3, "µs"), (999.5e6, 1e6, "ms"), (math.inf, 1e9, "s")):
        if ns < lim:
            return f"{ns / div:.3g} {unit}"


def table(d):
    """Markdown: the fastest of the repeats, with the ratio to native and to runc."""
    runs = {}
    for f in glob.glob(os.path.join(d, "*.json")):
        runs[os.path.basename(f)[:-5]] = json.load(open(f))
    names = [n for n in RUNTIMES if n in runs] + sorted(n for n in runs if n not in RUNTIMES)
    keys = []
    for n in names:
        keys += [k for k in runs[n]["results"] if k not in keys]
    get = lambda n, k: runs.get(n, {}).get("results", {}).get(k, {})
    def ratio(n, base, k):
        a, b = get(n, k), get(base, k)
        return a["min"] / b["min"] if "min" in a and b.get("min") else None
    def cell(n, k):
        s = show(get(n, k))
        if s is None:
            return "fails" if "error" in get(n, k) else "–"
        rs = [f"{x:.1f}" if (x := ratio(n, b, k)) is not None else "–" for b in ("native", "runc") if b != n and b in runs]
        return s + (" (×" + " / ×".join(rs[:1] if n == "runc" else rs) + ")" if rs and n != "native" else "")
    out = ["Fastest of the repeats; in brackets the ratio to native / to runc (less is better).", ""]
    out += [f"- {n}: {runs[n]['version']}; {runs[n]['took']:.0f} s" for n in names]
    out += ["", "| test | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    out += [f"| {k} | " + " | ".join(cell(n, k) for n in names) + " |" for k in keys]
    groups = {"geometric mean, micro": MICRO[2:], "geometric mean, micro on a volume": ["vol_" + k for k in MICRO_VOL],
              "geometric mean, workloads": list(WORK)}
    for g, ks in groups.items():
        row = []
        for n in names:
            gm = []
            for b in ("native", "runc"):
                rs = [r for k in ks if (r := ratio(n, b, k))]
                gm.append(f"×{math.exp(sum(map(math.log, rs)) / len(rs)):.2f}" if rs else "–")
            row.append(" / ".join(gm[:1] if n in ("native", "runc") else gm))
        out.append(f"| **{g}** | " + " | ".join(row) + " |")
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("runtimes", nargs="*", help="names (%s) or NAME=COMMAND" % ", ".join(RUNTIMES))
    ap.add_argument("--out", default=os.path.join(BENCH_ROOT, "results", time.strftime("%Y-%m-%d")))
    ap.add_argument("--only", action="append", help="start_true, idle, micro, work, or a workload; may be repeated")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    os.makedirs(STATE, exist_ok=True)
    os.makedirs(VOL, exist_ok=True)
    if PRIO:
        prioritize()
    for spec in a.runtimes:
        name, eq, cmd = spec.partition("=")
        rt = Runtime(name, cmd if eq else RUNTIMES[name])
        log(f"== {name}")
        t0 = time.monotonic() - waited
        path = os.path.join(a.out, name + ".json")
        old = json.load(open(path)) if a.only and os.path.exists(path) else {"results": {}, "took": 0}
        with open(os.path.join(BENCH_ROOT, "rootfs-debian", ".bench-lock"), "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)  # one harness at a time per bundle
            res = measure(rt, a.only)
            for d in (os.path.join(BENCH_ROOT, "rootfs-debian", "bench", "tmp"), VOL):  # what killed containers left
                for x in os.listdir(d):
                    shutil.rmtree(os.path.join(d, x), ignore_errors=True)
        doc = {"runtime": name, "version": rt.version(), "kernel": os.uname().release, "cpus": os.cpu_count(),
               "date": time.strftime("%Y-%m-%dT%H:%M:%S"), "loadavg": os.getloadavg(),
               "prio": PRIO,
               "took": old["took"] + time.monotonic() - waited - t0, "results": {**old["results"], **res}}
        with open(path, "w") as f:
            json.dump(doc, f, indent=1)
            f.write("\n")
        log(f"== {name}: {time.monotonic() - waited - t0:.0f} s, {waited:.0f} s waited so far")
    t = table(a.out)
    with open(os.path.join(a.out, "table.md"), "w") as f:
        f.write(t)
    print(t)


if __name__ == "__main__":
    main()
