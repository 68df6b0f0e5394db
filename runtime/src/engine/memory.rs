//! A task's memory.

use nix::{
    sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev},
    unistd::Pid,
};
use rsc_proto::table::marshal::MemoryReader;
use std::io::{IoSlice, IoSliceMut};

/// The memory of one task, by its host tid.
pub(crate) struct Memory(pub(crate) i32);

impl MemoryReader for Memory {
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        let Ok(base) = usize::try_from(addr) else { return 0 };
        let remote = [RemoteIoVec { base, len: buf.len() }];
        process_vm_readv(Pid::from_raw(self.0), &mut [IoSliceMut::new(buf)], &remote).unwrap_or(0)
    }
}

impl Memory {
    /// Writes as much as is writable from `addr` on; how many bytes.
    pub(crate) fn write(&mut self, addr: u64, data: &[u8]) -> usize {
        let Ok(base) = usize::try_from(addr) else { return 0 };
        let remote = [RemoteIoVec { base, len: data.len() }];
        if data.is_empty() {
            return 0;
        }
        process_vm_writev(Pid::from_raw(self.0), &[IoSlice::new(data)], &remote).unwrap_or(0)
    }

    /// Writes all of it or says no.
    pub(crate) fn write_all(&mut self, addr: u64, data: &[u8]) -> bool {
        data.is_empty() || self.write(addr, data) == data.len()
    }

    /// Reads exactly so many bytes.
    pub(crate) fn read_exact(&mut self, addr: u64, len: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; len];
        (self.read(addr, &mut buffer) == len).then_some(buffer)
    }

    /// Reads one word.
    pub(crate) fn word(&mut self, addr: u64) -> Option<u64> {
        let mut word = [0; 8];
        (self.read(addr, &mut word) == 8).then(|| u64::from_ne_bytes(word))
    }
}
