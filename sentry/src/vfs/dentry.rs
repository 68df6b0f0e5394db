//! Names: one dentry for each name that is in use, or was lately. A parent knows its children weakly; the cache keeps a bounded
//! number of them alive.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use super::inode::Inode;

thread_local! {
    static NEXT_ID: Cell<u64> = const { Cell::new(1) };
}

/// See the module's text.
pub struct Dentry {
    /// Unlike any other dentry's.
    pub id: u64,
    parent: RefCell<Option<Rc<Dentry>>>,
    name: RefCell<Rc<[u8]>>,
    inode: Rc<dyn Inode>,
    children: RefCell<HashMap<Rc<[u8]>, Weak<Dentry>>>,
    /// Mounts on this dentry, in any mount of its file system.
    pub(super) mounts: Cell<u32>,
    /// Mounts on this dentry or below it: it can't go away, and is not looked up again.
    pins: Cell<u32>,
    /// Children that exist only here, as mount points in a tree where they can't be made.
    synthetic: RefCell<Vec<Rc<Dentry>>>,
    unlinked: Cell<bool>,
    used: Cell<bool>,
}

impl Dentry {
    fn make(parent: Option<Rc<Dentry>>, name: &[u8], inode: Rc<dyn Inode>) -> Rc<Self> {
        Rc::new(Self {
            id: NEXT_ID.with(|n| n.replace(n.get() + 1)),
            parent: RefCell::new(parent),
            name: RefCell::new(name.into()),
            inode,
            children: RefCell::default(),
            mounts: Cell::new(0),
            pins: Cell::new(0),
            synthetic: RefCell::default(),
            unlinked: Cell::new(false),
            used: Cell::new(false),
        })
    }

    /// The root of a file system, or a file that no name leads to.
    pub fn root(inode: Rc<dyn Inode>) -> Rc<Self> {
        Self::make(None, b"", inode)
    }

    /// A file that no name leads to, shown by this name (`memfd:x`), as deleted if `unlinked`.
    pub fn anonymous(name: &[u8], inode: Rc<dyn Inode>, unlinked: bool) -> Rc<Self> {
        let d = Self::make(None, name, inode);
        d.unlinked.set(unlinked);
        d
    }

    /// A file that was never named, in this directory (`O_TMPFILE`).
    pub fn nameless(dir: &Rc<Dentry>, name: &[u8], inode: Rc<dyn Inode>) -> Rc<Self> {
        let d = Self::make(Some(dir.clone()), name, inode);
        d.unlinked.set(true);
        d
    }

    /// What the name stands for.
    pub fn inode(&self) -> &Rc<dyn Inode> {
        &self.inode
    }

    /// The directory that holds the name; none for a root.
    pub fn parent(&self) -> Option<Rc<Dentry>> {
        self.parent.borrow().clone()
    }

    /// The name; empty for a root.
    pub fn name(&self) -> Rc<[u8]> {
        self.name.borrow().clone()
    }

    /// Whether the name has been taken away.
    pub fn is_unlinked(&self) -> bool {
        self.unlinked.get()
    }

    /// Whether something is mounted on it.
    pub fn is_mount_point(&self) -> bool {
        self.mounts.get() > 0
    }

    /// Whether it, or something below it, is a mount point.
    pub fn is_pinned(&self) -> bool {
        self.pins.get() > 0
    }

    /// The child of this name, if it is known.
    pub fn child(&self, name: &[u8]) -> Option<Rc<Dentry>> {
        let child = self.children.borrow().get(name).and_then(Weak::upgrade)?;
        child.used.set(true);
        Some(child)
    }

    /// The child of this name that stands for `inode`: the one that is known, or a new one in its place.
    pub fn splice(self: &Rc<Self>, name: &[u8], inode: &Rc<dyn Inode>, cache: &DentryCache) -> Rc<Dentry> {
        if let Some(child) = self.child(name) {
            if Rc::ptr_eq(&child.inode, inode) || child.is_pinned() {
                return child;
            }
            // Another file has this name now: somebody outside has replaced it.
            child.unlinked.set(true);
        }
        let child = Self::make(Some(self.clone()), name, inode.clone());
        self.children.borrow_mut().insert(child.name(), Rc::downgrade(&child));
        cache.keep(&child);
        child
    }

    /// The name does not exist (any more).
    pub fn forget(&self, name: &[u8]) {
        let gone = self.children.borrow_mut().remove(name);
        if let Some(child) = gone.and_then(|c| c.upgrade()) {
            child.unlinked.set(true);
        }
    }

    /// Adds a directory or file that exists only here.
    pub(super) fn add_synthetic(self: &Rc<Self>, name: &[u8], inode: Rc<dyn Inode>) -> Rc<Dentry> {
        let child = Self::make(Some(self.clone()), name, inode);
        child.pin();
        self.children.borrow_mut().insert(child.name(), Rc::downgrade(&child));
        self.synthetic.borrow_mut().push(child.clone());
        child
    }

    /// Children that exist only here.
    pub fn synthetic(&self) -> Vec<Rc<Dentry>> {
        self.synthetic.borrow().clone()
    }

    /// Keeps this dentry and those above it.
    pub(super) fn pin(self: &Rc<Self>) {
        let mut d = Some(self.clone());
        while let Some(x) = d {
            x.pins.set(x.pins.get() + 1);
            d = x.parent();
        }
    }

    /// Undoes one `pin`.
    pub(super) fn unpin(self: &Rc<Self>) {
        let mut d = Some(self.clone());
        while let Some(x) = d {
            x.pins.set(x.pins.get().saturating_sub(1));
            d = x.parent();
        }
    }

    /// After rename(2): this dentry has a new name, and what had it has lost it.
    pub(super) fn moved(self: &Rc<Self>, to: &Rc<Dentry>, name: &[u8]) {
        if let Some(old) = self.parent() {
            old.children.borrow_mut().remove(&*self.name());
        }
        to.forget(name);
        *self.parent.borrow_mut() = Some(to.clone());
        *self.name.borrow_mut() = name.into();
        to.children.borrow_mut().insert(self.name(), Rc::downgrade(self));
    }

    /// After `RENAME_EXCHANGE`.
    pub(super) fn exchanged(self: &Rc<Self>, other: &Rc<Dentry>) {
        let (Some(a), Some(b)) = (self.parent(), other.parent()) else { return };
        let (an, bn) = (self.name(), other.name());
        a.children.borrow_mut().insert(an.clone(), Rc::downgrade(other));
        b.children.borrow_mut().insert(bn.clone(), Rc::downgrade(self));
        *self.parent.borrow_mut() = Some(b);
        *self.name.borrow_mut() = bn;
        *other.parent.borrow_mut() = Some(a);
        *other.name.borrow_mut() = an;
    }

    /// Whether `self` is `other` or above it in the same file system.
    pub fn contains(&self, other: &Rc<Dentry>) -> bool {
        let mut d = Some(other.clone());
        while let Some(x) = d {
            if x.id == self.id {
                return true;
            }
            d = x.parent();
        }
        false
    }
}

impl Dentry {
    /// Leaves the parent's list; returns the parent.
    fn detach(&self) -> Option<Rc<Dentry>> {
        let parent = self.parent.take()?;
        if let (Ok(mut children), Ok(name)) = (parent.children.try_borrow_mut(), self.name.try_borrow()) {
            // Its place may have been taken by another already.
            if children.get(&**name).is_some_and(|w| w.strong_count() == 0) {
                children.remove(&**name);
            }
        }
        Some(parent)
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // Not by recursion: a workload chooses how deep a tree is.
        let mut parent = self.detach();
        while let Some(p) = parent {
            parent = Rc::into_inner(p).and_then(|d| d.detach());
        }
    }
}

/// How many unused dentries are kept.
const KEEP: usize = 4096;

/// Keeps dentries alive that were used lately (second chance), up to a bound.
#[derive(Default)]
pub struct DentryCache {
    queue: RefCell<VecDeque<Rc<Dentry>>>,
}

impl DentryCache {
    fn keep(&self, dentry: &Rc<Dentry>) {
        let mut gone = Vec::new();
        {
            let mut queue = self.queue.borrow_mut();
            queue.push_back(dentry.clone());
            while queue.len() > KEEP {
                let Some(old) = queue.pop_front() else { break };
                if old.used.replace(false) && !old.is_unlinked() {
                    queue.push_back(old);
                } else {
                    gone.push(old);
                }
            }
        }
        // Dropped without the borrow: the end of an inode may do anything.
        drop(gone);
    }

    /// Lets everything go.
    pub fn clear(&self) {
        let all = self.queue.take();
        drop(all);
    }
}
