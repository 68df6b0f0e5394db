//! Signals around a call that another process carries out: they wait until it has an answer, as the kernel has it, and tell which of
//! them would interrupt it.

use std::mem::MaybeUninit;

use rsc_proto::table::nr;

use super::raw;

/// Signals as the kernel has them: bit N - 1 is signal N.
pub(crate) type Set = u64;

/// What a signal that has come does to a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing has come, or nothing that a handler runs for.
    None,
    /// A handler will run; the call is restarted after it if its own rules allow.
    Handler {
        /// `SA_RESTART`.
        restart: bool,
    },
}

const EIGHT: u64 = 8;

/// Blocks all signals; those that were blocked before.
pub(crate) fn block() -> Set {
    let all = !0_u64;
    let mut before: Set = 0;
    let args = [libc::SIG_SETMASK as u64, (&raw const all) as u64, (&raw mut before) as u64, EIGHT, 0, 0];
    // SAFETY: two sets of eight bytes.
    unsafe { raw::call(nr::RT_SIGPROCMASK, &args) };
    before
}

/// Restores what [`block`] has returned. Handlers of signals that have come run now.
pub(crate) fn restore(before: Set) {
    let args = [libc::SIG_SETMASK as u64, (&raw const before) as u64, 0, EIGHT, 0, 0];
    // SAFETY: one set of eight bytes.
    unsafe { raw::call(nr::RT_SIGPROCMASK, &args) };
}

/// A descriptor that is readable when a signal has come which `blocked` does not hold back. `fd`: the one to be changed, or -1.
pub(crate) fn descriptor(fd: i32, blocked: Set) -> i32 {
    let wanted = !blocked;
    let flags = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as u64;
    // SAFETY: one set of eight bytes.
    unsafe { raw::call(nr::SIGNALFD4, &[fd as u64, (&raw const wanted) as u64, EIGHT, flags, 0, 0]) as i32 }
}

/// What the first signal that has come and is not in `blocked` will do.
pub(crate) fn pending(blocked: Set) -> Effect {
    let mut set: Set = 0;
    // SAFETY: one set of eight bytes.
    unsafe { raw::call(nr::RT_SIGPENDING, &[(&raw mut set) as u64, EIGHT, 0, 0, 0, 0]) };
    let mut come = set & !blocked;
    while come != 0 {
        let signal = come.trailing_zeros() + 1;
        come &= come - 1;
        // The kernel's struct: handler, flags, restorer, mask.
        let mut action = MaybeUninit::<[u64; 4]>::zeroed();
        // SAFETY: it has the size of the kernel's struct, and zeroes are valid numbers.
        let action = unsafe {
            raw::call(nr::RT_SIGACTION, &[signal.into(), 0, action.as_mut_ptr() as u64, EIGHT, 0, 0]);
            action.assume_init()
        };
        if action[0] > 1 {
            return Effect::Handler { restart: action[1] & libc::SA_RESTART as u64 != 0 };
        }
    }
    Effect::None
}

/// Waits for one of two descriptors to be readable, so many milliseconds or for ever; which is.
pub(crate) fn wait(fds: [i32; 2], timeout: i32) -> [bool; 2] {
    let one = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut polled = [one(fds[0]), one(fds[1])];
    let args = [polled.as_mut_ptr() as u64, 2, timeout as u64, 0, 0, 0];
    // SAFETY: two structures.
    unsafe { raw::call(nr::POLL, &args) };
    [polled[0].revents != 0, polled[1].revents != 0]
}
