//! The cgroup of a container, in whatever hierarchies this machine has: version 1 controllers, version 2, or both. It is made,
//! joined by the workload's processes, limited, frozen, measured and removed.

mod freezer;
mod limits;
mod stats;
mod unit;

pub use freezer::{freeze, is_frozen, thaw};
pub use stats::{OomSource, oom_source, stats};

use std::ffi::OsString;
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
const CONTROLLERS: [&str; 9] = ["freezer", "pids", "memory", "cpu", "cpuacct", "cpuset", "devices", "blkio", "hugetlb"];
/// Version 2 controllers that it uses.
const UNIFIED: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];
/// Version 1 controllers in which those who serve a container have a cgroup.
const BESIDE: [&str; 3] = ["memory", "cpu", "cpuacct"];
/// So many containers of one id can have a cgroup each.
const NAMES: u32 = 1000;
/// So often a cgroup is made anew that others have removed meanwhile.
const RACES: u32 = 100;
/// A cgroup whose processes were killed may stay busy this long.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// Why a cgroup can't be had.
#[derive(Debug, thiserror::Error)]
#[error("cgroup {path}: {doing}: {}", crate::json::one_line(&source.to_string()))]
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
    /// Those that a container with `resources` needs: where there are both versions, the second one only for what the first lacks.
    pub fn needed(mut self, resources: Option<&LinuxResources>) -> Self {
        let huge = resources.and_then(|it| it.hugepage_limits().as_ref()).is_some_and(|list| !list.is_empty());
        let lacks_huge = huge && self.unified_controllers().iter().any(|name| name == "hugetlb");
        if !self.v1.is_empty() && !lacks_huge {
            self.v2 = None;
        }
        self
    }

    /// What the version 2 tree is to control.
    fn unified_controllers(&self) -> Vec<String> {
        let taken = |name: &str| self.v1.iter().any(|(controllers, _)| controllers.iter().any(|other| other == name));
        let offered = self.v2.as_ref().and_then(|point| fs::read_to_string(point.join("cgroup.controllers")).ok());
        let offered = offered.unwrap_or_default();
        let offers = |name: &&str| offered.split_ascii_whitespace().any(|other| other == *name);
        UNIFIED.into_iter().filter(|name| !taken(name)).filter(offers).map(str::to_owned).collect()
    }

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
    /// What it controls; empty: whatever there is, in a version 2 hierarchy.
    pub controllers: Vec<String>,
    /// It is of version 2.
    #[serde(default)]
    pub unified: bool,
}

impl Leaf {
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.is_empty() || self.controllers.iter().any(|name| name == controller)
    }
}

/// Told of folders that are about to be made, the deepest of a hierarchy first.
pub type Note<'a> = &'a mut dyn FnMut(&[PathBuf]);

/// What making `path` in all hierarchies will make.
fn planned(hierarchies: &Hierarchies, path: &Path) -> Vec<PathBuf> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let points = hierarchies.v1.iter().map(|(_, point)| point).chain(&hierarchies.v2);
    let mut dirs = Vec::new();
    for point in points {
        let leaf = point.join(relative);
        dirs.extend(beside_of(&leaf));
        dirs.extend(leaf.ancestors().take_while(|dir| *dir != point).map(Path::to_owned));
    }
    dirs.retain(|dir| !dir.exists());
    dirs
}

/// The folder for what serves the container with the cgroup `leaf`.
fn beside_of(leaf: &Path) -> Option<PathBuf> {
    let mut own = OsString::from("rsc-");
    own.push(leaf.file_name()?);
    Some(leaf.parent()?.join(own))
}

impl Cgroups {
    /// Makes the cgroup `path` in all hierarchies, or takes the one that is there if nothing runs in it. What was made before a
    /// failure is removed again. `note` is told beforehand which folders there will be, those of [`Self::make_beside`] too, so that
    /// whoever is killed half-way has written them down.
    pub fn create(hierarchies: &Hierarchies, path: &Path, note: Note<'_>) -> Result<Self, CgroupError> {
        note(&planned(hierarchies, path));
        let mut cgroups = Self::default();
        let result = cgroups.make_all(hierarchies, path).and_then(|()| cgroups.unused());
        if result.is_err() {
            let _ = remove(&cgroups.made);
        }
        result.map(|()| cgroups)
    }

    /// Makes a cgroup of the container's own, `path` or a name that begins so: containers of different state directories may have
    /// the same id, and the end of one must not be that of the other.
    pub fn create_own(hierarchies: &Hierarchies, path: &Path, note: Note<'_>) -> Result<Self, CgroupError> {
        let mut tries = 0;
        loop {
            let mut name = path.as_os_str().to_owned();
            if tries > 0 {
                name.push(format!("-{tries}"));
            }
            note(&planned(hierarchies, Path::new(&name)));
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

    /// The cgroups at `path` that there are, in whichever hierarchies.
    pub fn found(hierarchies: &Hierarchies, path: &Path) -> Self {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let escapes = relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
        let leaf = |point: &Path, controllers: &[String], unified| {
            let path = point.join(relative);
            path.join("cgroup.procs").exists().then(|| Leaf { path, controllers: controllers.to_vec(), unified })
        };
        let mut leaves = Vec::new();
        if !escapes {
            leaves.extend(hierarchies.v1.iter().filter_map(|(controllers, point)| leaf(point, controllers, false)));
            leaves.extend(hierarchies.v2.iter().filter_map(|point| leaf(point, &[], true)));
        }
        Self { made: Vec::new(), leaves }
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
                        let empty = fs::read_to_string(child.join(file)).is_ok_and(|own| own.trim().is_empty());
                        let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
                        if empty {
                            let _ = fs::write(child.join(file), inherited.trim());
                        }
                    }
                }
            })?;
            self.leaves.push(Leaf { path: leaf, controllers: controllers.clone(), unified: false });
        }
        if let Some(point) = &hierarchies.v2 {
            let wanted = hierarchies.unified_controllers();
            let leaf = self.make(point, relative, |parent, _| {
                for name in &wanted {
                    let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{name}"));
                }
            })?;
            let controllers = if hierarchies.v1.is_empty() { Vec::new() } else { wanted };
            self.leaves.push(Leaf { path: leaf, controllers, unified: true });
        }
        Ok(())
    }

    /// Makes `relative` below `point`. Containers come and go at the same time: a parent may have been made by another one that has
    /// not prepared it yet, or be removed by its last user.
    fn make(&mut self, point: &Path, relative: &Path, prepare: impl Fn(&Path, &Path)) -> Result<PathBuf, CgroupError> {
        let mut tries = 0;
        'again: loop {
            let mut current = point.to_owned();
            for part in relative {
                let next = current.join(part);
                match fs::create_dir(&next) {
                    Ok(()) => {
                        self.made.retain(|known| *known != next);
                        self.made.insert(0, next.clone());
                    }
                    Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(problem) if problem.kind() == io::ErrorKind::NotFound && current != point && tries < RACES => {
                        tries += 1;
                        continue 'again;
                    }
                    Err(problem) => return Err(error(&next, "creating")(problem)),
                }
                prepare(&current, &next);
                current = next;
            }
            return Ok(current);
        }
    }

    /// Makes a cgroup beside the container's own for what serves it: `rsc-` and the own one's name. What limits, freezes or kills the
    /// container is not to meet that; what is above both holds for both. Only where processor time and memory are accounted.
    pub fn make_beside(&self) -> Result<Beside, CgroupError> {
        let mut beside = Beside::default();
        for leaf in &self.leaves {
            let accounts = leaf.unified || BESIDE.iter().any(|name| leaf.has(name));
            let Some(dir) = beside_of(&leaf.path).filter(|_| accounts) else { continue };
            match fs::create_dir(&dir) {
                // One that was left behind, or that is used by a container of the same name elsewhere: it is nobody's limit.
                Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {}
                Err(problem) => {
                    let _ = remove(&beside.dirs);
                    return Err(error(&dir, "creating")(problem));
                }
                Ok(()) => {}
            }
            beside.dirs.push(dir);
        }
        Ok(beside)
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

    /// Sets what `resources` limits. What this machine has no file for is refused by that file's name.
    pub fn limit(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        if let Some(missing) = limits::missing(resources, &self.leaves) {
            let problem = io::Error::new(io::ErrorKind::Unsupported, "the container has no cgroup for it; remove it");
            return Err(error(Path::new(missing), "setting a limit")(problem));
        }
        for setting in limits::settings(resources, &self.leaves) {
            setting.apply()?;
        }
        Ok(())
    }
}

/// The folders of what serves a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Beside {
    dirs: Vec<PathBuf>,
}

impl Beside {
    /// Puts the calling process into them, and with it what it will start.
    pub fn enter(&self) -> Result<(), CgroupError> {
        self.dirs.iter().try_for_each(|dir| {
            let file = dir.join("cgroup.procs");
            fs::write(&file, "0").map_err(error(&file, "entering"))
        })
    }

    /// Moves the processes in them to another container's.
    pub fn move_to(&self, other: &Self) {
        for dir in &self.dirs {
            let device = identity(dir).map(|(device, _)| device);
            let Some(to) = other.dirs.iter().find(|to| identity(to).map(|(device, _)| device) == device) else {
                continue;
            };
            // What is started meanwhile is seen the next time; nobody starts this many.
            for _ in 0..16 {
                let processes = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                if processes.is_empty() {
                    break;
                }
                for process in processes.lines() {
                    // It may have ended.
                    let _ = fs::write(to.join("cgroup.procs"), process);
                }
            }
        }
    }

    /// Removes them, once what is in them has ended.
    pub fn remove(&self) -> Result<(), CgroupError> {
        remove(&self.dirs)
    }
}

/// Cgroups below one that are looked into, at most; nobody nests more deeply.
const MAX_DEPTH: usize = 16;

/// All processes in the container's folders, or below them.
pub fn processes(leaves: &[Leaf]) -> Vec<ProcessId> {
    let mut pids = Vec::new();
    for leaf in leaves {
        pids_below(&leaf.path, MAX_DEPTH, &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().filter_map(ProcessId::of).collect()
}

fn pids_below(dir: &Path, depth: usize, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    if depth > 0 {
        for item in fs::read_dir(dir).into_iter().flatten().flatten() {
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                pids_below(&item.path(), depth - 1, pids);
            }
        }
    }
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
    fn those_who_serve_are_beside() {
        let tree = tempfile::tempdir().unwrap();
        let leaf = |name: &str, controller: &str| Leaf {
            path: tree.path().join(name),
            controllers: vec![controller.to_owned()],
            unified: false,
        };
        let one = Cgroups { made: Vec::new(), leaves: vec![leaf("one", "memory"), leaf("one", "freezer")] };
        let two = Cgroups { made: Vec::new(), leaves: vec![leaf("two", "memory")] };
        let (one, two) = (one.make_beside().unwrap(), two.make_beside().unwrap());
        assert_eq!(one.dirs, [tree.path().join("rsc-one")]);
        fs::write(one.dirs[0].join("cgroup.procs"), "7\n").unwrap();
        one.move_to(&two);
        assert_eq!(fs::read_to_string(two.dirs[0].join("cgroup.procs")).unwrap(), "7");
        fs::remove_file(one.dirs[0].join("cgroup.procs")).unwrap();
        one.remove().unwrap();
        assert!(!tree.path().join("rsc-one").exists());
    }

    #[test]
    fn makes_and_removes_only_its_own() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("parent")).unwrap();
        let hierarchies = Hierarchies { v1: vec![(vec!["pids".to_owned()], tree.path().to_owned())], v2: None };
        let mut noted = Vec::new();
        let cgroups =
            Cgroups::create(&hierarchies, Path::new("/parent/a/b"), &mut |dirs| noted = dirs.to_vec()).unwrap();
        assert_eq!(noted, ["parent/a/rsc-b", "parent/a/b", "parent/a"].map(|dir| tree.path().join(dir)));
        assert_eq!(cgroups.made(), [tree.path().join("parent/a/b"), tree.path().join("parent/a")]);
        remove(cgroups.made()).unwrap();
        assert!(tree.path().join("parent").exists());
        assert!(!tree.path().join("parent/a").exists());
    }

    #[test]
    fn finds_only_what_is_there() {
        let tree = tempfile::tempdir().unwrap();
        let (one, two) = (tree.path().join("one"), tree.path().join("two"));
        fs::create_dir_all(one.join("shims")).unwrap();
        fs::create_dir_all(two.join("other")).unwrap();
        fs::write(one.join("shims/cgroup.procs"), "").unwrap();
        let v1 = vec![(vec!["pids".to_owned()], one.clone()), (vec!["cpu".to_owned()], two)];
        let hierarchies = Hierarchies { v1, v2: None };
        let found = Cgroups::found(&hierarchies, Path::new("/shims"));
        assert_eq!(found.leaves().iter().map(|leaf| leaf.path.clone()).collect::<Vec<_>>(), [one.join("shims")]);
        found.join(7).unwrap();
        assert_eq!(fs::read_to_string(one.join("shims/cgroup.procs")).unwrap(), "7");
        assert!(Cgroups::found(&hierarchies, Path::new("/../one/shims")).leaves().is_empty());
    }

    #[test]
    fn no_cgroup_is_shared() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        let hierarchies = Hierarchies { v1: vec![(vec!["pids".to_owned()], tree.path().to_owned())], v2: None };
        let first = Cgroups::create_own(&hierarchies, Path::new("/a"), &mut |_| {}).unwrap();
        let second = Cgroups::create_own(&hierarchies, Path::new("/a"), &mut |_| {}).unwrap();
        assert_eq!((first.made(), second.made()), ([at("a")].as_slice(), [at("a-1")].as_slice()));
        Cgroups::create(&hierarchies, Path::new("/a"), &mut |_| {}).unwrap();
        fs::write(at("a").join("cgroup.procs"), "1\n2\n").unwrap();
        let refused = Cgroups::create(&hierarchies, Path::new("/a"), &mut |_| {}).unwrap_err().to_string();
        assert!(refused.contains("not empty: 2 process"), "{refused}");
        assert!(at("a").exists());
    }
}
