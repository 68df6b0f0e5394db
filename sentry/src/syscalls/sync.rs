//! Writing back, reserving space, and hints: fsync(2), sync(2), fallocate(2), posix_fadvise(2), readahead(2).

use rsc_proto::abi::{Errno, FallocFlags, mode, sig};

use crate::error::SysResult;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::task::rlimit;

/// fsync(2).
pub async fn fsync(cx: &Cx, fd: Fd) -> SysResult<()> {
    Ok(cx.file(fd)?.ops().sync(false).await?)
}

/// fdatasync(2).
pub async fn fdatasync(cx: &Cx, fd: Fd) -> SysResult<()> {
    Ok(cx.file(fd)?.ops().sync(true).await?)
}

/// sync(2): never fails.
pub async fn sync(cx: &Cx) -> SysResult<()> {
    let _ = cx.kernel.vfs.sync().await;
    Ok(())
}

/// syncfs(2).
pub async fn syncfs(cx: &Cx, fd: Fd) -> SysResult<()> {
    let file = cx.file(fd)?;
    match file.location() {
        Some(at) => Ok(at.mount.fs.sync().await?),
        // What has no path has nothing to write back.
        None => Ok(()),
    }
}

/// sync_file_range(2): as fdatasync(2), which is more than was asked for.
pub async fn sync_file_range(cx: &Cx, fd: Fd, offset: i64, bytes: i64, flags: u32) -> SysResult<()> {
    let file = cx.file(fd)?;
    let end = offset.checked_add(bytes);
    if flags & !7 != 0 || offset < 0 || bytes < 0 || end.is_none() {
        return Err(Errno::EINVAL.into());
    }
    let stat = file.ops().stat().await?;
    if !matches!(stat.st_mode & mode::S_IFMT, mode::S_IFREG | mode::S_IFDIR | mode::S_IFBLK) {
        return Err(Errno::ESPIPE.into());
    }
    if flags == 0 {
        return Ok(());
    }
    Ok(file.ops().sync(true).await?)
}

/// fallocate(2). Linux: vfs_fallocate().
pub async fn fallocate(cx: &Cx, fd: Fd, mode: u32, offset: i64, len: i64) -> SysResult<()> {
    let file = cx.file(fd)?;
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let flags = FallocFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
    let keep = FallocFlags::FALLOC_FL_KEEP_SIZE;
    let allowed = match flags - keep {
        f if f.is_empty() => true,
        FallocFlags::FALLOC_FL_PUNCH_HOLE => flags.contains(keep),
        FallocFlags::FALLOC_FL_ZERO_RANGE | FallocFlags::FALLOC_FL_UNSHARE_RANGE => true,
        FallocFlags::FALLOC_FL_COLLAPSE_RANGE | FallocFlags::FALLOC_FL_INSERT_RANGE => !flags.contains(keep),
        _ => false,
    };
    if !allowed {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    let stat = file.ops().stat().await?;
    match stat.st_mode & mode::S_IFMT {
        mode::S_IFREG | mode::S_IFBLK => {}
        mode::S_IFIFO => return Err(Errno::ESPIPE.into()),
        mode::S_IFDIR => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)? as u64;
    let grows = !flags.contains(keep) && end > stat.st_size as u64;
    if grows && end > cx.task.group().limit(rlimit::FSIZE).rlim_cur {
        cx.signal.set(sig::SIGXFSZ);
        return Err(Errno::EFBIG.into());
    }
    Ok(file.ops().allocate(mode, offset as u64, len as u64).await?)
}

/// posix_fadvise(2): hints have no effect, only errors.
pub async fn fadvise64(cx: &Cx, fd: Fd, _offset: i64, len: i64, advice: i32) -> SysResult<()> {
    let file = cx.file(fd)?;
    let stat = file.ops().stat().await?;
    if stat.st_mode & mode::S_IFMT == mode::S_IFIFO {
        return Err(Errno::ESPIPE.into());
    }
    if len < 0 || !(0..=5).contains(&advice) {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}

/// readahead(2).
pub async fn readahead(cx: &Cx, fd: Fd, _offset: i64, _count: usize) -> SysResult<()> {
    let file = cx.file(fd)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    let stat = file.ops().stat().await?;
    if !matches!(stat.st_mode & mode::S_IFMT, mode::S_IFREG | mode::S_IFBLK) {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}
