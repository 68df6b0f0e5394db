//! The session's link under a peer that sends any numbers, and its port under connections that come and go at any moment.

use crate::fuzz;
use crate::random::Random;
use rsc_proto::link::{Frame, Limits, Link, LinkError, Port};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio_stream::Stream;

const LIMITS: Limits = Limits { frames: 16, bytes: 400, largest: 60 };

/// What the link must be equal to.
#[derive(Default)]
struct Model {
    /// Sizes of all bodies ever taken; number n is at n - 1.
    pushed: Vec<usize>,
    acked: u64,
    sent: u64,
    cursor: u64,
    received: u64,
}

impl Model {
    fn kept(&self) -> &[usize] {
        &self.pushed[self.acked as usize..]
    }

    fn full(&self) -> bool {
        self.kept().len() >= LIMITS.frames || self.kept().iter().sum::<usize>() >= LIMITS.bytes
    }

    fn agree(&self, link: &Link<u64>) {
        assert_eq!((link.seen(), link.acked()), (self.received, self.acked));
        assert_eq!(link.is_drained(), self.kept().is_empty());
        assert_eq!(link.is_full(), self.full());
        // A body goes over by less than itself.
        assert!(self.kept().len() <= LIMITS.frames);
        assert!(self.kept().iter().sum::<usize>() < LIMITS.bytes + LIMITS.largest);
    }
}

/// A number near one that would be right.
fn near(r: &mut Random, right: u64) -> u64 {
    match r.below(6) {
        0..=3 => right.saturating_add(r.next() % 3),
        4 => right.saturating_sub(r.next() % 4),
        _ => r.number(),
    }
}

fn receive(r: &mut Random, link: &mut Link<u64>, model: &mut Model) {
    let seq = if r.one_in(4) { 0 } else { near(r, model.received) };
    let ack = if r.one_in(2) { model.acked } else { near(r, model.acked) };
    let due = model.received + 1;
    let expected = if seq > due {
        Err(LinkError::OutOfOrder { expected: due, got: seq })
    } else if seq != 0 && seq < due {
        Err(LinkError::Replayed { expected: due, got: seq })
    } else if ack > model.sent {
        Err(LinkError::AckBeyondSent { ack, sent: model.sent })
    } else {
        model.received = model.received.max(seq);
        model.acked = model.acked.max(ack);
        model.cursor = model.cursor.max(model.acked);
        Ok(())
    };
    assert_eq!(link.receive(seq, ack, r.number() as usize), expected);
}

fn resume(r: &mut Random, link: &mut Link<u64>, model: &mut Model) {
    let seen = near(r, model.acked);
    let expected = if seen > model.sent {
        Err(LinkError::AckBeyondSent { ack: seen, sent: model.sent })
    } else if seen < model.acked {
        Err(LinkError::Forgotten { seen, acked: model.acked })
    } else {
        model.acked = seen;
        model.cursor = seen;
        Ok(())
    };
    assert_eq!(link.resume(seen), expected);
}

#[test]
fn hostile_numbers() {
    fuzz("link::hostile_numbers", 1500, |r| {
        let mut link: Link<u64> = Link::new(LIMITS);
        let mut model = Model::default();
        for _ in 0..r.below(120) {
            match r.below(8) {
                0..=2 => {
                    let size = r.below(LIMITS.largest + 4);
                    let takes = size <= LIMITS.largest && !model.full();
                    assert_eq!(link.push(model.pushed.len() as u64 + 1, size).is_ok(), takes);
                    if takes {
                        model.pushed.push(size);
                    }
                }
                3 | 4 => match link.transmit() {
                    Some(Frame { seq: 0, ack, body: None }) => {
                        assert_eq!(ack, model.received);
                        assert_eq!(model.cursor as usize, model.pushed.len(), "a bare frame while a body waits");
                    }
                    Some(frame) => {
                        model.cursor += 1;
                        model.sent = model.sent.max(model.cursor);
                        let body = Some(model.cursor);
                        assert_eq!(frame, Frame { seq: model.cursor, ack: model.received, body });
                    }
                    None => assert_eq!(model.cursor as usize, model.pushed.len()),
                },
                5 | 6 => receive(r, &mut link, &mut model),
                _ => resume(r, &mut link, &mut model),
            }
            model.agree(&link);
        }
    });
}

/// Two ports over connections which are cut at any moment, with frames under way: what one pushes, the other gets once and in order.
#[test]
fn ports_over_broken_connections() {
    fuzz("link::ports_over_broken_connections", 400, |r| {
        let (a, b): (Port<u64>, Port<u64>) = (Port::new(Limits::BYTES), Port::new(Limits::BYTES));
        let (mut out_a, mut out_b) = (a.connect(None), b.connect(None));
        a.open(b.seen()).unwrap();
        b.open(a.seen()).unwrap();
        let mut wires: [Vec<Frame<u64>>; 2] = Default::default();
        let mut pushed = [0, 0];
        let mut got = [0, 0];
        let mut cx = Context::from_waker(Waker::noop());
        for step in 0..300 {
            let side = r.below(2);
            let (from, out, to) = if side == 0 { (&a, &mut out_a, &b) } else { (&b, &mut out_b, &a) };
            match r.below(10) {
                0..=2 => {
                    pushed[side] += 1;
                    from.push(pushed[side], 5).unwrap();
                }
                3..=5 => {
                    if let Poll::Ready(Some(frame)) = Pin::new(out).poll_next(&mut cx) {
                        wires[side].push(frame);
                    }
                }
                6..=8 => {
                    if !wires[side].is_empty() {
                        let frame = wires[side].remove(0);
                        to.receive(frame.seq, frame.ack, 5).unwrap();
                        if let (Some(body), true) = (frame.body, frame.seq != 0) {
                            got[side] += 1;
                            assert_eq!(body, got[side], "lost or doubled");
                        }
                    }
                }
                _ if step % 7 == 0 => {
                    let old = out_a.connection();
                    (out_a, out_b) = (a.connect(None), b.connect(None));
                    a.disconnect(old); // too late: of no effect
                    wires = Default::default();
                    a.open(b.seen()).unwrap();
                    b.open(a.seen()).unwrap();
                }
                _ => from.urgent(0),
            }
        }
        assert!(got[0] <= pushed[0] && got[1] <= pushed[1]);
    });
}
