//! Files without a path: what `/proc/PID/fd/N` leads to for pipes, sockets, the caller's streams and anonymous objects.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, Statfs, mode};

use crate::kernel::file::{File, FileOps, Fut, ready};
use crate::vfs::inode::{Attr, OpenContext, SetAttr, XattrMode};
use crate::vfs::{Asker, Dentry, FileSystem, Inode, Location};

/// Linux: `ANON_INODE_FS_MAGIC`.
const MAGIC: i64 = 0x0904_1934;
/// Linux: `PIPEFS_MAGIC`.
const PIPEFS_MAGIC: i64 = 0x5049_5045;
/// Linux: `SOCKFS_MAGIC`.
const SOCKFS_MAGIC: i64 = 0x534f_434b;

/// The file system of what has no path.
pub struct AnonFs {
    root: Rc<dyn Inode>,
    kind: &'static str,
    magic: i64,
}

impl AnonFs {
    /// One that holds nothing but `root`.
    pub fn new(kind: &'static str, magic: i64, root: Rc<dyn Inode>) -> Rc<Self> {
        Rc::new(Self { root, kind, magic })
    }
}

impl FileSystem for AnonFs {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn root(&self) -> Rc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Fut<'_, Result<Statfs, Errno>> {
        ready(Ok(Statfs { f_type: self.magic, f_bsize: 4096, f_frsize: 4096, f_namelen: 255, ..Default::default() }))
    }
}

/// An open file, seen as an inode.
struct OpenFile {
    file: Rc<File>,
    attr: RefCell<Attr>,
}

impl Inode for OpenFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        *self.attr.borrow()
    }

    fn refresh(&self) -> Fut<'_, Result<Attr, Errno>> {
        Box::pin(async move {
            let attr = Attr::from_stat(&self.file.ops().stat().await?);
            *self.attr.borrow_mut() = attr;
            Ok(attr)
        })
    }

    fn readlink<'a>(&'a self, _: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        ready(Err(Errno::EINVAL))
    }

    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        ready(self.file.ops().reopen(cx.flags))
    }

    fn set_attr<'a>(&'a self, _: SetAttr) -> Fut<'a, Result<(), Errno>> {
        ready(Err(Errno::EOPNOTSUPP))
    }

    fn get_xattr<'a>(&'a self, _: &'a [u8]) -> Fut<'a, Result<Bytes, Errno>> {
        ready(Err(Errno::EOPNOTSUPP))
    }

    fn set_xattr<'a>(&'a self, _: &'a [u8], _: Bytes, _: XattrMode) -> Fut<'a, Result<(), Errno>> {
        ready(Err(Errno::EOPNOTSUPP))
    }
}

/// A place for an open file that has none.
pub async fn location_of(file: &Rc<File>) -> Result<Location, Errno> {
    let mut attr = Attr::from_stat(&file.ops().stat().await?);
    if attr.mode & 0o777 == 0 {
        // The caller's streams: whoever holds a descriptor was given them.
        attr.mode |= 0o666;
    }
    let (kind, magic) = match attr.mode & mode::S_IFMT {
        mode::S_IFIFO => ("pipefs", PIPEFS_MAGIC),
        mode::S_IFSOCK => ("sockfs", SOCKFS_MAGIC),
        _ => ("anon_inodefs", MAGIC),
    };
    let inode: Rc<dyn Inode> = Rc::new(OpenFile { file: file.clone(), attr: RefCell::new(attr) });
    let dentry = Dentry::anonymous(file.ops().describe().as_bytes(), inode.clone(), false);
    Ok(Location::anonymous(AnonFs::new(kind, magic, inode), dentry))
}
