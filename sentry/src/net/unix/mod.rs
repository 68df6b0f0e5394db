//! Unix sockets (unix(7)), wholly in the sentry. Linux: net/unix/af_unix.c, whose order of checks this keeps.
//!
//! A socket knows its peer weakly; what it has sent lies in the peer's queue and counts against the sender's buffer. Whatever is
//! taken out of a queue is dropped after the queue has been let go: a dropped message may close files, and those may notify anybody.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use rsc_proto::abi::{Errno, MsgFlags, SockFlags, Ucred, af};
use zerocopy::IntoBytes;

use super::addr::UnixAddr;
use super::control::{SOL_SOCKET, own_creds};
use super::options::{Base, so};
use super::socket::{About, Incoming, Kind, Outgoing, Socket};
use crate::error::SysResult;
use crate::ipc::limits::{Quota, Ticket};
use crate::ipc::pipe::FIONREAD;
use crate::kernel::Kernel;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::file::{Fut, ready};
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::{PollEvents, WaitQueue};
use crate::vfs::Location;

pub mod gc;
mod path;
mod transfer;

#[cfg(test)]
mod tests;

use gc::Flying;
use transfer::{Message, Wmem};

/// Linux: /proc/sys/net/unix/max_dgram_qlen.
const DGRAM_QUEUE: u32 = 10;
/// SIOCOUTQ, unix(7).
const SIOCOUTQ: u32 = 0x5411;

bitflags::bitflags! {
    /// Directions that shutdown(2) has closed.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Shut: u8 {
        const RECEIVE = 1;
        const SEND = 2;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Listening,
    Connected,
}

/// The abstract names of a sandbox, and those of socket inodes.
#[derive(Default)]
pub struct UnixNames {
    abstracts: BTreeMap<Vec<u8>, Weak<UnixSocket>>,
    /// Where the search for a free name of bind(2) goes on.
    next_auto: u32,
}

/// See the module's text.
pub struct UnixSocket {
    kind: Kind,
    this: Weak<UnixSocket>,
    state: Cell<State>,
    shut: Cell<Shut>,
    error: Cell<Option<Errno>>,
    name: RefCell<Option<UnixAddr>>,
    /// Where its inode is; kept so that the inode is not forgotten.
    place: RefCell<Option<Location>>,
    peer: RefCell<Option<Weak<UnixSocket>>>,
    /// Messages that arrived.
    inbox: RefCell<VecDeque<Message>>,
    /// Connections that were not accepted.
    pending: RefCell<VecDeque<Rc<UnixSocket>>>,
    backlog: Cell<u32>,
    /// Queues of those who wait for room in `inbox` or `pending`.
    crowd: RefCell<Vec<Weak<WaitQueue>>>,
    peer_creds: Cell<Ucred>,
    /// Supplementary groups of the peer.
    peer_groups: RefCell<Rc<[u32]>>,
    base: Base,
    wmem: Rc<Wmem>,
    queue: Rc<WaitQueue>,
    shared: Shared,
    _ticket: Ticket,
}

/// What all sockets of a sandbox use.
#[derive(Clone)]
struct Shared {
    bytes: Rc<Quota>,
    fds: Rc<Quota>,
    sockets: Rc<Quota>,
    net: Weak<super::NetStack>,
    flying: Flying,
}

/// Credentials before there is a peer.
const NO_PEER: Ucred = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };

impl UnixSocket {
    /// socket(2). Linux: unix_create().
    pub fn create(kernel: &Kernel, kind: i32, protocol: i32) -> Result<Rc<Self>, Errno> {
        if protocol != 0 && protocol != i32::from(af::UNIX) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let kind = match kind {
            1 => Kind::Stream,
            2 | 3 => Kind::Dgram,
            5 => Kind::SeqPacket,
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let shared = Shared {
            bytes: kernel.limits.socket_bytes.clone(),
            fds: kernel.limits.fds_in_flight.clone(),
            sockets: kernel.limits.sockets.clone(),
            net: Rc::downgrade(&kernel.net),
            flying: kernel.net.flying.clone(),
        };
        Self::new(kind, shared)
    }

    fn new(kind: Kind, shared: Shared) -> Result<Rc<Self>, Errno> {
        // Each socket counts twice, as itself and as its file: embryos have no file.
        let ticket = shared.sockets.take(1, Errno::ENFILE)?;
        let queue = WaitQueue::new();
        Ok(Rc::new_cyclic(|this| Self {
            kind,
            this: this.clone(),
            state: Cell::new(State::Closed),
            shut: Cell::default(),
            error: Cell::new(None),
            name: RefCell::default(),
            place: RefCell::default(),
            peer: RefCell::default(),
            inbox: RefCell::default(),
            pending: RefCell::default(),
            backlog: Cell::new(DGRAM_QUEUE),
            crowd: RefCell::default(),
            peer_creds: Cell::new(NO_PEER),
            peer_groups: RefCell::new(Rc::from([])),
            base: Base::default(),
            wmem: Wmem::new(queue.clone()),
            queue,
            shared,
            _ticket: ticket,
        }))
    }

    /// socketpair(2).
    pub fn pair(cx: &Cx, kind: i32, protocol: i32) -> Result<(Rc<Self>, Rc<Self>), Errno> {
        let a = Self::create(&cx.kernel, kind, protocol)?;
        let b = Self::create(&cx.kernel, kind, protocol)?;
        for (one, other) in [(&a, &b), (&b, &a)] {
            one.set_peer(other);
            one.learn(own_creds(cx), cx.task.creds().groups.clone());
            one.state.set(State::Connected);
        }
        Ok((a, b))
    }

    fn set_peer(&self, peer: &Rc<Self>) {
        *self.peer.borrow_mut() = Some(Rc::downgrade(peer));
    }

    fn learn(&self, creds: Ucred, groups: Rc<[u32]>) {
        self.peer_creds.set(creds);
        *self.peer_groups.borrow_mut() = groups;
    }

    fn peer(&self) -> Option<Rc<Self>> {
        self.peer.borrow().as_ref().and_then(Weak::upgrade)
    }

    fn connection_based(&self) -> bool {
        self.kind != Kind::Dgram
    }

    fn address(&self) -> UnixAddr {
        self.name.borrow().clone().unwrap_or(UnixAddr::Unnamed)
    }

    /// Whether more wait here than may. Linux: unix_recvq_full().
    fn crowded(&self) -> bool {
        let n =
            if self.state.get() == State::Listening { self.pending.borrow().len() } else { self.inbox.borrow().len() };
        n > self.backlog.get() as usize
    }

    /// Has `waiter` notified when there is room again.
    fn join_crowd(&self, waiter: &Rc<WaitQueue>) {
        let mut crowd = self.crowd.borrow_mut();
        crowd.retain(|q| q.strong_count() > 0);
        let weak = Rc::downgrade(waiter);
        if !crowd.iter().any(|q| q.ptr_eq(&weak)) {
            crowd.push(weak);
        }
    }

    /// Tells those who wait for room.
    fn disperse(&self) {
        if self.crowd.borrow().is_empty() || self.crowded() {
            return;
        }
        for queue in self.crowd.take().iter().filter_map(Weak::upgrade) {
            queue.notify(PollEvents::WRITABLE);
        }
    }

    /// A free abstract name of five digits. Linux: unix_autobind().
    fn autobind(&self) -> Result<(), Errno> {
        if self.name.borrow().is_some() {
            return Ok(());
        }
        let net = self.shared.net.upgrade().ok_or(Errno::EINVAL)?;
        let mut names = net.unix.borrow_mut();
        for _ in 0..=0xf_ffff_u32 {
            let name = format!("{:05x}", names.next_auto & 0xf_ffff).into_bytes();
            names.next_auto = names.next_auto.wrapping_add(1);
            if names.abstracts.get(&name).is_none_or(|w| w.strong_count() == 0) {
                names.abstracts.insert(name.clone(), self.this.clone());
                *self.name.borrow_mut() = Some(UnixAddr::Abstract(name));
                return Ok(());
            }
        }
        Err(Errno::ENOSPC)
    }

    fn autobind_if_passcred(&self) -> Result<(), Errno> {
        if self.base.passcred.get() { self.autobind() } else { Ok(()) }
    }

    async fn bind_to(&self, cx: &Cx, raw: &[u8]) -> Result<(), Errno> {
        let addr = UnixAddr::parse(raw)?;
        if addr == UnixAddr::Unnamed {
            return self.autobind();
        }
        if self.name.borrow().is_some() {
            // Linux: unix_bind_bsd() makes the inode before it looks whether the socket has a name.
            let taken = match &addr {
                UnixAddr::Path(path) => path::exists(cx, path).await,
                _ => false,
            };
            return Err(if taken { Errno::EADDRINUSE } else { Errno::EINVAL });
        }
        let this = self.this.upgrade().ok_or(Errno::EINVAL)?;
        match &addr {
            UnixAddr::Path(path) => *self.place.borrow_mut() = Some(path::bind(cx, path, &this).await?),
            UnixAddr::Abstract(name) => {
                let mut names = cx.kernel.net.unix.borrow_mut();
                if names.abstracts.get(name).is_some_and(|w| w.strong_count() > 0) {
                    return Err(Errno::EADDRINUSE);
                }
                names.abstracts.insert(name.clone(), self.this.clone());
            }
            UnixAddr::Unnamed => {}
        }
        *self.name.borrow_mut() = Some(addr);
        Ok(())
    }

    /// The socket at an address. Linux: unix_find_other().
    async fn find(&self, cx: &Cx, addr: &UnixAddr) -> Result<Rc<Self>, Errno> {
        let found = match addr {
            UnixAddr::Path(path) => path::find(cx, path).await?,
            UnixAddr::Abstract(name) => cx.kernel.net.unix.borrow().abstracts.get(name).and_then(Weak::upgrade),
            UnixAddr::Unnamed => return Err(Errno::ECONNREFUSED),
        };
        let found = found.ok_or(Errno::ECONNREFUSED)?;
        if found.kind == self.kind { Ok(found) } else { Err(Errno::EPROTOTYPE) }
    }

    async fn connect_to(&self, cx: &Cx, raw: &[u8]) -> Result<(), Errno> {
        if self.kind == Kind::Dgram {
            return self.connect_dgram(cx, raw).await;
        }
        let addr = UnixAddr::parse(raw)?;
        if addr == UnixAddr::Unnamed {
            // Linux: unix_validate_addr() refuses an address without a name.
            return Err(Errno::EINVAL);
        }
        self.autobind_if_passcred()?;
        let other = self.find(cx, &addr).await?;
        if other.state.get() != State::Listening || other.shut.get().contains(Shut::RECEIVE) {
            return Err(Errno::ECONNREFUSED);
        }
        if other.crowded() {
            other.join_crowd(&self.queue);
            return Err(Errno::EAGAIN);
        }
        match self.state.get() {
            State::Closed => {}
            State::Connected => return Err(Errno::EISCONN),
            State::Listening => return Err(Errno::EINVAL),
        }
        let embryo = Self::new(self.kind, self.shared.clone()).map_err(|_| Errno::ENOMEM)?;
        let this = self.this.upgrade().ok_or(Errno::EINVAL)?;
        embryo.set_peer(&this);
        embryo.learn(own_creds(cx), cx.task.creds().groups.clone());
        embryo.state.set(State::Connected);
        *embryo.name.borrow_mut() = other.name.borrow().clone();
        embryo.base.passcred.set(other.base.passcred.get());
        self.set_peer(&embryo);
        self.learn(other.peer_creds.get(), other.peer_groups.borrow().clone());
        self.state.set(State::Connected);
        other.pending.borrow_mut().push_back(embryo);
        other.queue.notify(PollEvents::READABLE);
        Ok(())
    }

    /// A datagram socket's default destination, or none with `AF_UNSPEC`. Linux: unix_dgram_connect().
    async fn connect_dgram(&self, cx: &Cx, raw: &[u8]) -> Result<(), Errno> {
        let old = if super::addr::family(raw)? == af::UNSPEC {
            self.state.set(State::Closed);
            self.peer.take()
        } else {
            let addr = UnixAddr::parse(raw)?;
            if addr == UnixAddr::Unnamed {
                return Err(Errno::EINVAL);
            }
            self.autobind_if_passcred()?;
            let other = self.find(cx, &addr).await?;
            if !self.may_send(&other) {
                return Err(Errno::EPERM);
            }
            self.state.set(State::Connected);
            other.state.set(if other.peer().is_some() { State::Connected } else { other.state.get() });
            self.peer.replace(Some(Rc::downgrade(&other)))
        };
        // What a former peer had sent is not for the new conversation. Linux: unix_dgram_disconnected().
        if let Some(old) = old
            && !self.peer.borrow().as_ref().is_some_and(|p| p.ptr_eq(&old))
        {
            let dropped = self.inbox.take();
            drop(dropped);
            self.disperse();
            if let Some(old) = old.upgrade()
                && old.peer().is_some_and(|p| std::ptr::eq(Rc::as_ptr(&p), self))
            {
                old.error.set(Some(Errno::ECONNRESET));
                old.queue.notify(PollEvents::ERR);
            }
        }
        Ok(())
    }

    /// A connected datagram socket hears its peer alone. Linux: unix_may_send().
    fn may_send(&self, other: &Rc<Self>) -> bool {
        match other.peer.borrow().as_ref() {
            None => true,
            Some(p) => p.ptr_eq(&self.this),
        }
    }

    fn do_listen(&self, cx: &Cx, backlog: u32) -> Result<(), Errno> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.name.borrow().is_none() {
            return Err(Errno::EINVAL);
        }
        if self.state.get() == State::Connected {
            return Err(Errno::EINVAL);
        }
        let more = backlog > self.backlog.get();
        self.backlog.set(backlog);
        self.state.set(State::Listening);
        // Whoever connects sees the one who listened.
        self.learn(own_creds(cx), cx.task.creds().groups.clone());
        if more {
            self.disperse();
        }
        Ok(())
    }

    fn do_accept(&self) -> Result<Rc<dyn Socket>, Errno> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.state.get() != State::Listening {
            return Err(Errno::EINVAL);
        }
        let next = self.pending.borrow_mut().pop_front();
        match next {
            Some(embryo) => {
                self.disperse();
                Ok(embryo)
            }
            None if self.shut.get().contains(Shut::RECEIVE) => Err(Errno::EINVAL),
            None => Err(Errno::EAGAIN),
        }
    }

    fn readiness(&self) -> PollEvents {
        let shut = self.shut.get();
        let mut events = PollEvents::empty();
        if self.error.get().is_some() {
            events |= PollEvents::ERR;
        }
        if shut.is_all() {
            events |= PollEvents::HUP;
        }
        if shut.contains(Shut::RECEIVE) {
            events |= PollEvents::RDHUP | PollEvents::READABLE;
        }
        if !self.inbox.borrow().is_empty() || !self.pending.borrow().is_empty() {
            events |= PollEvents::READABLE;
        }
        if self.connection_based() && self.state.get() == State::Closed {
            events |= PollEvents::HUP;
        }
        let mut writable = self.state.get() != State::Listening && self.wmem.writable(self.base.sndbuf.get());
        if writable
            && self.kind == Kind::Dgram
            && let Some(peer) = self.peer()
            && !peer.peer.borrow().as_ref().is_some_and(|p| p.ptr_eq(&self.this))
            && peer.crowded()
        {
            peer.join_crowd(&self.queue);
            writable = false;
        }
        if writable {
            events |= PollEvents::WRITABLE | PollEvents::WRBAND;
        }
        events
    }

    /// The last user is gone. Linux: unix_release_sock().
    fn release(&mut self) {
        let unread = !self.inbox.borrow().is_empty();
        if self.connection_based()
            && let Some(peer) = self.peer()
        {
            peer.shut.set(Shut::all());
            if unread {
                peer.error.set(Some(Errno::ECONNRESET));
            }
            peer.queue.notify(PollEvents::all() - PollEvents::NVAL);
        }
        if let Some(UnixAddr::Abstract(name)) = self.name.get_mut()
            && let Some(net) = self.shared.net.upgrade()
            && let Ok(mut names) = net.unix.try_borrow_mut()
            && names.abstracts.get(name).is_some_and(|w| w.ptr_eq(&self.this))
        {
            names.abstracts.remove(name);
        }
        // Connections that nobody will accept: their peers are told that they were reset.
        for embryo in self.pending.take() {
            if let Some(peer) = embryo.peer() {
                peer.error.set(Some(Errno::ECONNRESET));
            }
        }
        for queue in self.crowd.take().iter().filter_map(Weak::upgrade) {
            queue.notify(PollEvents::WRITABLE | PollEvents::ERR);
        }
        self.shared.flying.collect_later();
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.release();
    }
}

impl Socket for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn about(&self) -> About {
        About { domain: af::UNIX, kind: self.kind, protocol: 0 }
    }

    fn queue(&self) -> Rc<WaitQueue> {
        self.queue.clone()
    }

    fn poll(&self) -> PollEvents {
        self.readiness()
    }

    fn bind<'a>(&'a self, cx: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        Box::pin(self.bind_to(cx, addr))
    }

    fn listen(&self, cx: &Cx, backlog: u32) -> Result<(), Errno> {
        self.do_listen(cx, backlog)
    }

    fn accept<'a>(&'a self, _: &'a Cx) -> Fut<'a, Result<Rc<dyn Socket>, Errno>> {
        ready(self.do_accept())
    }

    fn connect<'a>(&'a self, cx: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        Box::pin(self.connect_to(cx, addr))
    }

    fn send<'a>(&'a self, cx: Option<&'a Cx>, out: &'a mut Outgoing) -> Fut<'a, Result<usize, Errno>> {
        match self.kind {
            Kind::Stream => ready(self.send_stream(out)),
            _ => Box::pin(self.send_message(cx, out)),
        }
    }

    fn receive(&self, len: usize, flags: MsgFlags) -> Result<Incoming, Errno> {
        match self.kind {
            Kind::Stream => self.receive_stream(len, flags),
            _ => self.receive_message(len, flags),
        }
    }

    fn shutdown(&self, how: u32) -> Result<(), Errno> {
        let mine = match how {
            0 => Shut::RECEIVE,
            1 => Shut::SEND,
            _ => Shut::all(),
        };
        self.shut.set(self.shut.get() | mine);
        if self.connection_based()
            && let Some(peer) = self.peer()
        {
            let mut theirs = Shut::empty();
            theirs.set(Shut::SEND, mine.contains(Shut::RECEIVE));
            theirs.set(Shut::RECEIVE, mine.contains(Shut::SEND));
            peer.shut.set(peer.shut.get() | theirs);
            peer.queue.notify(PollEvents::all() - PollEvents::NVAL);
        }
        self.queue.notify(PollEvents::all() - PollEvents::NVAL);
        Ok(())
    }

    fn name(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.address().encode())
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        // A peer that is gone still has a name in Linux, which nobody remembers here.
        match self.peer.borrow().as_ref() {
            None => Err(Errno::ENOTCONN),
            Some(peer) => Ok(peer.upgrade().map_or(UnixAddr::Unnamed, |p| p.address()).encode()),
        }
    }

    fn take_error(&self) -> Option<Errno> {
        self.error.take()
    }

    fn is_listening(&self) -> bool {
        self.state.get() == State::Listening
    }

    fn option(&self, _: &Cx, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        match name {
            so::PEERCRED => Ok(self.peer_creds.get().as_bytes().to_vec()),
            so::PEERGROUPS => {
                if self.peer_creds.get() == NO_PEER {
                    return Err(Errno::ENODATA);
                }
                let groups = self.peer_groups.borrow().clone();
                if len < groups.len() * 4 { Err(Errno::ERANGE) } else { Ok(groups.as_bytes().to_vec()) }
            }
            so::PEERSEC => Err(Errno::ENOPROTOOPT),
            _ => self.base.get(name),
        }
    }

    fn set_option<'a>(&'a self, cx: &'a Cx, level: i32, name: i32, value: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        if level != SOL_SOCKET {
            return ready(Err(Errno::EOPNOTSUPP));
        }
        ready(self.base.set(name, value, cx.task.creds().has(cap::NET_ADMIN)))
    }

    fn ioctl<'a>(&'a self, cx: &'a Cx, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        Box::pin(async move {
            let n = match cmd {
                SIOCOUTQ => self.wmem.used(),
                FIONREAD if self.state.get() == State::Listening => return Err(Errno::EINVAL.into()),
                FIONREAD => {
                    let inbox = self.inbox.borrow();
                    let all = inbox.iter().map(Message::len);
                    if self.connection_based() { all.sum() } else { all.take(1).sum() }
                }
                _ => return super::inet::interface_ioctl(cx, cmd, arg).await,
            };
            cx.mem.write(UserPtr::<i32>::new(arg), &i32::try_from(n).unwrap_or(i32::MAX)).await?;
            Ok(0)
        })
    }
}

/// `SOCK_NONBLOCK` and `SOCK_CLOEXEC` out of a type; `EINVAL` for other bits beside the type.
pub fn split_kind(kind: u32) -> Result<(i32, SockFlags), Errno> {
    const MASK: u32 = 0xf;
    let flags = SockFlags::from_bits(kind & !MASK).ok_or(Errno::EINVAL)?;
    Ok(((kind & MASK) as i32, flags))
}
