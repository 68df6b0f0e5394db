//! Relays a gofer's socket to a remote sentry, on a connection of its own: bulk data must not stall a call.

use super::attach::{Backoff, ConnectError, is_transient};
use bytes::Bytes;
use futures_util::StreamExt as _;
use rsc_proto::link::{Frame, Limits, Port, chunk, relay};
use rsc_proto::transport::{Dialer, UnixIo};
use rsc_proto::v1::gofer_chunk::Body;
use rsc_proto::v1::{GoferChunk, GoferOpen};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tonic::Streaming;

/// How long one attempt to connect may take: the sentry waits up to 10 s for the session's Hello.
const ATTEMPT: Duration = Duration::from_secs(15);

/// One gofer's relay.
pub(super) struct Relay {
    pub(super) dialer: Dialer,
    pub(super) token: Bytes,
    pub(super) index: u32,
    pub(super) loss_grace: Duration,
}

impl Relay {
    /// Relays until the socket is closed or the sentry is lost.
    pub(super) async fn run(self, socket: UnixIo) {
        let port = Port::new(Limits::BYTES);
        let (sender, connections) = mpsc::channel(1);
        let (broken, breaks) = mpsc::unbounded_channel();
        let index = self.index;
        let relaying = relay(socket, port.clone(), connections, move |n| {
            let _ = broken.send(n);
        });
        let end = tokio::select! {
            end = relaying => end.map_err(|e| e.to_string()),
            problem = self.keep_connected(&port, sender, breaks) => Err(problem),
        };
        match end {
            Ok(()) => tracing::debug!("gofer {index}: the relay has ended"),
            Err(problem) => tracing::warn!("gofer {index}: the relay is ended: {problem}"),
        }
    }

    /// Connects, and again whenever the present connection breaks; returns why that is not possible any more.
    async fn keep_connected(
        &self,
        port: &Port<Body>,
        sender: mpsc::Sender<(u64, Streaming<GoferChunk>)>,
        mut breaks: mpsc::UnboundedReceiver<u64>,
    ) -> String {
        loop {
            let mut backoff = Backoff::new(self.loss_grace);
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

    async fn attach(&self, port: &Port<Body>) -> Result<(u64, Streaming<GoferChunk>), ConnectError> {
        let mut client = self.dialer.session().await?;
        let open = GoferOpen { gofer_token: self.token.clone(), gofer: self.index, seen: port.seen() };
        let outflow = port.connect(Some(Frame { seq: 0, ack: 0, body: Some(Body::Open(open)) }));
        let connection = outflow.connection();
        let refused = |status| ConnectError::from_status(&self.dialer, &status);
        let response = client.gofer(self.dialer.request(outflow.map(chunk))).await.map_err(refused)?;
        let mut inbound = response.into_inner();
        let protocol = |problem: String| ConnectError::Protocol { address: self.dialer.to_string(), problem };
        match inbound.message().await.map_err(refused)? {
            Some(GoferChunk { seq: 0, body: Some(Body::Open(theirs)), .. }) => {
                port.open(theirs.seen).map_err(|e| protocol(e.to_string()))?;
                Ok((connection, inbound))
            }
            _ => Err(protocol("its first chunk is not GoferOpen".into())),
        }
    }
}
