//! What processes talk through that is no file: pipes, event counters, timers, epoll.
//!
//! Everything here is on the kernel's one thread. An object never calls another while one of its own cells is borrowed: it changes
//! its state, lets go, and then notifies its `WaitQueue`.

pub mod clock;
pub mod epoll;
pub mod eventfd;
pub mod limits;
pub mod pipe;
pub mod timerfd;

use rsc_proto::abi::Stat;

/// Device number of anonymous pipes, as fstat(2) shows it.
pub(crate) const PIPEFS_DEV: u64 = 14;
/// Device number of sockets.
pub(crate) const SOCKFS_DEV: u64 = 8;
/// Device number of what has no file system: eventfd, epoll, timerfd.
pub(crate) const ANON_DEV: u64 = 15;

/// What fstat(2) shows of a file that has no inode of its own: no type, one number for all.
pub(crate) fn anon_stat() -> Stat {
    Stat { st_dev: ANON_DEV, st_ino: 1, st_nlink: 1, st_mode: 0o600, st_blksize: 4096, ..Stat::default() }
}
