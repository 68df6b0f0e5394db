//! What a config.json may say. Each function looks at one part, in the order of the file, and names the property that is
//! wrong or can't be honoured; nothing is ignored but what has no meaning inside a sandbox, and that is noted.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{
    Hook, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespaceType, LinuxPersonalityDomain,
    LinuxResources, Mount, Process, Spec,
};

use crate::annotations::Annotations;
use crate::bundle::{BundleError, RootSource};
use crate::json::one_line;
use crate::seccomp;

/// More arguments, mounts, rlimits… than this are a mistake or an attack.
const MAX_ENTRIES: usize = 1 << 16;
/// Linux's limit for a host name.
const MAX_HOSTNAME: usize = 64;

pub(crate) fn wrong<T>(property: impl Into<String>, problem: impl Into<String>) -> Result<T, BundleError> {
    let (property, problem) = (one_line(&property.into()), one_line(&problem.into()));
    Err(BundleError::Property { property, problem })
}

pub(crate) fn unsupported<T>(property: impl Into<String>) -> Result<T, BundleError> {
    wrong(property, "is not supported; remove it")
}

/// Checks the whole, and finds the root.
pub(crate) fn check(
    spec: &Spec,
    bundle: &Path,
    annotations: &Annotations,
    ignored: &mut Vec<String>,
) -> Result<RootSource, BundleError> {
    version(spec.version())?;
    for (name, present) in [
        ("windows", spec.windows().is_some()),
        ("solaris", spec.solaris().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ] {
        if present {
            return unsupported(name);
        }
    }
    let root = root(spec, bundle, annotations)?;
    match spec.process() {
        Some(it) => process(it, ignored)?,
        None => return wrong("process", "is missing; say what to run"),
    }
    for (name, host) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if let Some(host) = host {
            text(name, host)?;
            if host.len() > MAX_HOSTNAME {
                return wrong(name, format!("has {} bytes, at most {MAX_HOSTNAME} are allowed", host.len()));
            }
        }
    }
    bounded("mounts", spec.mounts().as_ref())?;
    for (index, it) in spec.mounts().iter().flatten().enumerate() {
        mount(&format!("mounts[{index}]"), it, bundle)?;
    }
    hooks(spec)?;
    if spec.annotations().iter().flatten().any(|(key, _)| key.is_empty()) {
        return wrong("annotations", "has an empty key");
    }
    if let Some(it) = spec.linux() {
        linux(it, ignored)?;
    }
    Ok(root)
}

fn version(version: &str) -> Result<(), BundleError> {
    let number = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = number.split('.').map(str::parse::<u32>).collect();
    match parts.as_slice() {
        [Ok(1), Ok(_), Ok(_)] => Ok(()),
        _ => wrong("ociVersion", format!("{version:?} is not supported; every 1.x.y is")),
    }
}

fn root(spec: &Spec, bundle: &Path, annotations: &Annotations) -> Result<RootSource, BundleError> {
    if let Some(export) = &annotations.rootfs {
        return Ok(RootSource::Export(export.clone()));
    }
    let Some(root) = spec.root() else { return wrong("root", "is missing; say where the root file system is") };
    if root.path().as_os_str().is_empty() {
        return wrong("root.path", "is empty; say where the root file system is");
    }
    text("root.path", &root.path().to_string_lossy())?;
    let path = bundle.join(root.path());
    match path.canonicalize() {
        Ok(path) if path.is_dir() => Ok(RootSource::Directory(path)),
        Ok(_) => wrong("root.path", format!("{} is not a directory", path.display())),
        Err(error) => wrong("root.path", format!("{}: {error}; create it or correct the path", path.display())),
    }
}

pub(crate) fn process(process: &Process, ignored: &mut Vec<String>) -> Result<(), BundleError> {
    bounded("process.args", process.args().as_ref())?;
    match process.args().as_deref() {
        None | Some([]) => return wrong("process.args", "is empty; name a program"),
        Some(args) => {
            for (index, arg) in args.iter().enumerate() {
                text(&format!("process.args[{index}]"), arg)?;
            }
            if args.first().is_some_and(String::is_empty) {
                return wrong("process.args[0]", "is empty; name a program");
            }
        }
    }
    bounded("process.env", process.env().as_ref())?;
    for (index, entry) in process.env().iter().flatten().enumerate() {
        let property = format!("process.env[{index}]");
        text(&property, entry)?;
        if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return wrong(property, format!("{entry:?} is not NAME=VALUE"));
        }
    }
    let cwd = process.cwd();
    text("process.cwd", &cwd.to_string_lossy())?;
    if !cwd.is_absolute() {
        return wrong("process.cwd", format!("{:?} is not an absolute path", cwd.display().to_string()));
    }
    let user = process.user();
    for (name, id) in [("uid", user.uid()), ("gid", user.gid())] {
        if id == u32::MAX {
            return wrong(format!("process.user.{name}"), "4294967295 is no valid id");
        }
    }
    if user.umask().is_some_and(|umask| umask > 0o777) {
        return wrong("process.user.umask", "has bits beyond 0777");
    }
    bounded("process.user.additionalGids", user.additional_gids().as_ref())?;
    bounded("process.rlimits", process.rlimits().as_ref())?;
    let mut seen = HashSet::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let property = format!("process.rlimits[{index}]");
        if !seen.insert(limit.typ().to_string()) {
            return wrong(property, format!("{} is given twice", limit.typ()));
        }
        if limit.soft() > limit.hard() {
            return wrong(property, format!("soft {} is above hard {}", limit.soft(), limit.hard()));
        }
    }
    if let Some(adj) = process.oom_score_adj()
        && !(-1000..=1000).contains(&adj)
    {
        return wrong("process.oomScoreAdj", format!("{adj} is outside -1000 to 1000"));
    }
    for (name, present) in [
        ("process.scheduler", process.scheduler().is_some()),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
        ("process.commandLine", process.command_line().is_some()),
    ] {
        if present {
            return unsupported(name);
        }
    }
    label("process.apparmorProfile", process.apparmor_profile().as_deref(), module_active("apparmor"), ignored)?;
    label("process.selinuxLabel", process.selinux_label().as_deref(), module_active("selinux"), ignored)
}

/// A security label means something only where its module is active; there it can't be honoured yet.
fn label(property: &str, value: Option<&str>, active: bool, ignored: &mut Vec<String>) -> Result<(), BundleError> {
    match value {
        None | Some("" | "unconfined") => Ok(()),
        Some(_) if active => unsupported(property),
        Some(value) => {
            ignored.push(format!("{property}: {value:?}: this machine has no such security module"));
            Ok(())
        }
    }
}

fn module_active(name: &str) -> bool {
    match name {
        "apparmor" => std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")),
        _ => Path::new("/sys/fs/selinux/enforce").exists(),
    }
}

/// Options of mount(8) and of the specification that a mount may have, besides those with a value.
pub(crate) const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "rbind",
    "relatime",
    "remount",
    "ro",
    "rprivate",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "unbindable",
    "tmpcopyup",
    "nr_inodes",
    "newinstance",
    "rnosuid",
    "rnodev",
    "rnoexec",
    "rnoatime",
    "rsuid",
    "rdev",
    "rexec",
    "ratime",
    "acl",
    "noacl",
    "seclabel",
    "noswap",
    "inode64",
    "inode32",
];
/// Options with a value, by what stands before the `=`.
const VALUED_OPTIONS: &[&str] =
    &["mode", "size", "nr_inodes", "nr_blocks", "uid", "gid", "ptmxmode", "max", "hidepid", "subset", "huge", "mpol"];

fn mount(property: &str, mount: &Mount, bundle: &Path) -> Result<(), BundleError> {
    plain_path(&format!("{property}.destination"), mount.destination())?;
    let options: Vec<&str> = mount.options().iter().flatten().map(String::as_str).collect();
    for (index, option) in options.iter().enumerate() {
        text(&format!("{property}.options[{index}]"), option)?;
        let known = match option.split_once('=') {
            Some((name, _)) => VALUED_OPTIONS.contains(&name),
            None => MOUNT_OPTIONS.contains(option),
        };
        if !known {
            return wrong(format!("{property}.options[{index}]"), format!("{option:?} is not supported; remove it"));
        }
    }
    for (name, list) in [("uidMappings", mount.uid_mappings()), ("gidMappings", mount.gid_mappings())] {
        if list.is_some() {
            return unsupported(format!("{property}.{name}"));
        }
    }
    if is_bind(mount) {
        let source = format!("{property}.source");
        let Some(path) = mount.source().as_ref().filter(|path| !path.as_os_str().is_empty()) else {
            return wrong(source, "is missing; a bind mount needs one");
        };
        text(&source, &path.to_string_lossy())?;
        return match bundle.join(path).metadata() {
            Ok(_) => Ok(()),
            Err(error) => wrong(source, format!("{}: {error}; create it or correct the path", path.display())),
        };
    }
    match mount.typ().as_deref() {
        Some("tmpfs" | "proc" | "sysfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2") => Ok(()),
        Some(other) => wrong(
            format!("{property}.type"),
            format!("{other:?} is not supported; bind, tmpfs, proc, sysfs, devpts, mqueue and cgroup are"),
        ),
        None => wrong(format!("{property}.type"), "is missing; say bind, tmpfs, proc, sysfs, devpts, mqueue or cgroup"),
    }
}

/// Whether a mount binds a tree of the host, which either the type or an option says.
pub(crate) fn is_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind")
        || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind")
}

fn hooks(spec: &Spec) -> Result<(), BundleError> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    for (name, list) in [
        ("hooks.prestart", prestart),
        ("hooks.createRuntime", hooks.create_runtime()),
        ("hooks.createContainer", hooks.create_container()),
        ("hooks.startContainer", hooks.start_container()),
        ("hooks.poststart", hooks.poststart()),
        ("hooks.poststop", hooks.poststop()),
    ] {
        bounded(name, list.as_ref())?;
        for (index, it) in list.iter().flatten().enumerate() {
            hook(&format!("{name}[{index}]"), it)?;
        }
    }
    Ok(())
}

fn hook(property: &str, hook: &Hook) -> Result<(), BundleError> {
    text(&format!("{property}.path"), &hook.path().to_string_lossy())?;
    if !hook.path().is_absolute() {
        return wrong(
            format!("{property}.path"),
            format!("{:?} is not an absolute path", hook.path().display().to_string()),
        );
    }
    for (name, list) in [("args", hook.args()), ("env", hook.env())] {
        bounded(&format!("{property}.{name}"), list.as_ref())?;
        for (index, it) in list.iter().flatten().enumerate() {
            text(&format!("{property}.{name}[{index}]"), it)?;
        }
    }
    match hook.timeout() {
        Some(timeout) if timeout <= 0 => wrong(format!("{property}.timeout"), "is not above 0 seconds"),
        _ => Ok(()),
    }
}

fn linux(linux: &Linux, ignored: &mut Vec<String>) -> Result<(), BundleError> {
    let mut seen = Vec::new();
    bounded("linux.namespaces", linux.namespaces().as_ref())?;
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let property = format!("linux.namespaces[{index}]");
        if seen.contains(&namespace.typ()) {
            return wrong(property, "is given twice");
        }
        seen.push(namespace.typ());
        if let Some(path) = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            let joinable = matches!(
                namespace.typ(),
                LinuxNamespaceType::Pid
                    | LinuxNamespaceType::Network
                    | LinuxNamespaceType::Ipc
                    | LinuxNamespaceType::Uts
                    | LinuxNamespaceType::Cgroup
                    | LinuxNamespaceType::User
            );
            if !joinable {
                return wrong(
                    format!("{property}.path"),
                    format!("joining a {} namespace is not supported; remove it", namespace.typ()),
                );
            }
            if !path.is_absolute() || !path.exists() {
                return wrong(format!("{property}.path"), format!("{} is not a namespace", path.display()));
            }
        }
    }
    for (name, list) in [("uidMappings", linux.uid_mappings()), ("gidMappings", linux.gid_mappings())] {
        bounded(&format!("linux.{name}"), list.as_ref())?;
        if list.as_ref().is_some_and(|list| !list.is_empty()) {
            ignored.push(format!("linux.{name}: all ids are the sandbox's own"));
        }
    }
    bounded("linux.devices", linux.devices().as_ref())?;
    if allows_all_devices(linux) {
        if linux.devices().as_ref().is_some_and(|list| !list.is_empty()) {
            ignored.push("linux.devices: all of the host's are allowed, and none is there in a sandbox".to_owned());
        }
    } else {
        for (index, it) in linux.devices().iter().flatten().enumerate() {
            device(&format!("linux.devices[{index}]"), it)?;
        }
    }
    if let Some(path) = linux.cgroups_path() {
        text("linux.cgroupsPath", &path.to_string_lossy())?;
        if path.components().any(|part| part == Component::ParentDir) {
            return wrong("linux.cgroupsPath", "has a .. in it");
        }
    }
    if let Some(it) = linux.resources() {
        resources(it, ignored)?;
    }
    if let Some(propagation) = linux.rootfs_propagation().as_deref()
        && !["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"]
            .contains(&propagation)
    {
        return wrong("linux.rootfsPropagation", format!("{propagation:?} is no propagation"));
    }
    for (name, paths) in [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())] {
        bounded(&format!("linux.{name}"), paths.as_ref())?;
        for (index, path) in paths.iter().flatten().enumerate() {
            plain_path(&format!("linux.{name}[{index}]"), Path::new(path))?;
        }
    }
    for (name, value) in linux.sysctl().iter().flatten() {
        text("linux.sysctl", name)?;
        text("linux.sysctl", value)?;
        sysctl(name, linux)?;
    }
    if let Some(it) = linux.seccomp() {
        seccomp::check(it, ignored)?;
    }
    label("linux.mountLabel", linux.mount_label().as_deref(), module_active("selinux"), ignored)?;
    if let Some(personality) = linux.personality()
        && (personality.domain() != LinuxPersonalityDomain::PerLinux
            || personality.flags().as_ref().is_some_and(|f| !f.is_empty()))
    {
        return wrong("linux.personality", "only LINUX without flags is supported");
    }
    for (name, present) in [
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.timeOffsets", linux.time_offsets().as_ref().is_some_and(|it| !it.is_empty())),
        ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|it| !it.is_empty())),
    ] {
        if present {
            return unsupported(name);
        }
    }
    Ok(())
}

/// Only what a namespace of the container has for itself can be set, as with runc.
fn sysctl(name: &str, linux: &Linux) -> Result<(), BundleError> {
    const IPC: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if name.is_empty() || name.split(['.', '/']).any(|part| part.is_empty()) {
        return wrong("linux.sysctl", format!("{name:?} is no name of a sysctl"));
    }
    let dotted = name.replace('/', ".");
    let own = |kind| linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind);
    let needed = match dotted.as_str() {
        "kernel.hostname" => return wrong("linux.sysctl", format!("{name:?}: set hostname instead")),
        "kernel.domainname" => LinuxNamespaceType::Uts,
        name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => LinuxNamespaceType::Ipc,
        name if name.starts_with("net.") => LinuxNamespaceType::Network,
        _ => return wrong("linux.sysctl", format!("{name:?} is not in a separate kernel namespace")),
    };
    if own(needed) {
        return Ok(());
    }
    wrong("linux.sysctl", format!("{name:?} is not allowed in the host's {needed} namespace"))
}

/// As for `--privileged`: then the list says what the host has, and not what the container needs.
fn allows_all_devices(linux: &Linux) -> bool {
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().as_ref());
    let all = |rule: &LinuxDeviceCgroup| {
        let any_type = rule.typ().is_none_or(|typ| typ == LinuxDeviceType::A);
        let any_number = [rule.major(), rule.minor()].iter().all(|number| number.is_none_or(|number| number < 0));
        rule.allow() && any_type && any_number
    };
    rules.and_then(|rules| rules.last()).is_some_and(all)
}

/// The devices that every container has anyway; others can't be had.
fn device(property: &str, device: &LinuxDevice) -> Result<(), BundleError> {
    const ALWAYS: &[&str] = &[
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
        "/dev/console",
        "/dev/ptmx",
    ];
    if ALWAYS.iter().any(|path| device.path() == Path::new(path)) {
        return Ok(());
    }
    wrong(property, format!("{}: devices of the host are not supported; remove it", device.path().display()))
}

/// What `linux.resources` may ask for; the cgroups' own files judge the values.
pub(crate) fn resources(resources: &LinuxResources, ignored: &mut Vec<String>) -> Result<(), BundleError> {
    let network = resources
        .network()
        .as_ref()
        .is_some_and(|it| it.class_id().is_some() || it.priorities().as_ref().is_some_and(|list| !list.is_empty()));
    for (name, present) in
        [("network", network), ("rdma", resources.rdma().as_ref().is_some_and(|list| !list.is_empty()))]
    {
        if present {
            return unsupported(format!("linux.resources.{name}"));
        }
    }
    bounded("linux.resources.hugepageLimits", resources.hugepage_limits().as_ref())?;
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let size = limit.page_size();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return wrong(format!("linux.resources.hugepageLimits[{index}].pageSize"), format!("{size:?} is no size"));
        }
    }
    for (file, value) in resources.unified().iter().flatten() {
        if file.is_empty() || file.contains('/') || !file.contains('.') {
            return wrong("linux.resources.unified", format!("{file:?} is no file of a cgroup"));
        }
        text("linux.resources.unified", file)?;
        text("linux.resources.unified", value)?;
    }
    if let Some(cpu) = resources.cpu() {
        for (name, value) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
            text(&format!("linux.resources.cpu.{name}"), value.as_deref().unwrap_or_default())?;
        }
    }
    if resources.devices().as_ref().is_some_and(|list| !list.is_empty()) {
        ignored.push("linux.resources.devices: a sandbox reaches no device of the host".to_owned());
    }
    Ok(())
}

pub(crate) fn bounded<T>(property: &str, list: Option<&Vec<T>>) -> Result<(), BundleError> {
    match list {
        Some(list) if list.len() > MAX_ENTRIES => {
            wrong(property, format!("has {} entries, at most {MAX_ENTRIES} are allowed", list.len()))
        }
        _ => Ok(()),
    }
}

/// No text may hold a zero byte: it would end there for the kernel.
pub(crate) fn text(property: &str, text: &str) -> Result<(), BundleError> {
    if text.contains('\0') { wrong(property, "has a zero byte in it") } else { Ok(()) }
}

/// An absolute path of the workload's world that does not climb.
fn plain_path(property: &str, path: &Path) -> Result<(), BundleError> {
    text(property, &path.to_string_lossy())?;
    if !path.is_absolute() {
        return wrong(property, format!("{:?} is not an absolute path", path.display().to_string()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return wrong(property, format!("{:?} has a .. in it", path.display().to_string()));
    }
    Ok(())
}

/// The host's tree that a bind mount shows, absolute.
pub(crate) fn bind_source(mount: &Mount, bundle: &Path) -> Option<PathBuf> {
    if is_bind(mount) { mount.source().as_ref().map(|source| bundle.join(source)) } else { None }
}
