//! The supervisor's side of a session: one ordered stream of frames each way, which survives broken connections.
//!
//! Everything runs on the supervisor's one thread, and nothing of it in a task of its own: [`SessionHandle::recv`] reads the
//! connection, watches for silence and reconnects while it is polled; [`SessionHandle::send`] queues a frame, which the
//! connection's task writes when the caller next yields.

mod attach;
mod relay;

pub use attach::ConnectError;
pub use relay::Relays;

use attach::{Connection, Hail, Reconnect};
use futures_util::{FutureExt as _, Stream as _};
use rsc_proto::link::{Limits, Port};
use rsc_proto::transport::door::GuestToken;
use rsc_proto::transport::{Dialer, UnixIo, is_violation};
use rsc_proto::v1::{Down, Goodbye, Ping, Pong, Sandbox, Welcome, down, up};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

/// How to open a session.
pub struct SessionConfig {
    /// The sentry.
    pub dialer: Dialer,
    /// The container's world, for the sentry.
    pub sandbox: Sandbox,
    /// Sockets of the gofers named in `sandbox.gofers`, in that order, to be relayed to a remote sentry. Empty for an embedded
    /// one, which got them as descriptors.
    pub gofers: Vec<UnixStream>,
    /// Tells a shared private sentry which gofers it got for this session.
    pub guest: Option<GuestToken>,
    /// How long the connection may be broken before the session is lost.
    pub loss_grace: Duration,
    /// A connection is pinged after this long without a frame, and given up after three times as long.
    pub ping_every: Duration,
}

impl SessionConfig {
    /// With the default times.
    pub fn new(dialer: Dialer, sandbox: Sandbox, gofers: Vec<UnixStream>) -> Self {
        SessionConfig {
            dialer,
            sandbox,
            gofers,
            guest: None,
            loss_grace: Duration::from_secs(30),
            ping_every: Duration::from_secs(5),
        }
    }
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// A frame: in order, exactly once.
    Body(down::Body),
    /// The connection is broken; it is being made anew. Frames that are sent meanwhile are kept.
    Detached,
    /// The connection is back, nothing was lost.
    Resumed,
    /// The session is over, for this reason. Nothing follows.
    Lost(String),
}

enum State {
    Connected(Box<Connection>),
    Reconnecting(Reconnect),
    Lost,
}

/// Periods of silence after which a connection is given up.
const MAX_SILENT: u32 = 3;
/// How long a goodbye may take to arrive.
const GOODBYE: Duration = Duration::from_secs(2);

/// Puts frames on the session: never blocks, cheap to clone.
#[derive(Clone)]
pub struct SessionSender {
    port: Port<up::Body>,
}

/// A frame that is too long, or one more than a session keeps for a sentry that does not take them.
pub type Overflow = rsc_proto::link::Overflow;

impl SessionSender {
    /// Queues a frame, to arrive in order and exactly once.
    pub fn send(&self, body: up::Body) -> Result<(), Overflow> {
        let size = body.encoded_len();
        self.port.push(body, size)
    }
}

/// The supervisor's end of a session.
pub struct SessionHandle {
    port: Port<up::Body>,
    hail: Hail,
    state: State,
    loss_grace: Duration,
    ticks: Interval,
    silent: u32,
    nonce: u64,
    /// Relays of the gofers; they end with the session.
    _gofers: JoinSet<()>,
    relays: Relays,
}

/// Opens sessions.
pub struct SessionClient;

impl SessionClient {
    /// Opens a session. Must be called inside a tokio `LocalRuntime` or `LocalSet`.
    pub async fn connect(config: SessionConfig) -> Result<(SessionHandle, Welcome), ConnectError> {
        let SessionConfig { dialer, sandbox, gofers, guest, loss_grace, ping_every } = config;
        let port = Port::new(Limits::SESSION);
        let mut tasks = JoinSet::new();
        let mut token = guest.map(|guest| guest.to_bytes().to_vec()).unwrap_or_default();
        if !gofers.is_empty() || dialer.can_redial() && !sandbox.published.is_empty() {
            token.resize(32, 0);
            getrandom::fill(&mut token).map_err(|e| ConnectError::Setup(format!("no randomness: {e}")))?;
        }
        let relays = Relays::new(dialer.clone(), token.clone().into(), loss_grace);
        for (index, socket) in (0u32..).zip(gofers) {
            let socket = UnixIo::new(socket)
                .map_err(|e| ConnectError::Setup(format!("the socket of gofer {index} is not usable: {e}")))?;
            tasks.spawn_local(relays.clone().gofer(index, socket));
        }
        let mut hail = Hail::new(dialer, port.clone());
        let (connection, welcome) = hail.open(sandbox, token.into()).await?;
        let mut ticks = tokio::time::interval(ping_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let state = State::Connected(Box::new(connection));
        let handle =
            SessionHandle { port, hail, state, loss_grace, ticks, silent: 0, nonce: 0, _gofers: tasks, relays };
        Ok((handle, welcome))
    }
}

impl SessionHandle {
    /// Queues a frame, to arrive in order and exactly once; never blocks.
    pub fn send(&self, body: up::Body) -> Result<(), Overflow> {
        self.sender().send(body)
    }

    /// A sender of its own, for other parts of the supervisor.
    pub fn sender(&self) -> SessionSender {
        SessionSender { port: self.port.clone() }
    }

    /// What relays connections to published ports; of use with a sentry that can be dialled again.
    pub fn relays(&self) -> Relays {
        self.relays.clone()
    }

    /// The next event. Cancel-safe. It must be polled for pings and reconnects to happen.
    pub async fn recv(&mut self) -> SessionEvent {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        loop {
            match &mut self.state {
                State::Connected(connection) => match Pin::new(&mut connection.inbound).poll_next(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.silent = 0;
                        match self.accept(frame) {
                            Ok(None) => {}
                            Ok(Some(body)) => return Poll::Ready(SessionEvent::Body(body)),
                            Err(reason) => return self.lose(reason),
                        }
                    }
                    Poll::Ready(Some(Err(status))) if is_violation(&status) => {
                        return self.lose(format!("the sentry sent a malformed frame: {}", status.message()));
                    }
                    Poll::Ready(_) => return self.detach(),
                    Poll::Pending => {
                        if self.ticks.poll_tick(cx).is_pending() {
                            return Poll::Pending;
                        }
                        self.silent += 1;
                        if self.silent > MAX_SILENT {
                            return self.detach();
                        }
                        self.nonce += 1;
                        self.port.urgent(up::Body::Ping(Ping { nonce: self.nonce }));
                    }
                },
                State::Reconnecting(reconnect) => match reconnect.poll_unpin(cx) {
                    Poll::Ready(Ok(connection)) => {
                        self.silent = 0;
                        self.ticks.reset();
                        self.state = State::Connected(Box::new(connection));
                        return Poll::Ready(SessionEvent::Resumed);
                    }
                    Poll::Ready(Err(reason)) => return self.lose(reason),
                    Poll::Pending => return Poll::Pending,
                },
                State::Lost => return Poll::Pending,
            }
        }
    }

    /// Ends the session: everything sent before arrives, if there is a connection. Waits a moment for that.
    pub async fn close(mut self, reason: &str) {
        let goodbye = up::Body::Goodbye(Goodbye { reason: reason.to_owned() });
        let size = goodbye.encoded_len();
        self.port.finish(goodbye, size);
        let over = async {
            loop {
                // The sentry ends the stream when it has the goodbye; its last frames mean nothing any more.
                match &mut self.state {
                    State::Connected(connection) => match connection.inbound.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) | Err(_) => return,
                    },
                    State::Reconnecting(reconnect) => match reconnect.await {
                        Ok(connection) => self.state = State::Connected(Box::new(connection)),
                        Err(_) => return,
                    },
                    State::Lost => return,
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE, over).await;
    }

    fn accept(&mut self, frame: Down) -> Result<Option<down::Body>, String> {
        let wrong = || "the sentry sent a frame with no place here".to_owned();
        let size = frame.body.as_ref().map_or(0, down::Body::encoded_len);
        self.port.receive(frame.seq, frame.ack, size).map_err(|e| format!("the sentry broke the protocol: {e}"))?;
        match (frame.seq, frame.body) {
            (0, None | Some(down::Body::Pong(_))) => Ok(None),
            (0, Some(down::Body::Ping(ping))) => {
                self.port.urgent(up::Body::Pong(Pong { nonce: ping.nonce }));
                Ok(None)
            }
            (0, Some(_)) | (_, None | Some(down::Body::Welcome(_) | down::Body::Ping(_) | down::Body::Pong(_))) => {
                Err(wrong())
            }
            (_, Some(down::Body::Goodbye(goodbye))) => {
                let reason: String = goodbye.reason.chars().take(400).collect();
                Err(format!("the sentry ended the session: {reason}"))
            }
            (_, Some(body)) => Ok(Some(body)),
        }
    }

    fn detach(&mut self) -> Poll<SessionEvent> {
        if !self.hail.can_redial() {
            return self.lose("the private sentry has ended".to_owned());
        }
        self.state = State::Reconnecting(self.hail.reconnect(self.loss_grace));
        Poll::Ready(SessionEvent::Detached)
    }

    fn lose(&mut self, reason: String) -> Poll<SessionEvent> {
        self.state = State::Lost;
        self.port.close();
        Poll::Ready(SessionEvent::Lost(reason))
    }
}
