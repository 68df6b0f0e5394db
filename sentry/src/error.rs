//! What a system call can end with other than a value: an `Errno` for the workload, or, after an interruption, a restart code.
//!
//! Restart codes are not errors of the call: the compute host's kernel turns them into a restart or into `EINTR` by its own rules
//! (signal(7), "Interruption of system calls"). They are valid only in the answer to a call that was interrupted.

use rsc_proto::abi::{Errno, Restart};

/// Why a handler has no value to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysError {
    /// The workload sees this error.
    Errno(Errno),
    /// The call was interrupted and had no effect.
    Restart(Restart),
}

impl From<Errno> for SysError {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

impl From<Interrupted> for SysError {
    /// The most common case: slow calls restart unless the handler forbids it.
    fn from(_: Interrupted) -> Self {
        Self::Restart(Restart::Sys)
    }
}

impl From<Restart> for SysError {
    fn from(r: Restart) -> Self {
        Self::Restart(r)
    }
}

/// A wait was cut short because the task has a signal to take. Each handler says how its call restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// What a handler returns.
pub type SysResult<T = u64> = Result<T, SysError>;
