//! The crate's only `unsafe`: bpf(2), and the shared memory of a ring buffer.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const PROG_LOAD: i32 = 5;
const RAW_TRACEPOINT_OPEN: i32 = 17;
const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

/// Map types that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MapKind {
    Hash = 1,
    PerCpuArray = 6,
    LruHash = 9,
    Ring = 27,
}

/// What the kernel takes of `union bpf_attr`; the rest is zero.
const ATTR: usize = 120;

fn bpf(command: i32, attr: &mut [u64; ATTR / 8]) -> nix::Result<i32> {
    // SAFETY: `attr` has the size that is given; the pointers in it are of slices that the callers hold until this returns.
    let value = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), ATTR) };
    Errno::result(value).map(|value| i32::try_from(value).unwrap_or(-1))
}

fn descriptor(value: i32) -> OwnedFd {
    // SAFETY: bpf(2) has just returned it, close-on-exec, to nobody else.
    unsafe { OwnedFd::from_raw_fd(value) }
}

/// Two 32-bit fields in a row.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address(data: &[u8]) -> u64 {
    data.as_ptr().addr() as u64
}

pub(crate) fn map_create(kind: MapKind, key: u32, value: u32, entries: u32) -> nix::Result<OwnedFd> {
    let mut attr = [0; ATTR / 8];
    (attr[0], attr[1]) = (pair(kind as u32, key), pair(value, entries));
    bpf(MAP_CREATE, &mut attr).map(descriptor)
}

fn element(map: BorrowedFd<'_>, key: &[u8], value: u64) -> [u64; ATTR / 8] {
    let mut attr = [0; ATTR / 8];
    (attr[0], attr[1], attr[2]) = (pair(number(map), 0), address(key), value);
    attr
}

/// Maps whose keys are 4 or 8 bytes and whose values are 8 bytes, as all of ours are.
pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: u64) -> nix::Result<()> {
    let value = value.to_ne_bytes();
    bpf(MAP_UPDATE_ELEM, &mut element(map, key, address(&value))).map(drop)
}

pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8]) -> nix::Result<u64> {
    let mut value = 0u64;
    let to = (&raw mut value).expose_provenance() as u64;
    bpf(MAP_LOOKUP_ELEM, &mut element(map, key, to))?;
    Ok(value)
}

pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> nix::Result<()> {
    bpf(MAP_DELETE_ELEM, &mut element(map, key, 0)).map(drop)
}

/// Loads a program. If it is refused, `log` has the verifier's words.
pub(crate) fn program_load(code: &[u8], log: Option<&mut [u8]>) -> nix::Result<OwnedFd> {
    let license = b"Dual MIT/GPL\0";
    let mut attr = [0; ATTR / 8];
    let count = u32::try_from(code.len() / 8).map_err(|_| Errno::E2BIG)?;
    (attr[0], attr[1], attr[2]) = (pair(PROG_TYPE_RAW_TRACEPOINT, count), address(code), address(license));
    if let Some(log) = log {
        let size = u32::try_from(log.len()).map_err(|_| Errno::EINVAL)?;
        (attr[3], attr[4]) = (pair(1, size), log.as_mut_ptr().expose_provenance() as u64);
    }
    bpf(PROG_LOAD, &mut attr).map(descriptor)
}

/// Attaches a program to a raw tracepoint for as long as the result is open.
pub(crate) fn raw_tracepoint_open(name: &std::ffi::CStr, program: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let mut attr = [0; ATTR / 8];
    (attr[0], attr[1]) = (address(name.to_bytes_with_nul()), pair(number(program), 0));
    bpf(RAW_TRACEPOINT_OPEN, &mut attr).map(descriptor)
}

/// The reading side of a ring buffer: a page with our place, then one with the kernel's, then the records, mapped twice in a row so
/// that none is cut. Documentation/bpf/ringbuf.rst.
#[derive(Debug)]
pub(crate) struct Ring {
    place: NonNull<libc::c_void>,
    records: NonNull<libc::c_void>,
    page: usize,
    size: usize,
}

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

impl Ring {
    /// `size` is that of the map.
    pub(crate) fn map(map: BorrowedFd<'_>, size: usize) -> nix::Result<Ring> {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
        let page = page.and_then(|page| usize::try_from(page).ok()).unwrap_or(4096);
        let len = |bytes: usize| NonZeroUsize::new(bytes).ok_or(Errno::EINVAL);
        let (read, write, shared) = (ProtFlags::PROT_READ, ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        let offset = i64::try_from(page).map_err(|_| Errno::EINVAL)?;
        // SAFETY: fresh mappings at addresses of the kernel's choice.
        let place = unsafe { mmap(None, len(page)?, read | write, shared, map, 0) }?;
        // SAFETY: likewise.
        let records = unsafe { mmap(None, len(page + 2 * size)?, read, shared, map, offset) };
        let records = records.inspect_err(|_| {
            // SAFETY: mapped above, and nobody knows it.
            let _ = unsafe { munmap(place, page) };
        })?;
        Ok(Ring { place, records, page, size })
    }

    /// Takes the next record, if there is one.
    pub(crate) fn next<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        // SAFETY: the mapping begins with this word, aligned as a page is, and lives as long as `self`; the kernel only reads it.
        let ours = unsafe { self.place.cast::<AtomicU64>().as_ref() };
        // SAFETY: likewise; the kernel only writes it, as an aligned word.
        let theirs = unsafe { self.records.cast::<AtomicU64>().as_ref() };
        loop {
            let at = ours.load(Ordering::Relaxed);
            if at >= theirs.load(Ordering::Acquire) {
                return None;
            }
            let within = usize::try_from(at).ok()? & (self.size - 1);
            // SAFETY: `within` is less than `size`, a multiple of 8, and `page + 2 * size` bytes are mapped.
            let header = unsafe { self.records.byte_add(self.page + within).cast::<AtomicU32>().as_ref() };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let len = usize::try_from(header & !DISCARDED).ok()?.min(self.size - 8);
            // SAFETY: at most `size` bytes from `within` on are in the double mapping. The kernel has finished this record, and does
            // not write there again before our place has moved on.
            let record = unsafe {
                std::slice::from_raw_parts(self.records.byte_add(self.page + within + 8).cast::<u8>().as_ptr(), len)
            };
            let next = at + (len as u64 + 8).next_multiple_of(8);
            if header & DISCARDED != 0 {
                ours.store(next, Ordering::Release);
                continue;
            }
            let taken = read(record);
            ours.store(next, Ordering::Release);
            return Some(taken);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with these sizes; no reference outlives `self`.
        let _ = unsafe { (munmap(self.place, self.page), munmap(self.records, self.page + 2 * self.size)) };
    }
}
