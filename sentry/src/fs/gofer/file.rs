//! Open files and directories behind a gofer.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, OpenFlags, Stat, mode};
use rsc_proto::v1::{FileSource, file_source};

use super::attr;
use super::inode::GoferInode;
use crate::fs::pseudo::seek_in;
use crate::gofer::{AllocateFlags, AttrChange, Handle, WriteFlags};
use crate::kernel::file::{DirEntry, File, FileOps, Fut, MapRequest, Written, ready};
use crate::vfs::Inode;
use crate::vfs::arena::{Backing, new_file_number};

/// Bytes of zeros that a punched hole puts into a mapped copy at once.
const ZEROS_MAX: u64 = 64 << 20;

/// An open regular file.
pub struct GoferFile {
    inode: Rc<GoferInode>,
    handle: Handle,
    /// Whoever opened it has `CAP_FSETID`.
    keeps_set_id: bool,
    wrote: Cell<bool>,
}

impl GoferFile {
    pub(super) fn new(inode: Rc<GoferInode>, handle: Handle, keeps_set_id: bool) -> Self {
        Self { inode, handle, keeps_set_id, wrote: Cell::new(false) }
    }

    /// The gofer's handle, for copy_file_range(2) between files of one gofer.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The gofer's connection.
    pub fn client(&self) -> &crate::gofer::GoferClient {
        &self.inode.shared.client
    }

    /// Whether it is also known to the compute host's mappings, so that bytes must go through the sentry.
    pub fn is_mapped(&self) -> bool {
        self.inode.arena.is_open()
    }

    async fn donated(&self, request: MapRequest) -> Result<FileSource, Errno> {
        let client = self.client();
        let token = new_file_number();
        let donate = client.donate(&self.handle, token, request.shared_writable);
        let (attr, donated) = futures_util::future::join(self.inode.fresh(), donate).await;
        donated?;
        Ok(FileSource {
            file: self.inode.arena.number,
            size: attr?.size,
            from: Some(file_source::From::Donated(token)),
        })
    }
}

impl Backing for GoferFile {
    async fn fetch(&self, offset: u64, len: usize) -> Result<Bytes, Errno> {
        self.client().read(&self.handle, Some(offset), len).await
    }

    async fn store(&self, offset: u64, data: Bytes) -> Result<(), Errno> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|r| !r.is_empty()) {
            let w = self.client().write(&self.handle, Some(offset + done as u64), rest, WriteFlags::empty()).await?;
            if w.count == 0 {
                return Err(Errno::EIO);
            }
            done += w.count as usize;
        }
        Ok(())
    }
}

impl FileOps for GoferFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, _: &'a File, offset: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        Box::pin(async move {
            let data = self.client().read(&self.handle, Some(offset), len).await?;
            self.inode.arena.overlay(offset, data).await
        })
    }

    fn write<'a>(&'a self, file: &'a File, offset: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        Box::pin(async move {
            let mut flags = WriteFlags::empty();
            flags.set(WriteFlags::APPEND, file.flags().contains(OpenFlags::O_APPEND));
            let set_id = self.inode.attr().mode & (mode::S_ISUID | mode::S_ISGID) != 0;
            flags.set(WriteFlags::KILL_PRIV, set_id && !self.keeps_set_id);
            let mapped = self.inode.arena.is_open();
            flags.set(WriteFlags::ATTR, mapped);
            let w = self.client().write(&self.handle, Some(offset), &data, flags).await?;
            self.wrote.set(true);
            let bytes = w.count as usize;
            if mapped {
                let size = w.attr.as_ref().map_or(w.end, |a| a.size);
                let start = w.end.saturating_sub(bytes as u64);
                self.inode.arena.wrote(start, &data.slice(..bytes.min(data.len())), size).await?;
            }
            Ok(Written { bytes, end: w.end })
        })
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        Box::pin(async move { Ok(self.inode.fresh().await?.to_stat()) })
    }

    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        Box::pin(async move {
            match whence {
                2 => seek_in(file, offset, whence, self.inode.fresh().await?.size),
                3 | 4 => {
                    let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                    self.client().seek(&self.handle, at, whence == 4).await
                }
                _ => seek_in(file, offset, whence, 0),
            }
        })
    }

    fn sync(&self, data_only: bool) -> Fut<'_, Result<(), Errno>> {
        Box::pin(async move {
            self.inode.sync_arena().await?;
            self.client().fsync(&self.handle, data_only).await
        })
    }

    fn truncate(&self, len: u64) -> Fut<'_, Result<(), Errno>> {
        Box::pin(async move {
            let change = AttrChange { size: Some(len), ..Default::default() };
            let a = self.client().setattr(&self.handle, &change).await?;
            self.inode.set_known(attr(&a));
            self.inode.arena.resized(len).await
        })
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Fut<'_, Result<(), Errno>> {
        Box::pin(async move {
            let flags = AllocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
            let mapped = self.inode.arena.is_open();
            if mapped && flags.intersects(AllocateFlags::COLLAPSE_RANGE | AllocateFlags::INSERT_RANGE) {
                return Err(Errno::EOPNOTSUPP);
            }
            self.client().fallocate(&self.handle, flags, offset, len).await?;
            if mapped {
                let size = self.inode.fresh().await?.size;
                self.inode.arena.resized(size).await?;
                let within = offset.saturating_add(len).min(size).saturating_sub(offset);
                if flags.intersects(AllocateFlags::PUNCH_HOLE | AllocateFlags::ZERO_RANGE) && within <= ZEROS_MAX {
                    self.inode.arena.wrote(offset, &vec![0; within as usize].into(), size).await?;
                }
            }
            Ok(())
        })
    }

    fn map<'a>(&'a self, _: &'a Rc<File>, request: MapRequest) -> Fut<'a, Result<FileSource, Errno>> {
        Box::pin(async move {
            let shared = &self.inode.shared;
            // Once the copy may have been written to, it is the truth.
            if shared.donate.get() && !self.inode.arena.is_shared() {
                match self.donated(request).await {
                    Err(Errno::EOPNOTSUPP) => shared.donate.set(false),
                    Err(Errno::EAGAIN | Errno::ENFILE) => {}
                    other => return other,
                }
            }
            let size = self.inode.fresh().await?.size;
            if request.shared_writable {
                shared.keep_mapped(self.inode.clone());
            }
            self.inode.arena.map(self, size, request.offset, request.len, request.shared_writable).await
        })
    }

    fn flush<'a>(&'a self, _: &'a File, _: u32) -> Fut<'a, Result<(), Errno>> {
        if !(self.inode.arena.is_shared() || self.wrote.get() && self.inode.shared.flush) {
            return ready(Ok(()));
        }
        Box::pin(async move {
            self.inode.sync_arena().await?;
            self.client().flush(&self.handle).await
        })
    }
}

/// An open directory.
pub(super) struct GoferDir {
    inode: Rc<GoferInode>,
    handle: Handle,
}

impl GoferDir {
    pub(super) fn new(inode: Rc<GoferInode>, handle: Handle) -> Self {
        Self { inode, handle }
    }
}

impl FileOps for GoferDir {
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
        Box::pin(async move { Ok(self.inode.fresh().await?.to_stat()) })
    }

    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        ready(if whence > 1 { Err(Errno::EINVAL) } else { seek_in(file, offset, whence, 0) })
    }

    fn readdir<'a>(&'a self, from: u64, budget: usize) -> Fut<'a, Result<Vec<DirEntry>, Errno>> {
        Box::pin(async move {
            // The smallest entry has 24 bytes; most have 32.
            let count = (budget / 32).max(1);
            let reply = self.inode.shared.client.readdir(&self.handle, from, count, false).await?;
            let entry =
                |e: crate::gofer::DirEntry| DirEntry { ino: e.ino, next: e.cookie, kind: e.kind as u8, name: e.name };
            Ok(reply.entries.into_iter().map(entry).collect())
        })
    }

    fn sync(&self, data_only: bool) -> Fut<'_, Result<(), Errno>> {
        Box::pin(self.inode.shared.client.fsync(&self.handle, data_only))
    }
}
