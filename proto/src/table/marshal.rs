//! The marshaller: from a call's registers to the memory that goes to the sentry and the ranges its answer may write.
//!
//! Driven by the table alone. Each pointer is read once, so what is shipped and what may be written come from the same bytes.
//! Nothing is allocated for calls without pointers. It is an optimisation of reading, never needed: the sentry asks for what was
//! not shipped. The output ranges however are a promise: nothing outside them is written.

use bytes::Bytes;
use zerocopy::FromBytes;

pub use super::ranges::{OutRanges, Ranges};
use super::{Arg, Dir, Kind, Layout, Scalar, Shape, Size, lookup};
use crate::abi::{
    CONTROL_MAX, IOV_MAX, Ifconf, Iovec, MAX_ARG_STRLEN, MAX_RW_COUNT, Mmsghdr, Msghdr, PATH_MAX, SigsetArg,
    SockaddrStorage, parse,
};
use crate::v1::Segment;

/// Most bytes that are shipped with one call. The sentry fetches the rest.
pub const GATHER_MAX: usize = 256 * 1024;

/// Most descriptors that a `fd_set` is read for.
const FD_SET_MAX: u64 = 1 << 20;

/// Bytes that a first look at a string reads; paths are rarely longer.
const PATH_CHUNK: usize = 256;
/// The same for the strings of `execve`, which lie one behind the other.
const STRINGS_CHUNK: usize = 4096;

/// A window onto a task's memory.
pub trait MemoryReader {
    /// Reads from `addr` on; how many bytes of `buf` are filled. Fewer than asked for: what follows cannot be read.
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize;

    /// Reads several pieces in their order and stops within the first that cannot be read; how many bytes in all are filled.
    /// `process_vm_readv` does it in one call.
    fn read_many(&mut self, pieces: &mut [(u64, &mut [u8])]) -> usize {
        let mut total = 0;
        for (addr, buf) in pieces {
            let read = self.read(*addr, buf).min(buf.len());
            total += read;
            if read < buf.len() {
                break;
            }
        }
        total
    }
}

/// What a call brings along.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Input, as far as it could be read and `GATHER_MAX` allows, in the order it was read.
    pub segments: Vec<Segment>,
    /// What the answer may write.
    pub out: OutRanges,
    /// What the call's arguments name as input, shipped or not.
    pub input: Ranges,
    /// Not every pointer was followed (too much, or unreadable): `input` and `out` may lack ranges.
    pub partial: bool,
}

/// Reads the input of a call and computes its output ranges.
pub fn gather(nr: u32, args: &[u64; 6], memory: &mut dyn MemoryReader) -> Gathered {
    let mut gathered = Gathered::default();
    let Some(call) = lookup(nr) else { return gathered };
    if call.args.iter().all(|arg| matches!(arg.kind, Kind::Value(_))) {
        return gathered;
    }
    let mut gatherer = Gatherer { args, kinds: call.args, memory, left: GATHER_MAX, got: &mut gathered };
    for (index, arg) in call.args.iter().enumerate() {
        let kind = resolve(call.args, args, index).unwrap_or(arg.kind);
        let addr = args.get(index).copied().unwrap_or(0);
        if let Kind::Pointer(dir, shape) = kind
            && addr != 0
        {
            gatherer.pointer(dir, shape, addr);
        }
    }
    gathered.out.finish();
    gathered.input.finish();
    gathered
}

/// What argument `index` is in this very call: sub-tables are looked up by their command, the argument before.
pub(super) fn resolve(kinds: &'static [Arg], args: &[u64; 6], index: usize) -> Option<Kind> {
    match kinds.get(index)?.kind {
        Kind::Sub(table) => {
            let command = args.get(index.checked_sub(1)?)?;
            Some(table.lookup(*command).map_or(Kind::Value(Scalar::Hex), |sub| sub.kind))
        }
        kind => Some(kind),
    }
}

/// The bytes at an address, as far as one of the segments has them.
pub fn find(segments: &[Segment], addr: u64) -> Option<&[u8]> {
    segments.iter().find_map(|segment| {
        let offset = usize::try_from(addr.checked_sub(segment.addr)?).ok()?;
        segment.data.get(offset..).filter(|rest| !rest.is_empty())
    })
}

/// A count or size which an argument has, by its width and sign: negative numbers count as none.
pub(super) fn scalar(kinds: &[Arg], args: &[u64; 6], index: u8) -> u64 {
    let index = usize::from(index);
    let value = args.get(index).copied().unwrap_or(0);
    match kinds.get(index).map(|arg| arg.kind) {
        Some(Kind::Value(Scalar::Int)) => u64::try_from(value as i32).unwrap_or(0),
        Some(Kind::Value(Scalar::Uint)) => value & 0xffff_ffff,
        _ => value,
    }
}

struct Gatherer<'a> {
    args: &'a [u64; 6],
    kinds: &'static [Arg],
    memory: &'a mut dyn MemoryReader,
    left: usize,
    got: &'a mut Gathered,
}

impl Gatherer<'_> {
    fn pointer(&mut self, dir: Dir, shape: Shape, addr: u64) {
        match shape {
            Shape::Path => self.string(addr, PATH_MAX),
            Shape::Str(size) => {
                let max = self.count(size).min(MAX_ARG_STRLEN as u64) as usize;
                self.string(addr, max);
            }
            Shape::Buf(size) => {
                let len = self.count(size);
                self.plain(dir, addr, len);
            }
            Shape::Struct(layout) => {
                if dir.is_in() {
                    self.fixed(addr, layout.size as usize);
                }
                if dir.is_out() {
                    self.got.out.push(addr, layout.size.into());
                }
            }
            Shape::Array(Layout { size: each, .. }, size) => {
                let len = self.count(size).saturating_mul(each.into());
                self.plain(dir, addr, len);
            }
            Shape::Sockaddr(size) => {
                let len = self.count(size);
                // Longer input is EINVAL; longer output is not written.
                self.plain(dir, addr, len.min(SockaddrStorage::SIZE as u64));
            }
            Shape::FdSet(size) => {
                let len = self.count(size).min(FD_SET_MAX).div_ceil(64) * 8;
                self.plain(dir, addr, len);
            }
            Shape::Sigset(size) => {
                let len = self.count(size).min(8);
                self.plain(dir, addr, len);
            }
            Shape::SigsetArg => {
                if let Some(pair) = self.parsed::<SigsetArg>(addr)
                    && pair.ss != 0
                    && pair.ss_len == 8
                {
                    self.ship(pair.ss, 8);
                }
            }
            Shape::Iovec(size) => {
                let count = self.count(size);
                self.iovec(dir, addr, count);
            }
            Shape::Msghdr => {
                if let Some(header) = self.parsed::<Msghdr>(addr) {
                    self.message(dir, &header);
                }
                if dir.is_out() {
                    self.got.out.push(addr, Msghdr::SIZE as u64);
                }
            }
            Shape::Mmsghdr(size) => {
                let count = self.count(size);
                self.messages(dir, addr, count);
            }
            Shape::Strings => self.strings(addr),
            Shape::Ifconf => {
                if let Some(conf) = self.parsed::<Ifconf>(addr) {
                    self.got.out.push(conf.ifc_buf, u64::try_from(conf.ifc_len).unwrap_or(0));
                }
                self.got.out.push(addr, Ifconf::SIZE as u64);
            }
        }
    }

    /// A size or count, bounded so that sums of a few cannot overflow.
    fn count(&mut self, size: Size) -> u64 {
        let count = match size {
            Size::Bytes(bytes) => bytes.into(),
            Size::Arg(index) => scalar(self.kinds, self.args, index),
            Size::Behind(index) => {
                let addr = self.args.get(usize::from(index)).copied().unwrap_or(0);
                let value = self.fixed(addr, 4).and_then(|bytes| parse::<i32>(&bytes)).unwrap_or(0);
                u64::try_from(value).unwrap_or(0)
            }
        };
        count.min(MAX_RW_COUNT as u64)
    }

    fn plain(&mut self, dir: Dir, addr: u64, len: u64) {
        let len = len.min(MAX_RW_COUNT as u64);
        if dir.is_in() {
            self.ship(addr, len as usize);
        }
        if dir.is_out() {
            self.got.out.push(addr, len);
        }
    }

    /// Reads and ships; the bytes that could be read.
    fn ship(&mut self, addr: u64, len: usize) -> Bytes {
        if addr == 0 || len == 0 {
            return Bytes::new();
        }
        self.got.input.push(addr, len as u64);
        let want = len.min(self.left);
        let mut data = vec![0; want];
        let read = self.memory.read(addr, &mut data).min(want);
        self.got.partial |= read < len;
        cut_to(&mut data, read);
        self.push(addr, data)
    }

    fn push(&mut self, addr: u64, data: Vec<u8>) -> Bytes {
        let data = Bytes::from(data);
        if !data.is_empty() {
            self.left = self.left.saturating_sub(data.len());
            self.got.segments.push(Segment { addr, data: data.clone() });
        }
        data
    }

    /// A small fixed piece, which is not read again when another argument has led to it before.
    fn fixed(&mut self, addr: u64, len: usize) -> Option<Bytes> {
        let before = self.got.segments.iter().find(|segment| segment.addr == addr && segment.data.len() >= len);
        let bytes = match before {
            Some(segment) => segment.data.slice(..len),
            None => self.ship(addr, len),
        };
        (bytes.len() == len).then_some(bytes)
    }

    fn parsed<T: FromBytes>(&mut self, addr: u64) -> Option<T> {
        let bytes = self.ship(addr, size_of::<T>());
        T::read_from_bytes(&bytes).ok()
    }

    fn string(&mut self, addr: u64, max: usize) {
        self.got.input.push(addr, max as u64);
        let max = max.min(self.left);
        let mut data = Vec::new();
        let mut chunk = [0; PATH_CHUNK];
        while data.len() < max {
            let want = (max - data.len()).min(PATH_CHUNK);
            let Some(from) = addr.checked_add(data.len() as u64) else { break };
            let Some(buf) = chunk.get_mut(..want) else { break };
            let read = self.memory.read(from, buf).min(want);
            let got = buf.get(..read).unwrap_or_default();
            if let Some(end) = got.iter().position(|byte| *byte == 0) {
                data.extend_from_slice(got.get(..=end).unwrap_or_default());
                self.push(addr, data);
                return;
            }
            data.extend_from_slice(got);
            if read < want {
                break;
            }
        }
        self.got.partial = true;
        self.push(addr, data);
    }

    fn iovec(&mut self, dir: Dir, addr: u64, count: u64) {
        // More is EINVAL before anything is read.
        if addr == 0 || count > IOV_MAX as u64 {
            return;
        }
        let array = self.ship(addr, count as usize * Iovec::SIZE);
        let mut total = 0u64;
        let mut pieces = Vec::new();
        for bytes in array.chunks_exact(Iovec::SIZE) {
            let Some(iov) = parse::<Iovec>(bytes) else { break };
            let len = iov.iov_len.min((MAX_RW_COUNT as u64).saturating_sub(total));
            total += len;
            match dir {
                Dir::Out => self.got.out.push(iov.iov_base, len),
                Dir::In | Dir::InOut if iov.iov_base != 0 && len > 0 => pieces.push((iov.iov_base, len as usize)),
                Dir::In | Dir::InOut => {}
            }
        }
        self.ship_many(&pieces);
    }

    /// Ships several pieces with one read.
    fn ship_many(&mut self, pieces: &[(u64, usize)]) {
        let total = pieces.iter().map(|piece| piece.1).sum::<usize>();
        let want = total.min(self.left);
        if total == 0 {
            return;
        }
        let mut data = vec![0; want];
        let mut parts = Vec::with_capacity(pieces.len());
        let mut rest = data.as_mut_slice();
        for (addr, len) in pieces {
            self.got.input.push(*addr, *len as u64);
            let Some((part, tail)) = rest.split_at_mut_checked((*len).min(rest.len())) else { break };
            if !part.is_empty() {
                parts.push((*addr, part));
            }
            rest = tail;
        }
        let read = self.memory.read_many(&mut parts).min(want);
        self.got.partial |= read < total;
        self.left = self.left.saturating_sub(read);
        cut_to(&mut data, read);
        let mut data = Bytes::from(data);
        for (addr, len) in pieces {
            let piece = data.split_to((*len).min(data.len()));
            if !piece.is_empty() {
                self.got.segments.push(Segment { addr: *addr, data: piece });
            }
        }
    }

    /// What a message header points to.
    fn message(&mut self, dir: Dir, header: &Msghdr) {
        let name = u64::try_from(header.msg_namelen).unwrap_or(0).min(SockaddrStorage::SIZE as u64);
        let control = header.msg_controllen.min(CONTROL_MAX as u64);
        match dir {
            Dir::Out => {
                self.got.out.push(header.msg_name, name);
                self.got.out.push(header.msg_control, control);
            }
            Dir::In | Dir::InOut => {
                self.ship(header.msg_name, name as usize);
                self.ship(header.msg_control, control as usize);
            }
        }
        self.iovec(dir, header.msg_iov, header.msg_iovlen);
    }

    fn messages(&mut self, dir: Dir, addr: u64, count: u64) {
        // The kernel takes no more than this many at once.
        let count = count.min(IOV_MAX as u64) as usize;
        let array = self.ship(addr, count * Mmsghdr::SIZE);
        for bytes in array.chunks_exact(Mmsghdr::SIZE) {
            if let Some(message) = parse::<Mmsghdr>(bytes) {
                self.message(dir, &message.msg_hdr);
            }
        }
        if dir.is_out() {
            self.got.out.push(addr, array.len() as u64);
        }
    }

    /// argv and envp. Strings that follow each other in memory become one segment, and one read where they share a window.
    fn strings(&mut self, addr: u64) {
        let pointers = self.pointers(addr);
        let mut window: (u64, Vec<u8>) = (0, Vec::new());
        let mut run: Option<(u64, Vec<u8>)> = None;
        for at in pointers {
            self.got.input.push(at, MAX_ARG_STRLEN as u64);
            let held = run.as_ref().map_or(0, |run| run.1.len());
            if held >= self.left {
                self.got.partial = true;
                break;
            }
            if cut(&window, at).is_none() {
                let mut data = vec![0; STRINGS_CHUNK];
                let read = self.memory.read(at, &mut data).min(STRINGS_CHUNK);
                data.truncate(read);
                window = (at, data);
            }
            let Some(text) = cut(&window, at) else {
                // Longer than a window, or not readable: the sentry asks for it.
                self.got.partial = true;
                continue;
            };
            match &mut run {
                Some((start, data)) if start.checked_add(data.len() as u64) == Some(at) => data.extend_from_slice(text),
                _ => {
                    if let Some((start, data)) = run.replace((at, text.to_vec())) {
                        self.push(start, data);
                    }
                }
            }
        }
        if let Some((start, data)) = run {
            self.push(start, data);
        }
    }

    /// The addresses up to the null that ends them.
    fn pointers(&mut self, addr: u64) -> Vec<u64> {
        let mut data: Vec<u8> = Vec::new();
        let mut pointers = Vec::new();
        let mut ended = false;
        // Half of what may be shipped: the rest is for the strings.
        while !ended && data.len() < self.left / 2 {
            let Some(from) = addr.checked_add(data.len() as u64) else { break };
            let mut chunk = [0; 512];
            let read = self.memory.read(from, &mut chunk).min(chunk.len());
            for bytes in chunk.get(..read).unwrap_or_default().chunks_exact(8) {
                data.extend_from_slice(bytes);
                match parse::<u64>(bytes) {
                    Some(pointer) if pointer != 0 => pointers.push(pointer),
                    _ => {
                        ended = true;
                        break;
                    }
                }
            }
            if read < chunk.len() {
                break;
            }
        }
        self.got.partial |= !ended;
        self.got.input.push(addr, data.len() as u64);
        self.push(addr, data);
        pointers
    }
}

/// Drops what could not be read. Its room goes too: many calls' worth of large buffers that hold a byte each would add up.
fn cut_to(data: &mut Vec<u8>, read: usize) {
    data.truncate(read);
    data.shrink_to_fit();
}

/// A string in a window, with its zero.
fn cut(window: &(u64, Vec<u8>), at: u64) -> Option<&[u8]> {
    let offset = usize::try_from(at.checked_sub(window.0)?).ok()?;
    let rest = window.1.get(offset..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..=end)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::table::nr;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    /// Memory that has one piece, from `base`.
    pub(in crate::table) struct Piece {
        pub(in crate::table) base: u64,
        pub(in crate::table) data: Vec<u8>,
        pub(in crate::table) reads: usize,
    }

    impl Piece {
        pub(in crate::table) fn new(data: Vec<u8>) -> Piece {
            Piece { base: 0x1000, data, reads: 0 }
        }
    }

    impl MemoryReader for Piece {
        fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
            self.reads += 1;
            let Some(offset) = addr.checked_sub(self.base).and_then(|o| usize::try_from(o).ok()) else { return 0 };
            let rest = self.data.get(offset..).unwrap_or_default();
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            len
        }
    }

    fn shipped(gathered: &Gathered) -> Vec<(u64, &[u8])> {
        gathered.segments.iter().map(|segment| (segment.addr, &segment.data[..])).collect()
    }

    #[test]
    fn plain_calls() {
        let mut memory = Piece::new(b"/etc/passwd\0rest".to_vec());
        let gathered = gather(nr::GETUID, &[0x1000; 6], &mut memory);
        assert!(gathered.segments.is_empty() && gathered.out.is_empty() && memory.reads == 0);

        let gathered = gather(nr::OPENAT, &[u64::MAX, 0x1000, 0, 0, 0, 0], &mut memory);
        assert_eq!(shipped(&gathered), [(0x1000, &b"/etc/passwd\0"[..])]);
        assert!(gathered.out.is_empty() && memory.reads == 1 && !gathered.partial);

        let gathered = gather(nr::WRITE, &[1, 0x1000, 4, 0, 0, 0], &mut memory);
        assert_eq!(shipped(&gathered), [(0x1000, &b"/etc"[..])]);

        let gathered = gather(nr::READ, &[0, 0x1000, 100, 0, 0, 0], &mut memory);
        assert!(gathered.segments.is_empty());
        assert!(gathered.out.allows(0x1000, 100) && !gathered.out.allows(0x1000, 101));

        let gathered = gather(nr::NEWFSTATAT, &[3, 0x1000, 0x8000, 0, 0, 0], &mut memory);
        assert_eq!(gathered.out.as_slice(), &[(0x8000, 0x8000 + 144)]);

        let gathered = gather(nr::NEWFSTATAT, &[3, 0, 0, 0, 0, 0], &mut memory);
        assert!(gathered.segments.is_empty() && gathered.out.is_empty());
    }

    #[test]
    fn too_much_is_shipped_in_part() {
        let mut memory = Piece::new(vec![7; GATHER_MAX + 100]);
        let gathered = gather(nr::WRITE, &[1, 0x1000, GATHER_MAX as u64 + 50, 0, 0, 0], &mut memory);
        assert_eq!(gathered.segments[0].data.len(), GATHER_MAX);
        assert!(gathered.partial && gathered.input.allows(0x1000, GATHER_MAX as u64 + 50));
        let gathered = gather(nr::WRITE, &[1, 0x1000, u64::MAX, 0, 0, 0], &mut memory);
        assert_eq!(gathered.segments[0].data.len(), GATHER_MAX);
        let gathered = gather(nr::WRITE, &[1, 5, 10, 0, 0, 0], &mut memory);
        assert!(gathered.segments.is_empty() && gathered.partial);
    }

    #[test]
    fn what_could_not_be_read_takes_no_room() {
        let mut memory = Piece::new(vec![7; 9]);
        let gathered = gather(nr::WRITE, &[1, 0x1008, 200_000, 0, 0, 0], &mut memory);
        let data = gathered.segments[0].data.clone();
        drop(gathered);
        assert_eq!((data.len(), Vec::from(data).capacity()), (1, 1));
    }

    #[test]
    fn vectors() {
        let iovs = [
            Iovec { iov_base: 0x1000 + 48, iov_len: 3 },
            Iovec { iov_base: 0, iov_len: 0 },
            Iovec { iov_base: 0x1000 + 51, iov_len: 2 },
        ];
        let mut data = iovs.as_bytes().to_vec();
        data.extend(b"abcde");
        let mut memory = Piece::new(data);
        let gathered = gather(nr::WRITEV, &[1, 0x1000, 3, 0, 0, 0], &mut memory);
        assert_eq!(shipped(&gathered)[1..], [(0x1030, &b"abc"[..]), (0x1033, &b"de"[..])]);
        memory.data.pop();
        let gathered = gather(nr::WRITEV, &[1, 0x1000, 3, 0, 0, 0], &mut memory);
        assert_eq!(shipped(&gathered)[1..], [(0x1030, &b"abc"[..]), (0x1033, &b"d"[..])]);
        assert!(gathered.partial && gathered.input.allows(0x1030, 5));
        let gathered = gather(nr::READV, &[1, 0x1000, 3, 0, 0, 0], &mut memory);
        assert_eq!(gathered.segments.len(), 1);
        assert_eq!(gathered.out.as_slice(), &[(0x1030, 0x1035)]);
        let gathered = gather(nr::READV, &[1, 0x1000, 1025, 0, 0, 0], &mut memory);
        assert!(gathered.segments.is_empty());
    }

    #[test]
    fn messages() {
        let header = Msghdr {
            msg_name: 0x9000,
            msg_namelen: 500,
            msg_iov: 0x1000 + 56,
            msg_iovlen: 1,
            msg_control: 0xa000,
            msg_controllen: 64,
            ..Msghdr::default()
        };
        let mut data = header.as_bytes().to_vec();
        data.extend(Iovec { iov_base: 0xb000, iov_len: 10 }.as_bytes());
        let mut memory = Piece::new(data);
        let gathered = gather(nr::RECVMSG, &[3, 0x1000, 0, 0, 0, 0], &mut memory);
        let out = [(0x1000, 0x1038), (0x9000, 0x9080), (0xa000, 0xa040), (0xb000, 0xb00a)];
        assert_eq!(gathered.out.as_slice(), &out);
        let gathered = gather(nr::SENDMSG, &[3, 0x1000, 0, 0, 0, 0], &mut memory);
        assert!(gathered.out.is_empty() && gathered.input.allows(0xb000, 10) && gathered.partial);
    }

    #[test]
    fn lengths_behind_pointers_are_read_once() {
        let mut memory = Piece::new(16u32.to_le_bytes().to_vec());
        let gathered = gather(nr::ACCEPT, &[3, 0x9000, 0x1000, 0, 0, 0], &mut memory);
        assert_eq!(memory.reads, 1);
        assert_eq!(gathered.out.as_slice(), &[(0x1000, 0x1004), (0x9000, 0x9010)]);
        let mut memory = Piece::new((-1i32).to_le_bytes().to_vec());
        let gathered = gather(nr::GETSOCKOPT, &[3, 1, 2, 0x9000, 0x1000, 0], &mut memory);
        assert_eq!(gathered.out.as_slice(), &[(0x1000, 0x1004)]);
    }

    #[test]
    fn commands() {
        let mut memory = Piece::new(vec![1; 64]);
        let gathered = gather(nr::IOCTL, &[0, 0x5413, 0x1000, 0, 0, 0], &mut memory);
        assert_eq!(gathered.out.as_slice(), &[(0x1000, 0x1008)]);
        let gathered = gather(nr::IOCTL, &[0, 0x5402, 0x1000, 0, 0, 0], &mut memory);
        assert_eq!(gathered.segments[0].data.len(), 36);
        let gathered = gather(nr::IOCTL, &[0, 0x1234_5678, 0x1000, 0, 0, 0], &mut memory);
        assert!(gathered.segments.is_empty() && gathered.out.is_empty());
        let gathered = gather(nr::FCNTL, &[0, 5, 0x1000, 0, 0, 0], &mut memory);
        assert!(gathered.segments[0].data.len() == 32 && gathered.out.allows(0x1000, 32));
        let gathered = gather(nr::FCNTL, &[0, 0, 0x1000, 0, 0, 0], &mut memory);
        assert!(gathered.segments.is_empty());
    }

    #[test]
    fn execve_reads_few_times() {
        let mut data = Vec::new();
        for pointer in [0x1020u64, 0x1023, 0x1030, 0] {
            data.extend(pointer.to_le_bytes());
        }
        data.extend(b"sh\0-c\0xxxxxxxxxxecho\0");
        let mut memory = Piece::new(data);
        let gathered = gather(nr::EXECVE, &[0x1020, 0x1000, 0, 0, 0, 0], &mut memory);
        let strings = [(0x1020, &b"sh\0-c\0"[..]), (0x1030, &b"echo\0"[..])];
        assert_eq!(shipped(&gathered)[2..], strings);
        assert_eq!(memory.reads, 3);
        assert!(!gathered.partial);
    }

    #[test]
    fn sets() {
        let mut memory = Piece::new(vec![0xff; 256]);
        let gathered = gather(nr::SELECT, &[65, 0x1000, 0, 0, 0, 0], &mut memory);
        assert_eq!(gathered.out.as_slice(), &[(0x1000, 0x1010)]);
        let gathered = gather(nr::SELECT, &[u64::from(u32::MAX), 0x1000, 0, 0, 0, 0], &mut memory);
        assert!(gathered.out.is_empty());
        let gathered = gather(nr::POLL, &[0x1000, 3, 0, 0, 0, 0], &mut memory);
        assert!(gathered.segments[0].data.len() == 24 && gathered.out.allows(0x1000, 24));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn never_panics_and_stays_bounded(
            nr in 0u32..480,
            mut args in proptest::array::uniform6(prop_oneof![0x1000u64..0x1100, 0u64..64, any::<u64>()]),
            data in proptest::collection::vec(prop_oneof![Just(0u8), Just(0x10), any::<u8>()], 0..400),
            command in proptest::sample::select(vec![0x5401u64, 0x8912, 5, 15, 16, 37, 1031]),
        ) {
            if nr == nr::IOCTL || nr == nr::FCNTL {
                args[1] = command;
            }
            let mut memory = Piece::new(data);
            let gathered = gather(nr, &args, &mut memory);
            let total: usize = gathered.segments.iter().map(|segment| segment.data.len()).sum();
            prop_assert!(total <= GATHER_MAX + STRINGS_CHUNK);
            for segment in &gathered.segments {
                prop_assert!(gathered.input.allows(segment.addr, segment.data.len() as u64));
            }
        }
    }
}
