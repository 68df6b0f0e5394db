//! Mounts, dentries, path walk, permissions: what all file systems have in common. The trees themselves are in `fs`.
//!
//! One thread, no locks. Inodes know nothing of names, dentries nothing of mounts.

pub mod arena;
pub mod build;
mod context;
mod dentry;
pub mod inode;
pub mod lock;
mod mount;
pub mod names;
pub mod open;
pub mod permission;
mod walk;

use std::cell::Cell;
use std::rc::Rc;

use rsc_proto::abi::{Errno, MountFlags};

use crate::kernel::host::ComputeHost;

pub use context::FsContext;
pub use dentry::{Dentry, DentryCache};
pub use inode::{Asker, Attr, FileSystem, Inode, Magic};
pub use mount::{Location, Mount, MountTable};
pub use permission::Access;
pub use walk::{Found, Last, Walker};

/// The mount namespace of a sandbox.
pub struct Vfs {
    /// All mounts.
    pub mounts: MountTable,
    /// Names that were used lately.
    pub dentries: DentryCache,
    /// The other side, for file mappings.
    pub host: Rc<dyn ComputeHost>,
    /// Processes that wait for record locks.
    pub lock_waits: lock::LockWaits,
    root: Rc<Mount>,
    next_dev: Cell<u32>,
}

impl Vfs {
    /// A tree of nothing but `root`.
    pub fn new(host: Rc<dyn ComputeHost>, root: Rc<dyn FileSystem>, flags: MountFlags) -> Rc<Self> {
        let mounts = MountTable::default();
        let dentry = Dentry::root(root.root());
        let source = root.kind();
        let root = mounts.mount(None, root, dentry, flags, source);
        Rc::new(Self {
            mounts,
            dentries: DentryCache::default(),
            host,
            lock_waits: lock::LockWaits::default(),
            root,
            next_dev: Cell::new(32),
        })
    }

    /// The root of all.
    pub fn root(&self) -> Location {
        self.root.root_location()
    }

    /// A device number for a file system without a device.
    pub fn new_dev(&self) -> u64 {
        let minor = self.next_dev.replace(self.next_dev.get() + 1);
        rsc_proto::abi::makedev(0, minor)
    }

    /// Mounts a whole file system on a place.
    pub fn mount(&self, at: &Location, fs: Rc<dyn FileSystem>, flags: MountFlags, source: &str) -> Rc<Mount> {
        let at = self.mounts.cross(at.clone());
        let root = Dentry::root(fs.root());
        self.mounts.mount(Some(&at), fs, root, flags, source)
    }

    /// Mounts what is seen at `what` on another place as well.
    pub fn bind(&self, at: &Location, what: &Location, flags: MountFlags) -> Rc<Mount> {
        let at = self.mounts.cross(at.clone());
        self.mounts.mount(Some(&at), what.mount.fs.clone(), what.dentry.clone(), flags, &what.mount.source)
    }

    /// The path of a place as seen from `root`; the flag tells whether it is below it. Linux: prepend_path().
    pub fn path_of(&self, at: &Location, root: &Location) -> (Vec<u8>, bool) {
        let mut names: Vec<Rc<[u8]>> = Vec::new();
        let mut at = at.clone();
        let reachable = loop {
            if at == *root {
                break true;
            }
            if at.dentry.id == at.mount.root.id {
                match at.mount.parent() {
                    Some(outer) => at = outer,
                    None => {
                        if at.mount.id == 0 {
                            names.push(at.dentry.name());
                        }
                        break false;
                    }
                }
                continue;
            }
            names.push(at.dentry.name());
            match at.dentry.parent() {
                Some(parent) => at = at.at(parent),
                None => break false,
            }
        };
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        (path, reachable)
    }

    /// As `/proc/PID/fd/N` and `/proc/PID/exe` show a place: with ` (deleted)` behind a name that is gone. Linux: d_path().
    pub fn display_path(&self, at: &Location, root: &Location) -> Vec<u8> {
        let (mut path, _) = self.path_of(at, root);
        if at.dentry.is_unlinked() {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// getcwd(2): the path of a directory, or `ENOENT` when it was removed.
    pub fn cwd_path(&self, at: &Location, root: &Location) -> Result<Vec<u8>, Errno> {
        if at.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        let (path, reachable) = self.path_of(at, root);
        if reachable {
            return Ok(path);
        }
        let mut all = b"(unreachable)".to_vec();
        all.extend_from_slice(&path);
        Ok(all)
    }

    /// Every file system that is mounted, once.
    pub fn file_systems(&self) -> Vec<Rc<dyn FileSystem>> {
        let mut all: Vec<Rc<dyn FileSystem>> = Vec::new();
        for m in self.mounts.list() {
            if !all.iter().any(|f| Rc::ptr_eq(f, &m.fs)) {
                all.push(m.fs.clone());
            }
        }
        all
    }

    /// sync(2), also for what was written through mappings.
    pub async fn sync(&self) -> Result<(), Errno> {
        let mut result = Ok(());
        for fs in self.file_systems() {
            result = result.and(fs.sync().await);
        }
        result
    }

    /// Ends everything: mounts, dentries and file systems let each other go.
    pub fn shutdown(&self) {
        self.mounts.clear();
        self.dentries.clear();
    }
}

#[cfg(test)]
mod tests;
