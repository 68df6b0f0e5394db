//! The supervisor's socket in the state directory: one small JSON message a packet, typed at both ends. Only the user that owns
//! the container, or root, is listened to.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind,
    connect, getsockopt, listen, recvmsg, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys;

/// No message is longer.
const MAX_MESSAGE: usize = 16 << 10;
/// No message brings more descriptors. Linux: SCM_MAX_FD.
const MAX_DESCRIPTORS: usize = 253;
/// Name of the socket in the container's folder.
pub const SOCKET: &str = "control";
/// A command waits this long for the supervisor's answer.
const PATIENCE_SECONDS: i64 = 60;

/// What a command asks of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Let the workload's program run.
    Start,
    /// Take over a process that waits in the jail. With it come a memory file with its `process` (config.json's), its end of the
    /// jail's socket, and those of its descriptors that are open. Done: it is held in the loader.
    Enter {
        /// Its pid on the host.
        pid: i32,
        /// Which of its descriptors come along, from 0 on.
        stdio: Vec<bool>,
        /// They are a terminal, and behind them comes the socket of its [watcher](super::watcher).
        #[serde(default)]
        terminal: bool,
        /// What to execute, if that is not what its first argument says.
        #[serde(default)]
        program: Option<String>,
    },
    /// Let its program run. On the connection of the `Enter`; should that end before, the process is killed.
    Release {
        /// Its pid on the host.
        pid: i32,
    },
    /// Pass the socket that comes along to the private sentry: a door for the supervisor of a container that shares it.
    Share,
    /// What a connection's end means.
    #[serde(skip)]
    Abandon {
        /// The pid on the host of the process that it was about.
        pid: i32,
    },
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// The workload's program is not there.
    ProgramMissing(String),
    /// The workload's program can't be executed.
    ProgramUnusable(String),
    /// It can't be done.
    Failed(String),
}

/// What the supervisor tells `create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromSupervisor {
    /// A process was started that must end with the container.
    Helper(i32),
    /// The private sentry was started.
    Sentry(i32),
    /// Init is held ready for `start`.
    Ready,
    /// The workload's program is not there.
    ProgramMissing(String),
    /// The workload's program can't be executed.
    ProgramUnusable(String),
    /// Something else went wrong.
    Failed(String),
}

/// A connected socket of whole messages.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(a), Self(b)))
    }

    /// From a descriptor.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends one message and descriptors with it.
    pub fn send(&self, message: &impl Serialize, fds: &[RawFd]) -> io::Result<()> {
        send(self.0.as_raw_fd(), message, fds)
    }

    /// Receives one message; none at the end.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        receive(self.0.as_raw_fd(), MsgFlags::empty())
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends one message on a socket that keeps packets apart.
pub fn send(socket: RawFd, message: &impl Serialize, fds: &[RawFd]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > MAX_MESSAGE {
        return Err(Errno::EMSGSIZE.into());
    }
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg::<()>(socket, &[io::IoSlice::new(&text)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one message; none at the end.
pub fn receive<T: DeserializeOwned>(socket: RawFd, flags: MsgFlags) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(socket, &mut slices, Some(&mut space), flags | MsgFlags::MSG_CMSG_CLOEXEC)?;
    let (length, cut) = (message.bytes, message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC));
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received.into_iter().map(sys::host::adopt));
        }
    }
    if cut {
        return Err(Errno::EMSGSIZE.into());
    }
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(buffer.get(..length).unwrap_or_default())?, fds)))
}

/// A path to a socket in `dir` that is short enough for a socket's address, whatever `dir` is; good while the descriptor lives.
fn short_path(dir: &Path) -> io::Result<(OwnedFd, String)> {
    use nix::fcntl::{OFlag, open};
    let fd = open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd());
    Ok((fd, path))
}

/// Makes the socket in a container's folder.
pub fn listen_in(dir: &Path) -> io::Result<OwnedFd> {
    let (_held, path) = short_path(dir)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    listen(&socket, Backlog::new(16)?)?;
    Ok(socket)
}

/// Accepts a connection; one of another user is closed at once, and none is returned.
pub fn accept(listener: RawFd) -> io::Result<Option<OwnedFd>> {
    let fd = sys::host::adopt(accept4(listener, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?);
    let peer = getsockopt(&fd, sockopt::PeerCredentials)?;
    let welcome = peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw();
    Ok(welcome.then_some(fd))
}

/// Asks the supervisor of the container in `dir`.
pub fn ask(dir: &Path, request: &Request) -> io::Result<Reply> {
    let conversation = Conversation::begin(dir)?;
    setsockopt(&conversation.0.0, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE_SECONDS, 0))?;
    conversation.ask(request, &[])
}

/// Several requests on one connection.
#[derive(Debug)]
pub struct Conversation(Channel);

impl Conversation {
    /// With the supervisor of the container in `dir`.
    pub fn begin(dir: &Path) -> io::Result<Self> {
        let (_held, path) = short_path(dir)?;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
        Ok(Self(Channel(socket)))
    }

    /// Over a connection that there is.
    pub fn over(channel: Channel) -> Self {
        Self(channel)
    }

    /// One request and its answer.
    pub fn ask(&self, request: &Request, fds: &[RawFd]) -> io::Result<Reply> {
        self.0.send(request, fds)?;
        match self.0.receive()? {
            Some((reply, _)) => Ok(reply),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the supervisor has ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        a.send(&FromSupervisor::Helper(7), &[file.as_raw_fd()]).unwrap();
        let (message, fds) = b.receive::<FromSupervisor>().unwrap().unwrap();
        assert_eq!((message, fds.len()), (FromSupervisor::Helper(7), 1));
        drop(a);
        assert!(b.receive::<FromSupervisor>().unwrap().is_none());
    }

    #[test]
    fn refuses_noise() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&"nonsense", &[]).unwrap();
        assert!(b.receive::<Request>().is_err());
        assert!(a.send(&"x".repeat(MAX_MESSAGE), &[]).is_err());
    }

    #[test]
    fn asks_through_a_long_path() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("x".repeat(200));
        std::fs::create_dir(&dir).unwrap();
        let listener = listen_in(&dir).unwrap();
        let at = dir.clone();
        let asker = std::thread::spawn(move || ask(&at, &Request::Start));
        let fd = loop {
            match accept(listener.as_raw_fd()) {
                Ok(fd) => break fd.unwrap(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        let request = loop {
            match receive::<Request>(fd.as_raw_fd(), MsgFlags::empty()) {
                Ok(request) => break request.unwrap().0,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert_eq!(request, Request::Start);
        send(fd.as_raw_fd(), &Reply::Done, &[]).unwrap();
        assert_eq!(asker.join().unwrap().unwrap(), Reply::Done);
    }
}
