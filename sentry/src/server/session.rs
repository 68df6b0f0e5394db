//! One session: the link to its supervisor, its sandbox, and the task which drives both from the first connection to the end.

use super::sandbox::{Outbox, Sandbox, SandboxStats};
use rsc_proto::link::{Frame, Outflow, Port};
use rsc_proto::transport::{Peer, is_violation};
use rsc_proto::v1::{Goodbye, Pong, SessionInfo, Up, Welcome, down, up};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Status, Streaming};

/// How long the last word of a session that the sentry ended is kept for a supervisor that reconnects.
const LINGER: Duration = Duration::from_secs(5);
/// Frames handled before other sessions get their turn.
const TURN: u32 = 64;

/// The public half of a session's identity.
pub(super) type SessionId = [u8; 16];

/// A new connection of a session that exists.
pub(super) struct Resume {
    pub(super) inbound: Streaming<Up>,
    pub(super) seen: u64,
    pub(super) reply: oneshot::Sender<Result<Outflow<down::Body>, Status>>,
}

pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) secret: [u8; 32],
    pub(super) peer: Peer,
    name: String,
    build: String,
    port: Port<down::Body>,
    overflow: Rc<Notify>,
    /// The server ends the session, with this reason.
    dismissed: Cell<Option<&'static str>>,
    dismiss: Notify,
    sandbox: std::cell::OnceCell<Rc<dyn Sandbox>>,
    resumes: mpsc::Sender<Resume>,
    connected: Cell<bool>,
    started: u64,
}

/// How the driving of a session ended.
enum End {
    /// The supervisor said goodbye.
    Goodbye(String),
    /// The supervisor did not come back.
    Lost,
    /// The sentry ends it, for this reason.
    Failed(String),
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        secret: [u8; 32],
        peer: Peer,
        name: String,
        build: String,
    ) -> (Rc<Self>, mpsc::Receiver<Resume>) {
        let (resumes, receiver) = mpsc::channel(4);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let session = Rc::new(Session {
            id,
            secret,
            peer,
            name,
            build,
            port: Port::new(rsc_proto::link::Limits::SESSION),
            overflow: Rc::new(Notify::new()),
            dismissed: Cell::new(None),
            dismiss: Notify::new(),
            sandbox: std::cell::OnceCell::new(),
            resumes,
            connected: Cell::new(true),
            started,
        });
        (session, receiver)
    }

    pub(super) fn outbox(&self) -> Outbox {
        Outbox::new(self.port.clone(), Rc::clone(&self.overflow))
    }

    pub(super) fn id_text(&self) -> String {
        self.id.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Ends the session soon, with a Goodbye.
    pub(super) fn dismiss(&self, reason: &'static str) {
        self.dismissed.set(Some(reason));
        self.dismiss.notify_one();
    }

    /// Hands a new connection to the session's task.
    pub(super) async fn resume(&self, resume: Resume) {
        if let Err(mpsc::error::SendError(resume)) = self.resumes.send(resume).await {
            let _ = resume.reply.send(Err(unknown()));
        }
    }

    /// The first connection's outflow, when the sandbox is open.
    pub(super) fn welcome(&self, sandbox: Rc<dyn Sandbox>, native: Vec<u32>) -> Result<Outflow<down::Body>, Status> {
        let _ = self.sandbox.set(sandbox);
        self.connect(0, false, native)
    }

    fn connect(&self, peer_seen: u64, resumed: bool, native: Vec<u32>) -> Result<Outflow<down::Body>, Status> {
        let welcome = Welcome {
            session_id: self.id.to_vec().into(),
            // A supervisor that resumes has it already.
            secret: if resumed { Vec::new() } else { self.secret.to_vec() }.into(),
            seen: self.port.seen(),
            build: self.build.clone(),
            resumed,
            native,
        };
        let first = Frame { seq: 0, ack: 0, body: Some(down::Body::Welcome(welcome)) };
        let outflow = self.port.connect(Some(first));
        self.port.open(peer_seen).map_err(|e| Status::invalid_argument(format!("Hello.seen: {e}")))?;
        Ok(outflow)
    }

    pub(super) fn info(&self) -> SessionInfo {
        let stats = self.sandbox.get().map(|s| s.stats()).unwrap_or_default();
        SessionInfo {
            id: self.id_text(),
            sandbox: self.name.clone(),
            peer: self.peer.to_string(),
            state: if self.connected.get() { "connected" } else { "detached" }.into(),
            tasks: stats.tasks,
            calls: stats.calls,
            started_unix: self.started,
            unimplemented: stats.unimplemented.into_iter().collect(),
            counts: stats.counts.into_iter().collect(),
            unlisted: stats.unlisted.into_iter().collect(),
            denied: stats.denied.into_iter().collect(),
        }
    }

    /// Runs the session to its end. `connection` is the number of the first connection, whose frames come by `inbound`.
    pub(super) async fn drive(
        self: Rc<Self>,
        connection: u64,
        inbound: Streaming<Up>,
        mut resumes: mpsc::Receiver<Resume>,
        grace: Duration,
    ) {
        let mut wire = Wire { session: &self, connection, inbound: Some(inbound), since: Instant::now() };
        let end = loop {
            tokio::select! {
                biased;
                Some(resume) = resumes.recv() => if let Err(problem) = wire.replace(resume) {
                    break End::Failed(problem);
                },
                () = self.overflow.notified() => break End::Failed("more is to be sent to the supervisor than it takes".into()),
                () = self.dismiss.notified() => {
                    break End::Failed(self.dismissed.get().unwrap_or("the sentry ends").into());
                }
                () = tokio::time::sleep_until(wire.since + grace), if wire.inbound.is_none() => break End::Lost,
                end = wire.run() => if let Some(end) = end { break end; },
            }
        };
        self.finish(wire, end, resumes).await;
    }

    /// The line that says what a session's workload called, for whoever compares or charges.
    fn account(&self, stats: &SandboxStats) {
        tracing::info!(
            session = %self.id_text(),
            sandbox = %self.name,
            calls = stats.calls,
            counts = %listed(&stats.counts),
            unimplemented = %listed(&stats.unimplemented),
            unlisted = %listed(&stats.unlisted),
            denied = %listed(&stats.denied),
            "calls of a session"
        );
    }

    async fn finish(&self, mut wire: Wire<'_>, end: End, mut resumes: mpsc::Receiver<Resume>) {
        let (id, peer) = (self.id_text(), &self.peer);
        let say = match end {
            End::Goodbye(reason) => {
                tracing::info!("session {id} of {peer} ended: {reason:?}");
                None
            }
            End::Lost => {
                tracing::warn!("session {id} of {peer} was lost: its supervisor did not come back in time");
                None
            }
            End::Failed(reason) => {
                tracing::warn!("session {id} of {peer} is ended: {reason}");
                Some(reason)
            }
        };
        if let Some(sandbox) = self.sandbox.get() {
            sandbox.close();
            self.account(&sandbox.stats());
        }
        // When the server ends, nobody who is away can come back to hear it.
        let Some(reason) = say.filter(|_| self.dismissed.get().is_none() || wire.inbound.is_some()) else {
            self.port.disconnect(wire.connection);
            return;
        };
        let goodbye = down::Body::Goodbye(Goodbye { reason });
        let size = goodbye.encoded_len();
        self.port.finish(goodbye, size);
        // What the supervisor still sends is read (so that nothing stalls) but means nothing any more.
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        loop {
            tokio::select! {
                biased;
                () = &mut linger => break,
                Some(resume) = resumes.recv() => if wire.replace(resume).is_err() { break },
                frame = wire.next() => if !matches!(frame, Some(Ok(_))) {
                    // The way down may still be open.
                    wire.inbound = None;
                },
                () = std::future::poll_fn(|cx| self.port.poll_finished(cx)), if wire.inbound.is_none() => break,
            }
        }
        self.port.disconnect(wire.connection);
    }
}

/// `name=count name=count`, in the order of the names.
fn listed(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, n)| format!("{name}={n}")).collect::<Vec<_>>().join(" ")
}

/// The present connection of a session, if there is one.
struct Wire<'a> {
    session: &'a Session,
    connection: u64,
    inbound: Option<Streaming<Up>>,
    /// When there has been none: since when.
    since: Instant,
}

impl Wire<'_> {
    fn replace(&mut self, resume: Resume) -> Result<(), String> {
        match self.session.connect(resume.seen, true, Vec::new()) {
            Ok(outflow) => {
                tracing::info!("session {} is resumed by {}", self.session.id_text(), self.session.peer);
                self.connection = outflow.connection();
                self.inbound = Some(resume.inbound);
                self.session.connected.set(true);
                if resume.reply.send(Ok(outflow)).is_err() {
                    self.detach(); // gone again
                }
                Ok(())
            }
            Err(status) => {
                let problem = status.message().to_owned();
                let _ = resume.reply.send(Err(status));
                Err(problem)
            }
        }
    }

    fn detach(&mut self) {
        self.inbound = None;
        self.since = Instant::now();
        self.session.connected.set(false);
        self.session.port.disconnect(self.connection);
    }

    async fn next(&mut self) -> Option<Result<Up, Status>> {
        match &mut self.inbound {
            Some(inbound) => inbound.message().await.transpose(),
            None => std::future::pending().await,
        }
    }

    /// Delivers frames until the connection ends (`None`) or the session does. Cancel-safe: a frame that was taken from the
    /// stream is delivered before the next `await`.
    async fn run(&mut self) -> Option<End> {
        for _ in 0..TURN {
            match self.next().await {
                Some(Ok(frame)) => {
                    if let Err(end) = self.deliver(frame) {
                        return Some(end);
                    }
                }
                Some(Err(status)) if is_violation(&status) => {
                    return Some(End::Failed(format!("a frame is malformed: {}", status.message())));
                }
                Some(Err(status)) => {
                    tracing::info!("session {} is detached: {}", self.session.id_text(), status.message());
                    self.detach();
                    return None;
                }
                None => {
                    tracing::info!("session {} is detached: the stream ended", self.session.id_text());
                    self.detach();
                    return None;
                }
            }
        }
        tokio::task::yield_now().await;
        None
    }

    fn deliver(&self, frame: Up) -> Result<(), End> {
        let failed = |problem: String| End::Failed(problem);
        let size = frame.body.as_ref().map_or(0, up::Body::encoded_len);
        self.session.port.receive(frame.seq, frame.ack, size).map_err(|e| failed(e.to_string()))?;
        match (frame.seq, frame.body) {
            // A bare acknowledgement, or an answered ping.
            (0, None | Some(up::Body::Pong(_))) => Ok(()),
            (0, Some(up::Body::Ping(ping))) => {
                self.session.port.urgent(down::Body::Pong(Pong { nonce: ping.nonce }));
                Ok(())
            }
            (0, Some(_)) => Err(failed("a frame without a sequence number".into())),
            (_, Some(up::Body::Goodbye(goodbye))) => Err(End::Goodbye(bounded(&goodbye.reason))),
            (_, None | Some(up::Body::Hello(_) | up::Body::Ping(_) | up::Body::Pong(_))) => {
                Err(failed("a frame with a sequence number that its kind does not have".into()))
            }
            (_, Some(body)) => match self.session.sandbox.get() {
                Some(sandbox) => sandbox.receive(body).map_err(|e| failed(e.0)),
                None => Ok(()),
            },
        }
    }
}

/// A resumption of a session that is not here, or not this peer's, or with the wrong secret: all the same to who asks.
pub(super) fn unknown() -> Status {
    Status::not_found("the sentry knows no such session of this peer")
}

/// Text from outside, fit for a log.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(200).collect()
}
