//! The caller's 0, 1 and 2, for the sentry.
//!
//! They are somebody else's open file descriptions: their flags are never changed, and no operation on them ever waits, so that
//! one thread can serve everything. What a description can't do without waiting is done after poll(2), in pieces that fit.

mod file;
mod terminal;

use std::os::fd::OwnedFd;

use bytes::Bytes;
use nix::errno::Errno;
use rsc_proto::v1;

use file::StdioFile;

/// The three descriptors; one may be missing.
#[derive(Debug)]
pub struct Stdio {
    files: [Option<StdioFile>; 3],
}

impl Stdio {
    /// Takes over the descriptors. In a runtime.
    pub fn new(fds: [Option<OwnedFd>; 3]) -> Self {
        Self { files: fds.map(|fd| fd.map(StdioFile::new)) }
    }

    /// What they are, for the sentry.
    pub fn describe(fds: &[Option<OwnedFd>; 3]) -> Vec<v1::Stdio> {
        fds.iter()
            .map(|fd| fd.as_ref().map_or(v1::Stdio { closed: true, ..v1::Stdio::default() }, file::describe))
            .collect()
    }

    fn file(&self, index: u32) -> nix::Result<&StdioFile> {
        let slot = usize::try_from(index).ok().and_then(|index| self.files.get(index));
        slot.and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    /// Reads what is there, at most `len` bytes; nothing at the end. `EAGAIN` when it would wait.
    pub fn read(&self, index: u32, len: u32) -> nix::Result<Bytes> {
        self.file(index)?.read(len)
    }

    /// Writes what fits; how much that was. `EAGAIN` when it would wait.
    pub fn write(&self, index: u32, data: &[u8]) -> nix::Result<usize> {
        self.file(index)?.write(data)
    }

    /// poll(2). With `wait`, until an event is there; dropping the future ends the wait.
    pub async fn poll(&self, index: u32, events: u32, wait: bool) -> nix::Result<u32> {
        let file = self.file(index)?;
        if wait { file.wait(events).await } else { file.poll(events) }
    }

    /// A terminal request; the structure that it fills.
    pub fn ioctl(&self, index: u32, request: u32, data: &[u8]) -> nix::Result<Bytes> {
        self.file(index)?.ioctl(request, data)
    }
}
