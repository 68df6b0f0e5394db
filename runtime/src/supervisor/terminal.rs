//! Terminals' signals. Init's pty is the supervisor's controlling terminal, so that what is typed there (Ctrl-C) and its changes of
//! size become signals at all; which process group they are meant for, the sentry knows.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use rsc_proto::v1::{self, up};
use tokio::io::Interest;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::upstream::Upstream;
use crate::sys::host;

/// What a terminal sends.
const SIGNALS: [i32; 5] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGHUP, libc::SIGWINCH];

/// Takes the pty as the controlling terminal. The caller leads a session.
pub(super) fn acquire(terminal: &OwnedFd) -> io::Result<()> {
    Ok(host::set_controlling_terminal(terminal.as_fd())?)
}

/// Begins to tell the sentry of the signals of the supervisor's own terminal. In a `LocalSet`.
pub(super) fn forward(upstream: &Upstream) -> io::Result<()> {
    for number in SIGNALS {
        let signal = signal(SignalKind::from_raw(number))?;
        tokio::task::spawn_local(pass(signal, number, upstream.clone()));
    }
    Ok(())
}

async fn pass(mut signal: Signal, number: i32, upstream: Upstream) {
    while signal.recv().await.is_some() {
        tell(&upstream, 0, number);
        // As a watcher: meanwhile the same signal is pending, and comes once.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tell(upstream: &Upstream, index: u32, number: i32) {
    let signal = u32::try_from(number).unwrap_or_default();
    upstream.tell(up::Body::TerminalSignal(v1::TerminalSignal { index, signal }));
}

/// Tells the sentry what a [watcher](crate::lifecycle::watcher) says of the terminal whose descriptors begin at `index`, until it
/// ends. In a `LocalSet`.
pub(super) async fn follow(watcher: OwnedFd, index: u32, upstream: Upstream) -> io::Result<()> {
    let watcher = host::watch(watcher, Interest::READABLE)?;
    loop {
        let mut ready = watcher.readable().await?;
        let mut byte = [0];
        match recv(watcher.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(()),
            Ok(_) if SIGNALS.contains(&i32::from(byte[0])) => tell(&upstream, index, byte[0].into()),
            Ok(_) => {}
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(errno.into()),
        }
    }
}
