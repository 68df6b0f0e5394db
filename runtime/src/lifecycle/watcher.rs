//! Who hears what the terminal of an `exec` says. Ctrl-C and changes of size become signals for the session that a terminal controls,
//! and a process can lead one session only: each such terminal has a small process which passes them on to the supervisor.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::setsid;

use crate::sys::host;
use crate::sys::process::{Forked, exit_now, fork_into};

/// What a terminal sends to the session that it controls.
const SIGNALS: [Signal; 5] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGHUP, Signal::SIGWINCH];

/// Between two signals at least, however fast somebody types: each costs the sandbox more than the terminal.
const PAUSE_MS: u16 = 20;

/// Starts one; the other end of its socket, which gives a byte for each signal. It ends when that is closed. The caller must have one
/// thread only.
pub(super) fn start(terminal: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    match fork_into(0)? {
        Forked::Child => {
            host::close_all_but(&[terminal.as_raw_fd(), theirs.as_raw_fd()]);
            let status = i32::from(watch(terminal, &theirs).is_err());
            exit_now(status)
        }
        Forked::Parent(_) => Ok(ours),
    }
}

fn watch(terminal: BorrowedFd<'_>, socket: &OwnedFd) -> nix::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(|_| Errno::ENODEV)?;
    setsid()?;
    host::set_controlling_terminal(terminal)?;
    let mask: SigSet = SIGNALS.into_iter().collect();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)?;
    // Nobody shall wait for the end of what this process does not use; the terminal among it.
    for number in 0..3 {
        host::replace_standard(null.as_fd(), number)?;
    }
    host::close_all_but(&[signals.as_fd().as_raw_fd(), socket.as_raw_fd()]);
    loop {
        let mut fds =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let [ready, ended] = fds.map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
        if ended {
            return Ok(());
        }
        if ready && let Some(signal) = signals.read_signal()? {
            let byte = u8::try_from(signal.ssi_signo).unwrap_or_default();
            send(socket.as_raw_fd(), &[byte], MsgFlags::MSG_NOSIGNAL)?;
            // Meanwhile the same signal is pending, and comes once.
            let mut end = [PollFd::new(socket.as_fd(), PollFlags::empty())];
            poll(&mut end, PAUSE_MS)?;
        }
    }
}
