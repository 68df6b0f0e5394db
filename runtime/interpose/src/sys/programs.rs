//! What programs are that are to be executed.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rsc_proto::table::nr;
use rsc_sdk::sys::local::getuid;
use rsc_sdk::sys::raw;

/// Why the calls of a program will not be seen, if so: the dynamic loader does not load us.
pub(crate) fn invisible(path: &CStr) -> Option<&'static str> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    let mut head = [0_u8; 4096];
    // SAFETY: a string, a structure and a buffer of ours.
    let (stat, got) = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
        let fd = raw::call(nr::OPENAT, &[libc::AT_FDCWD as u64, path.as_ptr() as u64, flags, 0, 0, 0]);
        if fd < 0 {
            return None;
        }
        raw::call(nr::FSTAT, &[fd as u64, stat.as_mut_ptr() as u64, 0, 0, 0, 0]);
        let got = raw::call(nr::READ, &[fd as u64, head.as_mut_ptr() as u64, head.len() as u64, 0, 0, 0]);
        raw::call(nr::CLOSE, &[fd as u64, 0, 0, 0, 0, 0]);
        (stat.assume_init(), got)
    };
    let privileged = (stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != getuid())
        || (stat.st_mode & libc::S_ISGID != 0 && stat.st_mode & libc::S_IXGRP != 0 && getuid() != 0);
    if privileged {
        return Some("set-user-ID or set-group-ID, for which the dynamic loader preloads nothing");
    }
    let head = head.get(..usize::try_from(got).ok()?)?;
    let word = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    if head.get(4) == Some(&1) {
        return Some("a 32-bit program");
    }
    let first = usize::try_from(u64::from_le_bytes(head.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(word(54)?), usize::from(word(56)?));
    let interpreted = (0..count).any(|at| {
        let kind = first.checked_add(at * size).and_then(|at| head.get(at..at.checked_add(4)?));
        kind == Some(&3_u32.to_le_bytes())
    });
    (!interpreted).then_some("statically linked")
}

extern "C" fn after_fork() {
    rsc_sdk::broker::ask::forget_links();
}

/// Has forks be noticed.
pub(crate) fn watch_forks() {
    // SAFETY: a function that lives as long as the library, which is never unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
}
