//! A call that is asked about: what it brings along goes to the broker, and what comes back is done.
//!
//! Signals are blocked from the question to the end of the call, as handlers must not find the connection in use. Those that come
//! meanwhile interrupt the call there, and their handlers run when it has its result, just as in the kernel.

use rsc_proto::table::marshal::{self, Gathered};
use rsc_proto::table::{Kind, Scalar, lookup, nr};
use rsc_proto::v1::{
    BrokerAnswer, BrokerCall, BrokerDone, BrokerHere, BrokerInterrupt, BrokerNames, BrokerRan, broker_answer, to_broker,
};

use super::fds::{self, State};
use super::link::{Broken, Link};
use super::terms::Terms;
use crate::sys::{local, memory, raw, signals, slot};

/// Connections of a thread at most: those that were not used for longest are closed first.
const LINKS_MAX: usize = 16;

// What the kernel's own calls say of an interrupted one: restart if the handler lets, always, only without a handler, by a new call.
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;

const EIO: i64 = -5;

/// A call's result.
pub fn ask(terms: &'static Terms, number: u32, args: [u64; 6]) -> i64 {
    loop {
        let mut handler = None;
        let mask = signals::block();
        let result = with_link(terms, |link| exchange(link, number, &args, mask, &mut handler));
        signals::restore(mask);
        let result = match result {
            Ok(result) => result,
            Err(_) => {
                // Whatever close(2) comes to, the number is free.
                if number == nr::CLOSE {
                    raw::program(number, &args);
                }
                return EIO;
            }
        };
        // A handler has run, unless none was due.
        return match (result, handler) {
            (ERESTARTSYS, None | Some(true)) | (ERESTARTNOINTR, _) => continue,
            (ERESTARTNOHAND | ERESTART_RESTARTBLOCK, None) => continue,
            (ERESTARTSYS | ERESTARTNOHAND | ERESTART_RESTARTBLOCK, _) => -i64::from(libc::EINTR),
            _ => result,
        };
    }
}

/// Whether a call would be carried out there. It is, if so.
pub fn goes_there(terms: &'static Terms, number: u32, args: [u64; 6]) -> bool {
    let mask = signals::block();
    let call = BrokerCall { nr: number, args: args.to_vec(), ..BrokerCall::default() };
    let done = with_link(terms, |link| {
        link.tell(to_broker::What::Call(call))?;
        let (answer, brought) = link.answer(mask, &mut |_, _| Ok(()))?;
        brought.into_iter().for_each(local::close);
        if let Some(broker_answer::What::Here(BrokerHere { tell: true, .. })) = answer.what {
            link.tell(to_broker::What::Ran(BrokerRan { result: -1 }))?;
            link.answer(mask, &mut |_, _| Ok(()))?;
        }
        Ok(matches!(answer.what, Some(broker_answer::What::Done(_))))
    });
    signals::restore(mask);
    done.unwrap_or(false)
}

/// Tells the broker under which name addresses were looked up.
pub fn tell_names(terms: &'static Terms, name: String, addresses: Vec<bytes::Bytes>) {
    let mask = signals::block();
    // Without a broker no rule asks for names.
    let _ = with_link(terms, |link| {
        link.tell(to_broker::What::Names(BrokerNames { name, addresses }))?;
        link.answer(mask, &mut |_, _| Ok(()))
    });
    signals::restore(mask);
}

/// Opens this thread's connection on these terms, unless there is one.
pub(super) fn open(terms: &'static Terms) -> Result<(), Broken> {
    with_link(terms, |_| Ok(()))
}

/// A fork has its parent's connections, which it must not use; its descriptors are closed.
pub fn forget_links() {
    slot::with(|links| links.clear());
}

fn with_link<T>(terms: &'static Terms, work: impl FnOnce(&mut Link) -> Result<T, Broken>) -> Result<T, Broken> {
    let done = slot::with(|links| {
        links.retain(Link::is_ours);
        let mut link = match links.iter().position(|link| link.is_on(terms)) {
            Some(at) => links.remove(at),
            None => Link::open(terms)?,
        };
        let done = work(&mut link);
        if done.is_ok() {
            if links.len() >= LINKS_MAX {
                links.remove(0);
            }
            // The last is the latest.
            links.push(link);
        }
        done
    });
    done.unwrap_or(Err(Broken::Lost))
}

fn exchange(
    link: &mut Link,
    number: u32,
    args: &[u64; 6],
    mask: signals::Set,
    handler: &mut Option<bool>,
) -> Result<i64, Broken> {
    let mut interrupted = |link: &Link, restart: bool| {
        *handler = Some(restart);
        link.tell(to_broker::What::Interrupt(BrokerInterrupt {}))
    };
    let Gathered { segments, out, .. } = marshal::gather(number, args, &mut memory::Own);
    let call = BrokerCall { nr: number, args: args.to_vec(), segments };
    link.tell(to_broker::What::Call(call))?;
    let (BrokerAnswer { what }, brought) = link.answer(mask, &mut interrupted)?;
    match what {
        Some(broker_answer::What::Done(done)) if done.replaces => match take(args, &out, done, brought) {
            // Its descriptor is a remote one now.
            0 => exchange(link, number, args, mask, handler),
            failed => Ok(failed),
        },
        Some(broker_answer::What::Done(done)) => Ok(take(args, &out, done, brought)),
        Some(broker_answer::What::Here(answer)) => {
            brought.into_iter().for_each(local::close);
            if link.is_explicit() && !answer.tell && !is_about_placeholders(number, args) {
                return Ok(refusal(number));
            }
            here(link, number, args, answer, mask)
        }
        Some(broker_answer::What::Map(_)) => {
            let Some(fd) = brought else { return Ok(EIO) };
            let mut args = *args;
            // What is mapped begins at the call's offset.
            (args[4], args[5]) = (fd as u64, 0);
            let result = raw::program(number, &args);
            local::close(fd);
            Ok(result)
        }
        None => Err(Broken::Lost),
    }
}

/// The call runs here after all.
fn here(link: &mut Link, number: u32, args: &[u64; 6], answer: BrokerHere, mask: signals::Set) -> Result<i64, Broken> {
    let mut changed = *args;
    let strings: Vec<(u32, Vec<u8>)> =
        answer.strings.iter().map(|string| (string.arg, [&string.text[..], &[0]].concat())).collect();
    for (arg, text) in &strings {
        if let Some(slot) = changed.get_mut(*arg as usize) {
            *slot = text.as_ptr() as u64;
        }
    }
    if !answer.tell {
        // It may wait for long: signals are the kernel's business now.
        signals::restore(mask);
        let result = raw::program(number, &changed);
        signals::block();
        if let Some(fd) = made(number, result) {
            fds::set(fd, State::Local);
        }
        return Ok(result);
    }
    let result = raw::program(number, &changed);
    let told = link.tell(to_broker::What::Ran(BrokerRan { result }));
    match told.and_then(|()| link.answer(mask, &mut |_, _| Ok(()))) {
        Ok((BrokerAnswer { what: Some(broker_answer::What::Done(done)) }, _)) => Ok(done.result),
        // It is closed, and not to be closed again.
        _ if number == nr::CLOSE => Ok(EIO),
        Err(broken) => Err(broken),
        Ok(_) => Err(Broken::Lost),
    }
}

/// The call was carried out: its output is written, its descriptor put in its place.
fn take(args: &[u64; 6], allowed: &marshal::OutRanges, done: BrokerDone, brought: Option<i32>) -> i64 {
    for segment in &done.out {
        if allowed.allows(segment.addr, segment.data.len() as u64) {
            memory::write(segment.addr, &segment.data);
        }
    }
    if done.signal > 0 {
        raw::program(nr::TGKILL, &[local::getpid() as u64, local::gettid() as u64, done.signal as u64, 0, 0, 0]);
    }
    match (done.descriptor, brought) {
        (false, None) => done.result,
        (false, Some(fd)) => {
            local::close(fd);
            done.result
        }
        (true, None) => -i64::from(libc::EMFILE),
        (true, Some(fd)) if done.replaces => {
            let flags = if done.cloexec { libc::O_CLOEXEC as u64 } else { 0 };
            let to = args[0];
            let placed = raw::program(nr::DUP3, &[fd as u64, to, flags, 0, 0, 0]);
            local::close(fd);
            if placed < 0 {
                return placed;
            }
            fds::set(to as i32, State::Remote);
            // It is made again, of what is there now.
            ERESTARTNOINTR
        }
        (true, Some(fd)) => {
            if !done.cloexec {
                raw::program(nr::FCNTL, &[fd as u64, libc::F_SETFD as u64, 0, 0, 0, 0]);
            }
            fds::set(fd, State::Remote);
            i64::from(fd)
        }
    }
}

/// A call that must be carried out there, by whoever asks for it; its result, or minus an error number: `EBADF` where a descriptor is
/// this machine's, `ENOSYS` where the call always is.
pub fn there(terms: &'static Terms, number: u32, args: [u64; 6]) -> i64 {
    let result = ask(terms, number, args);
    if result >= 0 {
        let made = result as i32;
        match number {
            nr::CLOSE => fds::set(args[0] as i32, State::Unknown),
            nr::DUP | nr::DUP2 | nr::DUP3 => fds::set(made, State::Remote),
            nr::FCNTL if matches!(args[1] as i32, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) => {
                fds::set(made, State::Remote);
            }
            _ => {}
        }
    }
    result
}

fn descriptors(number: u32) -> impl Iterator<Item = usize> {
    let args = lookup(number).map_or(&[][..], |call| call.args);
    let is_descriptor = |kind: Kind| matches!(kind, Kind::Value(Scalar::Fd | Scalar::Dirfd));
    args.iter().enumerate().filter(move |(_, arg)| is_descriptor(arg.kind)).map(|(at, _)| at)
}

/// Calls of this machine's that are about the numbers of remote descriptors, or wait for them.
fn is_about_placeholders(number: u32, args: &[u64; 6]) -> bool {
    let waits = [nr::POLL, nr::PPOLL, nr::SELECT, nr::PSELECT6, nr::EPOLL_CTL];
    let remote = |at: usize| args.get(at).is_some_and(|fd| fds::get(*fd as i32) == State::Remote);
    waits.contains(&number) || descriptors(number).any(remote)
}

fn refusal(number: u32) -> i64 {
    let errno = if descriptors(number).next().is_some() { libc::EBADF } else { libc::ENOSYS };
    -i64::from(errno)
}

/// The descriptor that a call has made.
fn made(number: u32, result: i64) -> Option<i32> {
    let makes = [nr::OPEN, nr::OPENAT, nr::OPENAT2, nr::CREAT, nr::SOCKET, nr::ACCEPT, nr::ACCEPT4].contains(&number);
    i32::try_from(result).ok().filter(|fd| makes && *fd >= 0)
}
