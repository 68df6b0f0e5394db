#!/usr/bin/env python3
"""cri_client.py SOCKET HANDLER WORKDIR: a pod's life through the CRI, in named steps. Started by cri.sh (venv with grpcio).
Prints 'ok NAME' or 'FAIL NAME: why' per step; last line 'COUNT PASSED FAILED'. ONLY=REGEX picks steps (the pod steps always run)."""
import os, re, sys, time
import urllib.error
import urllib.request

import grpc

import cri_pb2 as p
import cri_pb2_grpc

sock, handler, work = sys.argv[1:]
r = cri_pb2_grpc.RuntimeServiceStub(grpc.insecure_channel("unix://" + sock))
limit = float(os.environ.get("STEP_TIMEOUT", 60))
only, needed = os.environ.get("ONLY", "."), ("pod-run", "container-start", "pod-stop", "pod-remove")
image = "localhost/bb:1"
logs, data = work + "/podlogs", work + "/d"
os.makedirs(logs, exist_ok=True)
passed = failed = 0
pod = p.PodSandboxConfig(
    metadata=p.PodSandboxMetadata(name="pod1", uid="u1", namespace="default"), hostname="podhost", log_directory=logs,
    annotations={"dev.rsc.kit": "1", "dev.rsc.publish": "8080,8081", "other": "1"},
    linux=p.LinuxPodSandboxConfig(cgroup_parent="/" + os.environ["NS"],
        security_context=p.LinuxSandboxSecurityContext(namespace_options=p.NamespaceOption(pid=p.CONTAINER))))


class Ids(dict):
    def __missing__(self, name):
        raise AssertionError("no %s: an earlier step failed" % name)


ids = Ids()
loop = 'echo out; echo err >&2; ' + os.environ["LOOP"]


def call(name, request, timeout=None):
    return getattr(r, name)(request, timeout=timeout or limit)


def eq(got, want):
    assert got == want, "got %r, not %r" % (got, want)


def soon(f, want, seconds=15):
    end = time.time() + seconds
    while (got := f()) != want:
        assert time.time() < end, "got %r, not %r, after %d s" % (got, want, seconds)
        time.sleep(0.1)


def refused(f):
    try:
        f()
    except grpc.RpcError as e:
        assert e.code() != grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time"
        return e
    raise AssertionError("not refused")


def create(name, command, attempt=0, memory=0, mounts=(), ns=None, security=None, **kw):
    sec = p.LinuxContainerSecurityContext(namespace_options=ns or p.NamespaceOption(pid=p.CONTAINER), **(security or {}))
    res = p.LinuxContainerResources(memory_limit_in_bytes=memory, cpu_period=100000, cpu_quota=100000)
    cfg = p.ContainerConfig(metadata=p.ContainerMetadata(name=name, attempt=attempt), image=p.ImageSpec(image=image),
        command=command, log_path=name + ".log", mounts=mounts, linux=p.LinuxContainerConfig(resources=res, security_context=sec), **kw)
    ids[name] = call("CreateContainer", p.CreateContainerRequest(pod_sandbox_id=ids["pod"], config=cfg, sandbox_config=pod)).container_id
    return ids[name]


def start(name):
    call("StartContainer", p.ContainerId(id=ids[name]))


def status(name):
    return call("ContainerStatus", p.ContainerId(id=ids[name])).status


def state(name):
    return p.ContainerState.Name(status(name).state)[10:]


def remove(name):
    call("RemoveContainer", p.ContainerId(id=ids.pop(name)))


def stop(name, seconds):
    call("StopContainer", p.StopContainerRequest(container_id=ids[name], timeout=seconds), limit + seconds)


def execute(name, *cmd, timeout=20):
    e = call("ExecSync", p.ExecSyncRequest(container_id=ids[name], cmd=cmd, timeout=timeout))
    return e.exit_code, e.stdout.decode(), e.stderr.decode()


def output(name):
    with open("%s/%s.log" % (logs, name)) as f:
        return [tuple(l.rstrip("\n").split(" ", 3)[1::2]) for l in f]


def once(name, command, want, text=None, **kw):
    """Run a container to its end."""
    create(name, command, **kw)
    start(name)
    soon(lambda: state(name), "EXITED")
    s = status(name)
    if text is not None:
        soon(lambda: "\n".join(t for _, t in output(name)), text, 5)
    eq(s.exit_code, want)
    remove(name)
    return s


def count():
    try:
        return int(open(data + "/n").read() or 0)
    except FileNotFoundError: # it has not come so far
        return 0


def counts():
    n = count()
    soon(lambda: count() > n, True)


def version():
    assert call("Version", p.VersionRequest()).runtime_name == "containerd"
    eq([c.type for c in call("Status", p.StatusRequest()).status.conditions if not c.status], [])


def pod_run():
    ids["pod"] = call("RunPodSandbox", p.RunPodSandboxRequest(config=pod, runtime_handler=handler)).pod_sandbox_id
    s = call("PodSandboxStatus", p.PodSandboxId(id=ids["pod"])).status
    eq(s.state, p.SANDBOX_READY)
    assert s.network.ip.startswith("10.77.0."), "ip %r" % s.network.ip


def pod_annotations():
    f = "%s/state/io.containerd.runtime.v2.task/k8s.io/%s/config.json" % (work, ids["pod"])
    text = open(f).read()
    assert '"dev.rsc.kit":"1"' in text and '"other":"1"' not in text, "annotations of config.json"


def container_start():
    create("c1", ["/bin/sh", "-c", loop], memory=64 << 20, mounts=[p.Mount(container_path="/d", host_path=data)])
    eq(state("c1"), "CREATED")
    start("c1")
    eq(state("c1"), "RUNNING")
    counts()


def container_log():
    soon(lambda: sorted(output("c1")), [("stderr", "err"), ("stdout", "out")], 5)


def second_container():
    create("c2", ["/bin/sh", "-c", "httpd -p 127.0.0.1:8080 -h /etc; exec sleep 1000"])
    start("c2")
    eq(execute("c2", "hostname")[:2], (0, "podhost\n"))
    soon(lambda: execute("c1", "wget", "-qO-", "http://127.0.0.1:8080/passwd")[0], 0)
    code, out, _ = execute("c1", "sh", "-c", "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts")
    eq(execute("c2", "sh", "-c", "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts")[1], out)


def pod_address():
    ip = call("PodSandboxStatus", p.PodSandboxId(id=ids["pod"])).status.network.ip
    code, out, err = execute("c2", "ip", "-4", "addr", "show", "eth0")
    assert " %s/" % ip in out, "eth0 without %s: %s%s" % (ip, out, err)


def published():
    """What listens in the sentry's network is found at the pod's address, as by port-forward and probes."""
    ip = call("PodSandboxStatus", p.PodSandboxId(id=ids["pod"])).status.network.ip
    soon(lambda: b"root:" in urllib.request.urlopen("http://%s:8080/passwd" % ip, timeout=5).read(), True)
    try:
        urllib.request.urlopen("http://%s:8081/" % ip, timeout=5)
        raise AssertionError("something answers at a port where nobody listens")
    except urllib.error.URLError as e:
        assert "refused" in str(e), e


def root_elsewhere():
    create("c5", ["/bin/sh", "-c", "read a </where; echo $a"], annotations={"dev.rsc.rootfs": "sentry:tree"})
    start("c5")
    soon(lambda: state("c5"), "EXITED")
    soon(lambda: "".join(t for _, t in output("c5")), "there", 5)
    remove("c5")


def shared_pid_namespace():
    create("c3", ["/bin/sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; exit 0"], ns=p.NamespaceOption(pid=p.TARGET, target_id=ids["c2"]))
    start("c3")
    soon(lambda: state("c3"), "EXITED")
    soon(lambda: "".join(t for _, t in output("c3")).startswith("sleep 1000"), True, 5)
    remove("c3")


def exec_sync():
    eq(execute("c1", "sh", "-c", "id -u; echo e >&2; exit 5"), (5, "0\n", "e\n"))


def exec_sync_timeout():
    t = time.time()
    try:
        execute("c1", "sleep", "600", timeout=1)
        raise AssertionError("no error")
    except grpc.RpcError as e:
        assert e.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN) and "timeout" in e.details(), "%s %s" % (e.code(), e.details())
    assert time.time() - t < 20, "after %.0f s" % (time.time() - t)
    assert "sleep 600" not in execute("c1", "ps")[1], "the process goes on"


def exec_sync_missing():
    refused(lambda: execute("c1", "/nonexistent"))
    counts()


def exec_sync_large():
    code, out, _ = execute("c1", "seq", "100000")
    eq((code, out.count("\n")), (0, 100000))


def exec_parallel():
    fs = [r.ExecSync.future(p.ExecSyncRequest(container_id=ids["c1"], cmd=["sh", "-c", "exit %d" % i], timeout=30)) for i in range(1, 5)]
    eq([f.result(timeout=limit).exit_code for f in fs], [1, 2, 3, 4])


def exec_url():
    assert call("Exec", p.ExecRequest(container_id=ids["c1"], cmd=["/bin/sh"], stdout=True)).url.startswith("http")


def stats():
    s = call("ContainerStats", p.ContainerId(id=ids["c1"])).stats
    assert s.memory.working_set_bytes.value > 0 and s.cpu.usage_core_nano_seconds.value > 0, str(s)


def update():
    call("UpdateContainerResources", p.UpdateContainerResourcesRequest(container_id=ids["c1"], linux=p.LinuxContainerResources(memory_limit_in_bytes=96 << 20)))
    counts()


def env_cwd_user():
    once("e1", ["/bin/sh", "-c", 'echo "$A" $PWD $(id -u) $(id -g)'], 0, "b c /tmp 65534 65534", envs=[p.KeyValue(key="A", value="b c")],
        working_dir="/tmp", security=dict(run_as_user=p.Int64Value(value=65534), run_as_group=p.Int64Value(value=65534)))


def exit_reason():
    eq(once("e2", ["/bin/sh", "-c", "exit 7"], 7).reason, "Error")
    eq(once("e3", ["/bin/true"], 0).reason, "Completed")


def read_only():
    once("e4", ["/bin/sh", "-c", "echo x > /x || exit 1"], 1, security=dict(readonly_rootfs=True))


def bind_read_only():
    once("e5", ["/bin/sh", "-c", "cat /d/n > /dev/null && ! touch /d/x"], 0, mounts=[p.Mount(container_path="/d", host_path=data, readonly=True)])


def no_new_privs():
    once("e6", ["/bin/sh", "-c", "grep -q 'NoNewPrivs:.1' /proc/self/status"], 0, security=dict(no_new_privs=True))


def tty():
    once("e7", ["/bin/sh", "-c", "test -t 0 && test -t 1"], 0, tty=True, stdin=True)



def missing_program():
    create("e9", ["/nonexistent"])
    refused(lambda: start("e9"))
    eq(state("e9"), "EXITED")
    remove("e9")


def oom():
    s = once("oom", ["/bin/sh", "-c", "tail /dev/zero"], 137, memory=24 << 20)
    eq(s.reason, "OOMKilled")


def double_create():
    refused(lambda: create("c1", ["/bin/true"]))
    counts()


def stop_grace():
    stop("c1", 10)
    eq((state("c1"), status("c1").exit_code), ("EXITED", 9))


def restart():
    old = ids["c1"]
    create("c1", ["/bin/sh", "-c", 'trap "" TERM; ' + loop.split("; n=0")[0].replace("exit 9", "") + "; sleep 1000"], attempt=1)
    call("RemoveContainer", p.ContainerId(id=old))
    start("c1")
    eq(state("c1"), "RUNNING")


def stop_kill():
    t = time.time()
    stop("c1", 2)
    eq((state("c1"), status("c1").exit_code), ("EXITED", 137))
    assert 1.5 < time.time() - t < 30, "after %.1f s" % (time.time() - t)
    remove("c1")


def pod_stop():
    call("StopPodSandbox", p.PodSandboxId(id=ids["pod"]))
    if "c2" in ids:
        eq(state("c2"), "EXITED")
    eq(call("PodSandboxStatus", p.PodSandboxId(id=ids["pod"])).status.state, p.SANDBOX_NOTREADY)


def pod_remove():
    call("RemovePodSandbox", p.PodSandboxId(id=ids["pod"]))
    eq([c.id for c in call("ListContainers", p.Empty()).containers], [])
    refused(lambda: call("PodSandboxStatus", p.PodSandboxId(id=ids["pod"])))


steps = [version, pod_run, pod_annotations, container_start, container_log, second_container, pod_address, published, root_elsewhere, shared_pid_namespace,
    exec_sync, exec_sync_timeout, exec_sync_missing, exec_sync_large, exec_parallel, exec_url, stats, update, env_cwd_user, exit_reason,
    read_only, bind_read_only, no_new_privs, tty, missing_program, oom, double_create, stop_grace, restart, stop_kill, pod_stop, pod_remove]
for f in steps:
    name = f.__name__.replace("_", "-")
    if name not in needed and not re.search(only, name):
        continue
    if f is pod_address and os.environ.get("OVER"):
        print("skip pod-address: the pod's network is the sentry's", flush=True)
        continue
    if f in (published, root_elsewhere) and not os.environ.get("OVER"):
        continue
    try:
        f()
        passed += 1
        print("ok", name, flush=True)
    except grpc.RpcError as e:
        failed += 1
        print("FAIL %s: %s %s" % (name, e.code().name, (e.details() or "")[:400].replace("\n", " ")), flush=True)
    except Exception as e:
        failed += 1
        print("FAIL %s: %s" % (name, str(e)[:400].replace("\n", " ") or type(e).__name__), flush=True)
print("COUNT", passed, failed)
