//! Socket addresses as bytes from the workload: `struct sockaddr` of each family, parsed once. unix(7), ip(7), ipv6(7).

use rsc_proto::abi::{Errno, SockaddrIn, SockaddrIn6, SockaddrUn, af};

/// Offset of the path in `struct sockaddr_un`.
const SUN_PATH: usize = 2;

/// The family that the first two bytes name; `EINVAL` if there are fewer.
pub fn family(raw: &[u8]) -> Result<u16, Errno> {
    match raw {
        [a, b, ..] => Ok(u16::from_ne_bytes([*a, *b])),
        _ => Err(Errno::EINVAL),
    }
}

/// A unix socket's address as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixAddr {
    /// No name: bind(2) picks one.
    Unnamed,
    /// A path, without NUL.
    Path(Vec<u8>),
    /// An abstract name, without the leading NUL.
    Abstract(Vec<u8>),
}

impl UnixAddr {
    /// Linux: unix_validate_addr() and unix_mkname_bsd(). `EINVAL` for the wrong family or length.
    pub fn parse(raw: &[u8]) -> Result<Self, Errno> {
        if raw.len() > SockaddrUn::SIZE || family(raw)? != af::UNIX {
            return Err(Errno::EINVAL);
        }
        Ok(match raw.get(SUN_PATH..).unwrap_or_default() {
            [] => Self::Unnamed,
            [0, name @ ..] => Self::Abstract(name.to_vec()),
            path => Self::Path(path.iter().copied().take_while(|&b| b != 0).collect()),
        })
    }

    /// As getsockname(2) shows it. A path that fills the whole field has its NUL beyond it.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = af::UNIX.to_ne_bytes().to_vec();
        match self {
            Self::Unnamed => {}
            Self::Path(path) => {
                raw.extend_from_slice(path);
                raw.push(0);
            }
            Self::Abstract(name) => {
                raw.push(0);
                raw.extend_from_slice(name);
            }
        }
        raw
    }
}

/// An internet address for the host's kernel: exactly the bytes of its structure, nothing behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetAddr(Vec<u8>);

impl InetAddr {
    /// For bind(2) and sending on a socket of `domain`: `EINVAL` if it is short, `EAFNOSUPPORT` for another family.
    pub fn parse(raw: &[u8], domain: u16) -> Result<Self, Errno> {
        let (size, least) = match domain {
            af::INET => (SockaddrIn::SIZE, SockaddrIn::SIZE),
            // Without the scope, as RFC 2133 had it.
            _ => (SockaddrIn6::SIZE, SockaddrIn6::SIZE - 4),
        };
        let named = family(raw)?;
        // An IPv6 datagram socket also sends to IPv4 addresses.
        if domain == af::INET6 && named == af::INET {
            return raw.get(..SockaddrIn::SIZE).map(|b| Self(b.to_vec())).ok_or(Errno::EINVAL);
        }
        if raw.len() < least {
            return Err(Errno::EINVAL);
        }
        // AF_UNSPEC with the wildcard address means AF_INET to bind(2), and to sendto(2) as well.
        if named != domain && !(named == af::UNSPEC && domain == af::INET) {
            return Err(Errno::EAFNOSUPPORT);
        }
        Ok(Self(raw.get(..size.min(raw.len())).unwrap_or_default().to_vec()))
    }

    /// The port, in host order.
    pub fn port(&self) -> u16 {
        match self.0.as_slice() {
            [_, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        }
    }

    /// The structure's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_addresses_go_there_and_back() {
        let parse = |s: &[u8]| UnixAddr::parse(&[&[1, 0], s].concat());
        assert_eq!(parse(b""), Ok(UnixAddr::Unnamed));
        assert_eq!(parse(b"/a\0junk"), Ok(UnixAddr::Path(b"/a".to_vec())));
        assert_eq!(parse(b"\0x\0"), Ok(UnixAddr::Abstract(b"x\0".to_vec())));
        assert_eq!(UnixAddr::parse(&[2, 0, 65]), Err(Errno::EINVAL));
        assert_eq!(UnixAddr::parse(&[1]), Err(Errno::EINVAL));
        assert_eq!(UnixAddr::parse(&[1; 111]), Err(Errno::EINVAL));
        assert_eq!(UnixAddr::Path(b"/a".to_vec()).encode(), b"\x01\0/a\0");
        assert_eq!(UnixAddr::Abstract(b"x".to_vec()).encode(), b"\x01\0\0x");
    }

    #[test]
    fn inet_addresses_are_cut_to_their_size() {
        let mut raw = vec![0; 40];
        raw[0] = 2;
        raw[3] = 80;
        let a = InetAddr::parse(&raw, af::INET).unwrap();
        assert_eq!((a.bytes().len(), a.port()), (16, 80));
        assert_eq!(InetAddr::parse(&raw[..15], af::INET), Err(Errno::EINVAL));
        raw[0] = 10;
        assert_eq!(InetAddr::parse(&raw, af::INET), Err(Errno::EAFNOSUPPORT));
        assert_eq!(InetAddr::parse(&raw, af::INET6).unwrap().bytes().len(), 28);
    }
}
