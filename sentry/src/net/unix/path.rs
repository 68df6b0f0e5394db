//! Socket inodes: where the names of unix sockets meet the file tree. Linux: unix_bind_bsd(), unix_find_bsd().

use std::any::Any;
use std::rc::{Rc, Weak};

use rsc_proto::abi::{AT_FDCWD, Errno, mode};

use super::UnixSocket;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::syscalls::lookup::walker;
use crate::vfs::Location;
use crate::vfs::permission::{Access, check};

/// What a socket's inode knows of it.
struct Bound(Weak<UnixSocket>);

/// Makes the socket's inode; the place, which the socket keeps. `EADDRINUSE` if the name is taken.
pub(super) async fn bind(cx: &Cx, path: &[u8], socket: &Rc<UnixSocket>) -> Result<Location, Errno> {
    let umask = cx.task.fs.borrow().umask.get();
    let walker = walker(cx, Fd(AT_FDCWD), path, false)?;
    let at = walker.make(path, mode::S_IFSOCK | 0o777, umask, 0, b"").await.map_err(|e| match e {
        Errno::EEXIST => Errno::EADDRINUSE,
        e => e,
    })?;
    let bound: Rc<dyn Any> = Rc::new(Bound(Rc::downgrade(socket)));
    *at.inode().endpoint().ok_or(Errno::EPERM)?.borrow_mut() = Some(bound);
    Ok(at)
}

/// Whether there is anything of that name.
pub(super) async fn exists(cx: &Cx, path: &[u8]) -> bool {
    match walker(cx, Fd(AT_FDCWD), path, false) {
        Ok(walker) => walker.resolve(path).await.is_ok(),
        Err(_) => false,
    }
}

/// The socket whose inode is there; `None`: nobody is bound to it any more, or it is none. Needs write permission on it.
pub(super) async fn find(cx: &Cx, path: &[u8]) -> Result<Option<Rc<UnixSocket>>, Errno> {
    let (at, fresh) = walker(cx, Fd(AT_FDCWD), path, true)?.resolve(path).await?;
    let attr = if fresh { at.inode().attr() } else { at.inode().refresh().await? };
    check(&attr, &cx.task.creds(), Access::WRITE)?;
    let Some(endpoint) = at.inode().endpoint() else { return Ok(None) };
    let bound = endpoint.borrow().clone();
    Ok(bound.and_then(|b| b.downcast::<Bound>().ok()).and_then(|b| b.0.upgrade()))
}
