//! What containers may leave behind: processes, mounts, cgroups, sockets, entries of directories. A picture before, one after,
//! and the difference.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// A picture of the machine, as far as containers can change it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    items: BTreeSet<String>,
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|d| d.filter_map(|e| Some(e.ok()?.path())).collect()).unwrap_or_default()
}

fn walk(dir: &Path, kind: &str, deep: u32, items: &mut BTreeSet<String>) {
    for path in entries(dir) {
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
        if is_dir || kind != "cgroup" {
            items.insert(format!("{kind} {}", path.display()));
        }
        if is_dir && deep > 0 {
            walk(&path, kind, deep - 1, items);
        }
    }
}

fn processes(items: &mut BTreeSet<String>, mine: &dyn Fn(&str) -> bool) {
    for dir in entries(Path::new("/proc")) {
        let Some(pid) = dir.file_name().and_then(|n| n.to_str()).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(dir.join("stat")) else { continue };
        // A zombie holds nothing; the machine's init may be slow to reap it.
        let rest = stat.rsplit_once(") ").map_or("", |(_, r)| r);
        if rest.starts_with('Z') || rest.starts_with('X') {
            continue;
        }
        let line = fs::read(dir.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let exe = fs::read_link(dir.join("exe")).map(|p| p.display().to_string()).unwrap_or_default();
        if mine(&line) || mine(&exe) {
            items.insert(format!("process {pid} {exe} {}", line.trim_end()));
        }
    }
}

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

impl Picture {
    /// Takes a picture: all mounts and cgroups and listening unix sockets, the processes whose command line or program contains one
    /// of `names`, and what is in `dirs`, three levels deep.
    #[must_use]
    pub fn take(names: &[&str], dirs: &[&Path]) -> Self {
        let mut items = BTreeSet::new();
        let here = std::process::id().to_string();
        processes(&mut items, &|text| names.iter().any(|n| text.contains(n)));
        items.retain(|i| !i.starts_with(&format!("process {here} ")));
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            if let Some(at) = line.split(' ').nth(4) {
                items.insert(format!("mount {at}"));
            }
        }
        walk(Path::new(CGROUPS), "cgroup", 6, &mut items);
        for line in fs::read_to_string("/proc/net/unix").unwrap_or_default().lines().skip(1) {
            // Listening sockets with a name: flag __SO_ACCEPTCON.
            let fields: Vec<_> = line.split_whitespace().collect();
            if let (Some(&"00010000"), Some(path)) = (fields.get(3), fields.get(7)) {
                items.insert(format!("socket {path}"));
            }
        }
        for dir in dirs {
            walk(dir, "file", 3, &mut items);
        }
        Self { items }
    }

    /// What `later` has that this picture has not.
    #[must_use]
    pub fn new_in(&self, later: &Self) -> Vec<String> {
        later.items.difference(&self.items).cloned().collect()
    }
}

/// Takes pictures until nothing is new against `before`, at most for five seconds: what ends by itself a moment later is no leak.
/// Gives what is still new then.
#[must_use]
pub fn left_behind(before: &Picture, names: &[&str], dirs: &[&Path]) -> Vec<String> {
    let began = Instant::now();
    loop {
        let new = before.new_in(&Picture::take(names, dirs));
        if new.is_empty() || began.elapsed() > Duration::from_secs(5) {
            return new;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The number of descriptors that a process has open.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    entries(Path::new(&format!("/proc/{pid}/fd"))).len()
}

/// A process's proportional share of memory (PSS) in KiB.
#[must_use]
pub fn memory_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("Pss:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_shows() {
        let dir = tempfile::tempdir().unwrap();
        let before = Picture::take(&[], &[dir.path()]);
        fs::write(dir.path().join("left"), "").unwrap();
        let new = before.new_in(&Picture::take(&[], &[dir.path()]));
        assert!(new.iter().any(|i| i.starts_with("file ") && i.ends_with("/left")), "{new:?}");
    }

    #[test]
    fn own_figures() {
        assert!(descriptors(std::process::id()) >= 3);
        assert!(memory_kib(std::process::id()) > 0);
    }
}
