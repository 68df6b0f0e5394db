//! What only the host's `/proc` knows of a task.

use std::fs;

/// A task's tid in its own pid namespace. `None`: it is gone.
pub fn name_of(tid: i32) -> Option<u32> {
    field(&fs::read_to_string(format!("/proc/{tid}/status")).ok()?, "NSpid:")?
        .split_whitespace()
        .next_back()?
        .parse()
        .ok()
}

/// What a signal does to a task that gets it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Nothing. An untraced task is not even woken.
    Ignored,
    /// A handler runs.
    Handled,
    /// The thread group stops.
    Stops,
    /// The thread group ends.
    Fatal,
}

/// The disposition of a signal. A task that cannot be looked at is about to end.
pub(crate) fn disposition(tid: i32, signal: i32) -> Disposition {
    let Ok(status) = fs::read_to_string(format!("/proc/{tid}/status")) else { return Disposition::Fatal };
    let has = |name| {
        let mask = field(&status, name).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        (1..=64).contains(&signal) && mask & (1 << (signal - 1)) != 0
    };
    if has("SigIgn:") {
        Disposition::Ignored
    } else if has("SigCgt:") {
        Disposition::Handled
    } else {
        match signal {
            libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH => Disposition::Ignored,
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Disposition::Stops,
            _ => Disposition::Fatal,
        }
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// Address ranges of a task: start, end, name.
pub(super) fn mappings(tid: i32) -> Option<Vec<(u64, u64, String)>> {
    let maps = fs::read_to_string(format!("/proc/{tid}/maps")).ok()?;
    let line = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let name = rest.split_whitespace().nth(4).unwrap_or_default();
        Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?, name.to_owned()))
    };
    Some(maps.lines().filter_map(line).collect())
}
