//! The client's side: from an address to a gRPC channel, over any transport.

use super::tls::ClientTls;
use super::{MAX_MESSAGE, SentryUrl, Stream, UnixIo, tune};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_vsock::{VsockAddr, VsockStream};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};

/// How long a connection may take to come about, TLS included.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a sentry can't be reached. The text is one line: what, to what, what to do.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection.
    #[error("cannot reach the sentry at {address}: {source}; {hint}")]
    Connect {
        /// The sentry's address.
        address: String,
        /// The cause.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A connection, but no TLS.
    #[error(
        "TLS with the sentry at {address} failed: {source}; check --tls-ca, --tls-cert and --tls-key on both sides"
    )]
    Tls {
        /// The sentry's address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// A connection, but no HTTP/2.
    #[error("the peer at {address} does not answer as a sentry: {cause}")]
    Protocol {
        /// The sentry's address.
        address: String,
        /// The cause.
        cause: String,
    },
    /// The token can't be sent.
    #[error("the token is not printable ASCII")]
    Token,
    /// The socket that was inherited has been used: there is no second connection.
    #[error("the private sentry is gone")]
    Spent,
}

/// Where to dial.
#[derive(Clone)]
enum Target {
    Url(SentryUrl),
    /// A connected socket of a private sentry: good for one connection.
    Inherited(Arc<Mutex<Option<std::os::unix::net::UnixStream>>>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Url(url) => url.fmt(f),
            Target::Inherited(_) => f.write_str("the private sentry's socket"),
        }
    }
}

/// Dials a sentry. Clones dial the same one.
#[derive(Clone)]
pub struct Dialer {
    target: Target,
    tls: Option<ClientTls>,
    token: Option<MetadataValue<Ascii>>,
}

impl Dialer {
    /// For a sentry at an address; `tls` and `token` are for TCP.
    pub fn new(url: SentryUrl, tls: Option<ClientTls>, token: Option<&str>) -> Result<Self, DialError> {
        let token = match token {
            Some(token) => {
                let mut value: MetadataValue<Ascii> =
                    format!("Bearer {token}").parse().map_err(|_| DialError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Dialer { target: Target::Url(url), tls, token })
    }

    /// For a private sentry which has the other end of `socket`. There is no second connection.
    pub fn inherited(socket: std::os::unix::net::UnixStream) -> Self {
        let target = Target::Inherited(Arc::new(Mutex::new(Some(socket))));
        Dialer { target, tls: None, token: None }
    }

    /// Whether another connection can be made when this one breaks.
    pub fn can_redial(&self) -> bool {
        matches!(self.target, Target::Url(_))
    }

    /// One connection.
    pub async fn dial(&self) -> Result<Stream, DialError> {
        let connected = tokio::time::timeout(DIAL_TIMEOUT, self.connect()).await;
        connected.unwrap_or_else(|_| Err(self.connect_error(io::Error::from(io::ErrorKind::TimedOut))))
    }

    async fn connect(&self) -> Result<Stream, DialError> {
        let url = match &self.target {
            Target::Inherited(slot) => {
                let socket = slot.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(DialError::Spent)?;
                return UnixIo::new(socket).map(Stream::Unix).map_err(|e| self.connect_error(e));
            }
            Target::Url(url) => url,
        };
        match url {
            SentryUrl::Tcp { host, port } => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(|e| self.connect_error(e))?;
                tcp.set_nodelay(true).map_err(|e| self.connect_error(e))?;
                let Some(tls) = &self.tls else { return Ok(Stream::Tcp(tcp)) };
                let tls_error = |source| DialError::Tls { address: self.to_string(), source };
                let name = ServerName::try_from(host.clone())
                    .map_err(|e| tls_error(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let tls = connector.connect(name, tcp).await.map_err(tls_error)?;
                Ok(Stream::Tls(Box::new(tls.into())))
            }
            SentryUrl::Vsock { cid, port } => {
                let vsock = VsockStream::connect(VsockAddr::new(*cid, *port)).await;
                vsock.map(Stream::Vsock).map_err(|e| self.connect_error(e))
            }
            SentryUrl::Unix { path } => {
                let connected = UnixStream::connect(path).await.and_then(UnixStream::into_std);
                connected.and_then(UnixIo::new).map(Stream::Unix).map_err(|e| self.connect_error(e))
            }
        }
    }

    fn connect_error(&self, source: io::Error) -> DialError {
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => "ask its operator for access (--allow-uid)",
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "is `sentry serve` running there?",
            _ => "check the address and the network",
        };
        DialError::Connect { address: self.to_string(), source, hint }
    }

    /// A gRPC channel over one new connection. It is not redialled: when it breaks, ask for another.
    pub async fn channel(&self) -> Result<Channel, DialError> {
        let stream = self.dial().await?;
        let mut once = Some(stream);
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let stream = once.take().map(TokioIo::new).ok_or(DialError::Spent);
            std::future::ready(stream)
        });
        tune::client(Endpoint::from_static("http://sentry"))
            .connect_with_connector(connector)
            .await
            .map_err(|e| DialError::Protocol { address: self.to_string(), cause: error_chain(&e) })
    }

    /// Puts the token, if there is one, on a request.
    pub fn authorize(&self, metadata: &mut MetadataMap) {
        if let Some(token) = &self.token {
            metadata.insert("authorization", token.clone());
        }
    }

    /// A request with the token, if there is one.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        self.authorize(request.metadata_mut());
        request
    }

    /// A session client over one new connection, with the message limits set.
    pub async fn session(&self) -> Result<crate::v1::session_client::SessionClient<Channel>, DialError> {
        let channel = self.channel().await?;
        Ok(crate::v1::session_client::SessionClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE))
    }
}

impl fmt::Display for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

/// An error and its causes on one line; tonic's own text says "transport error" alone.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
