//! Netlink sockets of the routing family, as far as programs list interfaces and addresses with them (getifaddrs(3),
//! if_nameindex(3)). The broker makes the dumps; everything else is answered with `EOPNOTSUPP`. netlink(7), rtnetlink(7).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, MsgFlags, SockaddrNl, af, parse};
use zerocopy::IntoBytes;

use super::broker::{GETADDR, GETLINK};
use super::control::SOL_SOCKET;
use super::options::Base;
use super::socket::{About, Incoming, Kind, Outgoing, Socket};
use crate::kernel::cx::Cx;
use crate::kernel::file::{Fut, ready};
use crate::kernel::wait::{PollEvents, WaitQueue};

/// Size of `struct nlmsghdr`.
const HEAD: usize = 16;
/// `NLMSG_DONE`
pub(super) const DONE: u16 = 3;
const ERROR: u16 = 2;
/// `NLM_F_DUMP`
const F_DUMP: u16 = 0x300;
/// Bytes of answers that may wait.
const QUEUE_MAX: usize = 1 << 20;

/// The messages in a buffer, with their types. Stops at what is no message.
pub(super) fn messages(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = data.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b) as usize)?;
        if len < HEAD {
            return None;
        }
        let message = data.get(..len)?;
        data = data.get((len + 3) & !3..).unwrap_or_default();
        let kind = message.get(4..6)?.try_into().map(u16::from_ne_bytes).ok()?;
        Some((kind, message))
    })
}

/// See the module's text.
pub struct NetlinkSocket {
    kind: Kind,
    port: Cell<u32>,
    groups: Cell<u32>,
    inbox: RefCell<VecDeque<Bytes>>,
    waiting: Cell<usize>,
    base: Base,
    queue: Rc<WaitQueue>,
}

impl NetlinkSocket {
    /// socket(2): only `NETLINK_ROUTE`.
    pub fn create(kind: i32, protocol: i32) -> Result<Rc<Self>, Errno> {
        let kind = match kind {
            2 => Kind::Dgram,
            3 => Kind::Raw,
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        if protocol != 0 {
            return Err(Errno::EPROTONOSUPPORT);
        }
        Ok(Rc::new(Self {
            kind,
            port: Cell::new(0),
            groups: Cell::new(0),
            inbox: RefCell::default(),
            waiting: Cell::new(0),
            base: Base::default(),
            queue: WaitQueue::new(),
        }))
    }

    fn name_port(&self, cx: Option<&Cx>) {
        if self.port.get() == 0 {
            self.port.set(cx.map_or(1, |cx| cx.task.group().tgid));
        }
    }

    fn push(&self, data: Vec<u8>) -> Result<(), Errno> {
        if self.waiting.get() + data.len() > QUEUE_MAX {
            return Err(Errno::ENOBUFS);
        }
        self.waiting.set(self.waiting.get() + data.len());
        self.inbox.borrow_mut().push_back(data.into());
        self.queue.notify(PollEvents::READABLE);
        Ok(())
    }

    /// `NLMSG_ERROR` with the request's header.
    fn refuse(&self, request: &[u8], error: Errno) -> Result<(), Errno> {
        let head = request.get(..HEAD).unwrap_or_default();
        let seq = head.get(8..12).unwrap_or(&[0; 4]);
        let length = (HEAD + 4 + HEAD) as u32;
        let parts: [&[u8]; 6] = [
            &length.to_ne_bytes(),
            &ERROR.to_ne_bytes(),
            &0u16.to_ne_bytes(),
            seq,
            &self.port.get().to_ne_bytes(),
            &(-error.number()).to_ne_bytes(),
        ];
        self.push([parts.concat().as_slice(), head].concat())
    }

    async fn request(&self, cx: &Cx, kind: u16, message: &[u8]) -> Result<(), Errno> {
        let flags = message.get(6..8).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
        if !matches!(kind, GETLINK | GETADDR) || flags & F_DUMP != F_DUMP {
            return self.refuse(message, Errno::EOPNOTSUPP);
        }
        let all = match cx.kernel.net.broker() {
            Ok(broker) => broker.dump(kind).await,
            Err(e) => Err(e),
        };
        let all = match all {
            Ok(all) => all,
            Err(e) => return self.refuse(message, e),
        };
        // As the kernel sends it: in pieces, with the request's number and the socket's port.
        let seq = message.get(8..12).unwrap_or(&[0; 4]);
        let mut part: Vec<u8> = Vec::new();
        for (kind, m) in messages(&all) {
            if !part.is_empty() && (part.len() + m.len() > 4096 || kind == DONE) {
                self.push(std::mem::take(&mut part))?;
            }
            let (head, body) = m.split_at(8);
            part.extend_from_slice(head);
            part.extend_from_slice(seq);
            part.extend_from_slice(&self.port.get().to_ne_bytes());
            part.extend_from_slice(body.get(8..).unwrap_or_default());
            part.resize((part.len() + 3) & !3, 0);
        }
        if part.is_empty() { Ok(()) } else { self.push(part) }
    }
}

impl Socket for NetlinkSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn about(&self) -> About {
        About { domain: af::NETLINK, kind: self.kind, protocol: 0 }
    }

    fn queue(&self) -> Rc<WaitQueue> {
        self.queue.clone()
    }

    fn poll(&self) -> PollEvents {
        let readable = if self.inbox.borrow().is_empty() { PollEvents::empty() } else { PollEvents::READABLE };
        readable | PollEvents::WRITABLE | PollEvents::WRBAND
    }

    fn bind<'a>(&'a self, cx: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        let bind = || {
            let addr: SockaddrNl = parse(addr).ok_or(Errno::EINVAL)?;
            if addr.nl_family != af::NETLINK {
                return Err(Errno::EINVAL);
            }
            if self.port.get() != 0 && addr.nl_pid != 0 && addr.nl_pid != self.port.get() {
                return Err(Errno::EINVAL);
            }
            if addr.nl_pid != 0 {
                self.port.set(addr.nl_pid);
            }
            self.name_port(Some(cx));
            // Interfaces never change here, so a group's members never hear of anything.
            self.groups.set(addr.nl_groups);
            Ok(())
        };
        ready(bind())
    }

    fn listen(&self, _: &Cx, _: u32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn accept<'a>(&'a self, _: &'a Cx) -> Fut<'a, Result<Rc<dyn Socket>, Errno>> {
        ready(Err(Errno::EOPNOTSUPP))
    }

    fn connect<'a>(&'a self, cx: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        let to_kernel = parse::<SockaddrNl>(addr).ok_or(Errno::EINVAL).and_then(|a| match (a.nl_family, a.nl_pid) {
            (af::NETLINK, 0) => Ok(()),
            (af::NETLINK, _) => Err(Errno::ECONNREFUSED),
            _ => Err(Errno::EINVAL),
        });
        self.name_port(Some(cx));
        ready(to_kernel)
    }

    fn send<'a>(&'a self, cx: Option<&'a Cx>, out: &'a mut Outgoing) -> Fut<'a, Result<usize, Errno>> {
        Box::pin(async move {
            let cx = cx.ok_or(Errno::EOPNOTSUPP)?;
            if let Some(to) = &out.to {
                let to: SockaddrNl = parse(to).ok_or(Errno::EINVAL)?;
                if to.nl_family != af::NETLINK {
                    return Err(Errno::EINVAL);
                }
                if to.nl_pid != 0 || to.nl_groups != 0 {
                    return Err(Errno::ECONNREFUSED);
                }
            }
            self.name_port(Some(cx));
            for (kind, message) in messages(&out.data) {
                self.request(cx, kind, message).await?;
            }
            Ok(out.data.len())
        })
    }

    fn receive(&self, len: usize, flags: MsgFlags) -> Result<Incoming, Errno> {
        let mut inbox = self.inbox.borrow_mut();
        let first = inbox.front().cloned().ok_or(Errno::EAGAIN)?;
        if !flags.contains(MsgFlags::MSG_PEEK) {
            inbox.pop_front();
            self.waiting.set(self.waiting.get() - first.len());
        }
        let from = SockaddrNl { nl_family: af::NETLINK, ..SockaddrNl::default() };
        let mut shown = MsgFlags::empty();
        shown.set(MsgFlags::MSG_TRUNC, first.len() > len);
        Ok(Incoming {
            data: first.slice(..first.len().min(len)),
            full: first.len(),
            from: Some(from.as_bytes().to_vec()),
            flags: shown,
            ..Incoming::default()
        })
    }

    fn shutdown(&self, _: u32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn name(&self) -> Result<Vec<u8>, Errno> {
        let name =
            SockaddrNl { nl_family: af::NETLINK, nl_pad: 0, nl_pid: self.port.get(), nl_groups: self.groups.get() };
        Ok(name.as_bytes().to_vec())
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        Ok(SockaddrNl { nl_family: af::NETLINK, ..SockaddrNl::default() }.as_bytes().to_vec())
    }

    fn take_error(&self) -> Option<Errno> {
        None
    }

    fn is_listening(&self) -> bool {
        false
    }

    fn option(&self, _: &Cx, level: i32, name: i32, _: usize) -> Result<Vec<u8>, Errno> {
        if level == SOL_SOCKET { self.base.get(name) } else { Err(Errno::ENOPROTOOPT) }
    }

    fn set_option<'a>(&'a self, _: &'a Cx, level: i32, name: i32, value: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        const SOL_NETLINK: i32 = 270;
        ready(match level {
            SOL_SOCKET => self.base.set(name, value, false),
            // Extended errors and strict checks: there is nothing to say or to check beyond what is done.
            SOL_NETLINK if matches!(name, 11 | 12) => Ok(()),
            _ => Err(Errno::ENOPROTOOPT),
        })
    }
}
