//! The system calls that nix does not wrap: those of pidfds, waiting for any child, a terminal's size, and what a child does
//! before its exec.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tokio::io::unix::AsyncFd;

pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match RawFd::try_from(fd) {
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn pidfd_send_signal(fd: RawFd, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and makes the kernel fill in its own.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the command enter namespaces before it executes its program.
pub(crate) fn enter_before_exec(command: &mut Command, namespaces: Vec<OwnedFd>) {
    let enter = move || {
        for namespace in &namespaces {
            nix::sched::setns(namespace, nix::sched::CloneFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: setns(2) alone, which allocates nothing and takes no lock.
    unsafe { command.pre_exec(enter) };
}

/// Reaps a child that has ended: its pid, and its status or 128 and the number of the signal. Any signal has a number, those that
/// no library names too.
pub(crate) fn wait_any() -> Option<(i32, u32)> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            ..0 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            ..=0 => return None,
            _ if libc::WIFEXITED(status) => return Some((pid, libc::WEXITSTATUS(status).unsigned_abs())),
            _ if libc::WIFSIGNALED(status) => return Some((pid, 128 + libc::WTERMSIG(status).unsigned_abs())),
            _ => {}
        }
    }
}

/// Has the command killed when the thread that starts it ends, whatever way that goes.
pub(crate) fn die_with_us(command: &mut Command) {
    let us = nix::unistd::getpid();
    let bind = move || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // Whoever ended before that is not noticed.
        if nix::unistd::getppid() == us { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: prctl(2) and getppid(2) alone, which allocate nothing and take no lock.
    unsafe { command.pre_exec(bind) };
}

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// `struct loop_config` of linux/loop.h: the descriptor and block size at its beginning, and `lo_flags` of its `loop_info64`.
const LOOP_CONFIG_SIZE: usize = 304;
const LOOP_CONFIG_FLAGS: usize = 8 + 52;

/// The number of a loop device that is free at the moment.
pub(crate) fn free_loop_device(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: no pointers.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Puts a file behind a loop device, which gives it up by itself when nobody uses it any more. EBUSY: it was not free.
pub(crate) fn set_loop_device(device: BorrowedFd<'_>, file: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    let mut config = [0u8; LOOP_CONFIG_SIZE];
    let flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    config[..4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
    config[LOOP_CONFIG_FLAGS..LOOP_CONFIG_FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads one `loop_config`, which is as long as this array.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, config.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the size of a terminal, in rows and columns.
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one `winsize`.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(&size)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the command these descriptors, from number 3 on.
pub(crate) fn pass_descriptors(command: &mut Command, descriptors: Vec<OwnedFd>) -> io::Result<()> {
    // Out of the way of the numbers that they are to get.
    let first = 3 + RawFd::try_from(descriptors.len()).unwrap_or(0);
    let copies = descriptors.iter().map(|fd| {
        // SAFETY: no pointers.
        match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first) } {
            // SAFETY: a fresh descriptor that nobody else owns.
            copy if copy >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
            _ => Err(io::Error::last_os_error()),
        }
    });
    let copies: Vec<OwnedFd> = copies.collect::<io::Result<_>>()?;
    let place = move || {
        for (copy, number) in copies.iter().zip(3..) {
            // SAFETY: no pointers; the numbers are below those of the copies and nobody's in this child.
            if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: dup2(2) alone, which allocates nothing and takes no lock.
    unsafe { command.pre_exec(place) };
    Ok(())
}

/// A descriptor that was received.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has made it for this process, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A descriptor that a task can wait for. Fails with EPERM for regular files.
pub(crate) fn polled(fd: OwnedFd, interest: tokio::io::Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open, and the same, as long as it is owned.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
