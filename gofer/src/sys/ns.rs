//! Namespaces, mounts, limits, processes: what the jail is made of, and how a gofer is started.

use super::{Checked, Result, owned};
use rsc_proto::abi::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `unshare(2)`
pub(crate) fn unshare(flags: libc::c_int) -> Result<()> {
    // SAFETY: no memory is involved; CLONE_VM and CLONE_FILES are not asked for.
    unsafe { libc::unshare(flags) }.checked().map(drop)
}

/// Runs `helper` in a child process while `work` runs here; `helper` starts when `work` has returned. For what only a process
/// outside of a new namespace can do. The caller has one thread.
pub(crate) fn with_outside_helper(
    work: impl FnOnce() -> Result<()>,
    helper: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (here, there) = super::ipc::socket_pair(libc::SOCK_STREAM)?;
    // SAFETY: the process has one thread, so the child may do anything.
    let child = unsafe { libc::fork() }.checked()?;
    if child == 0 {
        drop(here);
        use std::os::fd::AsFd;
        let ready = super::ipc::read(there.as_fd(), &mut [0]) == Ok(1);
        let status = match ready.then(helper) {
            Some(Ok(())) => 0,
            Some(Err(e)) => e.number(),
            None => 1,
        };
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(status) }
    }
    drop(there);
    let result = work();
    if result.is_ok() {
        use std::os::fd::AsFd;
        super::ipc::write(here.as_fd(), &[1])?;
    }
    drop(here);
    let mut status = 0;
    loop {
        // SAFETY: `status` is live.
        match unsafe { libc::waitpid(child, &raw mut status, 0) }.checked() {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(_) => break,
        }
    }
    result?;
    match libc::WEXITSTATUS(status) {
        0 if libc::WIFEXITED(status) => Ok(()),
        errno => Err(Errno::new(errno)),
    }
}

/// A detached copy of the mount (with those below it, if `recursive`) that `path` is in, rooted there.
pub(crate) fn clone_tree(path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let deep = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | deep as libc::c_uint;
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    owned(fd as libc::c_int)
}

/// Restricts a detached tree: no devices, no set-id programs, and no writing if `read_only`.
pub(crate) fn restrict_tree(tree: BorrowedFd<'_>, read_only: bool) -> Result<()> {
    // Not noexec: donated descriptors are mapped for execution.
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOSUID
            | if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a C string, the structure live and of the stated size.
    unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    }
    .checked()
    .map(drop)
}

/// Makes an empty read-only file system the root, and leaves every other mount behind. `place` is any directory but the root.
pub(crate) fn empty_root(place: &CStr) -> Result<()> {
    let (none, tmpfs, options) = (c"none".as_ptr(), c"tmpfs".as_ptr(), c"size=4k,nr_inodes=1,mode=0".as_ptr());
    let flags = libc::MS_RDONLY | libc::MS_NODEV | libc::MS_NOSUID | libc::MS_NOEXEC;
    // SAFETY: all are C strings or null.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(none, c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()).checked()?;
        libc::mount(none, place.as_ptr(), tmpfs, flags, options.cast()).checked()?;
        libc::chdir(place.as_ptr()).checked()?;
        libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()).checked()?;
        // The old root lies over the new one now.
        libc::umount2(c".".as_ptr(), libc::MNT_DETACH).checked()?;
        libc::chdir(c"/".as_ptr()).checked()?;
    }
    Ok(())
}

/// Sets a resource's limits as high as they may be; returns the soft one.
pub(crate) fn raise_limit(resource: libc::__rlimit_resource_t) -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is live.
    unsafe {
        libc::getrlimit(resource, &raw mut limit).checked()?;
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(resource, &raw const limit).checked()?;
    }
    Ok(limit.rlim_cur)
}

/// No core dumps: they would hold the tree's data.
pub(crate) fn forbid_core() -> Result<()> {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is live.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) }.checked().map(drop)
}

/// Writes to a closed socket and past a size limit become errors; permissions are what requests say.
pub(crate) fn quiet_signals() {
    // SAFETY: ignoring signals runs no code.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::umask(0);
    }
}

/// Drops supplementary groups, which would give rights that no request mentions. Not permitted without a privileged mapping.
pub(crate) fn drop_groups() -> Result<()> {
    // SAFETY: an empty list needs no memory.
    unsafe { libc::setgroups(0, std::ptr::null()) }.checked().map(drop)
}

/// Becomes root of the user namespace in all ids.
pub(crate) fn become_root() -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        libc::setresgid(0, 0, 0).checked()?;
        libc::setresuid(0, 0, 0).checked().map(drop)
    }
}

/// Keeps capabilities as they are when the file system uid changes: files are made under the caller's ids with root's rights.
/// Per thread.
pub(crate) fn keep_caps_across_fs_ids() -> Result<()> {
    const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) }.checked().map(drop)
}

/// `PR_SET_NO_NEW_PRIVS`
pub(crate) fn no_new_privileges() -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.checked().map(drop)
}

/// `/proc/PID` belongs to root otherwise, and its maps could not be written.
pub(crate) fn dumpable(yes: bool) -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(yes), 0, 0, 0) }.checked().map(drop)
}

/// Takes over a descriptor that was inherited under this number.
pub(crate) fn inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: no memory is involved; makes sure that it is open and not inherited further.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }.checked()?;
    // SAFETY: named on the command line for this process alone; the caller takes each number once.
    owned(fd)
}

/// Closes all descriptors above 2 but these.
pub(crate) fn close_others(keep: &mut [RawFd]) -> Result<()> {
    keep.sort_unstable();
    let mut from = 3;
    for &fd in keep.iter() {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = from.max(fd + 1);
    }
    close_range(from, RawFd::MAX)
}

fn close_range(from: RawFd, to: RawFd) -> Result<()> {
    // SAFETY: called before anything in this process owns a descriptor in the range.
    unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) }.checked().map(drop)
}

/// The calling process's effective user.
pub(crate) fn effective_ids() -> (u32, u32) {
    // SAFETY: no memory is involved.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Lets `command`'s process inherit `fds` as 3, 4, … in a process group of its own, so that a terminal's signals do not reach it.
pub(crate) fn pass_descriptors(command: &mut std::process::Command, fds: Vec<OwnedFd>) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    let place = move || {
        // First out of the way, then into place: a number may be another's place.
        let mut moved = [-1; 8];
        for (slot, fd) in moved.iter_mut().zip(&fds) {
            // SAFETY: no memory is involved; async-signal-safe.
            *slot = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100) };
        }
        for (place, fd) in (3..).zip(moved.iter().take(fds.len())) {
            // SAFETY: as above. What had this number is the child's copy of something that it does not need.
            if unsafe { libc::dup2(*fd, place) } == -1 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `place` makes only async-signal-safe calls and allocates nothing unless it fails.
    unsafe { command.pre_exec(place) };
}
