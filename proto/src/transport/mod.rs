//! Connections between supervisors and sentries: addresses, streams, TLS, tokens and peer identities.

mod peer;

pub use peer::{Exports, Identity, Peer};

/// The version of the session protocol. Both sides must speak the same one.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest message, either way, in bytes.
pub const MAX_MESSAGE: usize = 8 << 20;
