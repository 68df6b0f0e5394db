//! A [`Link`] at work: one side pushes bodies from anywhere, a stream takes them to whatever connection there is.
//!
//! Lock order: the one mutex, never held across an `await` or a call out; wakers are woken after it is released.

use super::{Frame, Limits, Link, LinkError, Overflow};
use futures_util::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Unsequenced frames (ping, pong) that may wait; more are dropped, since a peer that floods pings needs no answers.
const URGENT: usize = 8;

struct State<B> {
    link: Link<B>,
    urgent: VecDeque<B>,
    /// Counts connections; an [`Outflow`] of an earlier one has ended.
    generation: u64,
    /// The present connection knows what the other side has seen, and bodies may flow.
    open: bool,
    /// Nothing follows what has been pushed: the outflow ends after it.
    finished: bool,
    outflow: Option<Waker>,
    room: Option<Waker>,
    done: Option<Waker>,
}

/// One side of a link, shared by whoever pushes, the receiver, and the [`Outflow`] of the present connection.
///
/// `Send`, because gRPC streams must be; all users are on one thread, so the lock is never contended.
pub struct Port<B> {
    state: Arc<Mutex<State<B>>>,
}

impl<B> Clone for Port<B> {
    fn clone(&self) -> Self {
        Port { state: Arc::clone(&self.state) }
    }
}

impl<B: Clone> Port<B> {
    /// A port with no connection yet.
    pub fn new(limits: Limits) -> Self {
        Port {
            state: Arc::new(Mutex::new(State {
                link: Link::new(limits),
                urgent: VecDeque::new(),
                generation: 0,
                open: false,
                finished: false,
                outflow: None,
                room: None,
                done: None,
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // No code panics while it holds the lock; were it to, the state is still a valid link.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a body of `size` encoded bytes; never blocks.
    pub fn push(&self, body: B, size: usize) -> Result<(), Overflow> {
        let mut state = self.lock();
        if state.finished {
            return Ok(()); // the session has said its last word; nobody listens
        }
        state.link.push(body, size)?;
        wake(state);
        Ok(())
    }

    /// Takes the last body, above the limit if need be: the outflow ends after it, and later pushes are dropped.
    pub fn finish(&self, body: B, size: usize) {
        let mut state = self.lock();
        if !state.finished {
            state.link.push_over(body, size);
            state.finished = true;
            wake(state);
        }
    }

    /// Nothing more is pushed: the outflow ends after what is there, and after an acknowledgement of all that was received.
    pub fn end(&self) {
        let mut state = self.lock();
        state.finished = true;
        state.link.acknowledge();
        wake(state);
    }

    /// Gives up: drops what is kept, ends the outflow, and takes nothing any more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.finished = true;
        state.generation += 1;
        state.open = false;
        state.link.clear();
        wake(state);
    }

    /// Sends a body outside the sequence (ping, pong): lost when the connection breaks.
    pub fn urgent(&self, body: B) {
        let mut state = self.lock();
        if state.urgent.len() < URGENT {
            state.urgent.push_back(body);
            wake(state);
        }
    }

    /// Notes the header of a frame that arrived; see [`Link::receive`].
    pub fn receive(&self, seq: u64, ack: u64, size: usize) -> Result<(), LinkError> {
        let mut state = self.lock();
        let was_full = state.link.is_full();
        state.link.receive(seq, ack, size)?;
        let room = if was_full && !state.link.is_full() { state.room.take() } else { None };
        // What was received is acknowledged by the next body; only a debt grown large enough needs a frame of its own.
        if state.link.has_output() {
            wake(state);
        } else {
            drop(state);
        }
        if let Some(room) = room {
            room.wake();
        }
        Ok(())
    }

    /// Highest number received.
    pub fn seen(&self) -> u64 {
        self.lock().link.seen()
    }

    /// Whether all that was pushed has been acknowledged.
    pub fn is_drained(&self) -> bool {
        self.lock().link.is_drained()
    }

    /// Ready when all that was pushed, the last body included, and every acknowledgement due have been handed to the present connection.
    pub fn poll_finished(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.finished && state.open && !state.link.has_output() {
            return Poll::Ready(());
        }
        state.done = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when a body can be pushed without overflow: for senders that can be made to wait.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.link.is_full() {
            state.room = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Starts a connection: the stream which feeds it. It gives nothing but `first` until [`open`](Self::open); the outflow of
    /// an earlier connection ends.
    pub fn connect(&self, first: Option<Frame<B>>) -> Outflow<B> {
        let mut state = self.lock();
        state.generation += 1;
        state.open = false;
        state.urgent.clear();
        let generation = state.generation;
        wake(state);
        Outflow { port: self.clone(), generation, first }
    }

    /// The other side of the present connection has seen `peer_seen`: what follows flows now.
    pub fn open(&self, peer_seen: u64) -> Result<(), LinkError> {
        let mut state = self.lock();
        state.link.resume(peer_seen)?;
        state.open = true;
        let room = state.room.take();
        wake(state);
        if let Some(room) = room {
            room.wake();
        }
        Ok(())
    }

    /// The connection with this number is gone: its outflow ends, bodies are kept for the next. Of no effect when a newer
    /// connection has taken over.
    pub fn disconnect(&self, connection: u64) {
        let mut state = self.lock();
        if state.generation == connection {
            state.generation += 1;
            state.open = false;
            wake(state);
        }
    }
}

fn wake<B>(mut state: MutexGuard<'_, State<B>>) {
    let waker = state.outflow.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The frames for one connection, in order. Ends when another connection takes over, or after the last body.
pub struct Outflow<B> {
    port: Port<B>,
    generation: u64,
    first: Option<Frame<B>>,
}

impl<B> Outflow<B> {
    /// The connection's number at its port.
    pub fn connection(&self) -> u64 {
        self.generation
    }
}

// Nothing in it is pinned.
impl<B> Unpin for Outflow<B> {}

impl<B: Clone> Stream for Outflow<B> {
    type Item = Frame<B>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame<B>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let mut state = self.port.lock();
        if state.generation != self.generation {
            return Poll::Ready(None);
        }
        if state.open {
            if let Some(body) = state.urgent.pop_front() {
                let ack = state.link.seen();
                return Poll::Ready(Some(Frame { seq: 0, ack, body: Some(body) }));
            }
            if let Some(frame) = state.link.transmit() {
                return Poll::Ready(Some(frame));
            }
            if state.finished {
                let done = state.done.take();
                drop(state);
                if let Some(done) = done {
                    done.wake();
                }
                return Poll::Ready(None);
            }
        }
        match &mut state.outflow {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use futures_util::task::noop_waker;

    fn poll<B: Clone>(out: &mut Outflow<B>) -> Poll<Option<Frame<B>>> {
        out.poll_next_unpin(&mut Context::from_waker(&noop_waker()))
    }

    fn body(frame: Poll<Option<Frame<u8>>>) -> Option<(u64, u8)> {
        match frame {
            Poll::Ready(Some(Frame { seq, body: Some(b), .. })) => Some((seq, b)),
            _ => None,
        }
    }

    #[test]
    fn nothing_flows_before_the_peer_says_what_it_has_seen() {
        let port = Port::new(Limits::SESSION);
        port.push(7u8, 1).unwrap();
        let mut out = port.connect(Some(Frame { seq: 0, ack: 0, body: Some(1) }));
        assert_eq!(body(poll(&mut out)), Some((0, 1)));
        assert!(poll(&mut out).is_pending());
        port.open(0).unwrap();
        assert_eq!(body(poll(&mut out)), Some((1, 7)));
        assert!(poll(&mut out).is_pending());
    }

    #[test]
    fn a_new_connection_ends_the_old_outflow_and_sends_again() {
        let port = Port::new(Limits::SESSION);
        let mut old = port.connect(None);
        port.open(0).unwrap();
        port.push(7u8, 1).unwrap();
        assert_eq!(body(poll(&mut old)), Some((1, 7)));
        let mut new = port.connect(None);
        assert_eq!(poll(&mut old), Poll::Ready(None));
        port.open(0).unwrap();
        assert_eq!(body(poll(&mut new)), Some((1, 7)));
    }

    #[test]
    fn the_last_body_ends_the_outflow() {
        let port = Port::new(Limits { frames: 1, bytes: 10, largest: 10 });
        let mut out = port.connect(None);
        port.open(0).unwrap();
        port.push(1u8, 1).unwrap();
        assert!(port.push(2, 1).is_err());
        port.finish(3, 1);
        port.push(4, 1).unwrap();
        assert_eq!(body(poll(&mut out)), Some((1, 1)));
        assert_eq!(body(poll(&mut out)), Some((2, 3)));
        assert_eq!(poll(&mut out), Poll::Ready(None));
    }

    #[test]
    fn pings_jump_the_queue_and_are_bounded() {
        let port = Port::new(Limits::SESSION);
        let mut out = port.connect(None);
        port.open(0).unwrap();
        port.push(1u8, 1).unwrap();
        for _ in 0..100 {
            port.urgent(9);
        }
        for _ in 0..URGENT {
            assert_eq!(body(poll(&mut out)), Some((0, 9)));
        }
        assert_eq!(body(poll(&mut out)), Some((1, 1)));
    }
}
