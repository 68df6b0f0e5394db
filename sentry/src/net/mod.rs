//! Sockets.

/// The network of a sandbox.
pub struct NetStack {}
