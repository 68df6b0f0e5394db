//! Namespaces of others that a jail joins. A go-between enters them and makes the jail there ([`super::between`]): the jail's own user
//! namespace has no rights in them, so that it could not enter them later, and `create` itself might not find back: going back takes
//! rights in one's own namespaces too.

use super::JailError;
use crate::sys::mounts;
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

/// A kind of namespace that can be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Process ids.
    Pid,
    /// Interfaces and sockets.
    Network,
    /// System V objects and message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// The view of cgroups.
    Cgroup,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] = [Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts, Kind::Cgroup];

    /// Its file in `/proc/PID/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Kind::Pid => "pid",
            Kind::Network => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Cgroup => "cgroup",
        }
    }

    pub(super) fn flag(self) -> CloneFlags {
        match self {
            Kind::Pid => CloneFlags::CLONE_NEWPID,
            Kind::Network => CloneFlags::CLONE_NEWNET,
            Kind::Ipc => CloneFlags::CLONE_NEWIPC,
            Kind::Uts => CloneFlags::CLONE_NEWUTS,
            Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        }
    }

    /// The namespace of this kind that the process `pid` is in, by what tells it from all others there are now; none: it has ended,
    /// or is not to be looked at.
    pub fn of(self, pid: i32) -> Option<Identity> {
        Identity::at(Path::new(&format!("/proc/{pid}/ns/{}", self.file()))).ok()
    }
}

/// What tells a namespace from all others that there are at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the namespace at `path`.
    pub fn at(path: &Path) -> io::Result<Identity> {
        let found = path.metadata()?;
        Ok(Identity { device: found.dev(), inode: found.ino() })
    }

    /// The number in links such as `net:[4026531840]`.
    pub fn inode(self) -> u64 {
        self.inode
    }
}

/// A namespace that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
}

impl Joined {
    fn refused(&self, error: io::Error) -> JailError {
        JailError::Join { kind: self.kind.file(), path: self.path.clone(), error }
    }
}

/// Those that this process is not in already, which needs no rights.
pub(super) fn foreign(joined: &[Joined]) -> Result<Vec<&Joined>, JailError> {
    let mut foreign = Vec::new();
    for it in joined {
        let own = format!("/proc/self/ns/{}", it.kind.file());
        let identity = |path: &Path| Identity::at(path).map_err(|error| it.refused(error));
        if identity(&it.path)? != identity(Path::new(&own))? {
            foreign.push(it);
        }
    }
    Ok(foreign)
}

/// Enters all of them, for good. Who has no right to in its own user namespace comes in by the one that they belong to, or by
/// `way_in`; the flag says so. The process must have one thread.
pub(super) fn enter(joined: &[&Joined], way_in: Option<&Path>) -> Result<bool, JailError> {
    let open = |it: &&Joined| Ok((it.kind, File::open(&it.path).map_err(|error| it.refused(error))?));
    let files = joined.iter().map(open).collect::<Result<Vec<_>, JailError>>()?;
    let mut by_owner = false;
    for (it, (kind, file)) in joined.iter().zip(&files) {
        let mut entered = setns(file.as_fd(), kind.flag());
        if entered == Err(Errno::EPERM) && !by_owner {
            by_owner = true;
            entered = owner(&files, way_in)
                .and_then(|owner| setns(owner, CloneFlags::CLONE_NEWUSER))
                .and_then(|()| setns(file.as_fd(), kind.flag()));
        }
        entered.map_err(|error| it.refused(error.into()))?;
    }
    Ok(by_owner)
}

/// The user namespace to come in by: of the owners of all of these, and `way_in`, the one that holds the others.
fn owner(files: &[(Kind, File)], way_in: Option<&Path>) -> Result<OwnedFd, Errno> {
    let mut owners = Vec::new();
    for (_, file) in files {
        owners.push(mounts::owner_of(file.as_fd())?);
    }
    if let Some(path) = way_in {
        let opened = File::open(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)));
        owners.push(opened?.into());
    }
    let mut found: Option<(usize, OwnedFd)> = None;
    for owner in owners {
        let depth = depth(&owner)?;
        if found.as_ref().is_none_or(|(least, _)| depth < *least) {
            found = Some((depth, owner));
        }
    }
    found.map(|(_, owner)| owner).ok_or(Errno::EPERM)
}

/// How far below this process's own a user namespace is.
fn depth(namespace: &OwnedFd) -> Result<usize, Errno> {
    let mut above = mounts::parent_of(namespace.as_fd());
    let mut depth = 0;
    loop {
        match above {
            Ok(parent) => above = mounts::parent_of(parent.as_fd()),
            Err(Errno::EPERM) => return Ok(depth),
            Err(errno) => return Err(errno),
        }
        depth += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_told_apart() {
        let own = i32::try_from(std::process::id()).unwrap();
        for kind in Kind::ALL {
            let identity = kind.of(own).unwrap();
            assert_eq!(Identity::at(Path::new(&format!("/proc/self/ns/{}", kind.file()))).unwrap(), identity);
            assert!(identity.inode() > 0);
        }
        assert_ne!(Kind::Pid.of(own), Kind::Uts.of(own));
        assert_eq!(Kind::Pid.of(i32::MAX), None);
    }

    #[test]
    fn ones_own_are_not_joined() {
        let joined = [Joined { kind: Kind::Uts, path: "/proc/self/ns/uts".into() }];
        assert!(foreign(&joined).unwrap().is_empty());
        let missing = [Joined { kind: Kind::Ipc, path: "/nonexistent".into() }];
        let error = foreign(&missing).err().unwrap().to_string();
        assert_eq!(error, "cannot join the ipc namespace /nonexistent: No such file or directory (os error 2)");
    }

    #[test]
    fn the_outermost_owner_is_the_way_in() {
        let files = [(Kind::Uts, File::open("/proc/self/ns/uts").unwrap())];
        // One's own namespaces may belong to somebody further out.
        if let Ok(owner) = owner(&files, None) {
            assert_eq!(depth(&owner), Ok(0));
        }
        assert_eq!(owner(&files, Some(Path::new("/nonexistent"))).err(), Some(Errno::ENOENT));
    }
}
