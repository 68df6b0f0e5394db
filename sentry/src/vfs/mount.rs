//! Mounts: which file system is seen at which dentry, and with which flags; places in the tree.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use rsc_proto::abi::{Errno, MountFlags};

use super::dentry::Dentry;
use super::inode::{FileSystem, Inode};

/// One mount.
pub struct Mount {
    /// `mnt_id`.
    pub id: u64,
    /// The file system.
    pub fs: Rc<dyn FileSystem>,
    /// What is seen: the file system's root, or a part of it (bind).
    pub root: Rc<Dentry>,
    flags: Cell<MountFlags>,
    /// What `/proc/mounts` shows as the device.
    pub source: String,
    /// Where it is mounted; none for the root and for files without a path.
    parent: RefCell<Option<Location>>,
}

impl Mount {
    /// `MS_RDONLY` and kin.
    pub fn flags(&self) -> MountFlags {
        self.flags.get()
    }

    /// Replaces the flags (`mount -o remount,bind`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.set(flags);
    }

    /// Where it is mounted.
    pub fn parent(&self) -> Option<Location> {
        self.parent.borrow().clone()
    }

    /// `EROFS` when nothing can be changed through it. Linux: mnt_want_write().
    pub fn want_write(&self) -> Result<(), Errno> {
        if self.flags.get().contains(MountFlags::MS_RDONLY) || self.fs.read_only() { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// The root as a place.
    pub fn root_location(self: &Rc<Self>) -> Location {
        Location { mount: self.clone(), dentry: self.root.clone() }
    }
}

/// A place in the tree: a dentry as it is seen through a mount.
#[derive(Clone)]
pub struct Location {
    /// Through which mount.
    pub mount: Rc<Mount>,
    /// Which name.
    pub dentry: Rc<Dentry>,
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.mount, &other.mount) && Rc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Location({}:{})", self.mount.id, String::from_utf8_lossy(&self.dentry.name()))
    }
}

impl Location {
    /// The inode there.
    pub fn inode(&self) -> &Rc<dyn Inode> {
        self.dentry.inode()
    }

    /// A file without a path, such as a memfd or a pipe: on a mount of its own that nothing leads to.
    pub fn anonymous(fs: Rc<dyn FileSystem>, dentry: Rc<Dentry>) -> Self {
        let mount = Rc::new(Mount {
            id: 0,
            fs,
            root: dentry.clone(),
            flags: Cell::new(MountFlags::empty()),
            source: "none".into(),
            parent: RefCell::default(),
        });
        Self { mount, dentry }
    }

    /// The same dentry with another name, in the same mount.
    pub fn at(&self, dentry: Rc<Dentry>) -> Self {
        Self { mount: self.mount.clone(), dentry }
    }
}

/// All mounts of a sandbox.
#[derive(Default)]
pub struct MountTable {
    /// By the id of the mount they are on and the dentry.
    on: RefCell<HashMap<(u64, u64), Rc<Mount>>>,
    /// In the order of mounting.
    list: RefCell<Vec<Rc<Mount>>>,
    next: Cell<u64>,
}

impl MountTable {
    /// Mounts `root` of `fs` on `at`; with none, as the root of all.
    pub fn mount(
        &self,
        at: Option<&Location>,
        fs: Rc<dyn FileSystem>,
        root: Rc<Dentry>,
        flags: MountFlags,
        source: &str,
    ) -> Rc<Mount> {
        let id = self.next.get() + 1;
        self.next.set(id);
        let mount = Rc::new(Mount {
            id,
            fs,
            root,
            flags: Cell::new(flags),
            source: source.into(),
            parent: RefCell::new(at.cloned()),
        });
        if let Some(at) = at {
            at.dentry.mounts.set(at.dentry.mounts.get() + 1);
            at.dentry.pin();
            self.on.borrow_mut().insert((at.mount.id, at.dentry.id), mount.clone());
        }
        self.list.borrow_mut().push(mount.clone());
        mount
    }

    /// Takes away the mount that was put on `at` last.
    pub fn unmount(&self, mount: &Rc<Mount>) {
        self.list.borrow_mut().retain(|m| !Rc::ptr_eq(m, mount));
        if let Some(at) = mount.parent.borrow_mut().take() {
            self.on.borrow_mut().remove(&(at.mount.id, at.dentry.id));
            at.dentry.mounts.set(at.dentry.mounts.get().saturating_sub(1));
            at.dentry.unpin();
        }
    }

    /// What is seen at a place: the root of what is mounted there, if anything is.
    pub fn cross(&self, mut at: Location) -> Location {
        while at.dentry.is_mount_point() {
            let Some(m) = self.on.borrow().get(&(at.mount.id, at.dentry.id)).cloned() else { break };
            at = m.root_location();
        }
        at
    }

    /// All mounts, oldest first.
    pub fn list(&self) -> Vec<Rc<Mount>> {
        self.list.borrow().clone()
    }

    /// Lets everything go: mounts and dentries refer to each other.
    pub fn clear(&self) {
        let on = self.on.take();
        let list = self.list.take();
        for m in &list {
            m.parent.borrow_mut().take();
        }
        drop((on, list));
    }
}
