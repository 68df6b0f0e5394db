//! Standard streams for a sandbox: the caller's, which its supervisor serves, and the sentry process's own, where it lends them.
//!
//! They are somebody else's open file descriptions: their flags are never changed, and no operation on them ever waits, so that
//! one thread can serve everything. What a description can't do without waiting is done after poll(2), in pieces that fit.

mod file;
mod terminal;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use bytes::Bytes;
use nix::errno::Errno;
use rsc_proto::v1;

use file::StdioFile;

/// The descriptors of all processes that came from outside, by number: those of init begin at 0.
#[derive(Debug, Default)]
pub struct Stdio {
    files: RefCell<BTreeMap<u32, Rc<StdioFile>>>,
}

impl Stdio {
    /// Takes over the descriptors. In a runtime.
    pub fn new(fds: Vec<Option<OwnedFd>>) -> Self {
        let stdio = Self::default();
        stdio.add(0, fds);
        stdio
    }

    /// Takes over those of one more process, numbered from `base` on. In a runtime.
    pub fn add(&self, base: u32, fds: Vec<Option<OwnedFd>>) {
        let files = fds.into_iter().zip(base..).filter_map(|(fd, index)| Some((index, Rc::new(StdioFile::new(fd?)))));
        self.files.borrow_mut().extend(files);
    }

    /// Closes one. A poll that waits for it has to be ended first.
    pub fn close(&self, index: u32) {
        self.files.borrow_mut().remove(&index);
    }

    /// The process's own 0, 1 and 2. In a runtime.
    pub fn own() -> (Self, Vec<v1::Stdio>) {
        let fds = vec![
            std::io::stdin().as_fd().try_clone_to_owned().ok(),
            std::io::stdout().as_fd().try_clone_to_owned().ok(),
            std::io::stderr().as_fd().try_clone_to_owned().ok(),
        ];
        let about = Self::describe(&fds);
        (Self::new(fds), about)
    }

    /// What they are, for the sentry.
    pub fn describe(fds: &[Option<OwnedFd>]) -> Vec<v1::Stdio> {
        fds.iter()
            .map(|fd| fd.as_ref().map_or(v1::Stdio { closed: true, ..v1::Stdio::default() }, file::describe))
            .collect()
    }

    fn file(&self, index: u32) -> nix::Result<Rc<StdioFile>> {
        self.files.borrow().get(&index).cloned().ok_or(Errno::EBADF)
    }

    /// Reads what is there, at most `len` bytes; nothing at the end. At an offset: of a regular file, whose position stays. `EAGAIN` when it would wait.
    pub fn read(&self, index: u32, len: u32, offset: Option<u64>) -> nix::Result<Bytes> {
        let file = self.file(index)?;
        match offset {
            Some(offset) => file.read_at(len, offset),
            None => file.read(len),
        }
    }

    /// Writes what fits; how much that was. `EAGAIN` when it would wait.
    pub fn write(&self, index: u32, data: &[u8], offset: Option<u64>) -> nix::Result<usize> {
        let file = self.file(index)?;
        match offset {
            Some(offset) => file.write_at(data, offset),
            None => file.write(data),
        }
    }

    /// lseek(2), of a regular file.
    pub fn seek(&self, index: u32, offset: i64, whence: u32) -> nix::Result<i64> {
        self.file(index)?.seek(offset, whence)
    }

    /// poll(2). With `wait`, until an event is there; dropping the future ends the wait.
    pub async fn poll(&self, index: u32, events: u32, wait: bool) -> nix::Result<u32> {
        let file = self.file(index)?;
        if wait { file.wait(events).await } else { file.poll(events) }
    }

    /// The terminal requests that [`ioctl`](Self::ioctl) makes.
    pub fn requests() -> impl Iterator<Item = u32> {
        terminal::requests()
    }

    /// A terminal request; the structure that it fills.
    pub fn ioctl(&self, index: u32, request: u32, data: &[u8]) -> nix::Result<Bytes> {
        self.file(index)?.ioctl(request, data)
    }
}
