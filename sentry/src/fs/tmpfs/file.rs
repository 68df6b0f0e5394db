//! Open regular files of a tmpfs, and memfd_create(2)'s.

use std::any::Any;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, FallocFlags, OpenFlags, Seals, Stat, mode};
use rsc_proto::v1::FileSource;

use super::data::{FileData, SIZE_MAX};
use super::inode::{Kind, TmpInode};
use super::{Account, MAGIC};
use crate::fs::anon::AnonFs;
use crate::fs::pseudo::seek_in;
use crate::kernel::file::{File, FileOps, Fut, MapRequest, Written, ready};
use crate::kernel::host::ComputeHost;
use crate::vfs::arena::Backing;
use crate::vfs::inode::NewNode;
use crate::vfs::{Dentry, Inode, Location};

/// See the module's text.
pub struct TmpFile {
    inode: Rc<TmpInode>,
}

impl TmpFile {
    pub(crate) fn new(inode: Rc<TmpInode>) -> Self {
        Self { inode }
    }

    fn data(&self) -> Result<&FileData, Errno> {
        match &self.inode.kind {
            Kind::File(d) => Ok(d),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `F_GET_SEALS`.
    pub fn seals(&self) -> Seals {
        self.inode.seals.get()
    }

    /// `F_ADD_SEALS`: `EPERM` once sealed against seals, `EBUSY` for `F_SEAL_WRITE` while it may be mapped writable.
    pub fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        let old = self.inode.seals.get();
        if old.contains(Seals::F_SEAL_SEAL) {
            return Err(Errno::EPERM);
        }
        if seals.contains(Seals::F_SEAL_WRITE) && !old.contains(Seals::F_SEAL_WRITE) && self.inode.arena.is_shared() {
            return Err(Errno::EBUSY);
        }
        self.inode.seals.set(old | seals);
        Ok(())
    }
}

impl Backing for FileData {
    async fn fetch(&self, offset: u64, len: usize) -> Result<Bytes, Errno> {
        Ok(self.read(offset, len))
    }

    async fn store(&self, offset: u64, data: Bytes) -> Result<(), Errno> {
        let room = self.size().saturating_sub(offset).min(data.len() as u64) as usize;
        self.write(offset, data.get(..room).unwrap_or_default()).map(|_| ())
    }
}

impl FileOps for TmpFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, file: &'a File, offset: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        Box::pin(async move {
            let data = self.data()?.read(offset, len);
            if !file.flags().contains(OpenFlags::O_NOATIME) {
                let now = crate::fs::now();
                self.inode.update(|a| {
                    // relatime: tmpfs is mounted with it like all else.
                    let at = |t: rsc_proto::abi::Timespec| (t.tv_sec, t.tv_nsec);
                    if at(a.atime) <= at(a.mtime).max(at(a.ctime)) || now.tv_sec - a.atime.tv_sec >= 86_400 {
                        a.atime = now;
                    }
                });
            }
            self.inode.arena.overlay(offset, data).await
        })
    }

    fn write<'a>(&'a self, file: &'a File, offset: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        Box::pin(async move {
            let store = self.data()?;
            let offset = if file.flags().contains(OpenFlags::O_APPEND) { store.size() } else { offset };
            let seals = self.inode.seals.get();
            if seals.intersects(Seals::F_SEAL_WRITE | Seals::F_SEAL_FUTURE_WRITE) {
                return Err(Errno::EPERM);
            }
            if offset >= SIZE_MAX && !data.is_empty() {
                return Err(Errno::EFBIG);
            }
            let mut data = data.slice(..data.len().min(usize::try_from(SIZE_MAX - offset).unwrap_or(usize::MAX)));
            if seals.contains(Seals::F_SEAL_GROW) && offset + data.len() as u64 > store.size() {
                let room = store.size().saturating_sub(offset) as usize;
                if room == 0 && !data.is_empty() {
                    return Err(Errno::EPERM);
                }
                data.truncate(room);
            }
            let bytes = store.write(offset, &data)?;
            if bytes > 0 {
                self.inode.modified();
            }
            self.inode.arena.wrote(offset, &data.slice(..bytes), store.size()).await?;
            Ok(Written { bytes, end: offset + bytes as u64 })
        })
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(self.inode.attr().to_stat()))
    }

    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        ready(self.data().and_then(|data| match whence {
            3 | 4 => match u64::try_from(offset) {
                Ok(at) if at < data.size() => data.seek(at, whence == 4),
                _ => Err(Errno::ENXIO),
            },
            _ => seek_in(file, offset, whence, data.size()),
        }))
    }

    fn sync(&self, _: bool) -> Fut<'_, Result<(), Errno>> {
        Box::pin(async move { self.inode.arena.sync(self.data()?).await })
    }

    fn truncate(&self, len: u64) -> Fut<'_, Result<(), Errno>> {
        Box::pin(self.inode.resize(len))
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Fut<'_, Result<(), Errno>> {
        Box::pin(async move {
            let flags = FallocFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
            let data = self.data()?;
            let punch = FallocFlags::FALLOC_FL_PUNCH_HOLE | FallocFlags::FALLOC_FL_KEEP_SIZE;
            let end = offset.checked_add(len).filter(|e| *e <= SIZE_MAX).ok_or(Errno::EFBIG)?;
            let seals = self.inode.seals.get();
            if flags == punch {
                if seals.intersects(Seals::F_SEAL_WRITE | Seals::F_SEAL_FUTURE_WRITE) {
                    return Err(Errno::EPERM);
                }
                data.punch(offset, len);
                let within = end.min(data.size()).saturating_sub(offset);
                self.inode.modified();
                if within <= 64 << 20 {
                    return self.inode.arena.wrote(offset, &vec![0; within as usize].into(), data.size()).await;
                }
                return Ok(());
            }
            if !(flags - FallocFlags::FALLOC_FL_KEEP_SIZE).is_empty() {
                return Err(Errno::EOPNOTSUPP);
            }
            let grows = !flags.contains(FallocFlags::FALLOC_FL_KEEP_SIZE) && end > data.size();
            if grows && seals.contains(Seals::F_SEAL_GROW) {
                return Err(Errno::EPERM);
            }
            data.reserve(offset, len)?;
            if grows {
                data.truncate(end);
                self.inode.arena.resized(end).await?;
            }
            let now = crate::fs::now();
            self.inode.update(|a| a.ctime = now);
            Ok(())
        })
    }

    fn map<'a>(&'a self, _: &'a Rc<File>, request: MapRequest) -> Fut<'a, Result<FileSource, Errno>> {
        Box::pin(async move {
            let data = self.data()?;
            if request.shared_writable
                && self.inode.seals.get().intersects(Seals::F_SEAL_WRITE | Seals::F_SEAL_FUTURE_WRITE)
            {
                return Err(Errno::EPERM);
            }
            self.inode.arena.map(data, data.size(), request.offset, request.len, request.shared_writable).await
        })
    }
}

/// memfd_create(2): an open file without a name. `seals`: `F_SEAL_SEAL` forbids sealing.
pub fn memfd(
    dev: u64,
    host: Rc<dyn ComputeHost>,
    name: &[u8],
    mode: u32,
    owner: (u32, u32),
    seals: Seals,
) -> Result<Rc<File>, Errno> {
    let account = Account::new(dev, host, 0, 0);
    let new = NewNode { mode: mode::S_IFREG | mode, uid: owner.0, gid: owner.1, rdev: 0, target: b"" };
    let inode = TmpInode::new(&account, &new)?;
    inode.seals.set(seals);
    inode.update(|a| a.nlink = 0);
    let shown = [b"memfd:", name].concat();
    let dyn_inode: Rc<dyn Inode> = inode.clone();
    let dentry = Dentry::anonymous(&shown, dyn_inode.clone(), true);
    let location = Location::anonymous(AnonFs::new("tmpfs", MAGIC, dyn_inode), dentry);
    let flags = OpenFlags::O_RDWR | OpenFlags::O_LARGEFILE;
    Ok(File::with_location(Box::new(TmpFile::new(inode)), flags, Some(location)))
}
