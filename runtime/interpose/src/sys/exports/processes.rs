//! Processes: who they are, what they execute, and raw calls.

use std::ffi::CStr;

use libc::{c_char, c_int, c_long, gid_t, mode_t, pid_t, size_t, uid_t, utsname};
use rsc_proto::table::nr;

use super::{calls, errno, finish, real, set_errno};
use crate::route::{self, route};
use crate::sys::programs;
use rsc_sdk::sys::local;

calls! {
    getuid: () -> uid_t = GETUID();
    geteuid: () -> uid_t = GETEUID();
    getgid: () -> gid_t = GETGID();
    getegid: () -> gid_t = GETEGID();
    getresuid: (r: *mut uid_t, e: *mut uid_t, s: *mut uid_t) -> c_int = GETRESUID(r, e, s);
    getresgid: (r: *mut gid_t, e: *mut gid_t, s: *mut gid_t) -> c_int = GETRESGID(r, e, s);
    getgroups: (count: c_int, list: *mut gid_t) -> c_int = GETGROUPS(count, list);
    uname: (names: *mut utsname) -> c_int = UNAME(names);
    sethostname: (name: *const c_char, len: size_t) -> c_int = SETHOSTNAME(name, len);
    umask: (mask: mode_t) -> mode_t = UMASK(mask);
    sysinfo: (info: *mut libc::sysinfo) -> c_int = SYSINFO(info);
}

/// sync(2) returns nothing.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sync() {
    route(nr::SYNC, [0; 6]);
}

/// Calls by number.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn syscall(number: c_long, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> c_long {
    finish(route(number as u32, [a, b, c, d, e, f]))
}

/// gethostname(2) by the call that it is made of.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gethostname(name: *mut c_char, len: size_t) -> c_int {
    // SAFETY: zeroes are valid names.
    let mut names: utsname = unsafe { std::mem::zeroed() };
    let result = finish(route(nr::UNAME, [(&raw mut names) as u64, 0, 0, 0, 0, 0]));
    if result < 0 {
        return -1;
    }
    let node = names.nodename;
    let size = node.iter().position(|byte| *byte == 0).unwrap_or(node.len() - 1) + 1;
    // SAFETY: `name` has room for `len` bytes; no more are written.
    unsafe { std::ptr::copy_nonoverlapping(node.as_ptr(), name, size.min(len)) };
    if size > len {
        set_errno(libc::ENAMETOOLONG);
        return -1;
    }
    0
}

/// The memory of the parent is not to be shared while descriptors are looked after in it: a child of its own does as well.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vfork() -> pid_t {
    // SAFETY: fork takes nothing.
    unsafe { libc::fork() }
}

/// What a program to be executed is, as far as its calls will not be seen.
fn warn_of(path: &CStr) {
    let Some(reason) = programs::invisible(path) else { return };
    route::say_once(path, reason);
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execve(
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    // SAFETY: the program's promise.
    if let Some(path) = unsafe { local::string(path) } {
        warn_of(path);
    }
    finish(route(nr::EXECVE, [path as u64, argv as u64, envp as u64, 0, 0, 0])) as c_int
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execv(path: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: the program's own environment.
    unsafe { execve(path, argv, environ) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fexecve(fd: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int {
    let empty = c"".as_ptr() as u64;
    let args = [fd as u64, empty, argv as u64, envp as u64, libc::AT_EMPTY_PATH as u64, 0];
    finish(route(nr::EXECVEAT, args)) as c_int
}

/// Looks a program up along PATH, only to say what will not be seen of it.
fn warn_of_file(file: *const c_char) {
    // SAFETY: the program's promise.
    let Some(file) = (unsafe { local::string(file) }) else { return };
    if file.to_bytes().contains(&b'/') {
        return warn_of(file);
    }
    let path = local::setting(c"PATH").unwrap_or_else(|| b"/bin:/usr/bin".to_vec());
    for folder in path.split(|byte| *byte == b':') {
        let mut whole = folder.to_vec();
        whole.push(b'/');
        whole.extend_from_slice(file.to_bytes_with_nul());
        if let Ok(whole) = CStr::from_bytes_with_nul(&whole)
            && local::is_there(whole)
        {
            return warn_of(whole);
        }
    }
}

type Spawn = unsafe extern "C" fn(
    *mut pid_t,
    *const c_char,
    *const libc::posix_spawn_file_actions_t,
    *const libc::posix_spawnattr_t,
    *const *mut c_char,
    *const *mut c_char,
) -> c_int;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_spawn(
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const libc::posix_spawn_file_actions_t,
    attributes: *const libc::posix_spawnattr_t,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
) -> c_int {
    // SAFETY: the program's promise.
    if let Some(path) = unsafe { local::string(path) } {
        warn_of(path);
    }
    let real: Option<Spawn> = real!(
        c"posix_spawn",
        fn(
            *mut pid_t,
            *const c_char,
            *const libc::posix_spawn_file_actions_t,
            *const libc::posix_spawnattr_t,
            *const *mut c_char,
            *const *mut c_char,
        ) -> c_int
    );
    // SAFETY: its own arguments.
    real.map_or(libc::ENOSYS, |real| unsafe { real(pid, path, actions, attributes, argv, envp) })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_spawnp(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const libc::posix_spawn_file_actions_t,
    attributes: *const libc::posix_spawnattr_t,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
) -> c_int {
    warn_of_file(file);
    let real: Option<Spawn> = real!(
        c"posix_spawnp",
        fn(
            *mut pid_t,
            *const c_char,
            *const libc::posix_spawn_file_actions_t,
            *const libc::posix_spawnattr_t,
            *const *mut c_char,
            *const *mut c_char,
        ) -> c_int
    );
    // SAFETY: its own arguments.
    real.map_or(libc::ENOSYS, |real| unsafe { real(pid, file, actions, attributes, argv, envp) })
}

type Execvpe = unsafe extern "C" fn(*const c_char, *const *const c_char, *const *const c_char) -> c_int;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execvpe(
    file: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    warn_of_file(file);
    let real: Option<Execvpe> =
        real!(c"execvpe", fn(*const c_char, *const *const c_char, *const *const c_char) -> c_int);
    // SAFETY: its own arguments.
    let result = real.map_or(-1, |real| unsafe { real(file, argv, envp) });
    set_errno(errno());
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execvp(file: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: the program's own environment.
    unsafe { execvpe(file, argv, environ) }
}
