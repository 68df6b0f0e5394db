//! One type for every kind of connection, so that nothing above can tell them apart.

use super::auth::Proof;
use super::unix::UnixIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsStream;
use tokio_vsock::VsockStream;
use tonic::transport::server::Connected;

/// A connection, dialled or accepted.
pub enum Stream {
    /// Plain TCP, with `TCP_NODELAY`.
    Tcp(TcpStream),
    /// TLS over such a TCP connection.
    Tls(Box<TlsStream<TcpStream>>),
    /// AF_VSOCK.
    Vsock(VsockStream),
    /// A unix socket, by path or inherited.
    Unix(UnixIo),
}

macro_rules! each {
    ($self:expr, $io:ident => $body:expr) => {
        match $self.get_mut() {
            Stream::Tcp($io) => $body,
            Stream::Tls($io) => $body,
            Stream::Vsock($io) => $body,
            Stream::Unix($io) => $body,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(io) => io.is_write_vectored(),
            Stream::Tls(io) => io.is_write_vectored(),
            Stream::Vsock(io) => io.is_write_vectored(),
            Stream::Unix(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// An accepted connection: the stream, what its peer has proved, and its share of the server's connections.
pub struct Accepted {
    pub(super) stream: Stream,
    pub(super) proof: Proof,
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl Accepted {
    /// A connection over a socket which this process inherited, and a future that completes when it is closed.
    pub fn inherited(stream: UnixIo) -> (Self, impl Future<Output = ()> + 'static) {
        let open = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&open).try_acquire_owned().ok();
        let accepted = Accepted { stream: Stream::Unix(stream), proof: Proof::inherited(), _permit: permit };
        let closed = async move {
            let _ = open.acquire().await;
        };
        (accepted, closed)
    }
}

impl Connected for Accepted {
    type ConnectInfo = Proof;

    fn connect_info(&self) -> Proof {
        self.proof.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
