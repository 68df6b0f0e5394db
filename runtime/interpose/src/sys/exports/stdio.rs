//! `FILE`s over remote descriptors. The C library's own ones call the kernel by themselves, unseen; so a `FILE` whose descriptor is
//! remote is made with fopencookie(3), over our read and write.

use std::sync::Mutex;

use libc::{FILE, c_char, c_int, c_void, off64_t, size_t, ssize_t};
use rsc_proto::table::nr;

use super::{finish, real};
use crate::route::{self, route};
use rsc_sdk::broker::fds::{self, State};
use rsc_sdk::sys::local;

#[repr(C)]
struct Functions {
    read: Option<unsafe extern "C" fn(*mut c_void, *mut c_char, size_t) -> ssize_t>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, size_t) -> ssize_t>,
    seek: Option<unsafe extern "C" fn(*mut c_void, *mut off64_t, c_int) -> c_int>,
    close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
}

unsafe extern "C" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut FILE;
    static mut stdin: *mut FILE;
    static mut stdout: *mut FILE;
    static mut stderr: *mut FILE;
}

/// Which of our `FILE`s has which descriptor.
static OURS: Mutex<Vec<(usize, c_int)>> = Mutex::new(Vec::new());

fn with<T>(look: impl FnOnce(&mut Vec<(usize, c_int)>) -> T) -> T {
    look(&mut OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

unsafe extern "C" fn read_some(cookie: *mut c_void, buf: *mut c_char, count: size_t) -> ssize_t {
    finish(route(nr::READ, [cookie as u64, buf as u64, count as u64, 0, 0, 0])) as ssize_t
}

/// Writes all, as the C library does; 0 tells of an error.
unsafe extern "C" fn write_all(cookie: *mut c_void, buf: *const c_char, count: size_t) -> ssize_t {
    let mut done = 0;
    while done < count {
        let args = [cookie as u64, buf as u64 + done as u64, (count - done) as u64, 0, 0, 0];
        let written = finish(route(nr::WRITE, args));
        if written <= 0 {
            break;
        }
        done += written as usize;
    }
    done as ssize_t
}

unsafe extern "C" fn seek_to(cookie: *mut c_void, offset: *mut off64_t, whence: c_int) -> c_int {
    // SAFETY: the C library's own variable.
    let to = unsafe { *offset };
    let at = finish(route(nr::LSEEK, [cookie as u64, to as u64, whence as u64, 0, 0, 0]));
    if at < 0 {
        return -1;
    }
    // SAFETY: as above.
    unsafe { *offset = at };
    0
}

unsafe extern "C" fn close_it(cookie: *mut c_void) -> c_int {
    let fd = cookie as usize as c_int;
    with(|ours| ours.retain(|(_, of)| *of != fd));
    finish(route(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0])) as c_int
}

/// Of standard streams the descriptor is not closed with the `FILE` of ours.
fn over(fd: c_int, mode: *const c_char) -> *mut FILE {
    let functions =
        Functions { read: Some(read_some), write: Some(write_all), seek: Some(seek_to), close: Some(close_it) };
    // SAFETY: the functions take what they are given here; the mode is the program's.
    let file = unsafe { fopencookie(fd as usize as *mut c_void, mode, functions) };
    if !file.is_null() {
        with(|ours| ours.push((file as usize, fd)));
    }
    file
}

/// The flags of open(2) that a mode of fopen(3) stands for.
fn flags_of(mode: &[u8]) -> Option<c_int> {
    let plus = mode.iter().take_while(|byte| **byte != b',').any(|byte| *byte == b'+');
    let base = match mode.first()? {
        b'r' => 0,
        b'w' => libc::O_CREAT | libc::O_TRUNC,
        b'a' => libc::O_CREAT | libc::O_APPEND,
        _ => return None,
    };
    let way = match (plus, mode.first()?) {
        (true, _) => libc::O_RDWR,
        (false, b'r') => libc::O_RDONLY,
        _ => libc::O_WRONLY,
    };
    let extra = mode.iter().take_while(|byte| **byte != b',').fold(0, |all, byte| match byte {
        b'x' => all | libc::O_EXCL,
        b'e' => all | libc::O_CLOEXEC,
        _ => all,
    });
    Some(base | way | extra)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    let real: Option<unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE> =
        real!(c"fopen", fn(*const c_char, *const c_char) -> *mut FILE);
    let Some(real) = real else { return std::ptr::null_mut() };
    // SAFETY: the program's promise.
    let flags = unsafe { local::string(mode) }.and_then(|mode| flags_of(mode.to_bytes()));
    match flags {
        Some(flags) if route::concerns(nr::OPENAT) => {
            let args = [libc::AT_FDCWD as u64, path as u64, flags as u64, 0o666, 0, 0];
            let fd = finish(route(nr::OPENAT, args)) as c_int;
            // SAFETY: a descriptor that is open, and the program's mode.
            if fd < 0 { std::ptr::null_mut() } else { unsafe { fdopen(fd, mode) } }
        }
        // SAFETY: its own arguments.
        _ => unsafe { real(path, mode) },
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: the same function.
    unsafe { fopen(path, mode) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
    if route::is_remote(fd) {
        return over(fd, mode);
    }
    let real: Option<unsafe extern "C" fn(c_int, *const c_char) -> *mut FILE> =
        real!(c"fdopen", fn(c_int, *const c_char) -> *mut FILE);
    // SAFETY: its own arguments.
    real.map_or(std::ptr::null_mut(), |real| unsafe { real(fd, mode) })
}

/// Onto a standard stream or another `FILE` of this machine. The `FILE` stays the same, hence what is behind it must be one of the C
/// library's: a remote file is refused as one that can't be opened here.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn freopen(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE {
    let real: Option<unsafe extern "C" fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE> =
        real!(c"freopen", fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE);
    let Some(real) = real else { return std::ptr::null_mut() };
    // SAFETY: the program's promise.
    let flags = unsafe { local::string(mode) }.and_then(|mode| flags_of(mode.to_bytes()));
    if let Some(flags) = flags
        && !path.is_null()
        && route::concerns(nr::OPENAT)
    {
        let args = [libc::AT_FDCWD as u64, path as u64, flags as u64, 0o666, 0, 0];
        let fd = finish(route(nr::OPENAT, args)) as c_int;
        if fd < 0 {
            return std::ptr::null_mut();
        }
        if route::is_remote(fd) {
            // SAFETY: a FILE of the program's. Its descriptor becomes the new file; standard streams get a FILE of ours behind them.
            unsafe {
                libc::fflush(file);
                let old = fileno(file);
                if old >= 0 {
                    finish(route(nr::DUP2, [fd as u64, old as u64, 0, 0, 0, 0]));
                    finish(route(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0]));
                    return stand_in(old).unwrap_or_else(|| over(old, mode));
                }
            }
            return std::ptr::null_mut();
        }
        finish(route(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0]));
    }
    // SAFETY: its own arguments.
    unsafe { real(path, mode, file) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn freopen64(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE {
    // SAFETY: the same function.
    unsafe { freopen(path, mode, file) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fileno(file: *mut FILE) -> c_int {
    if let Some(fd) = with(|ours| ours.iter().find(|(at, _)| *at == file as usize).map(|(_, fd)| *fd)) {
        return fd;
    }
    let real: Option<unsafe extern "C" fn(*mut FILE) -> c_int> = real!(c"fileno", fn(*mut FILE) -> c_int);
    // SAFETY: its own argument.
    real.map_or(-1, |real| unsafe { real(file) })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fileno_unlocked(file: *mut FILE) -> c_int {
    // SAFETY: the same function.
    unsafe { fileno(file) }
}

/// The C library closes its descriptor by itself, after which the number may be anything.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fclose(file: *mut FILE) -> c_int {
    // SAFETY: a FILE of the program's.
    let fd = unsafe { fileno(file) };
    let ours = with(|ours| ours.iter().any(|(at, _)| *at == file as usize));
    let real: Option<unsafe extern "C" fn(*mut FILE) -> c_int> = real!(c"fclose", fn(*mut FILE) -> c_int);
    // SAFETY: its own argument.
    let result = real.map_or(-1, |real| unsafe { real(file) });
    if !ours {
        fds::set(fd, State::Unknown);
    }
    result
}

/// Puts a `FILE` of ours in the place of a standard one whose descriptor has become remote.
fn stand_in(fd: c_int) -> Option<*mut FILE> {
    // SAFETY: the C library's variables, which programs may assign (it says so); no other thread is promised to see it at once.
    unsafe {
        let (place, mode) = match fd {
            0 => (&raw mut stdin, c"r"),
            1 => (&raw mut stdout, c"w"),
            2 => (&raw mut stderr, c"w"),
            _ => return None,
        };
        if !with(|ours| ours.iter().any(|(at, of)| *at == *place as usize && *of == fd)) {
            let file = over(fd, mode.as_ptr());
            if file.is_null() {
                return None;
            }
            if fd == 2 {
                libc::setvbuf(file, std::ptr::null_mut(), libc::_IONBF, 0);
            }
            *place = file;
        }
        Some(*place)
    }
}

/// Looks whether standard streams are remote, as after `dup2` or at the start of a program which was given them.
pub(crate) fn take_over_standard() {
    for fd in 0..3 {
        if route::is_remote(fd) {
            stand_in(fd);
        }
    }
}
