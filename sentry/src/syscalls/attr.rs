//! Changing attributes: chmod(2), chown(2), utimensat(2), truncate(2). Linux: fs/attr.c, fs/open.c, fs/utimes.c.

use rsc_proto::abi::{AT_FDCWD, AtFlags, Errno, Timespec, Timeval, Utimbuf, mode, sig};

use super::lookup::{Place, of_fd, place, place_at};
use crate::error::SysResult;
use crate::kernel::credentials::{Credentials, cap};
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::memory::UserPtr;
use crate::kernel::task::rlimit;
use crate::vfs::inode::{SetAttr, SetTime};
use crate::vfs::permission::{Access, check, owner_or_capable, without_set_id};
use crate::vfs::{Attr, Location};

const CWD: Fd = Fd(AT_FDCWD);
/// "Leave it" for chown(2).
const SAME: u32 = u32::MAX;

/// The place and its current attributes, where they can be changed. Files without a path can't: `EOPNOTSUPP`, as anonymous inodes.
async fn changeable(at: &Place) -> Result<(&Location, Attr), Errno> {
    let Place::At(location, _) = at else { return Err(Errno::EOPNOTSUPP) };
    let attr = at.attr().await?;
    location.mount.want_write()?;
    Ok((location, attr))
}

/// chmod(2).
pub async fn chmod(cx: &Cx, path: UserPtr<u8>, mode: u32) -> SysResult<()> {
    fchmodat2(cx, CWD, path, mode, 0).await
}

/// fchmodat(2), the system call, which has no flags.
pub async fn fchmodat(cx: &Cx, dir: Fd, path: UserPtr<u8>, mode: u32) -> SysResult<()> {
    fchmodat2(cx, dir, path, mode, 0).await
}

/// fchmodat2(2).
pub async fn fchmodat2(cx: &Cx, dir: Fd, path: UserPtr<u8>, mode: u32, flags: u32) -> SysResult<()> {
    let known = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    let at = place_at(cx, dir, path, flags, known).await?;
    Ok(change_mode(cx, &at, mode).await?)
}

/// fchmod(2).
pub async fn fchmod(cx: &Cx, fd: Fd, mode: u32) -> SysResult<()> {
    let at = of_fd(cx.file(fd)?);
    Ok(change_mode(cx, &at, mode).await?)
}

async fn change_mode(cx: &Cx, at: &Place, mode: u32) -> Result<(), Errno> {
    let (location, attr) = changeable(at).await?;
    if attr.is_symlink() {
        return Err(Errno::EOPNOTSUPP);
    }
    let creds = cx.task.creds();
    if !owner_or_capable(&attr, &creds) {
        return Err(Errno::EPERM);
    }
    let mut mode = mode & 0o7777;
    if !creds.in_group(attr.gid) && !creds.has(cap::FSETID) {
        mode &= !mode::S_ISGID;
    }
    location.inode().set_attr(SetAttr { mode: Some(mode), ..Default::default() }).await
}

/// chown(2).
pub async fn chown(cx: &Cx, path: UserPtr<u8>, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(cx, CWD, path, uid, gid, 0).await
}

/// lchown(2).
pub async fn lchown(cx: &Cx, path: UserPtr<u8>, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(cx, CWD, path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW.bits()).await
}

/// fchownat(2).
pub async fn fchownat(cx: &Cx, dir: Fd, path: UserPtr<u8>, uid: u32, gid: u32, flags: u32) -> SysResult<()> {
    let known = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    let at = place_at(cx, dir, path, flags, known).await?;
    Ok(change_owner(cx, &at, uid, gid).await?)
}

/// fchown(2).
pub async fn fchown(cx: &Cx, fd: Fd, uid: u32, gid: u32) -> SysResult<()> {
    let at = of_fd(cx.file(fd)?);
    Ok(change_owner(cx, &at, uid, gid).await?)
}

/// Linux: chown_ok(), chgrp_ok().
fn may_chown(attr: &Attr, creds: &Credentials, uid: u32, gid: u32) -> bool {
    let owner = creds.fsuid == attr.uid;
    let user = uid == SAME || owner && uid == attr.uid || creds.has(cap::CHOWN);
    let group = gid == SAME || owner && (creds.in_group(gid) || gid == attr.gid) || creds.has(cap::CHOWN);
    user && group
}

/// What chown(2) leaves of a mode; `None`: all of it. Linux: setattr_should_drop_suidgid().
fn mode_after_chown(attr: &Attr, creds: &Credentials) -> Option<u32> {
    if attr.is_dir() || attr.is_symlink() {
        return None;
    }
    let mut gone = attr.mode & mode::S_ISUID;
    let privileged = creds.in_group(attr.gid) || creds.has(cap::FSETID);
    if attr.mode & mode::S_ISGID != 0 && (attr.mode & 0o010 != 0 || !privileged) {
        gone |= mode::S_ISGID;
    }
    (gone != 0).then_some(attr.mode & 0o7777 & !gone)
}

async fn change_owner(cx: &Cx, at: &Place, uid: u32, gid: u32) -> Result<(), Errno> {
    let (location, attr) = changeable(at).await?;
    let creds = cx.task.creds();
    if !may_chown(&attr, &creds, uid, gid) {
        return Err(Errno::EPERM);
    }
    let set = SetAttr {
        uid: (uid != SAME).then_some(uid),
        gid: (gid != SAME).then_some(gid),
        mode: mode_after_chown(&attr, &creds),
        ..Default::default()
    };
    location.inode().set_attr(set).await
}

/// `UTIME_NOW` and `UTIME_OMIT` in a timespec's nanoseconds.
const UTIME_NOW: i64 = (1 << 30) - 1;
const UTIME_OMIT: i64 = (1 << 30) - 2;

/// utimensat(2). A NULL path is the descriptor itself, as futimens(3) uses it.
pub async fn utimensat(cx: &Cx, dir: Fd, path: UserPtr<u8>, times: UserPtr<Timespec>, flags: u32) -> SysResult<()> {
    let times = match times.non_null() {
        None => None,
        Some(p) => {
            let t = cx.mem.read_array(p, 2).await?;
            let [a, m] = <[Timespec; 2]>::try_from(t).map_err(|_| Errno::EFAULT)?;
            if a.tv_nsec == UTIME_OMIT && m.tv_nsec == UTIME_OMIT {
                return Ok(());
            }
            Some((a, m))
        }
    };
    if path.is_null() && dir.0 != AT_FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        let at = of_fd(cx.file(dir)?);
        return Ok(change_times(cx, &at, times).await?);
    }
    let known = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    let at = place_at(cx, dir, path, flags, known).await?;
    Ok(change_times(cx, &at, times).await?)
}

/// Linux: vfs_utimes().
async fn change_times(cx: &Cx, at: &Place, times: Option<(Timespec, Timespec)>) -> Result<(), Errno> {
    let valid = |t: &Timespec| matches!(t.tv_nsec, 0..=999_999_999 | UTIME_NOW | UTIME_OMIT);
    if times.is_some_and(|(a, m)| !valid(&a) || !valid(&m)) {
        return Err(Errno::EINVAL);
    }
    let times = times.filter(|(a, m)| a.tv_nsec != UTIME_NOW || m.tv_nsec != UTIME_NOW);
    let (location, attr) = changeable(at).await?;
    let creds = cx.task.creds();
    if !owner_or_capable(&attr, &creds) {
        match times {
            // "Now" is for whoever may write.
            None => check(&attr, &creds, Access::WRITE)?,
            Some(_) => return Err(Errno::EPERM),
        }
    }
    let time = |t: Timespec| match t.tv_nsec {
        UTIME_OMIT => None,
        UTIME_NOW => Some(SetTime::Now),
        _ => Some(SetTime::At(t)),
    };
    let (atime, mtime) = match times {
        None => (Some(SetTime::Now), Some(SetTime::Now)),
        Some((a, m)) => (time(a), time(m)),
    };
    location.inode().set_attr(SetAttr { atime, mtime, ..Default::default() }).await
}

/// utime(2).
pub async fn utime(cx: &Cx, path: UserPtr<u8>, times: UserPtr<Utimbuf>) -> SysResult<()> {
    let times = match times.non_null() {
        None => None,
        Some(p) => {
            let t = cx.mem.read(p).await?;
            let at = |s| Timespec { tv_sec: s, tv_nsec: 0 };
            Some((at(t.actime), at(t.modtime)))
        }
    };
    let at = place_at(cx, CWD, path, 0, AtFlags::empty()).await?;
    Ok(change_times(cx, &at, times).await?)
}

/// utimes(2).
pub async fn utimes(cx: &Cx, path: UserPtr<u8>, times: UserPtr<Timeval>) -> SysResult<()> {
    futimesat(cx, CWD, path, times).await
}

/// futimesat(2).
pub async fn futimesat(cx: &Cx, dir: Fd, path: UserPtr<u8>, times: UserPtr<Timeval>) -> SysResult<()> {
    let times = match times.non_null() {
        None => None,
        Some(p) => {
            let t = cx.mem.read_array(p, 2).await?;
            let [a, m] = <[Timeval; 2]>::try_from(t).map_err(|_| Errno::EFAULT)?;
            let at = |t: Timeval| match t.tv_usec {
                0..=999_999 => Ok(Timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_usec * 1000 }),
                _ => Err(Errno::EINVAL),
            };
            Some((at(a)?, at(m)?))
        }
    };
    if path.is_null() && dir.0 != AT_FDCWD {
        let at = of_fd(cx.file(dir)?);
        return Ok(change_times(cx, &at, times).await?);
    }
    let at = place_at(cx, dir, path, 0, AtFlags::empty()).await?;
    Ok(change_times(cx, &at, times).await?)
}

/// `RLIMIT_FSIZE`. Linux: inode_newsize_ok().
fn size_allowed(cx: &Cx, attr: &Attr, len: u64) -> Result<(), Errno> {
    if len > attr.size && len > cx.task.group().limit(rlimit::FSIZE).rlim_cur {
        cx.signal.set(sig::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(())
}

/// truncate(2).
pub async fn truncate(cx: &Cx, path: UserPtr<u8>, len: i64) -> SysResult<()> {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let path = cx.mem.read_path(path).await?;
    let at = place(cx, CWD, &path, AtFlags::empty(), true).await?;
    let location = at.location()?;
    let attr = at.attr().await?;
    if attr.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    if !attr.is_regular() {
        return Err(Errno::EINVAL.into());
    }
    location.mount.want_write()?;
    let creds = cx.task.creds();
    check(&attr, &creds, Access::WRITE)?;
    if cx.kernel.executes(attr.dev, attr.ino) {
        return Err(Errno::ETXTBSY.into());
    }
    size_allowed(cx, &attr, len)?;
    let set = SetAttr { size: Some(len), mode: without_set_id(&attr, &creds), ..Default::default() };
    Ok(location.inode().set_attr(set).await?)
}

/// ftruncate(2).
pub async fn ftruncate(cx: &Cx, fd: Fd, len: i64) -> SysResult<()> {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let file = cx.file(fd)?;
    if !file.writable() {
        return Err(Errno::EINVAL.into());
    }
    let attr = match file.location() {
        Some(at) => at.inode().attr(),
        None => Attr::from_stat(&file.ops().stat().await?),
    };
    if !attr.is_regular() {
        return Err(Errno::EINVAL.into());
    }
    size_allowed(cx, &attr, len)?;
    let kept = without_set_id(&attr, &cx.task.creds());
    if let (Some(mode), Some(at)) = (kept, file.location()) {
        at.inode().set_attr(SetAttr { mode: Some(mode), ..Default::default() }).await?;
    }
    Ok(file.ops().truncate(len).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::permission::tests::creds;

    #[test]
    fn who_may_give_away() {
        let attr = Attr { mode: 0o100_644, uid: 5, gid: 6, ..Default::default() };
        let owner = creds(5, 0);
        assert!(may_chown(&attr, &owner, 5, 6) && may_chown(&attr, &owner, SAME, 5));
        assert!(!may_chown(&attr, &owner, 7, SAME) && !may_chown(&attr, &owner, SAME, 7));
        assert!(!may_chown(&attr, &creds(6, 0), SAME, 6) && may_chown(&attr, &creds(0, 1), 7, 7));
    }

    #[test]
    fn set_id_bits_go_with_the_owner() {
        let attr = Attr { mode: 0o106_711, gid: 6, ..Default::default() };
        assert_eq!(mode_after_chown(&attr, &creds(0, u64::MAX)), Some(0o711));
        let locking = Attr { mode: 0o102_701, gid: 6, ..Default::default() };
        assert_eq!(mode_after_chown(&locking, &creds(0, u64::MAX)), None);
        assert_eq!(mode_after_chown(&locking, &creds(5, 0)), Some(0o701));
    }
}
