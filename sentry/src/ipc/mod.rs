//! What processes talk through that is no file: pipes, event counters, timers, epoll.
//!
//! Everything here is on the kernel's one thread. An object never calls another while one of its own cells is borrowed: it changes
//! its state, lets go, and then notifies its `WaitQueue`.

pub mod limits;
pub mod pipe;

/// Device number of anonymous pipes, as fstat(2) shows it.
pub(crate) const PIPEFS_DEV: u64 = 14;
/// Device number of sockets.
pub(crate) const SOCKFS_DEV: u64 = 8;
/// Device number of what has no file system: eventfd, epoll, timerfd.
pub(crate) const ANON_DEV: u64 = 15;
