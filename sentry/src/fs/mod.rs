//! File systems: trees of inodes under the traits of `vfs::inode`.

pub mod anon;
pub mod dev;

pub mod gofer;
pub mod proc;
pub mod pseudo;
pub mod sys;
pub mod tmpfs;

use rsc_proto::abi::Timespec;

/// The clock's time, for file systems in memory.
pub fn now() -> Timespec {
    let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) }
}
