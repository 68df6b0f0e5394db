//! Connections between supervisors and sentries: addresses, streams, TLS, tokens and peer identities.
//!
//! A client makes a [`Dialer`] from a [`SentryUrl`] (or an inherited socket) and asks it for channels. A server binds
//! [`Listener`]s, merges them into one [`Incoming`], and turns a request's [`Proof`] and token into a [`Peer`] by its [`Guard`].

mod auth;
mod dial;
pub mod door;
mod listen;
mod peer;
mod stream;
mod tls;
mod tune;
mod unix;
mod url;

pub use auth::{Guard, Proof, TokenFileError, Tokens, client_token};
pub use dial::{DialError, Dialer, error_chain};
pub use listen::{Incoming, ListenAddr, ListenError, Listener};
pub use peer::{Exports, Identity, Peer};
pub use stream::{Accepted, Stream};
pub use tls::{ClientCertificates, ClientTls, ServerTls, TlsError};
pub use tune::server;
pub use unix::UnixIo;
pub use url::{SentryUrl, UrlError};

/// The version of the session protocol. Both sides must speak the same one.
pub const PROTOCOL_VERSION: u32 = 5;

/// Longest message, either way, in bytes.
pub const MAX_MESSAGE: usize = 8 << 20;

/// This build, as named in messages about two that do not fit together.
pub fn build() -> String {
    let table: String = crate::table::digest().iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("rsc {} (protocol {PROTOCOL_VERSION}, table {table})", env!("CARGO_PKG_VERSION"))
}

/// Whether a stream's error means that the peer broke the rules (a message that can't be decoded, or is too long), as opposed to
/// the connection breaking: those errors have a source, and most of them other codes.
pub fn is_violation(status: &tonic::Status) -> bool {
    use std::error::Error as _;
    matches!(status.code(), tonic::Code::Internal | tonic::Code::OutOfRange) && status.source().is_none()
}
