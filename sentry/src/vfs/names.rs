//! Making, removing and moving names: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2), rename(2). Linux: fs/namei.c.

use std::rc::Rc;

use rsc_proto::abi::{Errno, mode};

use super::inode::{Attr, Inode, NewNode, RenameMode};
use super::mount::Location;
use super::permission::{Access, check, owner_or_capable, sticky};
use super::walk::{Found, Last, Walker};
use crate::kernel::credentials::{Credentials, cap};

/// Linux: may_create().
fn may_create(dir: &Location, creds: &Credentials) -> Result<(), Errno> {
    if dir.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    check(&dir.inode().attr(), creds, Access::WRITE | Access::EXEC)
}

/// Linux: may_delete().
fn may_delete(dir: &Location, victim: &Location, directory: bool, creds: &Credentials) -> Result<(), Errno> {
    let (dir_attr, attr) = (dir.inode().attr(), victim.inode().attr());
    check(&dir_attr, creds, Access::WRITE | Access::EXEC)?;
    if sticky(&dir_attr, &attr, creds) {
        return Err(Errno::EPERM);
    }
    match (directory, attr.is_dir()) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        _ => {}
    }
    if dir.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

/// Mode, owner and group that a new node gets in `dir`. Linux: inode_init_owner(), mode_strip_sgid().
pub(super) fn new_node<'a>(dir: &Attr, creds: &Credentials, mode: u32, umask: u32) -> NewNode<'a> {
    let is_dir = mode & mode::S_IFMT == mode::S_IFDIR;
    let is_link = mode & mode::S_IFMT == mode::S_IFLNK;
    let mut mode = if is_link { mode } else { mode & !umask };
    let mut gid = creds.fsgid;
    if dir.mode & mode::S_ISGID != 0 {
        gid = dir.gid;
        if is_dir {
            mode |= mode::S_ISGID;
        } else if mode & 0o2010 == 0o2010 && !creds.in_group(dir.gid) && !creds.has(cap::FSETID) {
            mode &= !mode::S_ISGID;
        }
    }
    NewNode { mode, uid: creds.fsuid, gid, rdev: 0, target: b"" }
}

impl Walker<'_> {
    /// What stands before a new name: `EEXIST` when it is taken, `EROFS`, `EACCES`. Linux: filename_create(), may_create().
    async fn new_name(&self, path: &[u8], directory: bool) -> Result<(Location, Vec<u8>), Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let Found { parent, last, trailing, child, .. } = self.find(path).await?;
        let Last::Name(name) = last else { return Err(Errno::EEXIST) };
        if child.is_some() {
            return Err(Errno::EEXIST);
        }
        if trailing && !directory {
            return Err(Errno::ENOENT);
        }
        parent.mount.want_write()?;
        may_create(&parent, &self.creds)?;
        Ok((parent, name))
    }

    fn entered(&self, parent: &Location, name: &[u8], inode: &Rc<dyn Inode>) -> Location {
        parent.at(parent.dentry.splice(name, inode, &self.vfs.dentries))
    }

    /// Makes a node; `mode` has its type. `follow` must be off.
    pub async fn make(&self, path: &[u8], mode: u32, umask: u32, rdev: u64, target: &[u8]) -> Result<Location, Errno> {
        let directory = mode & mode::S_IFMT == mode::S_IFDIR;
        let (parent, name) = self.new_name(path, directory).await?;
        let device = matches!(mode & mode::S_IFMT, mode::S_IFCHR | mode::S_IFBLK);
        // Overlayfs' whiteout (0, 0) is for everybody. Linux: vfs_mknod().
        if device && !(rdev == 0 && mode & mode::S_IFMT == mode::S_IFCHR) && !self.creds.has(cap::MKNOD) {
            return Err(Errno::EPERM);
        }
        let new = NewNode { rdev, target, ..new_node(&parent.inode().attr(), &self.creds, mode, umask) };
        let inode = parent.inode().make(&name, new).await?;
        Ok(self.entered(&parent, &name, &inode))
    }

    /// link(2): gives what is at `old` another name. `follow` must be off.
    pub async fn link(&self, old: &Location, path: &[u8]) -> Result<(), Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let Found { parent, last, trailing, child, .. } = self.find(path).await?;
        let Last::Name(name) = last else { return Err(Errno::EEXIST) };
        if child.is_some() {
            return Err(Errno::EEXIST);
        }
        if trailing {
            return Err(Errno::ENOENT);
        }
        parent.mount.want_write()?;
        if !Rc::ptr_eq(&old.mount, &parent.mount) {
            return Err(Errno::EXDEV);
        }
        let attr = old.inode().attr();
        self.may_link(&attr)?;
        may_create(&parent, &self.creds)?;
        if attr.is_dir() {
            return Err(Errno::EPERM);
        }
        parent.inode().link(&name, old.inode()).await?;
        self.entered(&parent, &name, old.inode());
        Ok(())
    }

    /// Linux: may_linkat() with protected_hardlinks.
    fn may_link(&self, attr: &Attr) -> Result<(), Errno> {
        if owner_or_capable(attr, &self.creds) {
            return Ok(());
        }
        let special = attr.mode & mode::S_ISUID != 0 || attr.mode & 0o2010 == 0o2010;
        if !attr.is_regular() || special || check(attr, &self.creds, Access::READ | Access::WRITE).is_err() {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// unlink(2). `follow` must be off.
    pub async fn unlink(&self, path: &[u8]) -> Result<(), Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let Found { parent, last, trailing, child, .. } = self.find_entry(path).await?;
        let Last::Name(name) = last else { return Err(Errno::EISDIR) };
        parent.mount.want_write()?;
        let victim = child.ok_or(Errno::ENOENT)?;
        if trailing {
            return Err(if victim.inode().attr().is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        may_delete(&parent, &victim, false, &self.creds)?;
        if victim.dentry.is_pinned() {
            return Err(Errno::EBUSY);
        }
        parent.inode().unlink(&name, victim.inode()).await?;
        parent.dentry.forget(&name);
        Ok(())
    }

    /// rmdir(2). `follow` must be off.
    pub async fn rmdir(&self, path: &[u8]) -> Result<(), Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let Found { parent, last, child, .. } = self.find_entry(path).await?;
        let name = match last {
            Last::Name(name) => name,
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Dot => return Err(Errno::EINVAL),
            Last::Root => return Err(Errno::EBUSY),
        };
        parent.mount.want_write()?;
        let victim = child.ok_or(Errno::ENOENT)?;
        may_delete(&parent, &victim, true, &self.creds)?;
        if victim.dentry.is_pinned() {
            return Err(Errno::EBUSY);
        }
        parent.inode().rmdir(&name, victim.inode()).await?;
        parent.dentry.forget(&name);
        Ok(())
    }

    /// Like `find`, but a link at the end stays itself even when slashes follow, as where names are removed or moved.
    async fn find_entry(&self, path: &[u8]) -> Result<Found, Errno> {
        let slashes = path.iter().rev().take_while(|b| **b == b'/').count();
        let bare = path.get(..path.len() - slashes).unwrap_or_default();
        if slashes == 0 || bare.is_empty() {
            return self.find(path).await;
        }
        let mut found = self.find(bare).await?;
        found.trailing = true;
        Ok(found)
    }
}

/// renameat2(2): both walkers belong to the same caller; `follow` must be off in both.
pub async fn rename(from: &Walker<'_>, old: &[u8], to: &Walker<'_>, new: &[u8], how: RenameMode) -> Result<(), Errno> {
    if old.is_empty() || new.is_empty() {
        return Err(Errno::ENOENT);
    }
    let source = from.find_entry(old).await?;
    let target = to.find_entry(new).await?;
    if !Rc::ptr_eq(&source.parent.mount, &target.parent.mount) {
        return Err(Errno::EXDEV);
    }
    let Last::Name(old_name) = source.last else { return Err(Errno::EBUSY) };
    let Last::Name(new_name) = target.last else {
        return Err(if how == RenameMode::NoReplace { Errno::EEXIST } else { Errno::EBUSY });
    };
    source.parent.mount.want_write()?;
    let moving = source.child.ok_or(Errno::ENOENT)?;
    let attr = moving.inode().attr();
    match (&target.child, how) {
        (Some(_), RenameMode::NoReplace) => return Err(Errno::EEXIST),
        (None, RenameMode::Exchange) => return Err(Errno::ENOENT),
        (Some(t), RenameMode::Exchange) if target.trailing && !t.inode().attr().is_dir() => return Err(Errno::ENOTDIR),
        _ => {}
    }
    if !attr.is_dir() && (source.trailing || how != RenameMode::Exchange && target.trailing) {
        return Err(Errno::ENOTDIR);
    }
    if moving.dentry.contains(&target.parent.dentry) {
        return Err(Errno::EINVAL);
    }
    if let Some(t) = &target.child
        && t.dentry.contains(&source.parent.dentry)
    {
        return Err(if how == RenameMode::Exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    if let Some(t) = &target.child
        && Rc::ptr_eq(t.inode(), moving.inode())
    {
        return Ok(());
    }
    let creds = &*from.creds;
    may_delete(&source.parent, &moving, attr.is_dir(), creds)?;
    let replaced_dir = target.child.as_ref().is_some_and(|t| t.inode().attr().is_dir());
    match &target.child {
        None => may_create(&target.parent, creds)?,
        Some(t) if how == RenameMode::Exchange => may_delete(&target.parent, t, replaced_dir, creds)?,
        Some(t) => may_delete(&target.parent, t, attr.is_dir(), creds)?,
    }
    if source.parent.dentry.id != target.parent.dentry.id {
        // `..` of a directory that moves is written to.
        if attr.is_dir() {
            check(&attr, creds, Access::WRITE)?;
        }
        if let (RenameMode::Exchange, Some(t), true) = (how, &target.child, replaced_dir) {
            check(&t.inode().attr(), creds, Access::WRITE)?;
        }
    }
    if moving.dentry.is_pinned() || target.child.as_ref().is_some_and(|t| t.dentry.is_pinned()) {
        return Err(Errno::EBUSY);
    }
    let (from_dir, to_dir) = (&source.parent, &target.parent);
    from_dir.inode().rename(&old_name, to_dir.inode(), &new_name, how).await?;
    match (how, &target.child) {
        (RenameMode::Exchange, Some(t)) => moving.dentry.exchanged(&t.dentry),
        _ => moving.dentry.moved(&to_dir.dentry, &new_name),
    }
    Ok(())
}
