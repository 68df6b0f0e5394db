//! Which cgroups of version 2 there are, so that the kernel's side can tell most processes by theirs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rsc_bpf::Sieve;

use super::facts::in_cgroup;
use super::targets::Plan;
use crate::remote::rules::Watched;

/// No more folders are looked at; processes of the rest are looked at one by one.
const MAX: usize = 65_536;

/// Which targets want processes of a cgroup with this path.
pub(super) fn wanted(plan: &Plan, watched: &[Watched], path: &Path) -> u64 {
    let paths = [path.to_owned()];
    plan.mask_of(|table| watched.get(table).is_some_and(|watched| in_cgroup(watched, &paths)))
}

/// Tells the sieve of all that are there now. Of use only where there is no hierarchy but this one: else a process's other cgroups
/// matter too.
pub(super) fn teach(sieve: &Sieve, plan: &Plan, watched: &[Watched]) {
    let Some(root) = mount_point() else { return };
    let mut folders = vec![root.clone()];
    let mut told = 0;
    while let Some(folder) = folders.pop() {
        let (Ok(metadata), Ok(below)) = (folder.metadata(), folder.strip_prefix(&root)) else { continue };
        sieve.learn_cgroup(metadata.ino(), wanted(plan, watched, &Path::new("/").join(below)));
        told += 1;
        if told == MAX {
            return;
        }
        let Ok(entries) = folder.read_dir() else { continue };
        folders.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
}

/// Where the hierarchy of version 2 is mounted.
fn mount_point() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        (kind.starts_with("cgroup2 ") && fields.next() == Some("/")).then(|| fields.next().map(PathBuf::from))?
    })
}
