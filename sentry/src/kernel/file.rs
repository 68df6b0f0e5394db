//! Open file descriptions (open(2)): what descriptors refer to, and what every kind of file implements.
//!
//! Operations never wait for readiness: one that can't go on returns `EAGAIN`, and the system call's handler waits
//! (`Cx::blocking`). They are async only because a file's home may be a gofer or the compute host.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use rsc_proto::abi::{Errno, OpenFlags, Stat};
use rsc_proto::v1::FileSource;

use super::cx::Cx;
use super::memory::CHUNK;
use super::wait::{PollEvents, WaitQueue};
use crate::error::SysResult;
use crate::tty::Terminal;
use crate::vfs::Location;

/// A boxed future on the kernel's thread.
pub type Fut<'a, T> = LocalBoxFuture<'a, T>;

/// Wraps a value that is there already.
pub fn ready<'a, T: 'a>(value: T) -> Fut<'a, T> {
    Box::pin(std::future::ready(value))
}

/// One directory entry for getdents64(2). `next` is the position after it.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u64,
    /// Position to go on from after this entry.
    pub next: u64,
    /// `DT_*`.
    pub kind: u8,
    /// Name, without NUL.
    pub name: Vec<u8>,
}

/// What a mapping of a file needs (mmap(2)).
#[derive(Clone, Copy, Debug)]
pub struct MapRequest {
    /// Offset in the file, page-aligned.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// `MAP_SHARED` with a description open for writing: the mapping may become writable at any time.
    pub shared_writable: bool,
}

/// What every kind of file implements. Defaults are Linux's answers for a file without that operation.
pub trait FileOps: Any {
    /// For downcasts by the family that made the file (sockets, epoll, pipes).
    fn as_any(&self) -> &dyn Any;

    /// What `/proc/PID/fd/N` shows for a file without a path, such as `pipe:[17]` or `anon_inode:[eventpoll]`.
    fn describe(&self) -> String {
        "anon_inode:[file]".into()
    }

    /// Whether positions have a meaning: pread(2), lseek(2). Pipes and sockets: no.
    fn seekable(&self) -> bool {
        false
    }

    /// Positions have a meaning, but the one of the description is the compute host's: read(2) and write(2) take no offset and go on
    /// from there. Not `seekable` then.
    fn placed(&self) -> Option<&dyn Placed> {
        None
    }

    /// Reads at most `len` bytes; `offset` is meaningless unless `seekable`. Empty: end of file.
    fn read<'a>(&'a self, file: &'a File, offset: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        let _ = (file, offset, len);
        ready(Err(Errno::EINVAL))
    }

    /// Writes; the number of bytes taken. With `append` the offset is ignored and the position after the write returned as well.
    fn write<'a>(&'a self, file: &'a File, offset: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        let _ = (file, offset, data);
        ready(Err(Errno::EINVAL))
    }

    /// Current readiness. Files without a queue are always ready.
    fn poll(&self) -> PollEvents {
        PollEvents::READABLE | PollEvents::WRITABLE
    }

    /// Makes `poll` current when the truth lives elsewhere (the caller's stdio). `None`: it is current.
    fn refresh(&self) -> Option<Fut<'_, ()>> {
        None
    }

    /// Where to wait for readiness; `None`: always ready (and epoll refuses it with `EPERM`).
    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        None
    }

    /// The terminal that this is a description of, with whom job control is asked before bytes move.
    fn terminal(&self) -> Option<&Rc<Terminal>> {
        None
    }

    /// Status. Anonymous files have a made-up one.
    fn stat(&self) -> Fut<'_, Result<Stat, Errno>>;

    /// ioctl(2) beyond what is the same for every file.
    fn ioctl<'a>(&'a self, cx: &'a Cx, file: &'a Rc<File>, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        let _ = (cx, file, cmd, arg);
        ready(Err(Errno::ENOTTY.into()))
    }

    /// lseek(2): the new position. `whence` 0..=4. Only asked if `seekable`.
    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        let _ = (file, offset, whence);
        ready(Err(Errno::ESPIPE))
    }

    /// Directory entries from position `from`, about `budget` bytes of `struct linux_dirent64`. Empty: the end.
    fn readdir<'a>(&'a self, from: u64, budget: usize) -> Fut<'a, Result<Vec<DirEntry>, Errno>> {
        let _ = (from, budget);
        ready(Err(Errno::ENOTDIR))
    }

    /// fsync(2), fdatasync(2).
    fn sync(&self, data_only: bool) -> Fut<'_, Result<(), Errno>> {
        let _ = data_only;
        ready(Err(Errno::EINVAL))
    }

    /// ftruncate(2).
    fn truncate(&self, len: u64) -> Fut<'_, Result<(), Errno>> {
        let _ = len;
        ready(Err(Errno::EINVAL))
    }

    /// fallocate(2).
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Fut<'_, Result<(), Errno>> {
        let _ = (mode, offset, len);
        ready(Err(Errno::EOPNOTSUPP))
    }

    /// Makes the pages of a mapping present at the compute host and says where. `ENODEV`: can't be mapped.
    fn map<'a>(&'a self, file: &'a Rc<File>, request: MapRequest) -> Fut<'a, Result<FileSource, Errno>> {
        let _ = (file, request);
        ready(Err(Errno::ENODEV))
    }

    /// Opens the same object once more, by `/proc/PID/fd/N` (pipes, terminals). Default: as for sockets.
    fn reopen(&self, flags: OpenFlags) -> Result<Box<dyn FileOps>, Errno> {
        let _ = flags;
        Err(Errno::ENXIO)
    }

    /// The status flags are about to change (fcntl `F_SETFL`).
    fn set_status(&self, flags: OpenFlags) {
        let _ = flags;
    }

    /// A descriptor of it was closed: errors of posted writes surface here; locks of the closing thread group go.
    fn flush<'a>(&'a self, file: &'a File, owner: u32) -> Fut<'a, Result<(), Errno>> {
        let _ = (file, owner);
        ready(Ok(()))
    }
}

/// A file whose position is not the sentry's.
pub trait Placed {
    /// pread(2) of at most `len` bytes.
    fn read_at(&self, offset: u64, len: usize) -> Fut<'_, Result<Bytes, Errno>>;
    /// pwrite(2): the bytes taken.
    fn write_at(&self, offset: u64, data: Bytes) -> Fut<'_, Result<usize, Errno>>;
    /// lseek(2): the new position.
    fn seek_to(&self, offset: i64, whence: u32) -> Fut<'_, Result<u64, Errno>>;
}

/// Outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes taken.
    pub bytes: usize,
    /// Position after the last byte.
    pub end: u64,
}

/// Told when a description is released (its last descriptor closed, its last call done).
pub trait Release {
    /// The description with this id is gone.
    fn released(&self, file: u64);
}

/// An open file description, shared by the descriptors that dup(2) and fork(2) made of it. Dropping the last one releases it.
pub struct File {
    ops: Box<dyn FileOps>,
    flags: Cell<OpenFlags>,
    offset: Cell<u64>,
    /// Held while a call moves the offset. Linux: f_pos_lock.
    pub position: tokio::sync::Mutex<()>,
    location: Option<Location>,
    /// fcntl `F_SETOWN`: positive a thread group, negative a process group.
    pub owner: Cell<i32>,
    /// fcntl `F_SETSIG`.
    pub owner_signal: Cell<i32>,
    /// Identifies the description among all of its sandbox, for locks and epoll.
    pub id: u64,
    /// Scratch for the family that made it.
    pub private: RefCell<Option<Box<dyn Any>>>,
    watchers: RefCell<Vec<Weak<dyn Release>>>,
}

impl Drop for File {
    fn drop(&mut self) {
        for watcher in self.watchers.take().iter().filter_map(Weak::upgrade) {
            watcher.released(self.id);
        }
        if let Some(locks) = self.location.as_ref().and_then(|at| at.inode().locks()) {
            locks.released(self.id);
        }
    }
}

thread_local! {
    static NEXT_ID: Cell<u64> = const { Cell::new(1) };
}

impl File {
    /// A description of an anonymous file.
    pub fn new(ops: impl FileOps, flags: OpenFlags) -> Rc<Self> {
        Self::with_location(Box::new(ops), flags, None)
    }

    /// A description of a file that was reached by a path.
    pub fn with_location(ops: Box<dyn FileOps>, flags: OpenFlags, location: Option<Location>) -> Rc<Self> {
        let id = NEXT_ID.with(|n| n.replace(n.get() + 1));
        // Creation flags are not status flags: F_GETFL doesn't show them. Linux: do_dentry_open().
        let gone =
            OpenFlags::O_CREAT | OpenFlags::O_EXCL | OpenFlags::O_NOCTTY | OpenFlags::O_TRUNC | OpenFlags::O_CLOEXEC;
        Rc::new(Self {
            ops,
            flags: Cell::new(flags - gone),
            offset: Cell::new(0),
            position: tokio::sync::Mutex::new(()),
            location,
            owner: Cell::new(0),
            owner_signal: Cell::new(0),
            id,
            private: RefCell::new(None),
            watchers: RefCell::default(),
        })
    }

    /// Has `watcher` told of the release. Telling it twice is as telling it once.
    pub fn on_release(&self, watcher: Weak<dyn Release>) {
        let mut watchers = self.watchers.borrow_mut();
        watchers.retain(|w| w.strong_count() > 0 && !w.ptr_eq(&watcher));
        watchers.push(watcher);
    }

    /// What the file can do.
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }

    /// The file as the type that implements it.
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }

    /// A process (by thread group id) has closed a descriptor of it: its record locks go, errors of posted writes surface. Linux:
    /// filp_flush().
    pub async fn closed_by(&self, owner: u32) -> Result<(), Errno> {
        if let Some(locks) = self.location.as_ref().and_then(|at| at.inode().locks()) {
            locks.closed_by(owner);
        }
        self.ops.flush(self, owner).await
    }

    /// Access mode and status flags.
    pub fn flags(&self) -> OpenFlags {
        self.flags.get()
    }

    /// Replaces the status flags; the caller keeps the access mode.
    pub fn set_flags(&self, flags: OpenFlags) {
        self.ops.set_status(flags);
        self.flags.set(flags);
    }

    /// Where it was opened, if by a path.
    pub fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// Opened with `O_PATH`.
    pub fn is_path(&self) -> bool {
        self.flags.get().contains(OpenFlags::O_PATH)
    }

    /// `O_NONBLOCK`.
    pub fn nonblocking(&self) -> bool {
        self.flags.get().contains(OpenFlags::O_NONBLOCK)
    }

    /// Open for reading.
    pub fn readable(&self) -> bool {
        matches!(self.flags.get().bits() & 3, 0 | 2) && !self.is_path()
    }

    /// Open for writing.
    pub fn writable(&self) -> bool {
        matches!(self.flags.get().bits() & 3, 1 | 2) && !self.is_path()
    }

    /// The position. Bytes.
    pub fn offset(&self) -> u64 {
        self.offset.get()
    }

    /// Moves the position.
    pub fn set_offset(&self, offset: u64) {
        self.offset.set(offset);
    }

    /// Reads up to `len` bytes at `offset`, in requests of at most `CHUNK`, into `sink`, until a short one.
    pub async fn read_chunks(
        &self,
        offset: u64,
        len: usize,
        mut sink: impl AsyncFnMut(Bytes) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        loop {
            let want = (len - done).min(CHUNK);
            let data = match self.ops.read(self, offset.saturating_add(done as u64), want).await {
                Ok(d) => d,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            };
            let n = data.len().min(want);
            if n > 0 {
                sink(data.slice(..n)).await?;
            }
            done += n;
            if n < want || done >= len || !self.ops.seekable() {
                return Ok(done);
            }
        }
    }
}
