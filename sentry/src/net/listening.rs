//! At which TCP ports of a network somebody listens so that a connection to its loopback interface arrives; and such connections, for
//! ports that a container publishes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;

use rsc_proto::abi::{Errno, af};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::broker::Broker;
use crate::sys::net as sys;

const STREAM: i32 = 1;
const TCP: i32 = 6;

/// Ports, and how many sockets listen there. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Listening(Rc<watch::Sender<BTreeMap<u16, usize>>>);

impl Default for Listening {
    fn default() -> Self {
        Self(Rc::new(watch::Sender::new(BTreeMap::new())))
    }
}

/// One socket that listens, until it is dropped.
pub(super) struct Listener {
    port: u16,
    all: Listening,
}

impl Listening {
    /// Notes that a socket with this name listens; none where a connection to loopback would not reach it.
    pub(super) fn note(&self, name: &[u8]) -> Option<Listener> {
        let port = loopback_port(name)?;
        self.0.send_modify(|ports| *ports.entry(port).or_default() += 1);
        Some(Listener { port, all: self.clone() })
    }

    /// Tells of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeMap<u16, usize>> {
        self.0.subscribe()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.all.0.send_modify(|ports| {
            if let Some(count) = ports.get_mut(&self.port) {
                *count -= 1;
                if *count == 0 {
                    ports.remove(&self.port);
                }
            }
        });
    }
}

/// The port of a socket address that is the wildcard or loopback.
fn loopback_port(name: &[u8]) -> Option<u16> {
    let (family, rest) = name.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let reached = match u16::from_ne_bytes(*family) {
        af::INET => matches!(rest.first_chunk::<4>()?, [0, 0, 0, 0] | [127, ..]),
        af::INET6 => {
            let address = std::net::Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?);
            let mapped = address.to_ipv4_mapped().is_some_and(|it| it.is_loopback() || it.is_unspecified());
            address.is_unspecified() || address.is_loopback() || mapped
        }
        _ => false,
    };
    reached.then(|| u16::from_be_bytes(*port))
}

/// Connects to `port` of the loopback interface: IPv4's, else IPv6's.
///
/// # Errors
/// As connect(2), or the broker is gone.
pub async fn connect_loopback(broker: &Broker, port: u16) -> io::Result<TcpStream> {
    match connect(broker, af::INET, &loopback(af::INET, port)).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // Without IPv6 it was the first answer that counts.
            connect(broker, af::INET6, &loopback(af::INET6, port)).await.map_err(|_| error)
        }
        other => other,
    }
}

async fn connect(broker: &Broker, domain: u16, address: &[u8]) -> io::Result<TcpStream> {
    let error = |e: Errno| io::Error::from_raw_os_error(e.number());
    let socket = broker.socket(domain, STREAM, TCP).await.map_err(error)?;
    match sys::connect(socket.as_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(e) => return Err(error(e)),
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// `struct sockaddr_in` or `sockaddr_in6`.
fn loopback(domain: u16, port: u16) -> Vec<u8> {
    let mut raw = [domain.to_ne_bytes(), port.to_be_bytes()].concat();
    if domain == af::INET {
        raw.extend([127, 0, 0, 1]);
        raw.resize(16, 0);
    } else {
        raw.resize(8, 0);
        raw.extend(std::net::Ipv6Addr::LOCALHOST.octets());
        raw.resize(28, 0);
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_be_reached_from_loopback() {
        assert_eq!(loopback_port(&loopback(af::INET, 80)), Some(80));
        assert_eq!(loopback_port(&loopback(af::INET6, 8080)), Some(8080));
        let elsewhere = [af::INET.to_ne_bytes().as_slice(), &[0, 80, 10, 0, 0, 1], &[0; 8]].concat();
        assert_eq!(loopback_port(&elsewhere), None);
        let wildcard = [af::INET6.to_ne_bytes().as_slice(), &[0, 80], &[0; 24]].concat();
        assert_eq!(loopback_port(&wildcard), Some(80));
        assert_eq!(loopback_port(&wildcard[..20]), None);
        assert_eq!(loopback_port(&[1, 0, 0]), None);
    }

    #[test]
    fn a_port_is_open_as_long_as_anybody_listens() {
        let all = Listening::default();
        let mut seen = all.subscribe();
        let one = all.note(&loopback(af::INET, 80)).unwrap();
        let two = all.note(&loopback(af::INET6, 80)).unwrap();
        assert!(seen.has_changed().unwrap() && seen.borrow_and_update().contains_key(&80));
        drop(one);
        assert!(seen.borrow_and_update().contains_key(&80));
        drop(two);
        assert!(seen.borrow_and_update().is_empty());
    }
}
