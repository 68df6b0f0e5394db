//! The syscall table at work on a hostile task: marshalling of its memory, and the line that `--strace` shows.

use crate::random::Random;
use crate::{fuzz, within};
use rsc_proto::abi::TASK_SIZE;
use rsc_proto::table::marshal::{GATHER_MAX, Gathered, MemoryReader, find, gather};
use rsc_proto::table::{self, strace};
use rsc_proto::v1::Segment;

/// Where the readable memory begins, and how much there is.
const BASE: u64 = 0x10_0000;
const SIZE: usize = 512 << 10;

/// Memory that a sibling thread changes between any two reads, full of pointers into itself.
struct Hostile<'a> {
    r: &'a mut Random,
    /// The same bytes at every read, or others.
    fickle: bool,
    /// Says that more was read than there was room for.
    liar: bool,
    reads: usize,
    bytes: usize,
}

impl MemoryReader for Hostile<'_> {
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        self.reads += 1;
        let end = BASE + SIZE as u64;
        if !(BASE..end).contains(&addr) {
            return 0;
        }
        let len = buf.len().min((end - addr) as usize);
        self.bytes += len;
        let mut fixed = Random::new(addr);
        let r = if self.fickle { &mut *self.r } else { &mut fixed };
        let style = r.below(4);
        let (some, other) = (pointer(r).to_le_bytes(), r.number().to_le_bytes());
        for (at, byte) in buf[..len].iter_mut().enumerate() {
            *byte = match style {
                0 => b'x',
                1 => some[at % 8],
                2 if at % 16 < 8 => some[at % 8],
                2 => other[at % 8],
                _ => (at as u8).wrapping_mul(some[1]) & 0x41,
            };
        }
        if self.liar { usize::MAX } else { len }
    }
}

fn pointer(r: &mut Random) -> u64 {
    match r.below(8) {
        0 => r.number(),
        1 => TASK_SIZE - r.next() % 100,
        2 => BASE + SIZE as u64 - r.next() % 64,
        _ => BASE + r.next() % SIZE as u64,
    }
}

fn arguments(r: &mut Random) -> [u64; 6] {
    std::array::from_fn(|_| if r.one_in(2) { pointer(r) } else { r.number() })
}

/// A call that has pointers, now and then a number that is no call's.
fn number(r: &mut Random) -> u32 {
    if r.one_in(20) { r.number() as u32 } else { (r.next() % 470) as u32 }
}

fn check(nr: u32, gathered: &Gathered) {
    let shipped = gathered.segments.iter().map(|segment| segment.data.len()).sum::<usize>();
    assert!(shipped <= GATHER_MAX, "{shipped} bytes shipped with {}", table::name(nr));
    for segment in &gathered.segments {
        assert!(!segment.data.is_empty());
        assert!(gathered.input.allows(segment.addr, segment.data.len() as u64), "{:#x} is no input", segment.addr);
        assert!(find(&gathered.segments, segment.addr).is_some());
    }
    for ranges in [&gathered.out, &gathered.input] {
        for pair in ranges.as_slice().windows(2) {
            assert!(pair[0].1 < pair[1].0, "sorted and apart");
        }
        for (start, end) in ranges.as_slice() {
            assert!(0 < *start && start < end && *end <= TASK_SIZE);
            assert!(ranges.allows(*start, end - start) && !ranges.allows(*start, end - start + 1));
        }
    }
}

#[test]
fn marshalling() {
    fuzz("table::marshalling", 6000, |r| {
        let (nr, args) = (number(r), arguments(r));
        let (fickle, liar) = (r.one_in(2), r.one_in(10));
        let mut memory = Hostile { r, fickle, liar, reads: 0, bytes: 0 };
        // What is shipped, its copy while it grows, and the ranges of as many vectors as fit into it.
        let gathered = within(6 << 20, || gather(nr, &args, &mut memory));
        assert!(memory.reads <= 2 * GATHER_MAX / 8 && memory.bytes <= 256 * GATHER_MAX, "{}", table::name(nr));
        check(nr, &gathered);
        let result = if r.one_in(4) { None } else { Some((r.number() as i64).wrapping_sub(40)) };
        let output: Vec<Segment> =
            (0..r.below(4)).map(|_| Segment { addr: *r.pick(&args), data: r.bytes(300).into() }).collect();
        let line = within(2 << 20, || strace::render(nr, &args, &gathered.segments, result, &output));
        assert!(line.len() <= 128 << 10, "{} bytes of {}", line.len(), table::name(nr));
        assert!(line.contains(" = ") && !line.contains(['\n', '\0', '\x1b']), "{line:?}");
    });
}

/// Every entry of the table with arguments of every kind: no entry has a hole.
#[test]
fn every_call() {
    fuzz("table::every_call", 4, |r| {
        for nr in 0..500 {
            let args = arguments(r);
            let mut memory = Hostile { r, fickle: false, liar: false, reads: 0, bytes: 0 };
            let gathered = gather(nr, &args, &mut memory);
            check(nr, &gathered);
            let output: Vec<Segment> =
                (0..2).map(|_| Segment { addr: *r.pick(&args), data: r.bytes(100).into() }).collect();
            let _ = strace::render(nr, &args, &gathered.segments, Some(r.number() as i64), &output);
            // What the filter lets through unseen, the sentry could have permitted too.
            assert!(!table::native_permitted(nr, &args, true) || table::native_permitted(nr, &args, false));
        }
    });
}
