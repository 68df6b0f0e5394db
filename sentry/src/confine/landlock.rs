//! Landlock, where the kernel has it: a process may not name files at all, whatever its filter lets through.
//!
//! A second lock on a door that the filter has shut: a kernel without Landlock is no reason not to serve.

use super::{ConfineError, step};
use crate::sys::confine as sys;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::AsFd as _;
use std::path::Path;

/// `LANDLOCK_ACCESS_FS_REMOVE_FILE`
const REMOVE_FILE: u64 = 1 << 5;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`
const SCOPES: u64 = 0b11;

/// How many bits of file access each version handles, from the first on.
const ACCESSES: [u32; 5] = [13, 14, 15, 15, 16];

/// Forbids the calling thread every access by path, but to remove files directly in or below these directories; and signals and
/// abstract unix sockets outside of its own domain. Returns the version of Landlock, 0 where there is none.
///
/// # Errors
/// A rule that can't be set. To be called after [`no_privileges`](super::no_privileges).
pub fn forbid_paths(removable: &[&Path]) -> Result<u32, ConfineError> {
    let version = match sys::landlock_version() {
        Ok(version) => version,
        Err(Errno::ENOSYS | Errno::EOPNOTSUPP) => return Ok(0),
        Err(errno) => return step("ask for Landlock", Err(errno)),
    };
    let known = usize::try_from(version).unwrap_or_default().clamp(1, ACCESSES.len());
    let bits = ACCESSES.get(known - 1).copied().unwrap_or(13);
    let scoped = if version >= 6 { SCOPES } else { 0 };
    // The fields that this version knows: file accesses, from 4 on network accesses, from 6 on scopes.
    let size = if version >= 6 { 24 } else { 8 };
    let rules = step("make Landlock rules", sys::landlock_ruleset((1 << bits) - 1, scoped, size))?;
    for dir in removable {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let parent = step("open a socket's directory", open(*dir, flags, Mode::empty()))?;
        step("add a Landlock rule", sys::landlock_allow(rules.as_fd(), REMOVE_FILE, parent.as_fd()))?;
    }
    step("apply Landlock rules", sys::landlock_restrict(rules.as_fd()))?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_removal_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("inside/file"), dir.path().join("other"));
        std::fs::create_dir(dir.path().join("inside")).unwrap();
        std::fs::write(&file, "x").unwrap();
        std::fs::write(&other, "x").unwrap();
        // On a thread of its own, which keeps the rules to itself.
        let inside = dir.path().join("inside");
        std::thread::spawn(move || {
            super::super::step("", nix::sys::prctl::set_no_new_privs()).unwrap();
            if forbid_paths(&[&inside]).unwrap() == 0 {
                return;
            }
            assert!(std::fs::read(&file).is_err() && std::fs::read_dir("/").is_err());
            assert!(std::fs::write(inside.join("new"), "x").is_err());
            assert!(std::fs::remove_file(&other).is_err());
            std::fs::remove_file(&file).unwrap();
        })
        .join()
        .unwrap();
    }
}
