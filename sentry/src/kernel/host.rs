//! What the kernel may ask of the compute host. The kernel never knows whether a wire is behind this trait.

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use rsc_proto::abi::Errno;

/// The compute host, seen from one sandbox's kernel. Requests fail with `EIO` when the session is gone for good.
pub trait ComputeHost {
    /// Reads `len` bytes at `addr` of a task with a call in flight. Shorter if the rest is not mapped.
    fn read_memory(&self, tid: u32, addr: u64, len: u32) -> LocalBoxFuture<'_, Result<Bytes, Errno>>;
    /// Writes to the memory of a task with a call in flight; the number of bytes written, which is short at an unmapped page.
    fn write_memory(&self, tid: u32, addr: u64, data: Bytes) -> LocalBoxFuture<'_, Result<u64, Errno>>;
    /// Reads from the caller's descriptor `index`; `EAGAIN` if that would block. Empty: end of file.
    fn stdio_read(&self, index: u32, len: u32) -> LocalBoxFuture<'_, Result<Bytes, Errno>>;
    /// Writes to the caller's descriptor; the number of bytes taken; `EAGAIN` if none could be.
    fn stdio_write(&self, index: u32, data: Bytes) -> LocalBoxFuture<'_, Result<u64, Errno>>;
    /// poll(2) on the caller's descriptor: `revents`. With `wait`, answers when one of `events` (or an error) is there; dropping
    /// the future cancels the wait.
    fn stdio_poll(&self, index: u32, events: u32, wait: bool) -> LocalBoxFuture<'_, Result<u32, Errno>>;
    /// Reads from the caller's regular file at an offset, its position stays.
    fn stdio_read_at(&self, _index: u32, _len: u32, _offset: u64) -> LocalBoxFuture<'_, Result<Bytes, Errno>> {
        Box::pin(std::future::ready(Err(Errno::ESPIPE)))
    }
    /// Writes to it at an offset likewise.
    fn stdio_write_at(&self, _index: u32, _data: Bytes, _offset: u64) -> LocalBoxFuture<'_, Result<u64, Errno>> {
        Box::pin(std::future::ready(Err(Errno::ESPIPE)))
    }
    /// lseek(2) on it: the new position.
    fn stdio_seek(&self, _index: u32, _offset: i64, _whence: u32) -> LocalBoxFuture<'_, Result<u64, Errno>> {
        Box::pin(std::future::ready(Err(Errno::ESPIPE)))
    }
    /// A terminal request on the caller's descriptor; the structure that it fills, or takes.
    fn stdio_ioctl(&self, index: u32, cmd: u32, data: Bytes) -> LocalBoxFuture<'_, Result<Bytes, Errno>>;
    /// Nobody in the sandbox has a descriptor of the caller's `index` any more: the compute host may close its own.
    fn stdio_close(&self, _index: u32) {}
    /// Sends a signal to a task (`tid` not 0) or a thread group of this sandbox.
    fn send_signal(&self, tgid: u32, tid: u32, sig: u32) -> LocalBoxFuture<'_, Result<(), Errno>>;
    /// The text of `/proc/TID/WHAT` (stat, status, maps, …) as the compute host's kernel shows it.
    fn proc_info(&self, tid: u32, what: &str) -> LocalBoxFuture<'_, Result<Bytes, Errno>>;
    /// Makes the arena's memfd for `file`, or sets its length.
    fn arena_open(&self, file: u64, size: u64) -> LocalBoxFuture<'_, Result<(), Errno>>;
    /// Puts bytes into the arena's copy of `file`. At most 1 MiB.
    fn arena_write(&self, file: u64, offset: u64, data: Bytes) -> LocalBoxFuture<'_, Result<(), Errno>>;
    /// Reads from the arena's copy of `file`. At most 1 MiB.
    fn arena_read(&self, file: u64, offset: u64, len: u32) -> LocalBoxFuture<'_, Result<Bytes, Errno>>;
    /// The arena's copy of `file` is no longer needed for new mappings; pages that are mapped stay.
    fn arena_close(&self, file: u64);
}
