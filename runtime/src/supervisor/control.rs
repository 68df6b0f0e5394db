//! The supervisor's end of the control socket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::lifecycle::control::{self, Reply, Request};
use crate::sys::host;

/// A command that says nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Conversations at a time; a command holds one for a moment only.
const MAX_CONVERSATIONS: usize = 256;

/// A request of a command.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// What came with it.
    pub(super) fds: Vec<OwnedFd>,
    /// Where its answer goes; dropped: the container is ending.
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Serves the socket until nobody takes requests any more. In a `LocalSet`.
pub(super) async fn serve(listener: OwnedFd, asked: mpsc::Sender<Asked>) {
    let Ok(listener) = host::watch(listener, Interest::READABLE) else { return };
    let mut conversations = JoinSet::new();
    loop {
        while conversations.try_join_next().is_some() {}
        match accept(&listener).await {
            Ok(Some(_)) if conversations.len() >= MAX_CONVERSATIONS => {
                tracing::warn!("more than {MAX_CONVERSATIONS} commands at a time: one is turned away");
            }
            Ok(Some(connection)) => {
                let asked = asked.clone();
                conversations.spawn_local(async move {
                    // A command that breaks off has its own troubles.
                    let _ = converse(connection, &asked).await;
                });
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

/// Serves one connection. In a `LocalSet`.
pub(super) async fn serve_only(connection: OwnedFd, asked: mpsc::Sender<Asked>) {
    if let Err(error) = converse(connection, &asked).await {
        tracing::warn!("the command's connection: {error}");
    }
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    listener.async_io(Interest::READABLE, |fd| control::accept(fd.as_raw_fd())).await
}

async fn converse(connection: OwnedFd, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    let connection = host::watch(connection, Interest::READABLE | Interest::WRITABLE)?;
    // The process that this is about, while its program has not been released.
    let mut entering = None;
    let ended = loop {
        let Ok(received) = tokio::time::timeout(PATIENCE, receive(&connection)).await else { break Ok(()) };
        let (request, fds) = match received {
            Ok(Some(received)) => received,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        entering = match (&request, entering) {
            (Request::Enter { pid, .. }, None) => Some(*pid),
            (Request::Release { pid }, Some(entering)) if *pid == entering => None,
            (Request::Start | Request::Share, None) => None,
            _ => break Ok(()),
        };
        let reply = tokio::select! {
            reply = ask(asked, request, fds) => reply,
            // Nothing is said before the answer: this is its end.
            () = ended(&connection), if entering.is_some() => break Ok(()),
        };
        let sent = connection.async_io(Interest::WRITABLE, |fd| control::send(fd.as_raw_fd(), &reply, &[])).await;
        if let Err(error) = sent {
            break Err(error);
        }
    };
    if let Some(pid) = entering {
        ask(asked, Request::Abandon { pid }, Vec::new()).await;
    }
    ended
}

/// Waits until the other side says something or closes its end.
async fn ended(connection: &AsyncFd<OwnedFd>) {
    let peek = |fd: &OwnedFd| Ok(recv(fd.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK)?);
    let _ = connection.async_io(Interest::READABLE, peek).await;
}

async fn receive(connection: &AsyncFd<OwnedFd>) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let receive = |fd: &OwnedFd| control::receive::<Request>(fd.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
    connection.async_io(Interest::READABLE, receive).await
}

async fn ask(asked: &mpsc::Sender<Asked>, request: Request, fds: Vec<OwnedFd>) -> Reply {
    let (reply, answer) = oneshot::channel();
    let gone = || Reply::Failed("the container is ending".to_owned());
    match asked.send(Asked { request, fds, reply }).await {
        Ok(()) => answer.await.unwrap_or_else(|_| gone()),
        Err(_) => gone(),
    }
}
