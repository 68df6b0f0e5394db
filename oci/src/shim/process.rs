//! One process of a container that containerd knows: its init, or what an exec has started.

use std::sync::Mutex;

use tokio::sync::watch;

use super::error::ShimError;
use super::reaper::{Exit, lock};
use super::stdio::{Held, Names};
use super::terminal::Terminal;
use crate::process::ProcessId;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Ready for start. An exec has no process yet.
    Created,
    /// Its program runs.
    Running,
    /// It has ended, or could not be started.
    Stopped(Exit),
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Its pid on this machine; an end does not change it.
    pid: i32,
    identity: Option<ProcessId>,
    held: Held,
    terminal: Option<Terminal>,
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    /// Its exec id; empty: the init.
    pub(super) exec: String,
    /// Where its input and output are.
    pub(super) names: Names,
    /// The `process` of a configuration, of an exec.
    pub(super) spec: Vec<u8>,
    inner: Mutex<Inner>,
    end: watch::Sender<Option<Exit>>,
    /// Held while it is started, so that its end is told after its start.
    pub(super) starting: tokio::sync::Mutex<()>,
}

impl Process {
    /// A process that is to be.
    pub(super) fn new(exec: &str, names: Names, spec: Vec<u8>) -> Self {
        let inner = Inner { phase: Phase::Created, pid: 0, identity: None, held: Held::default(), terminal: None };
        let (end, starting) = (watch::Sender::new(None), tokio::sync::Mutex::new(()));
        Self { exec: exec.to_owned(), names, spec, inner: Mutex::new(inner), end, starting }
    }

    /// It has a pid now.
    pub(super) fn born(&self, pid: i32, held: Held, terminal: Option<Terminal>) {
        let mut inner = lock(&self.inner);
        inner.pid = pid;
        inner.identity = ProcessId::of(pid);
        inner.held = held;
        inner.terminal = terminal;
    }

    /// Its program runs now, unless it has ended already.
    pub(super) fn started(&self) {
        let mut inner = lock(&self.inner);
        if inner.phase == Phase::Created {
            inner.phase = Phase::Running;
        }
    }

    /// It has ended.
    pub(super) fn ended(&self, exit: Exit) {
        {
            let mut inner = lock(&self.inner);
            inner.phase = Phase::Stopped(exit);
            inner.held.release();
        }
        self.end.send_replace(Some(exit));
    }

    /// How far it has come.
    pub(super) fn phase(&self) -> Phase {
        lock(&self.inner).phase
    }

    /// Its pid as containerd has it; 0: none yet.
    pub(super) fn pid(&self) -> u32 {
        u32::try_from(lock(&self.inner).pid).unwrap_or(0)
    }

    /// Waits for its end.
    pub(super) async fn wait(&self) -> Exit {
        let mut end = self.end.subscribe();
        let exit = end.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        // The sender lives as long as this process.
        exit.unwrap_or(Exit { status: 255, at: std::time::SystemTime::UNIX_EPOCH })
    }

    /// Sends a signal to this very process.
    pub(super) fn kill(&self, signal: i32) -> Result<(), ShimError> {
        let identity = {
            let inner = lock(&self.inner);
            match inner.phase {
                Phase::Stopped(_) => return Err(finished()),
                Phase::Created if inner.pid == 0 => {
                    return Err(ShimError::Precondition("process is not started".to_owned()));
                }
                _ => inner.identity,
            }
        };
        identity.ok_or_else(finished)?.kill(signal).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => finished(),
            _ => ShimError::io("sending a signal")(error),
        })
    }

    /// Sets the size of its terminal.
    pub(super) fn resize(&self, rows: u32, columns: u32) -> Result<(), ShimError> {
        let cells = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
        match &lock(&self.inner).terminal {
            Some(terminal) => {
                terminal.resize(cells(rows), cells(columns)).map_err(ShimError::io("setting the size of a terminal"))
            }
            None => Ok(()),
        }
    }

    /// Ends its input.
    pub(super) fn close_input(&self) {
        lock(&self.inner).held.close_input();
    }

    /// Takes the terminal, to wait for what is still on its way.
    pub(super) fn take_terminal(&self) -> Option<Terminal> {
        lock(&self.inner).terminal.take()
    }
}

/// In the words that clients look for.
pub(super) fn finished() -> ShimError {
    ShimError::NotFound("process already finished".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[tokio::test]
    async fn an_end_is_final() {
        let process = Process::new("", Names::default(), Vec::new());
        assert!(matches!(process.kill(0), Err(ShimError::Precondition(_))));
        process.born(i32::try_from(std::process::id()).unwrap(), Held::default(), None);
        process.kill(0).unwrap();
        let exit = Exit { status: 3, at: SystemTime::UNIX_EPOCH };
        process.ended(exit);
        process.started();
        assert_eq!(process.phase(), Phase::Stopped(exit));
        assert_eq!(process.wait().await, exit);
        assert!(matches!(process.kill(0), Err(ShimError::NotFound(_))));
    }
}
