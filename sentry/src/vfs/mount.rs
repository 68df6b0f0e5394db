//! Mounts: which file system is seen at which dentry, and with which flags; places in the tree.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
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
    /// What it must not lose, for it, or what it is a copy of, is the container's own.
    locked: Cell<MountFlags>,
    /// It stays where it is: under it may be what the container's description hides.
    fixed: Cell<bool>,
    /// What `/proc/mounts` shows as the device.
    pub source: String,
    /// Where it is mounted; none for the root and for files without a path.
    parent: RefCell<Option<Location>>,
}

/// What a mount of the container's description keeps. Linux: MNT_LOCK_READONLY and its like.
const LOCKED: MountFlags = MountFlags::MS_RDONLY
    .union(MountFlags::MS_NOSUID)
    .union(MountFlags::MS_NODEV)
    .union(MountFlags::MS_NOEXEC)
    .union(MountFlags::MS_NOSYMFOLLOW);

impl Mount {
    /// `MS_RDONLY` and kin.
    pub fn flags(&self) -> MountFlags {
        self.flags.get()
    }

    /// Replaces the flags (`mount -o remount,bind`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.set(flags);
    }

    /// Whether the workload must leave it where it is. Linux: MNT_LOCKED.
    pub fn is_fixed(&self) -> bool {
        self.fixed.get()
    }

    /// Whether the workload may give it these flags. Linux: can_change_locked_flags().
    pub fn may_have(&self, flags: MountFlags) -> bool {
        flags.contains(self.locked.get())
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
            locked: Cell::default(),
            fixed: Cell::default(),
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
            locked: Cell::default(),
            fixed: Cell::default(),
            source: source.into(),
            parent: RefCell::default(),
        });
        if let Some(at) = at {
            self.attach(&mount, at);
        }
        self.list.borrow_mut().push(mount.clone());
        mount
    }

    /// What is there now is the container's description, which the workload can't undo.
    pub fn lock(&self) {
        for mount in self.list.borrow().iter() {
            mount.fixed.set(true);
            mount.locked.set(mount.flags.get() & LOCKED);
        }
    }

    /// Takes a mount away from where it is. What is mounted within it stays there.
    pub fn unmount(&self, mount: &Rc<Mount>) {
        self.list.borrow_mut().retain(|m| !Rc::ptr_eq(m, mount));
        self.detach(mount);
    }

    /// Puts a mount on another place.
    pub fn relocate(&self, mount: &Rc<Mount>, at: &Location) {
        self.detach(mount);
        self.attach(mount, at);
    }

    fn attach(&self, mount: &Rc<Mount>, at: &Location) {
        at.dentry.mounts.set(at.dentry.mounts.get() + 1);
        at.dentry.pin();
        self.on.borrow_mut().insert((at.mount.id, at.dentry.id), mount.clone());
        *mount.parent.borrow_mut() = Some(at.clone());
    }

    fn detach(&self, mount: &Rc<Mount>) {
        if let Some(at) = mount.parent.borrow_mut().take() {
            self.on.borrow_mut().remove(&(at.mount.id, at.dentry.id));
            at.dentry.mounts.set(at.dentry.mounts.get().saturating_sub(1));
            at.dentry.unpin();
        }
    }

    /// The mounts on places within `of`, and those within them, each after what it is on.
    pub fn within(&self, of: &Location) -> Vec<Rc<Mount>> {
        let mut found: Vec<Rc<Mount>> = Vec::new();
        let mut seen: HashSet<u64> = HashSet::new();
        // A mount may have been moved onto a younger one, so one pass in the order of age would not do.
        loop {
            let before = found.len();
            for mount in self.list.borrow().iter() {
                let Some(at) = mount.parent() else { continue };
                let inside = if at.mount.id == of.mount.id {
                    is_below(&at.dentry, &of.dentry)
                } else {
                    seen.contains(&at.mount.id)
                };
                if inside && seen.insert(mount.id) {
                    found.push(mount.clone());
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Whether a mount is in the tree still: not one that was taken away, nor that of a file without a path. Linux: check_mnt().
    pub fn has(&self, mount: &Rc<Mount>) -> bool {
        self.list.borrow().iter().any(|m| Rc::ptr_eq(m, mount))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.borrow().len()
    }

    /// A copy of `of` on `at`, and with `deep` of all that is mounted within it. Linux: copy_tree().
    pub fn copy(&self, at: &Location, of: &Location, deep: bool) -> Rc<Mount> {
        let within = if deep { self.within(of) } else { Vec::new() };
        let copy = |at: &Location, mount: &Mount, root: &Rc<Dentry>| {
            let copy = self.mount(Some(at), mount.fs.clone(), root.clone(), mount.flags.get(), &mount.source);
            copy.locked.set(mount.locked.get());
            copy
        };
        let top = copy(at, &of.mount, &of.dentry);
        let mut copies = HashMap::from([(of.mount.id, top.clone())]);
        for mount in within {
            let Some(at) = mount.parent() else { continue };
            let Some(on) = copies.get(&at.mount.id) else { continue };
            let made = copy(&Location { mount: on.clone(), dentry: at.dentry }, &mount, &mount.root);
            made.fixed.set(mount.fixed.get());
            copies.insert(mount.id, made);
        }
        top
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

/// Whether a dentry is another one, or below it in the same file system.
fn is_below(dentry: &Rc<Dentry>, of: &Rc<Dentry>) -> bool {
    let mut at = Some(dentry.clone());
    while let Some(here) = at {
        if Rc::ptr_eq(&here, of) {
            return true;
        }
        at = here.parent();
    }
    false
}
