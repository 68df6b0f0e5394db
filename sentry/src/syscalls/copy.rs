//! From file to file without the caller's memory: sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2). Linux:
//! fs/read_write.c, fs/splice.c.
//!
//! The source gives up only what the target has taken, so an interruption loses nothing.

use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, Iovec, MAX_RW_COUNT, OpenFlags, SpliceFlags, mode, sig};

use super::io::UserVec;
use crate::error::{SysError, SysResult};
use crate::fs::gofer::GoferFile;
use crate::ipc::pipe::{Pipe, PipeEnd};
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::{File, Written};
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::PollEvents;
use crate::net::socket::SocketFile;

/// Bytes of one step between files.
const STEP: usize = 1 << 20;
/// Bytes of one step that a pipe takes whole or not at all. Linux: `PIPE_BUF`.
const PIPE_STEP: usize = 4096;

/// A file that is read or written at an offset of its own, or at its position.
struct Side {
    file: Rc<File>,
    /// `Some`: where, and the position stays.
    offset: Option<u64>,
}

impl Side {
    fn pipe(&self) -> Option<&Rc<Pipe>> {
        self.file.downcast::<PipeEnd>().map(PipeEnd::pipe)
    }

    fn at(&self) -> u64 {
        self.offset.unwrap_or_else(|| self.file.offset())
    }

    fn advance(&mut self, to: u64) {
        match &mut self.offset {
            Some(at) => *at = to,
            None => self.file.set_offset(to),
        }
    }

    /// Up to `len` bytes, still there unless `taken` says otherwise; waits for them.
    async fn peek(&self, cx: &Cx, len: usize, nonblocking: bool) -> SysResult<Bytes> {
        if let Some(pipe) = self.pipe() {
            return cx.blocking(&self.file, PollEvents::READABLE, nonblocking, None, async || pipe.peek(len)).await;
        }
        let op = async || self.file.ops().read(&self.file, self.at(), len).await;
        if self.file.ops().seekable() {
            return Ok(op().await?);
        }
        cx.blocking(&self.file, PollEvents::READABLE, nonblocking, None, op).await
    }

    fn taken(&mut self, n: usize) -> Result<(), Errno> {
        if let Some(pipe) = self.pipe() {
            pipe.take(n)?;
        } else if self.file.ops().seekable() {
            self.advance(self.at() + n as u64);
        }
        Ok(())
    }

    async fn put(&mut self, cx: &Cx, data: Bytes, nonblocking: bool) -> SysResult<usize> {
        let file = self.file.clone();
        let result: SysResult<Written> = if file.ops().seekable() {
            file.ops().write(&file, self.at(), data).await.map_err(SysError::from)
        } else if let Some(socket) = file.downcast::<SocketFile>() {
            socket.send_bytes(cx, &file, data, nonblocking).await
        } else {
            let op = async || file.ops().write(&file, 0, data.clone()).await;
            cx.blocking(&file, PollEvents::WRITABLE, nonblocking, None, op).await
        };
        if result == Err(SysError::Errno(Errno::EPIPE)) {
            cx.signal.set(sig::SIGPIPE);
        }
        let written = result?;
        if file.ops().seekable() {
            self.advance(written.end);
        }
        Ok(written.bytes)
    }
}

/// Moves up to `len` bytes. Once something has moved, it counts more than what stopped it.
async fn transfer(cx: &Cx, from: &mut Side, to: &mut Side, len: usize, nonblocking: bool) -> SysResult<usize> {
    let step = match (to.pipe(), to.file.ops().seekable(), from.pipe(), from.file.ops().seekable()) {
        (Some(_), ..) => PIPE_STEP,
        // What a socket has given can't be given back.
        (_, false, None, false) => PIPE_STEP,
        _ => STEP,
    };
    let mut done = 0;
    while done < len {
        // Later pieces are taken only while they are there.
        let wait = done > 0 && !from.file.ops().seekable();
        let data = match from.peek(cx, (len - done).min(step), nonblocking || wait).await {
            Ok(d) if d.is_empty() => break,
            Ok(d) => d,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let want = data.len();
        let n = match to.put(cx, data, nonblocking || to.file.nonblocking()).await {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        from.taken(n)?;
        done += n;
        if n < want {
            break;
        }
    }
    Ok(done)
}

async fn kind(file: &Rc<File>) -> Result<u32, Errno> {
    Ok(match file.location() {
        Some(at) => at.inode().attr().mode,
        None => file.ops().stat().await?.st_mode,
    } & mode::S_IFMT)
}

/// Reads an offset that a call gives by pointer. Negative ones are `EINVAL`.
async fn offset_at(cx: &Cx, ptr: UserPtr<i64>) -> Result<Option<u64>, Errno> {
    match ptr.non_null() {
        None => Ok(None),
        Some(p) => u64::try_from(cx.mem.read(p).await?).map(Some).map_err(|_| Errno::EINVAL),
    }
}

async fn offset_back(cx: &Cx, ptr: UserPtr<i64>, side: &Side) -> Result<(), Errno> {
    match (ptr.non_null(), side.offset) {
        (Some(p), Some(at)) => cx.mem.write(p, &(at as i64)).await,
        _ => Ok(()),
    }
}

/// sendfile(2).
pub async fn sendfile(cx: &Cx, out: Fd, input: Fd, offset: UserPtr<i64>, count: usize) -> SysResult<usize> {
    let at = match offset.non_null() {
        None => None,
        Some(p) => Some(cx.mem.read(p).await?),
    };
    let from = cx.file(input)?;
    if !from.readable() {
        return Err(Errno::EBADF.into());
    }
    if at.is_some() && !from.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let at = at.map(u64::try_from).transpose().map_err(|_| Errno::EINVAL)?;
    let to = cx.file(out)?;
    if !to.writable() {
        return Err(Errno::EBADF.into());
    }
    // Linux: splice_direct_to_actor() wants a source that can give back what the target did not take.
    if !from.ops().seekable() || kind(&from).await? == mode::S_IFDIR || to.flags().contains(OpenFlags::O_APPEND) {
        return Err(Errno::EINVAL.into());
    }
    let count = count.min(MAX_RW_COUNT);
    let _from_position = if at.is_none() { Some(from.position.lock().await) } else { None };
    let (mut source, mut target) = (Side { file: from.clone(), offset: at }, Side { file: to.clone(), offset: None });
    let n = transfer(cx, &mut source, &mut target, count, false).await?;
    offset_back(cx, offset, &source).await?;
    Ok(n)
}

/// copy_file_range(2). Linux: generic_copy_file_checks().
pub async fn copy_file_range(
    cx: &Cx,
    input: Fd,
    in_offset: UserPtr<i64>,
    out: Fd,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult<usize> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (from, to) = (cx.file(input)?, cx.file(out)?);
    let mut source = Side { file: from.clone(), offset: offset_at(cx, in_offset).await? };
    let mut target = Side { file: to.clone(), offset: offset_at(cx, out_offset).await? };
    for file in [&from, &to] {
        match kind(file).await? {
            mode::S_IFREG => {}
            mode::S_IFDIR => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    if !from.readable() || !to.writable() || to.flags().contains(OpenFlags::O_APPEND) {
        return Err(Errno::EBADF.into());
    }
    let (Some(a), Some(b)) = (from.location(), to.location()) else { return Err(Errno::EXDEV.into()) };
    if !Rc::ptr_eq(&a.mount.fs, &b.mount.fs) {
        return Err(Errno::EXDEV.into());
    }
    let size = from.ops().stat().await?.st_size as u64;
    let len = (len.min(MAX_RW_COUNT) as u64).min(size.saturating_sub(source.at()));
    target.at().checked_add(len).filter(|e| i64::try_from(*e).is_ok()).ok_or(Errno::EOVERFLOW)?;
    let overlap = source.at() < target.at() + len && target.at() < source.at() + len;
    if Rc::ptr_eq(a.inode(), b.inode()) && overlap {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let n = match by_gofer(&source, &target, len).await {
        Some(n) => {
            let n = n?;
            source.advance(source.at() + n);
            target.advance(target.at() + n);
            n as usize
        }
        None => transfer(cx, &mut source, &mut target, len as usize, false).await?,
    };
    offset_back(cx, in_offset, &source).await?;
    offset_back(cx, out_offset, &target).await?;
    Ok(n)
}

/// Both files are of one gofer and not mapped: it copies them itself. `None`: it can't.
async fn by_gofer(from: &Side, to: &Side, len: u64) -> Option<Result<u64, Errno>> {
    let (a, b) = (from.file.downcast::<GoferFile>()?, to.file.downcast::<GoferFile>()?);
    if a.is_mapped() || b.is_mapped() {
        return None;
    }
    match a.client().copy_range((a.handle(), from.at()), (b.handle(), to.at()), len).await {
        Err(Errno::EXDEV | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => None,
        other => Some(other),
    }
}

/// splice(2): one of the two is a pipe.
pub async fn splice(
    cx: &Cx,
    input: Fd,
    in_offset: UserPtr<i64>,
    out: Fd,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult<usize> {
    if len == 0 {
        return Ok(0);
    }
    let flags = SpliceFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let (from, to) = (cx.file(input)?, cx.file(out)?);
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF.into());
    }
    let mut source = Side { file: from.clone(), offset: None };
    let mut target = Side { file: to.clone(), offset: None };
    match (source.pipe(), target.pipe()) {
        (None, None) => return Err(Errno::EINVAL.into()),
        (Some(a), Some(b)) if Rc::ptr_eq(a, b) => return Err(Errno::EINVAL.into()),
        _ => {}
    }
    for (side, ptr) in [(&mut source, in_offset), (&mut target, out_offset)] {
        if ptr.is_null() {
            continue;
        }
        if !side.file.ops().seekable() {
            return Err(Errno::ESPIPE.into());
        }
        side.offset = offset_at(cx, ptr).await?;
    }
    if to.flags().contains(OpenFlags::O_APPEND) && target.pipe().is_none() {
        return Err(Errno::EINVAL.into());
    }
    if matches!(kind(&from).await?, mode::S_IFDIR) {
        return Err(Errno::EINVAL.into());
    }
    let nonblocking = flags.contains(SpliceFlags::SPLICE_F_NONBLOCK) || from.nonblocking();
    let n = transfer(cx, &mut source, &mut target, len.min(MAX_RW_COUNT), nonblocking).await?;
    offset_back(cx, in_offset, &source).await?;
    offset_back(cx, out_offset, &target).await?;
    Ok(n)
}

/// tee(2).
pub async fn tee(cx: &Cx, input: Fd, out: Fd, len: usize, flags: u32) -> SysResult<usize> {
    let flags = SpliceFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if len == 0 {
        return Ok(0);
    }
    let (from, to) = (cx.file(input)?, cx.file(out)?);
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF.into());
    }
    let (source, mut target) = (Side { file: from, offset: None }, Side { file: to, offset: None });
    match (source.pipe(), target.pipe()) {
        (Some(a), Some(b)) if !Rc::ptr_eq(a, b) => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    let nonblocking = flags.contains(SpliceFlags::SPLICE_F_NONBLOCK);
    let data = source.peek(cx, len.min(STEP), nonblocking || source.file.nonblocking()).await?;
    let nonblocking = nonblocking || target.file.nonblocking();
    target.put(cx, data, nonblocking).await
}

/// vmsplice(2): bytes are copied.
pub async fn vmsplice(cx: &Cx, fd: Fd, iov: UserPtr<Iovec>, n: usize, flags: u32) -> SysResult<usize> {
    let flags = SpliceFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let file = cx.file(fd)?;
    let writes = file.writable();
    if !writes && !file.readable() {
        return Err(Errno::EBADF.into());
    }
    let vec = UserVec::import(&cx.mem, iov, n).await?;
    let mut side = Side { file: file.clone(), offset: None };
    if side.pipe().is_none() {
        return Err(Errno::EBADF.into());
    }
    if vec.is_empty() {
        return Ok(0);
    }
    let nonblocking = flags.contains(SpliceFlags::SPLICE_F_NONBLOCK) || file.nonblocking();
    if !writes {
        let data = side.peek(cx, vec.len().min(STEP), nonblocking).await?;
        if vec.scatter(&cx.mem, 0, data.clone()).await? < data.len() {
            return Err(Errno::EFAULT.into());
        }
        side.taken(data.len())?;
        return Ok(data.len());
    }
    let mut done = 0;
    while done < vec.len() {
        let data = vec.gather(&cx.mem, done, (vec.len() - done).min(STEP)).await?;
        match side.put(cx, data, nonblocking).await {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
