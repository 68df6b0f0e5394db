//! The bytes of a regular file in memory: pages that were written, holes between them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use rsc_proto::abi::Errno;

use super::Account;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// The largest file. Linux: `MAX_LFS_FILESIZE`.
pub(crate) const SIZE_MAX: u64 = i64::MAX as u64;

/// See the module's text.
pub(crate) struct FileData {
    account: Rc<Account>,
    pages: RefCell<BTreeMap<u64, Box<[u8]>>>,
    size: Cell<u64>,
}

impl FileData {
    pub(crate) fn new(account: &Rc<Account>) -> Self {
        Self { account: account.clone(), pages: RefCell::default(), size: Cell::new(0) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.get()
    }

    /// Allocated, of 512 bytes.
    pub(crate) fn blocks(&self) -> u64 {
        self.pages.borrow().len() as u64 * (PAGE as u64 / 512)
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Bytes {
        let end = self.size.get().min(offset.saturating_add(len as u64));
        if offset >= end {
            return Bytes::new();
        }
        let mut out = BytesMut::zeroed((end - offset) as usize);
        let (first, last) = (offset / PAGE as u64, (end - 1) / PAGE as u64);
        for (n, page) in self.pages.borrow().range(first..=last) {
            let start = n * PAGE as u64;
            let (s, e) = (offset.max(start), end.min(start + PAGE as u64));
            let to = out.get_mut((s - offset) as usize..(e - offset) as usize);
            if let (Some(to), Some(from)) = (to, page.get((s - start) as usize..(e - start) as usize)) {
                to.copy_from_slice(from);
            }
        }
        out.freeze()
    }

    /// Writes; short when the file system is full, `ENOSPC` when nothing fits.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let mut done = 0;
        let mut pages = self.pages.borrow_mut();
        while done < data.len() {
            let at = offset + done as u64;
            let skip = (at % PAGE as u64) as usize;
            let n = (PAGE - skip).min(data.len() - done);
            let index = at / PAGE as u64;
            if !pages.contains_key(&index) {
                match self.account.take_page() {
                    Ok(()) => {}
                    Err(_) if done > 0 => break,
                    Err(e) => return Err(e),
                }
            }
            let page = pages.entry(index).or_insert_with(|| vec![0; PAGE].into());
            if let (Some(to), Some(from)) = (page.get_mut(skip..skip + n), data.get(done..done + n)) {
                to.copy_from_slice(from);
            }
            done += n;
        }
        self.size.set(self.size.get().max(offset + done as u64));
        Ok(done)
    }

    pub(crate) fn truncate(&self, len: u64) {
        let mut pages = self.pages.borrow_mut();
        let gone = pages.split_off(&len.div_ceil(PAGE as u64));
        self.account.give_pages(gone.len() as u64);
        let tail = (len % PAGE as u64) as usize;
        if len < self.size.get()
            && tail > 0
            && let Some(rest) = pages.get_mut(&(len / PAGE as u64)).and_then(|p| p.get_mut(tail..))
        {
            rest.fill(0);
        }
        self.size.set(len);
    }

    /// fallocate(2): makes pages exist.
    pub(crate) fn reserve(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let mut pages = self.pages.borrow_mut();
        let mut made = Vec::new();
        for index in offset / PAGE as u64..offset.saturating_add(len).div_ceil(PAGE as u64) {
            if pages.contains_key(&index) {
                continue;
            }
            if let Err(e) = self.account.take_page() {
                self.account.give_pages(made.len() as u64);
                for index in made {
                    pages.remove(&index);
                }
                return Err(e);
            }
            pages.insert(index, vec![0; PAGE].into());
            made.push(index);
        }
        Ok(())
    }

    /// fallocate(2) `FALLOC_FL_PUNCH_HOLE`, also the heart of `ZERO_RANGE`.
    pub(crate) fn punch(&self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        let mut pages = self.pages.borrow_mut();
        let whole: Vec<u64> = pages
            .range(offset.div_ceil(PAGE as u64)..(end / PAGE as u64).max(offset.div_ceil(PAGE as u64)))
            .map(|(n, _)| *n)
            .collect();
        self.account.give_pages(whole.len() as u64);
        for n in whole {
            pages.remove(&n);
        }
        for n in [offset / PAGE as u64, end / PAGE as u64] {
            let start = n * PAGE as u64;
            let (s, e) = (offset.max(start), end.min(start + PAGE as u64));
            if s < e
                && let Some(part) =
                    pages.get_mut(&n).and_then(|p| p.get_mut((s - start) as usize..(e - start) as usize))
            {
                part.fill(0);
            }
        }
    }

    /// lseek(2) `SEEK_DATA` or `SEEK_HOLE` from `offset`, which is below the size.
    pub(crate) fn seek(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        let pages = self.pages.borrow();
        let mut index = offset / PAGE as u64;
        if hole {
            while pages.contains_key(&index) {
                index += 1;
            }
            return Ok((index * PAGE as u64).max(offset).min(self.size.get()));
        }
        let next = pages.range(index..).next().map(|(n, _)| n * PAGE as u64);
        next.map(|n| n.max(offset)).filter(|n| *n < self.size.get()).ok_or(Errno::ENXIO)
    }
}

impl Drop for FileData {
    fn drop(&mut self) {
        self.account.give_pages(self.pages.borrow().len() as u64);
    }
}
