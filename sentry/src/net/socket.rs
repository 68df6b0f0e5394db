//! Sockets as files.
use crate::kernel::file::{FileOps, Fut, ready};
use rsc_proto::abi::{Errno, Stat};
use std::any::Any;

/// A socket's file description.
pub struct SocketFile {}

impl SocketFile {
    /// Whether it is a byte stream.
    pub fn is_stream(&self) -> bool {
        true
    }
}

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(Stat::default()))
    }
}
