//! Sockets.

pub mod socket;

/// The network of a sandbox.
pub struct NetStack {}
