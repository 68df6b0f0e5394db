//! Mounts, dentries, path walk.

use std::cell::Cell;
use std::rc::Rc;

/// A place in the tree: a dentry on a mount.
#[derive(Clone)]
pub struct Location {}

/// Working directory, root and umask of one or more tasks.
pub struct FsContext {
    /// umask(2).
    pub umask: Cell<u32>,
}

impl FsContext {
    /// A copy for a task that does not share it.
    pub fn fork(&self) -> Rc<Self> {
        Rc::new(Self { umask: self.umask.clone() })
    }
}

/// The mount namespace of a sandbox.
pub struct Vfs {}
