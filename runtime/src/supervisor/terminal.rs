//! The terminal's signals. The pty is the supervisor's controlling terminal, so that what is typed there (Ctrl-C) and its
//! changes of size become signals at all; they are meant for the workload.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys::{host, process};

/// What a terminal sends to its foreground group.
const SIGNALS: [i32; 5] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGHUP, libc::SIGWINCH];

/// Takes the pty as the controlling terminal. The caller leads a session.
pub(super) fn acquire(terminal: &OwnedFd) -> io::Result<()> {
    Ok(host::set_controlling_terminal(terminal.as_fd())?)
}

/// Begins to pass signals on to the process group of `init`. In a `LocalSet`.
pub(super) fn forward(init: i32) -> io::Result<()> {
    for number in SIGNALS {
        let signal = signal(SignalKind::from_raw(number))?;
        tokio::task::spawn_local(pass(signal, number, init));
    }
    Ok(())
}

async fn pass(mut signal: Signal, number: i32, init: i32) {
    while signal.recv().await.is_some() {
        // Init leads its group; it may have ended.
        let _ = process::kill(-init, number);
    }
}
