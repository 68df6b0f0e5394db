//! Mounts by descriptor: copies of trees, restrictions, procfs. open_tree(2), mount_setattr(2), move_mount(2), fsopen(2).

use super::check;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What nobody can do through what is mounted here.
pub const RESTRICTED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
/// Nor change it.
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;

fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(check(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A detached copy of the mount that `path` is in, rooted there, with those below it if `recursive`.
pub fn copy(path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let deep = if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | deep;
    // SAFETY: the path is a C string.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Adds restrictions to all of a detached tree, and lets no mount go in or out of it.
pub fn restrict(tree: BorrowedFd<'_>, attributes: u64) -> nix::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a C string, the structure live and of the stated size.
    let result = unsafe {
        let (path, size) = (c"".as_ptr(), size_of::<libc::mount_attr>());
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), path, flags, &raw const attributes, size)
    };
    check(result).map(drop)
}

/// Mounts a detached tree at `place`.
pub fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> nix::Result<()> {
    // <linux/mount.h>: both paths are empty, the descriptors are meant.
    const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: the paths are C strings.
    let result =
        unsafe { libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), empty, place.as_raw_fd(), empty, flags) };
    check(result).map(drop)
}

/// A detached read-only procfs, of the pid namespace that this process is in.
pub fn procfs() -> nix::Result<OwnedFd> {
    // <linux/mount.h>
    const FSOPEN_CLOEXEC: u32 = 1;
    const FSCONFIG_CMD_CREATE: u32 = 6;
    const FSMOUNT_CLOEXEC: u32 = 1;
    // SAFETY: the name is a C string.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) })?;
    let (fd, none) = (context.as_raw_fd(), std::ptr::null::<libc::c_char>());
    // SAFETY: this command takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, none, none, 0) })?;
    let attributes = RESTRICTED | READ_ONLY;
    // SAFETY: takes numbers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes) })
}

/// The user namespace that another namespace belongs to. ioctl_ns(2).
pub fn owner_of(namespace: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    related(namespace, libc::NS_GET_USERNS)
}

/// The user namespace that one is in. EPERM at the caller's own, and outside of it.
pub fn parent_of(namespace: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    related(namespace, libc::NS_GET_PARENT)
}

fn related(namespace: BorrowedFd<'_>, request: libc::Ioctl) -> nix::Result<OwnedFd> {
    // SAFETY: these requests take no argument and return a new descriptor.
    owned(unsafe { libc::ioctl(namespace.as_raw_fd(), request) }.into())
}
