//! Extended attributes. Linux: fs/xattr.c.

use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, mode};

use super::lookup::resolve;
use crate::error::SysResult;
use crate::kernel::credentials::{Credentials, cap};
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::memory::UserPtr;
use crate::vfs::inode::XattrMode;
use crate::vfs::permission::{Access, check, owner_or_capable};
use crate::vfs::{Attr, Location};

/// Linux: `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`.
const SIZE_MAX: usize = 65536;
/// Linux: `XATTR_NAME_MAX`, with the NUL.
const NAME_MAX: usize = 256;

async fn name_at(cx: &Cx, name: UserPtr<u8>) -> Result<Vec<u8>, Errno> {
    let name = cx.mem.read_cstr(name.addr(), NAME_MAX).await?.ok_or(Errno::ERANGE)?;
    if name.is_empty() { Err(Errno::ERANGE) } else { Ok(name) }
}

async fn of_fd(cx: &Cx, fd: Fd) -> Result<Location, Errno> {
    let file = cx.file(fd)?;
    let Some(at) = file.location() else { return Err(Errno::EOPNOTSUPP) };
    at.inode().refresh().await?;
    Ok(at.clone())
}

/// Linux: xattr_permission().
fn permitted(attr: &Attr, creds: &Rc<Credentials>, name: &[u8], want: Access) -> Result<(), Errno> {
    let writing = want.contains(Access::WRITE);
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        return match (creds.has(cap::SYS_ADMIN), writing) {
            (true, _) => Ok(()),
            (false, true) => Err(Errno::EPERM),
            (false, false) => Err(Errno::ENODATA),
        };
    }
    if name.starts_with(b"user.") {
        if !attr.is_regular() && !attr.is_dir() {
            return Err(if writing { Errno::EPERM } else { Errno::ENODATA });
        }
        if attr.is_dir() && attr.mode & mode::S_ISVTX != 0 && writing && !owner_or_capable(attr, creds) {
            return Err(Errno::EPERM);
        }
    }
    check(attr, creds, want)
}

/// Names that some file system could know. Linux: xattr_resolve_name().
fn known(name: &[u8]) -> Result<(), Errno> {
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    match prefixes.iter().find(|p| name.starts_with(p)) {
        Some(p) if name.len() == p.len() => Err(Errno::EINVAL),
        Some(_) => Ok(()),
        None => Err(Errno::EOPNOTSUPP),
    }
}

async fn set(cx: &Cx, at: &Location, name: Vec<u8>, value: Bytes, how: XattrMode) -> Result<(), Errno> {
    at.mount.want_write()?;
    let creds = cx.task.creds();
    permitted(&at.inode().attr(), &creds, &name, Access::WRITE)?;
    known(&name)?;
    if name.starts_with(b"security.") && !creds.has(cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    at.inode().set_xattr(&name, value, how).await
}

struct SetArgs {
    name: Vec<u8>,
    value: Bytes,
    how: XattrMode,
}

/// Linux: setxattr_copy().
async fn set_args(cx: &Cx, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) -> Result<SetArgs, Errno> {
    let how = match flags {
        0 => XattrMode::Any,
        1 => XattrMode::Create,
        2 => XattrMode::Replace,
        _ => return Err(Errno::EINVAL),
    };
    let name = name_at(cx, name).await?;
    if size > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let value = cx.mem.read_bytes(value.addr(), size).await?;
    Ok(SetArgs { name, value, how })
}

/// setxattr(2).
pub async fn setxattr(
    cx: &Cx,
    path: UserPtr<u8>,
    name: UserPtr<u8>,
    value: UserPtr<u8>,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    let a = set_args(cx, name, value, size, flags).await?;
    let at = resolve(cx, path, true).await?;
    Ok(set(cx, &at, a.name, a.value, a.how).await?)
}

/// lsetxattr(2).
pub async fn lsetxattr(
    cx: &Cx,
    path: UserPtr<u8>,
    name: UserPtr<u8>,
    value: UserPtr<u8>,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    let a = set_args(cx, name, value, size, flags).await?;
    let at = resolve(cx, path, false).await?;
    Ok(set(cx, &at, a.name, a.value, a.how).await?)
}

/// fsetxattr(2).
pub async fn fsetxattr(
    cx: &Cx,
    fd: Fd,
    name: UserPtr<u8>,
    value: UserPtr<u8>,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    let a = set_args(cx, name, value, size, flags).await?;
    let at = of_fd(cx, fd).await?;
    Ok(set(cx, &at, a.name, a.value, a.how).await?)
}

async fn get(cx: &Cx, at: &Location, name: &[u8], value: UserPtr<u8>, size: usize) -> Result<usize, Errno> {
    permitted(&at.inode().attr(), &cx.task.creds(), name, Access::READ)?;
    known(name)?;
    let found = at.inode().get_xattr(name).await?;
    give(cx, value, size, found).await
}

/// The value's length when nothing is asked for, `ERANGE` when it does not fit.
async fn give(cx: &Cx, to: UserPtr<u8>, size: usize, value: Bytes) -> Result<usize, Errno> {
    let n = value.len();
    if size == 0 {
        return Ok(n);
    }
    if n > size {
        return Err(Errno::ERANGE);
    }
    cx.mem.write_bytes(to.addr(), value).await?;
    Ok(n)
}

/// getxattr(2).
pub async fn getxattr(
    cx: &Cx,
    path: UserPtr<u8>,
    name: UserPtr<u8>,
    value: UserPtr<u8>,
    size: usize,
) -> SysResult<usize> {
    let name = name_at(cx, name).await?;
    let at = resolve(cx, path, true).await?;
    Ok(get(cx, &at, &name, value, size).await?)
}

/// lgetxattr(2).
pub async fn lgetxattr(
    cx: &Cx,
    path: UserPtr<u8>,
    name: UserPtr<u8>,
    value: UserPtr<u8>,
    size: usize,
) -> SysResult<usize> {
    let name = name_at(cx, name).await?;
    let at = resolve(cx, path, false).await?;
    Ok(get(cx, &at, &name, value, size).await?)
}

/// fgetxattr(2).
pub async fn fgetxattr(cx: &Cx, fd: Fd, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) -> SysResult<usize> {
    let name = name_at(cx, name).await?;
    let at = of_fd(cx, fd).await?;
    Ok(get(cx, &at, &name, value, size).await?)
}

async fn list(cx: &Cx, at: &Location, to: UserPtr<u8>, size: usize) -> Result<usize, Errno> {
    let privileged = cx.task.creds().has(cap::SYS_ADMIN);
    let mut all = Vec::new();
    for name in at.inode().list_xattr().await? {
        if privileged || !name.starts_with(b"trusted.") {
            all.extend_from_slice(&name);
            all.push(0);
        }
    }
    give(cx, to, size, all.into()).await
}

/// listxattr(2).
pub async fn listxattr(cx: &Cx, path: UserPtr<u8>, to: UserPtr<u8>, size: usize) -> SysResult<usize> {
    let at = resolve(cx, path, true).await?;
    Ok(list(cx, &at, to, size).await?)
}

/// llistxattr(2).
pub async fn llistxattr(cx: &Cx, path: UserPtr<u8>, to: UserPtr<u8>, size: usize) -> SysResult<usize> {
    let at = resolve(cx, path, false).await?;
    Ok(list(cx, &at, to, size).await?)
}

/// flistxattr(2).
pub async fn flistxattr(cx: &Cx, fd: Fd, to: UserPtr<u8>, size: usize) -> SysResult<usize> {
    let at = of_fd(cx, fd).await?;
    Ok(list(cx, &at, to, size).await?)
}

async fn remove(cx: &Cx, at: &Location, name: &[u8]) -> Result<(), Errno> {
    at.mount.want_write()?;
    let creds = cx.task.creds();
    permitted(&at.inode().attr(), &creds, name, Access::WRITE)?;
    known(name)?;
    if name.starts_with(b"security.") && !creds.has(cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    at.inode().remove_xattr(name).await
}

/// removexattr(2).
pub async fn removexattr(cx: &Cx, path: UserPtr<u8>, name: UserPtr<u8>) -> SysResult<()> {
    let name = name_at(cx, name).await?;
    let at = resolve(cx, path, true).await?;
    Ok(remove(cx, &at, &name).await?)
}

/// lremovexattr(2).
pub async fn lremovexattr(cx: &Cx, path: UserPtr<u8>, name: UserPtr<u8>) -> SysResult<()> {
    let name = name_at(cx, name).await?;
    let at = resolve(cx, path, false).await?;
    Ok(remove(cx, &at, &name).await?)
}

/// fremovexattr(2).
pub async fn fremovexattr(cx: &Cx, fd: Fd, name: UserPtr<u8>) -> SysResult<()> {
    let name = name_at(cx, name).await?;
    let at = of_fd(cx, fd).await?;
    Ok(remove(cx, &at, &name).await?)
}
