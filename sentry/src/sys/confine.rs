//! What giving up rights needs of the kernel: closing strays, forking the starter, Landlock.

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Closes all descriptors from 3 on but these. Only before anything in this process owns one of them, or in a child that forgets
/// their owners.
pub fn close_others(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= 3).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > first {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: takes numbers; see above for the owners.
            let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = fd.saturating_add(1);
    }
}

/// Closes these descriptors, in a child that forgets their owners.
pub(crate) fn close_each(fds: &[RawFd]) {
    for fd in fds {
        // SAFETY: takes a number; see above for the owner.
        let _ = unsafe { libc::close(*fd) };
    }
}

/// Forks a child that runs `work` and ends with what it returns. The process has one thread.
pub(crate) fn fork_into(work: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(101);
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(code) }
        }
    }
}

/// `landlock_create_ruleset(2)` with nothing: the version.
pub(crate) fn landlock_version() -> nix::Result<u32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: null and 0 ask for the version alone.
    let n = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    Errno::result(n).map(|n| n as u32)
}

/// `struct landlock_ruleset_attr`; later fields of it are not known to older kernels.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// A set of rules that handles these accesses. `size`: how much of the structure this kernel knows.
pub(crate) fn landlock_ruleset(fs: u64, scoped: u64, size: usize) -> nix::Result<OwnedFd> {
    let attr = RulesetAttr { handled_access_fs: fs, handled_access_net: 0, scoped };
    let size = size.min(size_of::<RulesetAttr>());
    // SAFETY: `attr` is live and at least `size` long.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the call has just returned it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Allows `access` beneath `parent`.
pub(crate) fn landlock_allow(rules: BorrowedFd<'_>, access: u64, parent: BorrowedFd<'_>) -> nix::Result<()> {
    const PATH_BENEATH: libc::c_int = 1;
    let attr = PathBeneath { allowed_access: access, parent_fd: parent.as_raw_fd() };
    // SAFETY: `attr` is live and of the type that PATH_BENEATH says.
    let n = unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), PATH_BENEATH, &raw const attr, 0) };
    Errno::result(n).map(drop)
}

/// Puts the calling thread under the rules, for good.
pub(crate) fn landlock_restrict(rules: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: takes numbers.
    let n = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    Errno::result(n).map(drop)
}

/// The user namespace that another namespace belongs to. ioctl_ns(2).
pub(crate) fn owner_of(namespace: std::os::fd::BorrowedFd<'_>) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    // SAFETY: the request takes no argument and returns a new descriptor.
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_USERNS) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}
