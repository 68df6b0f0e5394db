//! A compute host that is half memory, half liar: any answer which a hostile supervisor could give.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::Errno;
use rsc_proto::table::marshal::MemoryReader;

use super::super::file::{Fut, ready};
use super::super::host::ComputeHost;
use super::Random;

/// Where the memory begins.
pub(super) const BASE: u64 = 0x10_0000;
/// How much there is.
pub(super) const SIZE: usize = 64 << 10;
/// More is never asked for at once.
const ASK_MAX: u32 = 1 << 20;

pub(super) struct HostileHost {
    r: Rc<Random>,
    pub(super) memory: RefCell<Vec<u8>>,
    /// Arena files and their sizes.
    pub(super) arena: RefCell<BTreeMap<u64, u64>>,
}

impl HostileHost {
    pub(super) fn new(r: Rc<Random>) -> Rc<Self> {
        Rc::new(Self { r, memory: RefCell::new(vec![0; SIZE]), arena: RefCell::default() })
    }

    /// Writes as far as there is memory; how much.
    pub(super) fn store(&self, addr: u64, data: &[u8]) -> usize {
        let mut memory = self.memory.borrow_mut();
        let Some(room) = addr.checked_sub(BASE).and_then(|at| memory.get_mut(at as usize..)) else { return 0 };
        let len = room.len().min(data.len());
        room[..len].copy_from_slice(&data[..len]);
        len
    }

    fn load(&self, addr: u64, len: usize) -> Bytes {
        let memory = self.memory.borrow();
        let rest = addr.checked_sub(BASE).and_then(|at| memory.get(at as usize..)).unwrap_or_default();
        Bytes::copy_from_slice(&rest[..rest.len().min(len)])
    }

    /// An error now and then.
    fn fails(&self) -> Option<Errno> {
        self.r
            .one_in(10)
            .then(|| *self.r.pick(&[Errno::EIO, Errno::EAGAIN, Errno::EPIPE, Errno::EINVAL, Errno::ENOSPC]))
    }

    fn garbage(&self, most: usize) -> Bytes {
        (0..self.r.below(most + 1)).map(|_| self.r.next() as u8).collect()
    }
}

impl MemoryReader for &HostileHost {
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        let data = self.load(addr, buf.len());
        buf[..data.len()].copy_from_slice(&data);
        data.len()
    }
}

impl ComputeHost for HostileHost {
    fn read_memory(&self, _: u32, addr: u64, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        assert!(len <= ASK_MAX);
        let data = self.load(addr, len as usize);
        ready(if data.is_empty() { Err(Errno::EFAULT) } else { Ok(data) })
    }

    fn write_memory(&self, _: u32, addr: u64, data: Bytes) -> Fut<'_, Result<u64, Errno>> {
        assert!(data.len() <= ASK_MAX as usize);
        ready(Ok(self.store(addr, &data) as u64))
    }

    fn stdio_read(&self, _: u32, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        assert!(len <= ASK_MAX);
        // More than was asked for, too.
        ready(self.fails().map_or_else(|| Ok(self.garbage(len.min(5000) as usize + 10)), Err))
    }

    fn stdio_write(&self, _: u32, data: Bytes) -> Fut<'_, Result<u64, Errno>> {
        let taken = if self.r.one_in(10) { self.r.number() } else { data.len() as u64 };
        ready(self.fails().map_or(Ok(taken), Err))
    }

    fn stdio_poll(&self, _: u32, events: u32, wait: bool) -> Fut<'_, Result<u32, Errno>> {
        if wait && !self.r.one_in(4) {
            return Box::pin(std::future::pending());
        }
        let found = if self.r.one_in(4) { self.r.next() as u32 } else { events & 5 };
        ready(self.fails().map_or(Ok(found), Err))
    }

    fn stdio_ioctl(&self, _: u32, _: u32, _: Bytes) -> Fut<'_, Result<Bytes, Errno>> {
        ready(self.fails().map_or_else(|| Ok(self.garbage(60)), Err))
    }

    fn send_signal(&self, _: u32, _: u32, sig: u32) -> Fut<'_, Result<(), Errno>> {
        assert!(sig <= 64);
        ready(self.fails().map_or(Ok(()), Err))
    }

    fn proc_info(&self, _: u32, what: &str) -> Fut<'_, Result<Bytes, Errno>> {
        assert!(!what.contains('/') && !what.contains('\0'));
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 4242 0 0 18446744073709551615 1 1 0 0 0 0 0 0 0\n";
        let text: &[u8] = match self.r.below(4) {
            0 => stat.as_bytes(),
            1 => b"Name:\tx\nState:\tS (sleeping)\nPid:\t7\nVmPeak:\t  10 kB\nThreads:\t99999999999999999999\n",
            2 => b"00400000-00452000 r-xp 00000000 08:02 173521 /memfd:arena-1 (deleted)\nffffffffff-0 rwxp\n-\n",
            _ => return ready(self.fails().map_or_else(|| Ok(self.garbage(600)), Err)),
        };
        let cut = if self.r.one_in(3) { self.r.below(text.len()) } else { text.len() };
        ready(Ok(Bytes::copy_from_slice(&text[..cut])))
    }

    fn arena_open(&self, file: u64, size: u64) -> Fut<'_, Result<(), Errno>> {
        if let Some(error) = self.fails() {
            return ready(Err(error));
        }
        self.arena.borrow_mut().insert(file, size);
        ready(Ok(()))
    }

    fn arena_write(&self, file: u64, offset: u64, data: Bytes) -> Fut<'_, Result<(), Errno>> {
        let size = self.arena.borrow().get(&file).copied();
        let fits = size.is_some_and(|size| offset.checked_add(data.len() as u64).is_some_and(|end| end <= size));
        assert!(fits && data.len() <= ASK_MAX as usize, "{} bytes at {offset} of an arena of {size:?}", data.len());
        ready(self.fails().map_or(Ok(()), Err))
    }

    fn arena_read(&self, _: u64, _: u64, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        assert!(len <= ASK_MAX);
        ready(self.fails().map_or_else(|| Ok(self.garbage(len.min(5000) as usize + 10)), Err))
    }

    fn arena_close(&self, file: u64) {
        self.arena.borrow_mut().remove(&file);
    }
}
