//! Host sockets: thin, safe wrappers of the system calls that `nix` has no untyped form of. Addresses, options and control messages
//! are bytes that the caller has parsed.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytes::BytesMut;
use rsc_proto::abi::Errno;
use tokio::io::unix::AsyncFd;

fn last() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::EIO, Errno::new)
}

fn check(n: libc::c_int) -> Result<libc::c_int, Errno> {
    if n < 0 { Err(last()) } else { Ok(n) }
}

fn check_size(n: libc::ssize_t) -> Result<usize, Errno> {
    usize::try_from(n).map_err(|_| last())
}

/// A socket that does not block and is closed on exec.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers.
    let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the call has just returned it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bind(2)
pub(crate) fn bind(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address is live and as long as is said; the kernel only reads it.
    check(unsafe { libc::bind(fd.as_raw_fd(), addr.as_ptr().cast(), addr.len() as libc::socklen_t) }).map(drop)
}

/// connect(2)
pub(crate) fn connect(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: as in `bind`.
    check(unsafe { libc::connect(fd.as_raw_fd(), addr.as_ptr().cast(), addr.len() as libc::socklen_t) }).map(drop)
}

/// listen(2)
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    check(unsafe { libc::listen(fd.as_raw_fd(), i32::try_from(backlog).unwrap_or(i32::MAX)) }).map(drop)
}

/// shutdown(2)
pub(crate) fn shutdown(fd: BorrowedFd<'_>, how: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how as i32) }).map(drop)
}

const ADDR_MAX: usize = 128;

/// accept4(2): the connection, which does not block, and whose it is.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, Vec<u8>), Errno> {
    let mut addr = vec![0u8; ADDR_MAX];
    let mut len = ADDR_MAX as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the buffer is live and `len` long.
    let new = check(unsafe { libc::accept4(fd.as_raw_fd(), addr.as_mut_ptr().cast(), &raw mut len, flags) })?;
    addr.truncate(len as usize);
    // SAFETY: the call has just returned it.
    Ok((unsafe { OwnedFd::from_raw_fd(new) }, addr))
}

/// getsockname(2)
pub(crate) fn name(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut addr = vec![0u8; ADDR_MAX];
    let mut len = ADDR_MAX as libc::socklen_t;
    // SAFETY: the buffer is live and `len` long.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), addr.as_mut_ptr().cast(), &raw mut len) })?;
    addr.truncate(len as usize);
    Ok(addr)
}

/// getpeername(2)
pub(crate) fn peer_name(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut addr = vec![0u8; ADDR_MAX];
    let mut len = ADDR_MAX as libc::socklen_t;
    // SAFETY: the buffer is live and `len` long.
    check(unsafe { libc::getpeername(fd.as_raw_fd(), addr.as_mut_ptr().cast(), &raw mut len) })?;
    addr.truncate(len as usize);
    Ok(addr)
}

/// getsockopt(2) with room for `len` bytes.
pub(crate) fn option(fd: BorrowedFd<'_>, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0u8; len];
    let mut got = len as libc::socklen_t;
    // SAFETY: the buffer is live and `got` long.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut got) })?;
    value.truncate(got as usize);
    Ok(value)
}

/// setsockopt(2)
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: the value is live and as long as is said; the caller lets through only options that hold no pointers.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) }).map(drop)
}

/// sendmsg(2), which never blocks and never raises SIGPIPE.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    data: &[u8],
    addr: Option<&[u8]>,
    control: &[u8],
    flags: i32,
) -> Result<usize, Errno> {
    let mut iov = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all fields are numbers and pointers, for which zero is valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    if let Some(addr) = addr {
        msg.msg_name = addr.as_ptr().cast_mut().cast();
        msg.msg_namelen = addr.len() as libc::socklen_t;
    }
    if !control.is_empty() {
        msg.msg_control = control.as_ptr().cast_mut().cast();
        msg.msg_controllen = control.len();
    }
    // SAFETY: every pointer in `msg` is live and as long as is said; the kernel only reads what they point to.
    check_size(unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const msg, flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    })
}

/// What recvmsg(2) gave.
pub(crate) struct Received {
    pub(crate) data: BytesMut,
    /// The message's length, which may be more than `data`'s.
    pub(crate) full: usize,
    pub(crate) addr: Vec<u8>,
    pub(crate) control: Vec<u8>,
    pub(crate) flags: i32,
}

/// recvmsg(2) of at most `len` bytes, which never blocks. Not for `MSG_TRUNC` on a stream, which would count bytes it did not copy.
pub(crate) fn receive(fd: BorrowedFd<'_>, len: usize, control: usize, flags: i32) -> Result<Received, Errno> {
    let mut data = BytesMut::with_capacity(len);
    let mut addr = vec![0u8; ADDR_MAX];
    let mut control = vec![0u8; control];
    let mut iov = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: len };
    // SAFETY: as in `send`.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_name = addr.as_mut_ptr().cast();
    msg.msg_namelen = addr.len() as libc::socklen_t;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = control.len();
    // SAFETY: every pointer in `msg` is live and its room as long as is said; `data` has a capacity of at least `len`.
    let full = check_size(unsafe {
        libc::recvmsg(fd.as_raw_fd(), &raw mut msg, flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC)
    })?;
    // SAFETY: the kernel has filled that many bytes (a longer message was cut to `len`).
    unsafe { data.set_len(full.min(len)) };
    addr.truncate(msg.msg_namelen as usize);
    control.truncate(msg.msg_controllen);
    Ok(Received { data, full, addr, control, flags: msg.msg_flags })
}

/// poll(2) that only looks.
pub(crate) fn poll_now(fd: BorrowedFd<'_>, events: u16) -> u16 {
    let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: events as i16, revents: 0 };
    // SAFETY: one live structure.
    let n = unsafe { libc::poll(&raw mut p, 1, 0) };
    if n > 0 { p.revents as u16 } else { 0 }
}

/// An ioctl(2) that fills an `int`.
pub(crate) fn int_ioctl(fd: BorrowedFd<'_>, request: u32) -> Result<i32, Errno> {
    let mut n: libc::c_int = 0;
    // SAFETY: the caller passes requests that write one `int`.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::c_ulong::from(request), &raw mut n) })?;
    Ok(n)
}

/// An ioctl(2) with a `struct ifreq`.
pub(crate) fn ifreq_ioctl(fd: BorrowedFd<'_>, request: u32, ifreq: &mut [u8; 40]) -> Result<(), Errno> {
    // SAFETY: the caller passes requests that read and write one `struct ifreq`, of 40 bytes, and hold no pointers.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::c_ulong::from(request), ifreq.as_mut_ptr()) }).map(drop)
}

/// SIOCGIFCONF: the `struct ifreq`s of all interfaces with an IPv4 address.
pub(crate) fn ifconf(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0u8; 40 * 128];
    // SAFETY: all fields are numbers and pointers.
    let mut conf: libc::ifconf = unsafe { std::mem::zeroed() };
    conf.ifc_len = buf.len() as i32;
    conf.ifc_ifcu.ifcu_buf = buf.as_mut_ptr().cast();
    // SAFETY: the buffer is live and `ifc_len` long.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFCONF, &raw mut conf) })?;
    buf.truncate(usize::try_from(conf.ifc_len).unwrap_or(0));
    Ok(buf)
}

/// Takes over a descriptor that has just arrived in a control message.
pub(crate) fn adopt(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel has just put it into this process's table, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Puts a descriptor under the runtime's eyes.
pub(crate) fn reactor(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns its descriptor and always names the same one.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// The same, for reading only.
pub(crate) fn reactor_of_reads(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns its descriptor and always names the same one.
    Ok(unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) }?)
}
