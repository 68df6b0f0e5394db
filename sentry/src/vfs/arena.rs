//! A file's copy at the compute host, which mappings see: one memfd per inode and sandbox, filled before it is mapped.
//!
//! Ranges that were filled are kept equal to the file: the sentry's writes go to both. Once a shared writable mapping was granted
//! the copy is the truth for its filled ranges (the workload writes there without telling), so reads are answered from it, and
//! `sync` writes it back. Whole pages only; nothing is ever emptied, because `munmap` is not told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use rsc_proto::abi::{Errno, PAGE_SIZE};
use rsc_proto::v1::{FileSource, file_source};

use crate::kernel::host::ComputeHost;

/// Bytes of one request.
const PIECE: u64 = 1 << 20;
/// Files up to this size are filled as a whole: the next mapping of them asks nothing, and mremap(2) may grow.
const WHOLE: u64 = 8 << 20;

thread_local! {
    static NEXT_FILE: Cell<u64> = const { Cell::new(1) };
}

/// A number for a file of this process, the arena's key.
pub fn new_file_number() -> u64 {
    NEXT_FILE.with(|n| n.replace(n.get() + 1))
}

/// Where the bytes of a file come from and go to: what a file system implements to be mapped through the arena.
pub trait Backing {
    /// Reads at `offset`; short only at the end.
    fn fetch(&self, offset: u64, len: usize) -> impl Future<Output = Result<Bytes, Errno>>;
    /// Writes back at `offset`.
    fn store(&self, offset: u64, data: Bytes) -> impl Future<Output = Result<(), Errno>>;
}

/// See the module's text.
pub struct ArenaFile {
    host: Rc<dyn ComputeHost>,
    /// The arena's key.
    pub number: u64,
    open: Cell<bool>,
    size: Cell<u64>,
    shared: Cell<bool>,
    /// Filled ranges: start to end, page-aligned, apart from each other.
    filled: RefCell<BTreeMap<u64, u64>>,
    /// Held while the copy is filled or written back.
    busy: tokio::sync::Mutex<()>,
}

impl ArenaFile {
    /// A file that has no copy yet.
    pub fn new(host: Rc<dyn ComputeHost>) -> Self {
        Self {
            host,
            number: new_file_number(),
            open: Cell::new(false),
            size: Cell::new(0),
            shared: Cell::new(false),
            filled: RefCell::default(),
            busy: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether there is a copy.
    pub fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Whether the workload may write to the copy.
    pub fn is_shared(&self) -> bool {
        self.shared.get()
    }

    fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let filled = self.filled.borrow();
        let mut at = start;
        let mut out = Vec::new();
        let before = filled.range(..start).next_back().filter(|(_, e)| **e > start);
        for (s, e) in before.into_iter().chain(filled.range(start..end)) {
            if *s > at {
                out.push((at, *s));
            }
            at = at.max(*e);
        }
        if at < end {
            out.push((at, end));
        }
        out
    }

    fn present(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let filled = self.filled.borrow();
        let before = filled.range(..start).next_back().filter(|(_, e)| **e > start);
        before
            .into_iter()
            .chain(filled.range(start..end))
            .map(|(s, e)| (start.max(*s), end.min(*e)))
            .filter(|(s, e)| s < e)
            .collect()
    }

    fn mark(&self, start: u64, end: u64) {
        let mut filled = self.filled.borrow_mut();
        let (mut start, mut end) = (start, end);
        let touching: Vec<u64> = filled.range(..=end).filter(|(_, e)| **e >= start).map(|(s, _)| *s).collect();
        for s in touching {
            if let Some(e) = filled.remove(&s) {
                start = start.min(s);
                end = end.max(e);
            }
        }
        filled.insert(start, end);
    }

    /// Makes a range present and says where it is.
    pub async fn map(
        &self,
        backing: &impl Backing,
        size: u64,
        from: u64,
        len: u64,
        shared: bool,
    ) -> Result<FileSource, Errno> {
        let _busy = self.busy.lock().await;
        if !self.open.get() || self.size.get() != size {
            self.host.arena_open(self.number, size).await?;
            self.open.set(true);
            self.size.set(size);
        }
        let (from, len) = if size <= WHOLE { (0, size) } else { (from, len) };
        let start = from & !(PAGE_SIZE - 1);
        let end = from.saturating_add(len).min(size).next_multiple_of(PAGE_SIZE);
        if start < end {
            for (s, e) in self.missing(start, end) {
                self.fill(backing, s, e.min(size)).await?;
                self.mark(s, e);
            }
        }
        if shared {
            self.shared.set(true);
        }
        Ok(FileSource { file: self.number, size, from: Some(file_source::From::Arena(true)) })
    }

    async fn fill(&self, backing: &impl Backing, mut at: u64, end: u64) -> Result<(), Errno> {
        while at < end {
            let data = backing.fetch(at, (end - at).min(PIECE) as usize).await?;
            if data.is_empty() {
                break;
            }
            let n = data.len() as u64;
            self.host.arena_write(self.number, at, data).await?;
            at += n;
        }
        Ok(())
    }

    /// After the sentry has written to the file: the same to the copy.
    pub async fn wrote(&self, offset: u64, data: &Bytes, size: u64) -> Result<(), Errno> {
        if !self.open.get() {
            return Ok(());
        }
        self.resized(size).await?;
        for (s, e) in self.present(offset, offset.saturating_add(data.len() as u64)) {
            let (from, to) = ((s - offset) as usize, (e - offset) as usize);
            self.host.arena_write(self.number, s, data.slice(from..to)).await?;
        }
        Ok(())
    }

    /// After the file's length has changed.
    pub async fn resized(&self, size: u64) -> Result<(), Errno> {
        if !self.open.get() || self.size.get() == size {
            return Ok(());
        }
        self.host.arena_open(self.number, size).await?;
        let old = self.size.replace(size).next_multiple_of(PAGE_SIZE);
        let end = size.next_multiple_of(PAGE_SIZE);
        if old < end {
            // Both are zero there, and a mapping that reached beyond the end sees it now.
            if self.shared.get() {
                self.mark(old, end);
            }
            return Ok(());
        }
        let mut filled = self.filled.borrow_mut();
        filled.split_off(&end);
        if let Some((_, e)) = filled.range_mut(..end).next_back() {
            *e = (*e).min(end);
        }
        Ok(())
    }

    /// Puts the copy's bytes over what was read from the file, if the workload may have written to it.
    pub async fn overlay(&self, offset: u64, data: Bytes) -> Result<Bytes, Errno> {
        if !self.shared.get() || data.is_empty() {
            return Ok(data);
        }
        let mut out = BytesMut::from(&data[..]);
        for (s, e) in self.present(offset, offset.saturating_add(data.len() as u64)) {
            let mut at = s;
            while at < e {
                let got = self.host.arena_read(self.number, at, (e - at).min(PIECE) as u32).await?;
                let here = (at - offset) as usize;
                let n = got.len().min((e - at) as usize);
                match (out.get_mut(here..here + n), got.get(..n)) {
                    (Some(to), Some(from)) if n > 0 => to.copy_from_slice(from),
                    _ => break,
                }
                at += n as u64;
            }
        }
        Ok(out.freeze())
    }

    /// Writes back what the workload may have written.
    pub async fn sync(&self, backing: &impl Backing) -> Result<(), Errno> {
        if !self.shared.get() {
            return Ok(());
        }
        let _busy = self.busy.lock().await;
        let size = self.size.get();
        for (s, e) in self.present(0, size) {
            let mut at = s;
            while at < e {
                let got = self.host.arena_read(self.number, at, (e - at).min(PIECE) as u32).await?;
                if got.is_empty() {
                    break;
                }
                let n = got.len() as u64;
                backing.store(at, got).await?;
                at += n;
            }
        }
        Ok(())
    }
}

impl Drop for ArenaFile {
    fn drop(&mut self) {
        if self.open.get() {
            self.host.arena_close(self.number);
        }
    }
}
