//! A reference that all threads see and any may replace.

use std::sync::atomic::{AtomicPtr, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Shared<T: 'static>(AtomicPtr<T>);

impl<T> Shared<T> {
    /// One to nothing yet.
    pub const fn empty() -> Self {
        Shared(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// What it refers to.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or from a reference that lives for ever, which is only read.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Has it refer to something.
    pub fn set(&self, to: &'static T) {
        self.0.store(std::ptr::from_ref(to).cast_mut(), Ordering::Release);
    }
}
