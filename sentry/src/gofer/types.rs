//! What the client takes and returns, typed.

use super::Handle;
use bytes::Bytes;
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{Attr, Features};

/// The export, as `attach` found it.
#[derive(Debug)]
pub struct Attached {
    /// The root directory (or file: an export may be one).
    pub root: Handle,
    /// Its attributes.
    pub attr: Attr,
    /// What the gofer can do, and whether the export is read-only.
    pub features: Features,
}

/// Which steps of a walk keep a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Each, for a cache of directory entries.
    Each,
    /// The last one reached.
    Last,
}

/// One name found.
#[derive(Debug)]
pub struct Step {
    /// Its attributes.
    pub attr: Attr,
    /// Its handle, if kept.
    pub handle: Option<Handle>,
}

/// Why a walk ended where it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalkEnd {
    /// All names were found, and the last is no symbolic link.
    Complete,
    /// The last step is a symbolic link with this target, be it the last name or not.
    Symlink(Vec<u8>),
    /// The last step is no directory, and names remain.
    NotDirectory,
    /// The name after the last step: ENOENT if it is missing.
    Failed(Errno),
}

/// How far a walk came: `steps[i]` belongs to `names[i]`.
#[derive(Debug)]
pub struct Walked {
    /// The names found.
    pub steps: Vec<Step>,
    /// Why there are no more.
    pub end: WalkEnd,
}

/// An opened file.
#[derive(Debug)]
pub struct Opened {
    /// For input and output; names the inode as well.
    pub file: Handle,
    /// After opening (hence after truncation).
    pub attr: Attr,
    /// The first bytes, if asked for; shorter than asked for: all there is (or it could not be read).
    pub data: Bytes,
}

/// A new file.
#[derive(Debug)]
pub struct Created {
    /// The inode.
    pub node: Handle,
    /// The same, opened.
    pub file: Handle,
    /// Its attributes.
    pub attr: Attr,
}

/// Who makes a file: file system uid and gid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// As the container counts.
    pub uid: u32,
    /// As the container counts.
    pub gid: u32,
}

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakeKind<'a> {
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Symlink(&'a [u8]),
    /// A FIFO.
    Fifo,
    /// A socket's name (nothing listens there).
    Socket,
    /// A regular file that is not to be opened, as `mknod(2)` makes it.
    Regular,
}

/// Attributes to change: those that are present, in the order owner, size, mode, times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// Permissions with set-id and sticky bits (07777).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<TimeChange>,
    /// Modification time.
    pub mtime: Option<TimeChange>,
}

/// A time to set; leaving it out is `UTIME_OMIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeChange {
    /// `UTIME_NOW`
    Now,
    /// Since the epoch.
    At {
        /// Seconds.
        sec: i64,
        /// Nanoseconds below a second.
        nsec: u32,
    },
}
