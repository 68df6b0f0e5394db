//! The environment that a program begins with: what its specification says, and HOME, which runc looks up in the container's own
//! `/etc/passwd` where nobody gave it.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use rsc_oci::spec::Process;

use crate::supervisor::sandbox;

/// Of `/etc/passwd` not more is read.
const MAX_PASSWD: u64 = 1 << 20;

/// For a process of the container whose root is `root`; none: it is not on this host.
pub(super) fn of(process: Option<&Process>, root: Option<&Path>) -> Vec<CString> {
    let mut env = sandbox::c_strings(process.and_then(|process| process.env().as_ref()));
    if !env.iter().any(|entry| entry.as_bytes().starts_with(b"HOME=")) {
        let uid = process.map_or(0, |process| process.user().uid());
        let home = match root {
            Some(root) => passwd(root).and_then(|text| home_of(&text, uid)).unwrap_or_else(|| "/".to_owned()),
            None if uid == 0 => "/root".to_owned(),
            None => "/".to_owned(),
        };
        env.extend(CString::new(format!("HOME={home}")));
    }
    env
}

/// The text of `/etc/passwd` below `root`, whatever links there are in the tree.
fn passwd(root: &Path) -> Option<String> {
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(root.as_fd(), "etc/passwd", how).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_PASSWD).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn home_of(passwd: &str, uid: u32) -> Option<String> {
    let entry = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let id = fields.next()?.parse::<u32>().ok()?;
        let home = fields.nth(2)?;
        (id == uid && !home.is_empty()).then(|| home.to_owned())
    };
    passwd.lines().find_map(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nx:x:y:0::/x:\nnobody:x:65534:65534:::\nuser:x:7:7::/home/user:/bin/sh\n";
        let homes = [0, 7, 8, 65534].map(|uid| home_of(text, uid));
        assert_eq!(homes, [Some("/root".to_owned()), Some("/home/user".to_owned()), None, None]);
    }

    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("etc/passwd")).unwrap();
        assert_eq!(passwd(dir.path()), None);
        std::fs::write(dir.path().join("etc/hostname"), "a:b:1:1::/h:").unwrap();
        assert_eq!(passwd(dir.path()).as_deref(), Some("a:b:1:1::/h:"));
    }
}
