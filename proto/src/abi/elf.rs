//! A small ELF64 reader for x86-64: what exec and the loader need and nothing else.
//!
//! Works on the first bytes of a file. Nothing is believed: every offset is checked against what is there, counts are bounded,
//! sums cannot overflow. The kernel's own rules (`fs/binfmt_elf.c`) decide what is an error and which `Errno` it is.

use super::{Errno, PAGE_SIZE, PATH_MAX, TASK_SIZE, linux::parse};

macro_rules! headers {
    ($($size:literal $name:ident { $($field:ident: $ty:ty,)* })*) => { $(
        #[derive(Clone, Copy, Debug, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        #[repr(C)]
        struct $name { $($field: $ty,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    )* };
}

headers! {
    64 Elf64Ehdr {
        e_ident: [u8; 16], e_type: u16, e_machine: u16, e_version: u32, e_entry: u64, e_phoff: u64, e_shoff: u64, e_flags: u32,
        e_ehsize: u16, e_phentsize: u16, e_phnum: u16, e_shentsize: u16, e_shnum: u16, e_shstrndx: u16,
    }
    56 Elf64Phdr {
        p_type: u32, p_flags: u32, p_offset: u64, p_vaddr: u64, p_paddr: u64, p_filesz: u64, p_memsz: u64, p_align: u64,
    }
}

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// Size of the file header.
pub const EHDR_SIZE: usize = 64;
/// Size of a program header.
pub const PHDR_SIZE: usize = 56;
/// Most program headers: the kernel allows 64 KiB of them.
pub const PHNUM_MAX: u16 = (65536 / PHDR_SIZE) as u16;

/// Why a file is not a program that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The magic number is missing.
    #[error("not an ELF file")]
    NotElf,
    /// Fewer bytes than the headers say.
    #[error("the file ends within its headers")]
    Truncated,
    /// 32-bit, big-endian, or another machine.
    #[error("not for x86-64")]
    WrongMachine,
    /// Neither `ET_EXEC` nor `ET_DYN`.
    #[error("neither an executable nor a shared object")]
    WrongType,
    /// The size of a program header is not 56, or there are none or too many.
    #[error("malformed table of program headers")]
    BadHeaders,
    /// A path of an interpreter that is empty, too long or without a terminating zero.
    #[error("malformed PT_INTERP")]
    BadInterp,
    /// A segment that is out of the address space, overflows, or has more bytes in the file than in memory.
    #[error("malformed segment")]
    BadSegment,
    /// No `PT_LOAD`.
    #[error("nothing to load")]
    NoSegments,
}

impl ElfError {
    /// What execve(2) returns for it.
    pub const fn errno(self) -> Errno {
        match self {
            ElfError::BadSegment => Errno::EINVAL,
            _ => Errno::ENOEXEC,
        }
    }
}

/// One `PT_LOAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its bytes are in the file.
    pub offset: u64,
    /// Address, before the load bias.
    pub vaddr: u64,
    /// Bytes from the file.
    pub filesz: u64,
    /// Bytes in memory; those after `filesz` are zero.
    pub memsz: u64,
    /// Wanted alignment, a power of two or 0.
    pub align: u64,
    /// `PF_R`.
    pub read: bool,
    /// `PF_W`.
    pub write: bool,
    /// `PF_X`.
    pub exec: bool,
}

impl Segment {
    /// First page.
    pub const fn page_start(&self) -> u64 {
        self.vaddr & !(PAGE_SIZE - 1)
    }

    /// End of the last page in memory. Cannot overflow: segments end below `TASK_SIZE`.
    pub const fn page_end(&self) -> u64 {
        (self.vaddr + self.memsz + PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
    }
}

/// What is to be known of a program or an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// `ET_DYN`: may be loaded anywhere.
    pub relocatable: bool,
    /// Entry point, before the load bias.
    pub entry: u64,
    /// Offset of the program headers in the file.
    pub phoff: u64,
    /// Number of program headers.
    pub phnum: u16,
    /// Address of the program headers in memory before the bias (`AT_PHDR`), when a segment holds them.
    pub phdr_vaddr: Option<u64>,
    /// Path of the interpreter, without its zero.
    pub interp: Option<Vec<u8>>,
    /// `PT_LOAD`s in the file's order; at least one.
    pub segments: Vec<Segment>,
    /// `PT_GNU_STACK`: `Some(true)` executable, `Some(false)` not, `None` not said.
    pub exec_stack: Option<bool>,
}

impl Elf {
    /// Reads the headers from `bytes`, the beginning of a file (4 KiB suffice in practice).
    ///
    /// `Truncated` means: more bytes are wanted (see [`needed`]) or, when these are all, the file is broken.
    pub fn parse(bytes: &[u8]) -> Result<Elf, ElfError> {
        let header = header(bytes)?;
        let mut elf = Elf {
            relocatable: header.e_type == 3,
            entry: header.e_entry,
            phoff: header.e_phoff,
            phnum: header.e_phnum,
            phdr_vaddr: None,
            interp: None,
            segments: Vec::new(),
            exec_stack: None,
        };
        for index in 0..header.e_phnum {
            let ph = program_header(bytes, &header, index)?;
            match ph.p_type {
                PT_LOAD => elf.segments.push(segment(&ph)?),
                PT_PHDR => elf.phdr_vaddr = elf.phdr_vaddr.or(Some(ph.p_vaddr)),
                // Only the first counts, as in the kernel.
                PT_INTERP if elf.interp.is_none() => elf.interp = Some(interp(bytes, &ph)?),
                PT_GNU_STACK => elf.exec_stack = Some(ph.p_flags & 1 != 0),
                _ => {}
            }
        }
        if elf.segments.is_empty() {
            return Err(ElfError::NoSegments);
        }
        // The kernel finds AT_PHDR through the segment that holds the table; PT_PHDR is only a fallback here.
        elf.phdr_vaddr = elf
            .segments
            .iter()
            .find(|s| s.offset <= elf.phoff && elf.phoff - s.offset < s.filesz)
            .map(|s| s.vaddr + (elf.phoff - s.offset))
            .or(elf.phdr_vaddr);
        Ok(elf)
    }

    /// Lowest page that the program takes, before the bias.
    pub fn low(&self) -> u64 {
        self.segments.iter().map(Segment::page_start).min().unwrap_or(0)
    }

    /// End of the highest page that the program takes, before the bias.
    pub fn high(&self) -> u64 {
        self.segments.iter().map(Segment::page_end).max().unwrap_or(0)
    }

    /// Bytes of address space that a mapping of the whole takes.
    pub fn span(&self) -> u64 {
        self.high().saturating_sub(self.low())
    }

    /// The largest wanted alignment, at least a page.
    pub fn align(&self) -> u64 {
        self.segments.iter().map(|s| s.align).max().unwrap_or(0).max(PAGE_SIZE)
    }
}

/// How many of a file's first bytes [`Elf::parse`] wants, told from its first `EHDR_SIZE` bytes on; never more than 1 MiB.
/// The path of the interpreter may lie further back: then the answer grows once the program headers are given.
pub fn needed(bytes: &[u8]) -> Result<u64, ElfError> {
    const LIMIT: u64 = 1 << 20;
    let header = header(bytes)?;
    let table = header.e_phoff.saturating_add(u64::from(header.e_phnum) * PHDR_SIZE as u64);
    let mut end = table;
    if bytes.len() as u64 >= table {
        for index in 0..header.e_phnum {
            let ph = program_header(bytes, &header, index)?;
            if ph.p_type == PT_INTERP {
                end = end.max(ph.p_offset.saturating_add(ph.p_filesz));
                break;
            }
        }
    }
    if end > LIMIT { Err(ElfError::BadHeaders) } else { Ok(end) }
}

/// Whether bytes begin like an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

fn header(bytes: &[u8]) -> Result<Elf64Ehdr, ElfError> {
    if !is_elf(bytes) {
        return Err(ElfError::NotElf);
    }
    let header: Elf64Ehdr = parse(bytes).ok_or(ElfError::Truncated)?;
    let [_, _, _, _, class, order, ..] = header.e_ident;
    if class != 2 || order != 1 || header.e_machine != 62 {
        return Err(ElfError::WrongMachine);
    }
    if !matches!(header.e_type, 2 | 3) {
        return Err(ElfError::WrongType);
    }
    if usize::from(header.e_phentsize) != PHDR_SIZE || header.e_phnum == 0 || header.e_phnum > PHNUM_MAX {
        return Err(ElfError::BadHeaders);
    }
    Ok(header)
}

fn program_header(bytes: &[u8], header: &Elf64Ehdr, index: u16) -> Result<Elf64Phdr, ElfError> {
    let start = usize::try_from(header.e_phoff)
        .ok()
        .and_then(|offset| offset.checked_add(usize::from(index) * PHDR_SIZE))
        .ok_or(ElfError::Truncated)?;
    bytes.get(start..).and_then(parse).ok_or(ElfError::Truncated)
}

fn segment(ph: &Elf64Phdr) -> Result<Segment, ElfError> {
    let end = ph.p_vaddr.checked_add(ph.p_memsz).ok_or(ElfError::BadSegment)?;
    let file_end = ph.p_offset.checked_add(ph.p_filesz).ok_or(ElfError::BadSegment)?;
    if end > TASK_SIZE || ph.p_filesz > ph.p_memsz || i64::try_from(file_end).is_err() {
        return Err(ElfError::BadSegment);
    }
    // A file page can only be mapped at an address with the same offset within a page.
    if ph.p_filesz > 0 && ph.p_offset % PAGE_SIZE != ph.p_vaddr % PAGE_SIZE {
        return Err(ElfError::BadSegment);
    }
    Ok(Segment {
        offset: ph.p_offset,
        vaddr: ph.p_vaddr,
        filesz: ph.p_filesz,
        memsz: ph.p_memsz,
        // The kernel ignores alignments that are no power of two.
        align: if ph.p_align.is_power_of_two() { ph.p_align } else { 0 },
        read: ph.p_flags & 4 != 0,
        write: ph.p_flags & 2 != 0,
        exec: ph.p_flags & 1 != 0,
    })
}

fn interp(bytes: &[u8], ph: &Elf64Phdr) -> Result<Vec<u8>, ElfError> {
    if ph.p_filesz < 2 || ph.p_filesz > PATH_MAX as u64 {
        return Err(ElfError::BadInterp);
    }
    let end = ph.p_offset.checked_add(ph.p_filesz).ok_or(ElfError::BadInterp)?;
    let range = usize::try_from(ph.p_offset).ok().zip(usize::try_from(end).ok()).ok_or(ElfError::Truncated)?;
    let text = bytes.get(range.0..range.1).ok_or(ElfError::Truncated)?;
    match text.split_last() {
        Some((0, path)) => {
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            if path.is_empty() { Err(ElfError::BadInterp) } else { Ok(path.to_vec()) }
        }
        _ => Err(ElfError::BadInterp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    fn sample() -> Vec<u8> {
        let mut ident = [0; 16];
        ident[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let header = Elf64Ehdr {
            e_ident: ident,
            e_type: 3,
            e_machine: 62,
            e_version: 1,
            e_entry: 0x1040,
            e_phoff: 64,
            e_shoff: 0,
            e_flags: 0,
            e_ehsize: 64,
            e_phentsize: 56,
            e_phnum: 3,
            e_shentsize: 0,
            e_shnum: 0,
            e_shstrndx: 0,
        };
        let ph = |p_type, p_flags, p_offset, p_vaddr, p_filesz, p_memsz| Elf64Phdr {
            p_type,
            p_flags,
            p_offset,
            p_vaddr,
            p_paddr: 0,
            p_filesz,
            p_memsz,
            p_align: 4096,
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(ph(PT_INTERP, 4, 232, 232, 8, 8).as_bytes());
        bytes.extend(ph(PT_LOAD, 5, 0, 0, 0x2000, 0x2000).as_bytes());
        bytes.extend(ph(PT_GNU_STACK, 6, 0, 0, 0, 0).as_bytes());
        bytes.extend(b"/lib/ld\0");
        bytes
    }

    #[test]
    fn reads_a_program() {
        let bytes = sample();
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.interp.as_deref(), Some(&b"/lib/ld"[..]));
        assert_eq!(elf.phdr_vaddr, Some(64));
        assert_eq!(elf.exec_stack, Some(false));
        assert!(elf.relocatable && elf.segments[0].exec && !elf.segments[0].write);
        assert_eq!(elf.span(), 0x2000);
        assert_eq!(needed(&bytes), Ok(240));
        assert_eq!(needed(&bytes[..64]), Ok(232));
        for len in 0..bytes.len() {
            assert!(Elf::parse(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn reads_this_very_program() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::parse(&bytes[..4096]).unwrap();
        assert!(elf.segments.len() >= 2 && elf.interp.is_some());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Elf::parse(&bytes);
            let _ = needed(&bytes);
        }

        #[test]
        fn damaged_programs(at in 4usize..240, byte: u8, more in 0usize..3) {
            let mut bytes = sample();
            bytes[at] = byte;
            bytes[(at * 7 + more) % 240] ^= byte;
            if let Ok(elf) = Elf::parse(&bytes) {
                let _ = (elf.low(), elf.high(), elf.span(), elf.align());
                for segment in &elf.segments {
                    prop_assert!(segment.page_end() <= TASK_SIZE + PAGE_SIZE);
                }
            }
            let _ = needed(&bytes);
        }
    }
}
