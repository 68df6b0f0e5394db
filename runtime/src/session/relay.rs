//! Relays sockets to a remote sentry, each on a connection of its own, since bulk data must not stall a call: those of gofers, and
//! connections to published ports.

use super::attach::{Backoff, ConnectError, is_transient};
use bytes::Bytes;
use futures_util::StreamExt as _;
use nix::sys::socket::{setsockopt, sockopt};
use rsc_proto::link::{Frame, Limits, Port, chunk, relay};
use rsc_proto::transport::{Dialer, UnixIo};
use rsc_proto::v1::relay_chunk::Body;
use rsc_proto::v1::relay_open::Stream;
use rsc_proto::v1::{Published, RelayChunk, RelayOpen};
use std::cell::Cell;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tonic::Streaming;

/// How long one attempt to connect may take: the sentry waits up to 10 s for the session's Hello, or for the workload to accept.
const ATTEMPT: Duration = Duration::from_secs(15);

/// Relays the streams of one session. Clones are of the same one.
#[derive(Clone)]
pub struct Relays {
    pub(super) dialer: Dialer,
    pub(super) token: Bytes,
    pub(super) loss_grace: Duration,
    next: Rc<Cell<u64>>,
}

impl Relays {
    pub(super) fn new(dialer: Dialer, token: Bytes, loss_grace: Duration) -> Self {
        Self { dialer, token, loss_grace, next: Rc::new(Cell::new(1)) }
    }

    /// Relays a gofer's socket until it is closed or the sentry is lost.
    pub(super) async fn gofer(self, index: u32, socket: UnixIo) {
        let relay = Relay { relays: self, stream: Stream::Gofer(index), limits: Limits::BYTES };
        match relay.run(socket).await {
            Ok(()) => tracing::debug!("gofer {index}: the relay has ended"),
            Err(problem) => tracing::warn!("gofer {index}: the relay is ended: {problem}"),
        }
    }

    /// Relays a connection to the sandbox's `port` until both ends are closed, or resets it.
    pub async fn connection(self, port: u16, socket: TcpStream) {
        let connection = self.next.replace(self.next.get() + 1);
        let stream = Stream::Published(Published { connection, port: port.into() });
        let Ok(copy) = socket.as_fd().try_clone_to_owned() else { return };
        let relay = Relay { relays: self, stream, limits: Limits::CONNECTION };
        if let Err(problem) = relay.run(socket).await {
            tracing::info!("a connection to port {port} of the sandbox is reset: {problem}");
            // The client is to see that something is wrong.
            let _ = setsockopt(&copy, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
        }
    }
}

/// One stream's relay.
struct Relay {
    relays: Relays,
    stream: Stream,
    limits: Limits,
}

impl Relay {
    async fn run(self, socket: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), String> {
        let port = Port::new(self.limits);
        let (sender, connections) = mpsc::channel(1);
        let (broken, breaks) = mpsc::unbounded_channel();
        let relaying = relay(socket, port.clone(), connections, move |n| {
            let _ = broken.send(n);
        });
        tokio::select! {
            end = relaying => end.map_err(|e| e.to_string()),
            problem = self.keep_connected(&port, sender, breaks) => Err(problem),
        }
    }

    /// Connects, and again whenever the present connection breaks; returns why that is not possible any more.
    async fn keep_connected(
        &self,
        port: &Port<Body>,
        sender: mpsc::Sender<(u64, Streaming<RelayChunk>)>,
        mut breaks: mpsc::UnboundedReceiver<u64>,
    ) -> String {
        loop {
            let mut backoff = Backoff::new(self.relays.loss_grace);
            let (connection, inbound) = loop {
                let error = match timeout_at(backoff.attempt_deadline(ATTEMPT), self.attach(port)).await {
                    Ok(Ok(connected)) => break connected,
                    Ok(Err(error)) if !is_transient(&error) => return error.to_string(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer in time".to_owned(),
                };
                if !backoff.wait().await {
                    return error;
                }
            };
            if sender.send((connection, inbound)).await.is_err() {
                return "the relay has ended".to_owned();
            }
            loop {
                match breaks.recv().await {
                    Some(broken) if broken == connection => break,
                    Some(_) => {}
                    None => return "the relay has ended".to_owned(),
                }
            }
        }
    }

    async fn attach(&self, port: &Port<Body>) -> Result<(u64, Streaming<RelayChunk>), ConnectError> {
        let Relays { dialer, token, .. } = &self.relays;
        let mut client = dialer.session().await?;
        let open = RelayOpen { relay_token: token.clone(), stream: Some(self.stream), seen: port.seen() };
        let outflow = port.connect(Some(Frame { seq: 0, ack: 0, body: Some(Body::Open(open)) }));
        let connection = outflow.connection();
        let refused = |status| ConnectError::from_status(dialer, &status);
        let response = client.relay(dialer.request(outflow.map(chunk))).await.map_err(refused)?;
        let mut inbound = response.into_inner();
        let protocol = |problem: String| ConnectError::Protocol { address: dialer.to_string(), problem };
        match inbound.message().await.map_err(refused)? {
            Some(RelayChunk { seq: 0, body: Some(Body::Open(theirs)), .. }) => {
                port.open(theirs.seen).map_err(|e| protocol(e.to_string()))?;
                Ok((connection, inbound))
            }
            _ => Err(protocol("its first chunk is not RelayOpen".into())),
        }
    }
}
