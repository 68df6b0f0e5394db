//! Inodes of a tmpfs.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, OpenFlags, PAGE_SIZE, Seals, mode};

use super::Account;
use super::data::{FileData, SIZE_MAX};
use super::dir::{DirOpen, Entries};
use super::file::TmpFile;
use crate::kernel::file::{FileOps, Fut, ready};
use crate::vfs::arena::ArenaFile;
use crate::vfs::inode::{Attr, Created, NewNode, OpenContext, RenameMode, SetAttr, SetTime, XattrMode};
use crate::vfs::lock::InodeLocks;
use crate::vfs::{Asker, Inode};

/// What a directory entry adds to its size. Linux: `BOGO_DIRENT_SIZE`.
const DIRENT_SIZE: u64 = 20;
/// Bytes that the extended attributes of one inode may take.
const XATTR_BYTES: usize = 128 << 10;

pub(crate) enum Kind {
    File(FileData),
    Dir(Entries),
    Symlink(Vec<u8>),
    Special,
}

/// One file, directory, link, FIFO, socket or device.
pub struct TmpInode {
    account: Rc<Account>,
    attr: Cell<Attr>,
    pub(crate) kind: Kind,
    pub(crate) arena: ArenaFile,
    pub(crate) seals: Cell<Seals>,
    xattrs: RefCell<BTreeMap<Vec<u8>, Bytes>>,
    endpoint: RefCell<Option<Rc<dyn Any>>>,
    locks: InodeLocks,
}

impl TmpInode {
    pub(crate) fn root(account: &Rc<Account>, mode: u32, uid: u32, gid: u32) -> Rc<Self> {
        // The limit of a new file system is above one.
        let ino = account.take_inode().unwrap_or(1);
        Self::build(account, ino, &NewNode { mode, uid, gid, rdev: 0, target: b"" })
    }

    pub(crate) fn new(account: &Rc<Account>, new: &NewNode<'_>) -> Result<Rc<Self>, Errno> {
        Ok(Self::build(account, account.take_inode()?, new))
    }

    fn build(account: &Rc<Account>, ino: u64, new: &NewNode<'_>) -> Rc<Self> {
        let now = crate::fs::now();
        let (kind, size, nlink) = match new.mode & mode::S_IFMT {
            mode::S_IFREG => (Kind::File(FileData::new(account)), 0, 1),
            mode::S_IFDIR => (Kind::Dir(Entries::default()), 2 * DIRENT_SIZE, 2),
            mode::S_IFLNK => (Kind::Symlink(new.target.to_vec()), new.target.len() as u64, 1),
            _ => (Kind::Special, 0, 1),
        };
        let attr = Attr {
            dev: account.dev,
            ino,
            mode: new.mode,
            nlink,
            uid: new.uid,
            gid: new.gid,
            rdev: new.rdev,
            size,
            blksize: PAGE_SIZE as u32,
            atime: now,
            mtime: now,
            ctime: now,
            btime: Some(now),
            ..Default::default()
        };
        Rc::new(Self {
            account: account.clone(),
            attr: Cell::new(attr),
            kind,
            arena: ArenaFile::new(account.host.clone()),
            seals: Cell::new(Seals::F_SEAL_SEAL),
            xattrs: RefCell::default(),
            endpoint: RefCell::default(),
            locks: InodeLocks::default(),
        })
    }

    pub(crate) fn update(&self, f: impl FnOnce(&mut Attr)) {
        let mut a = self.attr.get();
        f(&mut a);
        self.attr.set(a);
    }

    /// The contents changed.
    pub(crate) fn modified(&self) {
        let now = crate::fs::now();
        self.update(|a| {
            a.mtime = now;
            a.ctime = now;
        });
    }

    fn entries(&self) -> Result<&Entries, Errno> {
        match &self.kind {
            Kind::Dir(e) => Ok(e),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn of(inode: &Rc<dyn Inode>) -> Result<&TmpInode, Errno> {
        inode.as_any().downcast_ref::<TmpInode>().ok_or(Errno::EXDEV)
    }

    fn add(&self, name: &[u8], inode: Rc<dyn Inode>) -> Result<(), Errno> {
        let entries = self.entries()?;
        if self.attr.get().nlink == 0 {
            return Err(Errno::ENOENT);
        }
        let dir = inode.attr().is_dir();
        entries.insert(name, inode)?;
        self.update(|a| {
            a.size += DIRENT_SIZE;
            a.nlink += u32::from(dir);
        });
        self.modified();
        Ok(())
    }

    fn take(&self, name: &[u8]) -> Result<Rc<dyn Inode>, Errno> {
        let inode = self.entries()?.remove(name).ok_or(Errno::ENOENT)?;
        self.update(|a| {
            a.size = a.size.saturating_sub(DIRENT_SIZE);
            a.nlink -= u32::from(inode.attr().is_dir());
        });
        self.modified();
        Ok(inode)
    }

    fn drop_link(&self) {
        let now = crate::fs::now();
        self.update(|a| {
            a.nlink = if a.is_dir() { 0 } else { a.nlink.saturating_sub(1) };
            a.ctime = now;
        });
    }

    fn removable(&self, inode: &TmpInode) -> Result<(), Errno> {
        match &inode.kind {
            Kind::Dir(e) if !e.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn rename_to(&self, name: &[u8], to: &TmpInode, to_name: &[u8], how: RenameMode) -> Result<(), Errno> {
        let entries = self.entries()?;
        let moving = entries.get(name).ok_or(Errno::ENOENT)?;
        let target = to.entries()?.get(to_name);
        match (how, &target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::EEXIST),
            (RenameMode::Exchange, None) => return Err(Errno::ENOENT),
            (RenameMode::Exchange, Some(other)) => {
                let (a, b) = (self.take(name)?, to.take(to_name)?);
                to.add(to_name, a)?;
                self.add(name, b)?;
                let now = crate::fs::now();
                for i in [&moving, other] {
                    Self::of(i)?.update(|a| a.ctime = now);
                }
                return Ok(());
            }
            (_, Some(other)) => {
                let other = Self::of(other)?;
                self.removable(other)?;
                to.take(to_name)?;
                other.drop_link();
            }
            (_, None) => {}
        }
        let inode = self.take(name)?;
        to.add(to_name, inode)?;
        let now = crate::fs::now();
        Self::of(&moving)?.update(|a| a.ctime = now);
        Ok(())
    }

    async fn change(&self, set: SetAttr) -> Result<(), Errno> {
        if let Some(size) = set.size {
            self.resize(size).await?;
        }
        let now = crate::fs::now();
        let time = |t: Option<SetTime>, old| match t {
            None => old,
            Some(SetTime::Now) => now,
            Some(SetTime::At(t)) => t,
        };
        self.update(|a| {
            if let Some(m) = set.mode {
                a.mode = a.mode & mode::S_IFMT | m & 0o7777;
            }
            a.uid = set.uid.unwrap_or(a.uid);
            a.gid = set.gid.unwrap_or(a.gid);
            a.atime = time(set.atime, a.atime);
            a.mtime = time(set.mtime, a.mtime);
            a.ctime = now;
        });
        Ok(())
    }

    /// truncate(2).
    pub(crate) async fn resize(&self, size: u64) -> Result<(), Errno> {
        let Kind::File(data) = &self.kind else { return Err(Errno::EINVAL) };
        if size > SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        let seals = self.seals.get();
        if size < data.size() && seals.contains(Seals::F_SEAL_SHRINK)
            || size > data.size() && seals.contains(Seals::F_SEAL_GROW)
        {
            return Err(Errno::EPERM);
        }
        data.truncate(size);
        self.modified();
        self.arena.resized(size).await
    }
}

impl Inode for TmpInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        let mut a = self.attr.get();
        if let Kind::File(data) = &self.kind {
            a.size = data.size();
            a.blocks = data.blocks();
        }
        a
    }

    fn lookup(&self, name: &[u8], _: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        self.entries()?.get(name).ok_or(Errno::ENOENT)
    }

    fn readlink<'a>(&'a self, _: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        ready(match &self.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        })
    }

    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        Box::pin(async move {
            if cx.truncate {
                self.resize(0).await?;
            }
            match &self.kind {
                Kind::File(_) => Ok(Box::new(TmpFile::new(self.clone())) as Box<dyn FileOps>),
                Kind::Dir(_) => {
                    let parent = cx.location.dentry.parent().map_or(self.attr().ino, |p| p.inode().attr().ino);
                    Ok(Box::new(DirOpen::new(self.clone(), parent)) as Box<dyn FileOps>)
                }
                Kind::Symlink(_) => Err(Errno::ELOOP),
                Kind::Special => Err(Errno::ENXIO),
            }
        })
    }

    fn make<'a>(&'a self, name: &'a [u8], new: NewNode<'a>) -> Fut<'a, Result<Rc<dyn Inode>, Errno>> {
        ready((|| {
            if self.entries()?.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            let inode: Rc<dyn Inode> = TmpInode::new(&self.account, &new)?;
            self.add(name, inode.clone())?;
            Ok(inode)
        })())
    }

    fn temp_file<'a>(&'a self, new: NewNode<'a>, _: OpenFlags) -> Fut<'a, Result<Created, Errno>> {
        ready((|| {
            self.entries()?;
            let inode = TmpInode::new(&self.account, &new)?;
            inode.update(|a| a.nlink = 0);
            Ok(Created { ops: Box::new(TmpFile::new(inode.clone())), inode })
        })())
    }

    fn link<'a>(&'a self, name: &'a [u8], inode: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        ready((|| {
            let target = Self::of(inode)?;
            if self.entries()?.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            self.add(name, inode.clone())?;
            let now = crate::fs::now();
            target.update(|a| {
                a.nlink += 1;
                a.ctime = now;
            });
            Ok(())
        })())
    }

    fn unlink<'a>(&'a self, name: &'a [u8], _: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        ready(self.take(name).and_then(|i| Self::of(&i).map(TmpInode::drop_link)))
    }

    fn rmdir<'a>(&'a self, name: &'a [u8], inode: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        ready((|| {
            self.removable(Self::of(inode)?)?;
            self.take(name)?;
            Self::of(inode)?.drop_link();
            Ok(())
        })())
    }

    fn rename<'a>(
        &'a self,
        name: &'a [u8],
        to: &'a Rc<dyn Inode>,
        to_name: &'a [u8],
        how: RenameMode,
    ) -> Fut<'a, Result<(), Errno>> {
        ready(Self::of(to).and_then(|to| self.rename_to(name, to, to_name, how)))
    }

    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        Box::pin(self.change(set))
    }

    fn get_xattr<'a>(&'a self, name: &'a [u8]) -> Fut<'a, Result<Bytes, Errno>> {
        ready(self.xattrs.borrow().get(name).cloned().ok_or(Errno::ENODATA))
    }

    fn set_xattr<'a>(&'a self, name: &'a [u8], value: Bytes, how: XattrMode) -> Fut<'a, Result<(), Errno>> {
        ready((|| {
            let mut xattrs = self.xattrs.borrow_mut();
            match (how, xattrs.contains_key(name)) {
                (XattrMode::Create, true) => return Err(Errno::EEXIST),
                (XattrMode::Replace, false) => return Err(Errno::ENODATA),
                _ => {}
            }
            let others: usize = xattrs.iter().filter(|(n, _)| *n != name).map(|(n, v)| n.len() + v.len()).sum();
            if others + name.len() + value.len() > XATTR_BYTES {
                return Err(Errno::ENOSPC);
            }
            xattrs.insert(name.to_vec(), value);
            drop(xattrs);
            let now = crate::fs::now();
            self.update(|a| a.ctime = now);
            Ok(())
        })())
    }

    fn list_xattr(&self) -> Fut<'_, Result<Vec<Vec<u8>>, Errno>> {
        ready(Ok(self.xattrs.borrow().keys().cloned().collect()))
    }

    fn remove_xattr<'a>(&'a self, name: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        let gone = self.xattrs.borrow_mut().remove(name);
        ready(gone.map(|_| ()).ok_or(Errno::ENODATA))
    }

    fn locks(&self) -> Option<&InodeLocks> {
        Some(&self.locks)
    }

    fn endpoint(&self) -> Option<&RefCell<Option<Rc<dyn Any>>>> {
        Some(&self.endpoint)
    }
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        self.account.give_inode();
        // Not by recursion: a workload chooses how deep a tree is.
        if let Kind::Dir(entries) = &self.kind {
            let mut todo = entries.drain();
            while let Some(inode) = todo.pop() {
                if Rc::strong_count(&inode) == 1
                    && let Some(TmpInode { kind: Kind::Dir(e), .. }) = inode.as_any().downcast_ref()
                {
                    todo.extend(e.drain());
                }
            }
        }
    }
}
