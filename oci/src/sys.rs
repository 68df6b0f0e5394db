//! The system calls that nix does not wrap, those of pidfds, and what a child does before its exec.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

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
