//! Making, naming and connecting sockets, and their options. Linux: net/socket.c.

use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, SockFlags, SockaddrStorage, af};

use crate::error::{SysError, SysResult};
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::PollEvents;
use crate::net::inet::InetSocket;
use crate::net::netlink::NetlinkSocket;
use crate::net::socket::{Socket, SocketFile};
use crate::net::unix::{UnixSocket, split_kind};

/// Linux: /proc/sys/net/core/somaxconn.
const SOMAXCONN: u32 = 4096;
/// Numbers of families and types beyond which nothing is. Linux: `NPROTO`, `SOCK_MAX`.
const NPROTO: u32 = 46;
const SOCK_MAX: i32 = 11;

/// The socket behind a descriptor: `EBADF`, `ENOTSOCK`. Linux: sockfd_lookup_light().
pub(super) fn lookup(cx: &Cx, fd: Fd) -> Result<Rc<File>, Errno> {
    let file = cx.file(fd)?;
    if file.downcast::<SocketFile>().is_some() { Ok(file) } else { Err(Errno::ENOTSOCK) }
}

/// The socket that `lookup` has seen to be one.
pub(super) fn of(file: &File) -> Result<&SocketFile, Errno> {
    file.downcast::<SocketFile>().ok_or(Errno::ENOTSOCK)
}

/// An address from the workload. Linux: move_addr_to_kernel().
pub(super) async fn read_addr(cx: &Cx, addr: UserPtr<u8>, len: i32) -> Result<Bytes, Errno> {
    let len = usize::try_from(len).ok().filter(|&n| n <= SockaddrStorage::SIZE).ok_or(Errno::EINVAL)?;
    cx.mem.read_bytes(addr.addr(), len).await
}

/// An address for the workload, cut to its room; the whole length is told. Linux: move_addr_to_user().
pub(super) async fn write_addr(cx: &Cx, raw: &[u8], addr: UserPtr<u8>, len: UserPtr<i32>) -> Result<(), Errno> {
    let room = usize::try_from(cx.mem.read(len).await?).map_err(|_| Errno::EINVAL)?;
    let part = raw.get(..room.min(raw.len())).unwrap_or_default();
    cx.mem.write_bytes(addr.addr(), Bytes::copy_from_slice(part)).await?;
    cx.mem.write(len, &(raw.len() as i32)).await
}

fn check_domain(domain: u32, kind: i32) -> Result<u16, Errno> {
    if domain >= NPROTO {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= SOCK_MAX {
        return Err(Errno::EINVAL);
    }
    Ok(domain as u16)
}

fn install(cx: &Cx, socket: Rc<dyn Socket>, flags: SockFlags) -> Result<Fd, Errno> {
    let creds = cx.task.creds();
    let nonblocking = flags.contains(SockFlags::SOCK_NONBLOCK);
    let file = SocketFile::open(&cx.kernel, socket, nonblocking, (creds.fsuid, creds.fsgid))?;
    cx.add_fd(file, flags.contains(SockFlags::SOCK_CLOEXEC))
}

/// socket(2).
pub async fn socket(cx: &Cx, domain: u32, kind: u32, protocol: i32) -> SysResult<Fd> {
    let (kind, flags) = split_kind(kind)?;
    let socket: Rc<dyn Socket> = match check_domain(domain, kind)? {
        af::UNIX => UnixSocket::create(&cx.kernel, kind, protocol)?,
        domain @ (af::INET | af::INET6) => InetSocket::create(&cx.kernel, domain, kind, protocol).await?,
        af::NETLINK => NetlinkSocket::create(kind, protocol)?,
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    Ok(install(cx, socket, flags)?)
}

/// socketpair(2).
pub async fn socketpair(cx: &Cx, domain: u32, kind: u32, protocol: i32, out: UserPtr<i32>) -> SysResult<()> {
    let (kind, flags) = split_kind(kind)?;
    let (a, b) = match check_domain(domain, kind)? {
        af::UNIX => UnixSocket::pair(cx, kind, protocol)?,
        af::INET | af::INET6 => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    let first = install(cx, a, flags)?;
    let table = cx.task.fds.borrow().clone();
    let second = match install(cx, b, flags) {
        Ok(fd) => fd,
        Err(e) => {
            let _ = table.remove(first);
            return Err(e.into());
        }
    };
    if let Err(e) = cx.mem.write_array(out, &[first.0, second.0]).await {
        let _ = table.remove(first);
        let _ = table.remove(second);
        return Err(e.into());
    }
    Ok(())
}

/// bind(2).
pub async fn bind(cx: &Cx, fd: Fd, addr: UserPtr<u8>, len: i32) -> SysResult<()> {
    let file = lookup(cx, fd)?;
    let raw = read_addr(cx, addr, len).await?;
    Ok(of(&file)?.socket().bind(cx, &raw).await?)
}

/// listen(2).
pub async fn listen(cx: &Cx, fd: Fd, backlog: u32) -> SysResult<()> {
    let file = lookup(cx, fd)?;
    // A negative number is a very large one.
    Ok(of(&file)?.socket().listen(cx, backlog.min(SOMAXCONN))?)
}

/// accept(2).
pub async fn accept(cx: &Cx, fd: Fd, addr: UserPtr<u8>, len: UserPtr<i32>) -> SysResult<Fd> {
    accept4(cx, fd, addr, len, 0).await
}

/// accept4(2).
pub async fn accept4(cx: &Cx, fd: Fd, addr: UserPtr<u8>, len: UserPtr<i32>, flags: u32) -> SysResult<Fd> {
    let flags = SockFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let file = lookup(cx, fd)?;
    let listener = of(&file)?;
    let patience = listener.receive_patience();
    let op = async || listener.socket().accept(cx).await;
    let accepted = cx.blocking(&file, PollEvents::READABLE, file.nonblocking(), patience.deadline, op).await;
    let accepted = patience.interrupted(accepted)?;
    if !addr.is_null() {
        let name = accepted.accepted_from().map_err(|_| Errno::ECONNABORTED)?;
        write_addr(cx, &name, addr, len).await?;
    }
    Ok(install(cx, accepted, flags)?)
}

/// connect(2). A connection that a signal interrupts goes on; the restarted call waits for it.
pub async fn connect(cx: &Cx, fd: Fd, addr: UserPtr<u8>, len: i32) -> SysResult<()> {
    let file = lookup(cx, fd)?;
    let raw = read_addr(cx, addr, len).await?;
    let socket = of(&file)?;
    let patience = socket.send_patience();
    let nonblocking = file.nonblocking();
    let op = async || socket.socket().connect(cx, &raw).await;
    let r = cx.blocking(&file, PollEvents::WRITABLE, nonblocking, patience.deadline, op).await;
    let r = match r {
        Err(SysError::Errno(Errno::EINPROGRESS | Errno::EALREADY)) if !nonblocking => {
            let op = async || socket.socket().connected();
            match cx.blocking(&file, PollEvents::WRITABLE, false, patience.deadline, op).await {
                // Time is up, and it goes on by itself.
                Err(SysError::Errno(Errno::EAGAIN)) => Err(Errno::EINPROGRESS.into()),
                r => r,
            }
        }
        r => r,
    };
    patience.interrupted(r)
}

/// getsockname(2).
pub async fn getsockname(cx: &Cx, fd: Fd, addr: UserPtr<u8>, len: UserPtr<i32>) -> SysResult<()> {
    let file = lookup(cx, fd)?;
    let name = of(&file)?.socket().name()?;
    Ok(write_addr(cx, &name, addr, len).await?)
}

/// getpeername(2).
pub async fn getpeername(cx: &Cx, fd: Fd, addr: UserPtr<u8>, len: UserPtr<i32>) -> SysResult<()> {
    let file = lookup(cx, fd)?;
    let name = of(&file)?.socket().peer_name()?;
    Ok(write_addr(cx, &name, addr, len).await?)
}

/// shutdown(2).
pub async fn shutdown(cx: &Cx, fd: Fd, how: u32) -> SysResult<()> {
    let file = lookup(cx, fd)?;
    if how > 2 {
        return Err(Errno::EINVAL.into());
    }
    Ok(of(&file)?.socket().shutdown(how)?)
}

/// The longest option value that is read. Linux takes more only for options that rsc refuses.
const OPTION_MAX: usize = 4096;

/// setsockopt(2).
pub async fn setsockopt(cx: &Cx, fd: Fd, level: i32, name: i32, value: UserPtr<u8>, len: i32) -> SysResult<()> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let file = lookup(cx, fd)?;
    let value = cx.mem.read_bytes(value.addr(), len.min(OPTION_MAX)).await?;
    Ok(of(&file)?.set_option(cx, level, name, &value).await?)
}

/// getsockopt(2): the value, cut to the caller's room.
pub async fn getsockopt(
    cx: &Cx,
    fd: Fd,
    level: i32,
    name: i32,
    value: UserPtr<u8>,
    len: UserPtr<i32>,
) -> SysResult<()> {
    let file = lookup(cx, fd)?;
    let room = usize::try_from(cx.mem.read(len).await?).map_err(|_| Errno::EINVAL)?;
    let got = of(&file)?.option(cx, level, name, room.min(OPTION_MAX))?;
    let part = got.get(..room.min(got.len())).unwrap_or_default();
    cx.mem.write_bytes(value.addr(), Bytes::copy_from_slice(part)).await?;
    Ok(cx.mem.write(len, &(part.len() as i32)).await?)
}
