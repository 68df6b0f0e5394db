//! Sockets: where one is, is known only when an address is. Until then it is this machine's; then it may become a remote one at the
//! same number.

use super::descriptors::BUFFER;
use super::{Caller, Core, Done, Made, Served, Then, fd_of};
use crate::remote::rules::{Access, Subject, Verdict};
use crate::sys::process;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rsc_proto::abi::{Msghdr, parse};
use rsc_proto::table::nr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;

/// Where name servers listen.
const DNS: u16 = 53;
/// Longest answer that is looked at.
const ANSWER_MAX: usize = 65_536;
/// Room for any address.
const ADDRESS_MAX: usize = 128;

/// Options that a socket may have been given before its address: level, name, size.
const OPTIONS: [(i32, i32, u32); 9] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR, 4),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT, 4),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 4),
    (libc::SOL_SOCKET, libc::SO_BROADCAST, 4),
    (libc::SOL_SOCKET, libc::SO_LINGER, 8),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO, 16),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO, 16),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 4),
];

/// An address that a call brings.
enum Address {
    Internet(SocketAddr),
    /// A path, or `@NAME` of an abstract one.
    Unix(Vec<u8>),
}

impl Core {
    /// A call on a socket of this machine's that may bring an address.
    pub(super) async fn by_address(self: &Rc<Self>, caller: &Caller, number: u32, args: &[u64; 6]) -> Served {
        let Some(address) = self.address(caller, number, args) else { return self.received(caller, number, args) };
        let executable = caller.process.executable();
        let (internet, path) = match &address {
            Address::Internet(address) => (Some(*address), None),
            Address::Unix(path) => (None, Some(path.as_slice())),
        };
        let hosts = internet.map(|address| self.lookups.of(address.ip())).unwrap_or_default();
        let subject = Subject {
            nr: number,
            path,
            second: None,
            address: internet,
            hosts: &hosts,
            executable: &executable,
            access: Access::Write,
        };
        let decision = self.rules(caller).decide(&subject);
        match decision.verdict {
            Verdict::Deny(errno) => Done::failed(Errno::from_raw(errno.number())),
            Verdict::Remote => match self.move_socket(caller, fd_of(args, 0)).await {
                Ok(made) => Served::Replace(made),
                Err(errno) => Done::failed(errno),
            },
            Verdict::Local => {
                if internet.is_some_and(|address| address.port() == DNS) {
                    let mut resolvers = caller.process.resolvers.borrow_mut();
                    resolvers.insert(fd_of(args, 0));
                }
                Served::Here(None)
            }
        }
    }

    /// Answers of name servers are read along.
    pub(super) fn received(&self, caller: &Caller, number: u32, args: &[u64; 6]) -> Served {
        let resolver = caller.process.resolvers.borrow().contains(&fd_of(args, 0));
        let buffer = match number {
            nr::READ | nr::RECVFROM => Some(args[1]),
            nr::RECVMSG => message_of(caller, args[1]).and_then(|message| {
                let mut iovec = [0; 8];
                (caller.window.read(message.msg_iov, &mut iovec) == 8).then(|| u64::from_ne_bytes(iovec))
            }),
            _ => None,
        };
        Served::Here(buffer.filter(|_| resolver).map(Then::Received))
    }

    /// Whether a call may be the receipt of a name server's answer.
    pub(super) fn may_receive(&self, caller: &Caller, number: u32) -> bool {
        matches!(number, nr::READ | nr::RECVFROM | nr::RECVMSG) && !caller.process.resolvers.borrow().is_empty()
    }

    pub(super) fn after_receipt(&self, caller: &Caller, buffer: u64, length: i64) {
        let Ok(length) = usize::try_from(length) else { return };
        let mut message = vec![0; length.min(ANSWER_MAX)];
        let got = caller.window.read(buffer, &mut message);
        self.lookups.answer(message.get(..got).unwrap_or_default());
    }

    fn address(&self, caller: &Caller, number: u32, args: &[u64; 6]) -> Option<Address> {
        let (addr, length) = match number {
            nr::SENDMSG => {
                message_of(caller, args[1]).map(|message| (message.msg_name, message.msg_namelen.max(0) as u64))?
            }
            nr::SENDTO => (args[4], args[5]),
            nr::CONNECT | nr::BIND => (args[1], args[2]),
            _ => return None,
        };
        let mut bytes = vec![0; usize::try_from(length).ok()?.min(ADDRESS_MAX)];
        if addr == 0 || caller.window.read(addr, &mut bytes) != bytes.len() {
            return None;
        }
        decode(&bytes)
    }

    /// Makes a remote socket like one of the caller's.
    async fn move_socket(&self, caller: &Caller, fd: i32) -> Result<Made, Errno> {
        let pidfd = process::pidfd_open(caller.process.tgid)?;
        let here = process::pidfd_getfd(pidfd.as_fd(), fd)?;
        let get = |level, name, size| crate::sys::host::socket_option(here.as_fd(), level, name, size);
        let number = |name| -> Result<u64, Errno> {
            let bytes = get(libc::SOL_SOCKET, name, 4)?;
            Ok(u32::from_ne_bytes(bytes.as_slice().try_into().map_err(|_| Errno::EIO)?).into())
        };
        let (domain, kind, protocol) = (number(libc::SO_DOMAIN)?, number(libc::SO_TYPE)?, number(libc::SO_PROTOCOL)?);
        let flags = OFlag::from_bits_retain(fcntl(&here, FcntlArg::F_GETFL)?);
        let nonblocking = if flags.contains(OFlag::O_NONBLOCK) { libc::SOCK_NONBLOCK as u64 } else { 0 };
        let made = self.client.own(nr::SOCKET, [domain, kind | nonblocking, protocol, 0, 0, 0], &[], &[]).await.result;
        let there = i32::try_from(made).ok().filter(|fd| *fd >= 0).ok_or_else(|| super::descriptors::errno(made))?;
        for (level, name, size) in OPTIONS {
            let Ok(value) = get(level, name, size) else { continue };
            if value.iter().all(|byte| *byte == 0) {
                continue;
            }
            let args = [there as u64, level as u64, name as u64, BUFFER, value.len() as u64, 0];
            // What the sentry does not know it also does not do.
            self.client.own(nr::SETSOCKOPT, args, &[(BUFFER, &value)], &[]).await;
        }
        Ok(Made { number: there, cloexec: is_cloexec(caller.tid, fd) })
    }
}

fn message_of(caller: &Caller, addr: u64) -> Option<Msghdr> {
    let mut bytes = [0; Msghdr::SIZE];
    (caller.window.read(addr, &mut bytes) == bytes.len()).then(|| parse(&bytes)).flatten()
}

/// Whether a descriptor of a thread's is closed by execve(2). proc_pid_fdinfo(5).
fn is_cloexec(tid: i32, fd: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
    flags & libc::O_CLOEXEC != 0
}

fn decode(bytes: &[u8]) -> Option<Address> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    match family {
        libc::AF_INET => {
            let ip = <[u8; 4]>::try_from(bytes.get(4..8)?).ok()?;
            Some(Address::Internet(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port()?)))
        }
        libc::AF_INET6 => {
            let ip = <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?;
            Some(Address::Internet(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), port()?)))
        }
        libc::AF_UNIX => {
            let path = bytes.get(2..)?;
            match path.split_first()? {
                (0, name) => Some(Address::Unix([b"@", name].concat())),
                _ => {
                    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                    Some(Address::Unix(path.get(..end)?.to_vec()))
                }
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let is = |bytes: &[u8], wanted: &str| match decode(bytes) {
            Some(Address::Internet(address)) => assert_eq!(address.to_string(), wanted),
            Some(Address::Unix(path)) => assert_eq!(path, wanted.as_bytes()),
            None => assert_eq!("none", wanted),
        };
        is(&[2, 0, 0, 80, 127, 0, 0, 1, 0, 0], "127.0.0.1:80");
        is(b"\x01\x00/run/x\0rest", "/run/x");
        is(b"\x01\x00\0name", "@name");
        is(&[2, 0, 0], "none");
        is(&[9, 9, 9], "none");
        is(&[], "none");
    }
}
