//! flock(2), and the commands of fcntl(2) that belong to files: record locks, seals.

use std::rc::Rc;

use rsc_proto::abi::{Errno, Flock, FlockOp, Seals};

use crate::error::SysResult;
use crate::fs::tmpfs::TmpFile;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::{Listener, PollEvents, Wakeup};
use crate::vfs::lock::{InodeLocks, Owner, Record};

/// `OFFSET_MAX`.
const END: u64 = i64::MAX as u64;

mod cmd {
    pub(super) const GETLK: u32 = 5;
    pub(super) const SETLK: u32 = 6;
    pub(super) const SETLKW: u32 = 7;
    pub(super) const OFD_GETLK: u32 = 36;
    pub(super) const OFD_SETLK: u32 = 37;
    pub(super) const OFD_SETLKW: u32 = 38;
    pub(super) const GETLEASE: u32 = 1025;
    pub(super) const ADD_SEALS: u32 = 1033;
    pub(super) const GET_SEALS: u32 = 1034;
}

/// A mandatory lock, once.
const LOCK_MAND: u32 = 32;

/// `l_type`.
const RDLCK: i16 = 0;
const WRLCK: i16 = 1;
const UNLCK: i16 = 2;

/// The locks of an open file. Files that only generate text have none.
fn locks_of(file: &Rc<File>) -> Result<&InodeLocks, Errno> {
    file.location().and_then(|at| at.inode().locks()).ok_or(Errno::ENOLCK)
}

/// Tries again whenever a lock of the inode is given back.
async fn retry(cx: &Cx, locks: &InodeLocks, mut attempt: impl FnMut() -> Result<(), Errno>) -> SysResult<()> {
    let wakeup = Wakeup::new();
    let listener: Rc<dyn Listener> = wakeup.clone();
    let _registration = locks.queue().listen(PollEvents::all(), &listener);
    loop {
        wakeup.clear();
        match attempt() {
            Err(Errno::EAGAIN) => cx.wait(wakeup.wait()).await?,
            other => return Ok(other?),
        }
    }
}

/// flock(2).
pub async fn flock(cx: &Cx, fd: Fd, op: u32) -> SysResult<()> {
    // Linux has taken and ignored these since 5.17, before it looks at anything else.
    if op & LOCK_MAND != 0 {
        return Ok(());
    }
    let op = FlockOp::from_bits(op).ok_or(Errno::EINVAL)?;
    let exclusive = match op - FlockOp::LOCK_NB {
        FlockOp::LOCK_SH => Some(false),
        FlockOp::LOCK_EX => Some(true),
        FlockOp::LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = cx.file(fd)?;
    let locks = locks_of(&file)?;
    let Some(exclusive) = exclusive else {
        locks.unlock_whole(file.id);
        return Ok(());
    };
    let attempt = || locks.lock_whole(file.id, exclusive);
    match attempt() {
        Err(Errno::EAGAIN) if !op.contains(FlockOp::LOCK_NB) => retry(cx, locks, attempt).await,
        other => Ok(other?),
    }
}

/// Commands of fcntl(2) that belong to files of a file system.
pub async fn fcntl(cx: &Cx, file: &Rc<File>, command: u32, arg: u64) -> SysResult<u64> {
    let ptr = UserPtr::<Flock>::new(arg);
    match command {
        cmd::GETLK => test(cx, file, ptr, Owner::Process(cx.task.group().tgid)).await,
        cmd::OFD_GETLK => test(cx, file, ptr, Owner::Description(file.id)).await,
        cmd::SETLK => set(cx, file, ptr, Owner::Process(cx.task.group().tgid), false).await,
        cmd::SETLKW => set(cx, file, ptr, Owner::Process(cx.task.group().tgid), true).await,
        cmd::OFD_SETLK => set(cx, file, ptr, Owner::Description(file.id), false).await,
        cmd::OFD_SETLKW => set(cx, file, ptr, Owner::Description(file.id), true).await,
        cmd::GETLEASE => Ok(UNLCK as u64),
        cmd::GET_SEALS => Ok(u64::from(memfd(file)?.seals().bits())),
        cmd::ADD_SEALS => {
            let file_ops = memfd(file)?;
            if !file.writable() {
                return Err(Errno::EPERM.into());
            }
            let seals = u32::try_from(arg).ok().and_then(Seals::from_bits).ok_or(Errno::EINVAL)?;
            file_ops.add_seals(seals)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn memfd(file: &Rc<File>) -> Result<&TmpFile, Errno> {
    file.downcast::<TmpFile>().ok_or(Errno::EINVAL)
}

/// The range of a `struct flock`. Linux: flock64_to_posix_lock().
async fn range(file: &Rc<File>, l: &Flock) -> Result<(u64, u64), Errno> {
    let base = match l.l_whence {
        0 => 0,
        1 => file.offset() as i64,
        2 => file.ops().stat().await?.st_size,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(l.l_start).ok_or(Errno::EOVERFLOW)?;
    let at = |n: i64| u64::try_from(n).map_err(|_| Errno::EINVAL);
    match l.l_len {
        0 => Ok((at(start)?, END)),
        len if len > 0 => Ok((at(start)?, at(start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?)?)),
        len => Ok((at(start.checked_add(len).ok_or(Errno::EINVAL)?)?, at(start - 1)?)),
    }
}

async fn test(cx: &Cx, file: &Rc<File>, ptr: UserPtr<Flock>, owner: Owner) -> SysResult<u64> {
    let mut l = cx.mem.read(ptr).await?;
    let ofd = matches!(owner, Owner::Description(_));
    // F_UNLCK is a question about open file descriptions only since Linux 6.13, and about all kinds of this owner's locks.
    if !matches!(l.l_type, RDLCK | WRLCK) || ofd && l.l_pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (start, end) = range(file, &l).await?;
    let want = Record { start, end, exclusive: l.l_type == WRLCK, owner };
    match locks_of(file)?.conflict(&want) {
        None => l.l_type = UNLCK,
        Some(r) => {
            l.l_type = if r.exclusive { WRLCK } else { RDLCK };
            l.l_whence = 0;
            l.l_start = r.start as i64;
            l.l_len = if r.end >= END { 0 } else { (r.end - r.start + 1) as i64 };
            l.l_pid = match r.owner {
                Owner::Process(tgid) => tgid as i32,
                Owner::Description(_) => -1,
            };
        }
    }
    cx.mem.write(ptr, &l).await?;
    Ok(0)
}

async fn set(cx: &Cx, file: &Rc<File>, ptr: UserPtr<Flock>, owner: Owner, wait: bool) -> SysResult<u64> {
    let l = cx.mem.read(ptr).await?;
    let (start, end) = range(file, &l).await?;
    if matches!(owner, Owner::Description(_)) && l.l_pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let exclusive = match l.l_type {
        RDLCK if !file.readable() => return Err(Errno::EBADF.into()),
        WRLCK if !file.writable() => return Err(Errno::EBADF.into()),
        RDLCK => false,
        WRLCK => true,
        UNLCK => {
            locks_of(file)?.unlock(owner, start, end);
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let locks = locks_of(file)?;
    let want = Record { start, end, exclusive, owner };
    match locks.lock(want) {
        Err(Errno::EAGAIN) if wait => {}
        other => return Ok(other.map(|()| 0)?),
    }
    let waits = &cx.kernel.vfs.lock_waits;
    let mut noted = None;
    retry(cx, locks, || {
        noted.take();
        let result = locks.lock(want);
        if result == Err(Errno::EAGAIN)
            && let Owner::Process(me) = owner
            && let Some(Record { owner: Owner::Process(holder), .. }) = locks.conflict(&want)
        {
            noted = Some(waits.wait(me, holder)?);
        }
        result
    })
    .await?;
    Ok(0)
}
