//! Directories of a tmpfs: entries in the order in which they were made, which is what a position of readdir means.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, Stat, dirent64_len};

use super::inode::{Kind, TmpInode};
use crate::fs::pseudo::{dots, seek_in};
use crate::kernel::file::{DirEntry, File, FileOps, Fut, ready};
use crate::vfs::Inode;
use crate::vfs::inode::d_type;

/// The first position after `.` and `..`.
const FIRST: u64 = 3;

type Named = (Rc<[u8]>, Rc<dyn Inode>);

/// The entries of one directory.
#[derive(Default)]
pub(crate) struct Entries {
    by_name: RefCell<HashMap<Rc<[u8]>, u64>>,
    by_position: RefCell<BTreeMap<u64, Named>>,
    next: Cell<u64>,
}

impl Entries {
    pub(crate) fn get(&self, name: &[u8]) -> Option<Rc<dyn Inode>> {
        let at = self.by_name.borrow().get(name).copied()?;
        self.by_position.borrow().get(&at).map(|(_, i)| i.clone())
    }

    pub(crate) fn insert(&self, name: &[u8], inode: Rc<dyn Inode>) -> Result<(), Errno> {
        let mut by_name = self.by_name.borrow_mut();
        if by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let at = self.next.get().max(FIRST);
        self.next.set(at + 1);
        let name: Rc<[u8]> = name.into();
        by_name.insert(name.clone(), at);
        self.by_position.borrow_mut().insert(at, (name, inode));
        Ok(())
    }

    pub(crate) fn remove(&self, name: &[u8]) -> Option<Rc<dyn Inode>> {
        let at = self.by_name.borrow_mut().remove(name)?;
        self.by_position.borrow_mut().remove(&at).map(|(_, i)| i)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.borrow().is_empty()
    }

    pub(crate) fn drain(&self) -> Vec<Rc<dyn Inode>> {
        self.by_name.borrow_mut().clear();
        self.by_position.take().into_values().map(|(_, i)| i).collect()
    }

    fn list(&self, from: u64, budget: usize) -> Vec<DirEntry> {
        let mut room = budget.max(dirent64_len(255));
        let mut out = Vec::new();
        for (at, (name, inode)) in self.by_position.borrow().range(from.saturating_add(1).max(FIRST)..) {
            let Some(left) = room.checked_sub(dirent64_len(name.len())) else { break };
            room = left;
            let attr = inode.attr();
            out.push(DirEntry { ino: attr.ino, next: *at, kind: d_type(attr.mode), name: name.to_vec() });
        }
        out
    }
}

/// An open directory.
pub(crate) struct DirOpen {
    inode: Rc<TmpInode>,
    parent: u64,
}

impl DirOpen {
    pub(crate) fn new(inode: Rc<TmpInode>, parent: u64) -> Self {
        Self { inode, parent }
    }
}

impl FileOps for DirOpen {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, _: usize) -> Fut<'a, Result<Bytes, Errno>> {
        ready(Err(Errno::EISDIR))
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(self.inode.attr().to_stat()))
    }

    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        ready(if whence > 1 { Err(Errno::EINVAL) } else { seek_in(file, offset, whence, 0) })
    }

    fn readdir<'a>(&'a self, from: u64, budget: usize) -> Fut<'a, Result<Vec<DirEntry>, Errno>> {
        let Kind::Dir(entries) = &self.inode.kind else { return ready(Err(Errno::ENOTDIR)) };
        let mut out = dots(from, self.inode.attr().ino, self.parent);
        out.extend(entries.list(from, budget));
        let now = crate::fs::now();
        self.inode.update(|a| a.atime = now);
        ready(Ok(out))
    }

    fn sync(&self, _: bool) -> Fut<'_, Result<(), Errno>> {
        ready(Ok(()))
    }
}
