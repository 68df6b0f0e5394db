//! Moving bytes: read, write and their kin, lseek, ioctl. Linux: fs/read_write.c, fs/ioctl.c.
//!
//! Bytes go straight between the caller's memory and the file in pieces of at most `CHUNK`; nothing holds a whole transfer.

use bytes::{Bytes, BytesMut};
use rsc_proto::abi::{Errno, IOV_MAX, Iovec, MAX_RW_COUNT, OpenFlags, RwFlags, mode, sig};

use crate::error::{SysError, SysResult};
use crate::ipc::epoll::EpollFile;
use crate::ipc::eventfd::Eventfd;
use crate::ipc::pipe::PipeEnd;
use crate::ipc::timerfd::Timerfd;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::{CHUNK, UserMemory, UserPtr};
use crate::kernel::task::rlimit;
use crate::kernel::wait::PollEvents;
use crate::net::socket::SocketFile;
use std::rc::Rc;

/// End of the user's half of the address space.
const TASK_SIZE: u64 = rsc_proto::abi::TASK_SIZE;

/// A list of pieces of the caller's memory, seen as one run of bytes. Linux: `struct iov_iter`.
#[derive(Clone, Debug, Default)]
pub struct UserVec {
    parts: Vec<(u64, usize)>,
    len: usize,
}

impl UserVec {
    /// One buffer. `EFAULT` if it can't be the caller's; longer than `MAX_RW_COUNT` is cut. Linux: import_ubuf().
    pub fn single(addr: u64, len: usize) -> Result<Self, Errno> {
        access_ok(addr, len)?;
        let len = len.min(MAX_RW_COUNT);
        Ok(Self { parts: vec![(addr, len)], len })
    }

    /// `struct iovec[n]`. Linux: import_iovec(): `EINVAL` for too many or a negative length, `EFAULT`.
    pub async fn import(mem: &UserMemory, ptr: UserPtr<Iovec>, n: usize) -> Result<Self, Errno> {
        if n > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        if n == 0 {
            return Ok(Self::default());
        }
        let raw = mem.read_array(ptr, n).await?;
        let mut parts = Vec::with_capacity(n);
        let mut total = 0usize;
        for v in &raw {
            if i64::try_from(v.iov_len).is_err() {
                return Err(Errno::EINVAL);
            }
        }
        for v in raw {
            let len = v.iov_len as usize;
            access_ok(v.iov_base, len)?;
            let len = len.min(MAX_RW_COUNT - total);
            total += len;
            parts.push((v.iov_base, len));
        }
        Ok(Self { parts, len: total })
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces of `skip..skip+len`.
    fn range(&self, mut skip: usize, mut len: usize) -> impl Iterator<Item = (u64, usize)> {
        self.parts.iter().filter_map(move |&(addr, n)| {
            if skip >= n {
                skip -= n;
                return None;
            }
            let take = (n - skip).min(len);
            let at = addr.wrapping_add(skip as u64);
            skip = 0;
            len -= take;
            (take > 0).then_some((at, take))
        })
    }

    /// The bytes `skip..skip+len` out of the caller's memory; fewer when the memory ends, `EFAULT` if there are none.
    pub async fn gather(&self, mem: &UserMemory, skip: usize, len: usize) -> Result<Bytes, Errno> {
        let mut parts = self.range(skip, len.min(self.len.saturating_sub(skip)));
        let Some((addr, n)) = parts.next() else { return Ok(Bytes::new()) };
        let first = mem.read_upto(addr, n).await?;
        let Some(mut next) = parts.next() else { return Ok(first) };
        if first.len() < n {
            return Ok(first);
        }
        let mut all = BytesMut::from(&first[..]);
        loop {
            match mem.read_upto(next.0, next.1).await {
                Ok(b) => {
                    all.extend_from_slice(&b);
                    if b.len() < next.1 {
                        break;
                    }
                }
                Err(_) => break,
            }
            match parts.next() {
                Some(p) => next = p,
                None => break,
            }
        }
        Ok(all.freeze())
    }

    /// Puts bytes into the caller's memory from position `skip` on; fewer when a piece can't be the caller's, `EFAULT` if none.
    pub async fn scatter(&self, mem: &UserMemory, skip: usize, mut data: Bytes) -> Result<usize, Errno> {
        let len = data.len();
        let mut done = 0;
        for (addr, n) in self.range(skip, len) {
            let part = data.split_to(n.min(data.len()));
            let n = part.len();
            match mem.write_bytes(addr, part).await {
                Ok(()) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

/// Linux: access_ok(): only the upper end of the address space is looked at before the bytes are touched.
fn access_ok(addr: u64, len: usize) -> Result<(), Errno> {
    match addr.checked_add(len as u64) {
        Some(end) if end <= TASK_SIZE => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Linux: rw_verify_area() without the security modules.
fn verify_area(offset: i64, len: usize) -> Result<(), Errno> {
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    match offset.checked_add(len as i64) {
        Some(_) => Ok(()),
        None => Err(Errno::EOVERFLOW),
    }
}

/// Reads at `offset` if the file has positions, else waits for what there is.
async fn read_file(cx: &Cx, file: &Rc<File>, offset: u64, into: &UserVec, nowait: bool) -> SysResult<usize> {
    if file.ops().seekable() {
        let mut at = 0;
        let read = file.read_chunks(offset, into.len(), async |data: Bytes| {
            let n = data.len();
            let stored = into.scatter(&cx.mem, at, data).await?;
            at += stored;
            if stored == n { Ok(()) } else { Err(Errno::EFAULT) }
        });
        return match read.await {
            // What has arrived counts more than what stopped it.
            Err(_) if at > 0 => Ok(at),
            other => Ok(other?),
        };
    }
    let mut limited = None;
    if let Some(terminal) = file.ops().terminal() {
        terminal.may_read(cx).await?;
        limited = terminal.line().patience().map(|time| tokio::time::Instant::now() + time);
    }
    let len = into.len().min(CHUNK);
    let nonblocking = nowait || file.nonblocking();
    let patience = file.downcast::<SocketFile>().map(SocketFile::receive_patience).unwrap_or_default();
    let op = async || file.ops().read(file, 0, len).await;
    let deadline = patience.deadline.or(limited);
    let data = match cx.blocking(file, PollEvents::READABLE, nonblocking, deadline, op).await {
        Err(SysError::Errno(Errno::EAGAIN)) if limited.is_some() && !nonblocking => Ok(Bytes::new()),
        other => other,
    };
    let data = patience.interrupted(data)?;
    let data = data.slice(..data.len().min(len));
    let stored = into.scatter(&cx.mem, 0, data.clone()).await;
    if let Some(end) = file.downcast::<PipeEnd>() {
        end.pipe().untake(data.get(*stored.as_ref().unwrap_or(&0)..).unwrap_or_default());
    }
    Ok(stored?)
}

/// How a write finds its place.
#[derive(Clone, Copy, Default)]
struct WriteMode {
    nowait: bool,
}

/// Writes everything unless something stops it half-way. The bytes written and the position after them.
async fn write_file(
    cx: &Cx,
    file: &Rc<File>,
    mut offset: u64,
    from: &UserVec,
    how: WriteMode,
) -> SysResult<(usize, u64)> {
    let seekable = file.ops().seekable();
    if let Some(terminal) = file.ops().terminal() {
        terminal.may_write(cx).await?;
    }
    let len = if seekable { limit_size(cx, file, offset, from.len()).await? } else { from.len() };
    let nonblocking = how.nowait || file.nonblocking();
    let mut done = 0;
    loop {
        let want = (len - done).min(CHUNK);
        let data = match from.gather(&cx.mem, done, want).await {
            Ok(d) => d,
            Err(e) => return partial(done, offset, e.into()),
        };
        let got = data.len();
        let mut rest = data;
        loop {
            let n = rest.len();
            let r = if seekable {
                file.ops().write(file, offset, rest.clone()).await.map_err(SysError::from)
            } else if let Some(socket) = file.downcast::<SocketFile>() {
                socket.send_bytes(cx, file, rest.clone(), nonblocking).await
            } else {
                let op = async || file.ops().write(file, 0, rest.clone()).await;
                cx.blocking(file, PollEvents::WRITABLE, nonblocking, None, op).await
            };
            let w = match r {
                Ok(w) => w,
                Err(e) => {
                    if e == SysError::Errno(Errno::EPIPE) && wants_sigpipe(file, done) {
                        cx.signal.set(sig::SIGPIPE);
                    }
                    return partial(done, offset, e);
                }
            };
            let taken = w.bytes.min(n);
            done += taken;
            offset = w.end;
            rest = rest.slice(taken..);
            if rest.is_empty() {
                break;
            }
            if taken == 0 || seekable {
                return Ok((done, offset));
            }
        }
        if done >= len || got < want {
            return Ok((done, offset));
        }
    }
}

/// What was done counts more than what stopped it.
fn partial(done: usize, offset: u64, error: SysError) -> SysResult<(usize, u64)> {
    if done > 0 { Ok((done, offset)) } else { Err(error) }
}

/// Pipes signal a missing reader always, stream sockets when nothing was sent, other sockets never.
fn wants_sigpipe(file: &File, done: usize) -> bool {
    match file.downcast::<SocketFile>() {
        Some(s) => done == 0 && s.is_stream(),
        None => true,
    }
}

/// `RLIMIT_FSIZE` for regular files: `EFBIG` and SIGXFSZ at the limit, fewer bytes before. Linux: generic_write_check_limits().
async fn limit_size(cx: &Cx, file: &Rc<File>, offset: u64, len: usize) -> Result<usize, Errno> {
    let limit = cx.task.group().limit(rlimit::FSIZE).rlim_cur;
    if limit > i64::MAX as u64 || len == 0 {
        return Ok(len);
    }
    let stat = file.ops().stat().await?;
    if stat.st_mode & mode::S_IFMT != mode::S_IFREG {
        return Ok(len);
    }
    let at = if file.flags().contains(OpenFlags::O_APPEND) { stat.st_size.max(0) as u64 } else { offset };
    if at >= limit {
        cx.signal.set(sig::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(len.min(usize::try_from(limit - at).unwrap_or(usize::MAX)))
}

async fn read_at_position(cx: &Cx, file: &Rc<File>, into: &UserVec, nowait: bool) -> SysResult<usize> {
    if !file.ops().seekable() {
        return read_file(cx, file, 0, into, nowait).await;
    }
    let _guard = file.position.lock().await;
    let at = file.offset();
    verify_area(at as i64, into.len())?;
    let n = read_file(cx, file, at, into, nowait).await?;
    file.set_offset(at.saturating_add(n as u64));
    Ok(n)
}

async fn write_at_position(cx: &Cx, file: &Rc<File>, from: &UserVec, how: WriteMode) -> SysResult<usize> {
    if !file.ops().seekable() {
        return write_file(cx, file, 0, from, how).await.map(|(n, _)| n);
    }
    let _guard = file.position.lock().await;
    let at = file.offset();
    verify_area(at as i64, from.len())?;
    let (n, end) = write_file(cx, file, at, from, how).await?;
    if n > 0 {
        file.set_offset(end);
    }
    Ok(n)
}

/// Reads at an offset that the call names.
async fn read_at_offset(cx: &Cx, file: &Rc<File>, offset: u64, into: &UserVec, nowait: bool) -> SysResult<usize> {
    let Some(placed) = file.ops().placed() else { return read_file(cx, file, offset, into, nowait).await };
    let mut done = 0;
    while done < into.len() {
        let want = (into.len() - done).min(CHUNK);
        let data = match placed.read_at(offset.saturating_add(done as u64), want).await {
            Ok(data) => data.slice(..data.len().min(want)),
            Err(_) if done > 0 => break,
            Err(e) => return Err(e.into()),
        };
        let got = data.len();
        let stored = into.scatter(&cx.mem, done, data).await;
        done += *stored.as_ref().unwrap_or(&0);
        match stored {
            Err(e) if done == 0 => return Err(e.into()),
            Ok(stored) if stored == want && got == want => {}
            _ => break,
        }
    }
    Ok(done)
}

/// Writes there.
async fn write_at_offset(cx: &Cx, file: &Rc<File>, offset: u64, from: &UserVec, how: WriteMode) -> SysResult<usize> {
    let Some(placed) = file.ops().placed() else {
        return write_file(cx, file, offset, from, how).await.map(|(n, _)| n);
    };
    let len = limit_size(cx, file, offset, from.len()).await?;
    let mut done = 0;
    while done < len {
        let written = async {
            let data = from.gather(&cx.mem, done, (len - done).min(CHUNK)).await?;
            placed.write_at(offset.saturating_add(done as u64), data).await
        };
        match written.await {
            Ok(n) if n > 0 => done += n,
            Err(e) if done == 0 => return Err(e.into()),
            _ => break,
        }
    }
    Ok(done)
}

fn readable(file: &File) -> Result<(), Errno> {
    if file.readable() { Ok(()) } else { Err(Errno::EBADF) }
}

fn writable(file: &File) -> Result<(), Errno> {
    if file.writable() { Ok(()) } else { Err(Errno::EBADF) }
}

/// read(2).
pub async fn read(cx: &Cx, fd: Fd, buf: UserPtr<u8>, count: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    readable(&file)?;
    let into = UserVec::single(buf.addr(), count)?;
    read_at_position(cx, &file, &into, false).await
}

/// write(2).
pub async fn write(cx: &Cx, fd: Fd, buf: UserPtr<u8>, count: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    writable(&file)?;
    let from = UserVec::single(buf.addr(), count)?;
    write_at_position(cx, &file, &from, WriteMode::default()).await
}

/// pread(2).
pub async fn pread64(cx: &Cx, fd: Fd, buf: UserPtr<u8>, count: usize, offset: i64) -> SysResult<usize> {
    if offset < 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    positioned(&file)?;
    readable(&file)?;
    let into = UserVec::single(buf.addr(), count)?;
    verify_area(offset, into.len())?;
    read_at_offset(cx, &file, offset as u64, &into, false).await
}

/// pwrite(2). On a file open for appending it appends, as in Linux (pwrite(2), BUGS).
pub async fn pwrite64(cx: &Cx, fd: Fd, buf: UserPtr<u8>, count: usize, offset: i64) -> SysResult<usize> {
    if offset < 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    positioned(&file)?;
    writable(&file)?;
    let from = UserVec::single(buf.addr(), count)?;
    verify_area(offset, from.len())?;
    write_at_offset(cx, &file, offset as u64, &from, WriteMode::default()).await
}

fn positioned(file: &File) -> Result<(), Errno> {
    if file.ops().seekable() || file.ops().placed().is_some() { Ok(()) } else { Err(Errno::ESPIPE) }
}

/// readv(2).
pub async fn readv(cx: &Cx, fd: Fd, iov: UserPtr<Iovec>, n: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    let into = UserVec::import(&cx.mem, iov, n).await?;
    readable(&file)?;
    if into.is_empty() {
        return Ok(0);
    }
    read_at_position(cx, &file, &into, false).await
}

/// writev(2).
pub async fn writev(cx: &Cx, fd: Fd, iov: UserPtr<Iovec>, n: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    let from = UserVec::import(&cx.mem, iov, n).await?;
    writable(&file)?;
    if from.is_empty() {
        return Ok(0);
    }
    write_at_position(cx, &file, &from, WriteMode::default()).await
}

/// preadv(2). On x86-64 the position is in one register.
pub async fn preadv(cx: &Cx, fd: Fd, iov: UserPtr<Iovec>, n: usize, low: i64) -> SysResult<usize> {
    preadv_at(cx, fd, iov, n, low, RwFlags::empty()).await
}

/// pwritev(2).
pub async fn pwritev(cx: &Cx, fd: Fd, iov: UserPtr<Iovec>, n: usize, low: i64) -> SysResult<usize> {
    pwritev_at(cx, fd, iov, n, low, RwFlags::empty()).await
}

/// preadv2(2): position -1 is the file's own.
pub async fn preadv2(
    cx: &Cx,
    fd: Fd,
    iov: UserPtr<Iovec>,
    n: usize,
    low: i64,
    _high: u64,
    flags: u64,
) -> SysResult<usize> {
    let flags = RwFlags::from_bits_retain(flags as u32);
    if low != -1 {
        return preadv_at(cx, fd, iov, n, low, flags).await;
    }
    let file = cx.file(fd)?;
    let into = UserVec::import(&cx.mem, iov, n).await?;
    readable(&file)?;
    if into.is_empty() {
        return Ok(0);
    }
    let nowait = check_rwf(&file, flags, false)?;
    read_at_position(cx, &file, &into, nowait).await
}

/// pwritev2(2): position -1 is the file's own.
pub async fn pwritev2(
    cx: &Cx,
    fd: Fd,
    iov: UserPtr<Iovec>,
    n: usize,
    low: i64,
    _high: u64,
    flags: u64,
) -> SysResult<usize> {
    let flags = RwFlags::from_bits_retain(flags as u32);
    if low != -1 {
        return pwritev_at(cx, fd, iov, n, low, flags).await;
    }
    let file = cx.file(fd)?;
    let from = UserVec::import(&cx.mem, iov, n).await?;
    writable(&file)?;
    if from.is_empty() {
        return Ok(0);
    }
    let nowait = check_rwf(&file, flags, true)?;
    if flags.contains(RwFlags::RWF_APPEND) && file.ops().seekable() {
        let _guard = file.position.lock().await;
        let end = append_position(&file).await?;
        let (n, end) = write_file(cx, &file, end, &from, WriteMode { nowait }).await?;
        file.set_offset(end);
        return synced(&file, flags, n).await;
    }
    let n = write_at_position(cx, &file, &from, WriteMode { nowait }).await?;
    synced(&file, flags, n).await
}

async fn preadv_at(cx: &Cx, fd: Fd, iov: UserPtr<Iovec>, n: usize, offset: i64, flags: RwFlags) -> SysResult<usize> {
    if offset < 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    positioned(&file)?;
    let into = UserVec::import(&cx.mem, iov, n).await?;
    readable(&file)?;
    if into.is_empty() {
        return Ok(0);
    }
    verify_area(offset, into.len())?;
    let nowait = check_rwf(&file, flags, false)?;
    read_at_offset(cx, &file, offset as u64, &into, nowait).await
}

async fn pwritev_at(cx: &Cx, fd: Fd, iov: UserPtr<Iovec>, n: usize, offset: i64, flags: RwFlags) -> SysResult<usize> {
    if offset < 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    positioned(&file)?;
    let from = UserVec::import(&cx.mem, iov, n).await?;
    writable(&file)?;
    if from.is_empty() {
        return Ok(0);
    }
    verify_area(offset, from.len())?;
    let nowait = check_rwf(&file, flags, true)?;
    let at = if flags.contains(RwFlags::RWF_APPEND) { append_position(&file).await? } else { offset as u64 };
    let n = write_at_offset(cx, &file, at, &from, WriteMode { nowait }).await?;
    synced(&file, flags, n).await
}

async fn append_position(file: &File) -> Result<u64, Errno> {
    Ok(file.ops().stat().await?.st_size.max(0) as u64)
}

async fn synced(file: &File, flags: RwFlags, n: usize) -> SysResult<usize> {
    if n > 0 && flags.intersects(RwFlags::RWF_DSYNC | RwFlags::RWF_SYNC) && file.ops().seekable() {
        file.ops().sync(!flags.contains(RwFlags::RWF_SYNC)).await?;
    }
    Ok(n)
}

/// `RWF_*`: what is not known or not supported is `EOPNOTSUPP`. Linux: kiocb_set_rw_flags(). Returns `RWF_NOWAIT`.
fn check_rwf(file: &File, flags: RwFlags, write: bool) -> Result<bool, Errno> {
    let known = RwFlags::RWF_HIPRI | RwFlags::RWF_DSYNC | RwFlags::RWF_SYNC | RwFlags::RWF_NOWAIT | RwFlags::RWF_APPEND;
    if !known.contains(flags) {
        return Err(Errno::EOPNOTSUPP);
    }
    let nowait = flags.contains(RwFlags::RWF_NOWAIT);
    // Files with positions may have to be fetched: no promise can be made (Linux: FMODE_NOWAIT is per file system).
    if nowait && (file.ops().seekable() || (write && flags.contains(RwFlags::RWF_SYNC))) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(nowait)
}

/// lseek(2).
pub async fn lseek(cx: &Cx, fd: Fd, offset: i64, whence: u32) -> SysResult<u64> {
    let file = cx.file(fd)?;
    if whence > 4 {
        return Err(Errno::EINVAL.into());
    }
    // These have a position that nothing moves. Linux: noop_llseek().
    if file.downcast::<Eventfd>().is_some()
        || file.downcast::<Timerfd>().is_some()
        || file.downcast::<EpollFile>().is_some()
    {
        return Ok(0);
    }
    positioned(&file)?;
    let _guard = file.position.lock().await;
    if let Some(placed) = file.ops().placed() {
        return Ok(placed.seek_to(offset, whence).await?);
    }
    let at = file.ops().seek(&file, offset, whence).await?;
    file.set_offset(at);
    Ok(at)
}

/// Requests of ioctl(2) that mean the same for every file. Linux: do_vfs_ioctl().
mod request {
    pub(super) const FIONCLEX: u32 = 0x5450;
    pub(super) const FIOCLEX: u32 = 0x5451;
    pub(super) const FIONBIO: u32 = 0x5421;
    pub(super) const FIOASYNC: u32 = 0x5452;
    pub(super) const FIOQSIZE: u32 = 0x5460;
    pub(super) const FIONREAD: u32 = 0x541b;
    pub(super) const FIGETBSZ: u32 = 2;
}

/// ioctl(2).
pub async fn ioctl(cx: &Cx, fd: Fd, cmd: u32, arg: u64) -> SysResult<u64> {
    let file = cx.file(fd)?;
    let number = UserPtr::<i32>::new(arg);
    match cmd {
        request::FIOCLEX => cx.task.fds.borrow().set_cloexec(fd, true)?,
        request::FIONCLEX => cx.task.fds.borrow().set_cloexec(fd, false)?,
        request::FIONBIO => {
            let on = cx.mem.read(number).await? != 0;
            let mut flags = file.flags();
            flags.set(OpenFlags::O_NONBLOCK, on);
            file.set_flags(flags);
        }
        request::FIOASYNC => {
            let on = cx.mem.read(number).await? != 0;
            set_async(&file, on)?;
        }
        request::FIONREAD | request::FIOQSIZE | request::FIGETBSZ => {
            let stat = file.ops().stat().await?;
            let kind = stat.st_mode & mode::S_IFMT;
            let regular = kind == mode::S_IFREG;
            match cmd {
                request::FIONREAD if regular => {
                    let rest = stat.st_size.saturating_sub(file.offset() as i64);
                    cx.mem.write(number, &(rest as i32)).await?;
                }
                request::FIOQSIZE if regular || kind == mode::S_IFDIR || kind == mode::S_IFLNK => {
                    cx.mem.write(UserPtr::<i64>::new(arg), &stat.st_size).await?;
                }
                request::FIOQSIZE => return Err(Errno::ENOTTY.into()),
                request::FIGETBSZ => {
                    if stat.st_blksize == 0 {
                        return Err(Errno::EINVAL.into());
                    }
                    cx.mem.write(number, &(stat.st_blksize as i32)).await?;
                }
                _ => return file.ops().ioctl(cx, &file, cmd, arg).await,
            }
        }
        _ => return file.ops().ioctl(cx, &file, cmd, arg).await,
    }
    Ok(0)
}

/// `FASYNC`: the flag is kept for files that can be waited for; others have no such operation.
pub(super) fn set_async(file: &File, on: bool) -> Result<(), Errno> {
    let mut flags = file.flags();
    if flags.contains(OpenFlags::FASYNC) == on {
        return Ok(());
    }
    if file.ops().wait_queue().is_none() {
        return Err(Errno::ENOTTY);
    }
    flags.set(OpenFlags::FASYNC, on);
    file.set_flags(flags);
    Ok(())
}
