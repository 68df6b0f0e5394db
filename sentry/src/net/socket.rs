//! Sockets as files, whatever their family.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsc_proto::abi::{Errno, MsgFlags, OpenFlags, Stat, Timeval, Ucred, mode, parse};
use tokio::time::Instant;
use zerocopy::IntoBytes;

use super::control::{Raw, SOL_SOCKET, Sent, own_creds};
use super::options::so;
use crate::error::{SysError, SysResult};
use crate::ipc::limits::Ticket;
use crate::kernel::Kernel;
use crate::kernel::cx::Cx;
use crate::kernel::file::{File, FileOps, Fut, Written, ready};
use crate::kernel::wait::{PollEvents, WaitQueue};

/// How a socket moves bytes. socket(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `SOCK_STREAM`
    Stream,
    /// `SOCK_DGRAM`
    Dgram,
    /// `SOCK_RAW`, of netlink
    Raw,
    /// `SOCK_SEQPACKET`
    SeqPacket,
}

impl Kind {
    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Self::Stream => 1,
            Self::Dgram => 2,
            Self::Raw => 3,
            Self::SeqPacket => 5,
        }
    }
}

/// What a socket is, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// `AF_*`
    pub domain: u16,
    /// How it moves bytes.
    pub kind: Kind,
    /// `SO_PROTOCOL`
    pub protocol: i32,
}

/// A message on its way out.
pub struct Outgoing {
    /// What is left to send.
    pub data: Bytes,
    /// Where to, if the call says.
    pub to: Option<Vec<u8>>,
    /// What goes with it.
    pub control: Sent,
    /// The call's flags; `MSG_DONTWAIT` also when the file says so.
    pub flags: MsgFlags,
    /// Whom the other end sees.
    pub creds: Ucred,
}

/// What was received.
#[derive(Default)]
pub struct Incoming {
    /// The bytes.
    pub data: Bytes,
    /// The message's whole length, of which `data` may be the beginning.
    pub full: usize,
    /// The sender's address.
    pub from: Option<Vec<u8>>,
    /// `SCM_RIGHTS`
    pub files: Vec<Rc<File>>,
    /// `SCM_CREDENTIALS`, if the socket wants them.
    pub creds: Option<Ucred>,
    /// Messages of other levels.
    pub raw: Vec<Raw>,
    /// Flags for `msg_flags`.
    pub flags: MsgFlags,
}

/// What every family implements. Nothing waits: `EAGAIN` says that the socket's queue will be notified.
pub trait Socket {
    /// For downcasts within a family.
    fn as_any(&self) -> &dyn Any;
    /// What it is.
    fn about(&self) -> About;
    /// Where to wait.
    fn queue(&self) -> Rc<WaitQueue>;
    /// Readiness now.
    fn poll(&self) -> PollEvents;
    /// bind(2). The address has at least one byte.
    fn bind<'a>(&'a self, cx: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>>;
    /// listen(2).
    fn listen(&self, cx: &Cx, backlog: u32) -> Result<(), Errno>;
    /// accept(2): the new socket.
    fn accept<'a>(&'a self, cx: &'a Cx) -> Fut<'a, Result<Rc<dyn Socket>, Errno>>;
    /// Whose connection an accepted socket is.
    fn accepted_from(&self) -> Result<Vec<u8>, Errno> {
        self.peer_name()
    }
    /// connect(2). `EINPROGRESS`: `connected` tells once it is writable.
    fn connect<'a>(&'a self, cx: &'a Cx, addr: &'a [u8]) -> Fut<'a, Result<(), Errno>>;
    /// How a connection in progress ended; `EAGAIN` while it has not.
    fn connected(&self) -> Result<(), Errno> {
        Ok(())
    }
    /// Sends; the number of bytes taken. Control messages go with the first byte and are taken out of `out` by then.
    fn send<'a>(&'a self, cx: Option<&'a Cx>, out: &'a mut Outgoing) -> Fut<'a, Result<usize, Errno>>;
    /// Receives at most `len` bytes.
    fn receive(&self, len: usize, flags: MsgFlags) -> Result<Incoming, Errno>;
    /// shutdown(2), `how` 0..=2.
    fn shutdown(&self, how: u32) -> Result<(), Errno>;
    /// getsockname(2).
    fn name(&self) -> Result<Vec<u8>, Errno>;
    /// getpeername(2).
    fn peer_name(&self) -> Result<Vec<u8>, Errno>;
    /// `SO_ERROR`, which clears it.
    fn take_error(&self) -> Option<Errno>;
    /// `SO_ACCEPTCONN`
    fn is_listening(&self) -> bool;
    /// getsockopt(2) beyond what is the same for all.
    fn option(&self, cx: &Cx, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno>;
    /// setsockopt(2) beyond what is the same for all.
    fn set_option<'a>(&'a self, cx: &'a Cx, level: i32, name: i32, value: &'a [u8]) -> Fut<'a, Result<(), Errno>>;
    /// ioctl(2).
    fn ioctl<'a>(&'a self, cx: &'a Cx, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        let _ = (cx, cmd, arg);
        ready(Err(Errno::ENOTTY.into()))
    }
}

/// How long a call may wait at a socket. socket(7), `SO_RCVTIMEO`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// The moment at which it gives up.
    pub deadline: Option<Instant>,
}

impl Patience {
    /// A call that has a timeout is not restarted after a signal. Linux: sock_intr_errno().
    pub fn interrupted<T>(self, r: SysResult<T>) -> SysResult<T> {
        match r {
            Err(SysError::Restart(_)) if self.deadline.is_some() => Err(Errno::EINTR.into()),
            r => r,
        }
    }
}

/// A socket's file description.
pub struct SocketFile {
    socket: Rc<dyn Socket>,
    ino: u64,
    owner: (u32, u32),
    receive_timeout: Cell<Option<Duration>>,
    send_timeout: Cell<Option<Duration>>,
    _ticket: Ticket,
}

impl SocketFile {
    /// A description of a socket. `ENFILE` when the sandbox has too many.
    pub fn open(
        kernel: &Kernel,
        socket: Rc<dyn Socket>,
        nonblocking: bool,
        owner: (u32, u32),
    ) -> Result<Rc<File>, Errno> {
        let ticket = kernel.limits.sockets.take(1, Errno::ENFILE)?;
        let mut flags = OpenFlags::O_RDWR;
        flags.set(OpenFlags::O_NONBLOCK, nonblocking);
        let file = Self {
            socket,
            ino: kernel.new_ino(),
            owner,
            receive_timeout: Cell::new(None),
            send_timeout: Cell::new(None),
            _ticket: ticket,
        };
        Ok(File::new(file, flags))
    }

    /// The socket.
    pub fn socket(&self) -> &Rc<dyn Socket> {
        &self.socket
    }

    /// Whether it is a byte stream.
    pub fn is_stream(&self) -> bool {
        self.socket.about().kind == Kind::Stream
    }

    /// How long a receiving call may wait from now.
    pub fn receive_patience(&self) -> Patience {
        Patience { deadline: self.receive_timeout.get().map(after) }
    }

    /// How long a sending call may wait from now.
    pub fn send_patience(&self) -> Patience {
        Patience { deadline: self.send_timeout.get().map(after) }
    }

    /// write(2): sends what there is room for, as the caller.
    pub async fn send_bytes(&self, cx: &Cx, file: &Rc<File>, data: Bytes, nonblocking: bool) -> SysResult<Written> {
        let patience = self.send_patience();
        let mut flags = MsgFlags::empty();
        flags.set(MsgFlags::MSG_DONTWAIT, nonblocking);
        let mut out = Outgoing { data, to: None, control: Sent::default(), flags, creds: own_creds(cx) };
        let op = async || self.socket.send(Some(cx), &mut out).await;
        let sent = cx.blocking(file, PollEvents::WRITABLE, nonblocking, patience.deadline, op).await;
        patience.interrupted(sent).map(|bytes| Written { bytes, end: 0 })
    }

    /// getsockopt(2): the value.
    pub fn option(&self, cx: &Cx, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        if level != SOL_SOCKET {
            return self.socket.option(cx, level, name, len);
        }
        let about = self.socket.about();
        let number = match name {
            so::TYPE => about.kind.number(),
            so::PROTOCOL => about.protocol,
            so::DOMAIN => i32::from(about.domain),
            so::ACCEPTCONN => i32::from(self.socket.is_listening()),
            so::ERROR => self.socket.take_error().map_or(0, Errno::number),
            so::RCVTIMEO | so::RCVTIMEO_NEW => return Ok(timeval(self.receive_timeout.get())),
            so::SNDTIMEO | so::SNDTIMEO_NEW => return Ok(timeval(self.send_timeout.get())),
            so::PEERNAME => {
                let name = self.socket.peer_name().map_err(|_| Errno::ENOTCONN)?;
                return if len < name.len() { Err(Errno::EINVAL) } else { Ok(name) };
            }
            so::COOKIE => return Ok(self.ino.to_ne_bytes().to_vec()),
            _ => return self.socket.option(cx, level, name, len),
        };
        Ok(number.to_ne_bytes().to_vec())
    }

    /// setsockopt(2).
    pub async fn set_option(&self, cx: &Cx, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level == SOL_SOCKET {
            let which = match name {
                so::RCVTIMEO | so::RCVTIMEO_NEW => Some(&self.receive_timeout),
                so::SNDTIMEO | so::SNDTIMEO_NEW => Some(&self.send_timeout),
                _ => None,
            };
            if let Some(timeout) = which {
                timeout.set(parse_timeout(value)?);
                return Ok(());
            }
        }
        self.socket.set_option(cx, level, name, value).await
    }
}

fn after(d: Duration) -> Instant {
    // A century is as good as for ever.
    Instant::now().checked_add(d).unwrap_or_else(|| Instant::now() + Duration::from_secs(3_000_000_000))
}

/// Linux: sock_set_timeout(): zero is for ever, negative at once, too many microseconds `EDOM`.
fn parse_timeout(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let t: Timeval = parse(value).ok_or(Errno::EINVAL)?;
    if !(0..1_000_000).contains(&t.tv_usec) {
        return Err(Errno::EDOM);
    }
    if t.tv_sec < 0 {
        return Ok(Some(Duration::ZERO));
    }
    Ok(t.to_duration().filter(|d| !d.is_zero()))
}

fn timeval(d: Option<Duration>) -> Vec<u8> {
    let d = d.unwrap_or_default();
    let t = Timeval { tv_sec: d.as_secs() as i64, tv_usec: i64::from(d.subsec_micros()) };
    t.as_bytes().to_vec()
}

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        format!("socket:[{}]", self.ino)
    }

    fn read<'a>(&'a self, file: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        if len == 0 {
            return ready(Ok(Bytes::new()));
        }
        let mut flags = MsgFlags::empty();
        flags.set(MsgFlags::MSG_DONTWAIT, file.nonblocking());
        // Descriptors that came along are dropped, as in Linux.
        ready(self.socket.receive(len, flags).map(|m| m.data))
    }

    fn write<'a>(&'a self, file: &'a File, _: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        let mut flags = MsgFlags::empty();
        flags.set(MsgFlags::MSG_DONTWAIT, file.nonblocking());
        let mut out = Outgoing { data, to: None, control: Sent::default(), flags, creds: NOBODY };
        Box::pin(async move {
            let bytes = self.socket.send(None, &mut out).await?;
            Ok(Written { bytes, end: 0 })
        })
    }

    fn poll(&self) -> PollEvents {
        self.socket.poll()
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        Some(self.socket.queue())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(Stat {
            st_dev: crate::ipc::SOCKFS_DEV,
            st_ino: self.ino,
            st_nlink: 1,
            st_mode: mode::S_IFSOCK | 0o777,
            st_uid: self.owner.0,
            st_gid: self.owner.1,
            st_blksize: 4096,
            ..Stat::default()
        }))
    }

    fn ioctl<'a>(&'a self, cx: &'a Cx, _: &'a Rc<File>, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        self.socket.ioctl(cx, cmd, arg)
    }
}

/// Credentials of nobody in particular: no process, the overflow ids. Linux: scm_recv() of a message without credentials.
pub const NOBODY: Ucred = Ucred { pid: 0, uid: 65_534, gid: 65_534 };
