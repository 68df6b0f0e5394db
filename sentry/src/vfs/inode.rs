//! What a file system implements: inodes and the file system they belong to.
//!
//! Permissions, mounts, names' validity and the umask are the VFS's work: an inode does what it is told. Operations are async
//! because a file's home may be a gofer; those of file systems in memory are ready at once.

use std::any::Any;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, OpenFlags, Stat, Statfs, Timespec, mode};

use crate::kernel::Kernel;
use crate::kernel::credentials::Credentials;
use crate::kernel::file::{File, FileOps, Fut, ready};
use crate::kernel::task::Task;

use super::Location;

/// Attributes of an inode, as statx(2) knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device that a device node stands for.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred size of input and output, bytes.
    pub blksize: u32,
    /// Allocated, of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the contents.
    pub mtime: Timespec,
    /// Last change of the attributes.
    pub ctime: Timespec,
    /// Birth, if it is known.
    pub btime: Option<Timespec>,
    /// `STATX_ATTR_*`.
    pub attributes: u64,
    /// Which of them the file system knows.
    pub attributes_mask: u64,
}

impl Attr {
    /// `S_IFDIR` and kin.
    pub const fn kind(&self) -> u32 {
        self.mode & mode::S_IFMT
    }

    /// A directory.
    pub const fn is_dir(&self) -> bool {
        self.kind() == mode::S_IFDIR
    }

    /// A symbolic link.
    pub const fn is_symlink(&self) -> bool {
        self.kind() == mode::S_IFLNK
    }

    /// A regular file.
    pub const fn is_regular(&self) -> bool {
        self.kind() == mode::S_IFREG
    }

    /// As stat(2) shows them.
    pub fn to_stat(&self) -> Stat {
        Stat {
            st_dev: self.dev,
            st_ino: self.ino,
            st_nlink: u64::from(self.nlink),
            st_mode: self.mode,
            st_uid: self.uid,
            st_gid: self.gid,
            st_rdev: self.rdev,
            st_size: self.size as i64,
            st_blksize: i64::from(self.blksize),
            st_blocks: self.blocks as i64,
            st_atim: self.atime,
            st_mtim: self.mtime,
            st_ctim: self.ctime,
            ..Default::default()
        }
    }

    /// From what stat(2) shows.
    pub fn from_stat(s: &Stat) -> Self {
        Self {
            dev: s.st_dev,
            ino: s.st_ino,
            mode: s.st_mode,
            nlink: s.st_nlink as u32,
            uid: s.st_uid,
            gid: s.st_gid,
            rdev: s.st_rdev,
            size: s.st_size as u64,
            blksize: s.st_blksize as u32,
            blocks: s.st_blocks as u64,
            atime: s.st_atim,
            mtime: s.st_mtim,
            ctime: s.st_ctim,
            ..Default::default()
        }
    }
}

/// `d_type` of a file with this mode.
pub const fn d_type(mode: u32) -> u8 {
    ((mode & mode::S_IFMT) >> 12) as u8
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The clock of the file's home.
    Now,
    /// This one.
    At(Timespec),
}

/// Attributes to change: those that are present. Permission has been checked; set-id bits that must go are in `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permissions with set-id and sticky bits, without the type.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
}

/// A node to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Type and permissions, after the umask.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group; a set-group-id directory's own has been put here already.
    pub gid: u32,
    /// For device nodes.
    pub rdev: u64,
    /// For symbolic links.
    pub target: &'a [u8],
}

/// Who opens, how, and where.
#[derive(Clone)]
pub struct OpenContext<'a> {
    /// The flags of open(2).
    pub flags: OpenFlags,
    /// `O_TRUNC`, where it counts (a regular file that was there before).
    pub truncate: bool,
    /// The place that is opened.
    pub location: &'a Location,
    /// The credentials.
    pub creds: &'a Credentials,
    /// The caller; none when the kernel itself opens.
    pub task: Option<&'a Rc<Task>>,
    /// The kernel, once it exists.
    pub kernel: Option<&'a Rc<Kernel>>,
}

/// An extended attribute's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Make or replace.
    Any,
    /// `XATTR_CREATE`.
    Create,
    /// `XATTR_REPLACE`.
    Replace,
}

/// `RENAME_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace what is there.
    Replace,
    /// `RENAME_NOREPLACE`.
    NoReplace,
    /// `RENAME_EXCHANGE`.
    Exchange,
}

/// How far a look-up of several names came.
pub struct Walked {
    /// The inodes that were found, in the order of the names.
    pub steps: Vec<Rc<dyn Inode>>,
    /// Why there are no more; `None` when all were found, or the last is a symbolic link or no directory.
    pub stop: Option<Errno>,
}

/// Where a magic link leads: no path is walked.
pub enum Magic {
    /// A place in the tree.
    Location(Location),
    /// An open file (`/proc/PID/fd/N`).
    File(Rc<File>),
}

/// Who is asking for a name or a link: what `/proc/self` depends on.
#[derive(Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The caller; none when the kernel itself walks.
    pub task: Option<&'a Rc<Task>>,
    /// The kernel, once it exists.
    pub kernel: Option<&'a Rc<Kernel>>,
}

/// One file, directory, link or device. Two names of one file give the same `Rc`.
pub trait Inode: Any {
    /// For downcasts by the file system that made it.
    fn as_any(&self) -> &dyn Any;

    /// Attributes as they were last known. For file systems in memory these are the truth.
    fn attr(&self) -> Attr;

    /// Attributes as they are now.
    fn refresh(&self) -> Fut<'_, Result<Attr, Errno>> {
        ready(Ok(self.attr()))
    }

    /// Looks up several names, each in the directory before it; may stop early, but not before the first. Attributes of the
    /// inodes found are current. Names are valid (not empty, `.`, `..` or too long).
    fn walk<'a>(&'a self, names: &'a [Vec<u8>], asker: Asker<'a>) -> Fut<'a, Result<Walked, Errno>> {
        let found = match names.first() {
            Some(name) => self.lookup(name, asker),
            None => Err(Errno::EINVAL),
        };
        ready(Ok(match found {
            Ok(inode) => Walked { steps: vec![inode], stop: None },
            Err(e) => Walked { steps: Vec::new(), stop: Some(e) },
        }))
    }

    /// Looks up one name, for file systems in memory.
    fn lookup(&self, name: &[u8], asker: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        let _ = (name, asker);
        Err(Errno::ENOENT)
    }

    /// Whether names in this directory are found without leaving the sentry, and change only through it.
    fn in_memory(&self) -> bool {
        true
    }

    /// readlink(2).
    fn readlink<'a>(&'a self, asker: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        let _ = asker;
        ready(Err(Errno::EINVAL))
    }

    /// Where following this link leads without a path; `None` for ordinary links.
    fn follow_magic<'a>(&'a self, asker: Asker<'a>) -> Option<Fut<'a, Result<Magic, Errno>>> {
        let _ = asker;
        None
    }

    /// Opens. Access has been checked.
    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>>;

    /// Makes a node: regular file, directory, symbolic link, FIFO, socket or device. `EEXIST` if the name is taken.
    fn make<'a>(&'a self, name: &'a [u8], new: NewNode<'a>) -> Fut<'a, Result<Rc<dyn Inode>, Errno>> {
        let _ = (name, new);
        ready(Err(Errno::EPERM))
    }

    /// Makes a regular file and opens it at once, whatever its permissions. `None`: use `make` and `open`.
    fn create<'a>(
        &'a self,
        name: &'a [u8],
        new: NewNode<'a>,
        flags: OpenFlags,
    ) -> Option<Fut<'a, Result<Created, Errno>>> {
        let _ = (name, new, flags);
        None
    }

    /// Makes a file without a name (`O_TMPFILE`).
    fn temp_file<'a>(&'a self, new: NewNode<'a>, flags: OpenFlags) -> Fut<'a, Result<Created, Errno>> {
        let _ = (new, flags);
        ready(Err(Errno::EOPNOTSUPP))
    }

    /// Gives `inode`, of the same file system, a name here.
    fn link<'a>(&'a self, name: &'a [u8], inode: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        let _ = (name, inode);
        ready(Err(Errno::EPERM))
    }

    /// Takes away a name of something that is no directory.
    fn unlink<'a>(&'a self, name: &'a [u8], inode: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        let _ = (name, inode);
        ready(Err(Errno::EPERM))
    }

    /// Takes away an empty directory.
    fn rmdir<'a>(&'a self, name: &'a [u8], inode: &'a Rc<dyn Inode>) -> Fut<'a, Result<(), Errno>> {
        let _ = (name, inode);
        ready(Err(Errno::EPERM))
    }

    /// Moves a name from here to `to`, a directory of the same file system.
    fn rename<'a>(
        &'a self,
        name: &'a [u8],
        to: &'a Rc<dyn Inode>,
        to_name: &'a [u8],
        how: RenameMode,
    ) -> Fut<'a, Result<(), Errno>> {
        let _ = (name, to, to_name, how);
        ready(Err(Errno::EPERM))
    }

    /// Changes attributes.
    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        let _ = set;
        ready(Err(Errno::EPERM))
    }

    /// The value of an extended attribute, with its prefix.
    fn get_xattr<'a>(&'a self, name: &'a [u8]) -> Fut<'a, Result<Bytes, Errno>> {
        let _ = name;
        ready(Err(Errno::EOPNOTSUPP))
    }

    /// Sets an extended attribute.
    fn set_xattr<'a>(&'a self, name: &'a [u8], value: Bytes, how: XattrMode) -> Fut<'a, Result<(), Errno>> {
        let _ = (name, value, how);
        ready(Err(Errno::EOPNOTSUPP))
    }

    /// The names of all extended attributes.
    fn list_xattr(&self) -> Fut<'_, Result<Vec<Vec<u8>>, Errno>> {
        ready(Ok(Vec::new()))
    }

    /// Takes an extended attribute away.
    fn remove_xattr<'a>(&'a self, name: &'a [u8]) -> Fut<'a, Result<(), Errno>> {
        let _ = name;
        ready(Err(Errno::EOPNOTSUPP))
    }

    /// Locks on the file; `None` where there can't be any.
    fn locks(&self) -> Option<&super::lock::InodeLocks> {
        None
    }

    /// The object behind a FIFO or a bound socket: whoever opens it first puts it here (`ipc`, `net`).
    fn endpoint(&self) -> Option<&std::cell::RefCell<Option<Rc<dyn Any>>>> {
        None
    }
}

/// A file that was made and opened.
pub struct Created {
    /// The new inode.
    pub inode: Rc<dyn Inode>,
    /// The opened file.
    pub ops: Box<dyn FileOps>,
}

/// One file system: a tree of inodes.
pub trait FileSystem {
    /// The name in `/proc/mounts`.
    fn kind(&self) -> &'static str;

    /// The root directory (or the file, when a single file is mounted).
    fn root(&self) -> Rc<dyn Inode>;

    /// statfs(2).
    fn statfs(&self) -> Fut<'_, Result<Statfs, Errno>>;

    /// Writes everything back to the disk.
    fn sync(&self) -> Fut<'_, Result<(), Errno>> {
        ready(Ok(()))
    }

    /// Nothing in it can be changed, whatever the mount says. Linux: `SB_RDONLY`.
    fn read_only(&self) -> bool {
        false
    }

    /// Options for `/proc/mounts` besides the mount's flags, such as `size=64k`.
    fn options(&self) -> String {
        String::new()
    }
}
