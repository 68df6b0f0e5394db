//! From a directory descriptor and a path, as calls give them, to a place: what all calls with paths begin with.

use std::rc::Rc;

use rsc_proto::abi::{AT_FDCWD, AtFlags, Errno, ResolveFlags};

use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::UserPtr;
use crate::vfs::{Asker, Attr, Location, Walker};

/// What an `*at` call names.
pub enum Place {
    /// A place in the tree; the flag tells whether its attributes are current.
    At(Location, bool),
    /// An open file without a path.
    File(Rc<File>),
}

impl Place {
    /// Its attributes as they are now.
    pub async fn attr(&self) -> Result<Attr, Errno> {
        match self {
            Self::At(at, true) => Ok(at.inode().attr()),
            Self::At(at, false) => at.inode().refresh().await,
            Self::File(file) => Ok(Attr::from_stat(&file.ops().stat().await?)),
        }
    }

    /// The place; files without one can't be changed through it.
    pub fn location(&self) -> Result<&Location, Errno> {
        match self {
            Self::At(at, _) => Ok(at),
            Self::File(_) => Err(Errno::EINVAL),
        }
    }
}

/// Who asks, for links that depend on the caller.
pub fn asker(cx: &Cx) -> Asker<'_> {
    Asker { task: Some(&cx.task), kernel: Some(&cx.kernel) }
}

/// A walker for `path` from `dir`. `EBADF`, `ENOTDIR` for the descriptor, which counts for relative paths only.
pub fn walker<'a>(cx: &'a Cx, dir: Fd, path: &[u8], follow: bool) -> Result<Walker<'a>, Errno> {
    let fs = cx.task.fs.borrow().clone();
    let start = if path.first() == Some(&b'/') {
        fs.root()
    } else if dir.0 == AT_FDCWD {
        fs.cwd()
    } else {
        let file = cx.task.fds.borrow().get_path(dir)?;
        let at = file.location().cloned().ok_or(Errno::ENOTDIR)?;
        if !path.is_empty() && !at.inode().attr().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        at
    };
    Ok(Walker {
        vfs: &cx.kernel.vfs,
        creds: cx.task.creds(),
        root: fs.root(),
        start,
        follow,
        resolve: ResolveFlags::empty(),
        asker: asker(cx),
    })
}

/// What `path`, which must exist, names. With `AT_EMPTY_PATH` an empty path is the descriptor's own file.
pub async fn place(cx: &Cx, dir: Fd, path: &[u8], flags: AtFlags, follow: bool) -> Result<Place, Errno> {
    if path.is_empty() {
        if !flags.contains(AtFlags::AT_EMPTY_PATH) {
            return Err(Errno::ENOENT);
        }
        if dir.0 == AT_FDCWD {
            return Ok(Place::At(cx.task.fs.borrow().cwd(), false));
        }
        return Ok(of_fd(cx.task.fds.borrow().get_path(dir)?));
    }
    let (at, fresh) = walker(cx, dir, path, follow)?.resolve(path).await?;
    Ok(Place::At(at, fresh))
}

/// What an open file is.
pub fn of_fd(file: Rc<File>) -> Place {
    match file.location() {
        Some(at) => Place::At(at.clone(), at.inode().in_memory()),
        None => Place::File(file),
    }
}

/// Reads a path and finds what it names; `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH` as in most calls. Other flags than `known` are
/// `EINVAL`, before the path is looked at.
pub async fn place_at(cx: &Cx, dir: Fd, path: UserPtr<u8>, flags: u32, known: AtFlags) -> Result<Place, Errno> {
    let flags = AtFlags::from_bits(flags).filter(|f| known.contains(*f)).ok_or(Errno::EINVAL)?;
    let follow = !flags.contains(AtFlags::AT_SYMLINK_NOFOLLOW);
    // Linux takes NULL for an empty path here since 6.11.
    if path.is_null() && flags.contains(AtFlags::AT_EMPTY_PATH) {
        return place(cx, dir, b"", flags, follow).await;
    }
    let path = cx.mem.read_path(path).await?;
    place(cx, dir, &path, flags, follow).await
}

/// The place that a plain path names.
pub async fn resolve(cx: &Cx, path: UserPtr<u8>, follow: bool) -> Result<Location, Errno> {
    let path = cx.mem.read_path(path).await?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Ok(walker(cx, Fd(AT_FDCWD), &path, follow)?.resolve(&path).await?.0)
}
