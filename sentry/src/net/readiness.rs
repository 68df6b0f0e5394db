//! Which of a sandbox's host sockets became ready: one host epoll(7) instance for them all, edge-triggered.
//!
//! The executor's own registration is not used, because it never forgets that an end was closed: a socket that was watched before
//! it was connected, or whose peer has gone, would be reported for ever.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rsc_proto::abi::Errno;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::kernel::wait::{PollEvents, WaitQueue};
use crate::sys::net as sys;

/// Sockets told of in one turn.
const BATCH: usize = 64;

/// See the module's text.
pub(super) struct Readiness {
    epoll: Epoll,
    sockets: RefCell<HashMap<u64, Weak<WaitQueue>>>,
    next: Cell<u64>,
    /// Tells the queues, as long as this lives.
    teller: RefCell<Option<AbortHandle>>,
}

impl Readiness {
    pub(super) fn start() -> Result<Rc<Self>, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| Errno::new(e as i32))?;
        let watched = epoll.0.try_clone().and_then(sys::reactor_of_reads);
        let watched = watched.map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::new))?;
        let new = Rc::new(Self { epoll, sockets: RefCell::default(), next: Cell::new(0), teller: RefCell::default() });
        let task = tokio::task::spawn_local(tell(Rc::downgrade(&new), watched));
        new.teller.replace(Some(task.abort_handle()));
        Ok(new)
    }

    /// Has `queue` notified of every change of `socket` until what this returns is given to [`Readiness::forget`]. What is true
    /// already counts as a change.
    pub(super) fn watch(&self, socket: BorrowedFd<'_>, queue: &Rc<WaitQueue>) -> Result<u64, Errno> {
        let key = self.next.get();
        self.next.set(key + 1);
        let wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLPRI | EpollFlags::EPOLLRDHUP;
        let event = EpollEvent::new(wanted | EpollFlags::EPOLLET, key);
        self.epoll.add(socket, event).map_err(|e| Errno::new(e as i32))?;
        self.sockets.borrow_mut().insert(key, Rc::downgrade(queue));
        Ok(key)
    }

    /// Ends what [`Readiness::watch`] began.
    pub(super) fn forget(&self, socket: BorrowedFd<'_>, key: u64) {
        self.sockets.borrow_mut().remove(&key);
        // Not there any more is as good.
        let _ = self.epoll.delete(socket);
    }

    /// Tells the queues of one batch. Whether there may be more.
    fn tell(&self) -> bool {
        let mut events = [EpollEvent::empty(); BATCH];
        let Ok(n) = self.epoll.wait(&mut events, EpollTimeout::ZERO) else { return false };
        for event in events.iter().take(n) {
            let queue = self.sockets.borrow().get(&event.data()).and_then(Weak::upgrade);
            if let Some(queue) = queue {
                // What epoll reports is poll's word for it, but for the normal band's own names.
                let mut now = PollEvents::from_bits_truncate(event.events().bits() as u32);
                now.set(PollEvents::RDNORM, now.contains(PollEvents::IN));
                now.set(PollEvents::WRNORM, now.contains(PollEvents::OUT));
                queue.notify(now);
            }
        }
        n == BATCH
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        if let Some(teller) = self.teller.take() {
            teller.abort();
        }
    }
}

async fn tell(readiness: Weak<Readiness>, watched: AsyncFd<OwnedFd>) {
    while let Ok(mut ready) = watched.readable().await {
        // Before the look, so that what comes during it is reported again.
        ready.clear_ready();
        let Some(readiness) = readiness.upgrade() else { return };
        while readiness.tell() {}
    }
}
