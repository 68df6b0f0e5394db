//! seccomp(2): installing a filter with a listener, and the listener's ioctls.

use super::check;
use nix::errno::Errno;
use std::{
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// One BPF instruction.
pub use libc::sock_filter as Instruction;

/// What waits in a notification.
pub use libc::seccomp_notif as Notification;

const fn ioctl(direction: u32, number: u32, size: usize) -> libc::Ioctl {
    ((direction << 30) | ((size as u32) << 16) | ((b'!' as u32) << 8) | number) as libc::Ioctl
}
const RECV: libc::Ioctl = ioctl(3, 0, size_of::<libc::seccomp_notif>());
const SEND: libc::Ioctl = ioctl(3, 1, size_of::<libc::seccomp_notif_resp>());
const SET_FLAGS: libc::Ioctl = ioctl(1, 4, size_of::<u64>());
const ADDFD: libc::Ioctl = ioctl(1, 3, size_of::<libc::seccomp_notif_addfd>());

/// Installs a filter on the calling thread and returns its listener, which is close-on-exec.
///
/// With `killable` a task whose notification was received waits for the answer whatever happens to it, short of a fatal signal.
pub fn install(program: &[Instruction], killable: bool) -> nix::Result<OwnedFd> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    let mut flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if killable {
        flags |= libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    }
    // SAFETY: the kernel copies the program during the call and does not write to it.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, ptr::from_ref(&program)) };
    let fd = RawFd::try_from(check(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has whoever waits for notifications woken on the processor of the task that raises one, and the task on that of whoever answers:
/// the one is about to sleep when the other wakes. Linux 6.6; `EINVAL` before.
pub fn wake_in_place(listener: BorrowedFd<'_>) -> nix::Result<()> {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the argument is a number.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) }.into()).map(drop)
}

/// Receives one notification. Only after poll(2) said that there is one; `ENOENT`: it has gone since.
pub fn receive(listener: BorrowedFd<'_>) -> nix::Result<Notification> {
    // SAFETY: the kernel wants it zeroed; all-zero is valid for integers.
    let mut notification: Notification = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills a `seccomp_notif`.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), RECV, &raw mut notification) }.into())?;
    Ok(notification)
}

/// How a notification is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `rax`: a value, a negative error, or a restart code.
    Result(i64),
    /// The kernel carries the call out.
    Continue,
}

/// Answers a notification. `ENOENT`: the task waits no more.
pub fn reply(listener: BorrowedFd<'_>, id: u64, reply: Reply) -> nix::Result<()> {
    let mut response = libc::seccomp_notif_resp { id, val: 0, error: 0, flags: 0 };
    match reply {
        Reply::Result(value @ -4095..0) => response.error = i32::try_from(value).unwrap_or(-libc::EIO),
        Reply::Result(value) => response.val = value,
        Reply::Continue => response.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
    }
    // SAFETY: the kernel reads a `seccomp_notif_resp`.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut response) }.into()).map(drop)
}

/// Puts a descriptor into the task that waits in a notification, at a fixed number, replacing what is there.
pub fn add_fd(listener: BorrowedFd<'_>, id: u64, fd: BorrowedFd<'_>, number: u32) -> nix::Result<()> {
    let mut request = libc::seccomp_notif_addfd {
        id,
        flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SETFD).unwrap_or(1),
        srcfd: u32::try_from(fd.as_raw_fd()).map_err(|_| Errno::EBADF)?,
        newfd: number,
        newfd_flags: u32::try_from(libc::O_CLOEXEC).unwrap_or(0),
    };
    // SAFETY: the kernel reads a `seccomp_notif_addfd`.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), ADDFD, &raw mut request) }.into()).map(drop)
}
