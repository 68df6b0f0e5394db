//! The caller's part while a program runs elsewhere: signals and the terminal's bytes are passed on, and its stops and its end become
//! those of this process.

use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::lifecycle::LifecycleError;
use crate::lifecycle::terminal::Relay;
use crate::sys::process;

/// `si_code` of signals that a terminal sends.
const SI_KERNEL: i32 = 0x80;

/// Blocks signals, to be received by what is returned. Those which whoever started us has us ignore stay ignored.
pub(super) fn block_signals() -> Result<SignalFd, LifecycleError> {
    let failed = || LifecycleError::io("receiving", "signals");
    // Ignored, children would be reaped behind our back.
    process::default_action(Signal::SIGCHLD).map_err(failed())?;
    let mut signals = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP] {
        signals.remove(fault);
    }
    let ignored = dispositions(std::process::id()).0;
    for signal in Signal::iterator().filter(|signal| ignored & bit(*signal as i32) != 0) {
        signals.remove(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).map_err(failed())?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed())
}

fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift)).unwrap_or(0)
}

/// Signals that a process ignores, and those that it catches. proc_pid_status(5).
fn dispositions(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    };
    (mask("SigIgn:"), mask("SigCgt:"))
}

/// Attends a program, a child of this process and the leader of its process group.
pub(super) struct Attendant {
    /// Its pid.
    pub(super) pid: i32,
    /// What this process is sent.
    pub(super) signals: SignalFd,
    /// Of its terminal.
    pub(super) relay: Option<Relay>,
}

impl Attendant {
    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Result<WaitStatus, LifecycleError> {
        loop {
            // It may have ended before anybody looked.
            if let Some(end) = self.look()? {
                return Ok(end);
            }
            let mut interests = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if let Some(relay) = &self.relay {
                interests.extend(relay.interests());
            }
            match poll(&mut interests, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(LifecycleError::io("waiting for", "the program")(errno)),
            }
            drop(interests);
            while let Ok(Some(received)) = self.signals.read_signal() {
                self.pass(&received);
            }
            if let Some(relay) = &mut self.relay {
                relay.turn();
            }
        }
    }

    /// Whether it has ended or stopped. Other children are the program's siblings (`CLONE_PARENT`), and what serves it.
    fn look(&mut self) -> Result<Option<WaitStatus>, LifecycleError> {
        loop {
            let status = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED));
            let status = match status {
                Ok(WaitStatus::StillAlive) => return Ok(None),
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(LifecycleError::io("waiting for", "the program")(errno)),
            };
            if status.pid() != Some(Pid::from_raw(self.pid)) {
                continue;
            }
            match status {
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(Some(status)),
                WaitStatus::Stopped(..) => self.stop(),
                _ => {}
            }
        }
    }

    /// It has stopped, and so does this process, until somebody lets both go on.
    fn stop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.suspend();
        }
        let _ = raise(Signal::SIGSTOP);
        if let Some(relay) = &mut self.relay {
            relay.resume();
        }
    }

    fn pass(&self, received: &siginfo) {
        let number = i32::try_from(received.ssi_signo).unwrap_or_default();
        // What a terminal sends is for all in front, as is what a shell does to a job.
        let group = received.ssi_code == SI_KERNEL || number == libc::SIGCONT;
        let to = if group { -self.pid } else { self.pid };
        let send = |number: i32| {
            // It may have ended just now, which is seen next.
            let _ = process::kill(to, number);
        };
        match number {
            libc::SIGCHLD | libc::SIGTTIN | libc::SIGTTOU => {}
            libc::SIGWINCH if self.relay.is_some() => {
                if let Some(relay) = &self.relay {
                    relay.resize();
                }
            }
            // Nobody of its session could let its group go on again: by itself the kernel does not stop it.
            libc::SIGTSTP => {
                let (ignored, caught) = dispositions(self.pid.unsigned_abs());
                match () {
                    () if ignored & bit(number) != 0 => {}
                    () if caught & bit(number) != 0 => send(number),
                    () => send(libc::SIGSTOP),
                }
            }
            _ => send(number),
        }
    }

    /// Carries out the rest of the output, and gives the terminal back.
    pub(super) fn finish(mut self) {
        if let Some(relay) = &mut self.relay {
            relay.drain();
        }
    }
}

/// From now on no child is waited for: the end of the namespace waits until all that is in it is reaped.
pub(super) fn let_children_go() {
    let _ = process::ignore(Signal::SIGCHLD);
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
}

/// The exit status for this end. A process whose program was killed by a signal ends by that signal.
pub(super) fn exit_as(status: WaitStatus) -> u8 {
    match status {
        WaitStatus::Exited(_, code) => code as u8,
        WaitStatus::Signaled(_, signal, _) => {
            // Not ours to dump.
            let _ = process::set_rlimit(libc::RLIMIT_CORE, 0, 0);
            let _ = process::default_action(signal);
            let _ = kill(Pid::this(), signal);
            let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(signal)), None);
            128 + signal as u8
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_signals() {
        assert_eq!((bit(1), bit(64), bit(0), bit(65)), (1, 1 << 63, 0, 0));
    }

    #[test]
    fn a_status_is_kept() {
        assert_eq!(exit_as(WaitStatus::Exited(Pid::from_raw(1), 77)), 77);
    }
}
