//! Attributes: getattr, setattr, statfs, extended attributes.

use super::handles::Bound;
use super::{Answer, Server};
use crate::sys::{Name, Result, fs};
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{
    Attr, Node, OpenFlags, Outcome, SetAttr, SetTime, SetXattr, StatFs, XATTR_MAX, XattrFlags, XattrName,
};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

/// `statx(2)`'s structure as the wire has it.
pub(super) fn attr(stat: &libc::statx) -> Attr {
    Attr {
        mask: stat.stx_mask,
        mode: stat.stx_mode.into(),
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        ino: stat.stx_ino,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        blksize: stat.stx_blksize,
        nlink: stat.stx_nlink,
        dev: libc::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        rdev: libc::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        atime: stat.stx_atime.tv_sec,
        mtime: stat.stx_mtime.tv_sec,
        ctime: stat.stx_ctime.tv_sec,
        btime: stat.stx_btime.tv_sec,
        atime_ns: stat.stx_atime.tv_nsec,
        mtime_ns: stat.stx_mtime.tv_nsec,
        ctime_ns: stat.stx_ctime.tv_nsec,
        btime_ns: stat.stx_btime.tv_nsec,
        attributes: stat.stx_attributes,
        attributes_mask: stat.stx_attributes_mask,
        mnt_id: stat.stx_mnt_id,
    }
}

fn timespec(time: Option<SetTime>) -> Result<libc::timespec> {
    Ok(match time {
        None => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        Some(SetTime { now: true, .. }) => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
        // The two special values are above this as well.
        Some(SetTime { nsec, .. }) if nsec >= 1_000_000_000 => return Err(Errno::EINVAL),
        Some(SetTime { sec, nsec, .. }) => libc::timespec { tv_sec: sec, tv_nsec: nsec.into() },
    })
}

/// Namespaces of extended attributes, by what is done with them.
enum Space {
    User,
    Security,
    Trusted,
}

fn space(name: &[u8]) -> Result<Space> {
    if name.is_empty() || name.len() > 255 {
        return Err(Errno::ERANGE);
    }
    [(&b"user."[..], Space::User), (b"security.", Space::Security), (b"trusted.", Space::Trusted)]
        .into_iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map(|(_, space)| space)
        .ok_or(Errno::EOPNOTSUPP)
}

fn xattr_name(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| Errno::EINVAL)
}

impl Server {
    pub(super) fn getattr(&self, op: Node) -> Result<Answer> {
        self.attr_of(self.handles.get(op.handle)?)
    }

    pub(super) fn attr_of(&self, bound: &Bound) -> Result<Answer> {
        Ok(Answer::With(Outcome::Attr(attr(&fs::statx(bound.fd(), c"")?))))
    }

    pub(super) fn setattr(&self, op: SetAttr) -> Result<Answer> {
        let bound = self.handles.get(op.handle)?;
        // All that can be known to be wrong is refused before anything is done.
        if op.mode.is_some_and(|mode| mode & !0o7777 != 0) {
            return Err(Errno::EINVAL);
        }
        let size = op.size.map(i64::try_from).transpose().map_err(|_| Errno::EINVAL)?;
        let times = [timespec(op.atime)?, timespec(op.mtime)?];
        if op.uid == Some(u32::MAX) || op.gid == Some(u32::MAX) {
            return Err(Errno::EINVAL);
        }
        self.change()?;
        if op.uid.is_some_and(|uid| !self.ids.has_uid(uid)) || op.gid.is_some_and(|gid| !self.ids.has_gid(gid)) {
            return Err(Errno::EPERM);
        }
        match (size, bound.kind) {
            (None, _) | (_, libc::S_IFREG) => {}
            (_, libc::S_IFDIR) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        let name = Name::of_fd(bound.fd().as_raw_fd());
        if op.uid.is_some() || op.gid.is_some() {
            fs::chown(bound.fd(), op.uid.unwrap_or(u32::MAX), op.gid.unwrap_or(u32::MAX))?;
        }
        match size {
            Some(size) if bound.writable().is_ok() => fs::truncate(bound.fd(), size)?,
            Some(size) => {
                let file = fs::open_at(self.own.as_fd(), name.as_c(), libc::O_WRONLY)?;
                fs::truncate(file.as_fd(), size)?;
            }
            None => {}
        }
        if let Some(mode) = op.mode {
            fs::chmod(self.own.as_fd(), name.as_c(), mode)?;
        }
        if op.atime.is_some() || op.mtime.is_some() {
            fs::set_times(self.own.as_fd(), name.as_c(), &times)?;
        }
        self.attr_of(bound)
    }

    /// Drops set-id bits, as a write by somebody without CAP_FSETID does.
    pub(super) fn kill_priv(&self, bound: &Bound) -> Result<()> {
        let mode = u32::from(fs::statx(bound.fd(), c"")?.stx_mode);
        let executable = mode & libc::S_IXGRP != 0;
        let kept = mode & !libc::S_ISUID & if executable { !libc::S_ISGID } else { u32::MAX };
        if kept != mode {
            let name = Name::of_fd(bound.fd().as_raw_fd());
            fs::chmod(self.own.as_fd(), name.as_c(), kept & 0o7777)?;
        }
        Ok(())
    }

    pub(super) fn statfs(&self, op: Node) -> Result<Answer> {
        let (stat, fsid) = fs::statfs(self.handles.get(op.handle)?.fd())?;
        Ok(Answer::With(Outcome::StatFs(StatFs {
            kind: stat.f_type as u64,
            bsize: stat.f_bsize as u64,
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            fsid,
            namelen: stat.f_namelen as u64,
            frsize: stat.f_frsize as u64,
            flags: stat.f_flags as u64,
        })))
    }

    pub(super) fn get_xattr(&self, op: &XattrName) -> Result<Answer> {
        let bound = self.handles.get(op.handle)?;
        if let Space::Trusted = space(&op.name)? {
            return Err(Errno::ENODATA);
        }
        let name = xattr_name(&op.name)?;
        let mut value = vec![0; XATTR_MAX];
        let n = fs::get_xattr(Name::of_fd(bound.fd().as_raw_fd()).as_c(), &name, &mut value)?;
        value.truncate(n);
        Ok(Answer::Payload(value))
    }

    pub(super) fn set_xattr(&self, op: &SetXattr, value: &[u8]) -> Result<Answer> {
        let bound = self.handles.get(op.handle)?;
        let flags = XattrFlags::from_bits(op.flags).ok_or(Errno::EINVAL)?;
        if value.len() > XATTR_MAX {
            return Err(Errno::E2BIG);
        }
        self.changeable_xattr(&op.name)?;
        let name = xattr_name(&op.name)?;
        let fd = Name::of_fd(bound.fd().as_raw_fd());
        fs::set_xattr(fd.as_c(), &name, value, flags.bits() as libc::c_int)?;
        Ok(Answer::Done)
    }

    pub(super) fn remove_xattr(&self, op: &XattrName) -> Result<Answer> {
        let bound = self.handles.get(op.handle)?;
        self.changeable_xattr(&op.name)?;
        let name = xattr_name(&op.name)?;
        fs::remove_xattr(Name::of_fd(bound.fd().as_raw_fd()).as_c(), &name)?;
        Ok(Answer::Done)
    }

    fn changeable_xattr(&self, name: &[u8]) -> Result<()> {
        let space = space(name)?;
        self.change()?;
        match space {
            Space::User => Ok(()),
            // File capabilities need CAP_SETFCAP, which the gofer has not; labels are the host's own.
            Space::Security | Space::Trusted => Err(Errno::EPERM),
        }
    }

    pub(super) fn list_xattr(&self, op: Node) -> Result<Answer> {
        let bound = self.handles.get(op.handle)?;
        let mut names = vec![0; XATTR_MAX];
        let n = fs::list_xattr(Name::of_fd(bound.fd().as_raw_fd()).as_c(), &mut names)?;
        names.truncate(n);
        let listed = names.split_inclusive(|b| *b == 0);
        let kept = listed.filter(|name| matches!(space(name), Ok(Space::User | Space::Security)));
        Ok(Answer::Payload(kept.flatten().copied().collect()))
    }
}

/// Flags of `open(2)` for what the wire asks.
pub(super) fn open_flags(flags: OpenFlags) -> Result<libc::c_int> {
    let access = match (flags.contains(OpenFlags::READ), flags.contains(OpenFlags::WRITE)) {
        (true, true) => libc::O_RDWR,
        (true, false) => libc::O_RDONLY,
        (false, true) => libc::O_WRONLY,
        (false, false) => return Err(Errno::EINVAL),
    };
    if flags.contains(OpenFlags::TRUNC) && !flags.contains(OpenFlags::WRITE) {
        return Err(Errno::EINVAL);
    }
    let table = [
        (OpenFlags::TRUNC, libc::O_TRUNC),
        (OpenFlags::DIRECTORY, libc::O_DIRECTORY),
        (OpenFlags::NOATIME, libc::O_NOATIME),
        (OpenFlags::SYNC, libc::O_SYNC),
        (OpenFlags::DSYNC, libc::O_DSYNC),
    ];
    Ok(table.iter().filter(|(flag, _)| flags.contains(*flag)).fold(access, |sum, (_, bit)| sum | bit))
}
