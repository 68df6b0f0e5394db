//! What rsc's own processes give up before they meet anything hostile. `docs/security.md` says the same for users.
//!
//! The sentry, in order: descriptors of whoever started it; a [`Starter`](starter::Starter) is forked, which alone can still
//! start processes; listeners are bound and files read; then capabilities, core dumps, new privileges, the file system
//! ([`landlock`]) and all system calls but those of the [`sentry`] filter go, and only then is the first connection accepted.

pub mod broker;
pub mod filter;
pub mod landlock;
pub mod sentry;
pub mod starter;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

pub use crate::sys::confine::close_others;

/// Why a process can't confine itself; it must not serve then.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A step.
    #[error("cannot {step}: {}", errno.desc())]
    Step {
        /// What was being done.
        step: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// Capabilities.
    #[error("cannot drop capabilities: {0}")]
    Caps(#[from] caps::errors::CapsError),
    /// The starter failed, and said why in the log.
    #[error("the starter of helpers could not confine itself; see the log")]
    Starter,
    /// The network namespace of the command line.
    #[error("cannot enter the network namespace {path}: {error}")]
    Network {
        /// Its path.
        path: std::path::PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The filter.
    #[error("cannot install the system call filter: {0}")]
    Filter(String),
}

pub(crate) fn step<T>(step: &'static str, result: nix::Result<T>) -> Result<T, ConfineError> {
    result.map_err(|errno| ConfineError::Step { step, errno })
}

/// Gives up all capabilities but these, in every set. Of those in `keep`, what the process has not got it does not get.
///
/// The bounding set needs `CAP_SETPCAP` to shrink; a process without it can't gain from the set either, because
/// [`no_privileges`] ends that.
///
/// # Errors
/// [`ConfineError::Caps`].
pub fn drop_capabilities(keep: &[Capability]) -> Result<(), ConfineError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for cap in caps::all() {
            if !keep.contains(&cap) && caps::has_cap(None, CapSet::Bounding, cap)? {
                caps::drop(None, CapSet::Bounding, cap)?;
            }
        }
    }
    let held = caps::read(None, CapSet::Permitted)?;
    let kept = keep.iter().copied().filter(|cap| held.contains(cap)).collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(())
}

/// No new privileges by execution, and no memory of this process in core dumps or, by ptrace(2) and `/proc`, with other processes
/// of the same user: it holds other people's data.
///
/// # Errors
/// [`ConfineError::Step`].
pub fn no_privileges() -> Result<(), ConfineError> {
    step("forbid core dumps", setrlimit(Resource::RLIMIT_CORE, 0, 0))?;
    step("forbid new privileges", nix::sys::prctl::set_no_new_privs())?;
    step("become undumpable", nix::sys::prctl::set_dumpable(false))
}
