//! Readiness: how a suspended call, a poll or an epoll learns that a file description may have become ready.
//!
//! A `WaitQueue` belongs to each pollable object. Listeners are called synchronously from `notify`; they must only set flags and
//! wake futures (never call back into the object). No lock order: one thread.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

bitflags::bitflags! {
    /// poll(2) and epoll(7) event bits, which have the same values.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct PollEvents: u32 {
        /// There is data to read.
        const IN = 0x001;
        /// There is some exceptional condition (out-of-band data).
        const PRI = 0x002;
        /// Writing is possible.
        const OUT = 0x004;
        /// Error condition; always reported.
        const ERR = 0x008;
        /// Hang up; always reported.
        const HUP = 0x010;
        /// Invalid descriptor; poll(2) only.
        const NVAL = 0x020;
        /// Same as `IN`.
        const RDNORM = 0x040;
        /// Priority band data can be read.
        const RDBAND = 0x080;
        /// Same as `OUT`.
        const WRNORM = 0x100;
        /// Priority data may be written.
        const WRBAND = 0x200;
        /// Not used by Linux, but kept.
        const MSG = 0x400;
        /// Stream socket peer closed its writing half.
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// What poll(2) reports without being asked.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP);
    /// Readable, in both spellings.
    pub const READABLE: Self = Self::IN.union(Self::RDNORM);
    /// Writable, in both spellings.
    pub const WRITABLE: Self = Self::OUT.union(Self::WRNORM);
}

/// Something that wants to know of events.
pub trait Listener {
    /// `events` may have become true. Must not re-enter the notifying object.
    fn notify(&self, events: PollEvents);
}

struct Entry {
    id: u64,
    mask: PollEvents,
    listener: Weak<dyn Listener>,
}

/// The listeners of one pollable object.
#[derive(Default)]
pub struct WaitQueue {
    entries: RefCell<Vec<Entry>>,
    next: Cell<u64>,
}

impl WaitQueue {
    /// An empty queue.
    pub fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    /// Tells every listener whose mask meets `events` (errors and hang-ups meet every mask).
    pub fn notify(&self, events: PollEvents) {
        let hits: Vec<Rc<dyn Listener>> = self
            .entries
            .borrow()
            .iter()
            .filter(|e| events.intersects(e.mask | PollEvents::ALWAYS))
            .filter_map(|e| e.listener.upgrade())
            .collect();
        for listener in hits {
            listener.notify(events);
        }
    }

    /// Registers a listener until the registration is dropped.
    pub fn listen(self: &Rc<Self>, mask: PollEvents, listener: &Rc<dyn Listener>) -> Registration {
        let id = self.next.get();
        self.next.set(id + 1);
        self.entries.borrow_mut().push(Entry { id, mask, listener: Rc::downgrade(listener) });
        Registration { queue: Rc::downgrade(self), id }
    }

    /// Whether anybody listens for one of `mask`.
    pub fn wanted(&self, mask: PollEvents) -> bool {
        self.entries.borrow().iter().any(|e| e.mask.intersects(mask))
    }
}

/// Keeps a listener registered; dropping it ends that.
pub struct Registration {
    queue: Weak<WaitQueue>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.entries.borrow_mut().retain(|e| e.id != self.id);
        }
    }
}

/// A flag that futures can wait for; the listener of a suspended call.
#[derive(Default)]
pub struct Wakeup {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Wakeup {
    /// A flag that is not set.
    pub fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    /// Sets the flag and wakes the waiter.
    pub fn wake(&self) {
        self.set.set(true);
        if let Some(w) = self.waker.borrow_mut().take() {
            w.wake();
        }
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Clears the flag.
    pub fn clear(&self) {
        self.set.set(false);
    }

    /// Waits until the flag is set; does not clear it. One waiter at a time.
    pub fn wait(&self) -> WakeupWait<'_> {
        WakeupWait(self)
    }
}

impl Listener for Wakeup {
    fn notify(&self, _: PollEvents) {
        self.wake();
    }
}

/// Future of [`Wakeup::wait`].
pub struct WakeupWait<'a>(&'a Wakeup);

impl Future for WakeupWait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.set.get() {
            return Poll::Ready(());
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
