//! Working directory, root and umask of one or more tasks (`CLONE_FS`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::mount::Location;

/// See the module's text.
pub struct FsContext {
    /// umask(2).
    pub umask: Cell<u32>,
    cwd: RefCell<Location>,
    root: RefCell<Location>,
}

impl FsContext {
    /// A context of its own.
    pub fn new(root: Location, cwd: Location, umask: u32) -> Rc<Self> {
        Rc::new(Self { umask: Cell::new(umask & 0o777), cwd: RefCell::new(cwd), root: RefCell::new(root) })
    }

    /// A copy for a task that does not share it.
    pub fn fork(&self) -> Rc<Self> {
        Self::new(self.root(), self.cwd(), self.umask.get())
    }

    /// The working directory.
    pub fn cwd(&self) -> Location {
        self.cwd.borrow().clone()
    }

    /// Where absolute paths begin.
    pub fn root(&self) -> Location {
        self.root.borrow().clone()
    }

    /// chdir(2).
    pub fn set_cwd(&self, to: Location) {
        self.cwd.replace(to);
    }

    /// chroot(2).
    pub fn set_root(&self, to: Location) {
        self.root.replace(to);
    }
}
