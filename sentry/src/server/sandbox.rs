//! The boundary between the server and the kernel: what a session drives, and where the kernel puts what it has to say.

use super::guests::Handed;
use futures_util::future::LocalBoxFuture;
use rsc_proto::link::Port;
use rsc_proto::transport::Peer;
use rsc_proto::v1;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A frame which no correct supervisor sends. It ends its session alone; the text is logged and sent as Goodbye.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtocolError(pub String);

/// Why a sandbox could not be opened. The text says what was asked for, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The supervisor's description of the sandbox is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The first program is not there.
    #[error("{0}")]
    NoProgram(String),
    /// It can't be executed.
    #[error("{0}")]
    UnusableProgram(String),
    /// The peer may not have what it asks for.
    #[error("{0}")]
    Denied(String),
    /// The sentry lacks what it takes: quota, export, gofer.
    #[error("{0}")]
    Unavailable(String),
}

/// What an operator may know of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxStats {
    /// Live tasks.
    pub tasks: u64,
    /// Logical calls served.
    pub calls: u64,
    /// Calls by name.
    pub counts: BTreeMap<String, u64>,
    /// Calls that got ENOSYS, by name.
    pub unimplemented: BTreeMap<String, u64>,
    /// Calls that run natively, refused for their arguments, by name.
    pub unlisted: BTreeMap<String, u64>,
    /// Calls that the container's seccomp profile forbade, by name.
    pub denied: BTreeMap<String, u64>,
}

/// What a session drives: one sandbox's kernel.
pub trait Sandbox {
    /// One frame body, in order, exactly once. An error ends this session alone.
    fn receive(&self, body: v1::up::Body) -> Result<(), ProtocolError>;
    /// The session is over (goodbye, lost after its grace, or a protocol error): end all, release all. Called once.
    fn close(&self);
    /// Figures for `sentry ps`.
    fn stats(&self) -> SandboxStats;
    /// A connection to whoever listens on this TCP port in the sandbox's network; for connections to published ports.
    fn connect(&self, _port: u16) -> LocalBoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())))
    }
}

/// A sandbox that was opened.
pub struct Opened {
    /// Its kernel.
    pub sandbox: Rc<dyn Sandbox>,
    /// The placement table: numbers of the calls which the supervisor's filter may let through.
    pub native: Vec<u32>,
}

/// Opens sandboxes; implemented by the kernel. Called on the server's one thread, inside its runtime: `spawn_local` works.
pub trait SandboxFactory {
    /// Opens a sandbox for `peer`.
    fn open(
        &self,
        sandbox: v1::Sandbox,
        peer: Peer,
        out: Outbox,
        handed: Handed,
    ) -> LocalBoxFuture<'_, Result<Opened, OpenError>>;
}

/// Bytes that can be read and written.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A gofer's byte stream.
pub enum GoferStream {
    /// A connected unix socket of this machine: descriptors can be passed. Non-blocking mode is not set.
    Local(UnixStream),
    /// Relayed by the supervisor over the network; survives reconnects.
    Relayed(Box<dyn ByteStream>),
}

/// Where the kernel puts frames for the supervisor: never blocks, cheap to clone, bounded by the link. An overflow ends the
/// session.
#[derive(Clone)]
pub struct Outbox {
    port: Port<v1::down::Body>,
    overflow: Rc<Notify>,
}

impl Outbox {
    pub(crate) fn new(port: Port<v1::down::Body>, overflow: Rc<Notify>) -> Self {
        Outbox { port, overflow }
    }

    /// Queues a frame body, to be delivered in order and exactly once.
    pub fn send(&self, body: v1::down::Body) {
        let size = body.encoded_len();
        if let Err(problem) = self.port.push(body, size) {
            tracing::warn!("a frame for a supervisor is not taken: {problem}");
            // Ended by the session's own task: the kernel is in the middle of something here.
            self.overflow.notify_one();
        }
    }

    /// An outbox and what comes out of it, for tests of the kernel.
    pub fn for_tests() -> (Outbox, impl futures_util::Stream<Item = v1::down::Body> + Unpin) {
        use futures_util::StreamExt as _;
        let port = Port::new(rsc_proto::link::Limits::SESSION);
        let out = port.connect(None);
        // A fresh link has sent nothing, so nothing can be wrong with having seen nothing.
        let _ = port.open(0);
        let bodies = out.filter_map(|frame| std::future::ready(frame.body));
        (Outbox::new(port, Rc::new(Notify::new())), bodies)
    }
}
