//! How much of each kind of object a sandbox may have at once. A [`Ticket`] is held by each object and gives back when dropped.

use std::cell::Cell;
use std::rc::Rc;

use rsc_proto::abi::Errno;

/// One bounded resource.
pub struct Quota {
    used: Cell<usize>,
    max: usize,
}

impl Quota {
    fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { used: Cell::new(0), max })
    }

    /// Takes `n`, or says `error`.
    pub fn take(self: &Rc<Self>, n: usize, error: Errno) -> Result<Ticket, Errno> {
        match self.used.get().checked_add(n) {
            Some(used) if used <= self.max => {
                self.used.set(used);
                Ok(Ticket { quota: self.clone(), n: Cell::new(n) })
            }
            _ => Err(error),
        }
    }

    /// How much is taken.
    pub fn used(&self) -> usize {
        self.used.get()
    }
}

/// A part of a quota.
pub struct Ticket {
    quota: Rc<Quota>,
    n: Cell<usize>,
}

impl Ticket {
    /// Changes how much is held; `false`, and no change, if there is not enough.
    pub fn resize(&self, n: usize) -> bool {
        let used = (self.quota.used.get() - self.n.get()).saturating_add(n);
        if used > self.quota.max {
            return false;
        }
        self.quota.used.set(used);
        self.n.set(n);
        true
    }

    /// How much is held.
    pub fn held(&self) -> usize {
        self.n.get()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.quota.used.set(self.quota.used.get() - self.n.get());
    }
}

/// The quotas of one sandbox.
pub struct Limits {
    /// Pages that all pipes together may hold.
    pub pipe_pages: Rc<Quota>,
    /// Sockets, those in flight and unaccepted included.
    pub sockets: Rc<Quota>,
    /// Bytes queued in sockets whose home is the sentry.
    pub socket_bytes: Rc<Quota>,
    /// Descriptors in flight in control messages.
    pub fds_in_flight: Rc<Quota>,
    /// Epoll instances, eventfds and timerfds.
    pub anonymous: Rc<Quota>,
    /// Files watched by epolls. Linux: /proc/sys/fs/epoll/max_user_watches.
    pub epoll_watches: Rc<Quota>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pipe_pages: Quota::new(65_536),
            sockets: Quota::new(65_536),
            socket_bytes: Quota::new(256 << 20),
            fds_in_flight: Quota::new(4_096),
            anonymous: Quota::new(65_536),
            epoll_watches: Quota::new(1 << 20),
        }
    }
}
