//! From a checked config.json to what the jail and the sentry are told.

use std::ffi::CString;
use std::fs;
use std::path::PathBuf;

use nix::time::{ClockId, clock_gettime};
use rsc_oci::spec::{
    Capabilities, LinuxCapabilities, LinuxNamespace, LinuxNamespaceType, PosixRlimitType, Process, Spec,
};
use rsc_oci::{Bundle, ContainerId, Placement, RootSource, defaults};
use rsc_proto::v1;

use crate::jail::{Joined, Kind, Mounted, Part, Shown};

/// Limits that the compute host's kernel enforces; the sentry keeps all others.
const HOST_LIMITS: [PosixRlimitType; 6] = [
    PosixRlimitType::RlimitStack,
    PosixRlimitType::RlimitAs,
    PosixRlimitType::RlimitData,
    PosixRlimitType::RlimitMemlock,
    PosixRlimitType::RlimitCpu,
    PosixRlimitType::RlimitNproc,
];
/// The most of /proc/cpuinfo that is told.
const MAX_CPUINFO: usize = 256 << 10;

/// A tree of this host that a gofer must serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The tree: a directory or a file.
    pub path: PathBuf,
    /// Refuse changes.
    pub read_only: bool,
}

/// What a container needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For the sentry; `stdio`, `namespaces` and `published` are still empty.
    pub sandbox: v1::Sandbox,
    /// For the gofers, in the order of `sandbox.gofers`.
    pub exports: Vec<Export>,
}

/// Linux's number of a resource limit.
fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

/// The namespace of this kind that the specification names; none: that of the host.
pub fn namespace(spec: &Spec, kind: Kind) -> Option<&LinuxNamespace> {
    let wanted = match kind {
        Kind::Pid => LinuxNamespaceType::Pid,
        Kind::Network => LinuxNamespaceType::Network,
        Kind::Ipc => LinuxNamespaceType::Ipc,
        Kind::Uts => LinuxNamespaceType::Uts,
        Kind::Cgroup => LinuxNamespaceType::Cgroup,
    };
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().find(|namespace| namespace.typ() == wanted)
}

/// Names in `/proc/PID/ns` of the namespaces that the specification leaves to the host.
pub fn host_namespaces(spec: &Spec) -> Vec<&'static str> {
    const NAMES: [(LinuxNamespaceType, &[&str]); 8] = [
        (LinuxNamespaceType::Cgroup, &["cgroup"]),
        (LinuxNamespaceType::Ipc, &["ipc"]),
        (LinuxNamespaceType::Mount, &["mnt"]),
        (LinuxNamespaceType::Network, &["net"]),
        (LinuxNamespaceType::Pid, &["pid", "pid_for_children"]),
        (LinuxNamespaceType::Time, &["time", "time_for_children"]),
        (LinuxNamespaceType::User, &["user"]),
        (LinuxNamespaceType::Uts, &["uts"]),
    ];
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let given = |kind| namespaces.into_iter().flatten().any(|namespace| namespace.typ() == kind);
    NAMES.iter().filter(|(kind, _)| !given(*kind)).flat_map(|(_, names)| names.iter().copied()).collect()
}

/// Where a namespace is that is to be joined; none: it is to be made.
pub fn existing(namespace: &LinuxNamespace) -> Option<PathBuf> {
    namespace.path().clone().filter(|path| !path.as_os_str().is_empty())
}

/// The namespaces that the specification joins. Where it names none for processes, these are the host's; of the other kinds what is
/// the host's stays out of the jail's reach.
pub fn joined(spec: &Spec) -> Vec<Joined> {
    let path = |kind| match namespace(spec, kind) {
        None if kind == Kind::Pid => Some(Joined { kind, path: "/proc/self/ns/pid".into() }),
        other => Some(Joined { kind, path: existing(other?)? }),
    };
    Kind::ALL.into_iter().filter_map(path).collect()
}

/// The user namespace that the specification joins: for a user without rights, the way into the others. The workload's users are the
/// sandbox's own in any case.
pub fn way_in(spec: &Spec) -> Option<PathBuf> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let user = namespaces.into_iter().flatten().find(|namespace| namespace.typ() == LinuxNamespaceType::User);
    user.and_then(existing)
}

/// What somebody is to see who enters the jail's mount namespace; nothing if the root is not on this host.
pub fn shown(bundle: &Bundle) -> Option<Shown> {
    let RootSource::Directory(root) = &bundle.root else { return None };
    let spec = &bundle.spec;
    let mounted = |mount: &rsc_oci::spec::Mount| {
        let what = match (bundle.bind_source(mount), mount.typ().as_deref()) {
            (Some(source), _) => Part::Bind { source, read_only: read_only(mount) },
            (None, Some("proc")) => Part::Proc,
            (None, _) => Part::Unseen,
        };
        Mounted { destination: mount.destination().clone(), what }
    };
    Some(Shown {
        root: root.clone(),
        read_only: spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false),
        mounts: spec.mounts().iter().flatten().map(mounted).collect(),
    })
}

/// Whether the last word of a mount's options on changes is no.
fn read_only(mount: &rsc_oci::spec::Mount) -> bool {
    let options = mount.options().iter().flatten();
    options.map(|option| plain(option)).rfind(|option| matches!(*option, "ro" | "rw")) == Some("ro")
}

/// Limits for the jail: resource, soft, hard.
pub fn host_limits(process: &Process) -> Vec<(u32, u64, u64)> {
    let limits = process.rlimits().iter().flatten().filter(|limit| HOST_LIMITS.contains(&limit.typ()));
    limits.map(|limit| (resource(limit.typ()), limit.soft(), limit.hard())).collect()
}

/// Texts as the kernel takes them. A zero byte was refused when the bundle was checked.
pub fn c_strings(texts: Option<&Vec<String>>) -> Vec<CString> {
    texts.into_iter().flatten().filter_map(|text| CString::new(text.as_str()).ok()).collect()
}

fn capability_set(names: Option<&Capabilities>) -> u64 {
    names
        .into_iter()
        .flatten()
        .filter_map(|name| defaults::capability_bit(&format!("CAP_{name}")))
        .fold(0, |a, b| a | b)
}

fn capabilities(sets: Option<&LinuxCapabilities>) -> v1::Capabilities {
    let Some(sets) = sets else { return v1::Capabilities::default() };
    v1::Capabilities {
        effective: capability_set(sets.effective().as_ref()),
        permitted: capability_set(sets.permitted().as_ref()),
        inheritable: capability_set(sets.inheritable().as_ref()),
        bounding: capability_set(sets.bounding().as_ref()),
        ambient: capability_set(sets.ambient().as_ref()),
    }
}

/// Works out what the container needs.
pub fn plan(id: &ContainerId, bundle: &Bundle, placement: Placement, record: bool) -> Plan {
    let spec = &bundle.spec;
    let mut exports = Vec::new();
    let read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let source = match &bundle.root {
        RootSource::Directory(path) => {
            exports.push(Export { path: path.clone(), read_only });
            v1::root::Source::Gofer(0)
        }
        RootSource::Export(name) => v1::root::Source::Export(name.clone()),
    };
    let mounts = spec.mounts().iter().flatten().map(|mount| self::mount(bundle, mount, &mut exports)).collect();
    let linux = spec.linux().as_ref();
    let list = |list: Option<&Option<Vec<String>>>| list.and_then(Clone::clone).unwrap_or_default();
    let sandbox = v1::Sandbox {
        id: id.to_string(),
        process: spec.process().as_ref().map(process),
        root: Some(v1::Root { source: Some(source), readonly: read_only }),
        mounts,
        hostname: spec.hostname().clone().unwrap_or_default(),
        domainname: spec.domainname().clone().unwrap_or_default(),
        masked_paths: list(linux.map(|linux| linux.masked_paths())),
        readonly_paths: list(linux.map(|linux| linux.readonly_paths())),
        strict: placement == Placement::Strict,
        record,
        gofers: exports.iter().map(|export| export.path.display().to_string()).collect(),
        stdio: Vec::new(),
        sysctls: linux.and_then(|linux| linux.sysctl().clone()).unwrap_or_default(),
        host: Some(host_facts()),
        tid: 1,
        namespaces: None,
        host_pids: false,
        anchor: false,
        published: Vec::new(),
        in_context: false,
        seccomp: linux.and_then(|linux| linux.seccomp().as_ref()).map(super::seccomp::compile),
    };
    Plan { sandbox, exports }
}

/// What the sentry is told of a process.
pub fn process(process: &Process) -> v1::Process {
    let user = process.user();
    let limits = process.rlimits().iter().flatten();
    v1::Process {
        args: process.args().clone().unwrap_or_default(),
        env: process.env().clone().unwrap_or_default(),
        cwd: process.cwd().display().to_string(),
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
        rlimits: limits
            .map(|limit| v1::Rlimit { resource: resource(limit.typ()), soft: limit.soft(), hard: limit.hard() })
            .collect(),
        capabilities: Some(capabilities(process.capabilities().as_ref())),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        terminal: process.terminal().unwrap_or(false),
        own_user: false,
        own_capabilities: false,
    }
}

/// An option for a mount and all below it, as for the mount alone: what a gofer serves is one mount here, whatever it is on the host.
/// mount_setattr(2), AT_RECURSIVE.
fn plain(option: &str) -> &str {
    match option {
        "rro" | "rrw" | "rnosuid" | "rsuid" | "rnodev" | "rdev" | "rnoexec" | "rexec" | "rnoatime" | "ratime" => {
            option.strip_prefix('r').unwrap_or(option)
        }
        _ => option,
    }
}

fn mount(bundle: &Bundle, mount: &rsc_oci::spec::Mount, exports: &mut Vec<Export>) -> v1::Mount {
    let options: Vec<String> = mount.options().iter().flatten().map(|option| plain(option).to_owned()).collect();
    let mut kind = mount.typ().clone().unwrap_or_default();
    let mut source = None;
    if let Some(path) = bundle.bind_source(mount) {
        kind = "bind".to_owned();
        let wanted = Export { path, read_only: read_only(mount) };
        // One gofer serves all mounts of the same tree.
        let index = exports.iter().position(|export| *export == wanted).unwrap_or_else(|| {
            exports.push(wanted);
            exports.len() - 1
        });
        source = u32::try_from(index).ok().map(v1::mount::Source::Gofer);
    } else if kind == "cgroup2" {
        kind = "cgroup".to_owned();
    }
    v1::Mount { destination: mount.destination().display().to_string(), r#type: kind, options, source }
}

/// Facts of this machine which a sandbox may see.
pub(crate) fn host_facts() -> v1::HostFacts {
    let nanos = |clock| {
        clock_gettime(clock)
            .map_or(0, |time| time.tv_sec().max(0) as u64 * 1_000_000_000 + time.tv_nsec().max(0) as u64)
    };
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total =
        meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let mut cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpuinfo.truncate(MAX_CPUINFO);
    let uname = nix::sys::utsname::uname();
    v1::HostFacts {
        cpus: std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(1)),
        memory: total.map_or(0, |kib: u64| kib << 10),
        boot_time_ns: nanos(ClockId::CLOCK_REALTIME).saturating_sub(nanos(ClockId::CLOCK_BOOTTIME)),
        cpuinfo,
        kernel_release: uname.as_ref().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
        kernel_version: uname.map(|name| name.version().to_string_lossy().into_owned()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsc_oci::Permissions;
    use serde_json::{Value, json};

    fn planned(change: impl FnOnce(&mut Value)) -> Plan {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rootfs")).unwrap();
        let mut value: Value = serde_json::from_str(defaults::SPEC).unwrap();
        change(&mut value);
        fs::write(dir.path().join("config.json"), value.to_string()).unwrap();
        let bundle = Bundle::load(dir.path(), &Permissions::default()).unwrap();
        plan(&ContainerId::parse("c").unwrap(), &bundle, Placement::Strict, false)
    }

    #[test]
    fn the_default_specification() {
        let plan = planned(|_| {});
        let process = plan.sandbox.process.unwrap();
        assert_eq!(process.args, ["sh"]);
        assert_eq!(process.capabilities.unwrap().effective, (1 << 29) | (1 << 5) | (1 << 10));
        assert_eq!(process.rlimits, [v1::Rlimit { resource: 7, soft: 1024, hard: 1024 }]);
        assert_eq!(plan.exports.len(), 1);
        assert!(plan.exports[0].read_only);
        assert!(plan.sandbox.strict);
        let host = plan.sandbox.host.unwrap();
        assert!(host.cpus > 0 && host.memory > 0 && host.boot_time_ns > 0 && !host.kernel_release.is_empty());
    }

    #[test]
    fn recursive_options_are_plain_ones() {
        let of = |options: &[&str]| {
            let plan = planned(|v| {
                v["mounts"] =
                    json!([{"destination": "/a", "type": "bind", "source": "config.json", "options": options}]);
            });
            (plan.exports[1].read_only, plan.sandbox.mounts[0].options.clone())
        };
        assert_eq!(of(&["rbind", "rprivate", "rro"]), (true, ["rbind", "rprivate", "ro"].map(str::to_owned).to_vec()));
        assert_eq!(
            of(&["rbind", "ro", "rrw", "rnosuid"]),
            (false, ["rbind", "ro", "rw", "nosuid"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn bind_mounts_share_gofers() {
        let plan = planned(|v| {
            v["mounts"] = json!([
                {"destination": "/a", "type": "bind", "source": "rootfs", "options": ["rbind", "ro"]},
                {"destination": "/b", "source": "config.json", "options": ["bind"]},
                {"destination": "/c", "source": "config.json", "options": ["bind"]},
                {"destination": "/d", "type": "cgroup2", "source": "cgroup"},
            ]);
        });
        let sources: Vec<_> =
            plan.sandbox.mounts.iter().map(|mount| (mount.r#type.as_str(), mount.source.clone())).collect();
        // The first is the root's own.
        assert_eq!(plan.exports.len(), 2);
        assert_eq!(
            sources,
            [
                ("bind", Some(v1::mount::Source::Gofer(0))),
                ("bind", Some(v1::mount::Source::Gofer(1))),
                ("bind", Some(v1::mount::Source::Gofer(1))),
                ("cgroup", None),
            ]
        );
    }
}
