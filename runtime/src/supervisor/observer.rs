//! What the engine tells: calls for the log, and how the container's program began.

use std::cell::RefCell;
use std::rc::Rc;

use nix::errno::Errno;
use tokio::sync::oneshot;

use super::strace::Strace;
use crate::engine::{CallRecord, Observer};
use crate::lifecycle::control::Reply;

/// The `start` that waits to hear whether the program could be executed.
#[derive(Clone, Debug, Default)]
pub(super) struct Starting(Rc<RefCell<Option<oneshot::Sender<Reply>>>>);

impl Starting {
    /// `reply` goes to whoever asked.
    pub(super) fn expect(&self, reply: oneshot::Sender<Reply>) {
        *self.0.borrow_mut() = Some(reply);
    }

    fn tell(&self, reply: Reply) {
        if let Some(waiting) = self.0.borrow_mut().take() {
            // The command may have gone away.
            let _ = waiting.send(reply);
        }
    }
}

/// The engine's observer.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) strace: Option<Strace>,
    pub(super) starting: Starting,
    /// `process.args[0]`.
    pub(super) program: Vec<u8>,
}

impl Observer for Watch {
    fn call(&mut self, call: &CallRecord<'_>) {
        if let Some(strace) = &self.strace {
            strace.call(call);
        }
    }

    fn started(&mut self) {
        self.starting.tell(Reply::Done);
    }

    fn start_failed(&mut self, errno: i32) {
        self.starting.tell(failure(&self.program, Errno::from_raw(errno)));
    }

    fn child_ended(&mut self, pid: i32, status: i32) {
        tracing::debug!("helper {pid} has ended: status {status:#x}");
    }

    fn refused(&mut self, what: &str) {
        tracing::warn!("refused to the sentry: {what}");
        if let Some(strace) = &self.strace {
            strace.note(&format!("refused: {what}"));
        }
    }
}

/// Why a program can't be executed, in the words which clients of runc look for.
fn failure(program: &[u8], errno: Errno) -> Reply {
    let name = String::from_utf8_lossy(program);
    match errno {
        Errno::ENOENT | Errno::ENOTDIR if !program.contains(&b'/') => {
            Reply::ProgramMissing(format!("exec: {name:?}: executable file not found in $PATH"))
        }
        Errno::ENOENT | Errno::ENOTDIR => {
            Reply::ProgramMissing(format!("exec: {name:?}: stat {name}: no such file or directory"))
        }
        Errno::EACCES | Errno::EPERM | Errno::EISDIR => {
            Reply::ProgramUnusable(format!("exec: {name:?}: permission denied"))
        }
        Errno::ENOEXEC => Reply::ProgramUnusable(format!("exec: {name:?}: exec format error")),
        other => Reply::ProgramUnusable(format!("exec: {name:?}: {}", other.desc().to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_clients() {
        let text = |reply| match reply {
            Reply::ProgramMissing(text) | Reply::ProgramUnusable(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(failure(b"nosuch", Errno::ENOENT)), "exec: \"nosuch\": executable file not found in $PATH");
        assert!(text(failure(b"/nosuch", Errno::ENOENT)).contains("no such file or directory"));
        assert!(text(failure(b"/etc/passwd", Errno::EACCES)).contains("permission denied"));
        assert!(matches!(failure(b"x", Errno::ENOEXEC), Reply::ProgramUnusable(_)));
    }
}
