//! Where a program and its interpreter go, and the loader's steps that put them there.

use super::procfs;
use crate::{
    jail::loader::{INTERPRETER_FD, PROGRAM_FD},
    platform::numbers,
};
use rsc_proto::abi::{
    PAGE_SIZE, TASK_SIZE,
    elf::{EHDR_SIZE, Elf, needed},
};
use std::{fs::File, os::fd::OwnedFd, os::unix::fs::FileExt};

/// Where the kernel puts relocatable programs, before randomisation.
const DYN_BASE: u64 = 0x5555_5555_4000;

/// One step of the loader's script; see `loader/loader.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Leaves for an address.
    Jump(u64),
    /// A call that must not fail.
    Must(u32, [u64; 6]),
    /// A call that may fail.
    May(u32, [u64; 6]),
    /// Zeroes bytes.
    Zero(u64, u64),
}

impl Step {
    pub(super) fn encode(self) -> [u64; 8] {
        let call = |op, nr: u32, [a, b, c, d, e, f]: [u64; 6]| [op, nr.into(), a, b, c, d, e, f];
        match self {
            Step::Jump(to) => [0, to, 0, 0, 0, 0, 0, 0],
            Step::Must(nr, args) => call(1, nr, args),
            Step::May(nr, args) => call(2, nr, args),
            Step::Zero(addr, len) => [3, 0, addr, len, 0, 0, 0, 0],
        }
    }

    /// The call in it.
    pub(super) fn call(self) -> Option<(u32, [u64; 6])> {
        match self {
            Step::Must(nr, args) | Step::May(nr, args) => Some((nr, args)),
            Step::Jump(_) | Step::Zero(..) => None,
        }
    }
}

/// Reads a file's headers. The error is what execve(2) returns.
pub(super) fn read_elf(file: OwnedFd) -> Result<(Elf, OwnedFd), i32> {
    let file = File::from(file);
    let mut bytes = Vec::new();
    let mut wanted = PAGE_SIZE;
    loop {
        let have = bytes.len();
        bytes.resize(usize::try_from(wanted).map_err(|_| libc::ENOEXEC)?, 0);
        let rest = bytes.get_mut(have..).unwrap_or_default();
        let mut filled = 0;
        while let Some(buffer) = rest.get_mut(filled..).filter(|buffer| !buffer.is_empty()) {
            match file.read_at(buffer, (have + filled) as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return Err(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        let complete = filled == rest.len();
        bytes.truncate(have + filled);
        if bytes.len() < EHDR_SIZE {
            return Err(libc::ENOEXEC);
        }
        let more = needed(&bytes).map_err(|error| error.errno().number())?;
        if !complete || more <= bytes.len() as u64 {
            break;
        }
        wanted = more;
    }
    let elf = Elf::parse(&bytes).map_err(|error| error.errno().number())?;
    Ok((elf, file.into()))
}

/// A program placed in the address space.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) bias: u64,
    pub(super) entry: u64,
    pub(super) phdr: u64,
    pub(super) phnum: u16,
    /// Code and data as `PR_SET_MM_MAP` wants them.
    pub(super) code: (u64, u64),
    pub(super) data: (u64, u64),
    /// End of its last page.
    pub(super) end: u64,
}

fn place(elf: &Elf, bias: u64) -> Placed {
    let at = |vaddr: u64| vaddr.wrapping_add(bias);
    let area = |write: bool| {
        let of_kind = || elf.segments.iter().filter(move |segment| segment.write == write);
        let start = of_kind().map(|segment| at(segment.vaddr)).min();
        let end = of_kind().map(|segment| at(segment.vaddr + segment.filesz)).max();
        start.zip(end)
    };
    let code = area(false).unwrap_or((at(elf.low()), at(elf.high())));
    Placed {
        bias,
        entry: at(elf.entry),
        phdr: elf.phdr_vaddr.map_or(0, at),
        phnum: elf.phnum,
        code,
        data: area(true).unwrap_or(code),
        end: at(elf.high()),
    }
}

/// Random bits for addresses; a fixed layout where the host has none to give.
pub(super) fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

const fn align_down(value: u64, align: u64) -> u64 {
    value & !(align - 1)
}

/// The program's place: its own address, or a random one where the kernel would put it.
pub(super) fn place_program(elf: &Elf) -> Placed {
    if !elf.relocatable {
        return place(elf, 0);
    }
    let base = DYN_BASE + (random() & 0xfff_ffff) * PAGE_SIZE;
    let bias = align_down(base, elf.align().min(1 << 30)).wrapping_sub(align_down(elf.low(), PAGE_SIZE));
    place(elf, bias)
}

/// The interpreter's place: below everything that the kernel has mapped, which it did at random.
pub(super) fn place_interpreter(elf: &Elf, tid: i32, program: &Placed) -> Option<Placed> {
    if !elf.relocatable {
        return Some(place(elf, 0));
    }
    let maps = procfs::mappings(tid)?;
    let lowest = maps.iter().filter(|(_, _, name)| name != "[stack]").map(|(start, ..)| *start).min()?;
    let base = align_down(lowest.checked_sub(elf.span())?, elf.align().min(1 << 30));
    // With an unlimited stack the kernel maps upwards from a third of the address space; it is free below that too.
    (base > program.end || base.checked_add(elf.span())? < program.bias).then_some(())?;
    Some(place(elf, base.wrapping_sub(elf.low())))
}

/// The steps that map a program's segments from a descriptor.
pub(super) fn map_steps(elf: &Elf, bias: u64, fd: u32, steps: &mut Vec<Step>) -> Option<()> {
    const ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let mut mapped_to = 0;
    for segment in &elf.segments {
        let start = segment.page_start().wrapping_add(bias);
        let vaddr = segment.vaddr.wrapping_add(bias);
        let file_end = vaddr.checked_add(segment.filesz)?;
        let end = vaddr.checked_add(segment.memsz)?;
        if start >= TASK_SIZE || end > TASK_SIZE {
            return None;
        }
        let mut prot = 0;
        for (wanted, bit) in
            [(segment.read, libc::PROT_READ), (segment.write, libc::PROT_WRITE), (segment.exec, libc::PROT_EXEC)]
        {
            prot |= if wanted { bit as u64 } else { 0 };
        }
        // Segments may share a page; anything else that is there already is not ours to replace.
        let fixed = if start < mapped_to { libc::MAP_FIXED } else { libc::MAP_FIXED_NOREPLACE } as u64;
        let round = |value: u64| value.checked_add(PAGE_SIZE - 1).map(|value| align_down(value, PAGE_SIZE));
        let file_pages = if segment.filesz == 0 { start } else { round(file_end)? };
        let pages = round(end)?;
        if file_pages > start {
            let offset = align_down(segment.offset, PAGE_SIZE);
            let flags = libc::MAP_PRIVATE as u64 | fixed;
            steps.push(Step::Must(numbers::MMAP, [start, file_pages - start, prot, flags, fd.into(), offset]));
            if segment.write && end > file_end && file_pages > file_end {
                steps.push(Step::Zero(file_end, file_pages - file_end));
            }
        }
        if pages > file_pages {
            let flags = ANONYMOUS | fixed;
            steps
                .push(Step::Must(numbers::MMAP, [file_pages, pages - file_pages, prot, flags, u64::from(u32::MAX), 0]));
        }
        mapped_to = mapped_to.max(pages);
    }
    Some(())
}

/// Descriptors' numbers by role.
pub(super) const FDS: (u32, u32) = (PROGRAM_FD, INTERPRETER_FD);
