//! A process of the compute host, named so that a recycled pid is not taken for it: the pid and when it was started.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// A pid and the start time that `/proc/PID/stat` gives for it, in clock ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid in the caller's pid namespace.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs, waits or is stopped.
    Alive,
    /// It has ended and was not waited for.
    Zombie,
    /// There is no such process any more.
    Gone,
}

impl ProcessId {
    /// The process that has `pid` now; none when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        let (_, start_time) = stat(pid)?;
        Some(Self { pid, start_time })
    }

    /// The calling process.
    pub fn myself() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// Whether it is there still.
    pub fn life(self) -> Life {
        match stat(self.pid) {
            Some((_, start_time)) if start_time != self.start_time => Life::Gone,
            Some(('Z' | 'X' | 'x', _)) => Life::Zombie,
            Some(_) => Life::Alive,
            None => Life::Gone,
        }
    }

    /// Whether it is there and has not ended.
    pub fn is_alive(self) -> bool {
        self.life() == Life::Alive
    }

    /// Sends `signal` (any number) to this very process. `ESRCH` when it has ended.
    pub fn kill(self, signal: i32) -> io::Result<()> {
        let fd = crate::signal::pidfd_open(self.pid)?;
        // Only now is it certain that the descriptor's process is the one that was meant.
        if !self.is_alive() {
            return Err(Errno::ESRCH.into());
        }
        crate::signal::pidfd_send_signal(&fd, signal)
    }

    /// Sends SIGKILL; a process that has ended already is no error.
    pub fn kill_hard(self) -> io::Result<()> {
        match self.kill(Signal::SIGKILL as i32) {
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
            other => other,
        }
    }
}

/// State letter and start time.
fn stat(pid: i32) -> Option<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The command's name may hold anything, parentheses included: the last one ends it.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_alive() {
        let me = ProcessId::myself().unwrap();
        assert!(me.is_alive());
        assert_eq!(ProcessId { start_time: me.start_time + 1, ..me }.life(), Life::Gone);
        assert_eq!(ProcessId { start_time: me.start_time + 1, ..me }.kill_hard().ok(), Some(()));
        assert!(me.kill(0).is_ok());
    }

    #[test]
    fn parses_awkward_names() {
        let line = "7 (a) S (b) R) Z 1 7 7 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(line), Some(('Z', 4242)));
        assert_eq!(parse_stat("7 (a"), None);
        assert_eq!(parse_stat("7 (a) Z"), None);
    }
}
