//! Frames of a session and of a relayed gofer stream, as they come out of gRPC.

use crate::random::Random;
use crate::{fuzz, within};
use prost::Message;
use rsc_proto::v1::{self, Down, RelayChunk, Up, answer, down, reverse, task_event, up};
use std::fmt::Debug;

/// Decoding holds at most this many bytes for each byte of a message. The worst is a list of empty structures, two bytes each.
const PER_BYTE: usize = 192;
/// And this much whatever comes.
const BASE: usize = 16 << 10;

fn segments(r: &mut Random) -> Vec<v1::Segment> {
    (0..r.below(4)).map(|_| v1::Segment { addr: r.number(), data: r.bytes(40).into() }).collect()
}

fn names(r: &mut Random) -> Vec<String> {
    (0..r.below(4)).map(|_| r.text("abc/=.", 12)).collect()
}

fn sandbox(r: &mut Random) -> v1::Sandbox {
    v1::Sandbox {
        id: r.text("abc-.", 12),
        process: Some(v1::Process {
            args: names(r),
            env: names(r),
            cwd: r.text("/ab", 8),
            uid: r.number() as u32,
            additional_gids: (0..r.below(5)).map(|_| r.number() as u32).collect(),
            rlimits: vec![v1::Rlimit { resource: r.number() as u32, soft: r.number(), hard: r.number() }],
            capabilities: Some(v1::Capabilities { effective: r.number(), ..Default::default() }),
            ..Default::default()
        }),
        root: Some(v1::Root { source: Some(v1::root::Source::Gofer(r.number() as u32)), readonly: r.one_in(2) }),
        mounts: (0..r.below(4))
            .map(|_| v1::Mount {
                destination: r.text("/ab.", 12),
                r#type: r.text("tmpfsbindproc", 6),
                options: names(r),
                source: Some(v1::mount::Source::Export(r.text("abc", 5))),
            })
            .collect(),
        masked_paths: names(r),
        gofers: names(r),
        stdio: (0..3).map(|_| v1::Stdio { mode: r.number() as u32, ..Default::default() }).collect(),
        sysctls: names(r).into_iter().map(|name| (name, "1".to_owned())).collect(),
        host: Some(v1::HostFacts { cpus: r.number() as u32, cpuinfo: r.text("abc:\n", 40), ..Default::default() }),
        ..Default::default()
    }
}

fn up(r: &mut Random) -> Up {
    let body = match r.below(8) {
        0 => up::Body::Hello(v1::Hello {
            protocol: r.number() as u32,
            table_digest: r.bytes(40).into(),
            session_id: r.bytes(20).into(),
            secret: r.bytes(40).into(),
            seen: r.number(),
            sandbox: Some(sandbox(r)),
            ..Default::default()
        }),
        1 => up::Body::Ping(v1::Ping { nonce: r.number() }),
        2 => up::Body::Interrupt(v1::Interrupt { call: r.number() }),
        3 => up::Body::Event(v1::TaskEvent {
            tid: r.number() as u32,
            id: r.number(),
            what: Some(match r.below(4) {
                0 => task_event::What::Cloned(v1::Cloned {
                    child: r.number() as u32,
                    flags: r.number(),
                    child_tgid: r.number() as u32,
                }),
                1 => task_event::What::Execed(v1::Execed { former_tid: r.number() as u32 }),
                2 => task_event::What::Exited(v1::Exited { status: r.number() as i32, last: r.one_in(2) }),
                _ => task_event::What::NativeResult(v1::NativeResult {
                    nr: r.number() as u32,
                    result: r.number() as i64,
                    args: (0..r.below(9)).map(|_| r.number()).collect(),
                }),
            }),
        }),
        4 => up::Body::Reply(v1::ReverseReply { id: r.number(), value: r.number() as i64, data: r.bytes(60).into() }),
        5 => up::Body::Goodbye(v1::Goodbye { reason: r.text("abc ", 30) }),
        _ => up::Body::Syscall(v1::Syscall {
            call: r.number(),
            tid: r.number() as u32,
            nr: r.number() as u32,
            args: (0..6).map(|_| r.number()).collect(),
            segments: segments(r),
        }),
    };
    Up { seq: r.number(), ack: r.number(), body: Some(body) }
}

fn down(r: &mut Random) -> Down {
    let source = |r: &mut Random| v1::FileSource {
        file: r.number(),
        size: r.number(),
        from: Some(v1::file_source::From::Donated(r.number())),
    };
    let body = match r.below(4) {
        0 => down::Body::Welcome(v1::Welcome {
            session_id: r.bytes(20).into(),
            secret: r.bytes(40).into(),
            native: (0..r.below(20)).map(|_| r.number() as u32).collect(),
            ..Default::default()
        }),
        1 => down::Body::Reverse(v1::Reverse {
            id: r.number(),
            what: Some(match r.below(3) {
                0 => reverse::What::ReadMemory(v1::ReadMemory {
                    tid: r.number() as u32,
                    addr: r.number(),
                    len: r.number() as u32,
                }),
                1 => reverse::What::ArenaWrite(v1::ArenaWrite {
                    file: r.number(),
                    offset: r.number(),
                    data: r.bytes(60).into(),
                }),
                _ => reverse::What::ProcInfo(v1::ProcInfo { tid: r.number() as u32, what: r.text("statm/.", 10) }),
            }),
        }),
        _ => down::Body::Answer(v1::Answer {
            call: r.number(),
            out: segments(r),
            signal: r.number() as u32,
            outcome: Some(match r.below(4) {
                0 => answer::Outcome::Native(v1::Native { report: r.one_in(2) }),
                1 => answer::Outcome::Exec(v1::Exec {
                    program: Some(source(r)),
                    interpreter: Some(source(r)),
                    argv_prefix: (0..r.below(3)).map(|_| r.bytes(10).into()).collect(),
                    ..Default::default()
                }),
                2 => answer::Outcome::Map(v1::MapFile { source: Some(source(r)), writable: r.one_in(2) }),
                _ => answer::Outcome::Result(r.number() as i64),
            }),
            server_ns: r.number(),
        }),
    };
    Down { seq: r.number(), ack: r.number(), body: Some(body) }
}

/// What is decoded is within bounds and says the same when it is encoded again.
fn check<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) {
    let decoded = within(BASE + PER_BYTE * bytes.len(), || M::decode(bytes));
    if let Ok(message) = decoded {
        let again = message.encode_to_vec();
        assert_eq!(again.len(), message.encoded_len());
        assert_eq!(M::decode(&*again).unwrap(), message);
    }
}

/// One whole message, one damaged one and one out of thin air.
fn target<M: Message + Default + PartialEq + Debug>(r: &mut Random, valid: &M) {
    let mut bytes = valid.encode_to_vec();
    assert_eq!(&M::decode(&*bytes).unwrap(), valid);
    r.damage(&mut bytes);
    check::<M>(&bytes);
    check::<M>(&r.protobuf(4));
}

#[test]
fn frames_up() {
    fuzz("session::frames_up", 4000, |r| {
        let valid = up(r);
        target(r, &valid);
    });
}

#[test]
fn frames_down() {
    fuzz("session::frames_down", 4000, |r| {
        let valid = down(r);
        target(r, &valid);
    });
}

#[test]
fn relay_chunks() {
    fuzz("session::relay_chunks", 2000, |r| {
        let body = match r.below(5) {
            0 | 1 => v1::relay_chunk::Body::Open(v1::RelayOpen {
                relay_token: r.bytes(40).into(),
                seen: r.number(),
                stream: Some(match r.below(2) {
                    0 => v1::relay_open::Stream::Gofer(r.number() as u32),
                    _ => v1::relay_open::Stream::Published(v1::Published {
                        connection: r.number(),
                        port: r.number() as u32,
                    }),
                }),
            }),
            2 => v1::relay_chunk::Body::Stop(v1::RelayStop {}),
            3 => v1::relay_chunk::Body::End(v1::RelayEnd {}),
            _ => v1::relay_chunk::Body::Data(r.bytes(100).into()),
        };
        let valid = RelayChunk { seq: r.number(), ack: r.number(), body: Some(body) };
        target(r, &valid);
    });
}

/// Lists of the smallest elements are what takes the most memory for a byte.
#[test]
fn lists_of_nothing() {
    fuzz("session::lists_of_nothing", 200, |r| {
        let count = 1 + r.below(20_000);
        let field = 1 + r.next() % 17;
        let inner = 1 + r.next() % 17;
        let mut list = Vec::new();
        for _ in 0..count {
            crate::random::varint(&mut list, inner << 3 | 2);
            list.push(0);
        }
        let mut bytes = Vec::new();
        crate::random::varint(&mut bytes, field << 3 | 2);
        crate::random::varint(&mut bytes, list.len() as u64);
        bytes.extend(&list);
        check::<Up>(&bytes);
        check::<Down>(&bytes);
        check::<v1::Sandbox>(&list);
    });
}

/// Nesting without end must not reach the end of the stack.
#[test]
fn nested_without_end() {
    fuzz("session::nested_without_end", 20, |r| {
        let mut bytes = Vec::new();
        let tag = (1 + r.next() % 17) << 3 | *r.pick(&[2, 3]);
        for depth in (0..20_000u64).rev() {
            crate::random::varint(&mut bytes, tag);
            if tag & 7 == 2 {
                crate::random::varint(&mut bytes, depth * 3);
            }
        }
        check::<Up>(&bytes);
        check::<Down>(&bytes);
        check::<RelayChunk>(&bytes);
    });
}
