//! open(2): checks in Linux's order, creation, and the files that `O_PATH` makes. Linux: do_open(), may_open(), lookup_open().

use std::any::Any;
use std::rc::Rc;

use rsc_proto::abi::{Errno, MountFlags, OpenFlags, ResolveFlags, Stat, mode};

use super::inode::{Inode, OpenContext};
use super::mount::Location;
use super::names::new_node;
use super::permission::{Access, check, owner_or_capable};
use super::walk::{Found, Last, Walker};
use crate::kernel::file::{File, FileOps, Fut};

/// How often a name that comes and goes is looked at again.
const RETRIES: u32 = 16;

/// A handle of `O_PATH`: names a file, and can do nothing else.
pub struct PathFile(pub Rc<dyn Inode>);

impl FileOps for PathFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        Box::pin(async move { Ok(self.0.refresh().await?.to_stat()) })
    }
}

/// What to do with a place that open(2) has reached.
pub enum Opening {
    /// It is open.
    Done(Rc<File>),
    /// It is a FIFO, which may have to wait for its other end.
    Fifo(Location),
}

/// Wanted access of an access mode; 3 (neither) asks for both, as in Linux.
fn wanted(flags: OpenFlags) -> Access {
    match flags.accmode() {
        0 => Access::READ,
        1 => Access::WRITE,
        _ => Access::READ | Access::WRITE,
    }
}

impl Walker<'_> {
    /// Opens a path. `mode` is of a file to be made, without its type; it is taken as it is, the umask applied here.
    pub async fn open(&self, path: &[u8], flags: OpenFlags, mode: u32, umask: u32) -> Result<Opening, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if flags.contains(OpenFlags::O_PATH) {
            let (at, _) = self.resolve(path).await?;
            if flags.contains(OpenFlags::O_DIRECTORY) && !at.inode().attr().is_dir() {
                return Err(Errno::ENOTDIR);
            }
            return Ok(Opening::Done(path_file(&at, flags)));
        }
        if flags.contains(OpenFlags::__O_TMPFILE) {
            return self.open_temp(path, flags, mode, umask).await;
        }
        for _ in 0..RETRIES {
            let found = self.find(path).await?;
            match self.open_found(found, flags, mode, umask).await {
                // Somebody made it, or took it away, in between.
                Err(Errno::EEXIST) if flags.contains(OpenFlags::O_CREAT) && !flags.contains(OpenFlags::O_EXCL) => {}
                Err(Errno::ESTALE) => {}
                other => return other,
            }
        }
        Err(Errno::ENOENT)
    }

    async fn open_found(&self, found: Found, flags: OpenFlags, mode: u32, umask: u32) -> Result<Opening, Errno> {
        let creating = flags.contains(OpenFlags::O_CREAT);
        let exclusive = creating && flags.contains(OpenFlags::O_EXCL);
        if creating && found.trailing && matches!(found.last, Last::Name(_)) {
            return Err(Errno::EISDIR);
        }
        let Some(child) = found.child else {
            let Last::Name(name) = &found.last else { return Err(Errno::ENOENT) };
            if !creating {
                return Err(Errno::ENOENT);
            }
            return self.create(&found.parent, name, flags, mode, umask).await;
        };
        if exclusive {
            return Err(Errno::EEXIST);
        }
        let at = self.cross(child)?;
        let attr = at.inode().attr();
        if attr.is_symlink() {
            return Err(Errno::ELOOP);
        }
        if creating && attr.is_dir() {
            return Err(Errno::EISDIR);
        }
        if (flags.contains(OpenFlags::O_DIRECTORY) || found.trailing) && !attr.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.open_at(at, flags).await
    }

    /// Opens what is there already. Linux: do_open() after the walk.
    pub async fn open_at(&self, at: Location, flags: OpenFlags) -> Result<Opening, Errno> {
        let attr = at.inode().attr();
        let truncate = flags.contains(OpenFlags::O_TRUNC) && attr.is_regular();
        if truncate {
            at.mount.want_write()?;
        }
        let mut want = wanted(flags);
        if flags.contains(OpenFlags::O_TRUNC) {
            want |= Access::WRITE;
        }
        match attr.kind() {
            mode::S_IFLNK => return Err(Errno::ELOOP),
            mode::S_IFDIR if want.contains(Access::WRITE) => return Err(Errno::EISDIR),
            mode::S_IFCHR | mode::S_IFBLK if at.mount.flags().contains(MountFlags::MS_NODEV) => {
                return Err(Errno::EACCES);
            }
            _ => {}
        }
        let plain = matches!(attr.kind(), mode::S_IFREG | mode::S_IFDIR);
        if want.contains(Access::WRITE) && plain && at.mount.fs.read_only() {
            return Err(Errno::EROFS);
        }
        check(&attr, &self.creds, want)?;
        if flags.contains(OpenFlags::O_NOATIME) && !owner_or_capable(&attr, &self.creds) {
            return Err(Errno::EPERM);
        }
        if flags.writable() && plain {
            at.mount.want_write()?;
        }
        let busy = || self.asker.kernel.is_some_and(|k| k.executes(attr.dev, attr.ino));
        if (flags.writable() || truncate) && attr.is_regular() && busy() {
            return Err(Errno::ETXTBSY);
        }
        match attr.kind() {
            // A pipe that was reached through a descriptor has no endpoint: it is opened again as it is.
            mode::S_IFIFO if at.inode().endpoint().is_some() => Ok(Opening::Fifo(at)),
            mode::S_IFSOCK => Err(Errno::ENXIO),
            _ => {
                let ops = self.open_inode(&at, flags, truncate).await?;
                Ok(Opening::Done(File::with_location(ops, flags, Some(at))))
            }
        }
    }

    pub(crate) async fn open_inode(
        &self,
        at: &Location,
        flags: OpenFlags,
        truncate: bool,
    ) -> Result<Box<dyn FileOps>, Errno> {
        let cx = OpenContext {
            flags,
            truncate,
            location: at,
            creds: &self.creds,
            task: self.asker.task,
            kernel: self.asker.kernel,
        };
        let attr = at.inode().attr();
        match attr.kind() {
            mode::S_IFCHR => match crate::fs::dev::open(attr.rdev, &cx) {
                Some(opened) => opened,
                // Devices of a file system that knows what they are (devpts).
                None => at.inode().clone().open(cx).await,
            },
            mode::S_IFBLK => Err(Errno::ENXIO),
            _ => at.inode().clone().open(cx).await,
        }
    }

    /// Makes and opens a regular file. Linux: lookup_open(), may_o_create().
    async fn create(
        &self,
        parent: &Location,
        name: &[u8],
        flags: OpenFlags,
        mode: u32,
        umask: u32,
    ) -> Result<Opening, Errno> {
        if parent.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        parent.mount.want_write()?;
        let dir = parent.inode().attr();
        check(&dir, &self.creds, Access::WRITE | Access::EXEC)?;
        let new = new_node(&dir, &self.creds, mode::S_IFREG | mode & 0o7777, umask);
        let (inode, ops) = match parent.inode().create(name, new, flags) {
            Some(created) => {
                let created = created.await?;
                (created.inode, Some(created.ops))
            }
            None => (parent.inode().make(name, new).await?, None),
        };
        let at = parent.at(parent.dentry.splice(name, &inode, &self.vfs.dentries));
        let ops = match ops {
            Some(ops) => ops,
            // Whoever made it may open it, whatever its permissions.
            None => self.open_inode(&at, flags, false).await?,
        };
        Ok(Opening::Done(File::with_location(ops, flags, Some(at))))
    }

    /// `O_TMPFILE`. Linux: vfs_tmpfile().
    async fn open_temp(&self, path: &[u8], flags: OpenFlags, mode: u32, umask: u32) -> Result<Opening, Errno> {
        let (dir, _) = self.resolve(path).await?;
        let attr = dir.inode().attr();
        if !attr.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        dir.mount.want_write()?;
        check(&attr, &self.creds, Access::WRITE | Access::EXEC)?;
        let new = new_node(&attr, &self.creds, mode::S_IFREG | mode & 0o7777, umask);
        let created = dir.inode().temp_file(new, flags).await?;
        let name = format!("#{}", created.inode.attr().ino);
        let dentry = super::Dentry::nameless(&dir.dentry, name.as_bytes(), created.inode);
        Ok(Opening::Done(File::with_location(created.ops, flags, Some(dir.at(dentry)))))
    }
}

/// A file of `O_PATH`. Of the flags only these have a meaning; the others are gone, as `F_GETFL` shows.
pub fn path_file(at: &Location, flags: OpenFlags) -> Rc<File> {
    let kept = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
    File::with_location(Box::new(PathFile(at.inode().clone())), flags & kept, Some(at.clone()))
}

/// openat2(2)'s restrictions that contradict each other or are unknown. Linux: build_open_flags().
pub fn check_resolve(resolve: u64) -> Result<ResolveFlags, Errno> {
    let r = ResolveFlags::from_bits(resolve).ok_or(Errno::EINVAL)?;
    if r.contains(ResolveFlags::RESOLVE_BENEATH | ResolveFlags::RESOLVE_IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    Ok(r)
}
