//! The cgroup of a container, in whatever hierarchies this machine has: version 1 controllers, version 2, or both. It is made,
//! given simple limits, joined by the workload's init and removed; nothing more.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;

/// Version 1 controllers in which a container gets a cgroup of its own.
const CONTROLLERS: [&str; 6] = ["freezer", "pids", "memory", "cpu", "cpuset", "devices"];
/// So many containers of one id can have a cgroup each.
const NAMES: u32 = 1000;
/// A cgroup whose processes were killed may stay busy this long.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// Why a cgroup can't be had.
#[derive(Debug, thiserror::Error)]
#[error("cgroup {path}: {doing}: {source}")]
pub struct CgroupError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

fn error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError { path, doing, source }
}

/// Where cgroups are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Controllers of a version 1 mount and its mount point.
    v1: Vec<(Vec<String>, PathBuf)>,
    /// The version 2 tree.
    v2: Option<PathBuf>,
}

impl Hierarchies {
    /// Reads this process's mount table.
    pub fn detect() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(point) = before.split(' ').nth(4) else { continue };
            let mut after = after.split(' ');
            let (kind, options) = (after.next(), after.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup2") if found.v2.is_none() => found.v2 = Some(PathBuf::from(point)),
                Some("cgroup") => {
                    let controllers: Vec<_> =
                        options.split(',').filter(|name| CONTROLLERS.contains(name)).map(str::to_owned).collect();
                    if !controllers.is_empty() {
                        found.v1.push((controllers, PathBuf::from(point)));
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The cgroups of one container: those folders which were made for it, the deepest of a hierarchy first.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    made: Vec<PathBuf>,
    leaves: Vec<Leaf>,
}

/// The container's own folder in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// The folder.
    pub path: PathBuf,
    /// Those of a version 1 hierarchy; empty for version 2.
    pub controllers: Vec<String>,
}

impl Cgroups {
    /// Makes the cgroup `path` in all hierarchies, or takes the one that is there if nothing runs in it. What was made before a
    /// failure is removed again.
    pub fn create(hierarchies: &Hierarchies, path: &Path) -> Result<Self, CgroupError> {
        let mut cgroups = Self::default();
        let result = cgroups.make_all(hierarchies, path).and_then(|()| cgroups.unused());
        if result.is_err() {
            let _ = remove(&cgroups.made);
        }
        result.map(|()| cgroups)
    }

    /// Makes a cgroup of the container's own, `path` or a name that begins so: containers of different state directories may have
    /// the same id, and the end of one must not be that of the other.
    pub fn create_own(hierarchies: &Hierarchies, path: &Path) -> Result<Self, CgroupError> {
        let mut tries = 0;
        loop {
            let mut name = path.as_os_str().to_owned();
            if tries > 0 {
                name.push(format!("-{tries}"));
            }
            let mut cgroups = Self::default();
            let result = cgroups.make_all(hierarchies, Path::new(&name));
            // By identity: one hierarchy may be mounted at two places.
            let made: Vec<_> = cgroups.made.iter().map(|dir| identity(dir)).collect();
            let own = cgroups.leaves.iter().all(|leaf| made.contains(&identity(&leaf.path)));
            if result.is_ok() && own {
                return Ok(cgroups);
            }
            let _ = remove(&cgroups.made);
            result?;
            tries += 1;
            if tries > NAMES {
                let taken = io::Error::from(io::ErrorKind::AlreadyExists);
                return Err(error(path, "making a cgroup of this container's own")(taken));
            }
        }
    }

    /// As runc has it: who shares a cgroup would be frozen, limited and killed together.
    fn unused(&self) -> Result<(), CgroupError> {
        for leaf in &self.leaves {
            let found = fs::read_to_string(leaf.path.join("cgroup.procs")).unwrap_or_default().lines().count();
            if found > 0 {
                let problem = io::Error::other(format!("container's cgroup is not empty: {found} process(es) found"));
                return Err(error(&leaf.path, "using")(problem));
            }
        }
        Ok(())
    }

    fn make_all(&mut self, hierarchies: &Hierarchies, path: &Path) -> Result<(), CgroupError> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        for (controllers, point) in &hierarchies.v1 {
            let leaf = self.make(point, relative, |parent, child| {
                if controllers.iter().any(|name| name == "cpuset") {
                    // A new cpuset is empty, and nothing may enter it, until it is told otherwise.
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
                        let _ = fs::write(child.join(file), inherited.trim());
                    }
                }
            })?;
            self.leaves.push(Leaf { path: leaf, controllers: controllers.clone() });
        }
        if let (Some(point), true) = (&hierarchies.v2, hierarchies.v1.is_empty()) {
            let leaf = self.make(point, relative, |parent, _| {
                for name in ["cpu", "cpuset", "io", "memory", "pids"] {
                    let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{name}"));
                }
            })?;
            self.leaves.push(Leaf { path: leaf, controllers: Vec::new() });
        }
        Ok(())
    }

    fn make(&mut self, point: &Path, relative: &Path, prepare: impl Fn(&Path, &Path)) -> Result<PathBuf, CgroupError> {
        let mut current = point.to_owned();
        for part in relative {
            let next = current.join(part);
            match fs::create_dir(&next) {
                Ok(()) => {
                    self.made.insert(0, next.clone());
                    prepare(&current, &next);
                }
                Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {}
                Err(problem) => return Err(error(&next, "creating")(problem)),
            }
            current = next;
        }
        Ok(current)
    }

    /// The cgroups of a container that exists, from its record.
    pub fn existing(leaves: &[Leaf]) -> Self {
        Self { made: Vec::new(), leaves: leaves.to_vec() }
    }

    /// The container's own folder in each hierarchy.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Those below them that `names` says: `[CONTROLLER[,CONTROLLER]:]PATH` each. They must exist.
    pub fn below(&self, names: &[String]) -> Result<Self, CgroupError> {
        let mut leaves = self.leaves.clone();
        for name in names {
            let (controllers, path) = match name.split_once(':') {
                Some((controllers, path)) => (controllers.split(',').collect(), path),
                None => (Vec::new(), name.as_str()),
            };
            let relative = Path::new(path.trim_start_matches('/'));
            if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(error(relative, "entering")(io::Error::other("it is not below the container's")));
            }
            let mut found = false;
            for (leaf, own) in leaves.iter_mut().zip(&self.leaves) {
                let meant = |wanted: &&str| own.controllers.iter().any(|name| name == wanted);
                if controllers.is_empty() || controllers.iter().any(meant) {
                    leaf.path = own.path.join(relative);
                    found = true;
                }
            }
            if !found {
                return Err(error(relative, "entering")(io::Error::other("there is no such controller")));
            }
        }
        Ok(Self { made: Vec::new(), leaves })
    }

    /// Folders to give to [`remove`] later.
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Puts a process into all of them.
    pub fn join(&self, pid: i32) -> Result<(), CgroupError> {
        for leaf in &self.leaves {
            let file = leaf.path.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(error(&file, "adding a process"))?;
        }
        Ok(())
    }

    /// Sets the limits of `resources` for memory, pids and cpu.
    pub fn limit(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        for leaf in &self.leaves {
            for (file, value) in settings(resources, &leaf.controllers) {
                let file = leaf.path.join(file);
                fs::write(&file, &value).map_err(error(&file, "setting a limit"))?;
            }
        }
        Ok(())
    }
}

/// The files to write for `resources`; no controllers means version 2.
fn settings(resources: &LinuxResources, controllers: &[String]) -> Vec<(&'static str, String)> {
    let v2 = controllers.is_empty();
    let has = |name: &str| v2 || controllers.iter().any(|controller| controller == name);
    let number = |value: i64| if value < 0 && v2 { "max".to_owned() } else { value.to_string() };
    let mut files = Vec::new();
    if let Some(pids) = resources.pids().as_ref().filter(|_| has("pids")) {
        let limit = if pids.limit() <= 0 { "max".to_owned() } else { pids.limit().to_string() };
        files.push(("pids.max", limit));
    }
    if let Some(memory) = resources.memory().as_ref().filter(|_| has("memory")) {
        // Zero is how clients write "not set".
        let set = |value: Option<i64>| value.filter(|value| *value != 0);
        if let Some(limit) = set(memory.limit()) {
            files.push((if v2 { "memory.max" } else { "memory.limit_in_bytes" }, number(limit)));
        }
        if let Some(low) = set(memory.reservation()) {
            files.push((if v2 { "memory.low" } else { "memory.soft_limit_in_bytes" }, number(low)));
        }
        match (set(memory.swap()), set(memory.limit())) {
            (Some(swap), _) if !v2 => files.push(("memory.memsw.limit_in_bytes", swap.to_string())),
            (Some(swap), _) if swap < 0 => files.push(("memory.swap.max", "max".to_owned())),
            (Some(swap), Some(limit)) if limit > 0 => {
                files.push(("memory.swap.max", swap.saturating_sub(limit).max(0).to_string()));
            }
            _ => {}
        }
    }
    if let Some(cpu) = resources.cpu().as_ref().filter(|_| has("cpu")) {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            if v2 {
                // The kernel's own conversion of [2, 262144] to [1, 10000].
                let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
                files.push(("cpu.weight", weight.to_string()));
            } else {
                files.push(("cpu.shares", shares.to_string()));
            }
        }
        let period = cpu.period().filter(|period| *period != 0);
        let quota = cpu.quota().filter(|quota| *quota != 0);
        if v2 {
            if quota.is_some() || period.is_some() {
                files.push(("cpu.max", format!("{} {}", number(quota.unwrap_or(-1)), period.unwrap_or(100_000))));
            }
        } else {
            files.extend(period.map(|period| ("cpu.cfs_period_us", period.to_string())));
            files.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
        }
    }
    if let Some(cpu) = resources.cpu().as_ref().filter(|_| has("cpuset")) {
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        files.extend(text(cpu.cpus()).map(|cpus| ("cpuset.cpus", cpus)));
        files.extend(text(cpu.mems()).map(|mems| ("cpuset.mems", mems)));
    }
    files
}

/// All processes in the cgroups `made` (those that [`Cgroups::made`] gave).
pub fn processes(made: &[PathBuf]) -> Vec<ProcessId> {
    let mut pids: Vec<i32> = made
        .iter()
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().filter_map(ProcessId::of).collect()
}

/// Removes the folders `made`, waiting a bounded time for the last processes to leave. One that still holds cgroups of others
/// stays.
pub fn remove(made: &[PathBuf]) -> Result<(), CgroupError> {
    let deadline = Instant::now() + REMOVAL_PATIENCE;
    for dir in made {
        loop {
            match fs::remove_dir(dir) {
                Ok(()) => break,
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => break,
                Err(problem) if problem.raw_os_error() == Some(Errno::EBUSY as i32) => {
                    if has_children(dir) {
                        break;
                    }
                    if Instant::now() >= deadline {
                        return Err(error(dir, "removing")(problem));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(problem) => return Err(error(dir, "removing")(problem)),
            }
        }
    }
    Ok(())
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    dir.metadata().ok().map(|found| (found.dev(), found.ino()))
}

fn has_children(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|items| items.flatten().any(|item| item.file_type().is_ok_and(|kind| kind.is_dir())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/freezer rw,relatime shared:1 - cgroup cgroup rw,freezer
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn finds_hierarchies() {
        let found = Hierarchies::parse(HYBRID);
        assert_eq!(found.v1.len(), 2);
        assert_eq!(found.v2, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(Hierarchies::parse("garbage\n - \n a - cgroup2"), Hierarchies::default());
    }

    #[test]
    fn makes_and_removes_only_its_own() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("parent")).unwrap();
        let hierarchies = Hierarchies { v1: vec![(vec!["pids".to_owned()], tree.path().to_owned())], v2: None };
        let cgroups = Cgroups::create(&hierarchies, Path::new("/parent/a/b")).unwrap();
        assert_eq!(cgroups.made(), [tree.path().join("parent/a/b"), tree.path().join("parent/a")]);
        remove(cgroups.made()).unwrap();
        assert!(tree.path().join("parent").exists());
        assert!(!tree.path().join("parent/a").exists());
    }

    #[test]
    fn no_cgroup_is_shared() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        let hierarchies = Hierarchies { v1: vec![(vec!["pids".to_owned()], tree.path().to_owned())], v2: None };
        let first = Cgroups::create_own(&hierarchies, Path::new("/a")).unwrap();
        let second = Cgroups::create_own(&hierarchies, Path::new("/a")).unwrap();
        assert_eq!((first.made(), second.made()), ([at("a")].as_slice(), [at("a-1")].as_slice()));
        Cgroups::create(&hierarchies, Path::new("/a")).unwrap();
        fs::write(at("a").join("cgroup.procs"), "1\n2\n").unwrap();
        let refused = Cgroups::create(&hierarchies, Path::new("/a")).unwrap_err().to_string();
        assert!(refused.contains("not empty: 2 process"), "{refused}");
        assert!(at("a").exists());
    }

    #[test]
    fn limits_in_both_languages() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"memory": {"limit": 1000, "swap": 1500}, "pids": {"limit": -1}, "cpu": {"shares": 262144, "quota": 5, "period": 10}}"#,
        )
        .unwrap();
        assert_eq!(
            settings(&resources, &[]),
            [
                ("pids.max", "max".to_owned()),
                ("memory.max", "1000".to_owned()),
                ("memory.swap.max", "500".to_owned()),
                ("cpu.weight", "10000".to_owned()),
                ("cpu.max", "5 10".to_owned()),
            ]
        );
        assert_eq!(settings(&resources, &["cpu".to_owned()]).len(), 3);
    }
}
