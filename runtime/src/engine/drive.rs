//! What wakes the engine: SIGCHLD, the listener, and the clock.

use super::Engine;
use crate::sys::readiness::watch;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

/// Longest sleep without a deadline.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs the engine until its workload has ended; init's wait(2) status. The tracer is the calling thread, so it must be the one
/// that attached, and SIGCHLD is taken over.
pub async fn drive(engine: &RefCell<Engine>) -> io::Result<i32> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    let children = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let wakes = watch(children.as_fd().try_clone_to_owned()?)?;
    let listener: OwnedFd = engine.borrow().listener.try_clone()?;
    let listener = watch(listener)?;
    let deadlines = Rc::clone(&engine.borrow().deadlines);
    let mut listening = true;
    // What came before.
    engine.borrow_mut().on_children();
    let alarm = tokio::time::sleep(IDLE);
    tokio::pin!(alarm);
    let mut armed: Option<Instant> = None;
    loop {
        if let Some(status) = engine.borrow().ended() {
            return Ok(status);
        }
        // Most deadlines are gone before they come. The alarm is left where it is until it has rung: moving it for each call would
        // cost more than a ring for nothing now and then.
        if armed.is_none()
            && let Some(deadline) = engine.borrow().deadline()
        {
            armed = Some(deadline);
            alarm.as_mut().reset(deadline.into());
        }
        tokio::select! {
            biased;
            ready = wakes.readable() => {
                let mut ready = ready?;
                while let Ok(Some(_)) = children.read_signal() {}
                ready.clear_ready();
                engine.borrow_mut().on_children();
            }
            ready = listener.readable(), if listening => {
                let mut ready = ready?;
                // Hung up: no task has the filter any more, and none can get it.
                listening = !ready.ready().is_read_closed();
                // Before the look: what comes after it is reported again.
                ready.clear_ready();
                while pending(listener.as_fd()) {
                    engine.borrow_mut().on_notification();
                }
            }
            // The next turn looks at it.
            () = deadlines.notified(), if armed.is_none() => {}
            () = &mut alarm, if armed.is_some() => {
                armed = None;
                engine.borrow_mut().on_timer(Instant::now());
            }
        }
    }
}

/// Serves the filter of a process that has joined, until no task has that filter any more.
pub async fn listen(engine: &RefCell<Engine>, listener: OwnedFd) -> io::Result<()> {
    let listener = watch(listener)?;
    loop {
        let mut ready = listener.readable().await?;
        let ends = ready.ready().is_read_closed();
        ready.clear_ready();
        let had_deadline = engine.borrow().deadline().is_some();
        while pending(listener.as_fd()) {
            engine.borrow_mut().on_notification_from(listener.as_fd());
        }
        if !had_deadline && engine.borrow().deadline().is_some() {
            engine.borrow().deadlines.notify_one();
        }
        if ends {
            return Ok(());
        }
    }
}

fn pending(listener: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
        && fds.iter().any(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN)))
}
