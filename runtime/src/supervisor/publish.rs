//! Published ports (`dev.rsc.publish`): listeners in the container's network namespace on the compute host, whose connections are
//! relayed to the sandbox's own network.
//!
//! A port is open as long as somebody in the sandbox listens at the other end, so that a probe which only connects learns the truth.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{Backlog, Shutdown, listen, setsockopt, shutdown, sockopt};
use rsc_oci::publish::Publication;
use rsc_sentry::net::broker::Broker;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::{StartupError, helpers};
use crate::session::Relays;
use crate::sys::host;

/// Connections at a time, of all ports; others wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// Connections that wait to be accepted, of one port.
const BACKLOG: i32 = 64;
/// How long to wait for descriptors when there are none.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Ports that are bound.
pub(super) struct Published {
    ports: Vec<(Publication, OwnedFd)>,
    /// Makes sockets in the namespace.
    broker: Broker,
}

/// How a connection gets to the workload.
pub(super) enum Way {
    /// By the remote sentry.
    Relayed(Relays),
    /// The sandbox's network is the namespace in which the ports are.
    Beside,
}

/// Where what is published listens, as the sentry said last.
pub(super) type Open = watch::Sender<BTreeSet<u16>>;

impl Published {
    /// Binds the ports in `net`; also the pid of what helps with it.
    pub(super) async fn bind(net: &helpers::Net, ports: &[Publication]) -> Result<(Self, i32), StartupError> {
        let helper = helpers::broker(net)?;
        let broker = Broker::over(helper.socket)?;
        let mut bound = Vec::new();
        for publication in ports {
            let socket = bind(&broker, publication.host.get()).await.map_err(|error| {
                StartupError(format!(
                    "annotations[\"dev.rsc.publish\"]: listening at port {}: {error}",
                    publication.host
                ))
            })?;
            bound.push((*publication, socket));
        }
        Ok((Self { ports: bound, broker }, helper.pid))
    }

    /// Serves them as long as the container lives. In a `LocalSet`.
    pub(super) fn serve(self, way: Way) -> Open {
        let (open, _) = watch::channel(BTreeSet::new());
        let way = Rc::new(match way {
            Way::Relayed(relays) => Target::Relayed(relays),
            Way::Beside => Target::Beside(self.broker),
        });
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for (publication, socket) in self.ports {
            let port = Port { publication, socket, way: Rc::clone(&way), places: Arc::clone(&places) };
            tokio::task::spawn_local(port.serve(open.subscribe()));
        }
        open
    }
}

async fn bind(broker: &Broker, port: u16) -> io::Result<OwnedFd> {
    let no_ipv6 = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
    match bind_in(broker, libc::AF_INET6, port).await {
        Err(error) if no_ipv6(&error) => bind_in(broker, libc::AF_INET, port).await,
        other => other,
    }
}

/// A socket at the wildcard address. Nobody else listens there.
async fn bind_in(broker: &Broker, domain: i32, port: u16) -> io::Result<OwnedFd> {
    const TCP: i32 = libc::IPPROTO_TCP;
    let error = |e: rsc_proto::abi::Errno| io::Error::from_raw_os_error(e.number());
    let domain = u16::try_from(domain).unwrap_or_default();
    let socket = broker.socket(domain, libc::SOCK_STREAM, TCP).await.map_err(error)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    // struct sockaddr_in, or its longer sister.
    let mut address = [domain.to_ne_bytes(), port.to_be_bytes()].concat();
    if i32::from(domain) == libc::AF_INET6 {
        host::accept_ipv4_too(socket.as_fd())?;
        address.resize(28, 0);
    } else {
        address.resize(16, 0);
    }
    broker.bind(socket.as_fd(), &address).await.map_err(error)?;
    // Who listens there already is found out by listening alone.
    listen(&socket, Backlog::new(1)?)?;
    shutdown(socket.as_raw_fd(), Shutdown::Both)?;
    Ok(socket)
}

enum Target {
    Relayed(Relays),
    Beside(Broker),
}

struct Port {
    publication: Publication,
    socket: OwnedFd,
    way: Rc<Target>,
    places: Arc<Semaphore>,
}

impl Port {
    async fn serve(self, mut open: watch::Receiver<BTreeSet<u16>>) {
        let container = self.publication.container.get();
        let failing = Cell::new(false);
        loop {
            if open.wait_for(|ports| ports.contains(&container)).await.is_err() {
                return;
            }
            tokio::select! {
                failed = self.listen() => if !failing.replace(true) {
                    tracing::error!("published port {}: {failed}", self.publication);
                },
                closed = open.wait_for(|ports| !ports.contains(&container)) => if closed.is_err() {
                    return;
                },
            }
            // Nobody listens any more. What has not been accepted is reset.
            let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
            if failing.get() {
                tokio::time::sleep(SHORTAGE).await;
            }
        }
    }

    /// Accepts, until that is not possible any more.
    async fn listen(&self) -> io::Error {
        let listening = async {
            listen(&self.socket, Backlog::new(BACKLOG)?)?;
            // Registered anew each time: the executor never forgets that a socket was closed.
            let listener = TcpListener::from_std(self.socket.try_clone()?.into())?;
            loop {
                let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                    return Err(io::ErrorKind::BrokenPipe.into());
                };
                match listener.accept().await {
                    Ok((client, _)) => {
                        let _ = client.set_nodelay(true);
                        let (way, port) = (Rc::clone(&self.way), self.publication.container.get());
                        tokio::task::spawn_local(async move {
                            way.carry(client, port).await;
                            drop(place);
                        });
                    }
                    Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => return Err(error),
                    // One that has gone again, or too few descriptors.
                    Err(_) => tokio::time::sleep(SHORTAGE).await,
                }
            }
        };
        let ended: io::Result<std::convert::Infallible> = listening.await;
        match ended {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }
}

impl Target {
    async fn carry(&self, mut client: TcpStream, port: u16) {
        match self {
            Self::Relayed(relays) => relays.clone().connection(port, client).await,
            Self::Beside(broker) => match rsc_sentry::net::connect_loopback(broker, port).await {
                Ok(mut workload) => {
                    // An error is one of the two ends', and ends both.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut workload).await;
                }
                Err(error) => {
                    tracing::info!("connecting to port {port} of the sandbox: {error}");
                    let _ = setsockopt(&client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
                }
            },
        }
    }
}
