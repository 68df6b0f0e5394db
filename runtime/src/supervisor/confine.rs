//! What the supervisor gives up once the jail is attached, before `start` can release the workload.
//!
//! It needs no capability: it has the uid that made the jail's user namespace, and so every right over what is in it (tracing,
//! memory, signals; user_namespaces(7)). It has started its helpers, and starts no other program.

use rsc_sentry::confine::filter::{DEADLY, DEADLY_WITHOUT_CHILDREN, Reasoned, install_deadly};
use rsc_sentry::confine::{ConfineError, drop_capabilities, no_privileges};
use std::io;
use std::time::Duration;

/// Deadly for others, but a supervisor's daily work; the kernel lets it reach nothing but its own user's processes by them.
const DAILY: [i64; 4] =
    [libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd];

/// Deadly for a supervisor.
fn deadly() -> Vec<Reasoned> {
    let all = DEADLY.iter().chain(DEADLY_WITHOUT_CHILDREN);
    all.copied().filter(|(nr, _)| !DAILY.contains(nr)).collect()
}

/// Waits until the calling thread is the only one: capabilities are each thread's own.
///
/// # Errors
/// There is still another after some seconds, or `/proc` can't be read.
pub(super) async fn alone() -> io::Result<()> {
    for _ in 0..5000 {
        if std::fs::read_dir("/proc/self/task")?.count() == 1 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(io::Error::other("confining the supervisor: a thread that should have ended is still there"))
}

/// Gives it up, for good. The calling thread is the only one.
///
/// # Errors
/// [`ConfineError`]; the workload must not start then.
pub(super) fn confine() -> Result<(), ConfineError> {
    drop_capabilities(&[])?;
    no_privileges()?;
    install_deadly(&[&deadly()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracing_is_all_that_is_excepted() {
        let all = DEADLY.len() + DEADLY_WITHOUT_CHILDREN.len();
        assert_eq!(deadly().len(), all - DAILY.len());
    }
}
