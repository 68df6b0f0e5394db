//! The connection: numbers requests, writes them at once when the stream takes them, matches replies.
//!
//! No borrow of `state` is held while a [`Handle`] or a waiting call's sender is dropped: their drops borrow it.

use super::handle::{Handle, Numbers};
use crate::server::sandbox::GoferStream;
use bytes::{Buf, Bytes, BytesMut};
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{self as wire, Cancel, Op, Reply, Request};
use rsc_proto::transport::UnixIo;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;

/// Closes that travel at once rather than wait for company.
const CLOSE_BATCH: usize = 512;
/// How long a close waits for a request to travel with.
const CLOSE_DELAY: Duration = Duration::from_millis(20);
/// One unit is a request, or 4 KiB of data to or from the gofer: 16 MiB in all.
const CREDIT: usize = 4096;

pub(super) struct Conn {
    state: RefCell<State>,
    credit: Arc<Semaphore>,
    /// Something is left to write.
    blocked: Rc<Notify>,
    /// Closes wait.
    closing: Rc<Notify>,
    tasks: RefCell<Vec<AbortHandle>>,
}

struct State {
    /// None: the connection is lost.
    writer: Option<Box<dyn AsyncWrite + Unpin>>,
    /// Bytes that the stream has not taken yet.
    out: BytesMut,
    waiting: HashMap<u64, Waiting>,
    next_id: u64,
    numbers: Numbers,
    closes: Vec<u32>,
    scratch: Vec<u8>,
}

/// A request that has no reply yet.
struct Waiting {
    done: Option<oneshot::Sender<Done>>,
    /// Numbers that the request binds if it succeeds.
    binds: Vec<u32>,
    /// Undoes a success that nobody took.
    undo: Option<Op>,
    _credit: Option<OwnedSemaphorePermit>,
}

/// A reply that has come.
pub(super) struct Done {
    pub(super) reply: Reply,
    pub(super) payload: Bytes,
    /// What the request bound, in its order.
    pub(super) handles: Vec<Handle>,
    pub(super) undo: Undo,
}

/// Sends an operation when it is dropped before somebody has taken the result.
pub(super) struct Undo(Option<(Rc<Conn>, Op)>);

impl Undo {
    pub(super) fn defuse(&mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some((conn, op)) = self.0.take() {
            let _ = conn.submit(Some(op), &[], Sending::default());
        }
    }
}

/// Cancels a parked request when its future is dropped.
struct CancelOnDrop<'a>(&'a Rc<Conn>, Option<u64>);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.1.take() {
            let _ = self.0.submit(Some(Op::Cancel(Cancel { id })), &[], Sending::default());
        }
    }
}

/// How a request is sent.
#[derive(Default)]
struct Sending {
    done: Option<oneshot::Sender<Done>>,
    binds: Vec<u32>,
    undo: Option<Op>,
    credit: Option<OwnedSemaphorePermit>,
}

/// A call's particulars.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) payload: &'a [u8],
    /// Bytes that the reply may carry.
    pub(super) expect: usize,
    /// Numbers that the operation binds, from [`Conn::take_numbers`].
    pub(super) binds: Vec<u32>,
    /// The request may be parked: cancel it when the future is dropped.
    pub(super) parked: bool,
    /// Undoes a success that nobody took.
    pub(super) undo: Option<Op>,
}

impl Conn {
    /// Starts the connection's tasks. To be called within a `LocalSet`.
    pub(super) fn start(stream: GoferStream) -> std::io::Result<Rc<Conn>> {
        let (reader, writer): (Box<dyn AsyncRead + Unpin>, Box<dyn AsyncWrite + Unpin>) = match stream {
            GoferStream::Local(socket) => {
                let (reader, writer) = tokio::io::split(UnixIo::new(socket)?);
                (Box::new(reader), Box::new(writer))
            }
            GoferStream::Relayed(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                (Box::new(reader), Box::new(writer))
            }
        };
        let conn = Rc::new(Conn {
            state: RefCell::new(State {
                writer: Some(writer),
                out: BytesMut::new(),
                waiting: HashMap::new(),
                next_id: 1,
                numbers: Numbers::new(),
                closes: Vec::new(),
                scratch: Vec::new(),
            }),
            credit: Arc::new(Semaphore::new(CREDIT)),
            blocked: Rc::new(Notify::new()),
            closing: Rc::new(Notify::new()),
            tasks: RefCell::new(Vec::new()),
        });
        let (blocked, closing) = (conn.blocked.clone(), conn.closing.clone());
        let tasks = [
            tokio::task::spawn_local(read_replies(Rc::downgrade(&conn), reader)),
            tokio::task::spawn_local(write_rest(Rc::downgrade(&conn), blocked)),
            tokio::task::spawn_local(send_closes(Rc::downgrade(&conn), closing)),
        ];
        conn.tasks.borrow_mut().extend(tasks.iter().map(tokio::task::JoinHandle::abort_handle));
        Ok(conn)
    }

    /// Numbers for handles to bind. To be given to [`Conn::call`], which gives them back when the request fails.
    ///
    /// # Errors
    /// ENFILE: as many as the gofer allows are in use.
    pub(super) fn take_numbers(self: &Rc<Conn>, count: usize) -> Result<Vec<u32>, Errno> {
        if let Some(taken) = self.try_take_numbers(count) {
            return Ok(taken);
        }
        // Closes that still wait for company make room.
        self.send_closes()?;
        self.try_take_numbers(count).ok_or(Errno::ENFILE)
    }

    fn try_take_numbers(&self, count: usize) -> Option<Vec<u32>> {
        let mut state = self.state.borrow_mut();
        let mut taken = Vec::with_capacity(count);
        for _ in 0..count {
            match state.numbers.take() {
                Some(number) => taken.push(number),
                None => {
                    taken.into_iter().for_each(|n| state.numbers.give_back(n));
                    return None;
                }
            }
        }
        Some(taken)
    }

    fn send_closes(self: &Rc<Conn>) -> Result<(), Errno> {
        if self.state.borrow().closes.is_empty() {
            return Ok(());
        }
        self.submit(None, &[], Sending::default()).map(drop)
    }

    pub(super) fn set_max_handles(&self, max: u32) {
        self.state.borrow_mut().numbers.set_max(max);
    }

    /// Whether the connection is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.state.borrow().writer.is_none()
    }

    /// Sends one operation and waits for its reply. An errno in the reply is the error.
    pub(super) async fn call(self: &Rc<Conn>, op: Op, call: Call<'_>) -> Result<Done, Errno> {
        let units = 1 + (call.payload.len() + call.expect).div_ceil(4096);
        let guard = TakenNumbers(self, call.binds);
        let credit = match self.credit.clone().try_acquire_many_owned(units as u32) {
            Ok(credit) => credit,
            Err(_) => self.credit.clone().acquire_many_owned(units as u32).await.map_err(|_| Errno::EIO)?,
        };
        let (sender, receiver) = oneshot::channel();
        let binds = guard.into_inner();
        let sending = Sending { done: Some(sender), binds, undo: call.undo, credit: Some(credit) };
        let id = self.submit(Some(op), call.payload, sending)?;
        let mut cancel = CancelOnDrop(self, call.parked.then_some(id));
        let done = receiver.await;
        cancel.1 = None;
        let done = done.map_err(|_| Errno::EIO)?;
        match done.reply.errno {
            0 => Ok(done),
            errno => Err(Errno::new(errno)),
        }
    }

    /// Ends the connection: the gofer has said something that cannot be right.
    pub(super) fn protocol_error(&self, what: &str) -> Errno {
        tracing::warn!("the gofer's connection is ended: {what}");
        self.lose();
        Errno::EIO
    }

    /// Puts one request on the stream.
    fn submit(self: &Rc<Conn>, op: Option<Op>, payload: &[u8], sending: Sending) -> Result<u64, Errno> {
        let mut state = self.state.borrow_mut();
        if state.writer.is_none() {
            drop(state);
            return Err(Errno::EIO);
        }
        let id = state.next_id;
        state.next_id += 1;
        let request = Request { id, close: std::mem::take(&mut state.closes), op };
        // In the stream's order the closes come before whatever binds these numbers again.
        request.close.iter().for_each(|n| state.numbers.give_back(*n));
        if request.op.is_some() {
            let Sending { done, binds, undo, credit } = sending;
            state.waiting.insert(id, Waiting { done, binds, undo, _credit: credit });
        }
        let mut head = std::mem::take(&mut state.scratch);
        head.clear();
        wire::begin_frame(&mut head, &request);
        if let Some(len) = head.get_mut(4..wire::PREFIX) {
            len.copy_from_slice(&(payload.len() as u32).to_le_bytes());
        }
        let written = state.write_now(&head, payload);
        state.scratch = head;
        let blocked = !state.out.is_empty();
        drop(state);
        match written {
            Ok(()) if blocked => self.blocked.notify_one(),
            Ok(()) => {}
            Err(e) => {
                tracing::debug!("a gofer's connection is lost: {e}");
                self.lose();
                return Err(Errno::EIO);
            }
        }
        Ok(id)
    }

    /// Remembers to close a handle.
    pub(super) fn queue_close(&self, number: u32) {
        let mut state = self.state.borrow_mut();
        if state.writer.is_none() {
            return;
        }
        state.closes.push(number);
        let count = state.closes.len();
        drop(state);
        if count == 1 || count == CLOSE_BATCH {
            self.closing.notify_one();
        }
    }

    /// Gives back a number that was not bound after all.
    pub(super) fn give_back(&self, number: u32) {
        self.state.borrow_mut().numbers.give_back(number);
    }

    /// The connection is lost: everything that waits fails, and all that comes.
    fn lose(&self) {
        let mut state = self.state.borrow_mut();
        let writer = state.writer.take();
        let waiting = std::mem::take(&mut state.waiting);
        state.out = BytesMut::new();
        state.closes.clear();
        drop(state);
        drop((writer, waiting));
    }

    fn take_reply(self: &Rc<Conn>, reply: Reply, payload: Bytes) -> Result<(), String> {
        let mut state = self.state.borrow_mut();
        let Some(waiting) = state.waiting.remove(&reply.id) else {
            return Err(format!("a reply to {}, which does not wait", reply.id));
        };
        if reply.errno != 0 {
            waiting.binds.iter().for_each(|n| state.numbers.give_back(*n));
        }
        drop(state);
        let (handles, undo) = if reply.errno == 0 {
            let undo = Undo(waiting.undo.map(|op| (self.clone(), op)));
            (waiting.binds.into_iter().map(|n| Handle::new(self.clone(), n)).collect(), undo)
        } else {
            (Vec::new(), Undo(None))
        };
        let done = Done { reply, payload, handles, undo };
        if let Some(sender) = waiting.done {
            // When nobody waits any more, the handles close themselves.
            let _ = sender.send(done);
        }
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.tasks.borrow().iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({} waiting)", self.state.try_borrow().map_or(0, |s| s.waiting.len()))
    }
}

/// Numbers that go back unless the request is sent.
struct TakenNumbers<'a>(&'a Rc<Conn>, Vec<u32>);

impl TakenNumbers<'_> {
    fn into_inner(mut self) -> Vec<u32> {
        std::mem::take(&mut self.1)
    }
}

impl Drop for TakenNumbers<'_> {
    fn drop(&mut self) {
        self.1.iter().for_each(|n| self.0.give_back(*n));
    }
}

impl State {
    /// Writes what the stream takes at once and keeps the rest.
    fn write_now(&mut self, head: &[u8], payload: &[u8]) -> std::io::Result<()> {
        let mut taken = 0;
        let total = head.len() + payload.len();
        while self.out.is_empty() && taken < total {
            let Some(writer) = self.writer.as_mut() else { break };
            let mut context = Context::from_waker(Waker::noop());
            let slices = [
                IoSlice::new(head.get(taken..).unwrap_or_default()),
                IoSlice::new(payload.get(taken.saturating_sub(head.len())..).unwrap_or_default()),
            ];
            match Pin::new(writer).poll_write_vectored(&mut context, &slices) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => taken += n,
                Poll::Ready(Err(e)) => return Err(e),
            }
        }
        self.out.extend_from_slice(head.get(taken..).unwrap_or_default());
        self.out.extend_from_slice(payload.get(taken.saturating_sub(head.len())..).unwrap_or_default());
        if self.out.is_empty()
            && let Some(writer) = self.writer.as_mut()
        {
            // A buffering stream (a relay) must be told; a socket does nothing here.
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(Err(e)) = Pin::new(writer).poll_flush(&mut context) {
                return Err(e);
            }
        }
        Ok(())
    }

    /// Goes on writing what was kept.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.out.is_empty() {
            let Some(writer) = self.writer.as_mut() else { return Poll::Ready(Ok(())) };
            match std::task::ready!(Pin::new(writer).poll_write(context, &self.out))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
        }
        match self.writer.as_mut() {
            Some(writer) => Pin::new(writer).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Writes what could not be written at once.
async fn write_rest(conn: Weak<Conn>, blocked: Rc<Notify>) {
    loop {
        blocked.notified().await;
        let result = std::future::poll_fn(|context| match conn.upgrade() {
            Some(conn) => conn.state.borrow_mut().poll_rest(context),
            None => Poll::Ready(Ok(())),
        })
        .await;
        let Some(conn) = conn.upgrade() else { return };
        if result.is_err() {
            conn.lose();
        }
    }
}

/// Sends closes that found no request to travel with.
async fn send_closes(conn: Weak<Conn>, closing: Rc<Notify>) {
    loop {
        closing.notified().await;
        let many = conn.upgrade().is_some_and(|c| c.state.borrow().closes.len() >= CLOSE_BATCH);
        if !many {
            let _ = tokio::time::timeout(CLOSE_DELAY, closing.notified()).await;
        }
        let Some(conn) = conn.upgrade() else { return };
        let _ = conn.send_closes();
    }
}

async fn read_replies(conn: Weak<Conn>, mut reader: Box<dyn AsyncRead + Unpin>) {
    let mut buffer = BytesMut::with_capacity(64 << 10);
    let reason = loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) => break "closed".to_owned(),
            Ok(_) => {}
            Err(e) => break e.to_string(),
        }
        let Some(conn) = conn.upgrade() else { return };
        match take_replies(&conn, &mut buffer) {
            Ok(needed) => buffer.reserve(needed.saturating_sub(buffer.len()).max(16 << 10)),
            Err(e) => break e,
        }
    };
    if let Some(conn) = conn.upgrade() {
        if !conn.state.borrow().waiting.is_empty() {
            tracing::warn!("a gofer's connection is lost with requests under way: {reason}");
        }
        conn.lose();
    }
}

/// Takes all whole replies out of `buffer`; returns how many bytes the next one needs.
fn take_replies(conn: &Rc<Conn>, buffer: &mut BytesMut) -> Result<usize, String> {
    /// Payloads below this are copied, so that they do not keep the read buffer alive.
    const SMALL: usize = 4096;
    loop {
        let frame = match wire::split_frame(buffer).map_err(|e| e.to_string())? {
            Ok(frame) => frame,
            Err(needed) => return Ok(needed),
        };
        let reply: Reply = frame.decode().map_err(|e| e.to_string())?;
        let (len, payload_len) = (frame.len, frame.payload.len());
        let payload = if payload_len <= SMALL {
            let payload = Bytes::copy_from_slice(frame.payload);
            buffer.advance(len);
            payload
        } else {
            buffer.split_to(len).freeze().split_off(len - payload_len)
        };
        conn.take_reply(reply, payload)?;
    }
}
