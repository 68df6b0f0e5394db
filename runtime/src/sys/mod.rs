//! The crate's only `unsafe`: thin wrappers around system calls that no library offers in the form that is needed here.
//!
//! Nothing here decides anything. Each function does one call, takes and returns plain values, and turns `errno` into a type.

pub mod host;
pub mod mounts;
pub mod process;
pub mod ptrace;
pub mod readiness;
pub mod seccomp;

/// Turns the usual `-1` into the thread's `errno`.
fn check(value: libc::c_long) -> nix::Result<libc::c_long> {
    if value < 0 { Err(nix::errno::Errno::last()) } else { Ok(value) }
}
