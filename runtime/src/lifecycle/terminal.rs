//! The terminal of a container: a pty of the compute host, whose slave is the workload's standard input and output and whose
//! master goes to `--console-socket`, or is relayed to the caller's own terminal by `run`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::pty::openpty;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use rsc_oci::spec::Process;

use super::LifecycleError;
use crate::sys::host;

/// Both ends of a new pty.
#[derive(Debug)]
pub struct Pty {
    /// For the client.
    pub master: OwnedFd,
    /// For the workload.
    pub slave: OwnedFd,
}

impl Pty {
    /// Makes one, of `size` (rows, columns) if that is given.
    pub fn open(size: Option<(u16, u16)>) -> Result<Self, LifecycleError> {
        let failed = || LifecycleError::io("making", "a terminal");
        let pty = openpty(None, None).map_err(failed())?;
        for fd in [&pty.master, &pty.slave] {
            fcntl(fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).map_err(failed())?;
        }
        if let Some((rows, columns)) = size {
            let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            host::set_window_size(pty.slave.as_fd(), &size).map_err(failed())?;
        }
        Ok(Self { master: pty.master, slave: pty.slave })
    }

    /// One like `terminal`: of its size, with its settings.
    pub fn like(terminal: BorrowedFd<'_>) -> Result<Self, LifecycleError> {
        let size = host::window_size(terminal).ok().map(|size| (size.ws_row, size.ws_col));
        let pty = Self::open(size)?;
        if let Ok(settings) = tcgetattr(terminal) {
            tcsetattr(&pty.slave, SetArg::TCSANOW, &settings)
                .map_err(LifecycleError::io("setting up", "the terminal"))?;
        }
        Ok(pty)
    }

    /// One for a process of a specification, and its three descriptors.
    pub fn for_process(process: &Process) -> Result<(Vec<Option<OwnedFd>>, Self), LifecycleError> {
        let size = process.console_size().map(|size| {
            let cells = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
            (cells(size.height()), cells(size.width()))
        });
        let pty = Self::open(size)?;
        let copy = || pty.slave.try_clone().map_err(LifecycleError::io("copying", "a descriptor"));
        Ok((vec![Some(copy()?), Some(copy()?), Some(copy()?)], pty))
    }

    /// Sends the master to the socket at `path`, as runc does: with the terminal's name as data.
    pub fn send_master(&self, path: &Path) -> Result<(), LifecycleError> {
        let failed = || LifecycleError::io("sending the terminal to", path.display().to_string());
        let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed())?;
        let address = UnixAddr::new(path).map_err(failed())?;
        connect(stream.as_raw_fd(), &address).map_err(failed())?;
        let name = b"/dev/ptmx";
        let fds = [self.master.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(stream.as_raw_fd(), &[io::IoSlice::new(name)], &rights, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(failed())?;
        Ok(())
    }
}

/// Carries bytes between the caller's terminal and a pty's master, while `run` waits.
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    input: Option<OwnedFd>,
    output: OwnedFd,
    to_master: Vec<u8>,
    to_output: Vec<u8>,
    ended: bool,
    saved: Option<(OwnedFd, Termios)>,
}

/// Bytes that wait in one direction at most.
const PENDING: usize = 64 << 10;

impl Relay {
    /// Begins: the caller's terminal, if it is one, is made raw until this is dropped.
    pub fn start(master: OwnedFd, input: OwnedFd, output: OwnedFd) -> Result<Self, LifecycleError> {
        let failed = || LifecycleError::io("setting up", "the terminal");
        let flags = fcntl(&master, FcntlArg::F_GETFL).map_err(failed())?;
        let flags = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
        fcntl(&master, FcntlArg::F_SETFL(flags)).map_err(failed())?;
        let mut saved = None;
        if let Ok(attributes) = tcgetattr(&input) {
            let mut raw = attributes.clone();
            cfmakeraw(&mut raw);
            tcsetattr(&input, SetArg::TCSANOW, &raw).map_err(failed())?;
            saved = Some((input.try_clone().map_err(LifecycleError::io("setting up", "the terminal"))?, attributes));
        }
        let relay = Self {
            master,
            input: Some(input),
            output,
            to_master: Vec::new(),
            to_output: Vec::new(),
            ended: false,
            saved,
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the pty the size that the caller's terminal has now.
    pub fn resize(&self) {
        if let Ok(size) = host::window_size(self.output.as_fd()) {
            // A terminal that has gone away has no size to keep.
            let _ = host::set_window_size(self.master.as_fd(), &size);
        }
    }

    /// Gives the caller's terminal its settings back, while the caller is stopped.
    pub fn suspend(&self) {
        if let Some((terminal, attributes)) = &self.saved {
            // One that has gone away needs no restoring.
            let _ = tcsetattr(terminal, SetArg::TCSANOW, attributes);
        }
    }

    /// Takes it over again.
    pub fn resume(&mut self) {
        if let Some((terminal, attributes)) = &mut self.saved
            && let Ok(now) = tcgetattr(&*terminal)
        {
            *attributes = now;
            let mut raw = attributes.clone();
            cfmakeraw(&mut raw);
            let _ = tcsetattr(&*terminal, SetArg::TCSANOW, &raw);
        }
        self.resize();
    }

    /// What to poll for.
    pub fn interests(&self) -> Vec<PollFd<'_>> {
        let mut interests = Vec::new();
        let mut master = PollFlags::empty();
        if self.to_output.len() < PENDING && !self.ended {
            master |= PollFlags::POLLIN;
        }
        if !self.to_master.is_empty() {
            master |= PollFlags::POLLOUT;
        }
        if !master.is_empty() {
            interests.push(PollFd::new(self.master.as_fd(), master));
        }
        if let Some(input) = self.input.as_ref().filter(|_| self.to_master.len() < PENDING) {
            interests.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        if !self.to_output.is_empty() {
            interests.push(PollFd::new(self.output.as_fd(), PollFlags::POLLOUT));
        }
        interests
    }

    /// Moves what can be moved without waiting.
    pub fn turn(&mut self) {
        if !self.ended && self.to_output.len() < PENDING {
            match read_some(self.master.as_fd()) {
                Ok(data) if data.is_empty() => self.ended = true,
                Ok(data) => self.to_output.extend(data),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // EIO: the last user of the slave has gone.
                Err(_) => self.ended = true,
            }
        }
        if let Some(input) = self.input.as_ref().filter(|_| self.to_master.len() < PENDING)
            && ready(input.as_fd(), PollFlags::POLLIN)
        {
            match read_some(input.as_fd()) {
                Ok(data) if !data.is_empty() => self.to_master.extend(data),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // End of input: type the character that means it.
                _ => {
                    self.to_master.push(4);
                    self.input = None;
                }
            }
        }
        if !self.to_master.is_empty()
            && let Ok(count) = nix::unistd::write(&self.master, &self.to_master)
        {
            self.to_master.drain(..count);
        }
        if !self.to_output.is_empty() && ready(self.output.as_fd(), PollFlags::POLLOUT) {
            let piece = self.to_output.get(..libc::PIPE_BUF).unwrap_or(&self.to_output);
            match nix::unistd::write(&self.output, piece) {
                Ok(count) => drop(self.to_output.drain(..count)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // Nobody reads any more; the workload goes on.
                Err(_) => self.to_output.clear(),
            }
        }
    }

    /// Carries out the rest of the output, after the workload has ended.
    pub fn drain(&mut self) {
        while !(self.ended && self.to_output.is_empty()) {
            self.input = None;
            self.turn();
            let mut interests = self.interests();
            if interests.is_empty() || nix::poll::poll(&mut interests, 1000_u16).is_ok_and(|count| count == 0) {
                break;
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.suspend();
    }
}

fn ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    nix::poll::poll(&mut [PollFd::new(fd, events)], nix::poll::PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

fn read_some(fd: BorrowedFd<'_>) -> nix::Result<Vec<u8>> {
    let mut buffer = vec![0; 16 << 10];
    let count = nix::unistd::read(fd, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_bytes_both_ways() {
        let pty = Pty::open(Some((30, 90))).unwrap();
        assert_eq!(host::window_size(pty.slave.as_fd()).map(|size| (size.ws_row, size.ws_col)), Ok((30, 90)));
        let (input, typed) = nix::unistd::pipe().unwrap();
        let (shown, output) = nix::unistd::pipe().unwrap();
        let mut relay = Relay::start(pty.master, input, output).unwrap();
        nix::unistd::write(&typed, b"hi\n").unwrap();
        relay.turn();
        assert_eq!(read_some(pty.slave.as_fd()).unwrap(), b"hi\n");
        nix::unistd::write(&pty.slave, b"there").unwrap();
        drop(pty.slave);
        relay.drain();
        drop(relay);
        assert_eq!(read_some(shown.as_fd()).unwrap(), b"hi\r\nthere");
    }
}
