//! The server: one connection, one tree, requests in order on one thread. Contracts are those of [`rsc_proto::gofer`].
//!
//! One read takes as many requests as have arrived, one write sends their replies. Data is read into and written from the
//! frames' own buffers. Slow requests go to two helper threads ([`slow`]), requests that wait are kept aside ([`wait`]).
//! What a request says is checked here and in the modules of its operations, whoever sent it.

mod attr;
mod data;
mod handles;
mod lookup;
mod make;
mod slow;
mod wait;

use crate::jail::{Ids, Tree};
use crate::sys::{Result, ipc};
use handles::Handles;
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{self as wire, FrameError, Op, Outcome, Reply, Request};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Replies are sent when this many bytes have come together, even if more requests are there.
const FLUSH: usize = 256 << 10;
/// The request buffer's size as long as frames are small.
const BUFFER: usize = 64 << 10;

/// Why a connection ended, other than by the client.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client does not speak the protocol.
    #[error("a malformed request: {0}")]
    Frame(#[from] FrameError),
    /// A request that has no meaning.
    #[error("request {0} has no known operation")]
    Operation(u64),
    /// The socket.
    #[error("the socket failed: {0:?}")]
    Socket(Errno),
}

/// The socket's sending side, shared with the helper threads.
struct Wire {
    socket: OwnedFd,
    /// Frames are written whole.
    lock: Mutex<()>,
}

impl Wire {
    fn send(&self, mut bytes: &[u8]) -> Result<()> {
        let _whole = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let n = ipc::write(self.socket.as_fd(), bytes)?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }
}

/// What an operation answers.
enum Answer {
    /// Nothing but success.
    Done,
    /// With this.
    With(Outcome),
    /// With a payload.
    Payload(Vec<u8>),
    /// The frame is in `out` already.
    Sent,
    /// A helper thread or a later event will answer.
    Later,
}

/// One connection.
pub(crate) struct Server {
    wire: Arc<Wire>,
    /// Replies that have not been sent.
    out: Vec<u8>,
    handles: Handles,
    root: OwnedFd,
    /// The directory of own descriptors.
    own: OwnedFd,
    ids: Ids,
    read_only: bool,
    donations: Option<OwnedFd>,
    waits: wait::Waits,
    slow: slow::Helpers,
}

/// What a server is made of.
pub(crate) struct Parts {
    pub(crate) socket: OwnedFd,
    pub(crate) donations: Option<OwnedFd>,
    pub(crate) tree: Tree,
    pub(crate) read_only: bool,
    /// Descriptors that handles may use.
    pub(crate) max_handles: usize,
}

impl Server {
    /// Makes the server and starts its helper threads.
    pub(crate) fn new(parts: Parts) -> std::io::Result<Server> {
        let wire = Arc::new(Wire { socket: parts.socket, lock: Mutex::new(()) });
        Ok(Server {
            slow: slow::Helpers::start(&wire)?,
            wire,
            out: Vec::with_capacity(BUFFER),
            handles: Handles::new(parts.max_handles),
            root: parts.tree.root,
            own: parts.tree.own,
            ids: parts.tree.ids,
            read_only: parts.read_only,
            donations: parts.donations,
            waits: wait::Waits::default(),
        })
    }

    /// Serves until the client closes the connection.
    pub(crate) fn serve(mut self) -> std::result::Result<(), ServeError> {
        let mut buffer = vec![0u8; BUFFER];
        let mut filled = 0;
        loop {
            let mut at = 0;
            let needed = loop {
                match wire::split_frame(buffer.get(at..filled).unwrap_or_default())? {
                    Ok(frame) => {
                        self.request(frame.decode()?, frame.payload)?;
                        at += frame.len;
                    }
                    Err(needed) => break needed,
                }
                if self.out.len() >= FLUSH {
                    self.flush()?;
                }
            };
            self.wait_again();
            self.flush()?;
            buffer.copy_within(at..filled, 0);
            filled -= at;
            if needed > buffer.len() {
                buffer.resize(needed, 0);
            } else if filled == 0 && needed <= BUFFER && buffer.len() > BUFFER {
                buffer.truncate(BUFFER);
                buffer.shrink_to_fit();
            }
            if !self.wait_for_input()? {
                continue;
            }
            match ipc::read(self.wire.socket.as_fd(), buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) | Err(Errno::ECONNRESET) => return Ok(()),
                Ok(n) => filled += n,
                Err(e) => return Err(ServeError::Socket(e)),
            }
        }
    }

    /// Waits for requests while others wait for locks or FIFOs. Whether there may be input.
    fn wait_for_input(&mut self) -> std::result::Result<bool, ServeError> {
        if self.waits.is_empty() {
            return Ok(true);
        }
        let input = self.waits.wait(self.wire.socket.as_raw_fd()).map_err(ServeError::Socket)?;
        Ok(input)
    }

    fn flush(&mut self) -> std::result::Result<(), ServeError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = self.wire.send(&self.out);
        self.out.clear();
        if self.out.capacity() > 4 * wire::MAX_PAYLOAD {
            self.out.shrink_to(BUFFER);
        }
        match sent {
            // The client is gone; the next read says so.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(e) => Err(ServeError::Socket(e)),
        }
    }

    fn request(&mut self, request: Request, payload: &[u8]) -> std::result::Result<(), ServeError> {
        let id = request.id;
        for handle in &request.close {
            if self.handles.close(*handle) {
                self.waits.hurry();
            }
        }
        let Some(op) = request.op else {
            return if request.close.is_empty() { Err(ServeError::Operation(id)) } else { Ok(()) };
        };
        let answer = self.operate(id, op, payload);
        self.answer(id, answer);
        Ok(())
    }

    fn answer(&mut self, id: u64, answer: Result<Answer>) {
        let (errno, outcome, payload) = match answer {
            Ok(Answer::Done) => (0, None, vec![]),
            Ok(Answer::With(outcome)) => (0, Some(outcome), vec![]),
            Ok(Answer::Payload(payload)) => (0, None, payload),
            Ok(Answer::Sent | Answer::Later) => return,
            Err(e) => (e.number(), None, vec![]),
        };
        wire::encode_frame(&mut self.out, &Reply { id, errno, outcome }, &payload);
    }

    fn operate(&mut self, id: u64, op: Op, payload: &[u8]) -> Result<Answer> {
        match op {
            Op::Walk(op) => self.walk(&op),
            Op::Read(op) => self.read(id, op),
            Op::Write(op) => self.write(op, payload),
            Op::GetAttr(op) => self.getattr(op),
            Op::Open(op) => self.open(id, op),
            Op::ReadDir(op) => self.readdir(op),
            Op::ReadLink(op) => self.readlink(op),
            Op::Create(op) => self.create(&op, false),
            Op::TempFile(op) => self.create(&op, true),
            Op::SetAttr(op) => self.setattr(op),
            Op::Unlink(op) => self.unlink(&op),
            Op::Rename(op) => self.rename(&op),
            Op::Make(op) => self.make(&op),
            Op::Link(op) => self.link(&op),
            Op::Attach(op) => self.attach(op),
            Op::Sync(op) => self.sync(id, op),
            Op::Allocate(op) => self.allocate(id, op),
            Op::StatFs(op) => self.statfs(op),
            Op::GetXattr(op) => self.get_xattr(&op),
            Op::SetXattr(op) => self.set_xattr(&op, payload),
            Op::ListXattr(op) => self.list_xattr(op),
            Op::RemoveXattr(op) => self.remove_xattr(&op),
            Op::Lock(op) => self.lock(id, op),
            Op::TestLock(op) => self.test_lock(op),
            Op::Poll(op) => self.poll(id, op),
            Op::Cancel(op) => self.cancel(op),
            Op::Donate(op) => self.donate(op),
            Op::CopyRange(op) => self.copy_range(id, op),
            Op::Seek(op) => self.seek(op),
            Op::Flush(op) => self.flush_file(op),
        }
    }

    /// Refuses a change of a read-only export.
    fn change(&self) -> Result<()> {
        if self.read_only { Err(Errno::EROFS) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
