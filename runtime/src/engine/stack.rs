//! The new stack of an exec: what the kernel built for the loader, made into what it would have built for the program.

use super::memory::Memory;
use rsc_proto::table::marshal::MemoryReader;

/// Most bytes of argument, environment and auxiliary vectors: the kernel allows 6 MiB of strings.
const VECTORS_MAX: usize = 8 << 20;
/// Arguments up to this size are copied so that they lie behind each other with a script's in front.
const CONTIGUOUS_MAX: usize = 32 << 10;

pub(super) const AT_PHDR: u64 = 3;
pub(super) const AT_PHNUM: u64 = 5;
pub(super) const AT_BASE: u64 = 7;
pub(super) const AT_ENTRY: u64 = 9;
pub(super) const AT_UID: u64 = 11;
pub(super) const AT_EUID: u64 = 12;
pub(super) const AT_GID: u64 = 13;
pub(super) const AT_EGID: u64 = 14;
pub(super) const AT_SECURE: u64 = 23;
const AT_EXECFN: u64 = 31;

/// The vectors at the top of a new stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vectors {
    pub(super) args: Vec<u64>,
    pub(super) env: Vec<u64>,
    pub(super) aux: Vec<(u64, u64)>,
    /// Where they end: everything below may be written.
    pub(super) end: u64,
}

impl Vectors {
    /// Reads them from where the stack pointer is at an exec event.
    pub(super) fn read(memory: &mut Memory, sp: u64) -> Option<Vectors> {
        let mut words = Vec::new();
        let mut chunk = vec![0u8; 16 << 10];
        loop {
            let at = sp.checked_add(words.len() as u64 * 8)?;
            let got = memory.read(at, &mut chunk) / 8 * 8;
            let (read, _) = chunk.get(..got)?.as_chunks::<8>();
            words.extend(read.iter().map(|word| u64::from_ne_bytes(*word)));
            if let Some(vectors) = Vectors::parse(&words, sp) {
                return Some(vectors);
            }
            if got == 0 || words.len() * 8 > VECTORS_MAX {
                return None;
            }
            // Each look begins anew, so there must be few of them.
            chunk.resize(chunk.len() * 2, 0);
        }
    }

    fn parse(words: &[u64], sp: u64) -> Option<Vectors> {
        let mut rest = words.iter().copied();
        let count = usize::try_from(rest.next()?).ok()?;
        let mut list = |wanted: Option<usize>| {
            let mut list = Vec::new();
            loop {
                match rest.next()? {
                    0 => return (wanted.is_none_or(|wanted| wanted == list.len())).then_some(list),
                    word => list.push(word),
                }
            }
        };
        let args = list(Some(count))?;
        let env = list(None)?;
        let mut aux = Vec::new();
        loop {
            match (rest.next()?, rest.next()?) {
                (0, _) => break,
                entry => aux.push(entry),
            }
        }
        let length = 1 + args.len() + 1 + env.len() + 1 + 2 * aux.len() + 2;
        Some(Vectors { args, env, aux, end: sp + length as u64 * 8 })
    }

    /// Changes an entry of the auxiliary vector; adds none, since programs see which there are.
    pub(super) fn set_aux(&mut self, key: u64, value: u64) {
        for entry in self.aux.iter_mut().filter(|entry| entry.0 == key) {
            entry.1 = value;
        }
    }
}

/// A stack that is being written, from the top down.
pub(super) struct Builder {
    /// Address of the first byte of `bytes`.
    bottom: u64,
    /// Filled from the back.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Builder {
    pub(super) fn new(top: u64) -> Builder {
        Builder { bottom: top, pieces: Vec::new() }
    }

    /// Puts bytes below everything so far; their address.
    pub(super) fn push(&mut self, bytes: Vec<u8>, align: u64) -> Option<u64> {
        self.bottom = self.bottom.checked_sub(bytes.len() as u64)? & !(align - 1);
        self.pieces.push((self.bottom, bytes));
        Some(self.bottom)
    }

    /// Leaves room.
    pub(super) fn skip(&mut self, bytes: u64) -> Option<()> {
        self.bottom = self.bottom.checked_sub(bytes)?;
        Some(())
    }

    /// Puts a string and its zero.
    pub(super) fn string(&mut self, text: &[u8]) -> Option<u64> {
        let mut bytes = text.to_vec();
        bytes.push(0);
        self.push(bytes, 1)
    }

    /// Puts words, aligned as a stack pointer must be.
    pub(super) fn words(&mut self, words: &[u64]) -> Option<u64> {
        self.push(words.iter().flat_map(|word| word.to_ne_bytes()).collect(), 16)
    }

    /// Writes it all.
    pub(super) fn write(&self, memory: &mut Memory) -> bool {
        self.pieces.iter().all(|(addr, bytes)| memory.write_all(*addr, bytes))
    }
}

/// Where the arguments' strings are: start and end.
pub(super) type Span = (u64, u64);

/// Replaces `argv[0]` by a script's prefix. The strings stay behind each other when they are not too long, for
/// `/proc/PID/cmdline`. Returns where they are now.
pub(super) fn apply_prefix(
    vectors: &mut Vectors,
    prefix: &[impl AsRef<[u8]>],
    memory: &mut Memory,
    builder: &mut Builder,
) -> Option<Span> {
    let start = vectors.args.first().copied().unwrap_or(vectors.end);
    let end = vectors
        .env
        .first()
        .copied()
        .unwrap_or_else(|| vectors.aux.iter().find(|entry| entry.0 == AT_EXECFN).map_or(start, |entry| entry.1));
    if prefix.is_empty() {
        return Some((start, end.max(start)));
    }
    let second = vectors.args.get(1).copied().unwrap_or(end);
    let tail = usize::try_from(end.checked_sub(second)?).ok()?;
    let mut args = Vec::new();
    let mut strings = Vec::new();
    for text in prefix {
        args.push(strings.len() as u64);
        strings.extend_from_slice(text.as_ref());
        strings.push(0);
    }
    let rest = vectors.args.get(1..).unwrap_or_default();
    let copied = if tail <= CONTIGUOUS_MAX { memory.read_exact(second, tail) } else { None };
    let offset = strings.len() as u64;
    if let Some(copied) = &copied {
        strings.extend_from_slice(copied);
    }
    let length = strings.len() as u64;
    let base = builder.push(strings, 1)?;
    args.iter_mut().for_each(|at| *at += base);
    match copied {
        Some(_) => args.extend(rest.iter().map(|at| at.wrapping_sub(second).wrapping_add(base + offset))),
        None => args.extend_from_slice(rest),
    }
    vectors.args = args;
    Some((base, base + length))
}

/// Puts the vectors; the new stack pointer. `execfn` is the address of that string.
pub(super) fn push_vectors(vectors: &mut Vectors, execfn: u64, builder: &mut Builder) -> Option<(u64, Span)> {
    vectors.set_aux(AT_EXECFN, execfn);
    let mut words = vec![vectors.args.len() as u64];
    words.extend(&vectors.args);
    words.push(0);
    words.extend(&vectors.env);
    words.push(0);
    let aux = words.len() as u64 * 8;
    words.extend(vectors.aux.iter().flat_map(|entry| [entry.0, entry.1]));
    words.extend([0, 0]);
    let aux_size = words.len() as u64 * 8 - aux;
    let sp = builder.words(&words)?;
    Some((sp, (sp + aux, aux_size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_vectors() {
        let words = [2, 100, 200, 0, 300, 0, AT_PHDR, 64, AT_EXECFN, 400, 0, 0, 99];
        let vectors = Vectors::parse(&words, 0x1000).unwrap();
        assert_eq!(vectors.args, [100, 200]);
        assert_eq!(vectors.env, [300]);
        assert_eq!(vectors.aux, [(AT_PHDR, 64), (AT_EXECFN, 400)]);
        assert_eq!(vectors.end, 0x1000 + 12 * 8);
        assert_eq!(Vectors::parse(&words[..11], 0x1000), None);
        assert_eq!(Vectors::parse(&[3, 100, 200, 0, 0, 0, 0], 0x1000), None);
    }

    #[test]
    fn rebuilds_vectors_in_place() {
        let words = [1, 100, 0, 300, 0, AT_ENTRY, 64, AT_EXECFN, 400, 0, 0];
        let mut vectors = Vectors::parse(&words, 0x1000).unwrap();
        let mut builder = Builder::new(vectors.end);
        let execfn = builder.string(b"/bin/true").unwrap();
        let (sp, aux) = push_vectors(&mut vectors, execfn, &mut builder).unwrap();
        assert_eq!(sp % 16, 0);
        assert!(sp + 11 * 8 <= execfn);
        assert_eq!(aux, (sp + 5 * 8, 48));
    }
}
