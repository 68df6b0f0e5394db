//! One of the caller's descriptors.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use rsc_proto::v1;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::terminal;
use crate::sys::stdio as host;

/// One read or write moves at most this much.
const MAX_TRANSFER: usize = 1 << 20;
/// A pipe that is ready for writing has room for this much.
const PIPE_BUF: usize = libc::PIPE_BUF;

/// How a descriptor is read and written without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It never waits for long: a regular file, a null device.
    Direct,
    /// By the flag of preadv2(2).
    NoWait,
    /// By the flag of recv(2).
    Socket,
    /// It is a description of our own that does not block.
    Own,
    /// After poll(2), a little at a time.
    Polled,
}

#[derive(Debug)]
pub(super) struct StdioFile {
    fd: OwnedFd,
    manner: Cell<Manner>,
    /// None where there is nothing to wait for.
    readiness: Option<AsyncFd<OwnedFd>>,
    is_terminal: bool,
}

fn kind_of(fd: &OwnedFd) -> SFlag {
    fstat(fd).map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
}

fn flags_of(fd: &OwnedFd) -> OFlag {
    fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_truncate)
}

fn is_terminal(fd: &OwnedFd) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}

/// What the sentry is told of it.
pub(super) fn describe(fd: &OwnedFd) -> v1::Stdio {
    let flags = flags_of(fd) & (OFlag::O_ACCMODE | OFlag::O_APPEND);
    v1::Stdio {
        mode: kind_of(fd).bits(),
        flags: u32::try_from(flags.bits()).unwrap_or_default(),
        tty: is_terminal(fd),
        closed: false,
        server: false,
    }
}

impl StdioFile {
    pub(super) fn new(fd: OwnedFd) -> Self {
        let is_terminal = is_terminal(&fd);
        let mut manner = match kind_of(&fd) {
            SFlag::S_IFREG | SFlag::S_IFDIR | SFlag::S_IFBLK => Manner::Direct,
            SFlag::S_IFSOCK => Manner::Socket,
            _ => Manner::NoWait,
        };
        let mut fd = fd;
        if is_terminal {
            manner = Manner::Polled;
            // The same terminal through a description of our own, whose flags are ours to set.
            let flags = (flags_of(&fd) & OFlag::O_ACCMODE) | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            if let Ok(own) = open(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags, Mode::empty()) {
                (fd, manner) = (own, Manner::Own);
            }
        }
        // Files that are always ready can't be waited for, and need not be.
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let readiness = fd.try_clone().ok().and_then(|copy| host::watch(copy, interest).ok());
        if readiness.is_none() {
            manner = Manner::Direct;
        }
        Self { fd, manner: Cell::new(manner), readiness, is_terminal }
    }

    pub(super) fn read(&self, len: u32) -> nix::Result<Bytes> {
        let mut buffer = vec![0; (len as usize).min(MAX_TRANSFER)];
        let length = self.read_into(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer.into())
    }

    fn read_into(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        match self.manner.get() {
            Manner::Direct | Manner::Own => nix::unistd::read(&self.fd, buffer),
            Manner::Socket => recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Manner::NoWait => match host::read_nowait(self.fd.as_fd(), buffer) {
                Err(Errno::EOPNOTSUPP) => {
                    self.manner.set(Manner::Polled);
                    self.read_into(buffer)
                }
                other => other,
            },
            Manner::Polled => {
                if self.poll(u32::from(libc::POLLIN as u16))? == 0 {
                    return Err(Errno::EAGAIN);
                }
                nix::unistd::read(&self.fd, buffer)
            }
        }
    }

    pub(super) fn write(&self, data: &[u8]) -> nix::Result<usize> {
        let data = data.get(..MAX_TRANSFER).unwrap_or(data);
        match self.manner.get() {
            Manner::Direct | Manner::Own => nix::unistd::write(&self.fd, data),
            Manner::Socket => send(self.fd.as_raw_fd(), data, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Manner::NoWait => match host::write_nowait(self.fd.as_fd(), data) {
                Err(Errno::EOPNOTSUPP) => {
                    self.manner.set(Manner::Polled);
                    self.write(data)
                }
                other => other,
            },
            Manner::Polled => {
                if self.poll(u32::from(libc::POLLOUT as u16))? == 0 {
                    return Err(Errno::EAGAIN);
                }
                nix::unistd::write(&self.fd, data.get(..PIPE_BUF).unwrap_or(data))
            }
        }
    }

    fn regular(&self) -> nix::Result<()> {
        if kind_of(&self.fd) == SFlag::S_IFREG { Ok(()) } else { Err(Errno::ESPIPE) }
    }

    /// pread(2).
    pub(super) fn read_at(&self, len: u32, offset: u64) -> nix::Result<Bytes> {
        self.regular()?;
        let mut buffer = vec![0; (len as usize).min(MAX_TRANSFER)];
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let length = nix::sys::uio::pread(&self.fd, &mut buffer, offset)?;
        buffer.truncate(length);
        Ok(buffer.into())
    }

    /// pwrite(2).
    pub(super) fn write_at(&self, data: &[u8], offset: u64) -> nix::Result<usize> {
        self.regular()?;
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        nix::sys::uio::pwrite(&self.fd, data.get(..MAX_TRANSFER).unwrap_or(data), offset)
    }

    /// lseek(2).
    pub(super) fn seek(&self, offset: i64, whence: u32) -> nix::Result<i64> {
        use nix::unistd::Whence;
        self.regular()?;
        let whence = match whence {
            0 => Whence::SeekSet,
            1 => Whence::SeekCur,
            2 => Whence::SeekEnd,
            3 => Whence::SeekData,
            4 => Whence::SeekHole,
            _ => return Err(Errno::EINVAL),
        };
        nix::unistd::lseek(&self.fd, offset, whence)
    }

    /// What is there now of `events`, and errors.
    pub(super) fn poll(&self, events: u32) -> nix::Result<u32> {
        let wanted = PollFlags::from_bits_truncate((events & 0xffff) as i16);
        let mut fds = [PollFd::new(self.fd.as_fd(), wanted)];
        poll(&mut fds, PollTimeout::ZERO)?;
        let [fd] = fds;
        Ok(fd.revents().map_or(0, |events| u32::from(events.bits() as u16)))
    }

    /// Waits until something of `events`, or an error, is there.
    pub(super) async fn wait(&self, events: u32) -> nix::Result<u32> {
        let Some(readiness) = &self.readiness else { return self.poll(events) };
        let wants = |flag: i16| events & u32::from(flag as u16) != 0;
        let mut interest = Interest::PRIORITY;
        if wants(libc::POLLIN | libc::POLLRDNORM | libc::POLLRDHUP) {
            interest |= Interest::READABLE;
        }
        if wants(libc::POLLOUT | libc::POLLWRNORM) {
            interest |= Interest::WRITABLE;
        }
        if !interest.is_readable() && !interest.is_writable() {
            // Errors and hang-ups alone are shown as these.
            interest |= Interest::READABLE | Interest::WRITABLE;
        }
        let mut idle = false;
        loop {
            let ready = self.poll(events)?;
            if ready != 0 {
                return Ok(ready);
            }
            if idle {
                // Half of it is closed for good, which is no event that was asked for: never spin on that.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut guard = readiness.ready(interest).await.map_err(|_| Errno::EIO)?;
            let ready = self.poll(events)?;
            if ready != 0 {
                guard.retain_ready();
                return Ok(ready);
            }
            idle = guard.ready().is_read_closed() || guard.ready().is_write_closed();
            guard.clear_ready();
        }
    }

    pub(super) fn ioctl(&self, request: u32, data: &[u8]) -> nix::Result<Bytes> {
        terminal::ioctl(self.as_fd(), self.is_terminal, request, data)
    }
}

impl AsFd for StdioFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::pipe;
    use std::io::{Read, Seek, Write};

    const IN: u32 = libc::POLLIN as u32;
    const OUT: u32 = libc::POLLOUT as u32;

    fn in_runtime<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    #[test]
    fn a_pipe_never_waits_and_keeps_its_flags() {
        in_runtime(async {
            let (read, write) = pipe().unwrap();
            let (reader, writer) = (StdioFile::new(read), StdioFile::new(write));
            assert_eq!(reader.read(10), Err(Errno::EAGAIN));
            assert_eq!(writer.write(b"hello"), Ok(5));
            assert_eq!(reader.poll(IN), Ok(IN));
            assert_eq!(reader.read(100).unwrap(), "hello");
            let mut written = 0;
            let last = loop {
                match writer.write(&[7; 100_000]) {
                    Ok(count) => written += count,
                    Err(errno) => break errno,
                }
            };
            assert_eq!(last, Errno::EAGAIN);
            assert!(written >= 65_536);
            assert!(!flags_of(&writer.fd).contains(OFlag::O_NONBLOCK));
            drop(writer);
            while reader.read(1 << 20).unwrap() != "" {}
            drop(reader);
        });
    }

    #[test]
    fn polled_pieces_fit() {
        in_runtime(async {
            let (read, write) = pipe().unwrap();
            let (reader, writer) = (StdioFile::new(read), StdioFile::new(write));
            writer.manner.set(Manner::Polled);
            reader.manner.set(Manner::Polled);
            assert_eq!(reader.read(10), Err(Errno::EAGAIN));
            while writer.write(&[7; 100_000]).is_ok_and(|count| count == PIPE_BUF) {}
            assert_eq!(writer.write(b"x"), Err(Errno::EAGAIN));
            assert_eq!(reader.read(5).unwrap().len(), 5);
        });
    }

    #[test]
    fn a_wait_ends_with_the_event_or_can_be_dropped() {
        in_runtime(async {
            let (read, write) = pipe().unwrap();
            let (reader, writer) = (StdioFile::new(read), StdioFile::new(write));
            let dropped = tokio::time::timeout(Duration::from_millis(10), reader.wait(IN)).await;
            assert!(dropped.is_err());
            let (event, _) = tokio::join!(reader.wait(IN), async { writer.write(b"x") });
            assert_eq!(event, Ok(IN));
            assert_eq!(writer.wait(OUT).await, Ok(OUT));
            reader.read(9).unwrap();
            drop(writer);
            assert_eq!(reader.wait(IN).await, Ok(libc::POLLHUP as u32));
        });
    }

    #[test]
    fn a_regular_file_is_always_ready() {
        in_runtime(async {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"abc").unwrap();
            file.rewind().unwrap();
            let stdio = StdioFile::new(file.try_clone().unwrap().into());
            assert_eq!(stdio.wait(IN).await, Ok(IN));
            assert_eq!(stdio.read(2).unwrap(), "ab");
            assert_eq!(stdio.write(b"X"), Ok(1));
            let mut rest = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "abX");
        });
    }

    #[test]
    fn a_socket_and_a_null_device() {
        in_runtime(async {
            let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
            let (a, b) = (StdioFile::new(a.into()), StdioFile::new(b.into()));
            assert_eq!(a.read(1), Err(Errno::EAGAIN));
            b.write(b"yes").unwrap();
            assert_eq!(a.read(9).unwrap(), "yes");
            drop(b);
            assert_eq!(a.read(9).unwrap(), "");
            assert_eq!(a.write(b"x"), Err(Errno::EPIPE));
            let null = StdioFile::new(std::fs::File::open("/dev/null").unwrap().into());
            assert_eq!(null.read(9).unwrap(), "");
            assert_eq!(null.ioctl(0x5401, &[0; 36]), Err(Errno::ENOTTY));
        });
    }

    #[test]
    fn a_terminal_does_not_wait() {
        in_runtime(async {
            let pty = nix::pty::openpty(None, None).unwrap();
            let slave = StdioFile::new(pty.slave);
            assert_eq!(slave.manner.get(), Manner::Own);
            assert_eq!(slave.read(9), Err(Errno::EAGAIN));
            nix::unistd::write(&pty.master, b"line\n").unwrap();
            assert_eq!(slave.wait(IN).await, Ok(IN));
            assert_eq!(slave.read(9).unwrap(), "line\n");
            assert_eq!(slave.ioctl(0x5413, &[]).unwrap().len(), 8);
            assert_eq!(slave.ioctl(0x5401, &[]).unwrap().len(), 36);
            assert_eq!(slave.ioctl(0x5414, &[30, 0, 90, 0, 0, 0, 0, 0]).unwrap(), "");
            assert_eq!(slave.ioctl(0x5413, &[]).unwrap().first(), Some(&30));
            assert_eq!(slave.ioctl(0x5414, &[1]), Err(Errno::EINVAL));
        });
    }
}
