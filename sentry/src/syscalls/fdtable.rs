//! Descriptors: close, dup, fcntl. Linux: fs/file.c, fs/fcntl.c.

use std::rc::Rc;

use rsc_proto::abi::{CloseRangeFlags, Errno, FOwnerEx, OpenFlags};

use crate::error::SysResult;
use crate::ipc::pipe::PipeEnd;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::UserPtr;

/// A descriptor is gone: errors of posted writes surface, record locks of the process go. Linux: filp_flush().
pub(super) async fn flush(cx: &Cx, file: &Rc<File>) -> Result<(), Errno> {
    file.closed_by(cx.task.group().tgid).await
}

/// close(2).
pub async fn close(cx: &Cx, fd: Fd) -> SysResult<()> {
    let file = cx.task.fds.borrow().remove(fd)?;
    flush(cx, &file).await?;
    Ok(())
}

/// close_range(2).
pub async fn close_range(cx: &Cx, first: u32, last: u32, flags: u32) -> SysResult<()> {
    let flags = CloseRangeFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(CloseRangeFlags::CLOSE_RANGE_UNSHARE) {
        let shared = cx.task.fds.borrow().clone();
        // This clone and the task's own.
        if Rc::strong_count(&shared) > 2 {
            *cx.task.fds.borrow_mut() = shared.fork();
        }
    }
    let (first, last) = (first as usize, last as usize);
    let fds = cx.task.fds.borrow().clone();
    if flags.contains(CloseRangeFlags::CLOSE_RANGE_CLOEXEC) {
        fds.cloexec_range(first, last);
        return Ok(());
    }
    for file in fds.remove_range(first, last, |_| true) {
        // Linux ignores what the files say here.
        let _ = flush(cx, &file).await;
    }
    Ok(())
}

/// dup(2).
pub async fn dup(cx: &Cx, fd: Fd) -> SysResult<Fd> {
    let file = cx.task.fds.borrow().get_path(fd)?;
    Ok(cx.add_fd(file, false)?)
}

/// dup2(2).
pub async fn dup2(cx: &Cx, old: Fd, new: Fd) -> SysResult<Fd> {
    if old == new {
        cx.task.fds.borrow().get_path(old)?;
        return Ok(old);
    }
    replace(cx, old, new, false).await
}

/// dup3(2).
pub async fn dup3(cx: &Cx, old: Fd, new: Fd, flags: u32) -> SysResult<Fd> {
    if flags & !OpenFlags::O_CLOEXEC.bits() != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    replace(cx, old, new, flags != 0).await
}

async fn replace(cx: &Cx, old: Fd, new: Fd, cloexec: bool) -> SysResult<Fd> {
    let limit = cx.task.group().nofile();
    if u32::from_ne_bytes(new.0.to_ne_bytes()) as usize >= limit {
        return Err(Errno::EBADF.into());
    }
    let fds = cx.task.fds.borrow().clone();
    let file = fds.get_path(old)?;
    if let Some(gone) = fds.set(new, file, cloexec, limit)? {
        // dup2(2), NOTES: errors of the implied close are lost.
        let _ = flush(cx, &gone).await;
    }
    Ok(new)
}

/// Commands of fcntl(2).
mod cmd {
    pub(super) const DUPFD: u32 = 0;
    pub(super) const GETFD: u32 = 1;
    pub(super) const SETFD: u32 = 2;
    pub(super) const GETFL: u32 = 3;
    pub(super) const SETFL: u32 = 4;
    pub(super) const SETOWN: u32 = 8;
    pub(super) const GETOWN: u32 = 9;
    pub(super) const SETSIG: u32 = 10;
    pub(super) const GETSIG: u32 = 11;
    pub(super) const SETOWN_EX: u32 = 15;
    pub(super) const GETOWN_EX: u32 = 16;
    pub(super) const DUPFD_QUERY: u32 = 1027;
    pub(super) const DUPFD_CLOEXEC: u32 = 1030;
    pub(super) const SETPIPE_SZ: u32 = 1031;
    pub(super) const GETPIPE_SZ: u32 = 1032;
}

/// Status flags that `F_SETFL` changes. Linux: `SETFL_MASK`.
const SETFL: OpenFlags = OpenFlags::O_APPEND
    .union(OpenFlags::O_NONBLOCK)
    .union(OpenFlags::FASYNC)
    .union(OpenFlags::O_DIRECT)
    .union(OpenFlags::O_NOATIME);

/// fcntl(2).
pub async fn fcntl(cx: &Cx, fd: Fd, command: u32, arg: u64) -> SysResult<u64> {
    let fds = cx.task.fds.borrow().clone();
    let file = fds.get_path(fd)?;
    // Linux: check_fcntl_cmd().
    if file.is_path()
        && !matches!(command, cmd::DUPFD | cmd::DUPFD_CLOEXEC | cmd::GETFD | cmd::SETFD | cmd::GETFL | cmd::DUPFD_QUERY)
    {
        return Err(Errno::EBADF.into());
    }
    Ok(match command {
        cmd::DUPFD | cmd::DUPFD_CLOEXEC => {
            let limit = cx.task.group().nofile();
            let from = arg as u32 as usize;
            if from >= limit {
                return Err(Errno::EINVAL.into());
            }
            fds.add_from(file, command == cmd::DUPFD_CLOEXEC, from, limit)?.0 as u64
        }
        cmd::DUPFD_QUERY => {
            let other = fds.get_path(Fd(arg as i32))?;
            u64::from(Rc::ptr_eq(&file, &other))
        }
        cmd::GETFD => u64::from(fds.cloexec(fd)?),
        cmd::SETFD => {
            fds.set_cloexec(fd, arg & 1 != 0)?;
            0
        }
        // O_LARGEFILE is always there on a 64-bit kernel for files that open(2) made.
        cmd::GETFL => u64::from(file.flags().bits()),
        cmd::SETFL => {
            set_status(cx, &file, OpenFlags::from_bits_retain(arg as u32))?;
            0
        }
        // A negative value is a process group, and not an error number: it leaves as it is.
        cmd::GETOWN => i64::from(file.owner.get()) as u64,
        cmd::SETOWN => {
            set_owner(cx, &file, arg as i32)?;
            0
        }
        cmd::GETSIG => file.owner_signal.get() as u64,
        cmd::SETSIG => {
            if arg > 64 {
                return Err(Errno::EINVAL.into());
            }
            file.owner_signal.set(arg as i32);
            0
        }
        cmd::SETOWN_EX => {
            let who = cx.mem.read(UserPtr::<FOwnerEx>::new(arg)).await?;
            match who.kind {
                // A thread or a process: both deliver to the process here.
                0 | 1 => set_owner(cx, &file, who.pid)?,
                2 => set_owner(cx, &file, who.pid.checked_neg().ok_or(Errno::EINVAL)?)?,
                _ => return Err(Errno::EINVAL.into()),
            }
            0
        }
        cmd::GETOWN_EX => {
            let owner = file.owner.get();
            let who = FOwnerEx { kind: if owner < 0 { 2 } else { 1 }, pid: owner.saturating_abs() };
            cx.mem.write(UserPtr::new(arg), &who).await?;
            0
        }
        cmd::GETPIPE_SZ => file.downcast::<PipeEnd>().ok_or(Errno::EBADF)?.size() as u64,
        cmd::SETPIPE_SZ => {
            let end = file.downcast::<PipeEnd>().ok_or(Errno::EBADF)?;
            end.set_size(u64::from(arg as u32), cx.task.creds().has(cap::SYS_RESOURCE))? as u64
        }
        _ => return super::lock::fcntl(cx, &file, command, arg).await,
    })
}

/// Linux: setfl().
fn set_status(cx: &Cx, file: &File, want: OpenFlags) -> Result<(), Errno> {
    let old = file.flags();
    // O_NOATIME: the owner's alone.
    if want.contains(OpenFlags::O_NOATIME) && !old.contains(OpenFlags::O_NOATIME) && !cx.task.creds().has(cap::FOWNER) {
        return Err(Errno::EPERM);
    }
    let mut new = (old - SETFL) | (want & SETFL);
    if want.contains(OpenFlags::FASYNC) != old.contains(OpenFlags::FASYNC) && file.ops().wait_queue().is_none() {
        // Linux changes the bit only through the file's own operation.
        new.set(OpenFlags::FASYNC, old.contains(OpenFlags::FASYNC));
    }
    file.set_flags(new);
    Ok(())
}

/// `F_SETOWN`: zero is nobody, negative a process group. Linux: f_setown().
fn set_owner(cx: &Cx, file: &File, who: i32) -> Result<(), Errno> {
    if who == i32::MIN {
        return Err(Errno::EINVAL);
    }
    let id = who.unsigned_abs();
    let known = who == 0
        || cx.kernel.tasks.get(id).is_some()
        || cx.kernel.tasks.groups().iter().any(|g| g.pgid.get() == id || g.tgid == id);
    if !known {
        return Err(Errno::ESRCH);
    }
    file.owner.set(who);
    Ok(())
}
