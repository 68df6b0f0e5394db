//! send, recv and their kin. Linux: net/socket.c.

use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{CONTROL_MAX, Errno, IOV_MAX, Mmsghdr, MsgFlags, Msghdr, Timespec, sig};
use tokio::time::Instant;

use super::io::UserVec;
use super::socket::{lookup, of, read_addr, write_addr};
use crate::error::{SysError, SysResult};
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::{CHUNK, UserPtr};
use crate::kernel::wait::PollEvents;
use crate::net::control::{Layout, Sent, own_creds, parse_sent};
use crate::net::socket::{Incoming, Kind, Outgoing};
use rsc_proto::abi::af;

/// Messages of one sendmmsg(2) or recvmmsg(2). Linux: `UIO_MAXIOV`.
const MMSG_MAX: u32 = IOV_MAX as u32;

/// Sends all of `from` unless something stops it half-way.
async fn send(
    cx: &Cx,
    file: &Rc<File>,
    from: &UserVec,
    to: Option<Bytes>,
    control: Sent,
    flags: MsgFlags,
) -> SysResult<usize> {
    let socket = of(file)?;
    let stream = socket.is_stream();
    let patience = socket.send_patience();
    let nonblocking = file.nonblocking() || flags.contains(MsgFlags::MSG_DONTWAIT);
    // A message is sent whole or not at all; what is larger than this no socket takes.
    if !stream && from.len() > CHUNK {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut flags = flags;
    flags.set(MsgFlags::MSG_DONTWAIT, nonblocking);
    let mut out = Outgoing { data: Bytes::new(), to: to.map(|b| b.to_vec()), control, flags, creds: own_creds(cx) };
    let mut done = 0;
    loop {
        let want = (from.len() - done).min(CHUNK);
        let data = from.gather(&cx.mem, done, want).await;
        let r = match data {
            Ok(data) if data.len() < want && !stream => Err(Errno::EFAULT.into()),
            Ok(data) => {
                out.data = data;
                // The address is a stream's only to be refused, and a message's for good.
                let op = async || socket.socket().send(Some(cx), &mut out).await;
                let r = cx.blocking(file, PollEvents::WRITABLE, nonblocking, patience.deadline, op).await;
                patience.interrupted(r)
            }
            Err(e) => Err(e.into()),
        };
        match r {
            Ok(n) => done += n,
            Err(e) if done == 0 => {
                if e == SysError::Errno(Errno::EPIPE) && stream && !flags.contains(MsgFlags::MSG_NOSIGNAL) {
                    cx.signal.set(sig::SIGPIPE);
                }
                return Err(e);
            }
            Err(_) => return Ok(done),
        }
        if !stream || done >= from.len() {
            return Ok(done);
        }
    }
}

/// sendto(2).
pub async fn sendto(
    cx: &Cx,
    fd: Fd,
    buf: UserPtr<u8>,
    len: usize,
    flags: u32,
    addr: UserPtr<u8>,
    addr_len: i32,
) -> SysResult<usize> {
    let from = UserVec::single(buf.addr(), len)?;
    let file = lookup(cx, fd)?;
    let to = if addr.is_null() { None } else { Some(read_addr(cx, addr, addr_len).await?) };
    send(cx, &file, &from, to, Sent::default(), MsgFlags::from_bits_retain(flags)).await
}

/// A message's header. Linux: copy_msghdr_from_user().
struct Header {
    name: UserPtr<u8>,
    name_len: i32,
    iov: UserVec,
    control: u64,
    control_len: usize,
}

async fn header(cx: &Cx, h: &Msghdr) -> Result<Header, Errno> {
    let mut name_len = h.msg_namelen;
    if h.msg_name == 0 {
        name_len = 0;
    }
    if name_len < 0 {
        return Err(Errno::EINVAL);
    }
    name_len = name_len.min(128);
    let n = usize::try_from(h.msg_iovlen).unwrap_or(usize::MAX);
    if n > IOV_MAX {
        return Err(Errno::EMSGSIZE);
    }
    let iov = UserVec::import(&cx.mem, UserPtr::new(h.msg_iov), n).await?;
    let control_len = usize::try_from(h.msg_controllen).unwrap_or(usize::MAX);
    Ok(Header { name: UserPtr::new(h.msg_name), name_len, iov, control: h.msg_control, control_len })
}

async fn send_header(cx: &Cx, file: &Rc<File>, h: &Msghdr, flags: u32) -> SysResult<usize> {
    let head = header(cx, h).await?;
    let to = if head.name_len > 0 { Some(read_addr(cx, head.name, head.name_len).await?) } else { None };
    if head.control_len > CONTROL_MAX {
        return Err(Errno::ENOBUFS.into());
    }
    let unix = of(file)?.socket().about().domain == af::UNIX;
    let control = if head.control_len > 0 && head.control != 0 {
        parse_sent(cx, &cx.mem.read_bytes(head.control, head.control_len).await?, unix)?
    } else {
        Sent::default()
    };
    send(cx, file, &head.iov, to, control, MsgFlags::from_bits_retain(flags)).await
}

/// sendmsg(2).
pub async fn sendmsg(cx: &Cx, fd: Fd, msg: UserPtr<Msghdr>, flags: u32) -> SysResult<usize> {
    let file = lookup(cx, fd)?;
    let h = cx.mem.read(msg).await?;
    send_header(cx, &file, &h, flags).await
}

/// sendmmsg(2): how many went; an error only if it was the first.
pub async fn sendmmsg(cx: &Cx, fd: Fd, list: UserPtr<Mmsghdr>, n: u32, flags: u32) -> SysResult<u32> {
    let file = lookup(cx, fd)?;
    let mut sent = 0;
    while sent < n.min(MMSG_MAX) {
        let at = list.offset(sent as usize);
        let one = async {
            let h = cx.mem.read(at).await?;
            let bytes = send_header(cx, &file, &h.msg_hdr, flags).await?;
            // `msg_len` is behind the header.
            cx.mem.write(UserPtr::<u32>::new(at.addr().wrapping_add(Msghdr::SIZE as u64)), &(bytes as u32)).await?;
            Ok::<(), SysError>(())
        };
        match one.await {
            Ok(()) => sent += 1,
            Err(e) if sent == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Receives into `into`: the value of the call, and what came beside the bytes.
async fn receive(
    cx: &Cx,
    file: &Rc<File>,
    into: &UserVec,
    flags: MsgFlags,
    until: Option<Instant>,
) -> SysResult<(usize, Incoming)> {
    let socket = of(file)?;
    let inet = matches!(socket.socket().about().domain, af::INET | af::INET6);
    if flags.contains(MsgFlags::MSG_ERRQUEUE) && !inet {
        // Nothing is ever queued there.
        return Err(Errno::EAGAIN.into());
    }
    let stream = socket.socket().about().kind == Kind::Stream;
    let patience = socket.receive_patience();
    let deadline = match (patience.deadline, until) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let nonblocking = file.nonblocking() || flags.contains(MsgFlags::MSG_DONTWAIT);
    let mut wanted = flags;
    wanted.set(MsgFlags::MSG_DONTWAIT, nonblocking);
    // The error queue is never waited for.
    let nonblocking = nonblocking || flags.contains(MsgFlags::MSG_ERRQUEUE);
    let whole = stream && flags.contains(MsgFlags::MSG_WAITALL) && !flags.contains(MsgFlags::MSG_PEEK);
    let mut done = 0;
    let mut first: Option<Incoming> = None;
    loop {
        let len = (into.len() - done).min(CHUNK);
        let op = async || socket.socket().receive(len, wanted);
        let r = cx.blocking(file, PollEvents::READABLE, nonblocking, deadline, op).await;
        let mut got = match (patience.interrupted(r), first) {
            (Ok(got), None) => got,
            (Ok(mut got), Some(before)) => {
                got.from = before.from;
                got
            }
            (Err(_), Some(before)) => return Ok((done, before)),
            (Err(e), None) => return Err(e),
        };
        let data = std::mem::take(&mut got.data);
        let n = data.len();
        if into.scatter(&cx.mem, done, data).await? < n {
            return Err(Errno::EFAULT.into());
        }
        done += n;
        let more = whole && n > 0 && done < into.len() && got.files.is_empty();
        if !more {
            // The length of the whole message, if the caller asks for it.
            let value = if flags.contains(MsgFlags::MSG_TRUNC) && !stream { got.full } else { done };
            return Ok((value, got));
        }
        first = Some(got);
    }
}

/// recvfrom(2).
pub async fn recvfrom(
    cx: &Cx,
    fd: Fd,
    buf: UserPtr<u8>,
    len: usize,
    flags: u32,
    addr: UserPtr<u8>,
    addr_len: UserPtr<i32>,
) -> SysResult<usize> {
    let into = UserVec::single(buf.addr(), len)?;
    let file = lookup(cx, fd)?;
    let (n, got) = receive(cx, &file, &into, MsgFlags::from_bits_retain(flags), None).await?;
    if !addr.is_null() {
        write_addr(cx, &got.from.unwrap_or_default(), addr, addr_len).await?;
    }
    Ok(n)
}

/// Offsets in `struct msghdr` of what recvmsg(2) writes.
const NAMELEN: u64 = 8;
const CONTROLLEN: u64 = 40;
const FLAGS: u64 = 48;

async fn receive_header(
    cx: &Cx,
    file: &Rc<File>,
    ptr: UserPtr<Msghdr>,
    flags: u32,
    until: Option<Instant>,
) -> SysResult<usize> {
    let h = cx.mem.read(ptr).await?;
    let head = header(cx, &h).await?;
    let flags = MsgFlags::from_bits_retain(flags);
    let (n, mut got) = receive(cx, file, &head.iov, flags, until).await?;
    // Linux: scm_recv(): without room for control messages what came is dropped, and that is told.
    let mut layout = Layout::new(if head.control == 0 { 0 } else { head.control_len.min(CONTROL_MAX) });
    for m in &got.raw {
        layout.put(m.level, m.kind, &m.data);
    }
    if let Some(creds) = &got.creds {
        layout.put_creds(creds);
    }
    if !got.files.is_empty() {
        layout.put_files(cx, std::mem::take(&mut got.files), flags.contains(MsgFlags::MSG_CMSG_CLOEXEC));
    }
    let mut shown = got.flags | (flags & MsgFlags::MSG_CMSG_CLOEXEC);
    shown.set(MsgFlags::MSG_CTRUNC, layout.truncated);
    let control = layout.finish();
    if !head.name.is_null() {
        let from = got.from.unwrap_or_default();
        let part = from.get(..from.len().min(head.name_len as usize)).unwrap_or_default();
        cx.mem.write_bytes(head.name.addr(), Bytes::copy_from_slice(part)).await?;
        cx.mem.write(UserPtr::new(ptr.addr().wrapping_add(NAMELEN)), &(from.len() as i32)).await?;
    }
    cx.mem.write(UserPtr::new(ptr.addr().wrapping_add(FLAGS)), &shown.bits()).await?;
    cx.mem.write(UserPtr::new(ptr.addr().wrapping_add(CONTROLLEN)), &(control.len() as u64)).await?;
    cx.mem.write_bytes(head.control, control).await?;
    Ok(n)
}

/// recvmsg(2).
pub async fn recvmsg(cx: &Cx, fd: Fd, msg: UserPtr<Msghdr>, flags: u32) -> SysResult<usize> {
    let file = lookup(cx, fd)?;
    receive_header(cx, &file, msg, flags, None).await
}

/// recvmmsg(2): how many came; an error only if it was the first. The timeout is looked at after each message, as in Linux.
pub async fn recvmmsg(
    cx: &Cx,
    fd: Fd,
    list: UserPtr<Mmsghdr>,
    n: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult<u32> {
    let until = if timeout.is_null() {
        None
    } else {
        let t = cx.mem.read(timeout).await?.to_duration().ok_or(Errno::EINVAL)?;
        Instant::now().checked_add(t)
    };
    let file = lookup(cx, fd)?;
    let mut flags = MsgFlags::from_bits_retain(flags);
    let wait_for_one = flags.contains(MsgFlags::MSG_WAITFORONE);
    flags.remove(MsgFlags::MSG_WAITFORONE);
    let mut came = 0;
    while came < n.min(MMSG_MAX) {
        let at = list.offset(came as usize);
        match receive_header(cx, &file, at.cast(), flags.bits(), None).await {
            Ok(bytes) => {
                let len = UserPtr::<u32>::new(at.addr().wrapping_add(Msghdr::SIZE as u64));
                cx.mem.write(len, &(bytes as u32)).await?;
                came += 1;
            }
            Err(e) if came == 0 => return Err(e),
            Err(_) => break,
        }
        if wait_for_one {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        if until.is_some_and(|at| Instant::now() >= at) {
            break;
        }
    }
    if let Some(at) = until {
        let left = at.saturating_duration_since(Instant::now());
        cx.mem.write(timeout, &Timespec::from(left)).await?;
    }
    Ok(came)
}
