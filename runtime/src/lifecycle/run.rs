//! `run`: create, start, wait for the end while signals and terminal are passed on, delete.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rsc_oci::{ProcessId, signal};

use super::create::{self, Created};
use super::terminal::Relay;
use super::{CreateOptions, LifecycleError, delete, kill, start};
use crate::cli::Context;

/// After init's end the supervisor may take this long to bring everything to its end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Runs a container to its end; the workload's exit status, 128 and more for signals.
pub fn run(context: &Context, options: &CreateOptions, detach: bool, keep: bool) -> Result<u8, LifecycleError> {
    let attached = !detach && options.console_socket.is_none();
    // From here on a signal is for the workload; the jail and the supervisor unblock theirs again.
    let signals = block_signals()?;
    let Created { locked, record, terminal } = create::create(context, options, attached)?;
    let mut relay = None;
    let begun = start::start_locked(&locked).and_then(|()| {
        if let Some(master) = terminal {
            let (Some(input), Some(output)) = (create::own(0), create::own(1)) else {
                return Err(LifecycleError::io("setting up", "the terminal")(Errno::EBADF));
            };
            relay = Some(Relay::start(master, input, output)?);
        }
        Ok(())
    });
    let (Some(init), Ok(())) = (record.init, &begun) else {
        delete::destroy(locked, &record)?;
        return begun.map(|()| 1);
    };
    // Other commands may work on it while it runs.
    let (store, id) = (&context.store, record.id.clone());
    drop(locked);
    if detach {
        return Ok(0);
    }
    let status = wait(init, &signals, relay.as_mut());
    if record.joins_pids {
        // As runc: they do not end with it by themselves.
        kill::kill_rest(&record)?;
    }
    if let Some(supervisor) = record.supervisor
        && !delete::wait(supervisor, FAREWELL)
    {
        tracing::warn!("the supervisor of container {id} does not end; it is killed");
    }
    if let Some(relay) = &mut relay {
        relay.drain();
    }
    drop(relay);
    if !keep {
        // Somebody may have deleted it already.
        delete::delete(store, id.as_str(), true)?;
    }
    status
}

/// Blocks signals, to be received by what is returned.
pub(super) fn block_signals() -> Result<SignalFd, LifecycleError> {
    let mut signals = SigSet::all();
    // Faults are ours, and children's ends are seen through pidfds.
    for own in [Signal::SIGCHLD, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP] {
        signals.remove(own);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).map_err(LifecycleError::io("blocking", "signals"))?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(LifecycleError::io("receiving", "signals"))
}

/// Waits for a child, passing signals and the terminal's bytes on, and reaps it.
pub(super) fn wait(init: ProcessId, signals: &SignalFd, mut relay: Option<&mut Relay>) -> Result<u8, LifecycleError> {
    let end = signal::pidfd_open(init.pid).map_err(LifecycleError::io("watching", "the container's init"))?;
    loop {
        let mut interests =
            vec![PollFd::new(end.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(relay) = &relay {
            interests.extend(relay.interests());
        }
        match poll(&mut interests, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(LifecycleError::io("waiting for", "the container's init")(errno)),
        }
        let ended = interests.first().and_then(PollFd::any).unwrap_or(false);
        drop(interests);
        while let Ok(Some(received)) = signals.read_signal() {
            let number = i32::try_from(received.ssi_signo).unwrap_or_default();
            match &relay {
                Some(relay) if number == Signal::SIGWINCH as i32 => relay.resize(),
                // What a terminal sends to its foreground group when we lose it concerns us alone.
                _ if [Signal::SIGTTIN as i32, Signal::SIGTTOU as i32].contains(&number) => {}
                // It may have ended just now, which is seen next.
                _ => drop(init.kill(number)),
            }
        }
        if let Some(relay) = &mut relay {
            relay.turn();
        }
        if ended {
            return loop {
                match waitpid(Pid::from_raw(init.pid), None) {
                    Ok(WaitStatus::Exited(_, code)) => break Ok(code as u8),
                    Ok(WaitStatus::Signaled(_, signal, _)) => break Ok(128 + signal as u8),
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => break Err(LifecycleError::io("waiting for", "the container's init")(errno)),
                }
            };
        }
    }
}
