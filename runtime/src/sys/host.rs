//! Descriptors: taking ownership of what the kernel handed over, input and output that never waits, terminal requests.

use nix::errno::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Owns a descriptor that recvmsg(2) or accept4(2) has just returned. Nobody else may own it.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: see above; the callers pass on a fresh descriptor at once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// ioctl(2) with a structure that is as large as the request wants it: the caller knows the request.
pub fn ioctl_struct(fd: BorrowedFd<'_>, request: u64, data: &mut [u8]) -> nix::Result<i32> {
    // SAFETY: the requests that are let through read or write at most `data.len()` bytes.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, data.as_mut_ptr()) })
}

/// Watches a descriptor for readiness. In a runtime.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same until it is dropped, which the result does last.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Closes all descriptors from `first` on. Only before anything was opened: they are strays of whoever started us.
pub fn close_strays(first: u32) {
    // SAFETY: takes numbers; nobody owns these descriptors yet.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Closes all descriptors from 3 on but `kept`. Only in a child that forgets the owners of the others and never returns.
pub fn close_all_but(kept: &[RawFd]) {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= 3).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            // SAFETY: takes numbers; see above for the owners.
            let _ = unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = fd + 1;
    }
    close_strays(first);
}

/// Puts a copy of `fd` in the place of standard descriptor `number`.
pub fn replace_standard(fd: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    // SAFETY: no memory is touched; nobody owns the standard descriptors.
    Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Passes descriptors on to the program that `command` starts: the first as 3, the next as 4, and so on.
pub fn pass_descriptors(command: &mut Command, fds: Vec<OwnedFd>) {
    let place = move || {
        // Out of the way of all targets first.
        let mut high = Vec::new();
        for fd in &fds {
            // SAFETY: async-signal-safe, no memory.
            let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 1000) };
            high.push(Errno::result(copy)?);
        }
        for (fd, target) in high.into_iter().zip(3..) {
            // SAFETY: as above; the copy keeps no close-on-exec flag.
            Errno::result(unsafe { libc::dup2(fd, target) })?;
        }
        Ok(())
    };
    // SAFETY: runs in a child of a process with one thread, so that even the allocation is harmless.
    unsafe { command.pre_exec(place) };
}

/// Makes the terminal `fd` the controlling one of the calling session leader.
pub fn set_controlling_terminal(fd: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: takes a number.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// A terminal's size in rows and columns.
pub fn window_size(fd: BorrowedFd<'_>) -> nix::Result<libc::winsize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one `winsize`.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(size)
}

/// Sets it.
pub fn set_window_size(fd: BorrowedFd<'_>, size: &libc::winsize) -> nix::Result<()> {
    // SAFETY: the kernel reads one `winsize`.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) }).map(drop)
}

/// Has an IPv6 socket, which is not bound yet, accept IPv4's connections too, whatever the host's default is. ipv6(7), IPV6_V6ONLY.
pub fn accept_ipv4_too(socket: BorrowedFd<'_>) -> nix::Result<()> {
    let no: libc::c_int = 0;
    let (level, name, size) = (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, size_of_val(&no) as libc::socklen_t);
    // SAFETY: the value is live and as long as is said; the kernel only reads it.
    Errno::result(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const no).cast(), size) }).map(drop)
}

/// A copy of a descriptor that this process was started with. `EBADF`: there is none with this number, or it is our own.
pub fn inherited(number: RawFd) -> nix::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    // SAFETY: it is used in this function alone, and closed by nobody meanwhile: we have no other thread yet.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    // What we opened ourselves is closed on exec; what came through one is not.
    if FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD)?).contains(FdFlag::FD_CLOEXEC) {
        return Err(Errno::EBADF);
    }
    fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3)).map(adopt)
}

/// getsockopt(2) of an option that is at most `size` bytes.
pub fn socket_option(fd: BorrowedFd<'_>, level: i32, name: i32, size: u32) -> nix::Result<Vec<u8>> {
    let mut value = vec![0u8; size as usize];
    let mut length: libc::socklen_t = size;
    let (raw, data) = (fd.as_raw_fd(), value.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `length` bytes, for which there is room, and the length.
    Errno::result(unsafe { libc::getsockopt(raw, level, name, data, &raw mut length) })?;
    value.truncate(length as usize);
    Ok(value)
}
