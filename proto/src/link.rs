//! A reliable, ordered link over connections that may break: the bookkeeping of one side, without any I/O.
//!
//! Every body gets the next number, from 1, and is kept until the other side acknowledges it. After a reconnect each side says
//! what it has seen ([`Link::seen`]) and [`Link::resume`] sends the rest again, so each body is delivered exactly once and in
//! order. Within one connection numbers must follow one another: anything else is a [`LinkError`], which ends the session.
//!
//! What is kept is bounded by [`Limits`]; a side that never acknowledges runs its peer into [`Overflow`], not out of memory.
//! [`Port`] puts a link to work on asynchronous streams.

use crate::transport::MAX_MESSAGE;
use std::collections::VecDeque;

mod port;
mod relay;
pub use port::{Outflow, Port};
pub use relay::{Chunks, RelayError, chunk, relay};

/// Bounds on what one side keeps for the other: unsent and unacknowledged bodies together. They must be larger than what a
/// receiver may leave unacknowledged (64 frames, 256 KiB).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of bodies.
    pub frames: usize,
    /// Sum of their encoded lengths.
    pub bytes: usize,
    /// Encoded length of a single one.
    pub largest: usize,
}

impl Limits {
    /// For a session: room for every task's call and its answer with output of the largest size.
    pub const SESSION: Limits = Limits { frames: 64 * 1024, bytes: 128 << 20, largest: MAX_MESSAGE - HEADER };
    /// For a relayed byte stream, whose reader stops when the link is full.
    pub const BYTES: Limits = Limits { frames: 4096, bytes: 8 << 20, largest: MAX_MESSAGE - HEADER };
    /// For one of many relayed connections.
    pub const CONNECTION: Limits = Limits { frames: 1024, bytes: 1 << 20, largest: MAX_MESSAGE - HEADER };
}

/// What a frame adds to its body, at most: two numbers, a tag and a length.
const HEADER: usize = 64;

/// Unsolicited acknowledgements: after so many bodies…
const ACK_FRAMES: usize = 64;
/// …or so many bytes received with nothing of one's own to carry it.
const ACK_BYTES: usize = 256 << 10;

/// What the other side did that no correct peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A number was skipped.
    #[error("frame {got} came where {expected} was due: out of order")]
    OutOfOrder {
        /// The next number.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// A number came a second time.
    #[error("frame {got} came where {expected} was due: replayed")]
    Replayed {
        /// The next number.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// An acknowledgement of what was never sent.
    #[error("frame {ack} was acknowledged, but only {sent} were sent")]
    AckBeyondSent {
        /// What was acknowledged.
        ack: u64,
        /// The highest number sent so far.
        sent: u64,
    },
    /// On resume, the other side has seen less than it had acknowledged before.
    #[error("the peer says it has seen {seen} frames, but it had acknowledged {acked}")]
    Forgotten {
        /// What it says now.
        seen: u64,
        /// What it had said.
        acked: u64,
    },
}

/// A body that the link does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// More is waiting to be acknowledged than the link may keep.
    #[error("{frames} frames ({bytes} bytes) are unacknowledged, the most that a link keeps")]
    Full {
        /// Bodies kept.
        frames: usize,
        /// Their encoded length.
        bytes: usize,
    },
    /// The other side would refuse it.
    #[error("a frame of {size} bytes is longer than the {largest} that the other side takes")]
    TooLong {
        /// Its encoded length.
        size: usize,
        /// The limit.
        largest: usize,
    },
}

/// What goes over the wire: a body with its number, or, with `seq` 0, an acknowledgement alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<B> {
    /// The body's number; 0 without one, or with one that is not sequenced (ping, pong).
    pub seq: u64,
    /// Highest number received so far.
    pub ack: u64,
    /// The body, absent from a bare acknowledgement.
    pub body: Option<B>,
}

struct Kept<B> {
    body: B,
    size: usize,
}

/// One side of the link.
pub struct Link<B> {
    kept: VecDeque<Kept<B>>,
    bytes: usize,
    limits: Limits,
    /// Highest number acknowledged by the other side: `kept` starts after it.
    acked: u64,
    /// Highest number sent on the present connection, or acknowledged.
    cursor: u64,
    /// Highest number ever sent.
    sent: u64,
    /// Highest number received.
    received: u64,
    owed_frames: usize,
    owed_bytes: usize,
}

impl<B: Clone> Link<B> {
    /// A fresh link: nothing sent, nothing seen.
    pub fn new(limits: Limits) -> Self {
        Link {
            kept: VecDeque::new(),
            bytes: 0,
            limits,
            acked: 0,
            cursor: 0,
            sent: 0,
            received: 0,
            owed_frames: 0,
            owed_bytes: 0,
        }
    }

    /// Takes a body of `size` encoded bytes for sending.
    pub fn push(&mut self, body: B, size: usize) -> Result<(), Overflow> {
        if size > self.limits.largest {
            return Err(Overflow::TooLong { size, largest: self.limits.largest });
        }
        if self.is_full() {
            return Err(Overflow::Full { frames: self.kept.len(), bytes: self.bytes });
        }
        self.push_over(body, size);
        Ok(())
    }

    /// As [`push`](Self::push), above the limit if need be: for the last frame of a session.
    pub fn push_over(&mut self, body: B, size: usize) {
        self.bytes = self.bytes.saturating_add(size);
        self.kept.push_back(Kept { body, size });
    }

    /// Whether the next [`push`](Self::push) would overflow.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= self.limits.frames || self.bytes >= self.limits.bytes
    }

    /// The next frame for the present connection, or a bare acknowledgement if the other side is owed one.
    pub fn transmit(&mut self) -> Option<Frame<B>> {
        // `cursor >= acked` always, and both are within `kept`'s range, so the offset fits.
        let offset = usize::try_from(self.cursor - self.acked).ok()?;
        let body = match self.kept.get(offset) {
            Some(kept) => Some(kept.body.clone()),
            None if self.owed_frames >= ACK_FRAMES || self.owed_bytes >= ACK_BYTES => None,
            None => return None,
        };
        self.owed_frames = 0;
        self.owed_bytes = 0;
        let seq = if body.is_some() {
            self.cursor += 1;
            self.sent = self.sent.max(self.cursor);
            self.cursor
        } else {
            0
        };
        Some(Frame { seq, ack: self.received, body })
    }

    /// Whether [`transmit`](Self::transmit) has something to give.
    pub fn has_output(&self) -> bool {
        self.cursor - self.acked < self.kept.len() as u64
            || self.owed_frames >= ACK_FRAMES
            || self.owed_bytes >= ACK_BYTES
    }

    /// Notes a frame's header. `Ok` means that its body, if it is sequenced, is the next one and is to be delivered.
    pub fn receive(&mut self, seq: u64, ack: u64, size: usize) -> Result<(), LinkError> {
        // The number first: a frame that is not the next one must not change anything.
        let expected = self.received.saturating_add(1);
        if seq > expected {
            return Err(LinkError::OutOfOrder { expected, got: seq });
        }
        if seq != 0 && seq < expected {
            return Err(LinkError::Replayed { expected, got: seq });
        }
        if ack > self.sent {
            return Err(LinkError::AckBeyondSent { ack, sent: self.sent });
        }
        if seq != 0 {
            self.received = seq;
            self.owed_frames += 1;
            self.owed_bytes = self.owed_bytes.saturating_add(size);
        }
        self.release(ack);
        Ok(())
    }

    /// Highest number received, which a reconnecting side tells the other.
    pub fn seen(&self) -> u64 {
        self.received
    }

    /// Highest number that the other side has acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Whether everything pushed has been acknowledged.
    pub fn is_drained(&self) -> bool {
        self.kept.is_empty()
    }

    /// Has everything received acknowledged soon, however little it is.
    fn acknowledge(&mut self) {
        if self.owed_frames > 0 {
            self.owed_frames = ACK_FRAMES;
        }
    }

    /// A new connection: the other side has seen `peer_seen`, and is sent what follows.
    pub fn resume(&mut self, peer_seen: u64) -> Result<(), LinkError> {
        if peer_seen > self.sent {
            return Err(LinkError::AckBeyondSent { ack: peer_seen, sent: self.sent });
        }
        if peer_seen < self.acked {
            return Err(LinkError::Forgotten { seen: peer_seen, acked: self.acked });
        }
        self.release(peer_seen);
        self.cursor = self.acked;
        self.owed_frames = 0;
        self.owed_bytes = 0;
        Ok(())
    }

    /// Drops what is kept. The link is of no use afterwards.
    fn clear(&mut self) {
        self.cursor = self.acked;
        self.kept.clear();
        self.bytes = 0;
    }

    fn release(&mut self, ack: u64) {
        while self.acked < ack {
            let Some(kept) = self.kept.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(kept.size);
            self.acked += 1;
        }
        self.cursor = self.cursor.max(self.acked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link() -> Link<u32> {
        Link::new(Limits { frames: 1000, bytes: 100_000, largest: 1000 })
    }

    #[test]
    fn numbers_follow_one_another() {
        let mut a = link();
        a.push(10, 1).unwrap();
        a.push(11, 1).unwrap();
        assert_eq!(a.transmit(), Some(Frame { seq: 1, ack: 0, body: Some(10) }));
        assert_eq!(a.transmit(), Some(Frame { seq: 2, ack: 0, body: Some(11) }));
        assert_eq!(a.transmit(), None);
        a.receive(0, 2, 0).unwrap();
        assert!(a.is_drained());
    }

    #[test]
    fn wrong_numbers_are_told_apart_and_change_nothing() {
        let mut a = link();
        a.receive(1, 0, 1).unwrap();
        assert_eq!(a.receive(3, 0, 1), Err(LinkError::OutOfOrder { expected: 2, got: 3 }));
        assert_eq!(a.receive(1, 0, 1), Err(LinkError::Replayed { expected: 2, got: 1 }));
        assert_eq!(a.receive(2, 1, 1), Err(LinkError::AckBeyondSent { ack: 1, sent: 0 }));
        assert_eq!(a.seen(), 1);
        a.receive(2, 0, 1).unwrap();
    }

    #[test]
    fn an_ack_of_a_body_that_waits_to_be_sent_is_refused() {
        let mut a = link();
        a.push(1, 1).unwrap();
        assert_eq!(a.receive(0, 1, 0), Err(LinkError::AckBeyondSent { ack: 1, sent: 0 }));
        assert_eq!(a.resume(1), Err(LinkError::AckBeyondSent { ack: 1, sent: 0 }));
    }

    #[test]
    fn hostile_numbers_do_not_overflow() {
        let mut a = link();
        assert!(a.receive(u64::MAX, 0, usize::MAX).is_err());
        assert!(a.receive(0, u64::MAX, usize::MAX).is_err());
        assert!(a.resume(u64::MAX).is_err());
    }

    #[test]
    fn a_peer_cannot_take_back_an_acknowledgement() {
        let mut a = link();
        for n in 0..3 {
            a.push(n, 1).unwrap();
            a.transmit();
        }
        a.receive(0, 2, 0).unwrap();
        assert_eq!(a.resume(1), Err(LinkError::Forgotten { seen: 1, acked: 2 }));
        a.resume(2).unwrap();
        assert_eq!(a.transmit(), Some(Frame { seq: 3, ack: 0, body: Some(2) }));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut a: Link<u32> = Link::new(Limits { frames: 2, bytes: 100, largest: 100 });
        a.push(0, 1).unwrap();
        a.push(1, 1).unwrap();
        assert_eq!(a.push(2, 1), Err(Overflow::Full { frames: 2, bytes: 2 }));
        let mut b: Link<u32> = Link::new(Limits { frames: 9, bytes: 100, largest: 100 });
        b.push(0, 100).unwrap();
        assert_eq!(b.push(1, 1), Err(Overflow::Full { frames: 1, bytes: 100 }));
        b.transmit();
        b.receive(0, 1, 0).unwrap();
        b.push(1, 1).unwrap();
        assert_eq!(b.push(1, 101), Err(Overflow::TooLong { size: 101, largest: 100 }));
    }

    #[test]
    fn a_silent_receiver_owes_an_acknowledgement_in_the_end() {
        let mut a = link();
        for n in 1..ACK_FRAMES as u64 {
            a.receive(n, 0, 1).unwrap();
            assert!(!a.has_output());
        }
        a.receive(ACK_FRAMES as u64, 0, 1).unwrap();
        assert!(a.has_output());
        assert_eq!(a.transmit(), Some(Frame { seq: 0, ack: ACK_FRAMES as u64, body: None }));
        assert!(!a.has_output());
        a.receive(ACK_FRAMES as u64 + 1, 0, ACK_BYTES).unwrap();
        assert!(a.has_output());
    }

    /// One step of a run of two sides over a connection which can be cut with frames under way.
    #[derive(Clone, Debug)]
    enum Step {
        PushA,
        PushB,
        /// Up to so many frames from A (or B) enter the wire.
        SendA(u8),
        SendB(u8),
        /// Up to so many frames leave the wire.
        DeliverToB(u8),
        DeliverToA(u8),
        /// Everything under way is lost, both sides resume.
        Cut,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::PushA),
            4 => Just(Step::PushB),
            3 => (1u8..5).prop_map(Step::SendA),
            3 => (1u8..5).prop_map(Step::SendB),
            3 => (1u8..5).prop_map(Step::DeliverToB),
            3 => (1u8..5).prop_map(Step::DeliverToA),
            1 => Just(Step::Cut),
        ]
    }

    struct Run {
        a: Link<u32>,
        b: Link<u32>,
        to_b: VecDeque<Frame<u32>>,
        to_a: VecDeque<Frame<u32>>,
        pushed: (u32, u32),
        got_by_a: Vec<u32>,
        got_by_b: Vec<u32>,
    }

    impl Run {
        fn step(&mut self, step: &Step) {
            match *step {
                Step::PushA => {
                    self.a.push(self.pushed.0, 7).unwrap();
                    self.pushed.0 += 1;
                }
                Step::PushB => {
                    self.b.push(self.pushed.1, 7).unwrap();
                    self.pushed.1 += 1;
                }
                Step::SendA(n) => self.to_b.extend((0..n).map_while(|_| self.a.transmit())),
                Step::SendB(n) => self.to_a.extend((0..n).map_while(|_| self.b.transmit())),
                Step::DeliverToB(n) => {
                    for frame in self.to_b.drain(..self.to_b.len().min(n.into())) {
                        self.b.receive(frame.seq, frame.ack, 7).unwrap();
                        self.got_by_b.extend(frame.body);
                    }
                }
                Step::DeliverToA(n) => {
                    for frame in self.to_a.drain(..self.to_a.len().min(n.into())) {
                        self.a.receive(frame.seq, frame.ack, 7).unwrap();
                        self.got_by_a.extend(frame.body);
                    }
                }
                Step::Cut => {
                    self.to_a.clear();
                    self.to_b.clear();
                    let (a, b) = (self.a.seen(), self.b.seen());
                    self.b.resume(a).unwrap();
                    self.a.resume(b).unwrap();
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_body_arrives_exactly_once_in_order(steps in prop::collection::vec(step(), 0..300)) {
            let mut run = Run {
                a: link(), b: link(), to_a: VecDeque::new(), to_b: VecDeque::new(),
                pushed: (0, 0), got_by_a: Vec::new(), got_by_b: Vec::new(),
            };
            for step in &steps {
                run.step(step);
            }
            // A last cut, then everything drains.
            for step in [Step::Cut, Step::SendA(255), Step::SendA(255), Step::SendB(255), Step::SendB(255)] {
                run.step(&step);
            }
            for _ in 0..3 {
                run.step(&Step::DeliverToA(255));
                run.step(&Step::DeliverToB(255));
            }
            prop_assert_eq!(run.got_by_b, (0..run.pushed.0).collect::<Vec<_>>());
            prop_assert_eq!(run.got_by_a, (0..run.pushed.1).collect::<Vec<_>>());
        }

        #[test]
        fn no_header_makes_it_panic(headers in prop::collection::vec((any::<u64>(), any::<u64>(), any::<usize>()), 0..50)) {
            let mut a = link();
            a.push(1, 1).unwrap();
            a.transmit();
            for (seq, ack, size) in headers {
                let _ = a.receive(seq % 4, ack % 4, size);
                let _ = a.receive(seq, ack, size);
                let _ = a.resume(ack % 4);
                a.transmit();
            }
        }
    }
}
