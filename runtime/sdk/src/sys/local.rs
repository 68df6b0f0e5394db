//! What is asked of this machine about descriptors and files, by system calls of our own.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

use rsc_proto::table::nr;

use super::raw;

/// Whether a descriptor is a unix socket, as placeholders are. `None`: there is none.
pub fn is_unix_socket(fd: i32) -> Option<bool> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the structure is the kernel's on x86-64, and zeroes are valid.
    let stat = unsafe {
        if raw::call(nr::FSTAT, &[fd as u64, stat.as_mut_ptr() as u64, 0, 0, 0, 0]) < 0 {
            return None;
        }
        stat.assume_init()
    };
    if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Some(false);
    }
    let (mut domain, mut len) = (0_i32, 4_u32);
    let out = [(&raw mut domain) as u64, (&raw mut len) as u64];
    let args = [fd as u64, libc::SOL_SOCKET as u64, libc::SO_DOMAIN as u64, out[0], out[1], 0];
    // SAFETY: an int and its length.
    unsafe { raw::call(nr::GETSOCKOPT, &args) };
    Some(domain == libc::AF_UNIX)
}

/// A connection to a unix socket, its descriptor far above those that programs use. Minus an error number if there is none.
pub fn connect(path: &CStr) -> i32 {
    let flags = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as u64;
    let fd = raw::number(nr::SOCKET, [libc::AF_UNIX as u64, flags, 0, 0, 0, 0]) as i32;
    if fd < 0 {
        return fd;
    }
    let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
    for (slot, byte) in address.sun_path.iter_mut().zip(path.to_bytes_with_nul()) {
        *slot = *byte as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as u64;
    // SAFETY: a whole address.
    let done = unsafe { raw::call(nr::CONNECT, &[fd as u64, (&raw const address) as u64, len, 0, 0, 0]) };
    if done < 0 {
        close(fd);
        return done as i32;
    }
    // What calls bring along is for this user's own broker alone.
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: 0 };
    let mut size = size_of::<libc::ucred>() as u32;
    let out = [(&raw mut peer) as u64, (&raw mut size) as u64];
    let args = [fd as u64, libc::SOL_SOCKET as u64, libc::SO_PEERCRED as u64, out[0], out[1], 0];
    // SAFETY: a structure and its size.
    unsafe { raw::call(nr::GETSOCKOPT, &args) };
    if peer.uid != getuid() {
        close(fd);
        return -libc::EACCES;
    }
    away(fd)
}

/// Moves a descriptor of ours above those that programs use, as far as the limit lets us.
pub fn away(fd: i32) -> i32 {
    let mut limit = [0_u64; 2];
    let args = [0, libc::RLIMIT_NOFILE as u64, 0, limit.as_mut_ptr() as u64, 0, 0];
    // SAFETY: two words.
    unsafe { raw::call(nr::PRLIMIT64, &args) };
    let from = limit[0].min(1 << 16).saturating_sub(64).max(limit[0] / 2);
    let moved = raw::number(nr::FCNTL, [fd as u64, libc::F_DUPFD_CLOEXEC as u64, from, 0, 0, 0]) as i32;
    if moved < 0 {
        return fd;
    }
    close(fd);
    moved
}

/// Closes a descriptor of ours.
pub fn close(fd: i32) {
    raw::number(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0]);
}

/// The calling thread.
pub fn gettid() -> i32 {
    raw::number(nr::GETTID, [0; 6]) as i32
}

/// The process.
pub fn getpid() -> i32 {
    raw::number(nr::GETPID, [0; 6]) as i32
}

/// Sends all of `data`; minus an error number if it can't.
pub fn send(fd: i32, data: &[u8]) -> i64 {
    let mut sent = 0;
    while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
        let flags = libc::MSG_NOSIGNAL as u64;
        // SAFETY: the slice's own memory.
        let n = unsafe { raw::call(nr::SENDTO, &[fd as u64, rest.as_ptr() as u64, rest.len() as u64, flags, 0, 0]) };
        match n {
            1.. => sent += n as usize,
            _ if n == -i64::from(libc::EINTR) => {}
            _ => return n.min(-1),
        }
    }
    0
}

/// Receives up to so many bytes, and a descriptor if one comes along, at the lowest free number as for a call that makes one.
pub fn receive(fd: i32, buf: &mut [u8], cloexec: bool) -> (i64, Option<i32>) {
    let mut control = [0_u64; 8];
    let mut piece = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: all zeroes is a header that names nothing.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = if cloexec { libc::MSG_CMSG_CLOEXEC } else { 0 };
    // SAFETY: the header names the two buffers, which live.
    let got = unsafe { raw::call(nr::RECVMSG, &[fd as u64, (&raw mut header) as u64, flags as u64, 0, 0, 0]) };
    // A control message: length, level and type, then the descriptor.
    let kind = u64::from(libc::SOL_SOCKET as u32) | (u64::from(libc::SCM_RIGHTS as u32) << 32);
    let brought = (got >= 0 && header.msg_controllen >= 20 && control[1] == kind).then_some(control[2] as u32 as i32);
    (got, brought)
}

/// A string of the program's; `None` for a null pointer.
///
/// # Safety
/// Not null: it must point to a string.
pub unsafe fn string<'a>(text: *const libc::c_char) -> Option<&'a CStr> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// A setting from the environment, which is looked at before anything else of ours runs.
pub fn setting(name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: getenv reads the environment, which nobody changes before main.
    let value = unsafe { string(libc::getenv(name.as_ptr())) }?;
    Some(value.to_bytes().to_vec())
}

/// Leaves a mark in the environment; whether it was not there before.
pub fn mark(name: &CStr) -> bool {
    // SAFETY: before main nobody else looks at the environment.
    setting(name).is_none() && unsafe { libc::setenv(name.as_ptr(), c"1".as_ptr(), 1) == 0 }
}

/// Says something on standard error.
pub fn say(text: &str) {
    // SAFETY: the string's own memory.
    unsafe { raw::call(nr::WRITE, &[2, text.as_ptr() as u64, text.len() as u64, 0, 0, 0]) };
}

/// Lets the broker look at this process, where the kernel's Yama would else not let a stranger. prctl(2), PR_SET_PTRACER.
pub fn admit(pid: i32) {
    const PR_SET_PTRACER: u64 = 0x5961_6d61;
    raw::number(nr::PRCTL, [PR_SET_PTRACER, pid as u64, 0, 0, 0, 0]);
}

/// Whose process it is.
pub fn getuid() -> u32 {
    raw::number(nr::GETUID, [0; 6]) as u32
}

/// Ends the process.
pub fn exit(status: i32) {
    raw::number(nr::EXIT_GROUP, [status as u64, 0, 0, 0, 0, 0]);
}

/// The working directory here.
pub fn working_directory() -> Option<String> {
    let mut name = vec![0_u8; 4096];
    // SAFETY: the buffer's own memory.
    let got = unsafe { raw::call(nr::GETCWD, &[name.as_mut_ptr() as u64, name.len() as u64, 0, 0, 0, 0]) };
    name.truncate(usize::try_from(got).ok()?.checked_sub(1)?);
    String::from_utf8(name).ok()
}

/// Whether there is a file of this name here.
pub fn is_there(path: &CStr) -> bool {
    // SAFETY: a string.
    unsafe { raw::call(nr::ACCESS, &[path.as_ptr() as u64, libc::X_OK as u64, 0, 0, 0, 0]) == 0 }
}

/// The name of a file beside this library, if it can be executed.
fn beside(name: &str) -> Option<CString> {
    // SAFETY: zeroes are a valid structure; the address is in this library.
    let folder = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(beside as *const libc::c_void, &raw mut info) == 0 {
            return None;
        }
        string(info.dli_fname)?.to_str().ok()?.rsplit_once('/')?.0.to_owned()
    };
    let path = CString::new(format!("{folder}/{name}")).ok()?;
    is_there(&path).then_some(path)
}

/// Starts `rsc-runtime broker`, which goes to the background once it listens. Whether it did.
pub fn start_broker() -> bool {
    let given = setting(c"RSC_RUNTIME").and_then(|path| CString::new(path).ok());
    let usual = [
        c"/usr/bin/rsc-runtime",
        c"/usr/local/bin/rsc-runtime",
        c"/usr/sbin/rsc-runtime",
        c"/usr/local/sbin/rsc-runtime",
    ];
    let found = given
        .or_else(|| beside("rsc-runtime"))
        .or_else(|| usual.iter().find(|path| is_there(path)).map(|path| (*path).to_owned()));
    let Some(program) = found else { return false };
    let argv = [program.as_ptr(), c"broker".as_ptr(), c"--detach".as_ptr(), std::ptr::null()];
    // SAFETY: the environment is not changed before main; its strings and ours live. The child of this fork makes nothing but calls.
    unsafe {
        let mut environment: Vec<*const libc::c_char> = Vec::new();
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            if string(*at).is_some_and(|entry| !entry.to_bytes().starts_with(b"LD_PRELOAD=")) {
                environment.push(*at);
            }
            at = at.add(1);
        }
        environment.push(std::ptr::null());
        let child = raw::call(nr::FORK, &[0; 6]);
        if child == 0 {
            let args = [program.as_ptr() as u64, argv.as_ptr() as u64, environment.as_ptr() as u64, 0, 0, 0];
            raw::call(nr::EXECVE, &args);
            raw::call(nr::EXIT_GROUP, &[127, 0, 0, 0, 0, 0]);
        }
        if child < 0 {
            return false;
        }
        let mut status = 0_i32;
        let args = [child as u64, (&raw mut status) as u64, 0, 0, 0, 0];
        while raw::call(nr::WAIT4, &args) == -i64::from(libc::EINTR) {}
        status == 0
    }
}

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}
