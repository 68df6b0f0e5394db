//! Descriptors of others: input and output that never waits, terminal requests, readiness.

use nix::errno::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn count(value: isize) -> nix::Result<usize> {
    usize::try_from(value).map_err(|_| Errno::last())
}

/// read(2) at the description's offset. `EAGAIN` instead of waiting, whatever the description's flags say; `EOPNOTSUPP` where the
/// kernel can't promise that.
pub(crate) fn read_nowait(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<usize> {
    let vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: one element that describes `buffer`, which the kernel writes to.
    count(unsafe { libc::preadv2(fd.as_raw_fd(), &raw const vector, 1, -1, libc::RWF_NOWAIT) })
}

/// write(2) likewise.
pub(crate) fn write_nowait(fd: BorrowedFd<'_>, data: &[u8]) -> nix::Result<usize> {
    let vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: one element that describes `data`, which the kernel reads from.
    count(unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const vector, 1, -1, libc::RWF_NOWAIT) })
}

/// ioctl(2) with a structure that is as large as the request wants it: the caller knows the request.
pub(crate) fn ioctl_struct(fd: BorrowedFd<'_>, request: u64, data: &mut [u8]) -> nix::Result<i32> {
    // SAFETY: the requests that are let through read or write at most `data.len()` bytes.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, data.as_mut_ptr()) })
}

/// ioctl(2) with a number.
pub(crate) fn ioctl_number(fd: BorrowedFd<'_>, request: u64, value: u64) -> nix::Result<i32> {
    // SAFETY: the requests that are let through take no pointer.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, value) })
}

/// Watches a descriptor for readiness. In a runtime.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same until it is dropped, which the result does last.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}
