//! Messages of the gofer's wire. Errors of each operation are the errno of the host's system call that it names, besides EBADF
//! (a handle that is not bound, or not opened for this), EINVAL (a malformed name) and EROFS (a read-only export).

/// One operation of the client's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Chosen by the client; comes back in the reply. Not in use by another request that waits.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Handles to close before the operation. Unbound numbers are ignored: the request that should have bound them failed.
    #[prost(uint32, repeated, tag = "2")]
    pub close: Vec<u32>,
    /// What to do. None: only the closes; there is no reply.
    #[prost(oneof = "Op", tags = "3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32")]
    pub op: Option<Op>,
}

/// The operations. Contracts about order and failure that hold for all are in the module's documentation.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Op {
    /// Look up several names. Binds handles.
    #[prost(message, tag = "3")]
    Walk(Walk),
    /// `pread(2)`; the reply's payload is the data.
    #[prost(message, tag = "4")]
    Read(Read),
    /// `pwrite(2)`; the request's payload is the data. A short count is possible; with `SYNC` or `DSYNC` an error may come
    /// after data was written, as in Linux.
    #[prost(message, tag = "5")]
    Write(Write),
    /// `statx(2)`.
    #[prost(message, tag = "6")]
    GetAttr(Node),
    /// Open what a handle names. Binds a handle.
    #[prost(message, tag = "7")]
    Open(Open),
    /// `getdents(2)` with attributes.
    #[prost(message, tag = "8")]
    ReadDir(ReadDir),
    /// `readlink(2)`; the reply's payload is the target.
    #[prost(message, tag = "9")]
    ReadLink(Node),
    /// Create and open a regular file. Binds handles.
    #[prost(message, tag = "10")]
    Create(Create),
    /// `chown`, `truncate`, `chmod`, `utimensat`, in this order. If one fails, those before it have been done (Linux's
    /// calls change one thing each; ask for one at a time where this matters).
    #[prost(message, tag = "11")]
    SetAttr(SetAttr),
    /// `unlink(2)` or `rmdir(2)`.
    #[prost(message, tag = "12")]
    Unlink(Unlink),
    /// `renameat2(2)`.
    #[prost(message, tag = "13")]
    Rename(Rename),
    /// `mkdir(2)`, `symlink(2)` or `mknod(2)`. May bind a handle.
    #[prost(message, tag = "14")]
    Make(Make),
    /// `link(2)`.
    #[prost(message, tag = "15")]
    Link(Link),
    /// The root's handle and attributes; limits. Binds a handle.
    #[prost(message, tag = "16")]
    Attach(Attach),
    /// `fsync(2)` or `fdatasync(2)`. Slow.
    #[prost(message, tag = "17")]
    Sync(Sync),
    /// `fallocate(2)`. Slow.
    #[prost(message, tag = "18")]
    Allocate(Allocate),
    /// `fstatfs(2)`.
    #[prost(message, tag = "19")]
    StatFs(Node),
    /// `getxattr(2)`; the reply's payload is the value.
    #[prost(message, tag = "20")]
    GetXattr(XattrName),
    /// `setxattr(2)`; the request's payload is the value.
    #[prost(message, tag = "21")]
    SetXattr(SetXattr),
    /// `listxattr(2)`; the reply's payload is the names, each ended by NUL.
    #[prost(message, tag = "22")]
    ListXattr(Node),
    /// `removexattr(2)`.
    #[prost(message, tag = "23")]
    RemoveXattr(XattrName),
    /// `flock(2)` or an open file description's record lock (`F_OFD_SETLK`). Parked if it has to wait.
    #[prost(message, tag = "24")]
    Lock(Lock),
    /// `F_OFD_GETLK`.
    #[prost(message, tag = "25")]
    TestLock(Lock),
    /// `poll(2)` of an opened FIFO, until one of the events is there. Parked.
    #[prost(message, tag = "26")]
    Poll(Poll),
    /// Ends the waiting of a parked request, which then fails with EINTR. No error if there is none.
    #[prost(message, tag = "27")]
    Cancel(Cancel),
    /// Send a descriptor to the supervisor.
    #[prost(message, tag = "28")]
    Donate(Donate),
    /// `copy_file_range(2)`. Slow.
    #[prost(message, tag = "29")]
    CopyRange(CopyRange),
    /// `lseek(2)` with `SEEK_DATA` or `SEEK_HOLE`.
    #[prost(message, tag = "30")]
    Seek(Seek),
    /// What `close(2)` would report: runs the file system's flush without giving the handle up.
    #[prost(message, tag = "31")]
    Flush(Node),
    /// `open(2)` with `O_TMPFILE`. Binds handles.
    #[prost(message, tag = "32")]
    TempFile(Create),
}

/// One answer of the gofer's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    /// The request's.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// 0, or why it failed.
    #[prost(int32, tag = "2")]
    pub errno: i32,
    /// What the operation returns besides the payload.
    #[prost(oneof = "Outcome", tags = "3,4,5,6,7,8,9,10")]
    pub outcome: Option<Outcome>,
}

/// What operations return.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Outcome {
    /// Of [`Op::Walk`].
    #[prost(message, tag = "3")]
    Walk(WalkReply),
    /// Attributes after the operation: of `GetAttr`, `SetAttr`, `Open`, `Create`, `TempFile`, `Make`, `Link`.
    #[prost(message, tag = "4")]
    Attr(Attr),
    /// Of [`Op::Write`].
    #[prost(message, tag = "5")]
    Written(Written),
    /// Of [`Op::ReadDir`].
    #[prost(message, tag = "6")]
    Dir(DirReply),
    /// Of [`Op::Attach`].
    #[prost(message, tag = "7")]
    Attach(AttachReply),
    /// Of [`Op::StatFs`].
    #[prost(message, tag = "8")]
    StatFs(StatFs),
    /// The lock in the way, of [`Op::TestLock`]; none if there is none.
    #[prost(message, tag = "9")]
    Lock(LockInfo),
    /// A number: the offset of `Seek`, the count of `CopyRange`, the events of `Poll`.
    #[prost(uint64, tag = "10")]
    Value(u64),
}

/// A handle and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Node {
    /// Names the inode.
    #[prost(uint32, tag = "1")]
    pub handle: u32,
}

/// The first request.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Attach {
    /// [`super::VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// To bind to the root.
    #[prost(uint32, tag = "2")]
    pub root: u32,
}

/// What the export is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttachReply {
    /// The root's.
    #[prost(message, optional, tag = "1")]
    pub attr: Option<Attr>,
    /// Handle numbers are below this; binding more than fit gives ENFILE.
    #[prost(uint32, tag = "2")]
    pub max_handles: u32,
    /// [`super::Features`].
    #[prost(uint32, tag = "3")]
    pub features: u32,
}

/// Look up `names`, each in the directory that the one before it named. `..` is never among them, symbolic links are not
/// followed: both are the caller's work.
///
/// Errors of the request as a whole: EBADF, EINVAL, ENFILE (no more handles). Everything that is wrong with a name is a
/// [`WalkReply::stop`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Walk {
    /// Where to start.
    #[prost(uint32, tag = "1")]
    pub dir: u32,
    /// 1 to [`super::MAX_WALK`] names.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub names: Vec<Vec<u8>>,
    /// As many as names: each step reached is bound to the one at its place. Or one: the last step reached is bound to it.
    /// Those of steps that were not reached stay free.
    #[prost(uint32, repeated, tag = "3")]
    pub handles: Vec<u32>,
}

/// How far a walk came.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WalkReply {
    /// Attributes of the steps reached, in the order of the names. A symbolic link at which the walk stopped is among them.
    #[prost(message, repeated, tag = "1")]
    pub steps: Vec<Attr>,
    /// Why there are no more. None: all names were found, and the last is no symbolic link.
    #[prost(oneof = "Stop", tags = "2,3,4")]
    pub stop: Option<Stop>,
}

/// Why a walk stopped.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Stop {
    /// The last step is a symbolic link; this is its target.
    #[prost(bytes = "vec", tag = "2")]
    Symlink(Vec<u8>),
    /// The last step is no directory, and names remain.
    #[prost(bool, tag = "3")]
    NotDirectory(bool),
    /// The name after the last step could not be looked up: ENOENT if it is missing.
    #[prost(int32, tag = "4")]
    Failed(i32),
}

/// A file's attributes, as `statx(2)` gives them.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Attr {
    /// `stx_mask`
    #[prost(uint32, tag = "1")]
    pub mask: u32,
    /// `stx_mode`: type and permissions.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    /// `stx_uid`, as the container counts.
    #[prost(uint32, tag = "3")]
    pub uid: u32,
    /// `stx_gid`
    #[prost(uint32, tag = "4")]
    pub gid: u32,
    /// `stx_ino`
    #[prost(uint64, tag = "5")]
    pub ino: u64,
    /// `stx_size`, bytes.
    #[prost(uint64, tag = "6")]
    pub size: u64,
    /// `stx_blocks`, of 512 bytes.
    #[prost(uint64, tag = "7")]
    pub blocks: u64,
    /// `stx_blksize`, bytes.
    #[prost(uint32, tag = "8")]
    pub blksize: u32,
    /// `stx_nlink`
    #[prost(uint32, tag = "9")]
    pub nlink: u32,
    /// The device of the file system, as `makedev(3)` has it.
    #[prost(uint64, tag = "10")]
    pub dev: u64,
    /// The device that a device node stands for.
    #[prost(uint64, tag = "11")]
    pub rdev: u64,
    /// `stx_atime`, seconds.
    #[prost(sint64, tag = "12")]
    pub atime: i64,
    /// `stx_mtime`, seconds.
    #[prost(sint64, tag = "13")]
    pub mtime: i64,
    /// `stx_ctime`, seconds.
    #[prost(sint64, tag = "14")]
    pub ctime: i64,
    /// `stx_btime`, seconds.
    #[prost(sint64, tag = "15")]
    pub btime: i64,
    /// `stx_atime`, nanoseconds below a second.
    #[prost(uint32, tag = "16")]
    pub atime_ns: u32,
    /// `stx_mtime`, nanoseconds below a second.
    #[prost(uint32, tag = "17")]
    pub mtime_ns: u32,
    /// `stx_ctime`, nanoseconds below a second.
    #[prost(uint32, tag = "18")]
    pub ctime_ns: u32,
    /// `stx_btime`, nanoseconds below a second.
    #[prost(uint32, tag = "19")]
    pub btime_ns: u32,
    /// `stx_attributes`
    #[prost(uint64, tag = "20")]
    pub attributes: u64,
    /// `stx_attributes_mask`
    #[prost(uint64, tag = "21")]
    pub attributes_mask: u64,
    /// `stx_mnt_id`: differs where another file system is mounted in the tree.
    #[prost(uint64, tag = "22")]
    pub mnt_id: u64,
}

/// Open the inode of `node`. The reply has the attributes after it, and as payload the first bytes if they were asked for.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Open {
    /// What to open.
    #[prost(uint32, tag = "1")]
    pub node: u32,
    /// To bind to the opened file.
    #[prost(uint32, tag = "2")]
    pub file: u32,
    /// [`super::OpenFlags`].
    #[prost(uint32, tag = "3")]
    pub flags: u32,
    /// Bytes from the file's start to send with the reply, at most [`super::MAX_PAYLOAD`]; regular files opened for reading
    /// only, and no error if they cannot be read.
    #[prost(uint32, tag = "4")]
    pub prefetch: u32,
}

/// Create a regular file, `O_CREAT | O_EXCL`: EEXIST if the name is taken. As [`Op::TempFile`] the name is empty and the file has
/// none until it is linked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Create {
    /// The directory.
    #[prost(uint32, tag = "1")]
    pub dir: u32,
    /// The new name.
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
    /// [`super::OpenFlags`] of `file`.
    #[prost(uint32, tag = "3")]
    pub flags: u32,
    /// Permissions, after the caller's umask.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// The caller's file system uid; the file is born with it.
    #[prost(uint32, tag = "5")]
    pub uid: u32,
    /// The caller's file system gid. A set-group-id directory's own wins, as in Linux.
    #[prost(uint32, tag = "6")]
    pub gid: u32,
    /// To bind to the inode.
    #[prost(uint32, tag = "7")]
    pub node: u32,
    /// To bind to the opened file.
    #[prost(uint32, tag = "8")]
    pub file: u32,
}

/// Make something other than a regular file to be opened.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Make {
    /// The directory.
    #[prost(uint32, tag = "1")]
    pub dir: u32,
    /// The new name. EEXIST if it is taken.
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
    /// Type (`S_IFDIR`, `S_IFLNK`, `S_IFIFO`, `S_IFSOCK`, `S_IFREG`; devices: EPERM) and permissions, after the umask.
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// The caller's file system uid.
    #[prost(uint32, tag = "4")]
    pub uid: u32,
    /// The caller's file system gid.
    #[prost(uint32, tag = "5")]
    pub gid: u32,
    /// To bind to the inode.
    #[prost(uint32, tag = "6")]
    pub node: u32,
    /// A symbolic link's target, 1 to [`super::TARGET_MAX`] bytes, no NUL.
    #[prost(bytes = "vec", tag = "7")]
    pub target: Vec<u8>,
}

/// Give an inode one more name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Link {
    /// The inode.
    #[prost(uint32, tag = "1")]
    pub node: u32,
    /// Directory of the new name.
    #[prost(uint32, tag = "2")]
    pub dir: u32,
    /// The new name.
    #[prost(bytes = "vec", tag = "3")]
    pub name: Vec<u8>,
}

/// Remove a name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Unlink {
    /// The directory.
    #[prost(uint32, tag = "1")]
    pub dir: u32,
    /// The name.
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
    /// `rmdir(2)` instead of `unlink(2)`.
    #[prost(bool, tag = "3")]
    pub directory: bool,
}

/// Move a name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rename {
    /// Directory of the old name.
    #[prost(uint32, tag = "1")]
    pub from_dir: u32,
    /// The old name.
    #[prost(bytes = "vec", tag = "2")]
    pub from: Vec<u8>,
    /// Directory of the new name.
    #[prost(uint32, tag = "3")]
    pub to_dir: u32,
    /// The new name.
    #[prost(bytes = "vec", tag = "4")]
    pub to: Vec<u8>,
    /// [`super::RenameFlags`].
    #[prost(uint32, tag = "5")]
    pub flags: u32,
}

/// Change attributes: those that are present. EPERM for an owner that the gofer cannot represent (rootless).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SetAttr {
    /// The inode.
    #[prost(uint32, tag = "1")]
    pub handle: u32,
    /// Permissions with set-id and sticky bits.
    #[prost(uint32, optional, tag = "2")]
    pub mode: Option<u32>,
    /// Owner. The host clears set-id bits when the owner changes, unless `mode` says otherwise.
    #[prost(uint32, optional, tag = "3")]
    pub uid: Option<u32>,
    /// Group.
    #[prost(uint32, optional, tag = "4")]
    pub gid: Option<u32>,
    /// Length in bytes.
    #[prost(uint64, optional, tag = "5")]
    pub size: Option<u64>,
    /// Access time.
    #[prost(message, optional, tag = "6")]
    pub atime: Option<SetTime>,
    /// Modification time.
    #[prost(message, optional, tag = "7")]
    pub mtime: Option<SetTime>,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SetTime {
    /// `UTIME_NOW`: the host's clock; the rest is ignored.
    #[prost(bool, tag = "1")]
    pub now: bool,
    /// Seconds.
    #[prost(sint64, tag = "2")]
    pub sec: i64,
    /// Nanoseconds below a second.
    #[prost(uint32, tag = "3")]
    pub nsec: u32,
}

/// Read from an opened file. Fewer bytes than asked for: the end, or what was there (FIFO). EAGAIN: nothing in a FIFO yet.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Read {
    /// An opened handle.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// Where, in bytes. None: as `read(2)`, for FIFOs.
    #[prost(uint64, optional, tag = "2")]
    pub offset: Option<u64>,
    /// At most [`super::MAX_PAYLOAD`] bytes; more is cut.
    #[prost(uint32, tag = "3")]
    pub len: u32,
}

/// Write the payload to an opened file.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Write {
    /// An opened handle.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// Where, in bytes. None: as `write(2)`, for FIFOs.
    #[prost(uint64, optional, tag = "2")]
    pub offset: Option<u64>,
    /// [`super::WriteFlags`].
    #[prost(uint32, tag = "3")]
    pub flags: u32,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Written {
    /// Bytes.
    #[prost(uint32, tag = "1")]
    pub count: u32,
    /// The offset behind the last byte written; 0 for FIFOs.
    #[prost(uint64, tag = "2")]
    pub end: u64,
    /// If asked for.
    #[prost(message, optional, tag = "3")]
    pub attr: Option<Attr>,
}

/// Read entries of an opened directory, `.` and `..` among them, in the host's order.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReadDir {
    /// An opened directory.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// 0, or where an earlier entry ended ([`DirEntry::cookie`]).
    #[prost(uint64, tag = "2")]
    pub cookie: u64,
    /// Entries at most; the gofer sends fewer when the frame is full.
    #[prost(uint32, tag = "3")]
    pub count: u32,
    /// With attributes.
    #[prost(bool, tag = "4")]
    pub attr: bool,
}

/// Entries of a directory.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DirReply {
    /// In the host's order.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<DirEntry>,
    /// No entries follow these.
    #[prost(bool, tag = "2")]
    pub end: bool,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DirEntry {
    /// The name.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// `d_ino`
    #[prost(uint64, tag = "2")]
    pub ino: u64,
    /// `d_type`
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    /// `d_off`: continues behind this entry.
    #[prost(uint64, tag = "4")]
    pub cookie: u64,
    /// If asked for; none for `.` and `..`, and when the name has gone meanwhile.
    #[prost(message, optional, tag = "5")]
    pub attr: Option<Attr>,
}

/// Write data back to the disk.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Sync {
    /// An opened handle.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// `fdatasync(2)`.
    #[prost(bool, tag = "2")]
    pub data_only: bool,
}

/// Reserve or free space.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Allocate {
    /// Opened for writing.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// [`super::AllocateFlags`].
    #[prost(uint32, tag = "2")]
    pub flags: u32,
    /// Bytes.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// Bytes.
    #[prost(uint64, tag = "4")]
    pub len: u64,
}

/// As `statfs(2)`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StatFs {
    /// `f_type`
    #[prost(uint64, tag = "1")]
    pub kind: u64,
    /// `f_bsize`
    #[prost(uint64, tag = "2")]
    pub bsize: u64,
    /// `f_blocks`
    #[prost(uint64, tag = "3")]
    pub blocks: u64,
    /// `f_bfree`
    #[prost(uint64, tag = "4")]
    pub bfree: u64,
    /// `f_bavail`
    #[prost(uint64, tag = "5")]
    pub bavail: u64,
    /// `f_files`
    #[prost(uint64, tag = "6")]
    pub files: u64,
    /// `f_ffree`
    #[prost(uint64, tag = "7")]
    pub ffree: u64,
    /// `f_fsid`
    #[prost(uint64, tag = "8")]
    pub fsid: u64,
    /// `f_namelen`
    #[prost(uint64, tag = "9")]
    pub namelen: u64,
    /// `f_frsize`
    #[prost(uint64, tag = "10")]
    pub frsize: u64,
    /// `f_flags`
    #[prost(uint64, tag = "11")]
    pub flags: u64,
}

/// An extended attribute. `user.*` is the host's; `security.*` can be read; `trusted.*` is absent (ENODATA) and refused (EPERM);
/// everything else is EOPNOTSUPP.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XattrName {
    /// The inode.
    #[prost(uint32, tag = "1")]
    pub handle: u32,
    /// 1 to 255 bytes, no NUL.
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
}

/// Set an extended attribute to the payload, at most [`super::XATTR_MAX`] bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SetXattr {
    /// The inode.
    #[prost(uint32, tag = "1")]
    pub handle: u32,
    /// 1 to 255 bytes, no NUL.
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
    /// [`super::XattrFlags`].
    #[prost(uint32, tag = "3")]
    pub flags: u32,
}

/// Which kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LockStyle {
    /// `flock(2)`: the whole file.
    Flock = 0,
    /// A record lock owned by the open file description.
    Record = 1,
}

/// What a lock allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LockKind {
    /// Give it back.
    Unlock = 0,
    /// Shared.
    Read = 1,
    /// Exclusive.
    Write = 2,
}

/// Take or give back a lock. It belongs to the opened handle and ends with it. EAGAIN: another holds it, and `wait` is not set.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Lock {
    /// An opened handle.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// [`LockStyle`].
    #[prost(enumeration = "LockStyle", tag = "2")]
    pub style: i32,
    /// [`LockKind`].
    #[prost(enumeration = "LockKind", tag = "3")]
    pub kind: i32,
    /// First byte, of a record lock.
    #[prost(uint64, tag = "4")]
    pub start: u64,
    /// Bytes; 0: to the end, wherever it is.
    #[prost(uint64, tag = "5")]
    pub len: u64,
    /// Wait until it is free.
    #[prost(bool, tag = "6")]
    pub wait: bool,
}

/// A lock that another holds.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LockInfo {
    /// [`LockKind`].
    #[prost(enumeration = "LockKind", tag = "1")]
    pub kind: i32,
    /// First byte.
    #[prost(uint64, tag = "2")]
    pub start: u64,
    /// Bytes; 0: to the end.
    #[prost(uint64, tag = "3")]
    pub len: u64,
    /// `l_pid` if the gofer can see that process, else 0; -1 for locks of open file descriptions.
    #[prost(sint32, tag = "4")]
    pub pid: i32,
}

/// Wait for events.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Poll {
    /// An opened handle.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// `POLLIN`, `POLLOUT`…; errors and hang-ups always count.
    #[prost(uint32, tag = "2")]
    pub events: u32,
}

/// End a wait.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Cancel {
    /// Its request's id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// Send a fresh descriptor of a regular file to the supervisor on this machine, over the donation socket: a message of eight
/// bytes, the token in little endian, with one descriptor. It is there before the reply. EOPNOTSUPP: no donation socket.
/// EAGAIN: the supervisor does not take them off fast enough.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Donate {
    /// An opened handle.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// For the supervisor to tell them apart.
    #[prost(uint64, tag = "2")]
    pub token: u64,
    /// `O_RDWR` instead of `O_RDONLY`; the handle must have been opened for writing.
    #[prost(bool, tag = "3")]
    pub writable: bool,
}

/// Copy within the export. The value is the count, 0 at the end.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CopyRange {
    /// Opened for reading.
    #[prost(uint32, tag = "1")]
    pub from: u32,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub from_offset: u64,
    /// Opened for writing.
    #[prost(uint32, tag = "3")]
    pub to: u32,
    /// Bytes.
    #[prost(uint64, tag = "4")]
    pub to_offset: u64,
    /// Bytes; [`super::MAX_COPY`] at once.
    #[prost(uint64, tag = "5")]
    pub len: u64,
}

/// Find data or a hole. ENXIO: none behind the offset.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Seek {
    /// An opened handle.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// `SEEK_HOLE` instead of `SEEK_DATA`.
    #[prost(bool, tag = "3")]
    pub hole: bool,
}
