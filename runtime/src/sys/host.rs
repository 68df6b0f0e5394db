//! Descriptors: taking ownership of what the kernel handed over, and input and output that never waits.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Owns a descriptor that recvmsg(2) or accept4(2) has just returned. Nobody else may own it.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: see above; the callers pass on a fresh descriptor at once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
