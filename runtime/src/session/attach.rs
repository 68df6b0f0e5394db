//! Making connections of a session: the first, with Hello and Welcome, and later ones which resume it.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use rsc_proto::link::{Frame, Port};
use rsc_proto::table;
use rsc_proto::transport::{DialError, Dialer, PROTOCOL_VERSION, build, error_chain};
use rsc_proto::v1::session_client::SessionClient;
use rsc_proto::v1::{Down, Hello, Sandbox, Up, Welcome, down, up};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// How long a sentry may take to open a sandbox.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one attempt to resume may take.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a session can't be opened. One line: what, to what, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The sentry can't be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It answered no.
    #[error("the sentry at {address} refuses the session: {reason}")]
    Refused {
        /// Its address.
        address: String,
        /// Its reason.
        reason: String,
        /// Whether it may be asked again.
        retry: bool,
    },
    /// It has looked for the first program.
    #[error("{reason}")]
    Program {
        /// Why that can't be executed, in the words which clients of runc look for.
        reason: String,
        /// It is not there.
        missing: bool,
    },
    /// The connection broke meanwhile.
    #[error("the connection to the sentry at {address} broke before the session was open: {cause}{hint}")]
    Broken {
        /// Its address.
        address: String,
        /// The cause.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// It took too long.
    #[error("the sentry at {address} did not open the session in {seconds} s; look at its log")]
    Timeout {
        /// Its address.
        address: String,
        /// The time it was given.
        seconds: u64,
    },
    /// It answered nonsense.
    #[error("the sentry at {address} broke the protocol: {problem}")]
    Protocol {
        /// Its address.
        address: String,
        /// What it did.
        problem: String,
    },
    /// This side failed.
    #[error("cannot prepare the session: {0}")]
    Setup(String),
}

impl ConnectError {
    /// Whether another attempt may succeed.
    fn is_transient(&self) -> bool {
        match self {
            ConnectError::Dial(e) => !matches!(e, DialError::Spent | DialError::Token),
            ConnectError::Refused { retry, .. } => *retry,
            ConnectError::Broken { .. } | ConnectError::Timeout { .. } => true,
            ConnectError::Program { .. } | ConnectError::Protocol { .. } | ConnectError::Setup(_) => false,
        }
    }

    /// What a call's status means.
    pub(super) fn from_status(dialer: &Dialer, status: &Status) -> Self {
        use std::error::Error as _;
        let address = dialer.to_string();
        if status.source().is_some() {
            let hint = "; if the sentry asks for a client certificate, give --tls-cert and --tls-key";
            return ConnectError::Broken { address, cause: error_chain(status), hint };
        }
        let retry =
            matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded);
        let reason: String = status.message().chars().take(400).collect();
        match status.code() {
            Code::NotFound if reason.starts_with("exec: ") => ConnectError::Program { reason, missing: true },
            Code::FailedPrecondition if reason.starts_with("exec: ") => {
                ConnectError::Program { reason, missing: false }
            }
            _ => ConnectError::Refused { address, reason, retry },
        }
    }
}

/// A connection on which the session flows.
pub(super) struct Connection {
    pub(super) inbound: Streaming<Down>,
    /// Keeps the channel: without users, it would be closed.
    _client: SessionClient<Channel>,
}

/// An attempt to get the connection back, until the grace is over.
pub(super) type Reconnect = LocalBoxFuture<'static, Result<Connection, String>>;

/// What it takes to say Hello, again and again.
#[derive(Clone)]
pub(super) struct Hail {
    dialer: Dialer,
    port: Port<up::Body>,
    session_id: Bytes,
    secret: Bytes,
}

impl Hail {
    pub(super) fn new(dialer: Dialer, port: Port<up::Body>) -> Self {
        Hail { dialer, port, session_id: Bytes::new(), secret: Bytes::new() }
    }

    pub(super) fn can_redial(&self) -> bool {
        self.dialer.can_redial()
    }

    /// The first connection.
    pub(super) async fn open(
        &mut self,
        sandbox: Sandbox,
        relay_token: Bytes,
    ) -> Result<(Connection, Welcome), ConnectError> {
        let hello = Hello { sandbox: Some(sandbox), relay_token, ..self.hello() };
        let attached = timeout(OPEN_TIMEOUT, self.attach(hello)).await;
        let (connection, welcome) = attached.unwrap_or_else(|_| Err(self.timed_out(OPEN_TIMEOUT)))?;
        if welcome.resumed || welcome.session_id.len() != 16 || welcome.secret.len() != 32 {
            return Err(self.protocol("its Welcome has no proper session id and secret"));
        }
        self.session_id = welcome.session_id.clone();
        self.secret = welcome.secret.clone();
        Ok((connection, welcome))
    }

    /// Another one, as soon as the sentry can be reached again. The error says why there is none after all.
    pub(super) fn reconnect(&self, grace: Duration) -> Reconnect {
        let hail = self.clone();
        Box::pin(async move {
            let mut backoff = Backoff::new(grace);
            loop {
                let error = match timeout_at(backoff.attempt_deadline(RESUME_TIMEOUT), hail.resume()).await {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) => error,
                    Err(_) => hail.timed_out(RESUME_TIMEOUT),
                };
                if !error.is_transient() {
                    return Err(error.to_string());
                }
                if !backoff.wait().await {
                    return Err(format!("no connection for {} s: {error}", grace.as_secs()));
                }
            }
        })
    }

    async fn resume(&self) -> Result<Connection, ConnectError> {
        let (connection, welcome) = self.attach(self.hello()).await?;
        if !welcome.resumed || welcome.session_id != self.session_id {
            return Err(self.protocol("it welcomed another session than the one to resume"));
        }
        Ok(connection)
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            table_digest: table::digest().to_vec().into(),
            build: build(),
            session_id: self.session_id.clone(),
            secret: self.secret.clone(),
            seen: self.port.seen(),
            sandbox: None,
            relay_token: Bytes::new(),
        }
    }

    async fn attach(&self, hello: Hello) -> Result<(Connection, Welcome), ConnectError> {
        let mut client = self.dialer.session().await?;
        let first = Frame { seq: 0, ack: 0, body: Some(up::Body::Hello(hello)) };
        let frames = self.port.connect(Some(first)).map(|f| Up { seq: f.seq, ack: f.ack, body: f.body });
        let refused = |status: Status| ConnectError::from_status(&self.dialer, &status);
        let response = client.attach(self.dialer.request(frames)).await.map_err(refused)?;
        let mut inbound = response.into_inner();
        let welcome = match inbound.message().await.map_err(refused)? {
            Some(Down { seq: 0, body: Some(down::Body::Welcome(welcome)), .. }) => welcome,
            _ => return Err(self.protocol("its first frame is not Welcome")),
        };
        self.port.open(welcome.seen).map_err(|e| self.protocol(&e.to_string()))?;
        Ok((Connection { inbound, _client: client }, welcome))
    }

    fn timed_out(&self, time: Duration) -> ConnectError {
        ConnectError::Timeout { address: self.dialer.to_string(), seconds: time.as_secs() }
    }

    fn protocol(&self, problem: &str) -> ConnectError {
        ConnectError::Protocol { address: self.dialer.to_string(), problem: problem.to_owned() }
    }
}

/// Growing pauses between attempts, up to a deadline.
pub(super) struct Backoff {
    deadline: Instant,
    pause: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(super) fn new(grace: Duration) -> Self {
        Backoff { deadline: Instant::now() + grace, pause: Self::FIRST }
    }

    /// When an attempt begun now must be over.
    pub(super) fn attempt_deadline(&self, longest: Duration) -> Instant {
        self.deadline.min(Instant::now() + longest)
    }

    /// Pauses; false when the time is over.
    pub(super) async fn wait(&mut self) -> bool {
        // Many supervisors lose one sentry together: a random half of the pause spreads their return.
        let mut random = [0u8; 1];
        let _ = getrandom::fill(&mut random);
        let [random] = random;
        let pause = self.pause / 2 + self.pause / 2 * u32::from(random) / 255;
        self.pause = (self.pause * 2).min(Self::LONGEST);
        let until = Instant::now() + pause;
        if until >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(until).await;
        true
    }
}

/// Whether a failed attempt is worth another.
pub(super) fn is_transient(error: &ConnectError) -> bool {
    error.is_transient()
}
