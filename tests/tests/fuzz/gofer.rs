//! The gofer's wire: frames in a byte stream, and the messages in them.

use crate::random::Random;
use crate::{fuzz, within};
use prost::Message;
use rsc_proto::gofer::{
    Frame, MAX_FRAME, MAX_HEADER, NAME_MAX, Op, PREFIX, Reply, Request, Walk, check_name, encode_frame, split_frame,
};
use std::fmt::Debug;

fn request(r: &mut Random) -> Request {
    if r.one_in(3)
        && let Ok(request) = Request::decode(&*r.protobuf(3))
    {
        return request;
    }
    Request {
        id: r.number(),
        close: (0..r.below(6)).map(|_| r.number() as u32).collect(),
        op: Some(Op::Walk(Walk {
            dir: r.number() as u32,
            names: (0..r.below(5)).map(|_| r.bytes(12)).collect(),
            handles: (0..r.below(5)).map(|_| r.number() as u32).collect(),
        })),
    }
}

fn check<M: Message + Default + PartialEq + Debug>(frame: &Frame<'_>) {
    let decoded = within(16_384 + 160 * frame.header.len(), || frame.decode::<M>());
    if let Ok(message) = decoded {
        let mut out = Vec::new();
        encode_frame(&mut out, &message, frame.payload);
        if message.encoded_len() <= MAX_HEADER {
            let again = split_frame(&out).unwrap().unwrap();
            assert_eq!(again.payload, frame.payload);
            assert_eq!(again.decode::<M>().unwrap(), message);
        }
    }
}

#[test]
fn frames() {
    fuzz("gofer::frames", 4000, |r| {
        let mut stream = Vec::new();
        for _ in 0..1 + r.below(4) {
            let payload = r.bytes(200);
            if r.one_in(2) {
                encode_frame(&mut stream, &request(r), &payload);
            } else if let Ok(reply) = Reply::decode(&*r.protobuf(3)) {
                encode_frame(&mut stream, &reply, &payload);
            }
        }
        if !r.one_in(4) {
            r.damage(&mut stream);
        }
        let mut rest = stream.as_slice();
        loop {
            // Nothing is allocated on the word of a length.
            match within(0, || split_frame(rest)) {
                Ok(Ok(frame)) => {
                    assert_eq!(frame.len, PREFIX + frame.header.len() + frame.payload.len());
                    assert!(frame.len <= rest.len() && frame.len <= MAX_FRAME);
                    check::<Request>(&frame);
                    check::<Reply>(&frame);
                    rest = &rest[frame.len..];
                }
                Ok(Err(more)) => {
                    assert!(more > rest.len() && more <= MAX_FRAME);
                    break;
                }
                Err(_) => break,
            }
        }
    });
}

#[test]
fn names() {
    fuzz("gofer::names", 4000, |r| {
        let name = if r.one_in(2) { r.text("./ab", 5).into_bytes() } else { r.bytes(300) };
        let bad = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0);
        assert_eq!(check_name(&name).is_ok(), !bad && name.len() <= NAME_MAX);
    });
}
