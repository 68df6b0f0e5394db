//! Placeholders: what sits in a process's own table of descriptors where a remote one is. `docs/decisions/0017-remote-processes.md`.
//!
//! A placeholder is a connected unix socket whose other end is here. The kernel copies, inherits and closes it as it does any
//! descriptor; when its last copy is gone, this end hangs up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockname, getsockopt,
    listen, recv, send, socket, socketpair,
};
use nix::sys::stat::{Mode, fstat};
use tokio::io::unix::AsyncFd;

use crate::sys::host::adopt;
use crate::sys::readiness;

/// A remote file as a placeholder shows it to poll(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// `POLLIN`.
    pub readable: bool,
    /// `POLLOUT`.
    pub writable: bool,
    /// `POLLHUP`.
    pub hung_up: bool,
}

/// One remote descriptor.
#[derive(Debug)]
pub struct Handle {
    /// Its number at the sentry.
    pub number: i32,
    /// Which socket its placeholder is.
    pub inode: u64,
    /// Where a copy of the placeholder was seen last: process and number.
    pub seen: Cell<(i32, i32)>,
    /// Its readiness is mirrored.
    pub watched: Cell<bool>,
    shown: Cell<Readiness>,
    ours: AsyncFd<OwnedFd>,
}

impl Handle {
    /// Waits until the last copy of the placeholder is closed.
    pub async fn closed(&self) {
        while !self.is_closed() {
            match self.ours.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }

    /// Whether the last copy of the placeholder is closed.
    pub fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(self.ours.as_fd(), PollFlags::empty())];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
            && fds.iter().any(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
    }

    /// Makes the placeholder as ready as the remote file is. `theirs` is a copy of it.
    pub fn show(&self, readiness: Readiness, theirs: &OwnedFd) -> nix::Result<()> {
        let before = self.shown.replace(readiness);
        let mut bytes = [0; 4096];
        match (before.readable, readiness.readable) {
            (false, true) => {
                send(self.ours.as_raw_fd(), &[0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
            }
            (true, false) => while matches!(recv(theirs.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT), Ok(1..)) {},
            _ => {}
        }
        match (before.writable, readiness.writable) {
            (true, false) => {
                let fill = [0; 4096];
                while send(theirs.as_raw_fd(), &fill, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).is_ok() {}
            }
            (false, true) => {
                while matches!(recv(self.ours.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT), Ok(1..)) {}
            }
            _ => {}
        }
        if readiness.hung_up && !before.hung_up {
            nix::sys::socket::shutdown(self.ours.as_raw_fd(), nix::sys::socket::Shutdown::Write)?;
        }
        Ok(())
    }
}

/// All remote descriptors of a session, and where their placeholders come from.
#[derive(Debug)]
pub struct Placeholders {
    by_inode: RefCell<HashMap<u64, Rc<Handle>>>,
    /// By an abstract name, for processes in this network namespace; and by a path, for all others.
    listeners: [Listener; 2],
    _place: OwnedFd,
}

/// Where sockets of processes become placeholders: what is accepted is this side's end.
#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    name: UnixAddr,
}

impl Listener {
    fn new(address: &UnixAddr) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        bind(socket.as_raw_fd(), address)?;
        listen(&socket, Backlog::new(16)?)?;
        let name = getsockname(socket.as_raw_fd())?;
        Ok(Listener { socket, name })
    }

    /// Connects a process's fresh socket; our end.
    fn join(&self, theirs: &OwnedFd) -> nix::Result<OwnedFd> {
        connect(theirs.as_raw_fd(), &self.name)?;
        loop {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let ours = adopt(accept4(self.socket.as_raw_fd(), flags)?);
            // Anybody may find the name; only this process has just connected.
            if getsockopt(&ours, PeerCredentials)?.pid() == std::process::id() as i32 {
                return Ok(ours);
            }
        }
    }
}

impl Placeholders {
    /// None yet.
    pub fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path: PathBuf = std::env::temp_dir().join(format!(".rsc-{:016x}", u64::from_ne_bytes(random)));
        let here = Listener::new(&UnixAddr::new_unnamed())?;
        let mut elsewhere = Listener::new(&UnixAddr::new(&path)?)?;
        let place = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        // Nobody else is to find it.
        std::fs::remove_file(&path)?;
        let place = place?;
        elsewhere.name = UnixAddr::new(format!("/proc/self/fd/{}", place.as_raw_fd()).as_str())?;
        Ok(Placeholders { by_inode: RefCell::default(), listeners: [here, elsewhere], _place: place })
    }

    /// Whether there are none, so that no descriptor can be one.
    pub fn is_empty(&self) -> bool {
        self.by_inode.borrow().is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_inode.borrow().len()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Rc<Handle>> {
        self.by_inode.borrow().values().cloned().collect()
    }

    /// Makes a fresh unix socket of a process, of which `theirs` is a copy, the placeholder of a remote descriptor.
    pub fn take(&self, theirs: &OwnedFd, number: i32) -> nix::Result<Rc<Handle>> {
        let [here, elsewhere] = &self.listeners;
        let ours = here.join(theirs).or_else(|_| elsewhere.join(theirs))?;
        self.enter(theirs, ours, number)
    }

    /// A placeholder to be passed on.
    pub fn make(&self, number: i32) -> nix::Result<(Rc<Handle>, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
        let handle = self.enter(&theirs, ours, number)?;
        Ok((handle, theirs))
    }

    fn enter(&self, theirs: &OwnedFd, ours: OwnedFd, number: i32) -> nix::Result<Rc<Handle>> {
        let inode = fstat(theirs)?.st_ino;
        let ours = readiness::watch(ours).map_err(|_| Errno::EMFILE)?;
        let (seen, shown) = (Cell::new((0, -1)), Cell::new(Readiness { writable: true, ..Readiness::default() }));
        let handle = Rc::new(Handle { number, inode, seen, watched: Cell::new(false), shown, ours });
        self.by_inode.borrow_mut().insert(inode, Rc::clone(&handle));
        Ok(handle)
    }

    /// The remote descriptor behind a number of a thread's, if it is one.
    pub fn find(&self, tid: i32, tgid: i32, fd: i32) -> Option<Rc<Handle>> {
        if fd < 0 || self.is_empty() {
            return None;
        }
        let target = std::fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()?;
        let handle = self.by_inode.borrow().get(&inode).cloned()?;
        handle.seen.set((tgid, fd));
        Some(handle)
    }

    /// Forgets one whose last copy is closed. Whoever gets `true` closes it at the sentry.
    pub fn forget(&self, handle: &Handle) -> bool {
        self.by_inode.borrow_mut().remove(&handle.inode).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(fd: &OwnedFd) -> PollFlags {
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).unwrap();
        fds[0].revents().unwrap()
    }

    #[tokio::test]
    async fn copies_and_the_last_close() {
        let all = Placeholders::new().unwrap();
        let theirs = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let handle = all.take(&theirs, 7).unwrap();
        let copy = theirs.try_clone().unwrap();
        let own = std::process::id() as i32;
        assert_eq!(all.find(own, own, copy.as_raw_fd()).unwrap().number, 7);
        assert!(all.find(own, own, 0).is_none());
        drop(theirs);
        assert!(!handle.is_closed());
        drop(copy);
        handle.closed().await;
        assert!(all.forget(&handle) && !all.forget(&handle) && all.is_empty());
    }

    #[tokio::test]
    async fn readiness_is_shown() {
        let all = Placeholders::new().unwrap();
        let (handle, theirs) = all.make(3).unwrap();
        assert_eq!(events(&theirs), PollFlags::POLLOUT);
        let show = |readable, writable| {
            handle.show(Readiness { readable, writable, hung_up: false }, &theirs).unwrap();
            events(&theirs)
        };
        assert_eq!(show(true, true), PollFlags::POLLIN | PollFlags::POLLOUT);
        assert_eq!(show(true, false), PollFlags::POLLIN);
        assert_eq!(show(false, false), PollFlags::empty());
        assert_eq!(show(false, true), PollFlags::POLLOUT);
        handle.show(Readiness { readable: true, writable: true, hung_up: true }, &theirs).unwrap();
        assert!(events(&theirs).contains(PollFlags::POLLIN));
        assert!(!handle.is_closed());
    }
}
