//! Sockets, and the calls that wait for descriptors.

use libc::{c_int, c_void, fd_set, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec, timeval};
use rsc_proto::table::nr;

use super::calls;
use crate::route::route;

const NONE: u64 = 0;

calls! {
    socket: (domain: c_int, kind: c_int, protocol: c_int) -> c_int = SOCKET(domain, kind, protocol);
    socketpair: (domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int = SOCKETPAIR(domain, kind, protocol, pair);
    connect, __connect: (fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int = CONNECT(fd, addr, len);
    bind: (fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int = BIND(fd, addr, len);
    listen: (fd: c_int, backlog: c_int) -> c_int = LISTEN(fd, backlog);
    accept: (fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int = ACCEPT(fd, addr, len);
    accept4: (fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int = ACCEPT4(fd, addr, len, flags);
    send, __send: (fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t = SENDTO(fd, buf, len, flags, NONE, NONE);
    sendto: (fd: c_int, buf: *const c_void, len: size_t, flags: c_int, addr: *const sockaddr, size: socklen_t) -> ssize_t = SENDTO(fd, buf, len, flags, addr, size);
    sendmsg: (fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t = SENDMSG(fd, message, flags);
    sendmmsg: (fd: c_int, messages: *mut c_void, count: u32, flags: c_int) -> c_int = SENDMMSG(fd, messages, count, flags);
    recv: (fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t = RECVFROM(fd, buf, len, flags, NONE, NONE);
    __recv_chk: (fd: c_int, buf: *mut c_void, len: size_t, room: size_t, flags: c_int) -> ssize_t = RECVFROM(fd, buf, len.min(room), flags, NONE, NONE);
    recvfrom: (fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, addr: *mut sockaddr, size: *mut socklen_t) -> ssize_t = RECVFROM(fd, buf, len, flags, addr, size);
    recvmsg: (fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t = RECVMSG(fd, message, flags);
    recvmmsg: (fd: c_int, messages: *mut c_void, count: u32, flags: c_int, timeout: *mut timespec) -> c_int = RECVMMSG(fd, messages, count, flags, timeout);
    shutdown: (fd: c_int, how: c_int) -> c_int = SHUTDOWN(fd, how);
    getsockname: (fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int = GETSOCKNAME(fd, addr, len);
    getpeername: (fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int = GETPEERNAME(fd, addr, len);
    getsockopt: (fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int = GETSOCKOPT(fd, level, name, value, len);
    setsockopt: (fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int = SETSOCKOPT(fd, level, name, value, len);
    pipe: (pair: *mut c_int) -> c_int = PIPE(pair);
    pipe2: (pair: *mut c_int, flags: c_int) -> c_int = PIPE2(pair, flags);
}

/// select(2) of the C library may not change its timeout beyond what the kernel does; the kernel's own is what it calls.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    super::finish(route(nr::SELECT, [n as u64, r as u64, w as u64, e as u64, timeout as u64, 0])) as c_int
}

/// The kernel's changes what it is given, the C library's not.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *const timespec,
    mask: *const c_void,
) -> c_int {
    // SAFETY: given, it is one.
    let mut copy = (!timeout.is_null()).then(|| unsafe { *timeout });
    let pair = [mask as u64, 8_u64];
    let at = copy.as_mut().map_or(0, |copy| (&raw mut *copy) as u64);
    super::finish(route(nr::PSELECT6, [n as u64, r as u64, w as u64, e as u64, at, pair.as_ptr() as u64])) as c_int
}

/// The kernel's changes what it is given, the C library's not.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ppoll(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: *const timespec,
    mask: *const c_void,
) -> c_int {
    // SAFETY: given, it is one.
    let mut copy = (!timeout.is_null()).then(|| unsafe { *timeout });
    let at = copy.as_mut().map_or(0, |copy| (&raw mut *copy) as u64);
    super::finish(route(nr::PPOLL, [fds as u64, count, at, mask as u64, 8, 0])) as c_int
}

/// With the room there is, which the kernel's own does not know.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __ppoll_chk(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: *const timespec,
    mask: *const c_void,
    _room: size_t,
) -> c_int {
    // SAFETY: as ours.
    unsafe { ppoll(fds, count, timeout, mask) }
}

/// getaddrinfo(3) is this machine's; what it finds is told, so that rules can ask for names.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getaddrinfo(
    node: *const libc::c_char,
    service: *const libc::c_char,
    hints: *const libc::addrinfo,
    result: *mut *mut libc::addrinfo,
) -> c_int {
    type Real = unsafe extern "C" fn(
        *const libc::c_char,
        *const libc::c_char,
        *const libc::addrinfo,
        *mut *mut libc::addrinfo,
    ) -> c_int;
    let real: Option<Real> = super::real!(
        c"getaddrinfo",
        fn(*const libc::c_char, *const libc::c_char, *const libc::addrinfo, *mut *mut libc::addrinfo) -> c_int
    );
    // SAFETY: its own arguments; what it has found is a list that ends with a null.
    unsafe {
        let done = real.map_or(libc::EAI_SYSTEM, |real| real(node, service, hints, result));
        if done == 0
            && crate::route::concerns(nr::CONNECT)
            && let Some(name) = rsc_sdk::sys::local::string(node)
        {
            let mut addresses = Vec::new();
            let mut at = *result;
            while !at.is_null() && addresses.len() < 64 {
                addresses.extend(address_of((*at).ai_addr));
                at = (*at).ai_next;
            }
            crate::route::tell_names(name.to_string_lossy().into_owned(), addresses);
        }
        done
    }
}

/// The 4 or 16 bytes of an internet address.
unsafe fn address_of(address: *const sockaddr) -> Option<bytes::Bytes> {
    if address.is_null() {
        return None;
    }
    // SAFETY: the family says which structure it is.
    unsafe {
        match c_int::from((*address).sa_family) {
            libc::AF_INET => {
                let bits = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                Some(bits.to_ne_bytes().to_vec().into())
            }
            libc::AF_INET6 => Some((*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr.to_vec().into()),
            _ => None,
        }
    }
}
