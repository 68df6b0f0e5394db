//! Internet sockets: host sockets in the sandbox's network namespace, made and bound by the broker. ip(7), ipv6(7), tcp(7), udp(7).
//!
//! The host's kernel judges and does the work; what it is asked is parsed here and kept to lists (`inet_options`).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, Ifconf, MsgFlags, af};

use super::addr::{InetAddr, family};
use super::broker::IFREQ_READS;
use super::control::{Layout, SOL_SOCKET, split};
use super::inet_options as options;
use super::listening::{Listener, Listening};
use super::options::so;
use super::readiness::Readiness;
use super::socket::{About, Incoming, Kind, Outgoing, Socket};
use crate::error::SysResult;
use crate::kernel::Kernel;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::file::{Fut, ready};
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::{PollEvents, WaitQueue};
use crate::sys::net as sys;

/// Ports below this need `CAP_NET_BIND_SERVICE`. Linux: /proc/sys/net/ipv4/ip_unprivileged_port_start.
const PRIVILEGED_PORTS: u16 = 1024;
/// Bytes of one receive from a stream.
const STREAM_MAX: usize = 256 << 10;
/// No datagram is longer.
const DGRAM_MAX: usize = 64 << 10;
/// Room for what may come beside a datagram.
const CONTROL_ROOM: usize = 512;

/// Requests of ioctl(2) that fill an `int`: FIONREAD, TIOCOUTQ, SIOCATMARK, SIOCOUTQNSD.
const INT_READS: &[u32] = &[0x541b, 0x5411, 0x8905, 0x894b];
const SIOCGIFCONF: u32 = 0x8912;

/// See the module's text.
pub struct InetSocket {
    about: About,
    fd: OwnedFd,
    queue: Rc<WaitQueue>,
    readiness: Rc<Readiness>,
    /// Since somebody may be waiting: under which key.
    watched: Cell<Option<u64>>,
    listening: Cell<bool>,
    /// Where those who listen are noted, and that it does.
    listeners: Listening,
    listener: RefCell<Option<Listener>>,
    /// Whose connection it is, if it was accepted.
    from: Option<Vec<u8>>,
    /// Where the last connect(2) went.
    to: RefCell<Vec<u8>>,
}

impl InetSocket {
    /// socket(2). Linux: inet_create().
    pub async fn create(kernel: &Kernel, domain: u16, kind: i32, protocol: i32) -> Result<Rc<Self>, Errno> {
        let icmp = if domain == af::INET { 1 } else { 58 };
        let (kind, protocol) = match (kind, protocol) {
            (1, 0 | 6) => (Kind::Stream, 6),
            (2, 0 | 17) => (Kind::Dgram, 17),
            (2, p) if p == icmp => (Kind::Dgram, p),
            (1 | 2, _) => return Err(Errno::EPROTONOSUPPORT),
            // Raw sockets see everybody's packets: nobody gets them.
            (3, 1..256) => return Err(Errno::EPERM),
            (3, _) => return Err(Errno::EPROTONOSUPPORT),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let broker = kernel.net.broker()?;
        let fd = broker.socket(domain, kind.number(), protocol).await?;
        let listeners = kernel.net.listening.clone();
        Ok(Self::adopt(About { domain, kind, protocol }, fd, kernel.net.readiness()?, listeners, None))
    }

    fn adopt(
        about: About,
        fd: OwnedFd,
        readiness: Rc<Readiness>,
        listeners: Listening,
        from: Option<Vec<u8>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            about,
            fd,
            queue: WaitQueue::new(),
            readiness,
            watched: Cell::new(None),
            listening: Cell::new(false),
            listeners,
            listener: RefCell::default(),
            from,
            to: RefCell::default(),
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Has the queue notified of every change from now on.
    fn watch(&self) {
        if self.watched.get().is_none() {
            match self.readiness.watch(self.fd(), &self.queue) {
                Ok(key) => self.watched.set(Some(key)),
                Err(error) => tracing::error!("cannot watch a host socket, whose waiters may hang: {error}"),
            }
        }
    }

    fn address(&self, raw: &[u8]) -> Result<InetAddr, Errno> {
        InetAddr::parse(raw, self.about.domain)
    }

    async fn bind_to(&self, cx: &Cx, raw: &[u8]) -> Result<(), Errno> {
        let addr = self.address(raw)?;
        if (1..PRIVILEGED_PORTS).contains(&addr.port()) && !cx.task.creds().has(cap::NET_BIND_SERVICE) {
            return Err(Errno::EACCES);
        }
        cx.kernel.net.broker()?.bind(self.fd(), addr.bytes()).await
    }

    fn connect_to(&self, raw: &[u8]) -> Result<(), Errno> {
        if family(raw)? == af::UNSPEC {
            return sys::connect(self.fd(), &[0; 16]);
        }
        let addr = self.address(raw)?;
        self.to.replace(addr.bytes().to_vec());
        sys::connect(self.fd(), addr.bytes())
    }

    fn send_out(&self, out: &Outgoing) -> Result<usize, Errno> {
        let mut control = Layout::new(CONTROL_ROOM);
        for m in &out.control.raw {
            if !options::sendable(m.level, m.kind, m.data.len()) {
                return Err(Errno::EINVAL);
            }
            control.put(m.level, m.kind, &m.data);
        }
        if control.truncated {
            return Err(Errno::ENOBUFS);
        }
        if out.flags.contains(MsgFlags::MSG_FASTOPEN) {
            return Err(Errno::EOPNOTSUPP);
        }
        let passed = MsgFlags::MSG_OOB
            | MsgFlags::MSG_MORE
            | MsgFlags::MSG_DONTROUTE
            | MsgFlags::MSG_CONFIRM
            | MsgFlags::MSG_EOR;
        let flags = (out.flags & passed).bits() as i32;
        // The address of a connected stream is ignored by the host's kernel as by any.
        let to = match &out.to {
            Some(to) if self.about.kind == Kind::Dgram => Some(self.address(to)?),
            _ => None,
        };
        sys::send(self.fd(), &out.data, to.as_ref().map(InetAddr::bytes), &control.finish(), flags)
    }

    fn receive_in(&self, len: usize, flags: MsgFlags) -> Result<Incoming, Errno> {
        let stream = self.about.kind == Kind::Stream;
        let mut passed = flags & (MsgFlags::MSG_PEEK | MsgFlags::MSG_OOB | MsgFlags::MSG_ERRQUEUE);
        // The message's true length; a stream would count bytes that it throws away.
        passed.set(MsgFlags::MSG_TRUNC, !stream);
        let len = len.min(if stream { STREAM_MAX } else { DGRAM_MAX });
        let got = sys::receive(self.fd(), len, CONTROL_ROOM, passed.bits() as i32)?;
        let kept =
            MsgFlags::MSG_TRUNC | MsgFlags::MSG_OOB | MsgFlags::MSG_EOR | MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_CTRUNC;
        let mut raw = split(&Bytes::from(got.control)).unwrap_or_default();
        raw.retain(|m| options::receivable(m.level, m.kind));
        Ok(Incoming {
            data: got.data.freeze(),
            full: got.full,
            from: Some(got.addr).filter(|a| !a.is_empty()),
            raw,
            flags: MsgFlags::from_bits_truncate(got.flags as u32) & kept,
            ..Incoming::default()
        })
    }
}

impl Drop for InetSocket {
    fn drop(&mut self) {
        if let Some(key) = self.watched.take() {
            self.readiness.forget(self.fd(), key);
        }
    }
}

impl Socket for InetSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn about(&self) -> About {
        self.about
    }

    fn queue(&self) -> Rc<WaitQueue> {
        self.watch();
        self.queue.clone()
    }

    fn poll(&self) -> PollEvents {
        let all = PollEvents::all() - PollEvents::NVAL - PollEvents::MSG;
        PollEvents::from_bits_truncate(u32::from(sys::poll_now(self.fd(), all.bits() as u16)))
    }

    fn bind<'a>(&'a self, cx: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        Box::pin(self.bind_to(cx, addr))
    }

    fn listen(&self, _: &Cx, backlog: u32) -> Result<(), Errno> {
        sys::listen(self.fd(), backlog)?;
        self.listening.set(true);
        let mut listener = self.listener.borrow_mut();
        if listener.is_none() && self.about.kind == Kind::Stream {
            *listener = sys::name(self.fd()).ok().and_then(|name| self.listeners.note(&name));
        }
        Ok(())
    }

    fn accept<'a>(&'a self, _: &'a Cx) -> Fut<'a, Result<Rc<dyn Socket>, Errno>> {
        let accepted = sys::accept(self.fd());
        ready(accepted.map(|(fd, from)| -> Rc<dyn Socket> {
            Self::adopt(self.about, fd, self.readiness.clone(), self.listeners.clone(), Some(from))
        }))
    }

    fn accepted_from(&self) -> Result<Vec<u8>, Errno> {
        self.from.clone().ok_or(Errno::ENOTCONN)
    }

    fn connect<'a>(&'a self, _: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        ready(self.connect_to(addr))
    }

    fn connected(&self) -> Result<(), Errno> {
        // Asked again, the host's kernel says how it ended, and takes note that somebody knows.
        match sys::connect(self.fd(), &self.to.borrow()) {
            Err(Errno::EALREADY | Errno::EINPROGRESS) => Err(Errno::EAGAIN),
            Err(Errno::EISCONN) => Ok(()),
            r => r,
        }
    }

    fn send<'a>(&'a self, _: Option<&'a Cx>, out: &'a mut Outgoing) -> Fut<'a, Result<usize, Errno>> {
        ready(self.send_out(out))
    }

    fn receive(&self, len: usize, flags: MsgFlags) -> Result<Incoming, Errno> {
        self.receive_in(len, flags)
    }

    fn shutdown(&self, how: u32) -> Result<(), Errno> {
        const WRITE_ALONE: u32 = 1;
        sys::shutdown(self.fd(), how)?;
        if how != WRITE_ALONE {
            self.listener.take();
        }
        Ok(())
    }

    fn name(&self) -> Result<Vec<u8>, Errno> {
        sys::name(self.fd())
    }

    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        sys::peer_name(self.fd())
    }

    fn take_error(&self) -> Option<Errno> {
        let raw = sys::option(self.fd(), SOL_SOCKET, so::ERROR, 4).ok()?;
        let n = i32::from_ne_bytes(raw.try_into().ok()?);
        (n != 0).then(|| Errno::new(n))
    }

    fn is_listening(&self) -> bool {
        self.listening.get()
    }

    fn option(&self, _: &Cx, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        options::readable(level, name)?;
        sys::option(self.fd(), level, name, len.min(options::VALUE_MAX))
    }

    fn set_option<'a>(&'a self, _: &'a Cx, level: i32, name: i32, value: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        let set = || {
            options::writable(level, name)?;
            let value = value.get(..value.len().min(options::VALUE_MAX)).unwrap_or_default();
            sys::set_option(self.fd(), level, name, value)
        };
        ready(set())
    }

    fn ioctl<'a>(&'a self, cx: &'a Cx, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        Box::pin(async move {
            if INT_READS.contains(&cmd) {
                let n = sys::int_ioctl(self.fd(), cmd)?;
                cx.mem.write(UserPtr::<i32>::new(arg), &n).await?;
                return Ok(0);
            }
            interface_ioctl(cx, cmd, arg).await
        })
    }
}

/// Requests about interfaces, which every kind of socket answers. netdevice(7).
pub(super) async fn interface_ioctl(cx: &Cx, cmd: u32, arg: u64) -> SysResult {
    if IFREQ_READS.contains(&cmd) {
        let ifreq = cx.mem.read_bytes(arg, 40).await?;
        let reply = cx.kernel.net.broker()?.ifreq(cmd, &ifreq).await?;
        cx.mem.write_bytes(arg, reply.into()).await?;
        return Ok(0);
    }
    if cmd != SIOCGIFCONF {
        return Err(Errno::ENOTTY.into());
    }
    let ptr = UserPtr::<Ifconf>::new(arg);
    let mut conf = cx.mem.read(ptr).await?;
    let mut all = cx.kernel.net.broker()?.ifconf().await?;
    if conf.ifc_buf != 0 {
        // Whole structures only.
        all.truncate(usize::try_from(conf.ifc_len).unwrap_or(0) / 40 * 40);
        cx.mem.write_bytes(conf.ifc_buf, Bytes::copy_from_slice(&all)).await?;
    }
    conf.ifc_len = all.len() as i32;
    cx.mem.write(ptr, &conf).await?;
    Ok(0)
}
