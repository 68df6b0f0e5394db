//! The one place that waits for children. The shim is a subreaper: besides the commands it runs, the inits of containers and
//! what `exec` has started become its children, and so do supervisors and whatever else they leave behind.
//!
//! All runs on one thread and [`Reaper::reap`] never suspends, so a child that is spawned and expected without a suspension
//! between can't be missed. A pid that is learned later (from a pid file) needs a [`Watch`] that was begun before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use tokio::sync::oneshot;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// Its status, or 128 and the number of the signal.
    pub(super) status: u32,
    /// When it was reaped.
    pub(super) at: SystemTime,
}

type Ended = Mutex<Vec<(i32, Exit)>>;

#[derive(Debug, Default)]
struct Inner {
    expected: HashMap<i32, oneshot::Sender<Exit>>,
    watches: Vec<Weak<Ended>>,
}

/// Tells of ended children.
#[derive(Clone, Debug, Default)]
pub(super) struct Reaper(Arc<Mutex<Inner>>);

/// Remembers who ends while it lives.
#[derive(Debug)]
pub(super) struct Watch {
    reaper: Reaper,
    ended: Arc<Ended>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not take all containers of a pod along.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reaper {
    /// The end of a child which is known not to have been reaped.
    pub(super) fn expect(&self, pid: i32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.0).expected.insert(pid, sender);
        receiver
    }

    /// Begins to remember.
    pub(super) fn watch(&self) -> Watch {
        let ended = Arc::new(Ended::default());
        let mut inner = lock(&self.0);
        inner.watches.retain(|watch| watch.strong_count() > 0);
        inner.watches.push(Arc::downgrade(&ended));
        Watch { reaper: self.clone(), ended }
    }

    /// Reaps all that have ended.
    pub(super) fn reap(&self) {
        loop {
            let Some((pid, status)) = crate::sys::wait_any() else { return };
            self.tell(pid, Exit { status, at: SystemTime::now() });
        }
    }

    fn tell(&self, pid: i32, exit: Exit) {
        let mut inner = lock(&self.0);
        if let Some(sender) = inner.expected.remove(&pid) {
            // Nobody may want to know any more.
            let _ = sender.send(exit);
            return;
        }
        for watch in inner.watches.iter().filter_map(Weak::upgrade) {
            lock(&watch).push((pid, exit));
        }
    }
}

impl Watch {
    /// The end of a child that was born while this watch lived, past or to come.
    pub(super) fn claim(self, pid: i32) -> oneshot::Receiver<Exit> {
        let past = lock(&self.ended).iter().rev().find(|(ended, _)| *ended == pid).map(|(_, exit)| *exit);
        match past {
            Some(exit) => {
                let (sender, receiver) = oneshot::channel();
                let _ = sender.send(exit);
                receiver
            }
            None => self.reaper.expect(pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: Exit = Exit { status: 7, at: SystemTime::UNIX_EPOCH };

    #[test]
    fn an_end_before_the_claim_is_remembered() {
        let reaper = Reaper::default();
        reaper.tell(1, EXIT);
        let watch = reaper.watch();
        reaper.tell(2, EXIT);
        assert_eq!(watch.claim(2).try_recv(), Ok(EXIT));
        // Ended before the watch began: that was somebody else.
        let mut later = reaper.watch().claim(1);
        assert!(later.try_recv().is_err());
        reaper.tell(1, EXIT);
        assert_eq!(later.try_recv(), Ok(EXIT));
    }
}
