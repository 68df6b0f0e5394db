//! The sockets: requests, replies, donations; waiting.

use super::{Checked, Result, owned};
use rsc_proto::abi::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `read(2)`, again after EINTR.
pub(crate) fn read(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: the buffer is live and of the stated length.
        let n = unsafe { libc::read(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match (n as libc::c_long).checked() {
            Err(Errno::EINTR) => {}
            result => return result.map(|n| n as usize),
        }
    }
}

/// `write(2)`, again after EINTR.
pub(crate) fn write(socket: BorrowedFd<'_>, data: &[u8]) -> Result<usize> {
    loop {
        // SAFETY: the slice is live and of the stated length.
        let n = unsafe { libc::write(socket.as_raw_fd(), data.as_ptr().cast(), data.len()) };
        match (n as libc::c_long).checked() {
            Err(Errno::EINTR) => {}
            result => return result.map(|n| n as usize),
        }
    }
}

/// `poll(2)`; `timeout` in milliseconds, -1: for ever. Interrupted is nothing ready.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: i32) -> Result<()> {
    // SAFETY: the slice is live and of the stated length.
    match unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) }.checked() {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Room for the control message of one descriptor, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 32]);

/// Sends eight bytes and one descriptor, without waiting.
pub(crate) fn send_descriptor(socket: BorrowedFd<'_>, token: u64, file: BorrowedFd<'_>) -> Result<()> {
    let mut data = token.to_le_bytes();
    let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut control = Control([0; 32]);
    // SAFETY: plain data; all pointers set below are to live locals. The control buffer has room for CMSG_SPACE(4) = 24 bytes.
    unsafe {
        let mut message: libc::msghdr = MaybeUninit::zeroed().assume_init();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(file.as_raw_fd());
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        (libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) as libc::c_long).checked().map(drop)
    }
}

/// Receives what [`send_descriptor`] sent. `None`: the other side is closed. EPROTO: something else came.
pub(crate) fn receive_descriptor(socket: BorrowedFd<'_>, wait: bool) -> Result<Option<(u64, OwnedFd)>> {
    let mut data = [0u8; 8];
    let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut control = Control([0; 32]);
    let mut file = None;
    // SAFETY: plain data; all pointers are to live locals, and the kernel writes within the lengths given.
    let (n, flags) = unsafe {
        let mut message: libc::msghdr = MaybeUninit::zeroed().assume_init();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let flags = libc::MSG_CMSG_CLOEXEC | if wait { 0 } else { libc::MSG_DONTWAIT };
        let n = (libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) as libc::c_long).checked()?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len == libc::CMSG_LEN(4) as usize
        {
            file = Some(owned(libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned())?);
        }
        (n, message.msg_flags)
    };
    match (n, file) {
        (0, None) => Ok(None),
        (8, Some(file)) if flags & libc::MSG_CTRUNC == 0 => Ok(Some((u64::from_le_bytes(data), file))),
        _ => Err(Errno::EPROTO),
    }
}

/// A pair of connected sockets of this type.
pub(crate) fn socket_pair(kind: libc::c_int) -> Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    // SAFETY: `pair` has room for two.
    unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr()) }.checked()?;
    let [a, b] = pair;
    Ok((owned(a)?, owned(b)?))
}
