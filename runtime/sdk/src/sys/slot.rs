//! A thread's connections. Not a thread-local variable with a destructor: those are destroyed before the last streams are flushed at a
//! process's end, which may be remote. A key of pthread_key_create(3) is destroyed with a thread, and at the process's end not at all.

use std::cell::RefCell;
use std::sync::OnceLock;

use crate::broker::link::Link;

type Slot = RefCell<Vec<Link>>;

static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();

unsafe extern "C" fn drop_slot(slot: *mut libc::c_void) {
    // SAFETY: made by `with`, and this thread does not find it any more.
    drop(unsafe { Box::from_raw(slot.cast::<Slot>()) });
}

fn key() -> Option<libc::pthread_key_t> {
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: a variable of ours; the function lives as long as the library, which is never unloaded.
        (unsafe { libc::pthread_key_create(&raw mut key, Some(drop_slot)) } == 0).then_some(key)
    })
}

/// Works on this thread's connections, unless they are in use.
pub(crate) fn with<T>(work: impl FnOnce(&mut Vec<Link>) -> T) -> Option<T> {
    let key = key()?;
    // SAFETY: the key is ours; what was set for it was made here and is dropped with the thread.
    let slot = unsafe {
        let mut slot = libc::pthread_getspecific(key).cast::<Slot>();
        if slot.is_null() {
            slot = Box::into_raw(Box::default());
            if libc::pthread_setspecific(key, slot.cast()) != 0 {
                drop(Box::from_raw(slot));
                return None;
            }
        }
        &*slot
    };
    let mut slot = slot.try_borrow_mut().ok()?;
    Some(work(&mut slot))
}
