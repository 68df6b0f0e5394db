//! Namespaces of others that a jail joins. `create` enters them itself, forks the jail, and goes back: the jail's own user namespace
//! has no rights in them, so that it could not enter them later, and none over what is in them.

use super::JailError;
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
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

/// Where this process was before it entered others' namespaces. [`Visit::leave`] takes it back there.
pub(super) struct Visit {
    own: Vec<(Kind, File)>,
}

impl Visit {
    /// Enters all of them. After a failure it is in none.
    pub(super) fn enter(joined: &[Joined]) -> Result<Visit, JailError> {
        let mut visit = Visit { own: Vec::new() };
        for it in joined {
            if let Err(error) = visit.enter_one(it) {
                visit.leave()?;
                return Err(JailError::Join { kind: it.kind.file(), path: it.path.clone(), error });
            }
        }
        Ok(visit)
    }

    fn enter_one(&mut self, joined: &Joined) -> io::Result<()> {
        let own = File::open(format!("/proc/self/ns/{}", joined.kind.file()))?;
        // One's own may not be entered again without rights in it, which nobody needs who stays.
        if Identity::at(&joined.path)? == Identity::at(Path::new(&format!("/proc/self/ns/{}", joined.kind.file())))? {
            return Ok(());
        }
        setns(File::open(&joined.path)?.as_fd(), joined.kind.flag())?;
        self.own.push((joined.kind, own));
        Ok(())
    }

    /// Goes back.
    pub(super) fn leave(self) -> Result<(), JailError> {
        for (kind, own) in self.own {
            setns(own.as_fd(), kind.flag())
                .map_err(|error| JailError::Host { doing: "go back to its own namespaces", error })?;
        }
        Ok(())
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
    fn ones_own_are_no_visit() {
        let joined = [Joined { kind: Kind::Uts, path: "/proc/self/ns/uts".into() }];
        let visit = Visit::enter(&joined).unwrap();
        assert!(visit.own.is_empty());
        visit.leave().unwrap();
        let missing = [Joined { kind: Kind::Ipc, path: "/nonexistent".into() }];
        let error = Visit::enter(&missing).err().unwrap().to_string();
        assert_eq!(error, "cannot join the ipc namespace /nonexistent: No such file or directory (os error 2)");
    }
}
