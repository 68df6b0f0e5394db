//! From a path to a place (path_resolution(7), openat2(2)). Linux: fs/namei.c, whose order of checks this keeps.
//!
//! As many names as possible go to the file system in one request: one round trip for a path without links, `..` and mounts.

use std::collections::VecDeque;
use std::rc::Rc;

use rsc_proto::abi::{Errno, MountFlags, NAME_MAX, ResolveFlags};

use super::Vfs;
use super::inode::{Asker, Magic};
use super::mount::Location;
use super::permission::{Access, check};
use crate::fs::anon;
use crate::kernel::credentials::Credentials;

/// Links followed in one walk. Linux: `MAXSYMLINKS`.
const MAX_LINKS: u32 = 40;
/// Names in one request.
const MAX_RUN: usize = 64;

/// Who walks, from where, and what is allowed on the way.
pub struct Walker<'a> {
    /// The mounts.
    pub vfs: &'a Vfs,
    /// Whose permissions count.
    pub creds: Rc<Credentials>,
    /// Where absolute paths begin, and `..` ends.
    pub root: Location,
    /// Where relative paths begin.
    pub start: Location,
    /// Whether a link at the end is followed.
    pub follow: bool,
    /// openat2(2)'s restrictions.
    pub resolve: ResolveFlags,
    /// For links that depend on the caller.
    pub asker: Asker<'a>,
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name in the parent.
    Name(Vec<u8>),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// The path was `/`, empty, or led through a magic link.
    Root,
}

/// What a walk found.
pub struct Found {
    /// The directory of the last name (the place itself when the last component is no name).
    pub parent: Location,
    /// The last component.
    pub last: Last,
    /// Slashes followed it.
    pub trailing: bool,
    /// What is there, mounts not crossed; `None`: nothing, but the parent is there.
    pub child: Option<Location>,
    /// The child's attributes were asked for in this walk, or its file system is in memory.
    pub fresh: bool,
}

#[derive(Debug)]
enum Part {
    Name(Vec<u8>),
    Dot,
    DotDot,
}

/// The parts of a path, and whether slashes follow the last.
fn split(path: &[u8]) -> (Vec<Part>, bool) {
    let parts = path
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty())
        .map(|p| match p {
            b"." => Part::Dot,
            b".." => Part::DotDot,
            name => Part::Name(name.to_vec()),
        })
        .collect();
    (parts, path.last() == Some(&b'/'))
}

struct State {
    at: Location,
    parts: VecDeque<Part>,
    trailing: bool,
    links: u32,
}

impl Walker<'_> {
    /// Resolves a path fully: what it names must exist.
    pub async fn resolve(&self, path: &[u8]) -> Result<(Location, bool), Errno> {
        let found = self.find(path).await?;
        let fresh = found.fresh;
        let child = found.child.ok_or(Errno::ENOENT)?;
        let at = self.cross(child)?;
        if found.trailing && !at.inode().attr().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok((at, fresh))
    }

    /// What is seen at a place, mounts crossed.
    pub fn cross(&self, at: Location) -> Result<Location, Errno> {
        let to = self.vfs.mounts.cross(at.clone());
        if self.resolve.contains(ResolveFlags::RESOLVE_NO_XDEV) && !Rc::ptr_eq(&at.mount, &to.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(to)
    }

    /// Resolves a path up to its last component and looks that up too.
    pub async fn find(&self, path: &[u8]) -> Result<Found, Errno> {
        let (parts, trailing) = split(path);
        let at = if path.first() == Some(&b'/') { self.absolute()? } else { self.start.clone() };
        let mut s = State { at, parts: parts.into(), trailing, links: 0 };
        loop {
            let Some(part) = s.parts.front() else {
                return Ok(Found {
                    parent: s.at.clone(),
                    last: Last::Root,
                    trailing: s.trailing,
                    child: Some(s.at),
                    fresh: false,
                });
            };
            if !s.at.inode().attr().is_dir() {
                return Err(Errno::ENOTDIR);
            }
            check(&s.at.inode().attr(), &self.creds, Access::EXEC)?;
            let last = match part {
                Part::Dot => Last::Dot,
                Part::DotDot => {
                    s.at = self.up(&s.at)?;
                    Last::DotDot
                }
                Part::Name(_) => match self.names(&mut s).await? {
                    Some(found) => return Ok(found),
                    None => continue,
                },
            };
            s.parts.pop_front();
            if s.parts.is_empty() {
                return Ok(Found { parent: s.at.clone(), last, trailing: s.trailing, child: Some(s.at), fresh: false });
            }
        }
    }

    /// Where absolute paths and links begin.
    fn absolute(&self) -> Result<Location, Errno> {
        if self.resolve.contains(ResolveFlags::RESOLVE_BENEATH) {
            return Err(Errno::EXDEV);
        }
        if self.resolve.contains(ResolveFlags::RESOLVE_IN_ROOT) {
            return Ok(self.start.clone());
        }
        if self.resolve.contains(ResolveFlags::RESOLVE_NO_XDEV) && !Rc::ptr_eq(&self.root.mount, &self.start.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(self.root.clone())
    }

    /// One step up, over mounts, but not above the root.
    fn up(&self, at: &Location) -> Result<Location, Errno> {
        let scoped = self.resolve.intersects(ResolveFlags::RESOLVE_BENEATH | ResolveFlags::RESOLVE_IN_ROOT);
        let root = if scoped { &self.start } else { &self.root };
        let mut at = at.clone();
        loop {
            if at == *root {
                return if self.resolve.contains(ResolveFlags::RESOLVE_BENEATH) { Err(Errno::EXDEV) } else { Ok(at) };
            }
            if at.dentry.id != at.mount.root.id {
                let Some(parent) = at.dentry.parent() else { return Ok(at) };
                return self.cross(at.at(parent));
            }
            let Some(outer) = at.mount.parent() else { return Ok(at) };
            if self.resolve.contains(ResolveFlags::RESOLVE_NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            at = outer;
        }
    }

    /// Walks the names at the front of what is left. `Some`: the walk is over.
    async fn names(&self, s: &mut State) -> Result<Option<Found>, Errno> {
        let mut run: Vec<Vec<u8>> = Vec::new();
        for part in s.parts.iter().take(MAX_RUN) {
            match part {
                Part::Name(n) if n.len() <= NAME_MAX => run.push(n.clone()),
                _ => break,
            }
        }
        let Some(first) = run.first() else { return Err(Errno::ENAMETOOLONG) };
        if let Some(child) = s.at.dentry.child(first).filter(|c| c.is_pinned()) {
            // A mount point, or on the way to one: it can't have changed its name.
            let last = s.parts.len() == 1;
            let found = self.step(s, s.at.at(child), last, false);
            return found.await;
        }
        let walked = s.at.inode().walk(&run, self.asker).await?;
        let reached = walked.steps.len();
        for (i, (inode, name)) in walked.steps.into_iter().zip(&run).enumerate() {
            if i > 0 {
                // The steps before this one; the first was checked by the caller.
                let attr = s.at.inode().attr();
                if !attr.is_dir() {
                    return Err(Errno::ENOTDIR);
                }
                check(&attr, &self.creds, Access::EXEC)?;
            }
            let child = s.at.at(s.at.dentry.splice(name, &inode, &self.vfs.dentries));
            let last = s.parts.len() == 1;
            if last || inode.attr().is_symlink() {
                // Nothing can follow a link within a run.
                return self.step(s, child, last, true).await;
            }
            s.parts.pop_front();
            s.at = self.cross(child)?;
        }
        let Some(errno) = walked.stop else { return Ok(None) };
        let attr = s.at.inode().attr();
        if reached > 0 {
            if !attr.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            check(&attr, &self.creds, Access::EXEC)?;
        }
        let Some(name) = run.get(reached) else { return Err(errno) };
        if errno == Errno::ENOENT {
            s.at.dentry.forget(name);
            if s.parts.len() == 1 {
                let last = Last::Name(name.clone());
                return Ok(Some(Found { parent: s.at.clone(), last, trailing: s.trailing, child: None, fresh: true }));
            }
        }
        Err(errno)
    }

    /// Goes to a child: through it if it is a link that is to be followed.
    async fn step(&self, s: &mut State, child: Location, last: bool, fresh: bool) -> Result<Option<Found>, Errno> {
        let is_link = child.inode().attr().is_symlink();
        if is_link && (!last || self.follow || s.trailing) {
            return self.follow_link(s, child, last).await;
        }
        let Some(Part::Name(name)) = s.parts.pop_front() else { return Err(Errno::EIO) };
        if last {
            let parent = s.at.clone();
            let fresh = fresh || child.inode().in_memory();
            return Ok(Some(Found { parent, last: Last::Name(name), trailing: s.trailing, child: Some(child), fresh }));
        }
        s.at = self.cross(child)?;
        Ok(None)
    }

    async fn follow_link(&self, s: &mut State, link: Location, last: bool) -> Result<Option<Found>, Errno> {
        if self.resolve.contains(ResolveFlags::RESOLVE_NO_SYMLINKS)
            || link.mount.flags().contains(MountFlags::MS_NOSYMFOLLOW)
        {
            return Err(Errno::ELOOP);
        }
        s.links += 1;
        if s.links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        if let Some(magic) = link.inode().follow_magic(self.asker) {
            if self.resolve.contains(ResolveFlags::RESOLVE_NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            let to = match magic.await? {
                Magic::Location(to) => to,
                Magic::File(file) => match file.location() {
                    Some(to) => to.clone(),
                    None => anon::location_of(&file).await?,
                },
            };
            let scoped = ResolveFlags::RESOLVE_BENEATH | ResolveFlags::RESOLVE_IN_ROOT;
            if self.resolve.intersects(scoped)
                || self.resolve.contains(ResolveFlags::RESOLVE_NO_XDEV) && !Rc::ptr_eq(&to.mount, &s.at.mount)
            {
                return Err(Errno::EXDEV);
            }
            s.parts.pop_front();
            s.at = to;
            return Ok(None);
        }
        let target = link.inode().readlink(self.asker).await?;
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.first() == Some(&b'/') {
            s.at = self.absolute()?;
        }
        let (parts, trailing) = split(&target);
        s.parts.pop_front();
        for part in parts.into_iter().rev() {
            s.parts.push_front(part);
        }
        if last {
            s.trailing |= trailing;
        }
        Ok(None)
    }
}
