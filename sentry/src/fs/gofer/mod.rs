//! A tree served by a gofer: inodes are the gofer's handles, everything else is asked for.
//!
//! Two names of one inode give the same [`GoferInode`] (found by device and number, which the handle pins). Attributes are those
//! of the last walk or refresh. File data is never cached here; see `vfs::arena` for mappings.

mod file;
mod inode;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use rsc_proto::abi::{Errno, Statfs, Timespec};

use crate::gofer::{self, Features, GoferClient, Handle, StatFs};
use crate::kernel::file::Fut;
use crate::kernel::host::ComputeHost;
use crate::vfs::{Attr, FileSystem, Inode};

pub use file::GoferFile;
pub use inode::GoferInode;

/// File systems of Linux on which closing a file can't fail: nothing needs to be asked then.
const NO_FLUSH: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x858_458f6];

/// What the inodes of one gofer share.
pub(crate) struct Shared {
    pub(crate) client: GoferClient,
    pub(crate) host: Rc<dyn ComputeHost>,
    /// Descriptors can be given to the supervisor.
    pub(crate) donate: Cell<bool>,
    /// Closing a written file can fail.
    pub(crate) flush: bool,
    inodes: RefCell<HashMap<(u64, u64), Weak<GoferInode>>>,
    /// Written to by mappings of the workload: kept, because the copy at the compute host is the truth.
    mapped: RefCell<Vec<Rc<GoferInode>>>,
}

/// See the module's text.
pub struct GoferFs {
    shared: Rc<Shared>,
    root: Rc<GoferInode>,
    read_only: bool,
}

impl GoferFs {
    /// Attaches to the gofer behind `client`.
    pub async fn attach(client: GoferClient, host: Rc<dyn ComputeHost>) -> Result<Rc<Self>, Errno> {
        let attached = client.attach().await?;
        let kind = client.statfs(&attached.root).await.map_or(0, |s| s.kind);
        let shared = Rc::new(Shared {
            donate: Cell::new(attached.features.contains(Features::DONATE)),
            flush: !NO_FLUSH.contains(&kind),
            client,
            host,
            inodes: RefCell::default(),
            mapped: RefCell::default(),
        });
        let root = shared.inode(attr(&attached.attr), attached.root);
        Ok(Rc::new(Self { shared, root, read_only: attached.features.contains(Features::READ_ONLY) }))
    }

    /// Writes back what the workload has written through mappings.
    pub async fn sync_mapped(&self) -> Result<(), Errno> {
        let mapped = self.shared.mapped.borrow().clone();
        let mut result = Ok(());
        for inode in mapped {
            result = result.and(inode.sync_arena().await);
        }
        result
    }
}

impl Drop for GoferFs {
    fn drop(&mut self) {
        // These inodes hold what holds them.
        let mapped = self.shared.mapped.take();
        drop(mapped);
    }
}

impl Shared {
    /// The inode with these attributes: the one that is known, or a new one on `node`.
    pub(crate) fn inode(self: &Rc<Self>, attr: Attr, node: Handle) -> Rc<GoferInode> {
        let key = (attr.dev, attr.ino);
        if let Some(known) = self.inodes.borrow().get(&key).and_then(Weak::upgrade) {
            known.set_known(attr);
            return known;
        }
        let inode = GoferInode::new(self.clone(), node, attr);
        self.inodes.borrow_mut().insert(key, Rc::downgrade(&inode));
        inode
    }

    fn forget(&self, key: (u64, u64)) {
        let mut inodes = self.inodes.borrow_mut();
        if inodes.get(&key).is_some_and(|w| w.strong_count() == 0) {
            inodes.remove(&key);
        }
    }

    pub(crate) fn keep_mapped(&self, inode: Rc<GoferInode>) {
        let mut mapped = self.mapped.borrow_mut();
        if !mapped.iter().any(|m| Rc::ptr_eq(m, &inode)) {
            mapped.push(inode);
        }
    }
}

/// The wire's attributes as the VFS has them.
pub(crate) fn attr(a: &gofer::Attr) -> Attr {
    let time = |sec, nsec: u32| Timespec { tv_sec: sec, tv_nsec: i64::from(nsec) };
    Attr {
        dev: a.dev,
        ino: a.ino,
        mode: a.mode,
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        rdev: a.rdev,
        size: a.size.min(i64::MAX as u64),
        blksize: a.blksize,
        blocks: a.blocks,
        atime: time(a.atime, a.atime_ns),
        mtime: time(a.mtime, a.mtime_ns),
        ctime: time(a.ctime, a.ctime_ns),
        btime: (a.mask & libc::STATX_BTIME != 0).then(|| time(a.btime, a.btime_ns)),
        attributes: a.attributes,
        attributes_mask: a.attributes_mask,
    }
}

fn statfs(s: &StatFs) -> Statfs {
    Statfs {
        f_type: s.kind as i64,
        f_bsize: s.bsize as i64,
        f_blocks: s.blocks,
        f_bfree: s.bfree,
        f_bavail: s.bavail,
        f_files: s.files,
        f_ffree: s.ffree,
        f_fsid: [s.fsid as i32, (s.fsid >> 32) as i32],
        f_namelen: s.namelen as i64,
        f_frsize: s.frsize as i64,
        f_flags: 0,
        f_spare: [0; 4],
    }
}

impl FileSystem for GoferFs {
    fn kind(&self) -> &'static str {
        "rsc"
    }

    fn root(&self) -> Rc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Fut<'_, Result<Statfs, Errno>> {
        Box::pin(async move { Ok(statfs(&self.shared.client.statfs(self.root.node()).await?)) })
    }

    fn sync(&self) -> Fut<'_, Result<(), Errno>> {
        Box::pin(self.sync_mapped())
    }

    fn read_only(&self) -> bool {
        self.read_only
    }
}
