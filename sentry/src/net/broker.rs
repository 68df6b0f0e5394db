//! The socket broker: a small process in a sandbox's network namespace. It makes sockets, binds them (privileged ports included) and
//! looks at interfaces; the sentry, which can enter no namespace, gets descriptors and does the rest.
//!
//! One request at a time over a socket of sequenced packets: a byte that says what, its arguments, at most one descriptor. The reply
//! is an error number or 0, then data, at most one descriptor. Both sides check what the other says.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use rsc_proto::abi::{Errno, af};
use tokio::io::unix::AsyncFd;

use super::NetConfig;
use crate::sys::net as sys;

/// The longest request or reply.
const MESSAGE_MAX: usize = 128 << 10;

const MAKE: u8 = 1;
const BIND: u8 = 2;
const DUMP: u8 = 3;
const IFREQ: u8 = 4;
const IFCONF: u8 = 5;

/// `RTM_GETLINK`
pub const GETLINK: u16 = 18;
/// `RTM_GETADDR`
pub const GETADDR: u16 = 22;

/// Requests about interfaces that only read. netdevice(7).
pub const IFREQ_READS: &[u32] = &[
    0x8910, // SIOCGIFNAME
    0x8913, // SIOCGIFFLAGS
    0x8915, // SIOCGIFADDR
    0x8917, // SIOCGIFDSTADDR
    0x8919, // SIOCGIFBRDADDR
    0x891b, // SIOCGIFNETMASK
    0x891d, // SIOCGIFMETRIC
    0x8921, // SIOCGIFMTU
    0x8927, // SIOCGIFHWADDR
    0x8933, // SIOCGIFINDEX
    0x8942, // SIOCGIFTXQLEN
];

fn errno(e: nix::Error) -> Errno {
    Errno::new(e as i32)
}

fn send_one(socket: BorrowedFd<'_>, data: &[u8], fd: Option<BorrowedFd<'_>>) -> nix::Result<()> {
    let raw = fd.map(|f| [f.as_raw_fd()]);
    let rights: Vec<ControlMessage<'_>> = raw.iter().map(|f| ControlMessage::ScmRights(f)).collect();
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(data)], &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// One message and its descriptor; `None`: the other side is gone.
fn receive_one(socket: BorrowedFd<'_>) -> nix::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut buf = vec![0u8; MESSAGE_MAX];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 4]);
    let (n, fds) = {
        let mut iov = [IoSliceMut::new(&mut buf)];
        let got = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for c in got.cmsgs()? {
            if let ControlMessageOwned::ScmRights(list) = c {
                fds.extend(list.into_iter().map(crate::sys::net::adopt));
            }
        }
        (got.bytes, fds)
    };
    if n == 0 {
        return Ok(None);
    }
    buf.truncate(n);
    Ok(Some((buf, fds.into_iter().next())))
}

// --- the broker's side ---------------------------------------------------------------------------------------------------

/// The name of the subcommand under which the program runs as a broker.
pub const COMMAND: &str = "net-broker";

/// Runs as a broker until the sentry closes the socket, which is standard input. `config` is `none`, `host` or a path.
///
/// # Errors
/// The namespace can't be made or entered.
pub fn run(config: &std::ffi::OsStr) -> std::io::Result<()> {
    match config.as_encoded_bytes() {
        b"host" => {}
        b"none" => fresh_namespace()?,
        _ => enter(config.as_ref())?,
    }
    crate::confine::broker::confine().map_err(std::io::Error::other)?;
    serve(std::io::stdin().as_fd())
}

/// Answers requests until the other side is gone.
pub(super) fn serve(socket: BorrowedFd<'_>) -> std::io::Result<()> {
    while let Some((request, fd)) = receive_one(socket)? {
        let reply = match answer(&request, fd) {
            Ok((data, fd)) => (0, data, fd),
            Err(e) => (e.number(), Vec::new(), None),
        };
        let bytes = [&reply.0.to_ne_bytes(), reply.1.as_slice()].concat();
        send_one(socket, &bytes, reply.2.as_ref().map(AsFd::as_fd))?;
    }
    Ok(())
}

/// Enters a network namespace for good. An ordinary user, who has no rights in its own user namespace, has them in that which the
/// network namespace belongs to, if it is its own. The process has one thread.
pub(crate) fn enter(path: &std::path::Path) -> std::io::Result<()> {
    use nix::sched::{CloneFlags, setns};
    use std::os::unix::fs::MetadataExt as _;
    let (ns, own) = (std::fs::File::open(path)?, std::fs::metadata("/proc/self/ns/net")?);
    let it = ns.metadata()?;
    if (it.dev(), it.ino()) == (own.dev(), own.ino()) {
        return Ok(());
    }
    match setns(&ns, CloneFlags::CLONE_NEWNET) {
        Err(nix::errno::Errno::EPERM) => {
            setns(crate::sys::confine::owner_of(ns.as_fd())?, CloneFlags::CLONE_NEWUSER)?;
            Ok(setns(&ns, CloneFlags::CLONE_NEWNET)?)
        }
        other => Ok(other?),
    }
}

/// A namespace with a loopback interface that is up.
fn fresh_namespace() -> std::io::Result<()> {
    use nix::sched::{CloneFlags, unshare};
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    }
    const SIOCSIFFLAGS: u32 = 0x8914;
    let raise = || -> Result<(), Errno> {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let mut ifreq = [0u8; 40];
        let up = (libc::IFF_UP as u16).to_ne_bytes();
        for (to, from) in ifreq.iter_mut().zip(b"lo") {
            *to = *from;
        }
        for (to, from) in ifreq.iter_mut().skip(16).zip(up) {
            *to = from;
        }
        sys::ifreq_ioctl(socket.as_fd(), SIOCSIFFLAGS, &mut ifreq)
    };
    raise().map_err(|e| std::io::Error::from_raw_os_error(e.number()))
}

type Answer = (Vec<u8>, Option<OwnedFd>);

fn answer(request: &[u8], fd: Option<OwnedFd>) -> Result<Answer, Errno> {
    match (request, fd) {
        ([MAKE, domain, kind, protocol], None) => {
            let allowed = matches!(
                (u16::from(*domain), *kind, *protocol),
                (af::INET | af::INET6, 1, 0 | 6)
                    | (af::INET | af::INET6, 2, 0 | 17)
                    | (af::INET, 2, 1)
                    | (af::INET6, 2, 58)
            );
            if !allowed {
                return Err(Errno::EPROTONOSUPPORT);
            }
            let made = sys::socket(i32::from(*domain), i32::from(*kind), i32::from(*protocol))?;
            Ok((Vec::new(), Some(made)))
        }
        ([BIND, addr @ ..], Some(fd)) if addr.len() <= 128 => sys::bind(fd.as_fd(), addr).map(|()| (Vec::new(), None)),
        ([DUMP, a, b], None) => dump(u16::from_ne_bytes([*a, *b])).map(|d| (d, None)),
        ([IFREQ, a, b, c, d, ifreq @ ..], None) => {
            let command = u32::from_ne_bytes([*a, *b, *c, *d]);
            let mut ifreq: [u8; 40] = ifreq.try_into().map_err(|_| Errno::EINVAL)?;
            if !IFREQ_READS.contains(&command) {
                return Err(Errno::EPERM);
            }
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::ifreq_ioctl(socket.as_fd(), command, &mut ifreq)?;
            Ok((ifreq.to_vec(), None))
        }
        ([IFCONF], None) => {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            Ok((sys::ifconf(socket.as_fd())?, None))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// The kernel's own answer to a dump of all interfaces or addresses.
fn dump(kind: u16) -> Result<Vec<u8>, Errno> {
    const REQUEST_DUMP: u16 = 0x301;
    if kind != GETLINK && kind != GETADDR {
        return Err(Errno::EOPNOTSUPP);
    }
    let socket = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)?;
    // struct nlmsghdr and one zeroed byte of rtgen_family, padded.
    let mut request = vec![0u8; 20];
    let head = [20u32.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &REQUEST_DUMP.to_ne_bytes()].concat();
    request.splice(..8, head);
    sys::send(socket.as_fd(), &request, None, &[], 0)?;
    let mut all = Vec::new();
    // The answer is in the socket's queue already, piece by piece: it ends with NLMSG_DONE.
    loop {
        match sys::receive(socket.as_fd(), 32 << 10, 0, 0) {
            Ok(part) if all.len() + part.data.len() < MESSAGE_MAX - 4 => {
                all.extend_from_slice(&part.data);
                let done = super::netlink::messages(&part.data).any(|(kind, _)| kind == super::netlink::DONE);
                if done || part.data.is_empty() {
                    return Ok(all);
                }
            }
            Ok(_) => return Err(Errno::EMSGSIZE),
            Err(e) => return Err(e),
        }
    }
}

// --- the sentry's side ---------------------------------------------------------------------------------------------------

/// Starts brokers: a function, because whoever confines the sentry has a process of its own for that.
pub type Start = std::rc::Rc<dyn Fn(&NetConfig, OwnedFd) -> std::io::Result<()>>;

/// A connection to a broker.
pub struct Broker {
    socket: AsyncFd<OwnedFd>,
    turn: tokio::sync::Mutex<()>,
}

impl Broker {
    /// Has `start` start one for `config`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(config: &NetConfig, start: &Start) -> std::io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        start(config, theirs)?;
        Self::over(ours)
    }

    /// One that is at work at the other end of `socket`.
    ///
    /// # Errors
    /// The socket is not usable.
    pub fn over(socket: OwnedFd) -> std::io::Result<Self> {
        nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        Ok(Self { socket: sys::reactor(socket)?, turn: tokio::sync::Mutex::new(()) })
    }

    async fn ask(&self, request: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<Answer, Errno> {
        let _turn = self.turn.lock().await;
        send_one(self.socket.get_ref().as_fd(), request, fd).map_err(errno)?;
        loop {
            let mut ready = self.socket.readable().await.map_err(|_| Errno::ENETDOWN)?;
            match receive_one(self.socket.get_ref().as_fd()) {
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(e) => return Err(errno(e)),
                Ok(None) => return Err(Errno::ENETDOWN),
                Ok(Some((reply, fd))) => {
                    let (head, data) = reply.split_first_chunk::<4>().ok_or(Errno::EIO)?;
                    return match i32::from_ne_bytes(*head) {
                        0 => Ok((data.to_vec(), fd)),
                        e => Err(Errno::new(e)),
                    };
                }
            }
        }
    }

    /// A socket that does not block.
    pub async fn socket(&self, domain: u16, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
        let byte = |n: i32| u8::try_from(n).map_err(|_| Errno::EPROTONOSUPPORT);
        let request = [MAKE, byte(i32::from(domain))?, byte(kind)?, byte(protocol)?];
        self.ask(&request, None).await?.1.ok_or(Errno::EIO)
    }

    /// bind(2). The caller has checked the port.
    pub async fn bind(&self, fd: BorrowedFd<'_>, addr: &[u8]) -> Result<(), Errno> {
        self.ask(&[&[BIND], addr].concat(), Some(fd)).await.map(drop)
    }

    /// The netlink messages of all interfaces or addresses.
    pub async fn dump(&self, kind: u16) -> Result<Vec<u8>, Errno> {
        let [a, b] = kind.to_ne_bytes();
        Ok(self.ask(&[DUMP, a, b], None).await?.0)
    }

    /// A request about one interface that only reads.
    pub async fn ifreq(&self, command: u32, ifreq: &[u8]) -> Result<Vec<u8>, Errno> {
        let reply = self.ask(&[&[IFREQ], command.to_ne_bytes().as_slice(), ifreq].concat(), None).await?.0;
        if reply.len() == 40 { Ok(reply) } else { Err(Errno::EIO) }
    }

    /// All interfaces with an IPv4 address, as `struct ifreq`s.
    pub async fn ifconf(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.ask(&[IFCONF], None).await?.0)
    }
}

/// A broker on a thread of the test itself.
#[cfg(test)]
pub fn thread_for_tests() -> Start {
    std::rc::Rc::new(|_, socket| {
        std::thread::spawn(move || serve(socket.as_fd()));
        Ok(())
    })
}
