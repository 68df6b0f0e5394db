//! ELF headers of programs that a workload executes.

use crate::{fuzz, within};
use rsc_proto::abi::elf::{Elf, ElfError, PHNUM_MAX, needed};
use rsc_proto::abi::{PAGE_SIZE, PATH_MAX, TASK_SIZE};

/// A program with an interpreter, a segment of text, one of data, and a table of headers that may lie anywhere.
fn sample() -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    let half = |out: &mut Vec<u8>, n: u16| out.extend(n.to_le_bytes());
    let word = |out: &mut Vec<u8>, n: u32| out.extend(n.to_le_bytes());
    let long = |out: &mut Vec<u8>, n: u64| out.extend(n.to_le_bytes());
    half(&mut out, 3);
    half(&mut out, 62);
    word(&mut out, 1);
    for n in [0x1040, 64, 0] {
        long(&mut out, n);
    }
    word(&mut out, 0);
    for n in [64, 56, 5, 64, 0, 0] {
        half(&mut out, n);
    }
    let interp = 64 + 5 * 56;
    for (kind, flags, offset, addr, filesz, memsz) in [
        (6, 4, 64, 64, 280, 280),
        (3, 4, interp, interp, 12, 12),
        (1, 5, 0, 0, 0x1800, 0x1800),
        (1, 6, 0x1800, 0x2800, 0x100, 0x900),
        (0x6474_e551, 6, 0, 0, 0, 0u64),
    ] {
        word(&mut out, kind);
        word(&mut out, flags);
        for n in [offset, addr, addr, filesz, memsz, 4096] {
            long(&mut out, n);
        }
    }
    out.extend(b"/lib/ld.so.1\0");
    let at = out.len() - 13;
    out[at + 11] = 0;
    out.truncate(at + 12);
    out
}

fn check(bytes: &[u8]) -> Result<Elf, ElfError> {
    if let Ok(len) = within(0, || needed(bytes)) {
        assert!(len <= 1 << 20);
    }
    // 64 bytes for each header of 56, and what a growing vector wastes.
    let elf = within(16_384 + 4 * bytes.len(), || Elf::parse(bytes))?;
    assert!(!elf.segments.is_empty() && elf.segments.len() <= usize::from(PHNUM_MAX));
    assert!(elf.interp.as_ref().is_none_or(|path| !path.is_empty() && path.len() < PATH_MAX && !path.contains(&0)));
    for segment in &elf.segments {
        assert!(segment.filesz <= segment.memsz);
        assert!(segment.vaddr + segment.memsz <= TASK_SIZE);
        assert!(segment.page_start() <= segment.vaddr && segment.page_end() <= TASK_SIZE + PAGE_SIZE);
        assert!(segment.filesz == 0 || segment.offset % PAGE_SIZE == segment.vaddr % PAGE_SIZE);
        assert!(i64::try_from(segment.offset + segment.filesz).is_ok());
        assert!(segment.align == 0 || segment.align.is_power_of_two());
    }
    assert!(elf.low() <= elf.high() && elf.span() <= TASK_SIZE + PAGE_SIZE && elf.align() >= PAGE_SIZE);
    Ok(elf)
}

#[test]
fn headers() {
    assert!(check(&sample()).unwrap().interp.is_some());
    fuzz("elf::headers", 20_000, |r| {
        let mut bytes = sample();
        if r.one_in(3) {
            bytes.resize(bytes.len() + r.below(300), r.next() as u8);
        }
        r.damage(&mut bytes);
        if r.one_in(2) {
            // A number in one of the headers' fields, where it hurts more than anywhere.
            let at = (r.below(16 + 5 * 7) * 8).min(bytes.len().saturating_sub(8));
            if let Some(field) = bytes.get_mut(at..at + 8) {
                field.copy_from_slice(&r.number().to_le_bytes());
            }
        }
        let _ = check(&bytes);
    });
}

/// As many headers as the kernel allows, and more.
#[test]
fn many_headers() {
    fuzz("elf::many_headers", 100, |r| {
        let count = r.below(1300) as u16;
        let mut bytes = sample()[..64].to_vec();
        bytes[56..58].copy_from_slice(&count.to_le_bytes());
        let header = sample()[64 + 2 * 56..64 + 3 * 56].to_vec();
        for _ in 0..count {
            bytes.extend(&header);
        }
        let valid = (1..=PHNUM_MAX).contains(&count);
        assert_eq!(check(&bytes).is_ok(), valid, "{count}");
        r.damage(&mut bytes);
        let _ = check(&bytes);
    });
}
