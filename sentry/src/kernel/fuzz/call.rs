//! Arguments which the syscall table makes plausible, and the garbage that they point to.

use rsc_proto::abi::AT_FDCWD;
use rsc_proto::table::{self, FlagSet, Kind, Scalar, Shape, SubTable};

use super::Random;
use super::host::{BASE, HostileHost, SIZE};

/// Each kind of thing has a piece of memory of its own, of this size, so that pointers hit what they look for.
const PIECE: u64 = 4096;

#[derive(Clone, Copy)]
enum Piece {
    Path,
    Text,
    Vector,
    Message,
    Messages,
    Time,
    Address,
    Polls,
    Numbers,
    Pointers,
    Control,
    Data,
    /// The end of the memory, where things are cut off.
    End,
}

fn at(r: &Random, piece: Piece) -> u64 {
    match piece {
        Piece::End => BASE + SIZE as u64 - r.next() % 80,
        // One of several elements mostly.
        _ => BASE + piece as u64 * PIECE + (r.next() % 16) * 256,
    }
}

const PATHS: &[&str] = &[
    "/",
    ".",
    "..",
    "",
    "a",
    "b",
    "a/b",
    "/a",
    "/a/b",
    "/a/../a/./b",
    "a//",
    "b/",
    "/l",
    "/l/x",
    "/self",
    "/tmp/f",
    "/fifo",
    "/sock",
    "/proc",
    "/proc/self",
    "/proc/self/fd/0",
    "/proc/self/fd/3",
    "/proc/self/fd/5",
    "/proc/thread-self/comm",
    "/proc/1/status",
    "/proc/1/maps",
    "/proc/1/stat",
    "/proc/1/environ",
    "/proc/self/exe",
    "/proc/self/cwd",
    "/proc/self/root/a",
    "/proc/mounts",
    "/proc/self/mountinfo",
    "/proc/self/oom_score_adj",
    "/proc/self/task",
    "/proc/99999/stat",
    "/proc/sys/kernel/hostname",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/dev",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/fd/4",
    "/dev/shm/x",
    "/dev/shm",
    "/ro/x",
    "/ro",
    "/sys",
    "/sys/fs",
    "\u{1}",
    "trusted.x",
    "user.x",
    "security.capability",
];

fn path(r: &Random) -> Vec<u8> {
    match r.below(30) {
        0 => vec![b'x'; 256],
        1 => b"/a/".repeat(80),
        2 => (0..r.below(20)).map(|_| r.next() as u8 | 1).collect(),
        _ => r.pick(PATHS).as_bytes().to_vec(),
    }
}

/// The smallest program: a header, and one segment.
pub(super) fn program() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0x40_0080u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, 0x40_0000, 0x40_0000, 200, 200, 4096u64] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(200, 0x90);
    bytes
}

fn put(host: &HostileHost, at: u64, words: &[u64]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    host.store(at, &bytes);
}

fn vector(r: &Random, host: &HostileHost, to: u64) {
    for i in 0..r.next() % 9 {
        let len = if r.one_in(10) { r.number() } else { r.next() % 300 };
        put(host, to + i * 16, &[any(r), len]);
    }
}

fn message(r: &Random, host: &HostileHost, to: u64) {
    let (namelen, flags) = (if r.one_in(8) { r.number() } else { r.next() % 120 }, r.number());
    let control = if r.one_in(2) { 0 } else { r.next() % 300 };
    let iovlen = if r.one_in(10) { r.number() } else { r.next() % 5 };
    put(
        host,
        to,
        &[
            if r.one_in(3) { 0 } else { at(r, Piece::Address) },
            namelen & 0xffff_ffff,
            at(r, Piece::Vector),
            iovlen,
            if control == 0 { 0 } else { at(r, Piece::Control) },
            control,
            flags,
        ],
    );
}

fn control(r: &Random, host: &HostileHost, to: u64) {
    let mut at = to;
    for _ in 0..r.below(4) {
        let fds = r.next() % 4;
        let kind = if r.one_in(3) { r.next() % 5 } else { 1 };
        let level = if r.one_in(10) { r.number() & 0xffff_ffff } else { 1 };
        let len = if r.one_in(10) { r.number() } else { 16 + fds * 4 };
        put(host, at, &[len, level | kind << 32]);
        for i in 0..4 {
            host.store(at + 16 + i * 4, &(fd(r) as u32).to_le_bytes());
        }
        at += (16 + fds * 4).next_multiple_of(8);
    }
}

fn address(r: &Random) -> Vec<u8> {
    let mut bytes = match r.below(5) {
        0 => [&2u16.to_le_bytes()[..], &[0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
        1 => [&10u16.to_le_bytes()[..], &[0; 26]].concat(),
        2 => [&1u16.to_le_bytes()[..], &[0], &b"abstract"[..r.below(8)]].concat(),
        3 => [&1u16.to_le_bytes()[..], r.pick(&["/sock", "sock", "/a/s", "/dev/shm/s"]).as_bytes(), &[0]].concat(),
        _ => (0..r.below(130)).map(|_| r.next() as u8).collect(),
    };
    bytes.resize(130, 0);
    bytes
}

/// Renews some of the memory.
pub(super) fn scatter(r: &Random, host: &HostileHost) {
    for _ in 0..6 {
        let mut text = path(r);
        text.push(0);
        host.store(at(r, Piece::Path), &text);
        host.store(at(r, Piece::Text), &text);
        vector(r, host, at(r, Piece::Vector));
        message(r, host, at(r, Piece::Message));
        let messages = at(r, Piece::Messages);
        for i in 0..4 {
            message(r, host, messages + i * 64);
        }
        let small = |r: &Random| if r.one_in(6) { r.number() } else { r.next() % 2 };
        put(host, at(r, Piece::Time), &[small(r), r.number(), small(r), r.number()]);
        host.store(at(r, Piece::Address), &address(r));
        let polls = at(r, Piece::Polls);
        for i in 0..r.next() % 20 {
            put(host, polls + i * 8, &[fd(r) & 0xffff_ffff | (r.next() & 0xffff) << 32]);
        }
        let numbers = at(r, Piece::Numbers);
        for i in 0..16 {
            host.store(numbers + i * 4, &(r.number() as u32).to_le_bytes());
        }
        let pointers = at(r, Piece::Pointers);
        for i in 0..r.next() % 5 {
            put(host, pointers + i * 8, &[at(r, Piece::Path), 0]);
        }
        control(r, host, at(r, Piece::Control));
        let data: Vec<u8> = (0..64).map(|_| r.next() as u8).collect();
        host.store(at(r, Piece::Data), &data);
        if r.one_in(4) {
            host.store(at(r, Piece::Data), b"#!/a -x\n");
        }
    }
}

/// Some address.
fn any(r: &Random) -> u64 {
    match r.below(16) {
        0 => r.number(),
        1 => at(r, Piece::End),
        2 => 0x7fff_ffff_f000 - r.next() % 64,
        3 => at(r, Piece::Path),
        4 => at(r, Piece::Vector),
        5 => at(r, Piece::Time),
        6 => at(r, Piece::Polls),
        7 => at(r, Piece::Pointers),
        8 => at(r, Piece::Control),
        _ => at(r, Piece::Data),
    }
}

fn fd(r: &Random) -> u64 {
    match r.below(20) {
        0 => r.number(),
        1 => u64::MAX,
        2 => AT_FDCWD as u64,
        _ => r.next() % 12,
    }
}

fn flags(r: &Random, set: FlagSet) -> u64 {
    match set {
        FlagSet::Open => *r.pick(&[
            0,
            1,
            2,
            0o102,
            0o100,
            0o302,
            0o4000,
            0o4001,
            0o4002,
            0o2102,
            0o200_000,
            0o10_000_000,
            0o20_200_002,
            0o400_000,
            0o1102,
            0o44_000,
            0o2_000_102,
        ]),
        FlagSet::Mmap => *r.pick(&[1, 2, 3, 0x22, 0x12, 0x32]),
        FlagSet::Prot => r.next() % 8,
        FlagSet::Clone => *r.pick(&[17, 0x003d_0f00, 0x4111, 0x0100, 0x1200_0011]),
        FlagSet::Af => *r.pick(&[1, 1, 1, 1, 2, 10, 16]),
        FlagSet::Sock => *r.pick(&[1, 2, 5, 0x801, 0x8_0002, 3]),
        FlagSet::Sol => *r.pick(&[1, 0, 6, 41]),
        FlagSet::At => *r.pick(&[0, 0, 0, 0x100, 0x200, 0x400, 0x1000, 0x800]),
        FlagSet::EpollOp => 1 + r.next() % 3,
        FlagSet::Fcntl => r.pick(SubTable::Fcntl.commands()).command,
        FlagSet::Ioctl => r.pick(SubTable::Ioctl.commands()).command,
        FlagSet::Prctl => r.pick(SubTable::Prctl.commands()).command,
        _ if r.one_in(2) => 0,
        _ if r.one_in(4) => r.number(),
        _ => 1 << r.below(20),
    }
}

fn argument(r: &Random, kind: Kind) -> u64 {
    if r.one_in(40) {
        return r.number();
    }
    match kind {
        Kind::Value(scalar) => match scalar {
            Scalar::Fd => fd(r),
            Scalar::Dirfd if r.one_in(2) => AT_FDCWD as u64,
            Scalar::Dirfd => fd(r),
            Scalar::Size | Scalar::Ulong if !r.one_in(8) => r.next() % 5000,
            Scalar::Off | Scalar::Long if !r.one_in(6) => r.next() % 9000,
            Scalar::Mode => r.next() & 0o177_777,
            Scalar::Pid => r.next() % 10,
            Scalar::Sig => r.next() % 66,
            Scalar::Uid | Scalar::Gid => *r.pick(&[0, 1000, 1001, u64::MAX, 65534]),
            Scalar::Clock => r.next() % 12,
            Scalar::Flags(set) => flags(r, set),
            _ => r.number(),
        },
        Kind::Pointer(..) if r.one_in(12) => 0,
        Kind::Pointer(..) if r.one_in(20) => any(r),
        Kind::Pointer(_, shape) => match shape {
            Shape::Path => at(r, Piece::Path),
            Shape::Str(_) => at(r, Piece::Text),
            Shape::Iovec(_) => at(r, Piece::Vector),
            Shape::Msghdr => at(r, Piece::Message),
            Shape::Mmsghdr(_) => at(r, Piece::Messages),
            Shape::Sockaddr(_) => at(r, Piece::Address),
            Shape::Strings => at(r, Piece::Pointers),
            Shape::Struct(layout) if layout.name.contains("time") => at(r, Piece::Time),
            Shape::Struct(layout) if layout.name == "pollfd" => at(r, Piece::Polls),
            Shape::Array(layout, _) if layout.name == "pollfd" => at(r, Piece::Polls),
            Shape::Buf(_) => at(r, Piece::Data),
            _ => at(r, Piece::Numbers),
        },
        Kind::Sub(_) if r.one_in(2) => any(r),
        Kind::Sub(_) => r.number(),
    }
}

/// Arguments for a call.
pub(super) fn arguments(r: &Random, nr: u32) -> [u64; 6] {
    let mut args = [0; 6];
    match table::lookup(nr) {
        Some(call) if !r.one_in(30) => {
            for (arg, about) in args.iter_mut().zip(call.args) {
                *arg = argument(r, about.kind);
            }
        }
        _ => args = std::array::from_fn(|_| if r.one_in(2) { any(r) } else { r.number() }),
    }
    args
}
