//! Where the state of containers is kept, when `--root` does not say.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::args::Global;
use crate::lifecycle::LifecycleError;

/// `--root`, or `/run/rsc`; for a user without privileges `$XDG_RUNTIME_DIR/rsc`, and without that (an empty value counts as none)
/// a folder that can only be the user's own.
pub(super) fn state_root(global: &Global) -> Result<PathBuf, LifecycleError> {
    if let Some(root) = &global.root {
        return Ok(root.clone());
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match runtime_dir {
        Some(dir) if global.is_rootless() => Ok(Path::new(&dir).join("rsc")),
        None if !geteuid().is_root() => private(geteuid().as_raw()),
        _ => Ok(PathBuf::from("/run/rsc")),
    }
}

impl Global {
    /// Whether the caller has no privileges on the host: not root, or root of a user namespace only.
    pub fn is_rootless(&self) -> bool {
        match self.rootless.as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => {
                let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
                let whole = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
                !geteuid().is_root() || !whole
            }
        }
    }
}

/// The folder that a login session has, or one in /tmp.
fn private(uid: u32) -> Result<PathBuf, LifecycleError> {
    let session = PathBuf::from(format!("/run/user/{uid}"));
    if check(&session, uid).is_ok() {
        return Ok(session.join("rsc"));
    }
    let path = PathBuf::from(format!("/tmp/rsc-{uid}"));
    let made = match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        // Whoever was first, it must be the user's now.
        _ => check(&path, uid),
    };
    let doing = "using (as neither --root nor XDG_RUNTIME_DIR is given) the state directory";
    made.map_err(LifecycleError::io(doing, path.display().to_string()))?;
    Ok(path)
}

/// Others must not have a hand in it: state.json names processes to kill, and sockets to talk to.
fn check(path: &Path, uid: u32) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    if found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::PermissionDenied, "it is not a directory of this user's alone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn only_the_users_own_folder_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let (own, uid) = (dir.path().join("own"), geteuid().as_raw());
        DirBuilder::new().mode(0o700).create(&own).unwrap();
        check(&own, uid).unwrap();
        assert!(check(&own, uid + 1).is_err());
        symlink(&own, dir.path().join("link")).unwrap();
        assert!(check(&dir.path().join("link"), uid).is_err());
        fs::set_permissions(&own, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(check(&own, uid).is_err());
    }
}
