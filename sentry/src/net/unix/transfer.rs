//! Bytes, descriptors and credentials from one unix socket to another. Linux: unix_stream_sendmsg() and kin.

use std::cell::Cell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use rsc_proto::abi::{Errno, MsgFlags, Ucred};

use super::super::addr::UnixAddr;
use super::super::socket::{Incoming, Kind, NOBODY, Outgoing};
use super::gc::Cargo;
use super::{Shut, State, UnixSocket};
use crate::ipc::limits::Ticket;
use crate::kernel::cx::Cx;
use crate::kernel::wait::{PollEvents, WaitQueue};

/// What a message weighs beside its bytes. Linux: SKB_TRUESIZE(), roughly.
const OVERHEAD: usize = 576;
/// The least that a message weighs.
const WEIGHT_MIN: usize = 768;
/// Bytes of one piece of a stream. Linux: SKB_MAX_HEAD(0) + UNIX_SKB_FRAGS_SZ.
const PIECE: usize = 36_544;

/// What a socket has sent and nobody has read: bounded by its send buffer.
pub(super) struct Wmem {
    used: Cell<usize>,
    queue: Rc<WaitQueue>,
}

impl Wmem {
    pub(super) fn new(queue: Rc<WaitQueue>) -> Rc<Self> {
        Rc::new(Self { used: Cell::new(0), queue })
    }

    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    /// Linux: unix_writable().
    pub(super) fn writable(&self, sndbuf: u32) -> bool {
        self.used.get() * 4 <= sndbuf as usize
    }
}

/// A message's part of its sender's buffer and of the sandbox's quota.
struct Charge {
    wmem: Rc<Wmem>,
    n: usize,
    _ticket: Ticket,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.wmem.used.set(self.wmem.used.get() - self.n);
        self.wmem.queue.notify(PollEvents::WRITABLE);
    }
}

/// One message, or one piece of a stream.
pub(super) struct Message {
    data: Bytes,
    pub(super) cargo: Cargo,
    creds: Option<Ucred>,
    from: UnixAddr,
    _charge: Charge,
}

impl Message {
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }
}

impl UnixSocket {
    fn charge(&self, bytes: usize) -> Result<Charge, Errno> {
        let n = (bytes + OVERHEAD).max(WEIGHT_MIN);
        let ticket = self.shared.bytes.take(n, Errno::ENOBUFS)?;
        self.wmem.used.set(self.wmem.used.get() + n);
        Ok(Charge { wmem: self.wmem.clone(), n, _ticket: ticket })
    }

    /// Whether there is room to send: errors first. Linux: sock_alloc_send_pskb().
    fn room(&self) -> Result<(), Errno> {
        if let Some(e) = self.error.take() {
            return Err(e);
        }
        if self.shut.get().contains(Shut::SEND) {
            return Err(Errno::EPIPE);
        }
        if self.wmem.used() >= self.base.sndbuf.get() as usize { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// A message with the first `n` bytes of `out`, and all that goes with them. The bytes are copied: a slice would keep the
    /// whole frame in which they came.
    fn message(&self, out: &mut Outgoing, n: usize, other: &Self) -> Result<Message, Errno> {
        let charge = self.charge(n)?;
        let cargo = Cargo::load(&self.shared.flying, &self.shared.fds, std::mem::take(&mut out.control.files))?;
        let wanted = self.base.passcred.get() || other.base.passcred.get();
        let creds = out.control.creds.take().or_else(|| wanted.then_some(out.creds));
        let data = Bytes::copy_from_slice(out.data.get(..n).unwrap_or_default());
        out.data = out.data.slice(n..);
        Ok(Message { data, cargo, creds, from: self.address(), _charge: charge })
    }

    fn deliver(&self, message: Message) {
        self.inbox.borrow_mut().push_back(message);
        self.queue.notify(PollEvents::READABLE);
    }

    pub(super) fn send_stream(&self, out: &mut Outgoing) -> Result<usize, Errno> {
        if out.flags.contains(MsgFlags::MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let connected = self.state.get() == State::Connected;
        if out.to.is_some() {
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        if self.peer.borrow().is_none() {
            return Err(Errno::ENOTCONN);
        }
        let total = out.data.len();
        let partial = |e: Errno, out: &Outgoing| {
            let sent = total - out.data.len();
            if sent > 0 { Ok(sent) } else { Err(e) }
        };
        if self.shut.get().contains(Shut::SEND) {
            return Err(Errno::EPIPE);
        }
        let piece = (self.base.sndbuf.get() as usize / 2).saturating_sub(64).clamp(1, PIECE);
        while !out.data.is_empty() {
            if let Err(e) = self.room() {
                return partial(e, out);
            }
            let Some(peer) = self.peer().filter(|p| !p.shut.get().contains(Shut::RECEIVE)) else {
                return partial(Errno::EPIPE, out);
            };
            let n = out.data.len().min(piece);
            match self.message(out, n, &peer) {
                Ok(m) => peer.deliver(m),
                Err(e) => return partial(e, out),
            }
        }
        Ok(total)
    }

    pub(super) async fn send_message(&self, cx: Option<&Cx>, out: &mut Outgoing) -> Result<usize, Errno> {
        if self.kind == Kind::SeqPacket {
            if self.state.get() != State::Connected {
                return Err(Errno::ENOTCONN);
            }
            out.to = None;
        }
        if out.flags.contains(MsgFlags::MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let addr = out.to.as_deref().map(UnixAddr::parse).transpose()?;
        match &addr {
            Some(UnixAddr::Unnamed) => return Err(Errno::EINVAL),
            Some(_) => {}
            None if self.peer.borrow().is_none() => return Err(Errno::ENOTCONN),
            None => {}
        }
        self.autobind_if_passcred()?;
        let len = out.data.len();
        if len > (self.base.sndbuf.get() as usize).saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        self.room()?;
        let other = match (&addr, cx) {
            (Some(addr), Some(cx)) => self.find(cx, addr).await?,
            _ => match self.peer() {
                Some(peer) => peer,
                None => {
                    // The peer was closed: the connection of a datagram socket ends with the first who notices.
                    if self.kind == Kind::Dgram {
                        self.peer.take();
                        self.state.set(State::Closed);
                    }
                    return Err(Errno::ECONNREFUSED);
                }
            },
        };
        if !self.may_send(&other) {
            return Err(Errno::EPERM);
        }
        if other.shut.get().contains(Shut::RECEIVE) {
            return Err(Errno::EPIPE);
        }
        let own_peer = other.peer.borrow().as_ref().is_some_and(|p| p.ptr_eq(&self.this));
        if !own_peer && !std::ptr::eq(Rc::as_ptr(&other), self) && other.crowded() {
            other.join_crowd(&self.queue);
            return Err(Errno::EAGAIN);
        }
        let message = self.message(out, len, &other)?;
        other.deliver(message);
        Ok(len)
    }

    /// Why there is nothing to receive.
    fn nothing(&self) -> Result<Incoming, Errno> {
        match self.error.take() {
            Some(e) => Err(e),
            None if self.shut.get().contains(Shut::RECEIVE) => Ok(Incoming::default()),
            None => Err(Errno::EAGAIN),
        }
    }

    fn seen_creds(&self, creds: Option<Ucred>) -> Option<Ucred> {
        self.base.passcred.get().then(|| creds.unwrap_or(NOBODY))
    }

    pub(super) fn receive_stream(&self, len: usize, flags: MsgFlags) -> Result<Incoming, Errno> {
        if self.state.get() != State::Connected {
            return Err(Errno::EINVAL);
        }
        if flags.contains(MsgFlags::MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.inbox.borrow().is_empty() {
            return self.nothing();
        }
        let mut out = BytesMut::new();
        let mut got = Incoming::default();
        let mut spent = Vec::new();
        {
            let mut inbox = self.inbox.borrow_mut();
            let mut first: Option<Option<Ucred>> = None;
            let peek = flags.contains(MsgFlags::MSG_PEEK);
            let mut at = 0;
            while let Some(m) = inbox.get_mut(at) {
                // Bytes of different writers are not glued together for a reader who wants to know.
                if self.base.passcred.get() && first.is_some_and(|c| c != m.creds) {
                    break;
                }
                if first.is_none() {
                    first = Some(m.creds);
                    got.from = Some(m.from.encode()).filter(|a| a.len() > 2);
                }
                let n = m.data.len().min(len - out.len());
                out.extend_from_slice(m.data.get(..n).unwrap_or_default());
                let whole = n == m.data.len();
                let files = if peek { m.cargo.copy() } else { m.cargo.unload() };
                let had_files = !files.is_empty();
                got.files.extend(files);
                if peek {
                    at += 1;
                } else {
                    m.data = m.data.slice(n..);
                    if whole {
                        spent.extend(inbox.pop_front());
                    }
                }
                if had_files || !whole || out.len() >= len {
                    break;
                }
            }
            got.creds = self.seen_creds(first.flatten());
        }
        drop(spent);
        got.full = out.len();
        got.data = out.freeze();
        Ok(got)
    }

    pub(super) fn receive_message(&self, len: usize, flags: MsgFlags) -> Result<Incoming, Errno> {
        if self.kind == Kind::SeqPacket && self.state.get() != State::Connected {
            return Err(Errno::ENOTCONN);
        }
        if flags.contains(MsgFlags::MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let peek = flags.contains(MsgFlags::MSG_PEEK);
        let mut spent = None;
        let mut got = Incoming::default();
        {
            let mut inbox = self.inbox.borrow_mut();
            let Some(m) = inbox.front_mut() else {
                drop(inbox);
                // A datagram socket that may not wait is told to try again even when it was shut down.
                if self.kind == Kind::Dgram && flags.contains(MsgFlags::MSG_DONTWAIT) && self.error.get().is_none() {
                    return Err(Errno::EAGAIN);
                }
                return self.nothing();
            };
            let n = m.data.len().min(len);
            got.data = m.data.slice(..n);
            got.full = m.data.len();
            got.flags.set(MsgFlags::MSG_TRUNC, n < got.full);
            got.from = Some(m.from.encode()).filter(|a| a.len() > 2);
            got.creds = self.seen_creds(m.creds);
            got.files = if peek { m.cargo.copy() } else { m.cargo.unload() };
            if !peek {
                spent = inbox.pop_front();
            }
        }
        drop(spent);
        if !peek {
            self.disperse();
        }
        Ok(got)
    }
}
