//! A connected unix socket that is watched for what can be read, and for room to write only while there is none.
//!
//! The kernel reports room whenever the peer takes something: a socket that is always watched for it is woken once more for each
//! frame, which costs as much as the frame.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// See the module.
pub struct UnixIo {
    socket: AsyncFd<UnixStream>,
    /// The same socket, while its buffer is full.
    room: Option<AsyncFd<OwnedFd>>,
}

/// Has the executor watch a descriptor.
fn watch<T: AsRawFd + AsFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: both types that this is called with own their descriptor and name the same one until they are dropped, which only the
    // `AsyncFd` does from here on.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

impl UnixIo {
    /// Takes a socket over. Within a runtime.
    ///
    /// # Errors
    /// It can't be watched.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: watch(socket, Interest::READABLE)?, room: None })
    }

    fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let room = match &self.room {
                        Some(room) => room,
                        None => {
                            let same = self.socket.get_ref().as_fd().try_clone_to_owned()?;
                            self.room.insert(watch(same, Interest::WRITABLE)?)
                        }
                    };
                    ready!(room.poll_write_ready(cx))?.clear_ready();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    self.room = None;
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl AsyncRead for UnixIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            let wanted = unfilled.len();
            match guard.get_inner().read(unfilled) {
                Ok(n) => {
                    // The socket is empty now, or will be reported again: asking once more would be for nothing.
                    if n > 0 && n < wanted {
                        guard.clear_ready();
                    }
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for UnixIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_room(cx, |mut socket| socket.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_room(cx, |mut socket| socket.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket.get_ref().shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(flavor = "current_thread")]
    async fn more_than_the_buffers_hold_arrives() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut a, mut b) = (UnixIo::new(a).unwrap(), UnixIo::new(b).unwrap());
        let sent: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = async move {
            a.write_all(&sent).await.unwrap();
            a.shutdown().await.unwrap();
            a
        };
        let reader = async move {
            let mut got = Vec::new();
            b.read_to_end(&mut got).await.unwrap();
            got
        };
        let (a, got) = tokio::join!(writer, reader);
        assert!(got == expected);
        assert!(a.room.is_none());
    }
}
