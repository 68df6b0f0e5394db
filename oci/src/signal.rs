//! Signals by name or number, and sending them by pidfd.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::sys;

/// A descriptor of the process that has `pid` now (pidfd_open(2)).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    sys::pidfd_open(pid)
}

/// Sends `signal` (pidfd_send_signal(2)).
pub fn pidfd_send_signal(fd: &impl AsFd, signal: i32) -> io::Result<()> {
    sys::pidfd_send_signal(fd.as_fd().as_raw_fd(), signal)
}

/// The highest real-time signal.
const SIGRTMAX: i32 = 64;
/// The lowest one that the C libraries leave to programs.
const SIGRTMIN: i32 = 34;

/// A text that names no signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown signal {0:?}: give a number from 1 to 64 or a name such as TERM or SIGTERM")]
pub struct UnknownSignal(String);

/// Parses `15`, `TERM`, `SIGTERM`, `sigterm`, `RTMIN+1`, `RTMAX-1`.
pub fn parse(text: &str) -> Result<i32, UnknownSignal> {
    let unknown = || UnknownSignal(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=SIGRTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |base: i32, offset: &str, sign: i32| -> Option<i32> {
        let offset = if offset.is_empty() { 0 } else { offset.get(1..)?.parse::<i32>().ok()? };
        let number = base + sign * offset;
        (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number)
    };
    if let Some(offset) = name.strip_prefix("RTMIN").filter(|o| o.is_empty() || o.starts_with('+')) {
        return realtime(SIGRTMIN, offset, 1).ok_or_else(unknown);
    }
    if let Some(offset) = name.strip_prefix("RTMAX").filter(|o| o.is_empty() || o.starts_with('-')) {
        return realtime(SIGRTMAX, offset, -1).ok_or_else(unknown);
    }
    match name {
        "POLL" => Ok(Signal::SIGIO as i32),
        "IOT" => Ok(Signal::SIGABRT as i32),
        "CLD" => Ok(Signal::SIGCHLD as i32),
        name => Signal::from_str(&format!("SIG{name}")).map(|signal| signal as i32).map_err(|_| unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("15", 15),
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sighup", 1),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "-1", "65", "FOO", "SIG", "RTMIN+99", "RTMIN-1", "RTMAX+1", "999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
