//! execve(2), execveat(2).

use rsc_proto::abi::Errno;

use super::Outcome;
use crate::error::SysResult;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::memory::UserPtr;

/// execve(2).
pub async fn execve(_cx: &Cx, _path: UserPtr<u8>, _argv: UserPtr<u64>, _envp: UserPtr<u64>) -> SysResult<Outcome> {
    Err(Errno::ENOSYS.into())
}

/// execveat(2).
pub async fn execveat(
    _cx: &Cx,
    _dir: Fd,
    _path: UserPtr<u8>,
    _argv: UserPtr<u64>,
    _envp: UserPtr<u64>,
    _flags: u32,
) -> SysResult<Outcome> {
    Err(Errno::ENOSYS.into())
}
