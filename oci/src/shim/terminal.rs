//! A process's terminal: its master comes from the runtime over a console socket, and is relayed to containerd's FIFOs.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::error::{Doing as _, ShimError};

/// Bytes relayed at once.
const CHUNK: usize = 32 << 10;

/// A socket for one master, in the container's folder, with which it goes if nobody else removes it. That folder may have too long a
/// path for a socket's address; the runtime, which works in it, gets a relative one.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    folder: PathBuf,
    name: String,
}

impl ConsoleSocket {
    /// Makes it in `folder`.
    pub(super) fn new(folder: &Path) -> Result<Self, ShimError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let what = || "making a console socket";
        let name = format!("pty.{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mode = nix::sys::stat::Mode::empty();
        let held = open(folder, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, mode).doing(what())?;
        let short = PathBuf::from(format!("/proc/self/fd/{}/{name}", held.as_raw_fd()));
        // Of an earlier shim.
        let _ = std::fs::remove_file(&short);
        let listener = UnixListener::bind(short).doing(what())?;
        Ok(Self { listener, folder: folder.to_owned(), name })
    }

    /// For the runtime's command line, which is run in the folder.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(&self.name)
    }

    /// The master that the runtime, which has ended well, has sent.
    pub(super) fn receive(&self) -> Result<OwnedFd, ShimError> {
        let what = || "receiving the terminal";
        self.listener.set_nonblocking(true).doing(what())?;
        let (stream, _) = self.listener.accept().doing(what())?;
        stream.set_nonblocking(true).doing(what())?;
        let mut name = [0; 4096];
        let mut space = cmsg_space!([std::os::fd::RawFd; 1]);
        let mut data = [io::IoSliceMut::new(&mut name)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
        let message = message.doing(what())?;
        let sent = message.cmsgs().doing(what())?.find_map(|part| match part {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        sent.map(crate::sys::own).ok_or_else(|| ShimError::io(what())(io::Error::other("no descriptor came")))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.folder.join(&self.name));
    }
}

/// Somewhere to write to that may be full. Regular files can't be polled, and never are.
enum Sink {
    Polled(AsyncFd<OwnedFd>),
    File(OwnedFd),
}

impl Sink {
    fn new(fd: OwnedFd) -> Result<Self, ShimError> {
        let what = || "preparing an output";
        let copy = fd.try_clone().doing(what())?;
        set_nonblocking(&copy).doing(what())?;
        match crate::sys::polled(copy, Interest::WRITABLE) {
            Ok(polled) => Ok(Self::Polled(polled)),
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => Ok(Self::File(fd)),
            Err(error) => Err(ShimError::io(what())(error)),
        }
    }

    async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let written = match self {
                Self::Polled(fd) => write(fd, data).await?,
                Self::File(fd) => nix::unistd::write(fd, data)?,
            };
            data = data.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

async fn write(fd: &AsyncFd<OwnedFd>, data: &[u8]) -> io::Result<usize> {
    fd.async_io(Interest::WRITABLE, |fd| Ok(nix::unistd::write(fd, data)?)).await
}

async fn read(fd: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    fd.async_io(Interest::READABLE, |fd| Ok(nix::unistd::read(fd, buffer)?)).await
}

fn set_nonblocking(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// A terminal that is served.
#[derive(Debug)]
pub(super) struct Terminal {
    master: Arc<AsyncFd<OwnedFd>>,
    input: Option<JoinHandle<()>>,
    output: JoinHandle<()>,
}

impl Terminal {
    /// Begins to relay between `master` and a client's ends.
    pub(super) fn start(master: OwnedFd, stdin: Option<OwnedFd>, stdout: Option<OwnedFd>) -> Result<Self, ShimError> {
        let what = || "preparing the terminal";
        set_nonblocking(&master).doing(what())?;
        let master = Arc::new(crate::sys::polled(master, Interest::READABLE | Interest::WRITABLE).doing(what())?);
        let input = match stdin {
            Some(stdin) => {
                set_nonblocking(&stdin).doing(what())?;
                let stdin = crate::sys::polled(stdin, Interest::READABLE).doing(what())?;
                Some(tokio::spawn(relay_input(stdin, master.clone())))
            }
            None => None,
        };
        let sink = stdout.map(Sink::new).transpose()?;
        let output = tokio::spawn(relay_output(master.clone(), sink));
        Ok(Self { master, input, output })
    }

    /// Sets its size.
    pub(super) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        crate::sys::set_window_size(self.master.get_ref().as_fd(), rows, columns)
    }

    /// Waits until all that was written to it has been relayed, after the end of all that had it open.
    pub(super) async fn drain(mut self) {
        // A task that was aborted has nothing more to relay.
        let _ = (&mut self.output).await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(input) = &self.input {
            input.abort();
        }
        self.output.abort();
    }
}

async fn relay_input(stdin: AsyncFd<OwnedFd>, master: Arc<AsyncFd<OwnedFd>>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = read(&stdin, &mut buffer).await {
        let mut data = buffer.get(..length).unwrap_or_default();
        while !data.is_empty() {
            let Ok(written) = write(&master, data).await else { return };
            data = data.get(written..).unwrap_or_default();
        }
    }
}

/// Ends with an error: EIO, when nobody has the terminal open any more.
async fn relay_output(master: Arc<AsyncFd<OwnedFd>>, mut sink: Option<Sink>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = read(&master, &mut buffer).await {
        let data = buffer.get(..length).unwrap_or_default();
        if let Some(open) = &sink {
            // A client that is gone must not keep the process waiting.
            if open.write_all(data).await.is_err() {
                sink = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn relays_until_the_last_slave_is_closed() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let (out_reader, out) = nix::unistd::pipe().unwrap();
        let terminal = Terminal::start(pty.master, None, Some(out)).unwrap();
        terminal.resize(7, 9).unwrap();
        std::fs::File::from(pty.slave).write_all(b"hi\n").unwrap();
        terminal.drain().await;
        let mut got = [0; 9];
        let length = nix::unistd::read(&out_reader, &mut got).unwrap();
        assert_eq!(got.get(..length), Some(&b"hi\r\n"[..]));
    }

    #[test]
    fn nothing_sent_is_an_error_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("long".repeat(40));
        std::fs::create_dir(&folder).unwrap();
        let socket = ConsoleSocket::new(&folder).unwrap();
        let path = folder.join(socket.path());
        let short = std::fs::File::open(&folder).unwrap();
        assert!(socket.receive().is_err());
        let at = format!("/proc/self/fd/{}/{}", short.as_raw_fd(), socket.path().display());
        let mut stream = UnixStream::connect(at).unwrap();
        stream.write_all(b"x").unwrap();
        assert!(socket.receive().is_err());
        drop(socket);
        assert!(!path.exists());
    }
}
