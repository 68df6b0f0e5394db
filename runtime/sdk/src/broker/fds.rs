//! What is known of the process's descriptors: a cache before the only truth, which is the kernel's table and the broker. So a wrong
//! `Remote` costs a question, and `Unknown` is found out at the first use. A wrong `Local` would be a wrong result; a number
//! becomes `Local` only when something of this machine was seen at it, and `Unknown` again whenever it may have changed.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not looked at yet.
    Unknown = 0,
    /// This machine's.
    Local = 1,
    /// Probably a placeholder.
    Remote = 2,
    /// This library's own, which the program does not know.
    Own = 3,
}

/// Higher numbers are looked at each time.
const KEPT: usize = 1 << 16;

static STATES: [AtomicU8; KEPT] = [const { AtomicU8::new(0) }; KEPT];
/// There has been a placeholder in this process.
static ANY_REMOTE: AtomicBool = AtomicBool::new(false);

/// What a descriptor is known to be.
pub fn get(fd: i32) -> State {
    let slot = usize::try_from(fd).ok().and_then(|at| STATES.get(at));
    match slot.map(|state| state.load(Ordering::Relaxed)) {
        Some(1) => State::Local,
        Some(2) => State::Remote,
        Some(3) => State::Own,
        _ => State::Unknown,
    }
}

/// Remembers what one is.
pub fn set(fd: i32, state: State) {
    if state == State::Remote {
        ANY_REMOTE.store(true, Ordering::Relaxed);
    }
    if let Some(slot) = usize::try_from(fd).ok().and_then(|at| STATES.get(at)) {
        slot.store(state as u8, Ordering::Relaxed);
    }
}

/// Whether one was ever remote.
pub fn any_remote() -> bool {
    ANY_REMOTE.load(Ordering::Relaxed)
}

/// Descriptors of a range that are placeholders or ours.
pub fn kept(first: u32, last: u32) -> impl Iterator<Item = i32> {
    let range = first as usize..(last as usize).saturating_add(1).min(KEPT);
    let kept = |at: usize| {
        let fd = i32::try_from(at).unwrap_or(-1);
        matches!(get(fd), State::Remote | State::Own).then_some(fd)
    };
    range.filter_map(kept)
}

/// Forgets what is known of a range, but for ours.
pub fn forget(first: u32, last: u32) {
    for slot in STATES.iter().take((last as usize).saturating_add(1)).skip(first as usize) {
        if slot.load(Ordering::Relaxed) != State::Own as u8 {
            slot.store(State::Unknown as u8, Ordering::Relaxed);
        }
    }
}
