//! Sockets of the server's.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rsc_proto::table::nr;

use crate::{RemoteFd, Server};

/// Room for any internet address.
const ADDRESS_MAX: usize = 28;
/// Connections that wait to be accepted.
const BACKLOG: u64 = 128;

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn encode(address: &SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u16;
    let start = [family.to_ne_bytes(), address.port().to_be_bytes()].concat();
    match address {
        SocketAddr::V4(address) => [&start[..], &address.ip().octets(), &[0; 8]].concat(),
        SocketAddr::V6(address) => {
            let (flow, scope) = (address.flowinfo().to_be_bytes(), address.scope_id().to_ne_bytes());
            [&start[..], &flow, &address.ip().octets(), &scope].concat()
        }
    }
}

fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip = match family {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?)),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn socket(server: &Server, address: &SocketAddr) -> io::Result<RemoteFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    server.make(nr::SOCKET, &[family as u64, (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as u64, 0])
}

/// A call that fills an address in.
fn address_by(fd: &RemoteFd, number: u32) -> io::Result<SocketAddr> {
    let (mut bytes, mut len) = ([0_u8; ADDRESS_MAX], ADDRESS_MAX as u32);
    fd.call(number, &[bytes.as_mut_ptr() as u64, (&raw mut len) as u64])?;
    decode(&bytes).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

fn set(fd: &RemoteFd, level: i32, option: i32, value: bool) -> io::Result<()> {
    let value = i32::from(value);
    fd.call(nr::SETSOCKOPT, &[level as u64, option as u64, (&raw const value) as u64, 4]).map(drop)
}

/// A connection that the server has made or accepted.
#[derive(Debug)]
pub struct RemoteTcpStream {
    fd: RemoteFd,
}

impl RemoteTcpStream {
    /// Connects from there.
    pub fn connect(server: &Server, address: &SocketAddr) -> io::Result<Self> {
        let (fd, bytes) = (socket(server, address)?, encode(address));
        server.call(nr::CONNECT, &[fd.as_raw_fd() as u64, bytes.as_ptr() as u64, bytes.len() as u64])?;
        Ok(RemoteTcpStream { fd })
    }

    /// The other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address_by(&self.fd, nr::GETPEERNAME)
    }

    /// The server's end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address_by(&self.fd, nr::GETSOCKNAME)
    }

    /// Ends one direction, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        self.fd.call(nr::SHUTDOWN, &[how as u64]).map(drop)
    }

    /// Small writes are sent at once.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        set(&self.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, on)
    }

    /// Another handle for the same connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(RemoteTcpStream { fd: self.fd.try_clone()? })
    }
}

impl Read for &RemoteTcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fd.read(buf)
    }
}

impl Write for &RemoteTcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let args = [buf.as_ptr() as u64, buf.len() as u64, libc::MSG_NOSIGNAL as u64];
        Ok(self.fd.call(nr::SENDTO, &args)? as usize)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for RemoteTcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for RemoteTcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that listens at the server.
#[derive(Debug)]
pub struct RemoteListener {
    fd: RemoteFd,
}

impl RemoteListener {
    /// Listens there, as the standard library's listeners do.
    pub fn bind(server: &Server, address: &SocketAddr) -> io::Result<Self> {
        let (fd, bytes) = (socket(server, address)?, encode(address));
        set(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, true)?;
        fd.call(nr::BIND, &[bytes.as_ptr() as u64, bytes.len() as u64])?;
        fd.call(nr::LISTEN, &[BACKLOG])?;
        Ok(RemoteListener { fd })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address_by(&self.fd, nr::GETSOCKNAME)
    }

    /// Waits for a connection; who it is from.
    pub fn accept(&self) -> io::Result<(RemoteTcpStream, SocketAddr)> {
        let args = [self.fd.as_raw_fd() as u64, 0, 0, libc::SOCK_CLOEXEC as u64];
        let stream = RemoteTcpStream { fd: self.fd.server().make(nr::ACCEPT4, &args)? };
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }
}

impl AsFd for RemoteTcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for RemoteTcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for RemoteListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for RemoteListener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_there_and_back() {
        for text in ["127.0.0.1:80", "[::1]:65535", "255.1.2.3:0", "[2001:db8::1:2]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&encode(&address)), Some(address));
        }
        assert_eq!(encode(&"1.2.3.4:5".parse().unwrap()).len(), 16);
        assert_eq!(encode(&"[::]:5".parse().unwrap()).len(), 28);
        assert_eq!(decode(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
