//! Directories: getdents(2), chdir(2), getcwd(2), chroot(2). Linux: fs/readdir.c, fs/open.c, fs/d_path.c.

use rsc_proto::abi::{DIRENT_NAME, DIRENT64_NAME, Errno, dirent64_len};
use std::rc::Rc;

use super::lookup::resolve;
use crate::error::SysResult;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::{DirEntry, File};
use crate::kernel::memory::UserPtr;
use crate::vfs::Location;
use crate::vfs::inode::d_type;
use crate::vfs::permission::{Access, check};

/// Bytes of one call's answer.
const BUFFER_MAX: usize = 1 << 20;
/// Positions of mount points that the directory itself does not have: behind all that a file system uses.
const SYNTHETIC: u64 = i64::MAX as u64 - 0x10000;

/// How entries are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `struct linux_dirent`, the type in the last byte.
    Old,
    /// `struct linux_dirent64`.
    New,
}

impl Layout {
    fn len(self, name: usize) -> usize {
        match self {
            Self::New => dirent64_len(name),
            Self::Old => (DIRENT_NAME + name + 2).next_multiple_of(8),
        }
    }

    fn put(self, out: &mut Vec<u8>, e: &DirEntry) {
        let len = self.len(e.name.len());
        let end = out.len() + len;
        out.extend_from_slice(&e.ino.to_le_bytes());
        out.extend_from_slice(&e.next.to_le_bytes());
        out.extend_from_slice(&(len as u16).to_le_bytes());
        if self == Self::New {
            out.push(e.kind);
        }
        debug_assert!(self == Self::Old || (out.len() + len - end) == DIRENT64_NAME);
        out.extend_from_slice(&e.name);
        out.resize(end, 0);
        if self == Self::Old
            && let Some(last) = out.last_mut()
        {
            *last = e.kind;
        }
    }
}

/// getdents64(2).
pub async fn getdents64(cx: &Cx, fd: Fd, buf: UserPtr<u8>, count: u32) -> SysResult<usize> {
    entries(cx, fd, buf, count, Layout::New).await
}

/// getdents(2).
pub async fn getdents(cx: &Cx, fd: Fd, buf: UserPtr<u8>, count: u32) -> SysResult<usize> {
    entries(cx, fd, buf, count, Layout::Old).await
}

async fn entries(cx: &Cx, fd: Fd, buf: UserPtr<u8>, count: u32, layout: Layout) -> SysResult<usize> {
    let file = cx.file(fd)?;
    let _position = file.position.lock().await;
    let budget = (count as usize).min(BUFFER_MAX);
    if file.location().is_some_and(|at| at.inode().attr().is_dir() && at.dentry.is_unlinked()) {
        return Err(Errno::ENOENT.into());
    }
    let mut out = Vec::new();
    let mut at = file.offset();
    'fill: loop {
        let room = budget - out.len();
        let batch = read_batch(&file, at, room).await?;
        if batch.is_empty() {
            break;
        }
        for e in &batch {
            if out.len() + layout.len(e.name.len()) > budget {
                if out.is_empty() {
                    return Err(Errno::EINVAL.into());
                }
                break 'fill;
            }
            layout.put(&mut out, e);
            at = e.next;
        }
        // One request fills most buffers; go on only while much is left.
        if budget - out.len() < budget / 2 {
            break;
        }
    }
    let n = out.len();
    cx.mem.write_bytes(buf.addr(), out.into()).await?;
    file.set_offset(at);
    Ok(n)
}

/// Entries behind `from`: the file system's, then mount points that exist only here.
async fn read_batch(file: &Rc<File>, from: u64, room: usize) -> Result<Vec<DirEntry>, Errno> {
    if from < SYNTHETIC {
        let batch = file.ops().readdir(from, room).await?;
        if !batch.is_empty() {
            return Ok(batch);
        }
    }
    let Some(at) = file.location() else { return Ok(Vec::new()) };
    let made = at.dentry.synthetic();
    let entry = |(i, d): (usize, &Rc<crate::vfs::Dentry>)| {
        let attr = d.inode().attr();
        DirEntry { ino: attr.ino, next: SYNTHETIC + i as u64 + 1, kind: d_type(attr.mode), name: d.name().to_vec() }
    };
    Ok(made.iter().enumerate().map(entry).filter(|e| e.next > from).collect())
}

/// Whether the caller may make this its working directory.
fn enter(cx: &Cx, at: &Location) -> Result<(), Errno> {
    let attr = at.inode().attr();
    if !attr.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    check(&attr, &cx.task.creds(), Access::EXEC)
}

/// chdir(2).
pub async fn chdir(cx: &Cx, path: UserPtr<u8>) -> SysResult<()> {
    let at = resolve(cx, path, true).await?;
    enter(cx, &at)?;
    cx.task.fs.borrow().set_cwd(at);
    Ok(())
}

/// fchdir(2).
pub async fn fchdir(cx: &Cx, fd: Fd) -> SysResult<()> {
    let file = cx.task.fds.borrow().get_path(fd)?;
    let at = file.location().ok_or(Errno::ENOTDIR)?;
    at.inode().refresh().await?;
    enter(cx, at)?;
    cx.task.fs.borrow().set_cwd(at.clone());
    Ok(())
}

/// chroot(2).
pub async fn chroot(cx: &Cx, path: UserPtr<u8>) -> SysResult<()> {
    let at = resolve(cx, path, true).await?;
    enter(cx, &at)?;
    if !cx.task.creds().has(cap::SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    cx.task.fs.borrow().set_root(at);
    Ok(())
}

/// getcwd(2): the length with its NUL.
pub async fn getcwd(cx: &Cx, buf: UserPtr<u8>, size: usize) -> SysResult<usize> {
    let fs = cx.task.fs.borrow().clone();
    let mut path = cx.kernel.vfs.cwd_path(&fs.cwd(), &fs.root())?;
    path.push(0);
    if path.len() > rsc_proto::abi::PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if path.len() > size {
        return Err(Errno::ERANGE.into());
    }
    let n = path.len();
    cx.mem.write_bytes(buf.addr(), path.into()).await?;
    Ok(n)
}

/// umask(2).
pub async fn umask(cx: &Cx, mask: u32) -> SysResult<u32> {
    Ok(cx.task.fs.borrow().umask.replace(mask & 0o777))
}
