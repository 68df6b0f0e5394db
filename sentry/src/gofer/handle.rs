//! Handles: numbers bound at the gofer, closed when the last reference goes.

use super::conn::Conn;
use std::rc::Rc;

/// An inode of the tree, maybe opened. Clones share it; dropping the last one closes it at the gofer, with the next request.
#[derive(Clone)]
pub struct Handle(Rc<Bound>);

struct Bound {
    conn: Rc<Conn>,
    number: u32,
}

impl Handle {
    pub(super) fn new(conn: Rc<Conn>, number: u32) -> Handle {
        Handle(Rc::new(Bound { conn, number }))
    }

    pub(super) fn number(&self) -> u32 {
        self.0.number
    }

    /// Whether this handle is of that connection; a number of another one would name something else.
    pub(super) fn is_of(&self, conn: &Rc<Conn>) -> bool {
        Rc::ptr_eq(&self.0.conn, conn)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.conn.queue_close(self.number);
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Handle) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Handle {}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.0.number)
    }
}

/// The numbers in use.
#[derive(Debug)]
pub(super) struct Numbers {
    free: Vec<u32>,
    next: u32,
    max: u32,
}

impl Numbers {
    pub(super) fn new() -> Numbers {
        // The root's number is taken before the gofer has told its limit; the least it can be.
        Numbers { free: Vec::new(), next: 0, max: 16 }
    }

    pub(super) fn set_max(&mut self, max: u32) {
        self.max = max;
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let number = (self.next < self.max).then_some(self.next)?;
            self.next += 1;
            Some(number)
        })
    }

    pub(super) fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }
}
