//! The jail: what a gofer gives up before it reads its first request.
//!
//! Namespaces of its own: user (ids mapped, so that its capabilities mean nothing outside of the tree), mount (an empty root; the
//! tree is a detached mount reached by descriptor alone), network, IPC and UTS (empty). Capabilities: those of file ownership.
//! No new privileges, a seccomp filter, no descriptors but its sockets.

mod filter;
mod ids;

pub(crate) use filter::install as install_filter;
pub use ids::IdMap;
pub(crate) use ids::Ids;

use crate::sys::{fs, ns};
use caps::{CapSet, Capability};
use rsc_proto::abi::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a gofer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The root of the export.
    #[error("cannot serve {path}: {errno:?}; it has to be a directory or file that this user can reach")]
    Root {
        /// As given.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// A step of the jail.
    #[error("cannot {step}: {errno:?}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// Why.
        errno: Errno,
    },
    /// Capabilities.
    #[error("cannot drop capabilities: {0}")]
    Caps(#[from] caps::errors::CapsError),
    /// The filter.
    #[error("cannot install the system call filter: {0}")]
    Filter(String),
}

/// Capabilities that stay, in the gofer's own user namespace.
pub(crate) const KEPT: [Capability; 7] = [
    // Owners are set by request.
    Capability::CAP_CHOWN,
    // The sentry has checked permissions; the gofer acts as root of its tree.
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    // chmod, utimes, sticky directories, O_NOATIME on files of others.
    Capability::CAP_FOWNER,
    // Set-id bits stay as requests set them.
    Capability::CAP_FSETID,
    // setfsuid, setfsgid: files are born with their owner. The filter lets no other call of this kind through.
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
];

/// What to serve.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) root: &'a Path,
    pub(crate) read_only: bool,
    /// Empty: the default.
    pub(crate) ids: Ids,
}

/// What the server works with, in the jail.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The export's root.
    pub(crate) root: OwnedFd,
    /// The directory of the process's own descriptors, and nothing else of procfs.
    pub(crate) own: OwnedFd,
    pub(crate) ids: Ids,
}

fn step<T>(step: &'static str, result: crate::sys::Result<T>) -> Result<T, JailError> {
    result.map_err(|errno| JailError::Step { step, errno })
}

/// Enters the jail, except for the filter. The process has one thread.
pub(crate) fn enter(plan: Plan<'_>) -> Result<Tree, JailError> {
    let root_error = |errno| JailError::Root { path: plan.root.to_owned(), errno };
    let path = CString::new(plan.root.as_os_str().as_bytes()).map_err(|_| root_error(Errno::EINVAL))?;
    step("forbid core dumps", ns::forbid_core())?;
    let ids = if plan.ids.uids.is_empty() { ids::default_ids() } else { plan.ids };
    // So that the helper may write the maps.
    step("become dumpable", ns::dumpable(true))?;
    let ids = match ids::enter(&ids) {
        Ok(()) => {
            // A map without a root has its owner's own id, with the capabilities of whoever made the namespace.
            if ids.has_uid(0) && ids.has_gid(0) {
                step("become root of the user namespace", ns::become_root())?;
            }
            ids
        }
        // A host without user namespaces: root can do without.
        Err(errno) if ids::may_map() && is_identity(&ids) => {
            tracing::warn!("no user namespace ({errno:?}): the gofer keeps its capabilities in the host's");
            Ids::all()
        }
        Err(errno) => return Err(JailError::Step { step: "enter a user namespace", errno }),
    };
    let spaces = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    step("enter mount, network, IPC and UTS namespaces", ns::unshare(spaces))?;
    // By path and not by a descriptor from before: that would be of the old mount namespace.
    let root = ns::clone_tree(&path, true).map_err(root_error)?;
    step("restrict the tree's mounts", ns::restrict_tree(root.as_fd(), plan.read_only))?;
    let own = step("get at /proc/self/fd (is /proc mounted?)", ns::clone_tree(c"/proc/self/fd", false))?;
    step("make an empty root", ns::empty_root(c"/proc"))?;
    // Refused where groups were given up for good with the mapping.
    let _ = ns::drop_groups();
    // Extended attributes have no calls relative to a descriptor: they are relative to this directory.
    step("go to the directory of descriptors", fs::change_dir(&own))?;
    drop_capabilities()?;
    step("forbid new privileges", ns::no_new_privileges())?;
    step("become undumpable", ns::dumpable(false))?;
    Ok(Tree { root, own, ids })
}

fn is_identity(ids: &Ids) -> bool {
    ids.uids.iter().chain(&ids.gids).all(|m| m.inside == m.outside)
}

fn drop_capabilities() -> Result<(), JailError> {
    step("keep capabilities across file system ids", ns::keep_caps_across_fs_ids())?;
    for cap in caps::all() {
        if !KEPT.contains(&cap) && caps::has_cap(None, CapSet::Bounding, cap)? {
            caps::drop(None, CapSet::Bounding, cap)?;
        }
    }
    let kept = KEPT.into_iter().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(())
}
