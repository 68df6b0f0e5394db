//! What /proc says of a process that has passed the kernel's side, and whether it is one of those that are meant.
//!
//! Nothing of the process's own file systems is touched, nor of its memory once it runs: they could be made to hang us.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use rsc_bpf::selection::{Call, Event};

use crate::remote::rules::Watched;
use crate::remote::rules::glob::NameGlob;

/// A container's id is at least so long where only its beginning is given.
const ID_MIN: usize = 12;
/// The longest path.
const PATH_MAX: usize = 4096;
/// AT_EXECFN in the auxiliary vector: by what name the program was called.
const AT_EXECFN: u64 = 31;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its program's path.
    pub(super) executable: PathBuf,
    /// The path by which it was called, if it was called just now.
    called: PathBuf,
    /// The real user id.
    uid: u32,
    /// Its cgroups' paths, in all hierarchies.
    cgroups: Vec<PathBuf>,
    /// There is no hierarchy but that of version 2.
    unified: bool,
}

impl Facts {
    /// Looks. `None`: it is gone.
    pub(super) fn of(event: &Event) -> Option<Facts> {
        let proc = PathBuf::from(format!("/proc/{}", event.pid));
        let executable = std::fs::read_link(proc.join("exe")).ok()?;
        let name = if event.call.is_none() { called(&proc) } else { None };
        let called = name.map(|name| absolute(&proc, libc::AT_FDCWD, &name)).unwrap_or_default();
        let lines = std::fs::read_to_string(proc.join("cgroup")).ok()?;
        let (cgroups, unified) = cgroups(&lines);
        Some(Facts { executable, called, uid: event.uid, cgroups, unified })
    }

    /// Its cgroup, if there is no hierarchy but that of version 2: then it says all that cgroups say of its processes.
    pub(super) fn cgroup(&self) -> Option<&Path> {
        self.cgroups.first().filter(|_| self.unified).map(PathBuf::as_path)
    }

    /// Whether a table means such a process, whatever it calls.
    pub(super) fn meet(&self, watched: &Watched) -> bool {
        let mut names = [&self.executable, &self.called].into_iter();
        (watched.executables.is_empty()
            || names.any(|name| watched.executables.iter().any(|glob| glob.matches(name.as_os_str().as_bytes()))))
            && (watched.uids.is_empty() || watched.uids.contains(&self.uid))
            && in_cgroup(watched, &self.cgroups)
    }
}

/// Whether a process is stopped, or will be before it goes on in user space. `None`: it is gone.
pub(super) fn is_held(pid: i32) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let pending = |name| {
        let mask = field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
        mask >> (libc::SIGSTOP - 1) & 1 == 1
    };
    match field("State:")?.chars().next()? {
        'Z' | 'X' => None,
        state => Some(matches!(state, 'T' | 't') || pending("SigPnd:") || pending("ShdPnd:")),
    }
}

/// Whether a table means processes in these cgroups.
pub(super) fn in_cgroup(watched: &Watched, cgroups: &[PathBuf]) -> bool {
    let matches = |path: &PathBuf| watched.cgroups.iter().any(|glob| glob.matches(path.as_os_str().as_bytes()));
    (watched.cgroups.is_empty() || cgroups.iter().any(matches))
        && (watched.containers.is_empty()
            || cgroups.iter().any(|path| watched.containers.iter().any(|id| holds_container(path, id))))
}

/// Whether a table means such a call.
pub(super) fn call_meets(watched: &Watched, pid: i32, call: &Call) -> bool {
    watched.calls.contains(call.nr)
        && (watched.ports.is_empty() || watched.ports.iter().any(|range| range.contains(&call.port)))
        && (watched.paths.is_empty() || {
            let path = absolute(&PathBuf::from(format!("/proc/{pid}")), call.dirfd, &call.path);
            watched.paths.iter().any(|glob| glob.matches(path.as_os_str().as_bytes()))
        })
}

/// A name in a process's call, made absolute, without `.` and `..`. Symbolic links in it stay.
pub(super) fn absolute(proc: &Path, dirfd: i32, name: &[u8]) -> PathBuf {
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    let base = match dirfd {
        _ if name.is_absolute() => PathBuf::new(),
        libc::AT_FDCWD => std::fs::read_link(proc.join("cwd")).unwrap_or_default(),
        fd => std::fs::read_link(proc.join("fd").join(fd.to_string())).unwrap_or_default(),
    };
    let mut path = PathBuf::from("/");
    for component in base.join(name).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

/// By what name the program was called, from its auxiliary vector.
fn called(proc: &Path) -> Option<Vec<u8>> {
    let vector = std::fs::read(proc.join("auxv")).ok()?;
    let (words, _) = vector.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let [_, addr] = pairs.iter().find(|[kind, _]| u64::from_ne_bytes(*kind) == AT_EXECFN)?;
    let mut name = vec![0; PATH_MAX];
    // It may end where the stack does.
    let len = File::open(proc.join("mem")).ok()?.read_at(&mut name, u64::from_ne_bytes(*addr)).ok()?;
    name.truncate(len);
    name.split(|byte| *byte == 0).next().map(<[u8]>::to_vec)
}

/// The paths in /proc/PID/cgroup, and whether they are all of version 2.
fn cgroups(lines: &str) -> (Vec<PathBuf>, bool) {
    let paths = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(PathBuf::from).collect();
    (paths, lines.lines().all(|line| line.starts_with("0::")))
}

/// Whether a cgroup's path has a container's id in it: as a component, or at the end of one that tools have made of it, as in
/// `docker-ID.scope` and `cri-containerd:ID`.
fn holds_container(path: &Path, id: &NameGlob) -> bool {
    let text = id.to_string();
    let beginning = (text.len() >= ID_MIN).then(|| text.to_ascii_lowercase());
    path.components().filter_map(|component| component.as_os_str().to_str()).any(|component| {
        let stem = component.strip_suffix(".scope").unwrap_or(component);
        let last = stem.rsplit(['-', ':']).next().unwrap_or(stem);
        [component, stem].into_iter().any(|name| id.matches(name))
            || (is_id(last) && (id.matches(last) || beginning.as_ref().is_some_and(|begins| last.starts_with(begins))))
    })
}

fn is_id(text: &str) -> bool {
    text.len() >= ID_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::rules::Rules;

    fn watched(text: &str) -> Watched {
        Rules::parse(&format!("[[watch]]\n{text}"), "r").unwrap().watched()[0].clone()
    }

    fn event(pid: i32) -> Event {
        Event { pid, tid: pid, mask: 0, cgroup: 0, uid: 1000, call: None }
    }

    fn own() -> (i32, Facts) {
        let pid = i32::try_from(std::process::id()).unwrap();
        (pid, Facts::of(&event(pid)).unwrap())
    }

    #[test]
    fn a_process() {
        let facts = own().1;
        let here = std::env::current_exe().unwrap();
        assert_eq!(facts.executable, here);
        assert!(facts.called.is_absolute());
        let yes = |text: &str| facts.meet(&watched(text));
        assert!(yes(&format!("executable = {here:?}\nuid = [1, 1000]")));
        assert!(!yes(&format!("executable = {here:?}\nuid = 1")) && !yes("executable = \"/bin/x\""));
        assert!(yes("cgroup = \"/**\"") && !yes("cgroup = \"/no/such\""));
        assert_eq!(Facts::of(&event(i32::MAX)), None);
    }

    #[test]
    fn a_call() {
        let pid = own().0;
        let openat = rsc_proto::table::nr::OPENAT;
        let call = |path: &str| Call { nr: openat, result: 0, dirfd: libc::AT_FDCWD, path: path.into(), port: 443 };
        let watched = watched("path = \"/srv/data/**\"");
        let yes = |path: &str| call_meets(&watched, pid, &call(path));
        assert!(yes("/srv/data/x") && yes("/srv/./data//y/") && yes("/srv/x/../data/z"));
        assert!(!yes("/srv/database") && !yes("/srv/data/../x") && !yes("data"));
    }

    #[test]
    fn containers() {
        let id = "3f2a9c04d1e7b8a6f5c4d3e2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a09f8e";
        let holds = |path: &str, pattern: &str| {
            holds_container(Path::new(&path.replace("ID", id)), &NameGlob::parse(&pattern.replace("ID", id)).unwrap())
        };
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope",
            "/kubepods/pod1/ID",
            "/system.slice:cri-containerd:ID",
        ] {
            assert!(holds(path, "ID") && holds(path, "3f2a*") && holds(path, "3f2a9c04d1e7"), "{path}");
            assert!(!holds(path, "3f2a") && !holds(path, "2a9c*"), "{path}");
        }
        assert!(holds("/a/web-1", "web-*") && !holds("/a/web-1", "1"));
    }

    #[test]
    fn cgroup_lines() {
        let (paths, unified) = cgroups("0::/a:b\n");
        assert!(paths == [Path::new("/a:b")] && unified);
        let (paths, unified) = cgroups("4:memory:/m\n1:name=systemd:/s\n0::/\n");
        assert!(paths == [Path::new("/m"), Path::new("/s"), Path::new("/")] && !unified);
    }
}
