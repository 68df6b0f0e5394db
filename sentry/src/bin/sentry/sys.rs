//! Descriptors that the program was started with.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Takes over the inherited descriptor with this number, which must be open, and keeps children from inheriting it.
pub(crate) fn adopt(fd: RawFd) -> std::io::Result<OwnedFd> {
    if fd < 3 {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "0, 1 and 2 are taken"));
    }
    // SAFETY: F_SETFD takes no pointer; a number that is not open gives EBADF.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (above), and the caller of the program gave it away: called once for each number, before
    // anything else in this process opens descriptors.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
