//! Which calls are asked about. The way of all others must cost next to nothing.

use std::ffi::CStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use rsc_proto::table::{self, Kind, Scalar, nr};

use rsc_sdk::broker::ask;
use rsc_sdk::broker::fds::{self, State};
use rsc_sdk::broker::terms::Terms;
use rsc_sdk::sys::{local, memory, raw};

use crate::region;
use crate::sys::exports;

/// Calls below this are known.
const CALLS: usize = 512;

/// Which arguments of a call are descriptors: bit N for argument N.
static DESCRIPTORS: [AtomicU8; CALLS] = [const { AtomicU8::new(0) }; CALLS];

/// Takes over what the table says.
pub(crate) fn learn() {
    for call in table::TABLE {
        let descriptors = call.args.iter().enumerate().fold(0, |all, (at, arg)| {
            let is = matches!(arg.kind, Kind::Value(Scalar::Fd | Scalar::Dirfd));
            if is { all | 1 << at } else { all }
        });
        if let Some(slot) = DESCRIPTORS.get(call.nr as usize) {
            slot.store(descriptors, Ordering::Relaxed);
        }
    }
}

/// Whether rules may have a call be carried out there.
pub(crate) fn concerns(number: u32) -> bool {
    region::terms().is_some_and(|terms| concerned(terms, number))
}

fn concerned(terms: &Terms, number: u32) -> bool {
    // Whether the working directory is there is the broker's knowledge.
    terms.concerns(number) || number == nr::GETCWD && region::is_decided()
}

/// Makes a call, here or there; its result, or minus an error number.
pub(crate) fn route(number: u32, args: [u64; 6]) -> i64 {
    let Some(terms) = region::terms() else { return here(number, &args) };
    if let Some(result) = guarded(number, &args) {
        return result;
    }
    let asked = is_asked_about(terms, number, &args);
    let result = if asked { ask::ask(terms, number, args) } else { here(number, &args) };
    follow(number, &args, result, asked);
    result
}

/// Tells the broker under which name addresses were looked up.
pub(crate) fn tell_names(name: String, addresses: Vec<bytes::Bytes>) {
    if let Some(terms) = region::terms() {
        ask::tell_names(terms, name, addresses);
    }
}

/// Makes it here: the program's own call, as it is.
pub(crate) fn here(number: u32, args: &[u64; 6]) -> i64 {
    raw::program(number, args)
}

/// Calls which would touch our own descriptors, and those whose results nobody would see.
fn guarded(number: u32, args: &[u64; 6]) -> Option<i64> {
    let own = |at: usize| args.get(at).is_some_and(|arg| fds::get(*arg as i32) == State::Own);
    match number {
        nr::CLOSE if own(0) => Some(-i64::from(libc::EBADF)),
        nr::DUP2 | nr::DUP3 if own(1) => Some(-i64::from(libc::EBUSY)),
        nr::IO_URING_SETUP => Some(-i64::from(libc::ENOSYS)),
        nr::CLOSE_RANGE => Some(close_range(args)),
        _ => None,
    }
}

/// Closes all but ours: placeholders one by one, so that what they stand for is closed in its order.
fn close_range(args: &[u64; 6]) -> i64 {
    let (first, last, flags) = (args[0] as u32, args[1] as u32, args[2]);
    if first > last || flags & libc::CLOSE_RANGE_CLOEXEC as u64 != 0 {
        return here(nr::CLOSE_RANGE, args);
    }
    let mut from = first;
    for fd in fds::kept(first, last) {
        let number = fd.unsigned_abs();
        if from < number {
            here(nr::CLOSE_RANGE, &[from.into(), (number - 1).into(), flags, 0, 0, 0]);
        }
        if fds::get(fd) == State::Remote {
            route(nr::CLOSE, [number.into(), 0, 0, 0, 0, 0]);
        }
        from = number + 1;
    }
    fds::forget(first, last);
    if from <= last { here(nr::CLOSE_RANGE, &[from.into(), last.into(), flags, 0, 0, 0]) } else { 0 }
}

fn is_asked_about(terms: &Terms, number: u32, args: &[u64; 6]) -> bool {
    if concerned(terms, number) {
        return true;
    }
    let descriptors = DESCRIPTORS.get(number as usize).map_or(0, |slot| slot.load(Ordering::Relaxed));
    if descriptors != 0 {
        if number == nr::MMAP && args[3] & libc::MAP_ANONYMOUS as u64 != 0 {
            return false;
        }
        return (0..6).any(|at| descriptors & (1 << at) != 0 && args.get(at).is_some_and(|arg| is_remote(*arg as i32)));
    }
    fds::any_remote() && waits_for_remote(number, args)
}

/// Whether a descriptor is a placeholder, as far as it can be told without asking.
pub(crate) fn is_remote(fd: i32) -> bool {
    let Some(terms) = region::terms().filter(|_| fd >= 0) else { return false };
    match fds::get(fd) {
        State::Remote => true,
        State::Local | State::Own => false,
        State::Unknown => {
            let Some(perhaps) = local::is_unix_socket(fd) else { return false };
            // The broker knows: what is asked of a placeholder is carried out there.
            let remote = perhaps && ask::goes_there(terms, nr::FCNTL, [fd as u64, libc::F_GETFL as u64, 0, 0, 0, 0]);
            fds::set(fd, if remote { State::Remote } else { State::Local });
            remote
        }
    }
}

/// Whether a call that waits for descriptors names a remote one, so that its readiness must be shown.
fn waits_for_remote(number: u32, args: &[u64; 6]) -> bool {
    match number {
        nr::POLL | nr::PPOLL => memory::polled(args[0], args[1]).any(is_remote),
        nr::SELECT | nr::PSELECT6 => {
            args.iter().skip(1).take(3).any(|set| memory::selected(*set, args[0]).any(is_remote))
        }
        _ => false,
    }
}

/// Keeps track of descriptors.
fn follow(number: u32, args: &[u64; 6], result: i64, asked: bool) {
    if result < 0 {
        return;
    }
    let fd = result as i32;
    match number {
        // Of one that was asked about it is known where it was made.
        nr::OPEN | nr::OPENAT | nr::OPENAT2 | nr::CREAT | nr::SOCKET | nr::ACCEPT | nr::ACCEPT4 if !asked => {
            fds::set(fd, State::Local);
        }
        nr::CLOSE => fds::set(args[0] as i32, State::Unknown),
        nr::DUP => fds::set(fd, fds::get(args[0] as i32)),
        nr::DUP2 | nr::DUP3 => {
            fds::set(fd, fds::get(args[0] as i32));
            if fd < 3 {
                exports::take_over_standard();
            }
        }
        nr::FCNTL if matches!(args[1] as i32, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) => {
            fds::set(fd, fds::get(args[0] as i32));
        }
        nr::PIPE | nr::PIPE2 => memory::pair(args[0]).into_iter().for_each(|fd| fds::set(fd, State::Local)),
        nr::SOCKETPAIR => memory::pair(args[3]).into_iter().for_each(|fd| fds::set(fd, State::Local)),
        _ => {}
    }
}

/// Programs of which something was said already.
static SAID: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Says once that a program's calls will not be seen.
pub(crate) fn say_once(path: &CStr, reason: &str) {
    if region::terms().is_none() {
        return;
    }
    let Ok(mut said) = SAID.try_lock() else { return };
    if said.len() < 100 && !said.iter().any(|one| one == path.to_bytes()) {
        said.push(path.to_bytes().to_vec());
        let name = path.to_string_lossy();
        local::say(&format!("librsc_preload: {name} is {reason}: all its calls are carried out by this machine\n"));
    }
}
