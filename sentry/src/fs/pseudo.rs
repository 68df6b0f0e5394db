//! Building blocks for file systems whose contents are made up on demand: fixed and dynamic directories, generated files, links.
//!
//! A read-only tree is a [`PseudoFs`] over a [`Dir`] of [`Dir::add`]ed nodes. Whatever depends on the time of asking implements
//! [`Content`] (a file's text), [`Listing`] (a directory) or [`Target`] (a link) and is wrapped in [`GenFile`], [`GenDir`], [`GenLink`].

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use rsc_proto::abi::{Errno, Stat, Statfs, mode};

use crate::kernel::Kernel;
use crate::kernel::file::{DirEntry, File, FileOps, Fut, Written, ready};
use crate::vfs::inode::{Attr, Magic, OpenContext, SetAttr, SetTime, Walked, d_type};
use crate::vfs::{Asker, FileSystem, Inode};

/// Mode, owner and number of a made-up inode.
pub struct Node {
    attr: Cell<Attr>,
}

impl Node {
    /// A node with type and permissions, owned by root.
    pub fn new(dev: u64, ino: u64, mode: u32) -> Self {
        let now = super::now();
        let attr = Attr {
            dev,
            ino,
            mode,
            nlink: if mode & mode::S_IFMT == mode::S_IFDIR { 2 } else { 1 },
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            ..Default::default()
        };
        Self { attr: Cell::new(attr) }
    }

    /// The same with an owner.
    pub fn owned(self, uid: u32, gid: u32) -> Self {
        self.attr.set(Attr { uid, gid, ..self.attr.get() });
        self
    }

    /// A device node.
    pub fn device(self, rdev: u64) -> Self {
        self.attr.set(Attr { rdev, ..self.attr.get() });
        self
    }

    /// Its attributes.
    pub fn attr(&self) -> Attr {
        self.attr.get()
    }

    /// Changes mode, owner and times; sizes can't be changed.
    pub fn set(&self, set: &SetAttr) -> Result<(), Errno> {
        let mut a = self.attr.get();
        if let Some(m) = set.mode {
            a.mode = a.mode & mode::S_IFMT | m & 0o7777;
        }
        a.uid = set.uid.unwrap_or(a.uid);
        a.gid = set.gid.unwrap_or(a.gid);
        let now = super::now();
        let time = |t: Option<SetTime>, old| match t {
            None => old,
            Some(SetTime::Now) => now,
            Some(SetTime::At(t)) => t,
        };
        a.atime = time(set.atime, a.atime);
        a.mtime = time(set.mtime, a.mtime);
        a.ctime = now;
        self.attr.set(a);
        Ok(())
    }
}

/// Where a generated file was opened. Never the task which did: a file that held it would hold its descriptors, itself among them.
#[derive(Clone)]
pub struct Opener {
    /// The sandbox's kernel.
    pub kernel: Weak<Kernel>,
    /// The task that opened; none for the kernel itself.
    pub tid: Option<u32>,
}

impl Opener {
    /// From what open(2) knows.
    pub fn of(cx: &OpenContext<'_>) -> Self {
        Self { kernel: cx.kernel.map(|k| k.this()).unwrap_or_default(), tid: cx.task.map(|t| t.tid) }
    }

    /// The kernel, while it lives.
    pub fn kernel(&self) -> Result<Rc<Kernel>, Errno> {
        self.kernel.upgrade().ok_or(Errno::EIO)
    }
}

/// What a generated file holds.
pub trait Content: 'static {
    /// The whole text. Made anew when somebody reads from the start.
    fn read<'a>(&'a self, opener: &'a Opener) -> Fut<'a, Result<Vec<u8>, Errno>>;

    /// Takes what is written; the bytes taken.
    fn write<'a>(&'a self, opener: &'a Opener, offset: u64, data: Bytes) -> Fut<'a, Result<usize, Errno>> {
        let _ = (opener, offset, data);
        ready(Err(Errno::EIO))
    }
}

/// Contents from a function of the opener.
impl<F: Fn(&Opener) -> Result<Vec<u8>, Errno> + 'static> Content for F {
    fn read<'a>(&'a self, opener: &'a Opener) -> Fut<'a, Result<Vec<u8>, Errno>> {
        ready(self(opener))
    }
}

/// A regular file with generated contents. Its size is shown as 0, as in proc.
pub struct GenFile {
    node: Node,
    content: Rc<dyn Content>,
}

impl GenFile {
    /// A file.
    pub fn new(node: Node, content: impl Content) -> Rc<Self> {
        Rc::new(Self { node, content: Rc::new(content) })
    }
}

impl Inode for GenFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        self.node.attr()
    }

    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        let opener = Opener::of(&cx);
        ready(Ok(Box::new(GenOpen { inode: self, opener, text: RefCell::default() })))
    }

    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        // Truncation of a writable file in proc has no effect and is no error.
        ready(self.node.set(&set))
    }
}

struct GenOpen {
    inode: Rc<GenFile>,
    opener: Opener,
    text: RefCell<Option<Bytes>>,
}

impl FileOps for GenOpen {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, _: &'a File, offset: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        Box::pin(async move {
            let known = if offset == 0 { None } else { self.text.borrow().clone() };
            let text = match known {
                Some(t) => t,
                None => {
                    let made = Bytes::from(self.inode.content.read(&self.opener).await?);
                    self.text.replace(Some(made.clone()));
                    made
                }
            };
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            Ok(text.slice(start..text.len().min(start.saturating_add(len))))
        })
    }

    fn write<'a>(&'a self, _: &'a File, offset: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        Box::pin(async move {
            let bytes = self.inode.content.write(&self.opener, offset, data).await?;
            Ok(Written { bytes, end: offset.saturating_add(bytes as u64) })
        })
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(self.inode.attr().to_stat()))
    }

    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        ready(seek_in(file, offset, whence, 0))
    }

    fn sync(&self, _: bool) -> Fut<'_, Result<(), Errno>> {
        ready(Err(Errno::EINVAL))
    }

    fn truncate(&self, _: u64) -> Fut<'_, Result<(), Errno>> {
        ready(Ok(()))
    }
}

/// lseek(2) in something of a known size, without holes.
pub fn seek_in(file: &File, offset: i64, whence: u32, size: u64) -> Result<u64, Errno> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let to = match whence {
        0 => Some(offset),
        1 => offset.checked_add(file.offset() as i64),
        2 => offset.checked_add(size),
        3 | 4 if offset < 0 || offset >= size => return Err(Errno::ENXIO),
        3 => Some(offset),
        4 => Some(size),
        _ => return Err(Errno::EINVAL),
    };
    to.and_then(|t| u64::try_from(t).ok()).ok_or(Errno::EINVAL)
}

/// What a generated directory holds.
pub trait Listing: 'static {
    /// The inode of a name.
    fn lookup(&self, name: &[u8], asker: Asker<'_>) -> Result<Rc<dyn Inode>, Errno>;

    /// Entries with positions above `from`, in the order of positions, without `.` and `..`. Positions start at 3; may return
    /// fewer than there are, but not none unless there are none.
    fn list(&self, opener: &Opener, from: u64) -> Vec<DirEntry>;

    /// The inode of a name that [`lookup`](Self::lookup) does not know.
    fn lookup_more<'a>(&'a self, name: &'a [u8], asker: Asker<'a>) -> Fut<'a, Result<Rc<dyn Inode>, Errno>> {
        let _ = (name, asker);
        ready(Err(Errno::ENOENT))
    }

    /// Entries behind those of [`list`](Self::list), with positions above `from`.
    fn list_more<'a>(&'a self, opener: &'a Opener, from: u64) -> Fut<'a, Vec<DirEntry>> {
        let _ = (opener, from);
        ready(Vec::new())
    }
}

/// A directory whose entries are made up.
pub struct GenDir {
    node: Node,
    listing: Rc<dyn Listing>,
}

impl GenDir {
    /// A directory.
    pub fn new(node: Node, listing: impl Listing) -> Rc<Self> {
        Rc::new(Self { node, listing: Rc::new(listing) })
    }
}

impl Inode for GenDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn make<'a>(&'a self, _: &'a [u8], _: crate::vfs::inode::NewNode<'a>) -> Fut<'a, Result<Rc<dyn Inode>, Errno>> {
        // Linux: proc's lookup itself fails for a name that is not there, before anybody asks whether it can be made.
        ready(Err(Errno::ENOENT))
    }

    fn attr(&self) -> Attr {
        self.node.attr()
    }

    fn lookup(&self, name: &[u8], asker: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        self.listing.lookup(name, asker)
    }

    fn walk<'a>(&'a self, names: &'a [Vec<u8>], asker: Asker<'a>) -> Fut<'a, Result<Walked, Errno>> {
        let Some(name) = names.first() else { return ready(Err(Errno::EINVAL)) };
        let walked = |found| match found {
            Ok(inode) => Walked { steps: vec![inode], stop: None },
            Err(e) => Walked { steps: Vec::new(), stop: Some(e) },
        };
        match self.listing.lookup(name, asker) {
            Err(Errno::ENOENT) => Box::pin(async move { Ok(walked(self.listing.lookup_more(name, asker).await)) }),
            found => ready(Ok(walked(found))),
        }
    }

    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        let (opener, listing, attr) = (Opener::of(&cx), self.listing.clone(), self.attr());
        ready(Ok(Box::new(GenDirOpen { opener, listing, attr })))
    }

    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        ready(self.node.set(&set))
    }
}

struct GenDirOpen {
    opener: Opener,
    listing: Rc<dyn Listing>,
    attr: Attr,
}

impl FileOps for GenDirOpen {
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
        ready(Ok(self.attr.to_stat()))
    }

    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        ready(if whence > 1 { Err(Errno::EINVAL) } else { seek_in(file, offset, whence, 0) })
    }

    fn readdir<'a>(&'a self, from: u64, _: usize) -> Fut<'a, Result<Vec<DirEntry>, Errno>> {
        Box::pin(async move {
            let mut entries = dots(from, self.attr.ino, self.attr.ino);
            entries.extend(self.listing.list(&self.opener, from.max(2)));
            entries.extend(self.listing.list_more(&self.opener, from.max(2)).await);
            Ok(entries)
        })
    }
}

/// `.` and `..`, at positions 1 and 2, as far as they lie behind `from`.
pub fn dots(from: u64, ino: u64, parent: u64) -> Vec<DirEntry> {
    let dot = |ino, next, name: &[u8]| DirEntry { ino, next, kind: d_type(mode::S_IFDIR), name: name.to_vec() };
    [dot(ino, 1, b"."), dot(parent, 2, b"..")].into_iter().filter(|d| d.next > from).collect()
}

/// A name and what it stands for.
type Entry = (Vec<u8>, Rc<dyn Inode>);

/// The entries of a fixed directory.
#[derive(Default)]
struct Entries {
    list: RefCell<Vec<Entry>>,
}

impl Listing for Rc<Entries> {
    fn lookup(&self, name: &[u8], _: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        self.list.borrow().iter().find(|(n, _)| n == name).map(|(_, i)| i.clone()).ok_or(Errno::ENOENT)
    }

    fn list(&self, _: &Opener, from: u64) -> Vec<DirEntry> {
        let list = self.list.borrow();
        let entry = |(i, (name, inode)): (usize, &Entry)| {
            let attr = inode.attr();
            DirEntry { ino: attr.ino, next: i as u64 + 3, kind: d_type(attr.mode), name: name.clone() }
        };
        list.iter().enumerate().map(entry).filter(|d| d.next > from).collect()
    }
}

/// A directory with fixed entries.
pub struct Dir {
    dir: Rc<GenDir>,
    entries: Rc<Entries>,
}

impl Dir {
    /// An empty directory.
    pub fn new(node: Node) -> Self {
        let entries = Rc::new(Entries::default());
        Self { dir: GenDir::new(node, entries.clone()), entries }
    }

    /// Adds an entry.
    pub fn add(&self, name: &str, inode: Rc<dyn Inode>) -> &Self {
        if inode.attr().is_dir() {
            let attr = self.dir.node.attr.get();
            self.dir.node.attr.set(Attr { nlink: attr.nlink + 1, ..attr });
        }
        self.entries.list.borrow_mut().push((name.as_bytes().to_vec(), inode));
        self
    }

    /// Its entries, for a directory that has others besides.
    pub fn list(&self, opener: &Opener, from: u64) -> Vec<DirEntry> {
        self.entries.list(opener, from)
    }

    /// The directory as an inode.
    pub fn inode(&self) -> Rc<dyn Inode> {
        self.dir.clone()
    }
}

/// Where a generated link points.
pub trait Target: 'static {
    /// readlink(2).
    fn read<'a>(&'a self, asker: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>>;

    /// Where following leads when that is no path; `None`: the path that `read` gives.
    fn follow<'a>(&'a self, asker: Asker<'a>) -> Option<Fut<'a, Result<Magic, Errno>>> {
        let _ = asker;
        None
    }
}

/// A fixed target.
impl Target for &'static str {
    fn read<'a>(&'a self, _: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        ready(Ok(self.as_bytes().to_vec()))
    }
}

/// A symbolic link whose target is made up.
pub struct GenLink {
    node: Node,
    target: Box<dyn Target>,
}

impl GenLink {
    /// A link.
    pub fn new(node: Node, target: impl Target) -> Rc<Self> {
        Rc::new(Self { node, target: Box::new(target) })
    }
}

impl Inode for GenLink {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        self.node.attr()
    }

    fn readlink<'a>(&'a self, asker: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        self.target.read(asker)
    }

    fn follow_magic<'a>(&'a self, asker: Asker<'a>) -> Option<Fut<'a, Result<Magic, Errno>>> {
        self.target.follow(asker)
    }

    fn open<'a>(self: Rc<Self>, _: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        ready(Err(Errno::ELOOP))
    }
}

/// A file system over made-up inodes.
pub struct PseudoFs {
    kind: &'static str,
    magic: i64,
    root: Rc<dyn Inode>,
}

impl PseudoFs {
    /// One with this name and `f_type`.
    pub fn new(kind: &'static str, magic: i64, root: Rc<dyn Inode>) -> Rc<Self> {
        Rc::new(Self { kind, magic, root })
    }
}

impl FileSystem for PseudoFs {
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
