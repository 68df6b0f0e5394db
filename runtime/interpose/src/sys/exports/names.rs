//! Functions that work on names by several calls of the C library's own, which nobody would see.

use std::ffi::{CStr, CString};

use libc::{c_char, c_int, size_t};
use rsc_proto::table::nr;

use super::{errno, finish, real, set_errno};
use crate::route::{self, route};
use rsc_sdk::sys::local;

const AT_FDCWD: u64 = libc::AT_FDCWD as u64;

/// Copies a name to the program's buffer, or to one made for it.
fn hand_out(name: &[u8], buf: *mut c_char, size: usize) -> *mut c_char {
    let whole = name.len() + 1;
    let to = if buf.is_null() {
        // SAFETY: freed by the program.
        unsafe { libc::malloc(if size == 0 { whole } else { size }).cast::<c_char>() }
    } else {
        buf
    };
    if to.is_null() {
        return to;
    }
    // SAFETY: the buffer has `size` bytes, or as many as the name needs; callers have compared.
    unsafe {
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), to, name.len());
        *to.add(name.len()) = 0;
    }
    to
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getcwd(buf: *mut c_char, size: size_t) -> *mut c_char {
    if !buf.is_null() && size == 0 {
        set_errno(libc::EINVAL);
        return std::ptr::null_mut();
    }
    let mut name = [0_u8; 4096];
    let got = finish(route(nr::GETCWD, [name.as_mut_ptr() as u64, name.len() as u64, 0, 0, 0, 0]));
    if got <= 0 {
        return std::ptr::null_mut();
    }
    let name = name.get(..got as usize - 1).unwrap_or_default();
    if size != 0 && name.len() >= size {
        set_errno(libc::ERANGE);
        return std::ptr::null_mut();
    }
    hand_out(name, buf, size)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __getcwd_chk(buf: *mut c_char, size: size_t, room: size_t) -> *mut c_char {
    // SAFETY: the smaller of both.
    unsafe { getcwd(buf, size.min(room)) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn get_current_dir_name() -> *mut c_char {
    // SAFETY: a buffer is made.
    unsafe { getcwd(std::ptr::null_mut(), 0) }
}

/// realpath(3): symbolic links are read one by one, wherever they are.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char {
    if !route::concerns(nr::READLINK) {
        let real: Option<unsafe extern "C" fn(*const c_char, *mut c_char) -> *mut c_char> =
            real!(c"realpath", fn(*const c_char, *mut c_char) -> *mut c_char);
        // SAFETY: its own arguments.
        return real.map_or(std::ptr::null_mut(), |real| unsafe { real(path, resolved) });
    }
    // SAFETY: the program's promise.
    let Some(path) = (unsafe { local::string(path) }) else {
        set_errno(libc::EINVAL);
        return std::ptr::null_mut();
    };
    match resolve(path.to_bytes()) {
        Ok(name) => hand_out(&name, resolved, 4096),
        Err(errno) => {
            set_errno(errno);
            std::ptr::null_mut()
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __realpath_chk(
    path: *const c_char,
    resolved: *mut c_char,
    _room: size_t,
) -> *mut c_char {
    // SAFETY: the room is PATH_MAX at least, or the program would not have been compiled to this.
    unsafe { realpath(path, resolved) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn canonicalize_file_name(path: *const c_char) -> *mut c_char {
    // SAFETY: a buffer is made.
    unsafe { realpath(path, std::ptr::null_mut()) }
}

fn resolve(path: &[u8]) -> Result<Vec<u8>, i32> {
    if path.is_empty() {
        return Err(libc::ENOENT);
    }
    let mut rest: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
    let mut known = Vec::new();
    if path.first() != Some(&b'/') {
        // SAFETY: a buffer of ours.
        let mut name = [0_u8; 4096];
        let got = route(nr::GETCWD, [name.as_mut_ptr() as u64, name.len() as u64, 0, 0, 0, 0]);
        known = name.get(..usize::try_from(got - 1).map_err(|_| -got as i32)?).unwrap_or_default().to_vec();
        if known == b"/" {
            known.clear();
        }
    }
    let mut links = 0;
    while let Some(component) = rest.pop() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                let end = known.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                known.truncate(end);
                continue;
            }
            name => {
                known.push(b'/');
                known.extend_from_slice(name);
            }
        }
        if known.len() >= 4096 {
            return Err(libc::ENAMETOOLONG);
        }
        let whole = CString::new(known.clone()).map_err(|_| libc::EINVAL)?;
        let mut target = [0_u8; 4096];
        let args = [whole.as_ptr() as u64, target.as_mut_ptr() as u64, target.len() as u64, 0, 0, 0];
        match route(nr::READLINK, args) {
            got @ 0.. => {
                links += 1;
                if links > 40 {
                    return Err(libc::ELOOP);
                }
                let target = target.get(..got as usize).unwrap_or_default();
                if target.first() == Some(&b'/') {
                    known.clear();
                } else {
                    let end = known.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    known.truncate(end);
                }
                rest.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
            }
            // No symbolic link.
            failed if failed == -i64::from(libc::EINVAL) => {
                // What is behind a slash must be a directory.
                if !rest.is_empty() && !is_directory(&whole)? {
                    return Err(libc::ENOTDIR);
                }
            }
            failed => return Err(-failed as i32),
        }
    }
    if known.is_empty() {
        known.push(b'/');
    }
    Ok(known)
}

fn is_directory(path: &CStr) -> Result<bool, i32> {
    // SAFETY: zeroes are a valid structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let result = route(nr::NEWFSTATAT, [AT_FDCWD, path.as_ptr() as u64, (&raw mut stat) as u64, 0, 0, 0]);
    if result < 0 { Err(-result as i32) } else { Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR) }
}

/// remove(3): a file, or else a directory.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    let mut result = route(nr::UNLINK, [path as u64, 0, 0, 0, 0, 0]);
    if result == -i64::from(libc::EISDIR) {
        result = route(nr::RMDIR, [path as u64, 0, 0, 0, 0, 0]);
    }
    finish(result) as c_int
}

/// Makes names from a template until one is free.
fn temporary(template: *mut c_char, suffix: c_int, make: impl Fn() -> i64) -> i64 {
    const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    // SAFETY: the program's own string, which it lets us change.
    let Some(text) = (unsafe { local::string(template) }) else { return -i64::from(libc::EINVAL) };
    let end = text.to_bytes().len().checked_sub(usize::try_from(suffix).unwrap_or(usize::MAX));
    let Some(start) = end.and_then(|end| end.checked_sub(6)) else { return -i64::from(libc::EINVAL) };
    if text.to_bytes().get(start..start + 6) != Some(b"XXXXXX") {
        return -i64::from(libc::EINVAL);
    }
    for _ in 0..238_328 {
        let mut random = [0_u8; 6];
        route(nr::GETRANDOM, [random.as_mut_ptr() as u64, 6, 0, 0, 0, 0]);
        for (at, byte) in random.iter().enumerate() {
            let letter = LETTERS.get(usize::from(*byte) % LETTERS.len()).copied().unwrap_or(b'a');
            // SAFETY: within the six places that were found.
            unsafe { *template.add(start + at) = letter as c_char };
        }
        let made = make();
        if made != -i64::from(libc::EEXIST) {
            return made;
        }
    }
    -i64::from(libc::EEXIST)
}

fn temporary_file(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
    let flags = (flags & !libc::O_ACCMODE) | libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let args = [AT_FDCWD, template as u64, flags as u64, 0o600, 0, 0];
    finish(temporary(template, suffix, || route(nr::OPENAT, args))) as c_int
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkstemp(template: *mut c_char) -> c_int {
    temporary_file(template, 0, 0)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkstemp64(template: *mut c_char) -> c_int {
    temporary_file(template, 0, 0)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkostemp(template: *mut c_char, flags: c_int) -> c_int {
    temporary_file(template, 0, flags)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int {
    temporary_file(template, 0, flags)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkstemps(template: *mut c_char, suffix: c_int) -> c_int {
    temporary_file(template, suffix, 0)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
    temporary_file(template, suffix, flags)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkdtemp(template: *mut c_char) -> *mut c_char {
    let args = [template as u64, 0o700, 0, 0, 0, 0];
    let before = errno();
    if finish(temporary(template, 0, || route(nr::MKDIR, args))) < 0 {
        return std::ptr::null_mut();
    }
    set_errno(before);
    template
}
