//! Files by name and by descriptor.

use libc::{c_char, c_int, c_void, dev_t, gid_t, iovec, mode_t, off_t, size_t, ssize_t, timespec, timeval, uid_t};

use super::calls;

const AT_FDCWD: c_int = libc::AT_FDCWD;
const EMPTY: u64 = 0;

calls! {
    open, open64, __open, __open64: (path: *const c_char, flags: c_int, mode: mode_t) -> c_int = OPENAT(AT_FDCWD, path, flags, mode);
    __open_2, __open64_2: (path: *const c_char, flags: c_int) -> c_int = OPENAT(AT_FDCWD, path, flags);
    openat, openat64: (dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = OPENAT(dir, path, flags, mode);
    __openat_2, __openat64_2: (dir: c_int, path: *const c_char, flags: c_int) -> c_int = OPENAT(dir, path, flags);
    creat, creat64: (path: *const c_char, mode: mode_t) -> c_int = CREAT(path, mode);
    close, __close: (fd: c_int) -> c_int = CLOSE(fd);
    close_range: (first: u32, last: u32, flags: c_int) -> c_int = CLOSE_RANGE(first, last, flags);

    read, __read: (fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t = READ(fd, buf, count);
    __read_chk: (fd: c_int, buf: *mut c_void, count: size_t, room: size_t) -> ssize_t = READ(fd, buf, count.min(room));
    write, __write: (fd: c_int, buf: *const c_void, count: size_t) -> ssize_t = WRITE(fd, buf, count);
    pread, pread64, __pread64: (fd: c_int, buf: *mut c_void, count: size_t, offset: off_t) -> ssize_t = PREAD64(fd, buf, count, offset);
    __pread_chk, __pread64_chk: (fd: c_int, buf: *mut c_void, count: size_t, offset: off_t, room: size_t) -> ssize_t = PREAD64(fd, buf, count.min(room), offset);
    pwrite, pwrite64, __pwrite64: (fd: c_int, buf: *const c_void, count: size_t, offset: off_t) -> ssize_t = PWRITE64(fd, buf, count, offset);
    readv: (fd: c_int, iov: *const iovec, count: c_int) -> ssize_t = READV(fd, iov, count);
    writev: (fd: c_int, iov: *const iovec, count: c_int) -> ssize_t = WRITEV(fd, iov, count);
    preadv, preadv64: (fd: c_int, iov: *const iovec, count: c_int, offset: off_t) -> ssize_t = PREADV(fd, iov, count, offset, EMPTY);
    pwritev, pwritev64: (fd: c_int, iov: *const iovec, count: c_int, offset: off_t) -> ssize_t = PWRITEV(fd, iov, count, offset, EMPTY);
    preadv2, preadv64v2: (fd: c_int, iov: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = PREADV2(fd, iov, count, offset, EMPTY, flags);
    pwritev2, pwritev64v2: (fd: c_int, iov: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = PWRITEV2(fd, iov, count, offset, EMPTY, flags);
    lseek, lseek64, __lseek: (fd: c_int, offset: off_t, whence: c_int) -> off_t = LSEEK(fd, offset, whence);
    sendfile, sendfile64: (out: c_int, input: c_int, offset: *mut off_t, count: size_t) -> ssize_t = SENDFILE(out, input, offset, count);
    copy_file_range: (from: c_int, at: *mut off_t, to: c_int, there: *mut off_t, count: size_t, flags: u32) -> ssize_t = COPY_FILE_RANGE(from, at, to, there, count, flags);
    splice: (from: c_int, at: *mut off_t, to: c_int, there: *mut off_t, count: size_t, flags: u32) -> ssize_t = SPLICE(from, at, to, there, count, flags);
    tee: (from: c_int, to: c_int, count: size_t, flags: u32) -> ssize_t = TEE(from, to, count, flags);
    fsync: (fd: c_int) -> c_int = FSYNC(fd);
    fdatasync: (fd: c_int) -> c_int = FDATASYNC(fd);
    syncfs: (fd: c_int) -> c_int = SYNCFS(fd);
    sync_file_range: (fd: c_int, offset: off_t, count: off_t, flags: u32) -> c_int = SYNC_FILE_RANGE(fd, offset, count, flags);
    ftruncate, ftruncate64: (fd: c_int, length: off_t) -> c_int = FTRUNCATE(fd, length);
    truncate, truncate64: (path: *const c_char, length: off_t) -> c_int = TRUNCATE(path, length);
    fallocate, fallocate64: (fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int = FALLOCATE(fd, mode, offset, len);
    flock: (fd: c_int, operation: c_int) -> c_int = FLOCK(fd, operation);
    readahead: (fd: c_int, offset: off_t, count: size_t) -> ssize_t = READAHEAD(fd, offset, count);
    fcntl, fcntl64, __fcntl: (fd: c_int, command: c_int, arg: u64) -> c_int = FCNTL(fd, command, arg);
    ioctl, __ioctl: (fd: c_int, request: u64, arg: u64) -> c_int = IOCTL(fd, request, arg);
    dup: (fd: c_int) -> c_int = DUP(fd);
    dup2, __dup2: (fd: c_int, to: c_int) -> c_int = DUP2(fd, to);
    dup3: (fd: c_int, to: c_int, flags: c_int) -> c_int = DUP3(fd, to, flags);
    mmap, mmap64: (addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void = MMAP(addr, len, prot, flags, fd, offset);

    stat, stat64: (path: *const c_char, buf: *mut libc::stat) -> c_int = NEWFSTATAT(AT_FDCWD, path, buf);
    lstat, lstat64: (path: *const c_char, buf: *mut libc::stat) -> c_int = NEWFSTATAT(AT_FDCWD, path, buf, libc::AT_SYMLINK_NOFOLLOW);
    fstat, fstat64: (fd: c_int, buf: *mut libc::stat) -> c_int = FSTAT(fd, buf);
    fstatat, fstatat64: (dir: c_int, path: *const c_char, buf: *mut libc::stat, flags: c_int) -> c_int = NEWFSTATAT(dir, path, buf, flags);
    __xstat, __xstat64: (_version: c_int, path: *const c_char, buf: *mut libc::stat) -> c_int = NEWFSTATAT(AT_FDCWD, path, buf);
    __lxstat, __lxstat64: (_version: c_int, path: *const c_char, buf: *mut libc::stat) -> c_int = NEWFSTATAT(AT_FDCWD, path, buf, libc::AT_SYMLINK_NOFOLLOW);
    __fxstat, __fxstat64: (_version: c_int, fd: c_int, buf: *mut libc::stat) -> c_int = FSTAT(fd, buf);
    __fxstatat, __fxstatat64: (_version: c_int, dir: c_int, path: *const c_char, buf: *mut libc::stat, flags: c_int) -> c_int = NEWFSTATAT(dir, path, buf, flags);
    statx: (dir: c_int, path: *const c_char, flags: c_int, mask: u32, buf: *mut c_void) -> c_int = STATX(dir, path, flags, mask, buf);
    statfs, statfs64, __statfs: (path: *const c_char, buf: *mut libc::statfs) -> c_int = STATFS(path, buf);
    fstatfs, fstatfs64: (fd: c_int, buf: *mut libc::statfs) -> c_int = FSTATFS(fd, buf);
    access: (path: *const c_char, mode: c_int) -> c_int = ACCESS(path, mode);
    readlink: (path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t = READLINK(path, buf, size);
    __readlink_chk: (path: *const c_char, buf: *mut c_char, size: size_t, room: size_t) -> ssize_t = READLINK(path, buf, size.min(room));
    readlinkat: (dir: c_int, path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t = READLINKAT(dir, path, buf, size);
    __readlinkat_chk: (dir: c_int, path: *const c_char, buf: *mut c_char, size: size_t, room: size_t) -> ssize_t = READLINKAT(dir, path, buf, size.min(room));
    rename: (from: *const c_char, to: *const c_char) -> c_int = RENAME(from, to);
    renameat: (from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int = RENAMEAT(from_dir, from, to_dir, to);
    renameat2: (from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: u32) -> c_int = RENAMEAT2(from_dir, from, to_dir, to, flags);
    unlink: (path: *const c_char) -> c_int = UNLINK(path);
    unlinkat: (dir: c_int, path: *const c_char, flags: c_int) -> c_int = UNLINKAT(dir, path, flags);
    mkdir: (path: *const c_char, mode: mode_t) -> c_int = MKDIR(path, mode);
    mkdirat: (dir: c_int, path: *const c_char, mode: mode_t) -> c_int = MKDIRAT(dir, path, mode);
    rmdir: (path: *const c_char) -> c_int = RMDIR(path);
    link: (from: *const c_char, to: *const c_char) -> c_int = LINK(from, to);
    linkat: (from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int) -> c_int = LINKAT(from_dir, from, to_dir, to, flags);
    symlink: (text: *const c_char, path: *const c_char) -> c_int = SYMLINK(text, path);
    symlinkat: (text: *const c_char, dir: c_int, path: *const c_char) -> c_int = SYMLINKAT(text, dir, path);
    mknod: (path: *const c_char, mode: mode_t, device: dev_t) -> c_int = MKNOD(path, mode, device);
    mknodat: (dir: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int = MKNODAT(dir, path, mode, device);
    mkfifo: (path: *const c_char, mode: mode_t) -> c_int = MKNOD(path, mode | libc::S_IFIFO, EMPTY);
    mkfifoat: (dir: c_int, path: *const c_char, mode: mode_t) -> c_int = MKNODAT(dir, path, mode | libc::S_IFIFO, EMPTY);
    chmod: (path: *const c_char, mode: mode_t) -> c_int = CHMOD(path, mode);
    fchmod: (fd: c_int, mode: mode_t) -> c_int = FCHMOD(fd, mode);
    chown: (path: *const c_char, owner: uid_t, group: gid_t) -> c_int = CHOWN(path, owner, group);
    lchown: (path: *const c_char, owner: uid_t, group: gid_t) -> c_int = LCHOWN(path, owner, group);
    fchown: (fd: c_int, owner: uid_t, group: gid_t) -> c_int = FCHOWN(fd, owner, group);
    fchownat: (dir: c_int, path: *const c_char, owner: uid_t, group: gid_t, flags: c_int) -> c_int = FCHOWNAT(dir, path, owner, group, flags);
    utime: (path: *const c_char, times: *const c_void) -> c_int = UTIME(path, times);
    utimes: (path: *const c_char, times: *const timeval) -> c_int = UTIMES(path, times);
    futimesat: (dir: c_int, path: *const c_char, times: *const timeval) -> c_int = FUTIMESAT(dir, path, times);
    utimensat: (dir: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int = UTIMENSAT(dir, path, times, flags);
    futimens: (fd: c_int, times: *const timespec) -> c_int = UTIMENSAT(fd, EMPTY, times, EMPTY);
    chroot: (path: *const c_char) -> c_int = CHROOT(path);
    chdir: (path: *const c_char) -> c_int = CHDIR(path);
    fchdir: (fd: c_int) -> c_int = FCHDIR(fd);
    getdents64: (fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t = GETDENTS64(fd, buf, count);
    name_to_handle_at: (dir: c_int, path: *const c_char, handle: *mut c_void, mount: *mut c_int, flags: c_int) -> c_int = NAME_TO_HANDLE_AT(dir, path, handle, mount, flags);

    getxattr: (path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t = GETXATTR(path, name, value, size);
    lgetxattr: (path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t = LGETXATTR(path, name, value, size);
    fgetxattr: (fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t = FGETXATTR(fd, name, value, size);
    setxattr: (path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int = SETXATTR(path, name, value, size, flags);
    lsetxattr: (path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int = LSETXATTR(path, name, value, size, flags);
    fsetxattr: (fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int = FSETXATTR(fd, name, value, size, flags);
    listxattr: (path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t = LISTXATTR(path, list, size);
    llistxattr: (path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t = LLISTXATTR(path, list, size);
    flistxattr: (fd: c_int, list: *mut c_char, size: size_t) -> ssize_t = FLISTXATTR(fd, list, size);
    removexattr: (path: *const c_char, name: *const c_char) -> c_int = REMOVEXATTR(path, name);
    lremovexattr: (path: *const c_char, name: *const c_char) -> c_int = LREMOVEXATTR(path, name);
    fremovexattr: (fd: c_int, name: *const c_char) -> c_int = FREMOVEXATTR(fd, name);

    poll, __poll: (fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int = POLL(fds, count, timeout);
    __poll_chk: (fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int, _room: size_t) -> c_int = POLL(fds, count, timeout);
    epoll_ctl: (epfd: c_int, operation: c_int, fd: c_int, event: *mut c_void) -> c_int = EPOLL_CTL(epfd, operation, fd, event);
}

/// posix_fadvise(3) returns its error.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_fadvise(fd: c_int, offset: off_t, len: off_t, advice: c_int) -> c_int {
    let args = [fd as u64, offset as u64, len as u64, advice as u64, 0, 0];
    -(crate::route::route(rsc_proto::table::nr::FADVISE64, args) as c_int)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_fadvise64(fd: c_int, offset: off_t, len: off_t, advice: c_int) -> c_int {
    // SAFETY: numbers alone.
    unsafe { posix_fadvise(fd, offset, len, advice) }
}

/// posix_fallocate(3) returns its error.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int {
    -(crate::route::route(rsc_proto::table::nr::FALLOCATE, [fd as u64, 0, offset as u64, len as u64, 0, 0]) as c_int)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_fallocate64(fd: c_int, offset: off_t, len: off_t) -> c_int {
    // SAFETY: numbers alone.
    unsafe { posix_fallocate(fd, offset, len) }
}

/// With flags it is a call of its own.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
    use rsc_proto::table::nr;
    let number = if flags == 0 { nr::FACCESSAT } else { nr::FACCESSAT2 };
    super::finish(crate::route::route(number, [dir as u64, path as u64, mode as u64, flags as u64, 0, 0])) as c_int
}

/// With flags it is a call of its own.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fchmodat(dir: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int {
    use rsc_proto::table::nr;
    let number = if flags == 0 { nr::FCHMODAT } else { nr::FCHMODAT2 };
    super::finish(crate::route::route(number, [dir as u64, path as u64, mode.into(), flags as u64, 0, 0])) as c_int
}

/// lockf(3) by the locks that it is made of.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn lockf(fd: c_int, command: c_int, len: off_t) -> c_int {
    // SAFETY: zeroes are a valid structure.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_whence = libc::SEEK_CUR as i16;
    lock.l_len = len;
    lock.l_type = if command == libc::F_ULOCK { libc::F_UNLCK } else { libc::F_WRLCK } as i16;
    let how = match command {
        libc::F_LOCK => libc::F_SETLKW,
        libc::F_TEST => libc::F_GETLK,
        _ => libc::F_SETLK,
    };
    let args = [fd as u64, how as u64, (&raw mut lock) as u64, 0, 0, 0];
    let result = crate::route::route(rsc_proto::table::nr::FCNTL, args);
    if result == 0 && command == libc::F_TEST && i32::from(lock.l_type) != libc::F_UNLCK {
        return super::finish(-i64::from(libc::EACCES)) as c_int;
    }
    super::finish(result) as c_int
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn lockf64(fd: c_int, command: c_int, len: off_t) -> c_int {
    // SAFETY: numbers alone.
    unsafe { lockf(fd, command, len) }
}

/// closefrom(3) never fails.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn closefrom(first: c_int) {
    crate::route::route(rsc_proto::table::nr::CLOSE_RANGE, [first.max(0) as u64, u32::MAX.into(), 0, 0, 0, 0]);
}
