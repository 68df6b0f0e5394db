//! epoll(7): files that tell when they may be ready, and a list of those that did. Linux: fs/eventpoll.c.
//!
//! A watched file's wait queue calls the item, which joins the ready list; nothing else is looked at in a wait. An item holds its file
//! weakly: when the description is released the file says so and the item goes.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use rsc_proto::abi::{EpollEvent, EpollEvents, Errno, OpenFlags, Stat};

use super::limits::Ticket;
use crate::kernel::Kernel;
use crate::kernel::fd::Fd;
use crate::kernel::file::{File, FileOps, Fut, Release, ready};
use crate::kernel::wait::{Listener, PollEvents, Registration, WaitQueue};
use crate::syscalls::poll::readiness;

/// How deep epolls may watch epolls. Linux: `EP_MAX_NESTS`.
const NESTS_MAX: usize = 4;
/// How many epolls may watch one epoll. Linux bounds the number of paths.
const PARENTS_MAX: usize = 16;

/// Bits of `epoll_event.events` that are no conditions. Linux: `EP_PRIVATE_BITS`.
const PRIVATE: EpollEvents = EpollEvents::EPOLLWAKEUP
    .union(EpollEvents::EPOLLONESHOT)
    .union(EpollEvents::EPOLLET)
    .union(EpollEvents::EPOLLEXCLUSIVE);

/// What may stand beside `EPOLLEXCLUSIVE`. Linux: `EPOLLEXCLUSIVE_OK_BITS`.
const EXCLUSIVE_OK: EpollEvents = EpollEvents::EPOLLIN
    .union(EpollEvents::EPOLLOUT)
    .union(EpollEvents::EPOLLERR)
    .union(EpollEvents::EPOLLHUP)
    .union(EpollEvents::EPOLLWAKEUP)
    .union(EpollEvents::EPOLLET)
    .union(EpollEvents::EPOLLEXCLUSIVE);

/// One watched file and the descriptor under which it was added.
struct Item {
    key: (u64, i32),
    file: Weak<File>,
    events: Cell<EpollEvents>,
    data: Cell<u64>,
    /// On the ready list.
    queued: Cell<bool>,
    epoll: Weak<Epoll>,
    this: Weak<Item>,
    registration: RefCell<Option<Registration>>,
    _ticket: Ticket,
}

impl Item {
    /// What is waited for; empty after a one-shot has fired.
    fn mask(&self) -> PollEvents {
        PollEvents::from_bits_truncate((self.events.get() - PRIVATE).bits())
    }

    fn edge(&self) -> bool {
        self.events.get().contains(EpollEvents::EPOLLET)
    }

    fn listen(self: &Rc<Self>, file: &File) {
        let listener: Rc<dyn Listener> = self.clone();
        let registration = file.ops().wait_queue().map(|q| q.listen(self.mask(), &listener));
        *self.registration.borrow_mut() = registration;
    }

    /// Joins the ready list.
    fn enqueue(&self) {
        let (Some(epoll), Some(this)) = (self.epoll.upgrade(), self.this.upgrade()) else { return };
        if !self.queued.replace(true) {
            epoll.ready.borrow_mut().push_back(this);
        }
        epoll.queue.notify(PollEvents::READABLE);
    }
}

impl Listener for Item {
    fn notify(&self, events: PollEvents) {
        // Errors and hang-ups reach every listener; a one-shot that has fired wants nothing at all.
        if self.mask().intersects(events) {
            self.enqueue();
        }
    }
}

/// See the module's text.
pub struct Epoll {
    items: RefCell<BTreeMap<(u64, i32), Rc<Item>>>,
    ready: RefCell<VecDeque<Rc<Item>>>,
    /// Items of files whose readiness has to be asked for.
    remote: RefCell<Vec<Rc<Item>>>,
    /// Epolls that watch this one.
    parents: RefCell<Vec<Weak<Epoll>>>,
    queue: Rc<WaitQueue>,
    this: Weak<Epoll>,
    _ticket: Ticket,
}

impl Release for Epoll {
    fn released(&self, file: u64) {
        self.items.borrow_mut().retain(|key, _| key.0 != file);
        self.ready.borrow_mut().retain(|item| item.key.0 != file);
        self.remote.borrow_mut().retain(|item| item.key.0 != file);
    }
}

impl Epoll {
    /// Whether something is ready. Files whose readiness lives elsewhere count as they were last heard of.
    fn any_ready(&self) -> bool {
        self.ready
            .borrow()
            .iter()
            .any(|item| item.file.upgrade().is_some_and(|file| file.ops().poll().intersects(item.mask())))
    }

    fn find(&self, file: &File, fd: Fd) -> Option<Rc<Item>> {
        self.items.borrow().get(&(file.id, fd.0)).cloned()
    }

    async fn queue_if_ready(&self, item: &Rc<Item>, file: &File) {
        item.listen(file);
        // Registered before looking: nothing that happens in between is missed.
        if readiness(file).await.intersects(item.mask()) {
            item.enqueue();
        }
    }

    /// `EPOLL_CTL_ADD`.
    pub async fn add(&self, kernel: &Kernel, file: &Rc<File>, fd: Fd, event: EpollEvent) -> Result<(), Errno> {
        let events = EpollEvents::from_bits_retain(event.events);
        let nested = file.downcast::<EpollFile>();
        if events.contains(EpollEvents::EPOLLEXCLUSIVE) && (nested.is_some() || !EXCLUSIVE_OK.contains(events)) {
            return Err(Errno::EINVAL);
        }
        if let Some(inner) = nested {
            self.check_nesting(&inner.epoll)?;
        }
        if self.find(file, fd).is_some() {
            return Err(Errno::EEXIST);
        }
        let ticket = kernel.limits.epoll_watches.take(1, Errno::ENOSPC)?;
        let item = Rc::new_cyclic(|this| Item {
            key: (file.id, fd.0),
            file: Rc::downgrade(file),
            events: Cell::new(events | EpollEvents::EPOLLERR | EpollEvents::EPOLLHUP),
            data: Cell::new(event.data),
            queued: Cell::new(false),
            epoll: self.this.clone(),
            this: this.clone(),
            registration: RefCell::default(),
            _ticket: ticket,
        });
        self.items.borrow_mut().insert(item.key, item.clone());
        if file.ops().refresh().is_some() {
            self.remote.borrow_mut().push(item.clone());
        }
        if let Some(inner) = nested {
            inner.epoll.parents.borrow_mut().push(self.this.clone());
        }
        let me: Weak<dyn Release> = self.this.clone();
        file.on_release(me);
        self.queue_if_ready(&item, file).await;
        Ok(())
    }

    /// `EPOLL_CTL_MOD`.
    pub async fn modify(&self, file: &Rc<File>, fd: Fd, event: EpollEvent) -> Result<(), Errno> {
        let events = EpollEvents::from_bits_retain(event.events);
        if events.contains(EpollEvents::EPOLLEXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        let item = self.find(file, fd).ok_or(Errno::ENOENT)?;
        if item.events.get().contains(EpollEvents::EPOLLEXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        item.events.set(events | EpollEvents::EPOLLERR | EpollEvents::EPOLLHUP);
        item.data.set(event.data);
        self.queue_if_ready(&item, file).await;
        Ok(())
    }

    /// `EPOLL_CTL_DEL`.
    pub fn delete(&self, file: &Rc<File>, fd: Fd) -> Result<(), Errno> {
        let item = self.items.borrow_mut().remove(&(file.id, fd.0)).ok_or(Errno::ENOENT)?;
        self.ready.borrow_mut().retain(|i| !Rc::ptr_eq(i, &item));
        self.remote.borrow_mut().retain(|i| !Rc::ptr_eq(i, &item));
        if let Some(inner) = file.downcast::<EpollFile>() {
            let mut parents = inner.epoll.parents.borrow_mut();
            if let Some(i) = parents.iter().position(|p| p.ptr_eq(&self.this)) {
                parents.swap_remove(i);
            }
        }
        Ok(())
    }

    /// Whether this epoll may watch `inner`: no circles (`ELOOP`), not too deep (`ELOOP`), not too many paths (`EINVAL`).
    fn check_nesting(&self, inner: &Rc<Epoll>) -> Result<(), Errno> {
        let mut below = BTreeMap::new();
        let depth = inner.levels(Epoll::inner_epolls, &mut below);
        if below.contains_key(&std::ptr::from_ref(self)) {
            return Err(Errno::ELOOP);
        }
        let above = self.levels(Epoll::outer_epolls, &mut BTreeMap::new());
        if depth + above > NESTS_MAX + 1 {
            return Err(Errno::ELOOP);
        }
        let mut parents = inner.parents.borrow_mut();
        parents.retain(|p| p.strong_count() > 0);
        if parents.len() >= PARENTS_MAX { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn inner_epolls(&self) -> Vec<Rc<Epoll>> {
        let items = self.items.borrow();
        items.values().filter_map(|i| Some(i.file.upgrade()?.downcast::<EpollFile>()?.epoll.clone())).collect()
    }

    fn outer_epolls(&self) -> Vec<Rc<Epoll>> {
        self.parents.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// The longest way from this epoll along `next`, itself counted. There are no circles, and `seen` makes each count once.
    fn levels(&self, next: fn(&Self) -> Vec<Rc<Epoll>>, seen: &mut BTreeMap<*const Self, usize>) -> usize {
        if let Some(&n) = seen.get(&std::ptr::from_ref(self)) {
            return n;
        }
        let n = 1 + next(self).iter().map(|e| e.levels(next, seen)).max().unwrap_or(0);
        seen.insert(std::ptr::from_ref(self), n);
        n
    }

    /// Up to `max` events that are there now. Level-triggered items stay on the list, behind the others.
    pub async fn harvest(&self, max: usize) -> Vec<EpollEvent> {
        self.refresh_remote().await;
        let mut list = std::mem::take(&mut *self.ready.borrow_mut());
        let mut out = Vec::new();
        let mut again = Vec::new();
        while out.len() < max
            && let Some(item) = list.pop_front()
        {
            item.queued.set(false);
            let Some(file) = item.file.upgrade() else { continue };
            let now = file.ops().poll() & item.mask();
            if now.is_empty() {
                continue;
            }
            out.push(EpollEvent { events: now.bits(), data: item.data.get() });
            if item.events.get().contains(EpollEvents::EPOLLONESHOT) {
                item.events.set(item.events.get() & PRIVATE);
            } else if !item.edge() {
                again.push(item);
            }
        }
        let left = {
            let mut ready = self.ready.borrow_mut();
            // What was not looked at keeps its place before what came meanwhile and what was reported.
            list.append(&mut ready);
            for item in again {
                if !item.queued.replace(true) {
                    list.push_back(item);
                }
            }
            *ready = list;
            !ready.is_empty()
        };
        if left {
            // Others who wait may want the rest. Linux: ep_done_scan().
            self.queue.notify(PollEvents::READABLE);
        }
        out
    }

    /// Asks the homes of files whose readiness lives elsewhere, and has them watched.
    async fn refresh_remote(&self) {
        if self.remote.borrow().is_empty() {
            return;
        }
        let remote: Vec<(Rc<Item>, Rc<File>)> =
            self.remote.borrow().iter().filter_map(|i| Some((i.clone(), i.file.upgrade()?))).collect();
        for (item, file) in remote {
            let now = readiness(&file).await;
            if !item.edge() && now.intersects(item.mask()) && !item.queued.replace(true) {
                self.ready.borrow_mut().push_back(item);
            }
        }
    }
}

/// An epoll's file description.
pub struct EpollFile {
    epoll: Rc<Epoll>,
}

impl EpollFile {
    /// An epoll that watches nothing.
    pub fn open(kernel: &Kernel) -> Result<Rc<File>, Errno> {
        let ticket = kernel.limits.anonymous.take(1, Errno::ENFILE)?;
        let epoll = Rc::new_cyclic(|this| Epoll {
            items: RefCell::default(),
            ready: RefCell::default(),
            remote: RefCell::default(),
            parents: RefCell::default(),
            queue: WaitQueue::new(),
            this: this.clone(),
            _ticket: ticket,
        });
        Ok(File::new(Self { epoll }, OpenFlags::O_RDWR))
    }

    /// The object behind the description.
    pub fn epoll(&self) -> &Rc<Epoll> {
        &self.epoll
    }
}

impl FileOps for EpollFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "anon_inode:[eventpoll]".into()
    }

    fn poll(&self) -> PollEvents {
        if self.epoll.any_ready() { PollEvents::READABLE } else { PollEvents::empty() }
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        Some(self.epoll.queue.clone())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(super::anon_stat()))
    }
}
