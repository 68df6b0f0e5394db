//! Gofer streams that supervisors relay: registered when their session says Hello, connected when their stream comes.
//!
//! The two arrive in any order and on connections of their own, so a stream may wait a little for its Hello.

use super::gate::Reply;
use super::sandbox::GoferStream;
use futures_util::FutureExt as _;
use rsc_proto::link::{Frame, Limits, Outflow, Port, relay};
use rsc_proto::transport::Peer;
use rsc_proto::v1::gofer_chunk::Body;
use rsc_proto::v1::{GoferChunk, GoferOpen};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tonic::{Status, Streaming};

/// How long a stream waits for its session's Hello.
const PATIENCE: Duration = Duration::from_secs(10);
/// Streams that may wait at once.
const MAX_WAITING: usize = 256;
/// Bytes between a relay and the kernel.
const BUFFER: usize = 256 << 10;

type Token = [u8; 32];
type Connection = (u64, Streaming<GoferChunk>);

struct Entry {
    peer: Peer,
    ports: Vec<(Port<Body>, mpsc::Sender<Connection>)>,
}

/// The relayed gofers of all sessions.
#[derive(Default)]
pub(super) struct Gofers {
    by_token: RefCell<HashMap<Token, Rc<Entry>>>,
    arrived: Notify,
    waiting: Cell<usize>,
}

/// The relays of one session: they end when it is dropped.
pub(super) struct Relays {
    gofers: Rc<Gofers>,
    token: Token,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.gofers.by_token.borrow_mut().remove(&self.token);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Gofers {
    /// Makes the kernel's ends of `count` relayed streams.
    pub(super) fn register(
        self: &Rc<Self>,
        token: &[u8],
        peer: &Peer,
        count: usize,
    ) -> Result<(Vec<GoferStream>, Relays), Status> {
        let token = Token::try_from(token)
            .map_err(|_| Status::invalid_argument("Hello.gofer_token is not 256 bits, but gofers are to be relayed"))?;
        if self.by_token.borrow().contains_key(&token) {
            return Err(Status::invalid_argument("Hello.gofer_token is in use"));
        }
        let mut streams = Vec::new();
        let mut ports = Vec::new();
        let mut tasks = Vec::new();
        for index in 0..count {
            let (kernel, ours) = tokio::io::duplex(BUFFER);
            let (sender, connections) = mpsc::channel(1);
            let port = Port::new(Limits::BYTES);
            let work = relay(ours, port.clone(), connections, |_| {});
            let task = tokio::task::spawn_local(work.map(move |end| {
                if let Err(problem) = end {
                    tracing::warn!("the relay of gofer {index} is ended: {problem}");
                }
            }));
            tasks.push(task.abort_handle());
            streams.push(GoferStream::Relayed(Box::new(kernel)));
            ports.push((port, sender));
        }
        self.by_token.borrow_mut().insert(token, Rc::new(Entry { peer: peer.clone(), ports }));
        self.arrived.notify_waiters();
        Ok((streams, Relays { gofers: Rc::clone(self), token, tasks }))
    }

    /// A gofer stream has come: connects it to its relay.
    pub(super) async fn attach(
        &self,
        open: GoferOpen,
        inbound: Streaming<GoferChunk>,
        peer: Peer,
        reply: Reply<Outflow<Body>>,
    ) {
        let attached = async {
            let entry = self.find(&open.gofer_token, &peer).await?;
            let index = usize::try_from(open.gofer).unwrap_or(usize::MAX);
            let (port, sender) =
                entry.ports.get(index).ok_or_else(|| Status::invalid_argument("the session has no such gofer"))?;
            let ours = GoferOpen { seen: port.seen(), ..GoferOpen::default() };
            let first = Frame { seq: 0, ack: 0, body: Some(Body::Open(ours)) };
            let outflow = port.connect(Some(first));
            port.open(open.seen).map_err(|e| Status::invalid_argument(format!("GoferOpen.seen: {e}")))?;
            sender.send((outflow.connection(), inbound)).await.map_err(|_| unknown())?;
            Ok(outflow)
        };
        let _ = reply
            .send(attached.await.inspect_err(|e: &Status| tracing::warn!("refused a gofer stream: {}", e.message())));
    }

    async fn find(&self, token: &[u8], peer: &Peer) -> Result<Rc<Entry>, Status> {
        let token = Token::try_from(token).map_err(|_| unknown())?;
        let look = || {
            // The token is random and 256 bits long, so a hash map's timing tells nothing about it.
            let found = self.by_token.borrow().get(&token).cloned();
            found.map(|entry| if entry.peer.identity == peer.identity { Ok(entry) } else { Err(unknown()) })
        };
        if let Some(found) = look() {
            return found;
        }
        if self.waiting.get() >= MAX_WAITING {
            return Err(Status::resource_exhausted("too many gofer streams wait for their sessions"));
        }
        self.waiting.set(self.waiting.get() + 1);
        let wait = async {
            loop {
                let arrived = self.arrived.notified();
                tokio::pin!(arrived);
                arrived.as_mut().enable();
                if let Some(found) = look() {
                    return found;
                }
                arrived.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        self.waiting.set(self.waiting.get() - 1);
        found.unwrap_or_else(|_| Err(unknown()))
    }
}

fn unknown() -> Status {
    Status::not_found("the sentry knows no such gofer stream of this peer")
}
