//! Processes: raw clone, pidfds, signals by any number, closing of ranges of descriptors, privileges.

use super::check;
use nix::errno::Errno;
use std::{
    ffi::{CStr, CString},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// What a fork returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// In the parent: the child's pid.
    Parent(i32),
    /// In the child.
    Child,
}

/// fork(2) into new namespaces (`CLONE_NEW*` in `flags`). Only while the process has one thread.
pub fn fork_into(flags: i32) -> nix::Result<Forked> {
    let flags = i64::from(flags) | i64::from(libc::SIGCHLD);
    // SAFETY: without CLONE_VM and without a stack this is fork(2); the caller has one thread, so that no lock is held by another.
    let value = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match check(value)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(i32::try_from(pid).map_err(|_| Errno::EINVAL)?)),
    }
}

/// Ends the process at once: no handlers, no buffers flushed.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}

/// A descriptor for a process.
pub fn pidfd_open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    owned(fd)
}

/// A copy of another process's descriptor.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    owned(fd)
}

fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// kill(2) with any signal number.
pub fn kill(pid: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// tgkill(2) with any signal number.
pub fn tgkill(tgid: i32, tid: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, signal) }).map(drop)
}

/// close_range(2). Whoever calls it must not use an owned descriptor of that range afterwards: for children about to exec.
pub fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: no pointers; see above for ownership.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// dup3(2) of and to fixed numbers, for a child about to exec that lays out its table by number.
pub fn dup_raw(from: RawFd, to: RawFd, flags: i32) -> nix::Result<()> {
    // SAFETY: no pointers; the target is a reserved number that nobody owns.
    check(unsafe { libc::dup3(from, to, flags) }.into()).map(drop)
}

/// Gives a signal its default action.
pub fn default_action(signal: nix::sys::signal::Signal) -> nix::Result<()> {
    // SAFETY: no handler is installed.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }.map(drop)
}

/// Has a signal ignored.
pub fn ignore(signal: nix::sys::signal::Signal) -> nix::Result<()> {
    // SAFETY: no handler is installed.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) }.map(drop)
}

/// prctl(2) with numbers only.
pub fn prctl(option: i32, argument: u64) -> nix::Result<()> {
    // SAFETY: used with options that take no pointer.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) }.into()).map(drop)
}

/// Sets a host resource limit by number.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one `rlimit64`.
    check(unsafe { libc::setrlimit64(resource, ptr::from_ref(&limit)) }.into()).map(drop)
}

/// Sets a resource limit of another process.
pub fn set_rlimit_of(pid: i32, resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one `rlimit64`, and does not write the old one.
    check(unsafe { libc::prlimit64(pid, resource, ptr::from_ref(&limit), ptr::null_mut()) }.into()).map(drop)
}

/// Reads a host resource limit by number.
pub fn rlimit(resource: u32) -> nix::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit64`.
    check(unsafe { libc::getrlimit64(resource, &raw mut limit) }.into())?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// execveat(fd, "", args, env, AT_EMPTY_PATH), with `extra` in the sixth argument, which the kernel ignores and a tracer sees.
pub fn exec_fd(fd: RawFd, args: &[CString], env: &[CString], extra: i32) -> Errno {
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both vectors end with a null pointer and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            CStr::as_ptr(c""),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
            extra,
        );
    }
    Errno::last()
}

/// Drops every capability from every set of the calling thread, for good.
pub fn drop_capabilities() -> nix::Result<()> {
    for capability in 0..=63 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Err(Errno::EINVAL) => break,
            done => done?,
        }
    }
    prctl(libc::PR_SET_SECUREBITS, 0b1110_1111)?;
    match prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64) {
        Err(Errno::EINVAL) | Ok(()) => {}
        Err(errno) => return Err(errno),
    }
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [0u32; 6];
    // SAFETY: version 3 of the interface: a header and two blocks of three words.
    check(unsafe { libc::syscall(libc::SYS_capset, ptr::from_ref(&header), none.as_ptr()) }).map(drop)
}

/// Puts the calling thread before all that are not of real time; its children are as others. sched(7).
pub fn be_prompt() -> nix::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads one `sched_param`.
    let value = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const param) };
    Errno::result(value).map(drop)
}
