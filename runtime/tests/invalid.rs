//! Invalid config.json: each is refused by the name of the property that is wrong, and nothing is left behind. All but the last few are
//! refused before anything is made; those need root.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What is put where (a JSON pointer; `null` takes it away), and the property that the refusal must name.
type Case = (&'static str, fn() -> Value, &'static str);

fn long(length: usize) -> String {
    "x".repeat(length)
}

fn many(count: usize, value: Value) -> Value {
    Value::Array(vec![value; count])
}

/// One mount.
fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!([{"destination": destination, "type": kind, "source": source, "options": options}])
}

fn profile(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

const WRONG_TYPES: &[Case] = &[
    ("/ociVersion", || json!(1), "ociVersion"),
    ("/root", || json!("rootfs"), "root"),
    ("/root/path", || json!(7), "root.path"),
    ("/root/readonly", || json!("yes"), "root.readonly"),
    ("/hostname", || json!(["a"]), "hostname"),
    ("/domainname", || json!({}), "domainname"),
    ("/mounts", || json!({}), "mounts"),
    ("/mounts", || json!(["/tmp"]), "mounts[0]"),
    ("/mounts", || json!([{"destination": 1}]), "mounts[0].destination"),
    ("/mounts", || json!([{"destination": "/a", "type": true}]), "mounts[0].type"),
    ("/mounts", || json!([{"destination": "/a", "options": "ro"}]), "mounts[0].options"),
    ("/mounts", || json!([{"destination": "/a", "options": [1]}]), "mounts[0].options[0]"),
    ("/process", || json!([]), "process"),
    ("/process/terminal", || json!("no"), "process.terminal"),
    ("/process/args", || json!("sh"), "process.args"),
    ("/process/args", || json!(["sh", 1]), "process.args[1]"),
    ("/process/env", || json!({"A": "b"}), "process.env"),
    ("/process/cwd", || json!(1), "process.cwd"),
    ("/process/user", || json!("root"), "process.user"),
    ("/process/user/uid", || json!("0"), "process.user.uid"),
    ("/process/user/gid", || json!(-1), "process.user.gid"),
    ("/process/user/uid", || json!(4_294_967_296_u64), "process.user.uid"),
    ("/process/user/umask", || json!("022"), "process.user.umask"),
    ("/process/user/additionalGids", || json!(5), "process.user.additionalGids"),
    ("/process/noNewPrivileges", || json!(1), "process.noNewPrivileges"),
    ("/process/oomScoreAdj", || json!("low"), "process.oomScoreAdj"),
    ("/process/rlimits", || json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]), "process.rlimits[0].type"),
    ("/process/rlimits", || json!([{"type": "RLIMIT_NOFILE", "soft": -1, "hard": 1}]), "process.rlimits[0].soft"),
    ("/process/rlimits", || json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1e30}]), "process.rlimits[0].hard"),
    ("/process/capabilities", || json!(["CAP_CHOWN"]), "process.capabilities"),
    ("/process/capabilities/bounding", || json!("CAP_CHOWN"), "process.capabilities.bounding"),
    ("/process/consoleSize", || json!({"height": "24", "width": 80}), "process.consoleSize.height"),
    ("/hooks", || json!("none"), "hooks"),
    ("/hooks", || json!({"poststop": "/bin/true"}), "hooks.poststop"),
    ("/hooks", || json!({"poststop": [{"path": "/bin/true", "timeout": "1"}]}), "hooks.poststop[0].timeout"),
    ("/annotations", || json!({"a": 1}), "annotations.a"),
    ("/linux", || json!(true), "linux"),
    ("/linux/namespaces", || json!(["pid"]), "linux.namespaces[0]"),
    ("/linux/namespaces", || json!([{"type": "planet"}]), "linux.namespaces[0].type"),
    ("/linux/namespaces", || json!([{"type": "pid", "path": 1}]), "linux.namespaces[0].path"),
    (
        "/linux/uidMappings",
        || json!([{"containerID": "a", "hostID": 0, "size": 1}]),
        "linux.uidMappings[0].containerID",
    ),
    ("/linux/devices", || json!([{"path": "/dev/x", "type": "zz"}]), "linux.devices[0].type"),
    ("/linux/cgroupsPath", || json!(9), "linux.cgroupsPath"),
    ("/linux/resources", || json!("all"), "linux.resources"),
    ("/linux/resources", || json!({"memory": {"limit": "1g"}}), "linux.resources.memory.limit"),
    ("/linux/resources", || json!({"cpu": {"shares": -1}}), "linux.resources.cpu.shares"),
    ("/linux/resources", || json!({"pids": {"limit": "max"}}), "linux.resources.pids.limit"),
    ("/linux/resources", || json!({"devices": [{"allow": "no"}]}), "linux.resources.devices[0].allow"),
    ("/linux/sysctl", || json!([]), "linux.sysctl"),
    ("/linux/sysctl", || json!({"net.core.somaxconn": 1}), "linux.sysctl"),
    ("/linux/maskedPaths", || json!("/proc"), "linux.maskedPaths"),
    ("/linux/readonlyPaths", || json!([1]), "linux.readonlyPaths[0]"),
    ("/linux/seccomp", || json!("none"), "linux.seccomp"),
    ("/linux/seccomp", || json!({"defaultAction": "ALLOW"}), "linux.seccomp.defaultAction"),
    ("/linux/rootfsPropagation", || json!(1), "linux.rootfsPropagation"),
];

const MISSING: &[Case] = &[
    ("/root", || Value::Null, "root"),
    ("/process", || Value::Null, "process"),
    ("/process/args", || Value::Null, "process.args"),
    ("/process/args", || json!([]), "process.args"),
    ("/process/args", || json!([""]), "process.args[0]"),
    ("/root/path", || json!(""), "root.path"),
    ("/root/path", || json!("nowhere"), "root.path"),
    ("/root/path", || json!("config.json"), "root.path"),
    ("/mounts", || json!([{"destination": "/a"}]), "mounts[0].type"),
    ("/mounts", || json!([{"destination": "/a", "type": "bind"}]), "mounts[0].source"),
    ("/mounts", || mount("/a", "bind", "nowhere", &["bind"]), "mounts[0].source"),
    ("/hooks", || json!({"prestart": [{"args": ["x"]}]}), "hooks.prestart[0]"),
    ("/process/rlimits", || json!([{"type": "RLIMIT_NOFILE", "soft": 1}]), "process.rlimits[0]"),
    ("/linux/namespaces", || json!([{"path": "/proc/1/ns/net"}]), "linux.namespaces[0]"),
    ("/linux/seccomp", || json!({}), "linux.seccomp"),
    ("/linux/seccomp", || profile(json!({"names": [], "action": "SCMP_ACT_KILL"})), "linux.seccomp.syscalls[0].names"),
];

const NONSENSE: &[Case] = &[
    ("/ociVersion", || json!("2.0.0"), "ociVersion"),
    ("/ociVersion", || json!(""), "ociVersion"),
    ("/process/cwd", || json!("tmp"), "process.cwd"),
    ("/process/cwd", || json!(""), "process.cwd"),
    ("/process/args", || json!(["a\u{0}b"]), "process.args[0]"),
    ("/process/env", || json!(["A"]), "process.env[0]"),
    ("/process/env", || json!(["=b"]), "process.env[0]"),
    ("/process/env", || json!(["A=\u{0}"]), "process.env[0]"),
    ("/process/user/uid", || json!(u32::MAX), "process.user.uid"),
    ("/process/user/umask", || json!(0o1000), "process.user.umask"),
    ("/process/oomScoreAdj", || json!(1001), "process.oomScoreAdj"),
    ("/process/rlimits", || json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]), "process.rlimits[0]"),
    ("/process/rlimits", || many(2, json!({"type": "RLIMIT_CPU", "soft": 1, "hard": 1})), "process.rlimits[1]"),
    ("/process/scheduler", || json!({"policy": "SCHED_OTHER"}), "process.scheduler"),
    ("/process/ioPriority", || json!({"class": "IOPRIO_CLASS_BE", "priority": 1}), "process.ioPriority"),
    ("/process/capabilities/bounding", || json!(["CAP_FLY"]), "process.capabilities.bounding"),
    ("/hooks", || json!({"createRuntime": [{"path": "bin/true"}]}), "hooks.createRuntime[0].path"),
    ("/hooks", || json!({"startContainer": [{"path": "true"}]}), "hooks.startContainer[0].path"),
    ("/hooks", || json!({"poststart": [{"path": "/bin/true", "timeout": 0}]}), "hooks.poststart[0].timeout"),
    ("/linux/namespaces", || many(2, json!({"type": "pid"})), "linux.namespaces[1]"),
    ("/linux/namespaces", || json!([{"type": "network", "path": "net"}]), "linux.namespaces[0].path"),
    ("/linux/namespaces", || json!([{"type": "network", "path": "/nowhere"}]), "linux.namespaces[0].path"),
    ("/linux/devices", || json!([{"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232}]), "linux.devices[0]"),
    ("/linux/sysctl", || json!({"kernel.panic": "1"}), "linux.sysctl"),
    ("/linux/sysctl", || json!({"kernel.hostname": "x"}), "linux.sysctl"),
    ("/linux/sysctl", || json!({"net..x": "1"}), "linux.sysctl"),
    ("/linux/sysctl", || json!({"": "1"}), "linux.sysctl"),
    ("/linux/rootfsPropagation", || json!("loud"), "linux.rootfsPropagation"),
    ("/linux/personality", || json!({"domain": "LINUX32"}), "linux.personality"),
    ("/process/commandLine", || json!("x"), "process.commandLine"),
    ("/process/execCPUAffinity", || json!({"initial": "0"}), "process.execCPUAffinity"),
    ("/linux/intelRdt", || json!({"closID": "x"}), "linux.intelRdt"),
    ("/linux/memoryPolicy", || json!({"mode": "MPOL_BIND", "nodes": "0"}), "linux.memoryPolicy"),
    ("/linux/netDevices", || json!({"eth0": {}}), "linux.netDevices"),
    ("/linux/timeOffsets", || json!({"boottime": {"secs": 1}}), "linux.timeOffsets"),
    ("/linux/resources", || json!({"rdma": {"mlx5_1": {"hcaHandles": 1}}}), "linux.resources.rdma"),
    ("/linux/resources", || json!({"network": {"classID": 1}}), "linux.resources.network"),
    ("/linux/resources", || json!({"unified": {"../x": "1"}}), "linux.resources.unified"),
    (
        "/linux/resources",
        || json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}),
        "linux.resources.hugepageLimits[0]",
    ),
    ("/linux/seccomp", || json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "linux.seccomp.defaultAction"),
    (
        "/linux/seccomp",
        || json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 9999}),
        "linux.seccomp.defaultErrnoRet",
    ),
    (
        "/linux/seccomp",
        || {
            profile(
                json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}),
            )
        },
        "linux.seccomp.syscalls[0].args[0].index",
    ),
    ("/annotations", || json!({"": "x"}), "annotations"),
    ("/annotations", || json!({"dev.rsc.unknown": "x"}), "dev.rsc.unknown"),
    ("/annotations", || json!({"dev.rsc.sentry": "tcp://h:1"}), "dev.rsc.sentry"),
    ("/annotations", || json!({"dev.rsc.publish": ""}), "dev.rsc.publish"),
    ("/annotations", || json!({"dev.rsc.publish": "80-90"}), "dev.rsc.publish"),
    ("/annotations", || json!({"dev.rsc.publish": "80,65536"}), "dev.rsc.publish"),
    ("/annotations", || json!({"dev.rsc.publish": "0:80"}), "dev.rsc.publish"),
    ("/annotations", || json!({"dev.rsc.publish": "53/udp"}), "dev.rsc.publish"),
    ("/annotations", || json!({"dev.rsc.publish": "80:81,80:82"}), "dev.rsc.publish"),
    ("/windows", || json!({"layerFolders": ["a"]}), "windows"),
    ("/solaris", || json!({"milestone": "x"}), "solaris"),
    ("/vm", || json!({"kernel": {"path": "/k"}}), "vm"),
    ("/zos", || json!({"namespaces": []}), "zos"),
    ("/mounts", || mount("/a", "ext4", "/dev/sda1", &[]), "mounts[0].type"),
    ("/mounts", || mount("/a", "tmpfs", "tmpfs", &["loop"]), "mounts[0].options[0]"),
    ("/mounts", || mount("/a", "tmpfs", "tmpfs", &["size=1\u{0}"]), "mounts[0].options[0]"),
    (
        "/mounts",
        || {
            json!([{"destination": "/a", "type": "bind", "source": "rootfs", "options": ["bind"],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}])
        },
        "mounts[0].uidMappings",
    ),
    (
        "/mounts",
        || {
            json!([{"destination": "/a", "type": "bind", "source": "rootfs", "options": ["bind"],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}])
        },
        "mounts[0].gidMappings",
    ),
    (
        "/linux/seccomp",
        || json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}),
        "linux.seccomp.listenerPath",
    ),
];

const ABSURD_SIZES: &[Case] = &[
    ("/hostname", || json!(long(65)), "hostname"),
    ("/domainname", || json!(long(65)), "domainname"),
    ("/process/args", || many(65_537, json!("x")), "process.args"),
    ("/process/env", || many(65_537, json!("A=b")), "process.env"),
    ("/process/user/additionalGids", || many(65_537, json!(1)), "process.user.additionalGids"),
    ("/mounts", || many(65_537, mount("/a", "tmpfs", "t", &[])[0].clone()), "mounts"),
    ("/linux/maskedPaths", || many(65_537, json!("/a")), "linux.maskedPaths"),
    (
        "/linux/devices",
        || many(65_537, json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3})),
        "linux.devices",
    ),
    ("/hostname", || json!(long(9 << 20)), "larger than"),
    ("/annotations", || (0..100).fold(json!("x"), |inner, _| json!([inner])), "too deeply"),
];

const ESCAPES: &[Case] = &[
    ("/mounts", || mount("../a", "tmpfs", "t", &[]), "mounts[0].destination"),
    ("/mounts", || mount("/a/../../b", "tmpfs", "t", &[]), "mounts[0].destination"),
    ("/mounts", || mount("", "tmpfs", "t", &[]), "mounts[0].destination"),
    ("/mounts", || mount("/a\u{0}", "tmpfs", "t", &[]), "mounts[0].destination"),
    ("/linux/maskedPaths", || json!(["proc"]), "linux.maskedPaths[0]"),
    ("/linux/maskedPaths", || json!(["/proc/../etc"]), "linux.maskedPaths[0]"),
    ("/linux/readonlyPaths", || json!(["/sys/../.."]), "linux.readonlyPaths[0]"),
    ("/linux/cgroupsPath", || json!("/../../x"), "linux.cgroupsPath"),
    ("/root/path", || json!("rootfs\u{0}"), "root.path"),
];

/// Found when the tree is made: by then there are a jail, a sentry and a gofer.
const IN_THE_TREE: &[Case] = &[
    ("/mounts", || mount("/cycle/x", "tmpfs", "t", &[]), "mounts[0]"),
    ("/mounts", || mount("/self", "tmpfs", "t", &[]), "mounts[0]"),
    ("/mounts", || mount("/file/x", "tmpfs", "t", &[]), "mounts[0]"),
    ("/mounts", || mount("/a", "tmpfs", "t", &["size=99999999999g"]), "mounts[0]"),
    ("/process/cwd", || json!("/cycle"), "process.cwd"),
    ("/process/cwd", || json!("/file"), "process.cwd"),
    ("/process/args", || json!(["/cycle"]), "exec: \"/cycle\""),
    ("/process/args", || json!(["/nonexistent"]), "no such file or directory"),
    ("/process/args", || json!(["nonexistent"]), "executable file not found in $PATH"),
    ("/process/args", || json!(["/file"]), "permission denied"),
];

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        let root = scene.path("bundle/rootfs");
        fs::create_dir_all(&root).unwrap();
        symlink("other", root.join("cycle")).unwrap();
        symlink("cycle", root.join("other")).unwrap();
        symlink("self", root.join("self")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// What `create` says to this case, if anything is wrong with that.
    fn problem(&self, (pointer, value, property): &Case) -> Option<String> {
        let mut config: Value = serde_json::from_str(rsc_oci::defaults::SPEC).unwrap();
        config["process"]["terminal"] = false.into();
        put(&mut config, pointer, value());
        fs::write(self.path("bundle/config.json"), config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsc-runtime"));
        command.args(["--root", self.path("state").to_str().unwrap(), "create", "--bundle"]);
        let output = command.arg(self.path("bundle")).arg("invalid").env_clear().output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let left = names_in(&self.path("state"));
        let right =
            matches!(output.status.code(), Some(1 | 126 | 127)) && text.lines().count() == 1 && text.contains(property);
        if right && left.is_empty() {
            None
        } else {
            Some(format!("{pointer}, for {property}: {text:?}, left {left:?}"))
        }
    }

    fn refuses(&self, cases: &[Case]) {
        let problems: Vec<_> = cases.iter().filter_map(|case| self.problem(case)).collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Puts a value at a pointer, whose last key may be new.
fn put(config: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
    if value.is_null() {
        parent.remove(key);
    } else {
        parent.insert(key.to_owned(), value);
    }
}

#[test]
fn wrong_types() {
    Scene::new().refuses(WRONG_TYPES);
}

#[test]
fn missing_fields() {
    Scene::new().refuses(MISSING);
}

#[test]
fn nonsense() {
    Scene::new().refuses(NONSENSE);
}

#[test]
fn absurd_sizes() {
    Scene::new().refuses(ABSURD_SIZES);
}

#[test]
fn paths_that_escape() {
    Scene::new().refuses(ESCAPES);
}

#[test]
fn in_the_tree() {
    if nix::unistd::geteuid().is_root() {
        Scene::new().refuses(IN_THE_TREE);
    }
}

#[test]
fn there_are_at_least_a_hundred() {
    let all = [WRONG_TYPES, MISSING, NONSENSE, ABSURD_SIZES, ESCAPES, IN_THE_TREE];
    assert!(all.iter().map(|cases| cases.len()).sum::<usize>() >= 100);
}
