//! Directories that are read by `readdir`. A remote one gets a stream of ours; one of this machine keeps the C library's.

use std::sync::Mutex;

use libc::{DIR, c_char, c_int, c_long, dirent};
use rsc_proto::table::nr;

use super::{errno, finish, real, set_errno};
use crate::route::{self, route};
use rsc_sdk::broker::fds::{self, State};

/// What `opendir` returns for a remote directory.
struct Stream {
    fd: c_int,
    /// What getdents64(2) has filled; aligned as its structures are.
    buffer: Vec<u64>,
    filled: usize,
    next: usize,
    /// Where telldir(3) says that it is.
    offset: c_long,
}

/// Room for a piece of a directory.
const ROOM: usize = 32 * 1024;

static OURS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn with<T>(look: impl FnOnce(&mut Vec<usize>) -> T) -> T {
    look(&mut OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// The stream, if it is one of ours.
fn ours<'a>(dir: *mut DIR) -> Option<&'a mut Stream> {
    let known = with(|ours| ours.contains(&(dir as usize)));
    // SAFETY: it was made by `over` and not closed yet; a stream is used by one thread at a time (readdir(3)).
    known.then(|| unsafe { &mut *dir.cast::<Stream>() })
}

fn over(fd: c_int) -> *mut DIR {
    let stream = Box::new(Stream { fd, buffer: vec![0; ROOM / 8], filled: 0, next: 0, offset: 0 });
    let dir = Box::into_raw(stream);
    with(|ours| ours.push(dir as usize));
    dir.cast()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn opendir(path: *const c_char) -> *mut DIR {
    if route::concerns(nr::OPENAT) {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let fd = finish(route(nr::OPENAT, [libc::AT_FDCWD as u64, path as u64, flags as u64, 0, 0, 0])) as c_int;
        if fd < 0 {
            return std::ptr::null_mut();
        }
        // SAFETY: a directory that is open.
        return unsafe { fdopendir(fd) };
    }
    let real: Option<unsafe extern "C" fn(*const c_char) -> *mut DIR> =
        real!(c"opendir", fn(*const c_char) -> *mut DIR);
    // SAFETY: its own argument.
    real.map_or(std::ptr::null_mut(), |real| unsafe { real(path) })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdopendir(fd: c_int) -> *mut DIR {
    if !route::is_remote(fd) {
        let real: Option<unsafe extern "C" fn(c_int) -> *mut DIR> = real!(c"fdopendir", fn(c_int) -> *mut DIR);
        // SAFETY: its own argument.
        return real.map_or(std::ptr::null_mut(), |real| unsafe { real(fd) });
    }
    // SAFETY: zeroes are a valid structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    if finish(route(nr::FSTAT, [fd as u64, (&raw mut stat) as u64, 0, 0, 0, 0])) < 0 {
        return std::ptr::null_mut();
    }
    if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        set_errno(libc::ENOTDIR);
        return std::ptr::null_mut();
    }
    over(fd)
}

/// The next entry of one of ours. On x86-64 `struct dirent` is what getdents64(2) fills in.
fn next(stream: &mut Stream) -> *mut dirent {
    if stream.next >= stream.filled {
        let args = [stream.fd as u64, stream.buffer.as_mut_ptr() as u64, ROOM as u64, 0, 0, 0];
        let filled = finish(route(nr::GETDENTS64, args));
        if filled <= 0 {
            return std::ptr::null_mut();
        }
        (stream.filled, stream.next) = (filled as usize, 0);
    }
    // SAFETY: the kernel, or the sentry's checked answer, has filled so many bytes; an entry that reaches behind them is the end.
    unsafe {
        let entry = stream.buffer.as_mut_ptr().cast::<u8>().add(stream.next).cast::<dirent>();
        let len = usize::from((*entry).d_reclen);
        if len < 20 || stream.next + len > stream.filled {
            stream.next = stream.filled;
            return std::ptr::null_mut();
        }
        stream.next += len;
        stream.offset = (*entry).d_off;
        entry
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn readdir(dir: *mut DIR) -> *mut dirent {
    if let Some(stream) = ours(dir) {
        return next(stream);
    }
    let real: Option<unsafe extern "C" fn(*mut DIR) -> *mut dirent> = real!(c"readdir", fn(*mut DIR) -> *mut dirent);
    // SAFETY: its own argument.
    real.map_or(std::ptr::null_mut(), |real| unsafe { real(dir) })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn readdir64(dir: *mut DIR) -> *mut dirent {
    // SAFETY: the same function on x86-64.
    unsafe { readdir(dir) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn readdir_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int {
    if let Some(stream) = ours(dir) {
        let before = errno();
        set_errno(0);
        let found = next(stream);
        let failed = errno();
        set_errno(before);
        // SAFETY: the program's room for one entry, of which the filled part is copied.
        unsafe {
            *result = std::ptr::null_mut();
            if !found.is_null() {
                let len = usize::from((*found).d_reclen).min(size_of::<dirent>());
                std::ptr::copy_nonoverlapping(found.cast::<u8>(), entry.cast::<u8>(), len);
                *result = entry;
            }
        }
        return if found.is_null() { failed } else { 0 };
    }
    let real: Option<unsafe extern "C" fn(*mut DIR, *mut dirent, *mut *mut dirent) -> c_int> =
        real!(c"readdir_r", fn(*mut DIR, *mut dirent, *mut *mut dirent) -> c_int);
    // SAFETY: its own arguments.
    real.map_or(libc::ENOSYS, |real| unsafe { real(dir, entry, result) })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn closedir(dir: *mut DIR) -> c_int {
    if let Some(stream) = ours(dir) {
        let fd = stream.fd;
        with(|ours| ours.retain(|at| *at != dir as usize));
        // SAFETY: made by `over`, and nobody finds it any more.
        drop(unsafe { Box::from_raw(dir.cast::<Stream>()) });
        return finish(route(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0])) as c_int;
    }
    // SAFETY: a stream of the C library's.
    let fd = unsafe { dirfd(dir) };
    let real: Option<unsafe extern "C" fn(*mut DIR) -> c_int> = real!(c"closedir", fn(*mut DIR) -> c_int);
    // SAFETY: its own argument.
    let result = real.map_or(-1, |real| unsafe { real(dir) });
    fds::set(fd, State::Unknown);
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dirfd(dir: *mut DIR) -> c_int {
    if let Some(stream) = ours(dir) {
        return stream.fd;
    }
    let real: Option<unsafe extern "C" fn(*mut DIR) -> c_int> = real!(c"dirfd", fn(*mut DIR) -> c_int);
    // SAFETY: its own argument.
    real.map_or(-1, |real| unsafe { real(dir) })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rewinddir(dir: *mut DIR) {
    // SAFETY: as given.
    unsafe { seekdir(dir, 0) };
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn seekdir(dir: *mut DIR, offset: c_long) {
    if let Some(stream) = ours(dir) {
        finish(route(nr::LSEEK, [stream.fd as u64, offset as u64, libc::SEEK_SET as u64, 0, 0, 0]));
        (stream.filled, stream.next, stream.offset) = (0, 0, offset);
        return;
    }
    let name_of_start = offset == 0;
    if name_of_start {
        let real: Option<unsafe extern "C" fn(*mut DIR)> = real!(c"rewinddir", fn(*mut DIR) -> ());
        if let Some(real) = real {
            // SAFETY: its own argument.
            unsafe { real(dir) };
        }
        return;
    }
    let real: Option<unsafe extern "C" fn(*mut DIR, c_long)> = real!(c"seekdir", fn(*mut DIR, c_long) -> ());
    if let Some(real) = real {
        // SAFETY: its own arguments.
        unsafe { real(dir, offset) };
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn telldir(dir: *mut DIR) -> c_long {
    if let Some(stream) = ours(dir) {
        return stream.offset;
    }
    let real: Option<unsafe extern "C" fn(*mut DIR) -> c_long> = real!(c"telldir", fn(*mut DIR) -> c_long);
    // SAFETY: its own argument.
    real.map_or(-1, |real| unsafe { real(dir) })
}
