//! All that crosses a wire in rsc: messages, transports, the session's link, the syscall table and the Linux ABI.

pub mod abi;
pub mod link;
pub mod table;
pub mod transport;

/// Generated messages and services of package `rsc.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("rsc.v1");
    /// The encoded file descriptor set, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

pub mod gofer;
