//! The freezer: holds every process of a container where it is.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{CgroupError, Leaf, error};

/// All processes have stopped after this time, or something holds one up.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(2);

/// The folder that freezes, and whether it is of version 2.
fn freezer(leaves: &[Leaf]) -> Option<(&Path, bool)> {
    let v1 = leaves.iter().find(|leaf| !leaf.unified && leaf.has("freezer")).map(|leaf| (leaf.path.as_path(), false));
    v1.or_else(|| leaves.iter().find(|leaf| leaf.unified).map(|leaf| (leaf.path.as_path(), true)))
}

fn required(leaves: &[Leaf]) -> Result<(&Path, bool), CgroupError> {
    freezer(leaves).ok_or_else(|| {
        let problem = io::Error::new(io::ErrorKind::Unsupported, "the container has no cgroup that can be frozen");
        error(Path::new("/sys/fs/cgroup"), "freezing")(problem)
    })
}

/// Whether it is frozen, or about to be.
pub fn is_frozen(leaves: &[Leaf]) -> bool {
    match freezer(leaves) {
        Some((dir, true)) => fs::read_to_string(dir.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1"),
        Some((dir, false)) => {
            fs::read_to_string(dir.join("freezer.state")).is_ok_and(|text| matches!(text.trim(), "FROZEN" | "FREEZING"))
        }
        None => false,
    }
}

/// Freezes it and waits until nothing in it runs. On an error it runs on.
pub fn freeze(leaves: &[Leaf]) -> Result<(), CgroupError> {
    let (dir, unified) = required(leaves)?;
    let (file, word) = if unified { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
    let file = dir.join(file);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Version 1 has to be asked again where processes were born meanwhile.
        fs::write(&file, word).map_err(error(&file, "freezing"))?;
        let frozen = if unified {
            fs::read_to_string(dir.join("cgroup.events")).map(|text| text.lines().any(|line| line == "frozen 1"))
        } else {
            fs::read_to_string(&file).map(|text| text.trim() == "FROZEN")
        };
        match frozen.map_err(error(&file, "freezing")) {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() < deadline => std::thread::sleep(STEP),
            other => {
                let _ = thaw(leaves);
                other?;
                let problem = io::Error::new(io::ErrorKind::TimedOut, "unable to freeze: a process does not stop");
                return Err(error(&file, "freezing")(problem));
            }
        }
    }
}

/// Lets it run on.
pub fn thaw(leaves: &[Leaf]) -> Result<(), CgroupError> {
    let (dir, unified) = required(leaves)?;
    let (file, word) = if unified { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
    let file = dir.join(file);
    fs::write(&file, word).map_err(error(&file, "thawing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = |unified| Leaf {
            path: dir.path().to_owned(),
            controllers: if unified { Vec::new() } else { vec!["freezer".to_owned()] },
            unified,
        };
        assert!(!is_frozen(&[leaf(true)]) && !is_frozen(&[]));
        assert!(freeze(&[]).is_err());
        fs::write(dir.path().join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        freeze(&[leaf(true)]).unwrap();
        assert!(is_frozen(&[leaf(true)]) && !is_frozen(&[leaf(false)]));
        thaw(&[leaf(true)]).unwrap();
        assert!(!is_frozen(&[leaf(true)]));
        freeze(&[leaf(false)]).unwrap();
        assert!(is_frozen(&[leaf(false)]));
        fs::write(dir.path().join("freezer.state"), "FREEZING\n").unwrap();
        assert!(is_frozen(&[leaf(false)]));
    }
}
