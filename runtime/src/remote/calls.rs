//! How often each call of a process ran here, and how often there.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// How often, by the call's number.
pub type Counts = BTreeMap<u32, u64>;

/// Counts of one process. A call that was denied is in neither.
#[derive(Debug, Default)]
pub struct Calls {
    /// Carried out by this machine.
    pub here: RefCell<Counts>,
    /// Carried out by the sentry.
    pub there: RefCell<Counts>,
}

impl Calls {
    /// One more that ran here.
    pub fn ran_here(&self, nr: u32) {
        *self.here.borrow_mut().entry(nr).or_default() += 1;
    }

    /// One more that ran there.
    pub fn ran_there(&self, nr: u32) {
        *self.there.borrow_mut().entry(nr).or_default() += 1;
    }
}
