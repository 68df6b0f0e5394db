//! Files: what the server does to its tree.

use super::{Checked, Result, owned};
use rsc_proto::abi::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Components are looked up one at a time, so none of these should ever matter: the kernel is the second line.
const RESOLVE: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;

/// `openat2(2)`, beneath `dir`, following nothing.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, name: &CStr, flags: libc::c_int, mode: u32) -> Result<OwnedFd> {
    // SAFETY: `open_how` is plain data, all zeroes are valid.
    let mut how: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    how.flags = (flags | libc::O_CLOEXEC | libc::O_NOFOLLOW) as u64;
    how.mode = mode.into();
    how.resolve = RESOLVE;
    // SAFETY: the name is a C string, `how` is a valid structure of the stated size; both outlive the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), name.as_ptr(), &raw const how, size_of::<libc::open_how>())
    };
    owned(fd as libc::c_int)
}

/// `openat(2)` relative to the directory of own descriptors: follows the magic link of that name.
pub(crate) fn open_at(dir: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> Result<OwnedFd> {
    // SAFETY: the name is a C string that outlives the call.
    owned(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC) })
}

/// A temporary file without a name in `dir`.
pub(crate) fn open_temp(dir: BorrowedFd<'_>, flags: libc::c_int, mode: u32) -> Result<OwnedFd> {
    // Not NOFOLLOW: "." is the directory itself.
    // SAFETY: `open_how` is plain data, all zeroes are valid.
    let mut how: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    how.flags = (flags | libc::O_CLOEXEC | libc::O_TMPFILE) as u64;
    how.mode = mode.into();
    how.resolve = RESOLVE;
    // SAFETY: as in `open_beneath`.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), c".".as_ptr(), &raw const how, size_of::<libc::open_how>())
    };
    owned(fd as libc::c_int)
}

/// `statx(2)` of `name` in `dir`, or of `dir` itself if the name is empty; follows no symbolic link.
pub(crate) fn statx(dir: BorrowedFd<'_>, name: &CStr) -> Result<libc::statx> {
    let mut buffer = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME | libc::STATX_MNT_ID;
    // SAFETY: the name is a C string, the buffer a whole `statx`.
    unsafe { libc::statx(dir.as_raw_fd(), name.as_ptr(), flags, mask, buffer.as_mut_ptr()) }.checked()?;
    // SAFETY: it is plain data which was zeroed and then filled.
    Ok(unsafe { buffer.assume_init() })
}

/// Appends up to `len` bytes of the file to `out`: `pread(2)`, or `read(2)` without an offset.
pub(crate) fn read_into(file: BorrowedFd<'_>, offset: Option<i64>, len: usize, out: &mut Vec<u8>) -> Result<usize> {
    out.reserve(len);
    let spare = out.spare_capacity_mut();
    let len = len.min(spare.len());
    let buffer = spare.as_mut_ptr().cast();
    // SAFETY: `buffer` has room for `len` bytes, reserved above.
    let n = unsafe {
        match offset {
            Some(offset) => libc::pread(file.as_raw_fd(), buffer, len, offset),
            None => libc::read(file.as_raw_fd(), buffer, len),
        }
    };
    let n = (n as libc::c_long).checked()? as usize;
    // SAFETY: the kernel has written `n <= len` bytes behind the vector's end.
    unsafe { out.set_len(out.len() + n) };
    Ok(n)
}

/// `pwritev2(2)` of one buffer; offset -1: at the file's position, as for FIFOs and for `RWF_APPEND`.
pub(crate) fn write(file: BorrowedFd<'_>, offset: i64, data: &[u8], flags: libc::c_int) -> Result<usize> {
    let vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: one vector over a live slice, which the kernel only reads.
    let n = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const vector, 1, offset, flags) };
    (n as libc::c_long).checked().map(|n| n as usize)
}

/// `lseek(2)`
pub(crate) fn seek(file: BorrowedFd<'_>, offset: i64, whence: libc::c_int) -> Result<u64> {
    // SAFETY: no memory is involved.
    unsafe { libc::lseek(file.as_raw_fd(), offset, whence) }.checked().map(|n| n as u64)
}

/// `getdents64(2)`
pub(crate) fn getdents(dir: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is live and of the stated length.
    unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) }
        .checked()
        .map(|n| n as usize)
}

/// `readlinkat(2)` of the link itself.
pub(crate) fn readlink(link: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut out = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is live and of the stated length.
    let n = unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), out.as_mut_ptr().cast(), out.len()) };
    match (n as libc::c_long).checked() {
        Ok(n) => out.truncate(n as usize),
        // An empty path to something that is no link.
        Err(Errno::ENOENT) => return Err(Errno::EINVAL),
        Err(e) => return Err(e),
    }
    Ok(out)
}

/// `mkdirat(2)`
pub(crate) fn mkdir(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the name is a C string.
    unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }.checked().map(drop)
}

/// `symlinkat(2)`
pub(crate) fn symlink(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: both are C strings.
    unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }.checked().map(drop)
}

/// `mknodat(2)`, never a device.
pub(crate) fn mknod(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the name is a C string.
    unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, 0) }.checked().map(drop)
}

/// `linkat(2)` of the descriptor named `fd` in the directory of own descriptors.
pub(crate) fn link(own: BorrowedFd<'_>, fd: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: both are C strings.
    unsafe { libc::linkat(own.as_raw_fd(), fd.as_ptr(), dir.as_raw_fd(), name.as_ptr(), flags) }.checked().map(drop)
}

/// `unlinkat(2)`
pub(crate) fn unlink(dir: BorrowedFd<'_>, name: &CStr, directory: bool) -> Result<()> {
    let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: the name is a C string.
    unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }.checked().map(drop)
}

/// `renameat2(2)`
pub(crate) fn rename(from: (BorrowedFd<'_>, &CStr), to: (BorrowedFd<'_>, &CStr), flags: u32) -> Result<()> {
    // SAFETY: both names are C strings.
    unsafe { libc::renameat2(from.0.as_raw_fd(), from.1.as_ptr(), to.0.as_raw_fd(), to.1.as_ptr(), flags) }
        .checked()
        .map(drop)
}

/// `fchownat(2)` of what the descriptor names; -1 leaves one as it is.
pub(crate) fn chown(file: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: the name is a C string.
    unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) }.checked().map(drop)
}

/// `fchmodat(2)` of the descriptor named `fd` in the directory of own descriptors.
pub(crate) fn chmod(own: BorrowedFd<'_>, fd: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the name is a C string.
    unsafe { libc::fchmodat(own.as_raw_fd(), fd.as_ptr(), mode, 0) }.checked().map(drop)
}

/// `utimensat(2)` of the descriptor named `fd` in the directory of own descriptors.
pub(crate) fn set_times(own: BorrowedFd<'_>, fd: &CStr, times: &[libc::timespec; 2]) -> Result<()> {
    // SAFETY: the name is a C string, `times` two live structures.
    unsafe { libc::utimensat(own.as_raw_fd(), fd.as_ptr(), times.as_ptr(), 0) }.checked().map(drop)
}

/// `ftruncate(2)`
pub(crate) fn truncate(file: BorrowedFd<'_>, size: i64) -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe { libc::ftruncate(file.as_raw_fd(), size) }.checked().map(drop)
}

/// `fsync(2)`, `fdatasync(2)`
pub(crate) fn sync(file: BorrowedFd<'_>, data_only: bool) -> Result<()> {
    let fd = file.as_raw_fd();
    // SAFETY: no memory is involved.
    unsafe { if data_only { libc::fdatasync(fd) } else { libc::fsync(fd) } }.checked().map(drop)
}

/// `fallocate(2)`
pub(crate) fn allocate(file: BorrowedFd<'_>, flags: libc::c_int, offset: i64, len: i64) -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe { libc::fallocate(file.as_raw_fd(), flags, offset, len) }.checked().map(drop)
}

/// `copy_file_range(2)`
pub(crate) fn copy_range(from: (BorrowedFd<'_>, i64), to: (BorrowedFd<'_>, i64), len: usize) -> Result<u64> {
    let (mut from_offset, mut to_offset) = (from.1, to.1);
    // SAFETY: both offsets are live for the call.
    let n = unsafe {
        libc::copy_file_range(from.0.as_raw_fd(), &raw mut from_offset, to.0.as_raw_fd(), &raw mut to_offset, len, 0)
    };
    (n as libc::c_long).checked().map(|n| n as u64)
}

/// `fstatfs(2)`, and `f_fsid`, which libc keeps to itself.
pub(crate) fn statfs(file: BorrowedFd<'_>) -> Result<(libc::statfs64, u64)> {
    let mut buffer = MaybeUninit::<libc::statfs64>::zeroed();
    // SAFETY: the buffer is a whole `statfs`.
    unsafe { libc::fstatfs64(file.as_raw_fd(), buffer.as_mut_ptr()) }.checked()?;
    // SAFETY: plain data, zeroed and then filled.
    let stat = unsafe { buffer.assume_init() };
    // SAFETY: two `int`s, in the kernel and in every libc.
    let [low, high] = unsafe { std::mem::transmute::<libc::fsid_t, [u32; 2]>(stat.f_fsid) };
    Ok((stat, u64::from(high) << 32 | u64::from(low)))
}

/// `getxattr(2)` of the descriptor named `fd`; the current directory is that of own descriptors.
pub(crate) fn get_xattr(fd: &CStr, name: &CStr, value: &mut [u8]) -> Result<usize> {
    // SAFETY: C strings, and a live buffer of the stated length.
    let n = unsafe { libc::getxattr(fd.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    (n as libc::c_long).checked().map(|n| n as usize)
}

/// `setxattr(2)`, likewise.
pub(crate) fn set_xattr(fd: &CStr, name: &CStr, value: &[u8], flags: libc::c_int) -> Result<()> {
    // SAFETY: C strings, and a live buffer of the stated length.
    unsafe { libc::setxattr(fd.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) }.checked().map(drop)
}

/// `listxattr(2)`, likewise.
pub(crate) fn list_xattr(fd: &CStr, names: &mut [u8]) -> Result<usize> {
    // SAFETY: a C string, and a live buffer of the stated length.
    let n = unsafe { libc::listxattr(fd.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    (n as libc::c_long).checked().map(|n| n as usize)
}

/// `removexattr(2)`, likewise.
pub(crate) fn remove_xattr(fd: &CStr, name: &CStr) -> Result<()> {
    // SAFETY: C strings.
    unsafe { libc::removexattr(fd.as_ptr(), name.as_ptr()) }.checked().map(drop)
}

/// `flock(2)`
pub(crate) fn flock(file: BorrowedFd<'_>, operation: libc::c_int) -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe { libc::flock(file.as_raw_fd(), operation) }.checked().map(drop)
}

/// `F_OFD_SETLK` or `F_OFD_GETLK`
pub(crate) fn record_lock(file: BorrowedFd<'_>, command: libc::c_int, lock: &mut libc::flock) -> Result<()> {
    // SAFETY: `lock` is a live structure.
    unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut *lock) }.checked().map(drop)
}

/// A second descriptor of the same open file.
pub(crate) fn duplicate(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: no memory is involved.
    owned(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) })
}

/// `close(2)` with its result: the file system's flush.
pub(crate) fn close(file: OwnedFd) -> Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor is owned and given up here.
    unsafe { libc::close(file.into_raw_fd()) }.checked().map(drop)
}

/// Sets the calling thread's file system ids; the caller has made sure that they can be.
pub(crate) fn set_fs_ids(uid: u32, gid: u32) {
    // SAFETY: no memory is involved. Raw: libc's own are per thread as well, and raw ones cannot change.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

/// A path of the host's, for a server without a jail.
pub(crate) fn open_path(path: &CStr) -> Result<OwnedFd> {
    // SAFETY: the path is a C string.
    owned(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) })
}

/// Makes `dir` the current directory.
pub(crate) fn change_dir(dir: impl AsFd) -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe { libc::fchdir(dir.as_fd().as_raw_fd()) }.checked().map(drop)
}
