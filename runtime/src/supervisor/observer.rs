//! What the engine tells: calls for the log, and how the container's program began.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use nix::errno::Errno;
use tokio::sync::{mpsc, oneshot};

use super::strace::Strace;
use crate::engine::{CallRecord, Observer};
use crate::lifecycle::control::Reply;

/// The commands that wait to hear whether a program could be executed, by the pid of its process.
#[derive(Clone, Debug, Default)]
pub(super) struct Starting(Rc<RefCell<HashMap<i32, Waiting>>>);

#[derive(Debug)]
struct Waiting {
    program: Vec<u8>,
    reply: oneshot::Sender<Reply>,
}

impl Starting {
    /// `reply` goes to whoever asked for `program`.
    pub(super) fn expect(&self, pid: i32, program: &[u8], reply: oneshot::Sender<Reply>) {
        self.0.borrow_mut().insert(pid, Waiting { program: program.to_vec(), reply });
    }

    fn tell(&self, pid: i32, what: impl FnOnce(&[u8]) -> Reply) {
        if let Some(waiting) = self.0.borrow_mut().remove(&pid) {
            // The command may have gone away.
            let _ = waiting.reply.send(what(&waiting.program));
        }
    }
}

/// What became of a process that enters the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entering {
    /// It is held in the loader.
    Held {
        /// Its pid on the host.
        pid: i32,
        /// Its id as the workload sees it.
        name: u32,
    },
    /// It has ended.
    Ended {
        /// Its pid on the host.
        pid: i32,
    },
}

/// The engine's observer.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) strace: Option<Strace>,
    pub(super) starting: Starting,
    /// Who lets processes enter.
    pub(super) entering: mpsc::UnboundedSender<Entering>,
}

impl Observer for Watch {
    fn call(&mut self, call: &CallRecord<'_>) {
        if let Some(strace) = &self.strace {
            strace.call(call);
        }
    }

    fn started(&mut self, pid: i32) {
        self.starting.tell(pid, |_| Reply::Done);
    }

    fn start_failed(&mut self, pid: i32, errno: i32) {
        self.starting.tell(pid, |program| failure(program, Errno::from_raw(errno)));
    }

    fn joined(&mut self, pid: i32, name: u32) {
        // Nobody hears it when the supervisor is about to end.
        let _ = self.entering.send(Entering::Held { pid, name });
    }

    fn root_ended(&mut self, pid: i32) {
        self.starting.0.borrow_mut().remove(&pid);
        let _ = self.entering.send(Entering::Ended { pid });
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
