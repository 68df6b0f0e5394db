//! Inodes behind a gofer.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, OpenFlags, mode};

use super::file::{GoferDir, GoferFile};
use super::{Shared, attr};
use crate::gofer::{self, AttrChange, Handle, Keep, MakeKind, Owner, RenameFlags, TimeChange, WalkEnd, XattrFlags};
use crate::kernel::credentials::cap;
use crate::kernel::file::{FileOps, Fut};
use crate::vfs::arena::ArenaFile;
use crate::vfs::inode::{Attr, Created, NewNode, OpenContext, RenameMode, SetAttr, SetTime, Walked, XattrMode};
use crate::vfs::lock::InodeLocks;
use crate::vfs::{Asker, Inode};

/// See the module's text.
pub struct GoferInode {
    pub(super) shared: Rc<Shared>,
    node: Handle,
    attr: Cell<Attr>,
    key: (u64, u64),
    /// A symbolic link's, once it is known: it never changes.
    target: RefCell<Option<Vec<u8>>>,
    pub(super) arena: ArenaFile,
    endpoint: RefCell<Option<Rc<dyn Any>>>,
    locks: InodeLocks,
}

impl GoferInode {
    pub(super) fn new(shared: Rc<Shared>, node: Handle, attr: Attr) -> Rc<Self> {
        Rc::new(Self {
            arena: ArenaFile::new(shared.host.clone()),
            shared,
            node,
            key: (attr.dev, attr.ino),
            attr: Cell::new(attr),
            target: RefCell::default(),
            endpoint: RefCell::default(),
            locks: InodeLocks::default(),
        })
    }

    pub(super) fn node(&self) -> &Handle {
        &self.node
    }

    pub(super) fn set_known(&self, attr: Attr) {
        self.attr.set(attr);
    }

    fn of(inode: &Rc<dyn Inode>) -> Result<&GoferInode, Errno> {
        inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
    }

    pub(super) async fn fresh(&self) -> Result<Attr, Errno> {
        let a = attr(&self.shared.client.getattr(&self.node).await?);
        self.attr.set(a);
        Ok(a)
    }

    /// Writes back what mappings have changed, by a descriptor of its own.
    pub(super) async fn sync_arena(self: &Rc<Self>) -> Result<(), Errno> {
        if !self.arena.is_shared() {
            return Ok(());
        }
        let opened = self.shared.client.open(&self.node, gofer::OpenFlags::WRITE, 0).await?;
        let file = GoferFile::new(self.clone(), opened.file, false);
        self.arena.sync(&file).await
    }

    async fn walk_names(&self, names: &[Vec<u8>]) -> Result<Walked, Errno> {
        let walked = self.shared.client.walk(&self.node, names, Keep::Each).await?;
        let mut steps: Vec<Rc<GoferInode>> = Vec::with_capacity(walked.steps.len());
        for step in walked.steps {
            let handle = step.handle.ok_or(Errno::EIO)?;
            steps.push(self.shared.inode(attr(&step.attr), handle));
        }
        let stop = match walked.end {
            WalkEnd::Failed(errno) => Some(errno),
            WalkEnd::Symlink(target) => {
                if let Some(link) = steps.last() {
                    link.target.replace(Some(target));
                }
                None
            }
            WalkEnd::Complete | WalkEnd::NotDirectory => None,
        };
        Ok(Walked { steps: steps.into_iter().map(|s| s as Rc<dyn Inode>).collect(), stop })
    }
}

/// open(2)'s flags as the gofer knows them.
fn open_flags(flags: OpenFlags, truncate: bool) -> gofer::OpenFlags {
    let mut out = match flags.accmode() {
        0 => gofer::OpenFlags::READ,
        1 => gofer::OpenFlags::WRITE,
        _ => gofer::OpenFlags::READ | gofer::OpenFlags::WRITE,
    };
    out.set(gofer::OpenFlags::TRUNC, truncate && out.contains(gofer::OpenFlags::WRITE));
    out.set(gofer::OpenFlags::NOATIME, flags.contains(OpenFlags::O_NOATIME));
    if flags.contains(OpenFlags::O_SYNC) {
        out |= gofer::OpenFlags::SYNC;
    } else if flags.contains(OpenFlags::O_DSYNC) {
        out |= gofer::OpenFlags::DSYNC;
    }
    out
}

fn owner(new: &NewNode<'_>) -> Owner {
    Owner { uid: new.uid, gid: new.gid }
}

impl Inode for GoferInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        self.attr.get()
    }

    fn refresh(&self) -> Fut<'_, Result<Attr, Errno>> {
        Box::pin(self.fresh())
    }

    fn walk<'a>(&'a self, names: &'a [Vec<u8>], _: Asker<'a>) -> Fut<'a, Result<Walked, Errno>> {
        Box::pin(self.walk_names(names))
    }

    fn in_memory(&self) -> bool {
        false
    }

    fn readlink<'a>(&'a self, _: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        Box::pin(async move {
            let known = self.target.borrow().clone();
            if let Some(target) = known {
                return Ok(target);
            }
            let target = self.shared.client.readlink(&self.node).await?.to_vec();
            self.target.replace(Some(target.clone()));
            Ok(target)
        })
    }

    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        Box::pin(async move {
            let client = &self.shared.client;
            if self.attr().is_dir() {
                let flags = gofer::OpenFlags::READ | gofer::OpenFlags::DIRECTORY;
                let opened = client.open(&self.node, flags, 0).await?;
                self.attr.set(attr(&opened.attr));
                return Ok(Box::new(GoferDir::new(self.clone(), opened.file)) as Box<dyn FileOps>);
            }
            let opened = client.open(&self.node, open_flags(cx.flags, cx.truncate), 0).await?;
            let truncate_apart = cx.truncate && !cx.flags.writable();
            if truncate_apart {
                // O_RDONLY | O_TRUNC truncates in Linux.
                let change = AttrChange { size: Some(0), ..Default::default() };
                client.setattr(&self.node, &change).await?;
            }
            self.attr.set(attr(&opened.attr));
            if cx.truncate {
                self.arena.resized(0).await?;
            }
            let keeps_set_id = cx.creds.has(cap::FSETID);
            Ok(Box::new(GoferFile::new(self.clone(), opened.file, keeps_set_id)) as Box<dyn FileOps>)
        })
    }

    fn make<'a>(&'a self, name: &'a [u8], new: NewNode<'a>) -> Fut<'a, Result<Rc<dyn Inode>, Errno>> {
        Box::pin(async move {
            let kind = match new.mode & mode::S_IFMT {
                mode::S_IFDIR => MakeKind::Directory,
                mode::S_IFLNK => MakeKind::Symlink(new.target),
                mode::S_IFIFO => MakeKind::Fifo,
                mode::S_IFSOCK => MakeKind::Socket,
                mode::S_IFREG => MakeKind::Regular,
                _ => return Err(Errno::EPERM),
            };
            let made = self.shared.client.make(&self.node, name, kind, new.mode & 0o7777, owner(&new)).await?;
            let inode = self.shared.inode(attr(&made.attr), made.handle.ok_or(Errno::EIO)?);
            if !new.target.is_empty() {
                inode.target.replace(Some(new.target.to_vec()));
            }
            Ok(inode as Rc<dyn Inode>)
        })
    }

    fn create<'a>(
        &'a self,
        name: &'a [u8],
        new: NewNode<'a>,
        flags: OpenFlags,
    ) -> Option<Fut<'a, Result<Created, Errno>>> {
        Some(Box::pin(async move {
            let flags = open_flags(flags, false);
            let made = self.shared.client.create(&self.node, name, flags, new.mode & 0o7777, owner(&new)).await?;
            let inode = self.shared.inode(attr(&made.attr), made.node);
            Ok(Created { ops: Box::new(GoferFile::new(inode.clone(), made.file, true)), inode })
        }))
    }

    fn temp_file<'a>(&'a self, new: NewNode<'a>, flags: OpenFlags) -> Fut<'a, Result<Created, Errno>> {
        Box::pin(async move {
            let flags = open_flags(flags, false);
            let made = self.shared.client.temp_file(&self.node, flags, new.mode & 0o7777, owner(&new)).await?;
            let inode = self.shared.inode(attr(&made.attr), made.node);
            Ok(Created { ops: Box::new(GoferFile::new(inode.clone(), made.file, true)), inode })
        })
    }

    fn link<'a>(&'a self, name: &'a [u8], inode: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        Box::pin(async move {
            let target = Self::of(inode)?;
            let a = self.shared.client.link(&target.node, &self.node, name).await?;
            target.attr.set(attr(&a));
            Ok(())
        })
    }

    fn unlink<'a>(&'a self, name: &'a [u8], _: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        Box::pin(self.shared.client.unlink(&self.node, name))
    }

    fn rmdir<'a>(&'a self, name: &'a [u8], _: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        Box::pin(self.shared.client.rmdir(&self.node, name))
    }

    fn rename<'a>(
        &'a self,
        name: &'a [u8],
        to: &'a Rc<dyn Inode>,
        to_name: &'a [u8],
        how: RenameMode,
    ) -> Fut<'a, Result<(), Errno>> {
        Box::pin(async move {
            let flags = match how {
                RenameMode::Replace => RenameFlags::empty(),
                RenameMode::NoReplace => RenameFlags::NOREPLACE,
                RenameMode::Exchange => RenameFlags::EXCHANGE,
            };
            self.shared.client.rename(&self.node, name, &Self::of(to)?.node, to_name, flags).await
        })
    }

    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        Box::pin(async move {
            let time = |t: Option<SetTime>| {
                t.map(|t| match t {
                    SetTime::Now => TimeChange::Now,
                    SetTime::At(t) => TimeChange::At { sec: t.tv_sec, nsec: t.tv_nsec as u32 },
                })
            };
            let change = AttrChange {
                mode: set.mode,
                uid: set.uid,
                gid: set.gid,
                size: set.size,
                atime: time(set.atime),
                mtime: time(set.mtime),
            };
            let a = attr(&self.shared.client.setattr(&self.node, &change).await?);
            self.attr.set(a);
            match set.size {
                Some(size) => self.arena.resized(size).await,
                None => Ok(()),
            }
        })
    }

    fn get_xattr<'a>(&'a self, name: &'a [u8]) -> Fut<'a, Result<Bytes, Errno>> {
        Box::pin(self.shared.client.getxattr(&self.node, name))
    }

    fn set_xattr<'a>(&'a self, name: &'a [u8], value: Bytes, how: XattrMode) -> Fut<'a, Result<(), Errno>> {
        Box::pin(async move {
            let flags = match how {
                XattrMode::Any => XattrFlags::empty(),
                XattrMode::Create => XattrFlags::CREATE,
                XattrMode::Replace => XattrFlags::REPLACE,
            };
            self.shared.client.setxattr(&self.node, name, &value, flags).await
        })
    }

    fn list_xattr(&self) -> Fut<'_, Result<Vec<Vec<u8>>, Errno>> {
        Box::pin(async move {
            let names = self.shared.client.listxattr(&self.node).await?;
            Ok(names.split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
        })
    }

    fn remove_xattr<'a>(&'a self, name: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        Box::pin(self.shared.client.removexattr(&self.node, name))
    }

    fn locks(&self) -> Option<&InodeLocks> {
        Some(&self.locks)
    }

    fn endpoint(&self) -> Option<&RefCell<Option<Rc<dyn Any>>>> {
        Some(&self.endpoint)
    }
}

impl Drop for GoferInode {
    fn drop(&mut self) {
        self.shared.forget(self.key);
    }
}
