//! What the jail's mount namespace shows to somebody who enters it from outside, as `podman cp` and `podman top` do: the container's
//! files. The jail itself sees nothing of it: its root and working directory are an empty file system that is mounted nowhere, so
//! that no path leads from there to here.
//!
//! Who enters a mount namespace has its root mount for a root. That is a copy of the mount of the bundle's root, and on it are copies
//! of the bind mounts' sources; in places of what lives in the sentry (`/dev`, tmpfs…) it is an empty read-only file system, so
//! that nothing is written where the container would not find it. Nothing in there can be executed: it would run outside of the jail,
//! with the rights of whoever entered.

use crate::sys::mounts::{self, READ_ONLY, RESTRICTED};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat, mknodat},
    unistd::{chdir, chroot, fchdir, pivot_root},
};
use std::{
    ffi::{CString, OsStr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
};

/// A tree to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The directory that is its root.
    pub root: PathBuf,
    /// Refuse changes.
    pub read_only: bool,
    /// What is mounted in it, in order.
    pub mounts: Vec<Mounted>,
}

/// Something mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where, in the tree.
    pub destination: PathBuf,
    /// What.
    pub what: Part,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A file or directory of this host.
    Bind {
        /// It.
        source: PathBuf,
        /// Refuse changes.
        read_only: bool,
    },
    /// The processes of the jail's pid namespace.
    Proc,
    /// What only the container sees.
    Unseen,
}

/// A tree whose parts are copied, but not put together yet.
struct Parts {
    root: OwnedFd,
    read_only: bool,
    /// None: unseen.
    mounts: Vec<(PathBuf, Option<OwnedFd>)>,
}

type Step<T> = Result<T, String>;

fn step<T>(doing: &str, result: nix::Result<T>) -> Step<T> {
    result.map_err(|errno| format!("{doing}: {}", errno.desc()))
}

/// Leaves the host's mounts for a namespace that shows this tree, and leaves that for an empty root. With the ids of `create`, which
/// may reach what is to be shown.
pub(super) fn make(shown: Option<&Shown>) -> Step<()> {
    let none: Option<&str> = None;
    step("make mounts private", mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))?;
    // By path and here: descriptors from before are of another mount namespace.
    let parts = shown.and_then(|shown| {
        let copied = Parts::copy(shown);
        copied
            .inspect_err(|errno| tracing::info!("{}: not shown to others: {}", shown.root.display(), errno.desc()))
            .ok()
    });
    let place = empty_place()?;
    let empty = || mounts::copy(place, false);
    let nowhere = step("copy the empty file system", empty())?;
    let unseen = |parts: &Parts| parts.mounts.iter().map(|(_, tree)| tree.is_none().then(empty).transpose()).collect();
    let unseen: Vec<Option<OwnedFd>> =
        step("copy the empty file system", parts.as_ref().map_or(Ok(Vec::new()), unseen))?;
    step("enter the new root", chdir(place))?;
    if let Some(parts) = &parts {
        let here = step("open the new root", open_beneath(nix::fcntl::AT_FDCWD, Path::new(".")))?;
        step("mount the container's root", mounts::attach(parts.root.as_fd(), here.as_fd()))?;
        step("enter the container's root", fchdir(&parts.root))?;
    }
    step("make it the root", pivot_root(".", "."))?;
    step("unmount the host's tree", umount2(".", MntFlags::MNT_DETACH))?;
    step("enter the root", chdir("/"))?;
    for ((destination, tree), empty) in parts.iter().flat_map(|parts| &parts.mounts).zip(&unseen) {
        let (Some(parts), Some(tree)) = (&parts, tree.as_ref().or(empty.as_ref())) else { continue };
        // The sentry says what is wrong with a mount. Here it is left out.
        if let Err(errno) = parts.attach(tree, destination) {
            tracing::info!("{}: not shown to others: {}", destination.display(), errno.desc());
        }
    }
    go_nowhere(nowhere)
}

/// Makes a directory the root and the working directory of this process.
pub(super) fn go_nowhere(root: OwnedFd) -> Step<()> {
    step("enter the empty root", fchdir(&root))?;
    step("make the empty root the root", chroot("."))
}

/// Mounts an empty read-only file system; where.
fn empty_place() -> Step<&'static std::ffi::CStr> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    let mut failed = Errno::ENOENT;
    for place in [c"/tmp", c"/proc", c"/dev", c"/sys"] {
        match mount(Some("rsc"), place, Some("tmpfs"), flags, Some("size=0,nr_inodes=1,mode=555")) {
            Ok(()) => return Ok(place),
            Err(errno) => failed = errno,
        }
    }
    step("mount an empty file system", Err(failed))
}

impl Parts {
    fn copy(shown: &Shown) -> nix::Result<Self> {
        let root = restricted(&shown.root, shown.read_only)?;
        let part = |mounted: &Mounted| {
            let tree = match &mounted.what {
                Part::Bind { source, read_only } => restricted(source, *read_only),
                Part::Proc => mounts::procfs(),
                Part::Unseen => return (mounted.destination.clone(), None),
            };
            let unseen = |errno: &Errno| {
                tracing::info!("{}: not shown to others: {}", mounted.destination.display(), errno.desc());
            };
            (mounted.destination.clone(), tree.inspect_err(unseen).ok())
        };
        Ok(Self { root, read_only: shown.read_only, mounts: shown.mounts.iter().map(part).collect() })
    }

    /// Mounts a part of the tree, which is the root by now, where it belongs.
    fn attach(&self, tree: &OwnedFd, destination: &Path) -> nix::Result<()> {
        let root = open_beneath(nix::fcntl::AT_FDCWD, Path::new("/"))?;
        let place = match open_beneath(root.as_fd(), destination) {
            Err(Errno::ENOENT) if !self.read_only => make_place(root, destination, is_directory(tree)?)?,
            other => other?,
        };
        mounts::attach(tree.as_fd(), place.as_fd())
    }
}

/// A copy of the mounts at and below `path` in which nothing can be executed, nor changed if `read_only`.
fn restricted(path: &Path, read_only: bool) -> nix::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let tree = mounts::copy(&path, true)?;
    mounts::restrict(tree.as_fd(), RESTRICTED | if read_only { READ_ONLY } else { 0 })?;
    Ok(tree)
}

/// Opens what is at `path` in the tree at `root`. Symbolic links in it are the container's, and stay within.
fn open_beneath(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, path, OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve))
}

fn is_directory(file: &OwnedFd) -> nix::Result<bool> {
    let stat: FileStat = fstatat(file, "", AtFlags::AT_EMPTY_PATH)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// Makes a mount point where there is none, as the sentry would do.
fn make_place(root: OwnedFd, path: &Path, directory: bool) -> nix::Result<OwnedFd> {
    let names: Vec<&OsStr> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let (mut at, mut so_far) = (root.try_clone().map_err(|_| Errno::EMFILE)?, PathBuf::new());
    for (index, name) in names.iter().enumerate() {
        so_far.push(name);
        at = match open_beneath(root.as_fd(), &so_far) {
            Err(Errno::ENOENT) => {
                if directory || index + 1 < names.len() {
                    mkdirat(&at, *name, Mode::from_bits_truncate(0o755))?;
                } else {
                    mknodat(&at, *name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0)?;
                }
                open_beneath(root.as_fd(), &so_far)?
            }
            other => other?,
        };
    }
    Ok(at)
}
