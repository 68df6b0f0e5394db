//! Status of files: stat(2), statx(2), access(2), readlink(2), statfs(2). Linux: fs/stat.c, fs/open.c, fs/statfs.c.

use rsc_proto::abi::{
    AT_FDCWD, AccessMode, AtFlags, Errno, MountFlags, Stat, Statfs, Statx, StatxMask, StatxTimestamp, Timespec, major,
    minor, mode,
};
use std::rc::Rc;

use super::lookup::{Place, asker, of_fd, place, place_at, resolve, walker};
use crate::error::SysResult;
use crate::kernel::credentials::Credentials;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::memory::UserPtr;
use crate::vfs::permission::{Access, check};
use crate::vfs::{Attr, Location, Mount, Walker};

/// stat(2).
pub async fn stat(cx: &Cx, path: UserPtr<u8>, out: UserPtr<Stat>) -> SysResult<()> {
    newfstatat(cx, Fd(AT_FDCWD), path, out, 0).await
}

/// lstat(2).
pub async fn lstat(cx: &Cx, path: UserPtr<u8>, out: UserPtr<Stat>) -> SysResult<()> {
    newfstatat(cx, Fd(AT_FDCWD), path, out, AtFlags::AT_SYMLINK_NOFOLLOW.bits()).await
}

/// fstat(2).
pub async fn fstat(cx: &Cx, fd: Fd, out: UserPtr<Stat>) -> SysResult<()> {
    let file = cx.task.fds.borrow().get_path(fd)?;
    let stat = file.ops().stat().await?;
    Ok(cx.mem.write(out, &stat).await?)
}

/// newfstatat(2).
pub async fn newfstatat(cx: &Cx, dir: Fd, path: UserPtr<u8>, out: UserPtr<Stat>, flags: u32) -> SysResult<()> {
    let known = AtFlags::AT_SYMLINK_NOFOLLOW
        | AtFlags::AT_NO_AUTOMOUNT
        | AtFlags::AT_EMPTY_PATH
        | AtFlags::AT_STATX_FORCE_SYNC
        | AtFlags::AT_STATX_DONT_SYNC;
    let attr = match place_at(cx, dir, path, flags, known).await? {
        Place::File(file) => return Ok(cx.mem.write(out, &file.ops().stat().await?).await?),
        at => at.attr().await?,
    };
    Ok(cx.mem.write(out, &attr.to_stat()).await?)
}

fn statx_time(t: Timespec) -> StatxTimestamp {
    StatxTimestamp { tv_sec: t.tv_sec, tv_nsec: t.tv_nsec as u32, __reserved: 0 }
}

/// `STATX_ATTR_MOUNT_ROOT`.
const ATTR_MOUNT_ROOT: u64 = 0x2000;

/// statx(2).
pub async fn statx(cx: &Cx, dir: Fd, path: UserPtr<u8>, flags: u32, mask: u32, out: UserPtr<Statx>) -> SysResult<()> {
    const RESERVED: u32 = 0x8000_0000;
    if mask & RESERVED != 0 {
        return Err(Errno::EINVAL.into());
    }
    let sync = AtFlags::AT_STATX_FORCE_SYNC | AtFlags::AT_STATX_DONT_SYNC;
    if flags & sync.bits() == sync.bits() {
        return Err(Errno::EINVAL.into());
    }
    let known = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT | AtFlags::AT_EMPTY_PATH | sync;
    let at = place_at(cx, dir, path, flags, known).await?;
    let a = at.attr().await?;
    let mut given = StatxMask::from_bits_truncate(0x7ff) | StatxMask::STATX_MNT_ID;
    let (mount, root) = match &at {
        Place::At(at, _) => (at.mount.id, at.dentry.id == at.mount.root.id),
        Place::File(_) => (0, false),
    };
    if a.btime.is_some() {
        given |= StatxMask::STATX_BTIME;
    }
    let x = Statx {
        stx_mask: given.bits(),
        stx_blksize: a.blksize,
        stx_attributes: a.attributes & !ATTR_MOUNT_ROOT | if root { ATTR_MOUNT_ROOT } else { 0 },
        stx_nlink: a.nlink,
        stx_uid: a.uid,
        stx_gid: a.gid,
        stx_mode: a.mode as u16,
        stx_ino: a.ino,
        stx_size: a.size,
        stx_blocks: a.blocks,
        stx_attributes_mask: a.attributes_mask | ATTR_MOUNT_ROOT,
        stx_atime: statx_time(a.atime),
        stx_btime: statx_time(a.btime.unwrap_or_default()),
        stx_ctime: statx_time(a.ctime),
        stx_mtime: statx_time(a.mtime),
        stx_rdev_major: major(a.rdev),
        stx_rdev_minor: minor(a.rdev),
        stx_dev_major: major(a.dev),
        stx_dev_minor: minor(a.dev),
        stx_mnt_id: mount,
        ..Default::default()
    };
    Ok(cx.mem.write(out, &x).await?)
}

/// access(2).
pub async fn access(cx: &Cx, path: UserPtr<u8>, mode: u32) -> SysResult<()> {
    faccessat2(cx, Fd(AT_FDCWD), path, mode, 0).await
}

/// faccessat(2), the system call, which has no flags.
pub async fn faccessat(cx: &Cx, dir: Fd, path: UserPtr<u8>, mode: u32) -> SysResult<()> {
    faccessat2(cx, dir, path, mode, 0).await
}

/// `AT_EACCESS`, which shares its bit with `AT_REMOVEDIR`.
const AT_EACCESS: u32 = 0x200;

/// The real ids' rights. Linux: access_override_creds().
fn real_ids(creds: &Credentials) -> Credentials {
    let mut c = creds.clone();
    c.fsuid = c.uid;
    c.fsgid = c.gid;
    // SECBIT_NO_SETUID_FIXUP keeps capabilities and ids apart.
    if c.securebits & 4 == 0 {
        c.effective = if c.uid == 0 { c.permitted } else { 0 };
    }
    c
}

/// faccessat2(2).
pub async fn faccessat2(cx: &Cx, dir: Fd, path: UserPtr<u8>, mode: u32, flags: u32) -> SysResult<()> {
    let mode = AccessMode::from_bits(mode).ok_or(Errno::EINVAL)?;
    let known = (AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH).bits() | AT_EACCESS;
    if flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = cx.task.creds();
    let creds = if flags & AT_EACCESS == 0 { Rc::new(real_ids(&creds)) } else { creds };
    let at_flags = AtFlags::from_bits_truncate(flags & !AT_EACCESS);
    let path = cx.mem.read_path(path).await?;
    let at = if path.is_empty() {
        place(cx, dir, &path, at_flags, true).await?
    } else {
        let follow = !at_flags.contains(AtFlags::AT_SYMLINK_NOFOLLOW);
        let w = Walker { creds: creds.clone(), ..walker(cx, dir, &path, follow)? };
        let (at, fresh) = w.resolve(&path).await?;
        Place::At(at, fresh)
    };
    let want = Access::from_bits_truncate(mode.bits());
    let attr = at.attr().await?;
    if let Place::At(at, _) = &at {
        may_access(at, &attr, &creds, want)?;
    } else {
        check(&attr, &creds, want)?;
    }
    Ok(())
}

fn may_access(at: &Location, attr: &Attr, creds: &Credentials, want: Access) -> Result<(), Errno> {
    let flags = at.mount.flags();
    if want.contains(Access::EXEC) && attr.is_regular() && flags.contains(MountFlags::MS_NOEXEC) {
        return Err(Errno::EACCES);
    }
    if want.is_empty() {
        return Ok(());
    }
    let special = matches!(attr.kind(), mode::S_IFCHR | mode::S_IFBLK | mode::S_IFIFO | mode::S_IFSOCK);
    if want.contains(Access::WRITE) && !special && at.mount.fs.read_only() {
        return Err(Errno::EROFS);
    }
    check(attr, creds, want)?;
    // Linux looks at the mount after the permissions.
    if want.contains(Access::WRITE) && !special {
        at.mount.want_write()?;
    }
    Ok(())
}

/// readlink(2).
pub async fn readlink(cx: &Cx, path: UserPtr<u8>, buf: UserPtr<u8>, size: i32) -> SysResult<usize> {
    readlinkat(cx, Fd(AT_FDCWD), path, buf, size).await
}

/// readlinkat(2). An empty path is the link that a descriptor of `O_PATH | O_NOFOLLOW` names.
pub async fn readlinkat(cx: &Cx, dir: Fd, path: UserPtr<u8>, buf: UserPtr<u8>, size: i32) -> SysResult<usize> {
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = cx.mem.read_path(path).await?;
    let at = place(cx, dir, &path, AtFlags::AT_EMPTY_PATH, false).await?;
    let inode = match &at {
        Place::At(at, _) => at.inode(),
        Place::File(_) => return Err(Errno::ENOENT.into()),
    };
    if !inode.attr().is_symlink() {
        return Err(if path.is_empty() { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    let target = inode.readlink(asker(cx)).await?;
    let n = target.len().min(size as usize);
    cx.mem.write_bytes(buf.addr(), target.get(..n).unwrap_or_default().to_vec().into()).await?;
    Ok(n)
}

/// `ST_*` of statfs(2) from a mount's flags.
fn statfs_flags(mount: &Mount) -> i64 {
    const ST_VALID: i64 = 0x20;
    let f = mount.flags();
    let pairs = [
        (MountFlags::MS_RDONLY, 1),
        (MountFlags::MS_NOSUID, 2),
        (MountFlags::MS_NODEV, 4),
        (MountFlags::MS_NOEXEC, 8),
        (MountFlags::MS_SYNCHRONOUS, 16),
        (MountFlags::MS_NOATIME, 1024),
        (MountFlags::MS_NODIRATIME, 2048),
        (MountFlags::MS_RELATIME, 4096),
        (MountFlags::MS_NOSYMFOLLOW, 8192),
    ];
    let ro = i64::from(mount.fs.read_only());
    pairs.iter().filter(|(m, _)| f.contains(*m)).fold(ST_VALID | ro, |bits, (_, st)| bits | st)
}

async fn statfs_of(at: &Location) -> Result<Statfs, Errno> {
    let mut s = at.mount.fs.statfs().await?;
    s.f_flags = statfs_flags(&at.mount);
    Ok(s)
}

/// statfs(2).
pub async fn statfs(cx: &Cx, path: UserPtr<u8>, out: UserPtr<Statfs>) -> SysResult<()> {
    let at = resolve(cx, path, true).await?;
    Ok(cx.mem.write(out, &statfs_of(&at).await?).await?)
}

/// fstatfs(2).
pub async fn fstatfs(cx: &Cx, fd: Fd, out: UserPtr<Statfs>) -> SysResult<()> {
    let file = cx.task.fds.borrow().get_path(fd)?;
    let s = match of_fd(file.clone()) {
        Place::At(at, _) => statfs_of(&at).await?,
        Place::File(file) => {
            let at = crate::fs::anon::location_of(&file).await?;
            statfs_of(&at).await?
        }
    };
    Ok(cx.mem.write(out, &s).await?)
}
