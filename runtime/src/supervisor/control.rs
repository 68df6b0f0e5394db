//! The supervisor's end of the control socket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::MsgFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::lifecycle::control::{self, Reply, Request};
use crate::sys::host;

/// A command that says nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request of a command, and where its answer goes.
pub(super) type Asked = (Request, oneshot::Sender<Reply>);

/// Serves the socket until nobody takes requests any more. One command at a time: they hold the container's lock anyway.
pub(super) async fn serve(listener: OwnedFd, asked: mpsc::Sender<Asked>) {
    let Ok(listener) = host::watch(listener, Interest::READABLE) else { return };
    loop {
        match accept(&listener).await {
            Ok(Some(connection)) => {
                // A command that breaks off has its own troubles.
                let _ = tokio::time::timeout(PATIENCE, converse(connection, &asked)).await;
            }
            Ok(None) => tracing::warn!("somebody else's connection to the control socket was refused"),
            Err(error) => {
                tracing::warn!("the control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        if asked.is_closed() {
            return;
        }
    }
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    listener.async_io(Interest::READABLE, |fd| control::accept(fd.as_raw_fd())).await
}

async fn converse(connection: OwnedFd, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    let connection = host::watch(connection, Interest::READABLE | Interest::WRITABLE)?;
    let received = connection
        .async_io(Interest::READABLE, |fd| control::receive::<Request>(fd.as_raw_fd(), MsgFlags::MSG_DONTWAIT))
        .await?;
    let Some((request, _)) = received else { return Ok(()) };
    let (sender, receiver) = oneshot::channel();
    let gone = || Reply::Failed("the container is ending".to_owned());
    let reply = match asked.send((request, sender)).await {
        Ok(()) => receiver.await.unwrap_or_else(|_| gone()),
        Err(_) => gone(),
    };
    connection.async_io(Interest::WRITABLE, |fd| control::send(fd.as_raw_fd(), &reply, &[])).await
}
