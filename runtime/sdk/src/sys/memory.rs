//! The program's own memory, as its calls name it. Reads of what is not there fail as in the kernel, by asking the kernel to copy.

use rsc_proto::table::marshal::MemoryReader;
use rsc_proto::table::nr;

use super::raw;

/// The memory of this process.
pub struct Own;

/// So many bytes that copying them by the kernel costs little beside a call that goes away.
fn copy(nr: u32, addr: u64, local: *mut u8, len: usize) -> usize {
    let here = libc::iovec { iov_base: local.cast(), iov_len: len };
    let there = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: len };
    let pid = raw::number(nr::GETPID, [0; 6]) as u64;
    let args = [pid, (&raw const here) as u64, 1, (&raw const there) as u64, 1, 0];
    // SAFETY: both vectors live; the kernel checks the addresses they name, and `local` is `len` bytes of ours.
    usize::try_from(unsafe { raw::call(nr, &args) }).unwrap_or(0)
}

/// Reads; how many bytes.
pub fn read(addr: u64, buf: &mut [u8]) -> usize {
    copy(nr::PROCESS_VM_READV, addr, buf.as_mut_ptr(), buf.len())
}

/// Writes; how many bytes.
pub fn write(addr: u64, data: &[u8]) -> usize {
    copy(nr::PROCESS_VM_WRITEV, addr, data.as_ptr().cast_mut(), data.len())
}

impl MemoryReader for Own {
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        read(addr, buf)
    }
}

/// Most descriptors of one call that are looked at.
const MOST: u64 = 1 << 16;

/// The descriptors of a poll(2).
pub fn polled(addr: u64, count: u64) -> impl Iterator<Item = i32> {
    (0..count.min(MOST)).map_while(move |at| {
        let mut fd = [0; 4];
        (read(addr + at * 8, &mut fd) == 4).then(|| i32::from_ne_bytes(fd))
    })
}

/// The descriptors of a set of select(2).
pub fn selected(addr: u64, count: u64) -> impl Iterator<Item = i32> {
    let count = if addr == 0 { 0 } else { count.min(MOST) };
    let mut bytes = vec![0; count.div_ceil(8) as usize];
    read(addr, &mut bytes);
    (0..count as usize)
        .filter(move |fd| bytes.get(fd / 8).is_some_and(|byte| byte & (1 << (fd % 8)) != 0))
        .filter_map(|fd| i32::try_from(fd).ok())
}

/// Two descriptors that a call has made.
pub fn pair(addr: u64) -> Vec<i32> {
    let mut both = [0; 8];
    if read(addr, &mut both) != 8 {
        return Vec::new();
    }
    both.chunks_exact(4).filter_map(|fd| Some(i32::from_ne_bytes(fd.try_into().ok()?))).collect()
}
