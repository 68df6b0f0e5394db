//! The cgroup of a scope that systemd has made: what systemd leaves out of it is made here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{CgroupError, Cgroups, Hierarchies, Leaf, Note, error, planned, remove};

/// The version 1 hierarchy in which systemd keeps its units, whatever else there is. It controls nothing.
const OWN: &str = "name=systemd";

impl Hierarchies {
    /// Whether there is version 2 alone.
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty()
    }
}

impl Cgroups {
    /// Takes the cgroup `path`, which systemd has made in the hierarchies that it uses, and makes it in the others: of version 1
    /// systemd does not know the freezer, cpuset and hugetlb. `note` is told as by [`Self::create`].
    pub fn adopt(hierarchies: &Hierarchies, path: &Path, note: Note<'_>) -> Result<Self, CgroupError> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::adopt_beside(hierarchies, systemds_own(&mountinfo), path, note)
    }

    fn adopt_beside(
        hierarchies: &Hierarchies,
        own: Option<PathBuf>,
        path: &Path,
        note: Note<'_>,
    ) -> Result<Self, CgroupError> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let own = own.map(|point| point.join(relative)).filter(|dir| dir.is_dir());
        let by_systemd = hierarchies.v2.as_ref().is_some_and(|point| point.join(relative).is_dir());
        if own.is_none() && !by_systemd {
            let problem = io::Error::new(io::ErrorKind::NotFound, "systemd has made it elsewhere");
            return Err(error(path, "finding the unit's")(problem));
        }
        note(&planned(hierarchies, path));
        let mut cgroups = Self::default();
        if let Err(problem) = cgroups.make_all(hierarchies, path) {
            let _ = remove(&cgroups.made);
            return Err(problem);
        }
        // Where there are both versions, and the second controls nothing, it has nothing but systemd's units.
        for leaf in cgroups.leaves.iter_mut().filter(|leaf| leaf.unified && leaf.controllers.is_empty()) {
            if !hierarchies.is_unified() {
                leaf.controllers.push(OWN.to_owned());
            }
        }
        cgroups.leaves.extend(own.map(|path| Leaf { path, controllers: vec![OWN.to_owned()], unified: false }));
        Ok(cgroups)
    }
}

fn systemds_own(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let own = after.next() == Some("cgroup") && after.nth(1)?.split(',').any(|option| option == OWN);
        own.then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_note(_: &[PathBuf]) {}

    #[test]
    fn finds_systemds_own_hierarchy() {
        let text = "29 28 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n";
        assert_eq!(systemds_own(text), Some(PathBuf::from("/sys/fs/cgroup/systemd")));
        assert_eq!(systemds_own("29 28 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), None);
    }

    #[test]
    fn version_1_is_completed() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        for dir in ["systemd", "memory", "freezer"] {
            fs::create_dir(at(dir)).unwrap();
        }
        let v1 = ["memory", "freezer"].map(|name| (vec![name.to_owned()], at(name))).to_vec();
        let hierarchies = Hierarchies { v1, v2: None };
        let path = Path::new("/a.slice/b.scope");
        let adopt = || Cgroups::adopt_beside(&hierarchies, Some(at("systemd")), path, &mut no_note);
        assert!(adopt().unwrap_err().to_string().contains("elsewhere"));
        assert!(!at("freezer/a.slice").exists());
        fs::create_dir_all(at("systemd/a.slice/b.scope")).unwrap();
        fs::create_dir_all(at("memory/a.slice/b.scope")).unwrap();
        let cgroups = adopt().unwrap();
        assert_eq!(cgroups.made(), [at("freezer/a.slice/b.scope"), at("freezer/a.slice")]);
        let places: Vec<_> = cgroups.leaves().iter().map(|leaf| leaf.path.clone()).collect();
        assert_eq!(places, ["memory", "freezer", "systemd"].map(|dir| at(dir).join("a.slice/b.scope")));
        let own = cgroups.leaves().last().unwrap();
        assert!(!own.has("memory") && !own.unified);
    }

    #[test]
    fn version_2_is_taken_as_it_is() {
        let tree = tempfile::tempdir().unwrap();
        let scope = tree.path().join("a.slice/b.scope");
        fs::create_dir_all(&scope).unwrap();
        let hierarchies = Hierarchies { v1: Vec::new(), v2: Some(tree.path().to_owned()) };
        let cgroups = Cgroups::adopt_beside(&hierarchies, None, Path::new("/a.slice/b.scope"), &mut no_note).unwrap();
        assert!(cgroups.made().is_empty());
        assert_eq!(cgroups.leaves(), [Leaf { path: scope, controllers: Vec::new(), unified: true }]);
    }
}
