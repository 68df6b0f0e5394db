//! Streams that supervisors relay: those of gofers, registered when their session says Hello and connected when their stream comes, and
//! connections to published ports, which begin with their stream.
//!
//! A gofer's stream and its Hello arrive in any order and on connections of their own, so a stream may wait a little for its Hello.

use super::gate::Reply;
use super::sandbox::{GoferStream, Sandbox};
use futures_util::FutureExt as _;
use rsc_proto::link::{Frame, Limits, Outflow, Port, RelayError, relay};
use rsc_proto::transport::Peer;
use rsc_proto::v1::relay_chunk::Body;
use rsc_proto::v1::relay_open::Stream;
use rsc_proto::v1::{Published, RelayChunk, RelayOpen};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Status, Streaming};

/// How long a stream waits for its session's Hello.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the workload may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Streams that may wait at once.
const MAX_WAITING: usize = 256;
/// Connections to the published ports of one session, at a time.
const MAX_CONNECTIONS: usize = 128;
/// Bytes between a gofer's relay and the kernel.
const BUFFER: usize = 256 << 10;

type Token = [u8; 32];
type Connection = (u64, Streaming<RelayChunk>);
/// A stream's link, and where new connections for it go.
type Line = (Port<Body>, mpsc::Sender<Connection>);

struct Entry {
    peer: Peer,
    gofers: Vec<Line>,
    /// Ports that may be connected to.
    published: Vec<u16>,
    /// Whose ports they are, once it is open, and how long a connection may be away.
    sandbox: OnceCell<(Weak<dyn Sandbox>, Duration)>,
    connections: RefCell<HashMap<u64, Line>>,
    /// The relays of `connections`.
    tasks: RefCell<JoinSet<()>>,
}

/// The relayed streams of all sessions.
#[derive(Default)]
pub(super) struct Relays {
    by_token: RefCell<HashMap<Token, Rc<Entry>>>,
    arrived: Notify,
    waiting: Cell<usize>,
}

/// The relays of one session: they end when it is dropped.
pub(super) struct Relayed {
    relays: Rc<Relays>,
    token: Token,
    entry: Rc<Entry>,
    gofers: Vec<AbortHandle>,
}

impl Relayed {
    /// From now on published ports are those of `sandbox`. A connection is given up after it was away for `grace`.
    pub(super) fn serve(&self, sandbox: &Rc<dyn Sandbox>, grace: Duration) {
        let _ = self.entry.sandbox.set((Rc::downgrade(sandbox), grace));
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.relays.by_token.borrow_mut().remove(&self.token);
        for gofer in &self.gofers {
            gofer.abort();
        }
        self.entry.tasks.borrow_mut().abort_all();
    }
}

impl Relays {
    /// Makes the kernel's ends of `count` relayed gofers, and lets connections come in to the published ports.
    pub(super) fn register(
        self: &Rc<Self>,
        token: &[u8],
        peer: &Peer,
        count: usize,
        published: Vec<u16>,
    ) -> Result<(Vec<GoferStream>, Relayed), Status> {
        let token = Token::try_from(token).map_err(|_| {
            Status::invalid_argument("Hello.relay_token is not 256 bits, but something is to be relayed")
        })?;
        if self.by_token.borrow().contains_key(&token) {
            return Err(Status::invalid_argument("Hello.relay_token is in use"));
        }
        let mut streams = Vec::new();
        let mut lines = Vec::new();
        let mut gofers = Vec::new();
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
            gofers.push(task.abort_handle());
            streams.push(GoferStream::Relayed(Box::new(kernel)));
            lines.push((port, sender));
        }
        let entry = Rc::new(Entry {
            peer: peer.clone(),
            gofers: lines,
            published,
            sandbox: OnceCell::new(),
            connections: RefCell::default(),
            tasks: RefCell::default(),
        });
        self.by_token.borrow_mut().insert(token, Rc::clone(&entry));
        self.arrived.notify_waiters();
        Ok((streams, Relayed { relays: Rc::clone(self), token, entry, gofers }))
    }

    /// A stream has come: connects it to its relay.
    pub(super) async fn attach(
        &self,
        open: RelayOpen,
        inbound: Streaming<RelayChunk>,
        peer: Peer,
        reply: Reply<Outflow<Body>>,
    ) {
        let attached = async {
            let entry = self.find(&open.relay_token, &peer).await?;
            let (port, sender) = match open.stream {
                Some(Stream::Gofer(index)) => {
                    let line = usize::try_from(index).ok().and_then(|index| entry.gofers.get(index));
                    line.cloned().ok_or_else(|| Status::invalid_argument("the session has no such gofer"))?
                }
                Some(Stream::Published(to)) => entry.line(to, open.seen).await?,
                None => return Err(Status::invalid_argument("RelayOpen names no stream")),
            };
            let ours = RelayOpen { seen: port.seen(), ..RelayOpen::default() };
            let first = Frame { seq: 0, ack: 0, body: Some(Body::Open(ours)) };
            let outflow = port.connect(Some(first));
            port.open(open.seen).map_err(|e| Status::invalid_argument(format!("RelayOpen.seen: {e}")))?;
            sender.send((outflow.connection(), inbound)).await.map_err(|_| unknown())?;
            Ok(outflow)
        };
        let refused = |e: &Status| tracing::info!("refused a relayed stream: {}", e.message());
        let _ = reply.send(attached.await.inspect_err(refused));
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
            return Err(Status::resource_exhausted("too many relayed streams wait for their sessions"));
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

impl Entry {
    /// The line of a connection to a published port: a new one, or one whose supervisor comes back.
    async fn line(self: &Rc<Self>, to: Published, seen: u64) -> Result<Line, Status> {
        let known = || self.connections.borrow().get(&to.connection).cloned();
        if let Some(line) = known() {
            return Ok(line);
        }
        if seen != 0 {
            return Err(unknown());
        }
        let port = u16::try_from(to.port).ok().filter(|port| self.published.contains(port));
        let port = port.ok_or_else(|| Status::invalid_argument(format!("port {} is not published", to.port)))?;
        if self.connections.borrow().len() >= MAX_CONNECTIONS {
            return Err(Status::resource_exhausted("too many connections to published ports"));
        }
        let sandbox = self.sandbox.get().and_then(|(sandbox, grace)| Some((sandbox.upgrade()?, *grace)));
        let (sandbox, grace) = sandbox.ok_or_else(unknown)?;
        let connected = tokio::time::timeout(CONNECT, sandbox.connect(port)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let socket = connected.map_err(|error| {
            Status::failed_precondition(format!("connecting to port {port} of the sandbox: {error}"))
        })?;
        // Two streams for one connection: the first that comes so far is it.
        if let Some(line) = known() {
            return Ok(line);
        }
        Ok(self.begin(to.connection, socket, grace))
    }

    fn begin(self: &Rc<Self>, id: u64, socket: TcpStream, grace: Duration) -> Line {
        let (sender, connections) = mpsc::channel(1);
        let port = Port::new(Limits::CONNECTION);
        let line = (port.clone(), sender);
        self.connections.borrow_mut().insert(id, line.clone());
        let entry = Rc::downgrade(self);
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(async move {
            if let Err(problem) = attended(socket, port, connections, grace).await {
                tracing::info!("the relay of a connection to a published port is ended: {problem}");
            }
            if let Some(entry) = entry.upgrade() {
                entry.connections.borrow_mut().remove(&id);
            }
        });
        line
    }
}

/// Relays until an end is closed for good, or until no supervisor has come for `grace`.
async fn attended(
    socket: TcpStream,
    port: Port<Body>,
    mut connections: mpsc::Receiver<Connection>,
    grace: Duration,
) -> Result<(), RelayError> {
    let (sender, passed_on) = mpsc::channel(1);
    let (broken, mut breaks) = mpsc::unbounded_channel();
    let relaying = relay(socket, port, passed_on, move |n| {
        // Gone with the watch below.
        let _ = broken.send(n);
    });
    let watch = async {
        // The one that is there; the first is on its way.
        let mut present = None;
        loop {
            tokio::select! {
                biased;
                Some(connection) = connections.recv() => {
                    present = Some(connection.0);
                    if sender.send(connection).await.is_err() {
                        return;
                    }
                }
                Some(n) = breaks.recv() => if present == Some(n) {
                    present = None;
                },
                () = tokio::time::sleep(grace), if present.is_none() => return,
            }
        }
    };
    tokio::select! {
        end = relaying => end,
        () = watch => Err(RelayError::Lost),
    }
}

fn unknown() -> Status {
    Status::not_found("the sentry knows no such stream of this peer")
}
