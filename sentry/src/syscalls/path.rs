//! Making, removing and moving names. Linux: fs/namei.c.

use rsc_proto::abi::{AT_FDCWD, AtFlags, Errno, RenameFlags, mode};

use super::lookup::{Place, place, walker};
use crate::error::SysResult;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::memory::UserPtr;
use crate::vfs::inode::RenameMode;
use crate::vfs::names;

const CWD: Fd = Fd(AT_FDCWD);

fn umask(cx: &Cx) -> u32 {
    cx.task.fs.borrow().umask.get()
}

/// mkdir(2).
pub async fn mkdir(cx: &Cx, path: UserPtr<u8>, mode: u32) -> SysResult<()> {
    mkdirat(cx, CWD, path, mode).await
}

/// mkdirat(2).
pub async fn mkdirat(cx: &Cx, dir: Fd, path: UserPtr<u8>, mode: u32) -> SysResult<()> {
    let path = cx.mem.read_path(path).await?;
    let walker = walker(cx, dir, &path, false)?;
    walker.make(&path, mode::S_IFDIR | mode & 0o1777, umask(cx), 0, b"").await?;
    Ok(())
}

/// mknod(2).
pub async fn mknod(cx: &Cx, path: UserPtr<u8>, mode: u32, dev: u32) -> SysResult<()> {
    mknodat(cx, CWD, path, mode, dev).await
}

/// mknodat(2).
pub async fn mknodat(cx: &Cx, dir: Fd, path: UserPtr<u8>, mode: u32, dev: u32) -> SysResult<()> {
    let kind = match mode & mode::S_IFMT {
        0 => mode::S_IFREG,
        k @ (mode::S_IFREG | mode::S_IFCHR | mode::S_IFBLK | mode::S_IFIFO | mode::S_IFSOCK) => k,
        mode::S_IFDIR => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let path = cx.mem.read_path(path).await?;
    let walker = walker(cx, dir, &path, false)?;
    let device = matches!(kind, mode::S_IFCHR | mode::S_IFBLK);
    let rdev = if device { u64::from(dev) } else { 0 };
    walker.make(&path, kind | mode & 0o7777, umask(cx), rdev, b"").await?;
    Ok(())
}

/// symlink(2).
pub async fn symlink(cx: &Cx, target: UserPtr<u8>, path: UserPtr<u8>) -> SysResult<()> {
    symlinkat(cx, target, CWD, path).await
}

/// symlinkat(2).
pub async fn symlinkat(cx: &Cx, target: UserPtr<u8>, dir: Fd, path: UserPtr<u8>) -> SysResult<()> {
    let target = cx.mem.read_path(target).await?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let path = cx.mem.read_path(path).await?;
    let walker = walker(cx, dir, &path, false)?;
    walker.make(&path, mode::S_IFLNK | 0o777, 0, 0, &target).await?;
    Ok(())
}

/// link(2).
pub async fn link(cx: &Cx, old: UserPtr<u8>, new: UserPtr<u8>) -> SysResult<()> {
    linkat(cx, CWD, old, CWD, new, 0).await
}

/// linkat(2).
pub async fn linkat(
    cx: &Cx,
    old_dir: Fd,
    old: UserPtr<u8>,
    new_dir: Fd,
    new: UserPtr<u8>,
    flags: u32,
) -> SysResult<()> {
    let known = AtFlags::AT_SYMLINK_FOLLOW | AtFlags::AT_EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|f| known.contains(*f)).ok_or(Errno::EINVAL)?;
    let old = cx.mem.read_path(old).await?;
    let new = cx.mem.read_path(new).await?;
    let follow = flags.contains(AtFlags::AT_SYMLINK_FOLLOW);
    let Place::At(at, _) = place(cx, old_dir, &old, flags, follow).await? else { return Err(Errno::EXDEV.into()) };
    if old.is_empty() {
        at.inode().refresh().await?;
    }
    Ok(walker(cx, new_dir, &new, false)?.link(&at, &new).await?)
}

/// unlink(2).
pub async fn unlink(cx: &Cx, path: UserPtr<u8>) -> SysResult<()> {
    unlinkat(cx, CWD, path, 0).await
}

/// rmdir(2).
pub async fn rmdir(cx: &Cx, path: UserPtr<u8>) -> SysResult<()> {
    unlinkat(cx, CWD, path, AtFlags::AT_REMOVEDIR.bits()).await
}

/// unlinkat(2).
pub async fn unlinkat(cx: &Cx, dir: Fd, path: UserPtr<u8>, flags: u32) -> SysResult<()> {
    let flags = AtFlags::from_bits(flags).filter(|f| AtFlags::AT_REMOVEDIR.contains(*f)).ok_or(Errno::EINVAL)?;
    let path = cx.mem.read_path(path).await?;
    let walker = walker(cx, dir, &path, false)?;
    if flags.contains(AtFlags::AT_REMOVEDIR) {
        walker.rmdir(&path).await?;
    } else {
        walker.unlink(&path).await?;
    }
    Ok(())
}

/// rename(2).
pub async fn rename(cx: &Cx, old: UserPtr<u8>, new: UserPtr<u8>) -> SysResult<()> {
    renameat2(cx, CWD, old, CWD, new, 0).await
}

/// renameat(2).
pub async fn renameat(cx: &Cx, old_dir: Fd, old: UserPtr<u8>, new_dir: Fd, new: UserPtr<u8>) -> SysResult<()> {
    renameat2(cx, old_dir, old, new_dir, new, 0).await
}

/// renameat2(2).
pub async fn renameat2(
    cx: &Cx,
    old_dir: Fd,
    old: UserPtr<u8>,
    new_dir: Fd,
    new: UserPtr<u8>,
    flags: u32,
) -> SysResult<()> {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let how = match flags {
        f if f.is_empty() => RenameMode::Replace,
        RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
        RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
        // Whiteouts are for overlays; together these make no sense.
        _ => return Err(Errno::EINVAL.into()),
    };
    let old = cx.mem.read_path(old).await?;
    let new = cx.mem.read_path(new).await?;
    let from = walker(cx, old_dir, &old, false)?;
    let to = walker(cx, new_dir, &new, false)?;
    Ok(names::rename(&from, &old, &to, &new, how).await?)
}
