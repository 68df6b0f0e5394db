//! The handles of a connection: numbers chosen by the client, bound to descriptors.

use crate::sys::Result;
use rsc_proto::abi::Errno;
use rsc_proto::gofer::OpenFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a handle is bound to.
pub(super) struct Bound {
    fd: OwnedFd,
    /// `S_IFMT` bits; an inode's never change.
    pub(super) kind: u32,
    /// None: `O_PATH`, not opened.
    pub(super) opened: Option<OpenFlags>,
    /// Of an opened directory: the cookie at which its descriptor stands, if known.
    pub(super) position: Option<u64>,
}

impl Bound {
    /// An inode, not opened.
    pub(super) fn node(fd: OwnedFd, mode: u32) -> Bound {
        Bound { fd, kind: mode & libc::S_IFMT, opened: None, position: None }
    }

    /// An opened file.
    pub(super) fn opened(fd: OwnedFd, mode: u32, flags: OpenFlags) -> Bound {
        Bound { fd, kind: mode & libc::S_IFMT, opened: Some(flags), position: Some(0) }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// For input and output.
    pub(super) fn file(&self) -> Result<BorrowedFd<'_>> {
        self.opened.map(|_| self.fd.as_fd()).ok_or(Errno::EBADF)
    }

    /// For changing the file's content.
    pub(super) fn writable(&self) -> Result<BorrowedFd<'_>> {
        self.opened.filter(|flags| flags.contains(OpenFlags::WRITE)).map(|_| self.fd.as_fd()).ok_or(Errno::EBADF)
    }
}

/// All of a connection's.
pub(super) struct Handles {
    bound: Vec<Option<Bound>>,
    max: usize,
}

impl Handles {
    pub(super) fn new(max: usize) -> Handles {
        Handles { bound: Vec::new(), max }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn get(&self, handle: u32) -> Result<&Bound> {
        self.bound.get(handle as usize).and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    pub(super) fn get_mut(&mut self, handle: u32) -> Result<&mut Bound> {
        self.bound.get_mut(handle as usize).and_then(Option::as_mut).ok_or(Errno::EBADF)
    }

    /// Whether the numbers can be bound: in range, not in use, no two the same.
    pub(super) fn free(&self, handles: &[u32]) -> Result<()> {
        for (i, &handle) in handles.iter().enumerate() {
            let fits = (handle as usize) < self.max;
            let repeated = handles.iter().skip(i + 1).any(|h| *h == handle);
            if !fits || repeated || self.get(handle).is_ok() {
                return Err(Errno::EBADF);
            }
        }
        Ok(())
    }

    /// Binds a number that [`Handles::free`] has let through.
    pub(super) fn bind(&mut self, handle: u32, bound: Bound) {
        let index = handle as usize;
        if index >= self.bound.len() {
            self.bound.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.bound.get_mut(index) {
            *slot = Some(bound);
        }
    }

    /// Whether there was something to close.
    pub(super) fn close(&mut self, handle: u32) -> bool {
        self.bound.get_mut(handle as usize).and_then(Option::take).is_some()
    }
}
