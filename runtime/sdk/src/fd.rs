//! A descriptor of the server's, which is one of this process too.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rsc_proto::table::nr;

use crate::Server;
use crate::sys;

/// A remote descriptor: a number of this process that means a file of the server's. It is closed there when all copies are here, and
/// children inherit it as they do others (it is close-on-exec at first). Reads, writes and so on are to be made by the SDK, or by the
/// C library's functions where `librsc.so` stands in front of them: the kernel here knows a socket at this number.
#[derive(Debug)]
pub struct RemoteFd {
    server: Server,
    fd: Option<OwnedFd>,
}

impl RemoteFd {
    pub(crate) fn of(server: Server, fd: i32) -> Self {
        RemoteFd { server, fd: Some(sys::api::own(fd)) }
    }

    /// Where its file is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes a call whose first argument it is, again after signals.
    pub(crate) fn call(&self, number: u32, rest: &[u64]) -> io::Result<u64> {
        self.server.call_through(number, &[&[self.as_raw_fd() as u64], rest].concat())
    }

    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.call(nr::READ, &[buf.as_mut_ptr() as u64, buf.len() as u64])? as usize)
    }

    pub(crate) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(self.call(nr::WRITE, &[buf.as_ptr() as u64, buf.len() as u64])? as usize)
    }

    /// Another number for the same open file.
    pub fn try_clone(&self) -> io::Result<Self> {
        let fd = self.call(nr::FCNTL, &[libc::F_DUPFD_CLOEXEC as u64])?;
        Ok(Self::of(self.server.clone(), fd as i32))
    }

    /// Closes it, and says what came of that: some file systems tell of failed writes only then.
    pub fn close(mut self) -> io::Result<()> {
        self.close_now()
    }

    fn close_now(&mut self) -> io::Result<()> {
        let Some(fd) = self.fd.take() else { return Ok(()) };
        // The broker is told, so that what the server sees keeps its order; it is the call that closes the number.
        let number = std::os::fd::IntoRawFd::into_raw_fd(fd);
        self.server.call(nr::CLOSE, &[number as u64]).map(drop)
    }
}

impl Drop for RemoteFd {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.close_now();
    }
}

impl AsRawFd for RemoteFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl AsFd for RemoteFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            // Taken by `close` alone, which has the value.
            None => sys::api::standard_error(),
        }
    }
}
