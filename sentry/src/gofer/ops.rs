//! The operations, typed. Order and failure are as the wire's module documentation says: a call that fails has changed nothing,
//! unless its documentation says otherwise. All can fail with EIO (the connection is lost), EBADF (a handle of another
//! connection, or not opened for this), EROFS (a change in a read-only export).

use super::conn::{Call, Conn, Done};
use super::types::{Attached, AttrChange, Created, Keep, MakeKind, Opened, Owner, Step, TimeChange, WalkEnd, Walked};
use super::{GoferClient, Handle};
use crate::server::sandbox::GoferStream;
use bytes::Bytes;
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{
    self as wire, AllocateFlags, Attr, DirReply, Features, LockInfo, LockKind, LockStyle, Op, OpenFlags, Outcome,
    RenameFlags, StatFs, Stop, WriteFlags, Written, XattrFlags,
};

type Result<T> = std::result::Result<T, Errno>;

/// Bytes that a relayed connection should ask for at once; more is cut to it.
const MAX_DATA: usize = wire::MAX_PAYLOAD;

impl GoferClient {
    /// Starts a client on the stream. To be called within a `LocalSet`; then [`GoferClient::attach`].
    ///
    /// # Errors
    /// The socket cannot be given to the runtime.
    pub fn new(stream: GoferStream) -> std::io::Result<GoferClient> {
        Ok(GoferClient(Conn::start(stream)?))
    }

    /// Whether the connection is lost; then every call fails with EIO, and always will.
    pub fn is_lost(&self) -> bool {
        self.0.is_lost()
    }

    /// The first call: the root, its attributes, and what the export allows.
    ///
    /// # Errors
    /// EPROTONOSUPPORT: the gofer is of another build.
    pub async fn attach(&self) -> Result<Attached> {
        let binds = self.0.take_numbers(1)?;
        let op = Op::Attach(wire::Attach { version: wire::VERSION, root: one(&binds) });
        let done = self.0.call(op, Call { binds, ..Call::default() }).await?;
        let (Some(Outcome::Attach(reply)), Some(root)) = (done.reply.outcome, done.handles.into_iter().next()) else {
            return Err(self.wrong("attach"));
        };
        let (Some(attr), Some(features)) = (reply.attr, Features::from_bits(reply.features)) else {
            return Err(self.wrong("attach"));
        };
        self.0.set_max_handles(reply.max_handles);
        Ok(Attached { root, attr, features })
    }

    /// Looks `names` up from `dir` on, all in one request (of up to 256 names; more take more). `..` and `.` are not names here,
    /// and symbolic links end the walk: following them is the caller's work.
    ///
    /// # Errors
    /// Only for the walk as a whole: EINVAL (a malformed name), ENAMETOOLONG, ENFILE (no more handles: drop some). A name that
    /// cannot be looked up is in [`Walked::end`], with the steps before it.
    pub async fn walk<N: AsRef<[u8]>>(&self, dir: &Handle, names: &[N], keep: Keep) -> Result<Walked> {
        let mut walked = Walked { steps: Vec::with_capacity(names.len()), end: WalkEnd::Complete };
        let mut from = dir.clone();
        for names in names.chunks(wire::MAX_WALK) {
            // A chunk that is not the last keeps its end, to go on from there.
            let more = self.walk_once(&from, names, keep).await?;
            walked.steps.extend(more.steps);
            walked.end = more.end;
            match walked.steps.last().and_then(|s| s.handle.clone()) {
                Some(last) if walked.end == WalkEnd::Complete => from = last,
                _ => break,
            }
        }
        if walked.end == WalkEnd::Complete && walked.steps.len() < names.len() {
            // The chunk ended at something that is no directory, and names remain.
            walked.end = WalkEnd::NotDirectory;
        }
        Ok(walked)
    }

    async fn walk_once<N: AsRef<[u8]>>(&self, dir: &Handle, names: &[N], keep: Keep) -> Result<Walked> {
        for name in names {
            check_name(name.as_ref())?;
        }
        let dir = self.number(dir)?;
        let binds = self.0.take_numbers(if keep == Keep::Each { names.len() } else { 1 })?;
        let op = wire::Walk { dir, names: names.iter().map(|n| n.as_ref().to_vec()).collect(), handles: binds.clone() };
        let mut done = self.0.call(Op::Walk(op), Call { binds, ..Call::default() }).await?;
        let Some(Outcome::Walk(reply)) = done.reply.outcome.take() else { return Err(self.wrong("walk")) };
        let count = reply.steps.len();
        let consistent = match &reply.stop {
            None => count == names.len(),
            Some(Stop::Symlink(target)) => count > 0 && !target.is_empty() && target.len() <= wire::TARGET_MAX,
            Some(Stop::NotDirectory(_)) => count > 0 && count < names.len(),
            Some(Stop::Failed(_)) => count < names.len(),
        };
        if count > names.len() || !consistent {
            return Err(self.wrong("walk"));
        }
        let mut steps: Vec<Step> = reply.steps.into_iter().map(|attr| Step { attr, handle: None }).collect();
        let handles = std::mem::take(&mut done.handles).into_iter();
        // Handles that were not bound are closed like others: the gofer ignores that.
        match keep {
            Keep::Each => steps.iter_mut().zip(handles).for_each(|(step, handle)| step.handle = Some(handle)),
            Keep::Last => steps.iter_mut().rev().zip(handles).for_each(|(step, handle)| step.handle = Some(handle)),
        }
        let end = match reply.stop {
            None => WalkEnd::Complete,
            Some(Stop::Symlink(target)) => WalkEnd::Symlink(target),
            Some(Stop::NotDirectory(_)) => WalkEnd::NotDirectory,
            Some(Stop::Failed(errno)) => WalkEnd::Failed(Errno::new(errno)),
        };
        Ok(Walked { steps, end })
    }

    /// `statx(2)`.
    ///
    /// # Errors
    /// As `statx(2)` on a descriptor.
    pub async fn getattr(&self, node: &Handle) -> Result<Attr> {
        let op = Op::GetAttr(wire::Node { handle: self.number(node)? });
        self.attr_of(op, Call::default()).await.map(|(attr, _)| attr)
    }

    /// Changes attributes, in the order owner, size, mode, times; if one fails, those before it have been done. Returns those
    /// after it.
    ///
    /// # Errors
    /// As `chown`, `truncate`, `chmod`, `utimensat` on a descriptor by root; EPERM: the gofer cannot represent this owner.
    pub async fn setattr(&self, node: &Handle, change: &AttrChange) -> Result<Attr> {
        let time = |t: Option<TimeChange>| {
            t.map(|t| match t {
                TimeChange::Now => wire::SetTime { now: true, sec: 0, nsec: 0 },
                TimeChange::At { sec, nsec } => wire::SetTime { now: false, sec, nsec },
            })
        };
        let op = Op::SetAttr(wire::SetAttr {
            handle: self.number(node)?,
            mode: change.mode,
            uid: change.uid,
            gid: change.gid,
            size: change.size,
            atime: time(change.atime),
            mtime: time(change.mtime),
        });
        self.attr_of(op, Call::default()).await.map(|(attr, _)| attr)
    }

    /// Opens what `node` names. With `prefetch`, brings that many first bytes of a regular file along.
    ///
    /// # Errors
    /// As `open(2)` by root; ENXIO also for a socket and for a FIFO opened for writing without a reader (it is never waited for),
    /// EACCES for a device node, ELOOP for a symbolic link, ENFILE: drop some handles.
    pub async fn open(&self, node: &Handle, flags: OpenFlags, prefetch: usize) -> Result<Opened> {
        let node = self.number(node)?;
        let binds = self.0.take_numbers(1)?;
        let prefetch = prefetch.min(MAX_DATA);
        let op = wire::Open { node, file: one(&binds), flags: flags.bits(), prefetch: prefetch as u32 };
        let call = Call { binds, expect: prefetch, ..Call::default() };
        let (attr, done) = self.attr_of(Op::Open(op), call).await?;
        if done.payload.len() > prefetch {
            return Err(self.wrong("open"));
        }
        let data = done.payload;
        let file = done.handles.into_iter().next().ok_or(Errno::EIO)?;
        Ok(Opened { file, attr, data })
    }

    /// Creates a regular file and opens it: `O_CREAT | O_EXCL`. `mode` is what is left of it after the umask.
    ///
    /// # Errors
    /// As `open(2)` by root: EEXIST, ENOSPC, ENOENT (the directory was removed)…; EPERM: the gofer cannot represent this owner.
    pub async fn create(
        &self,
        dir: &Handle,
        name: &[u8],
        flags: OpenFlags,
        mode: u32,
        owner: Owner,
    ) -> Result<Created> {
        check_name(name)?;
        self.create_with(dir, name, flags, mode, owner, Op::Create).await
    }

    /// Creates and opens a file without a name, `O_TMPFILE`; [`GoferClient::link`] may give it one.
    ///
    /// # Errors
    /// As `open(2)` by root; EOPNOTSUPP where the file system cannot.
    pub async fn temp_file(&self, dir: &Handle, flags: OpenFlags, mode: u32, owner: Owner) -> Result<Created> {
        self.create_with(dir, b"", flags, mode, owner, Op::TempFile).await
    }

    async fn create_with(
        &self,
        dir: &Handle,
        name: &[u8],
        flags: OpenFlags,
        mode: u32,
        owner: Owner,
        op: fn(wire::Create) -> Op,
    ) -> Result<Created> {
        let dir = self.number(dir)?;
        let binds = self.0.take_numbers(2)?;
        let (node, file) = (one(&binds), binds.get(1).copied().unwrap_or(0));
        let (name, flags, Owner { uid, gid }) = (name.to_vec(), flags.bits(), owner);
        let op = op(wire::Create { dir, name, flags, mode, uid, gid, node, file });
        let (attr, done) = self.attr_of(op, Call { binds, ..Call::default() }).await?;
        let mut handles = done.handles.into_iter();
        match (handles.next(), handles.next()) {
            (Some(node), Some(file)) => Ok(Created { node, file, attr }),
            _ => Err(Errno::EIO),
        }
    }

    /// Makes a directory, symbolic link, FIFO, socket name or regular file. `mode` is the permissions left after the umask.
    ///
    /// # Errors
    /// As `mkdir(2)`, `symlink(2)`, `mknod(2)` by root; EPERM: the gofer cannot represent this owner.
    pub async fn make(&self, dir: &Handle, name: &[u8], kind: MakeKind<'_>, mode: u32, owner: Owner) -> Result<Step> {
        check_name(name)?;
        let (kind, target) = match kind {
            MakeKind::Directory => (libc::S_IFDIR, &b""[..]),
            MakeKind::Symlink(target) => (libc::S_IFLNK, target),
            MakeKind::Fifo => (libc::S_IFIFO, &b""[..]),
            MakeKind::Socket => (libc::S_IFSOCK, &b""[..]),
            MakeKind::Regular => (libc::S_IFREG, &b""[..]),
        };
        let dir = self.number(dir)?;
        let binds = self.0.take_numbers(1)?;
        let (name, mode, Owner { uid, gid }) = (name.to_vec(), kind | (mode & 0o7777), owner);
        let op = wire::Make { dir, name, mode, uid, gid, node: one(&binds), target: target.to_vec() };
        let (attr, done) = self.attr_of(Op::Make(op), Call { binds, ..Call::default() }).await?;
        Ok(Step { attr, handle: done.handles.into_iter().next() })
    }

    /// `link(2)`; returns the inode's attributes after it.
    ///
    /// # Errors
    /// As `link(2)` by root.
    pub async fn link(&self, node: &Handle, dir: &Handle, name: &[u8]) -> Result<Attr> {
        check_name(name)?;
        let op = wire::Link { node: self.number(node)?, dir: self.number(dir)?, name: name.to_vec() };
        self.attr_of(Op::Link(op), Call::default()).await.map(|(attr, _)| attr)
    }

    /// `unlink(2)`.
    ///
    /// # Errors
    /// As `unlink(2)` by root.
    pub async fn unlink(&self, dir: &Handle, name: &[u8]) -> Result<()> {
        self.remove(dir, name, false).await
    }

    /// `rmdir(2)`.
    ///
    /// # Errors
    /// As `rmdir(2)` by root.
    pub async fn rmdir(&self, dir: &Handle, name: &[u8]) -> Result<()> {
        self.remove(dir, name, true).await
    }

    async fn remove(&self, dir: &Handle, name: &[u8], directory: bool) -> Result<()> {
        check_name(name)?;
        let op = wire::Unlink { dir: self.number(dir)?, name: name.to_vec(), directory };
        self.0.call(Op::Unlink(op), Call::default()).await.map(drop)
    }

    /// `renameat2(2)`.
    ///
    /// # Errors
    /// As `renameat2(2)` by root.
    pub async fn rename(
        &self,
        from_dir: &Handle,
        from: &[u8],
        to_dir: &Handle,
        to: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        check_name(from)?;
        check_name(to)?;
        let op = wire::Rename {
            from_dir: self.number(from_dir)?,
            from: from.to_vec(),
            to_dir: self.number(to_dir)?,
            to: to.to_vec(),
            flags: flags.bits(),
        };
        self.0.call(Op::Rename(op), Call::default()).await.map(drop)
    }

    /// `readlink(2)`.
    ///
    /// # Errors
    /// EINVAL: no symbolic link.
    pub async fn readlink(&self, node: &Handle) -> Result<Bytes> {
        let op = Op::ReadLink(wire::Node { handle: self.number(node)? });
        let done = self.0.call(op, Call { expect: wire::TARGET_MAX, ..Call::default() }).await?;
        match done.payload.len() {
            1..=wire::TARGET_MAX => Ok(done.payload),
            _ => Err(self.wrong("readlink")),
        }
    }

    /// `pread(2)`; without an offset `read(2)`, for FIFOs. At most 1 MiB at once. Fewer bytes: the end (or what a FIFO had).
    ///
    /// # Errors
    /// As `pread(2)`; EAGAIN: nothing in a FIFO yet ([`GoferClient::poll`]).
    pub async fn read(&self, file: &Handle, offset: Option<u64>, len: usize) -> Result<Bytes> {
        let len = len.min(MAX_DATA);
        let op = Op::Read(wire::Read { file: self.number(file)?, offset, len: len as u32 });
        let done = self.0.call(op, Call { expect: len, ..Call::default() }).await?;
        if done.payload.len() > len { Err(self.wrong("read")) } else { Ok(done.payload) }
    }

    /// `pwrite(2)`; without an offset `write(2)`, for FIFOs; with [`WriteFlags::APPEND`] at the end, wherever that is. Takes at
    /// most 1 MiB of `data` at once and may write less.
    ///
    /// # Errors
    /// As `pwritev2(2)`; EAGAIN: no room in a FIFO.
    pub async fn write(&self, file: &Handle, offset: Option<u64>, data: &[u8], flags: WriteFlags) -> Result<Written> {
        let payload = data.get(..MAX_DATA).unwrap_or(data);
        let op = Op::Write(wire::Write { file: self.number(file)?, offset, flags: flags.bits() });
        let done = self.0.call(op, Call { payload, ..Call::default() }).await?;
        match done.reply.outcome {
            Some(Outcome::Written(w)) if w.count as usize <= payload.len() => Ok(w),
            _ => Err(self.wrong("write")),
        }
    }

    /// Entries of an opened directory behind `cookie` (0: from the start), with `.` and `..` as the host has them, and with
    /// attributes if wanted. Resume with the last entry's cookie.
    ///
    /// # Errors
    /// As `getdents(2)`.
    pub async fn readdir(&self, dir: &Handle, cookie: u64, count: usize, attr: bool) -> Result<DirReply> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let op = Op::ReadDir(wire::ReadDir { file: self.number(dir)?, cookie, count, attr });
        let done = self.0.call(op, Call { expect: wire::MAX_HEADER, ..Call::default() }).await?;
        let Some(Outcome::Dir(reply)) = done.reply.outcome else { return Err(self.wrong("readdir")) };
        let well_named = |name: &[u8]| name == b"." || name == b".." || wire::check_name(name).is_ok();
        if reply.entries.len() > count as usize || !reply.entries.iter().all(|e| well_named(&e.name)) {
            return Err(self.wrong("readdir"));
        }
        Ok(reply)
    }

    /// `fsync(2)`, or `fdatasync(2)`.
    ///
    /// # Errors
    /// As `fsync(2)`: write-back errors surface here.
    pub async fn fsync(&self, file: &Handle, data_only: bool) -> Result<()> {
        let op = Op::Sync(wire::Sync { file: self.number(file)?, data_only });
        self.0.call(op, Call::default()).await.map(drop)
    }

    /// What `close(2)` of a descriptor would report; the handle stays open.
    ///
    /// # Errors
    /// As `close(2)`.
    pub async fn flush(&self, file: &Handle) -> Result<()> {
        let op = Op::Flush(wire::Node { handle: self.number(file)? });
        self.0.call(op, Call::default()).await.map(drop)
    }

    /// `fallocate(2)`.
    ///
    /// # Errors
    /// As `fallocate(2)`.
    pub async fn fallocate(&self, file: &Handle, flags: AllocateFlags, offset: u64, len: u64) -> Result<()> {
        let op = Op::Allocate(wire::Allocate { file: self.number(file)?, flags: flags.bits(), offset, len });
        self.0.call(op, Call::default()).await.map(drop)
    }

    /// `fstatfs(2)`.
    ///
    /// # Errors
    /// As `fstatfs(2)`.
    pub async fn statfs(&self, node: &Handle) -> Result<StatFs> {
        let op = Op::StatFs(wire::Node { handle: self.number(node)? });
        match self.0.call(op, Call::default()).await?.reply.outcome {
            Some(Outcome::StatFs(statfs)) => Ok(statfs),
            _ => Err(self.wrong("statfs")),
        }
    }

    /// `getxattr(2)` with the largest buffer. `user.*` and `security.*` only.
    ///
    /// # Errors
    /// ENODATA: there is none (so for `trusted.*`). EOPNOTSUPP: another namespace.
    pub async fn getxattr(&self, node: &Handle, name: &[u8]) -> Result<Bytes> {
        check_xattr_name(name)?;
        let op = Op::GetXattr(wire::XattrName { handle: self.number(node)?, name: name.to_vec() });
        let done = self.0.call(op, Call { expect: wire::XATTR_MAX, ..Call::default() }).await?;
        if done.payload.len() > wire::XATTR_MAX { Err(self.wrong("getxattr")) } else { Ok(done.payload) }
    }

    /// `setxattr(2)`. `user.*` only; EPERM for `trusted.*` and `security.*`.
    ///
    /// # Errors
    /// As `setxattr(2)`.
    pub async fn setxattr(&self, node: &Handle, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        check_xattr_name(name)?;
        if value.len() > wire::XATTR_MAX {
            return Err(Errno::E2BIG);
        }
        let (handle, name) = (self.number(node)?, name.to_vec());
        let op = Op::SetXattr(wire::SetXattr { handle, name, flags: flags.bits() });
        self.0.call(op, Call { payload: value, ..Call::default() }).await.map(drop)
    }

    /// `listxattr(2)`: the names that can be read, each ended by NUL.
    ///
    /// # Errors
    /// As `listxattr(2)`.
    pub async fn listxattr(&self, node: &Handle) -> Result<Bytes> {
        let op = Op::ListXattr(wire::Node { handle: self.number(node)? });
        let done = self.0.call(op, Call { expect: wire::XATTR_MAX, ..Call::default() }).await?;
        if done.payload.len() > wire::XATTR_MAX { Err(self.wrong("listxattr")) } else { Ok(done.payload) }
    }

    /// `removexattr(2)`.
    ///
    /// # Errors
    /// As `removexattr(2)`.
    pub async fn removexattr(&self, node: &Handle, name: &[u8]) -> Result<()> {
        check_xattr_name(name)?;
        let op = Op::RemoveXattr(wire::XattrName { handle: self.number(node)?, name: name.to_vec() });
        self.0.call(op, Call::default()).await.map(drop)
    }

    /// `flock(2)` on the opened handle, which owns the lock. With `wait`, dropping the future ends the waiting; should the lock
    /// have been granted meanwhile, it is given back.
    ///
    /// # Errors
    /// EAGAIN: held by another, without `wait`. ENOLCK: too many wait.
    pub async fn flock(&self, file: &Handle, kind: LockKind, wait: bool) -> Result<()> {
        self.lock(file, LockStyle::Flock, kind, 0, 0, wait).await
    }

    /// A record lock owned by the opened handle (`F_OFD_SETLK`, `F_OFD_SETLKW`); `len` 0 is to the end. Locks of one handle do
    /// not conflict with each other. Dropping the future is as in [`GoferClient::flock`].
    ///
    /// # Errors
    /// As `fcntl(2)`; EAGAIN: held by another, without `wait`. ENOLCK: too many wait.
    pub async fn record_lock(&self, file: &Handle, kind: LockKind, start: u64, len: u64, wait: bool) -> Result<()> {
        self.lock(file, LockStyle::Record, kind, start, len, wait).await
    }

    async fn lock(
        &self,
        file: &Handle,
        style: LockStyle,
        kind: LockKind,
        start: u64,
        len: u64,
        wait: bool,
    ) -> Result<()> {
        let lock = wire::Lock { file: self.number(file)?, style: style.into(), kind: kind.into(), start, len, wait };
        let wait = wait && kind != LockKind::Unlock;
        let undo = wait.then_some(Op::Lock(wire::Lock { kind: LockKind::Unlock.into(), wait: false, ..lock }));
        let mut done = self.0.call(Op::Lock(lock), Call { parked: wait, undo, ..Call::default() }).await?;
        done.undo.defuse();
        Ok(())
    }

    /// The record lock that is in the way of this one (`F_OFD_GETLK`), if any.
    ///
    /// # Errors
    /// As `fcntl(2)`.
    pub async fn test_lock(&self, file: &Handle, kind: LockKind, start: u64, len: u64) -> Result<Option<LockInfo>> {
        let (style, kind) = (LockStyle::Record.into(), kind.into());
        let op = wire::Lock { file: self.number(file)?, style, kind, start, len, wait: false };
        match self.0.call(Op::TestLock(op), Call::default()).await?.reply.outcome {
            None => Ok(None),
            Some(Outcome::Lock(info)) => Ok(Some(info)),
            Some(_) => Err(self.wrong("test_lock")),
        }
    }

    /// Waits until one of the `poll(2)` events, or an error or hang-up, is there on an opened FIFO; returns what is.
    ///
    /// # Errors
    /// ENOLCK: too many wait.
    pub async fn poll(&self, file: &Handle, events: u16) -> Result<u16> {
        let op = Op::Poll(wire::Poll { file: self.number(file)?, events: events.into() });
        let done = self.0.call(op, Call { parked: true, ..Call::default() }).await?;
        match done.reply.outcome {
            Some(Outcome::Value(v)) => u16::try_from(v).map_err(|_| self.wrong("poll")),
            _ => Err(self.wrong("poll")),
        }
    }

    /// Sends a fresh descriptor of an opened regular file to the supervisor on the gofer's machine, marked with `token`: read-only,
    /// or writable if the handle is. It has been sent when this returns.
    ///
    /// # Errors
    /// EOPNOTSUPP: the gofer has no donation socket. EAGAIN: the supervisor does not take them off. EACCES: writable was asked
    /// for, and the handle was not opened for writing.
    pub async fn donate(&self, file: &Handle, token: u64, writable: bool) -> Result<()> {
        let op = Op::Donate(wire::Donate { file: self.number(file)?, token, writable });
        self.0.call(op, Call::default()).await.map(drop)
    }

    /// `copy_file_range(2)`, at most 64 MiB at once. 0: the source's end.
    ///
    /// # Errors
    /// As `copy_file_range(2)`; EXDEV where the host cannot.
    pub async fn copy_range(&self, from: (&Handle, u64), to: (&Handle, u64), len: u64) -> Result<u64> {
        let op = wire::CopyRange {
            from: self.number(from.0)?,
            from_offset: from.1,
            to: self.number(to.0)?,
            to_offset: to.1,
            len,
        };
        match self.value(Op::CopyRange(op)).await? {
            count if count <= len => Ok(count),
            _ => Err(self.wrong("copy_range")),
        }
    }

    /// `lseek(2)` with `SEEK_DATA`, or `SEEK_HOLE`.
    ///
    /// # Errors
    /// ENXIO: nothing behind the offset.
    pub async fn seek(&self, file: &Handle, offset: u64, hole: bool) -> Result<u64> {
        self.value(Op::Seek(wire::Seek { file: self.number(file)?, offset, hole })).await
    }

    async fn value(&self, op: Op) -> Result<u64> {
        match self.0.call(op, Call::default()).await?.reply.outcome {
            Some(Outcome::Value(value)) => Ok(value),
            _ => Err(self.wrong("value")),
        }
    }

    async fn attr_of(&self, op: Op, call: Call<'_>) -> Result<(Attr, Done)> {
        let done = self.0.call(op, call).await?;
        match done.reply.outcome {
            Some(Outcome::Attr(attr)) => Ok((attr, done)),
            _ => Err(self.wrong("attributes")),
        }
    }

    fn number(&self, handle: &Handle) -> Result<u32> {
        if handle.is_of(&self.0) { Ok(handle.number()) } else { Err(Errno::EBADF) }
    }

    fn wrong(&self, what: &str) -> Errno {
        self.0.protocol_error(&format!("an impossible reply to {what}"))
    }
}

fn one(binds: &[u32]) -> u32 {
    binds.first().copied().unwrap_or(0)
}

fn check_name(name: &[u8]) -> Result<()> {
    wire::check_name(name).map_err(Errno::new)
}

fn check_xattr_name(name: &[u8]) -> Result<()> {
    match name {
        [] => Err(Errno::ERANGE),
        n if n.len() > 255 => Err(Errno::ERANGE),
        n if n.contains(&0) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}
