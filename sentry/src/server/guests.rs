//! The doors of a private sentry: what supervisors pass to it beside the sessions (`rsc_proto::transport::door`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rsc_gofer::receive_donation;
use rsc_proto::transport::door::{GuestToken, Offer};
use rsc_proto::transport::{Accepted, UnixIo};
use tokio::sync::{Notify, mpsc};

use super::sandbox::GoferStream;

/// Gofers of one session.
const MAX_GOFERS: usize = 64;
/// Doors, and sessions that were passed but not opened.
const MAX_WAITING: usize = 1024;

/// What was handed over for one session by descriptor.
#[derive(Default)]
pub struct Handed {
    /// Byte streams of its gofers, in the order of `Sandbox.gofers`.
    pub gofers: Vec<GoferStream>,
    /// The socket of its broker of internet sockets; none: the sentry starts one where `--net` says.
    pub broker: Option<OwnedFd>,
}

/// What was passed for sessions that are not open yet.
#[derive(Default)]
pub struct Guests {
    /// For the session of the command line.
    first: RefCell<Option<Handed>>,
    others: RefCell<HashMap<GuestToken, Handed>>,
}

impl Guests {
    /// With the gofers of the command line.
    pub fn new(gofers: Vec<UnixStream>) -> Rc<Self> {
        let gofers = gofers.into_iter().map(GoferStream::Local).collect();
        Rc::new(Self { first: RefCell::new(Some(Handed { gofers, broker: None })), others: RefCell::default() })
    }

    /// What was passed for the session whose Hello shows this token.
    pub(super) fn take(&self, token: &[u8]) -> Option<Handed> {
        match GuestToken::parse(token) {
            Some(token) => self.others.borrow_mut().remove(&token),
            None if token.is_empty() => self.first.borrow_mut().take(),
            None => None,
        }
    }
}

/// Takes in what comes through the doors.
pub struct Doors {
    guests: Rc<Guests>,
    accepted: mpsc::UnboundedSender<Accepted>,
    /// Connections that are open, and doors.
    open: Cell<usize>,
    doors: Cell<usize>,
    closed: Notify,
}

impl Doors {
    /// Doors for a server with these guests, and the connections that come through them.
    pub fn new(guests: Rc<Guests>) -> (Rc<Self>, mpsc::UnboundedReceiver<Accepted>) {
        let (accepted, connections) = mpsc::unbounded_channel();
        let doors = Self { guests, accepted, open: Cell::new(0), doors: Cell::new(0), closed: Notify::new() };
        (Rc::new(doors), connections)
    }

    /// Takes in a connection. In a `LocalSet`.
    pub fn admit(self: &Rc<Self>, session: UnixIo) {
        let (accepted, closed) = Accepted::inherited(session);
        self.open.set(self.open.get() + 1);
        // Nobody takes it: the server is ending.
        let _ = self.accepted.send(accepted);
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            closed.await;
            this.open.set(this.open.get() - 1);
            this.closed.notify_one();
        });
    }

    /// Completes when there have been connections, and all are closed.
    pub async fn deserted(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }

    /// Serves a door until its supervisor closes it. In a `LocalSet`.
    pub fn serve(self: &Rc<Self>, door: OwnedFd) {
        if self.doors.get() >= MAX_WAITING {
            tracing::warn!("more than {MAX_WAITING} doors: one is not opened");
            return;
        }
        self.doors.set(self.doors.get() + 1);
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(problem) = this.take_in(door).await {
                tracing::warn!("a door is closed: {problem}");
            }
            this.doors.set(this.doors.get() - 1);
        });
    }

    async fn take_in(self: &Rc<Self>, door: OwnedFd) -> Result<(), String> {
        let door = crate::sys::net::reactor(door).map_err(|error| error.to_string())?;
        let mut handed = Handed::default();
        loop {
            let mut ready = door.readable().await.map_err(|error| error.to_string())?;
            let (number, fd) = match receive_donation(door.get_ref().as_fd(), false) {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(()),
                Err(errno) if errno.number() == libc::EAGAIN => {
                    ready.clear_ready();
                    continue;
                }
                Err(errno) if errno.number() == libc::EINTR => continue,
                Err(errno) => return Err(format!("what comes through it is not readable: {errno}")),
            };
            match Offer::parse(number) {
                Some(Offer::Gofer) if handed.gofers.len() < MAX_GOFERS => {
                    handed.gofers.push(GoferStream::Local(fd.into()));
                }
                Some(Offer::Broker) => handed.broker = Some(fd),
                Some(Offer::Door) => self.serve(fd),
                Some(Offer::Session(token)) if self.guests.others.borrow().len() < MAX_WAITING => {
                    let session = UnixIo::new(fd.into()).map_err(|error| format!("a session's socket: {error}"))?;
                    self.guests.others.borrow_mut().insert(token, std::mem::take(&mut handed));
                    self.admit(session);
                }
                Some(Offer::Gofer | Offer::Session(_)) => return Err("too much comes through it".to_owned()),
                None => return Err(format!("{number} means nothing")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsc_gofer::send_descriptor;
    use std::os::fd::AsRawFd as _;

    fn pair() -> (OwnedFd, OwnedFd) {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
    }

    #[test]
    fn a_session_comes_through_a_door_with_what_it_needs() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let guests = Guests::new(Vec::new());
            let (doors, mut connections) = Doors::new(Rc::clone(&guests));
            let (first, theirs) = pair();
            doors.serve(theirs);
            // A second supervisor gets a door through the first one's.
            let (second, theirs) = pair();
            send_descriptor(first.as_fd(), Offer::Door.number(), theirs.as_fd()).unwrap();
            drop(theirs);
            let token = GuestToken::new(5);
            let gofer = UnixStream::pair().unwrap();
            let session = UnixStream::pair().unwrap();
            send_descriptor(second.as_fd(), Offer::Gofer.number(), gofer.0.as_fd()).unwrap();
            send_descriptor(second.as_fd(), Offer::Session(token).number(), session.0.as_fd()).unwrap();
            drop(session.0);
            let accepted = connections.recv().await.unwrap();
            let handed = guests.take(&token.to_bytes()).unwrap();
            assert_eq!((handed.gofers.len(), handed.broker.is_none()), (1, true));
            assert!(guests.take(&token.to_bytes()).is_none());
            assert!(guests.take(&[]).is_some());
            drop(accepted);
            doors.deserted().await;
            // Nonsense closes the door.
            send_descriptor(second.as_fd(), 9, gofer.0.as_fd()).unwrap();
            use nix::sys::socket::{MsgFlags, recv};
            while recv(second.as_raw_fd(), &mut [0], MsgFlags::empty()) != Ok(0) {
                tokio::task::yield_now().await;
            }
        });
    }
}
