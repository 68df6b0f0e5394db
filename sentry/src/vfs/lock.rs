//! Locks on files: flock(2), and record locks of processes and of open file descriptions (fcntl(2)). Linux: fs/locks.c.
//!
//! An inode has its locks; whoever waits listens on the inode's queue and tries again. Locks of a process go when it closes any
//! descriptor of the file, those of a description with its last descriptor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use rsc_proto::abi::Errno;

use crate::kernel::wait::{PollEvents, WaitQueue};

/// Record locks that one inode may have.
const RECORDS_MAX: usize = 65_536;

/// Whose a record lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process, by thread group id.
    Process(u32),
    /// An open file description, by its id.
    Description(u64),
}

/// A range of bytes and how it is locked. `end` is inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX` means to the end of the file wherever it is.
    pub end: u64,
    /// A write lock.
    pub exclusive: bool,
    /// Whose.
    pub owner: Owner,
}

impl Record {
    fn meets(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner && self.meets(other) && (self.exclusive || other.exclusive)
    }
}

/// All locks of one inode.
#[derive(Default)]
pub struct InodeLocks {
    records: RefCell<Vec<Record>>,
    /// flock(2): description and whether it is exclusive.
    whole: RefCell<Vec<(u64, bool)>>,
    queue: RefCell<Option<Rc<WaitQueue>>>,
}

impl InodeLocks {
    /// Where to wait for a lock to be given back.
    pub fn queue(&self) -> Rc<WaitQueue> {
        self.queue.borrow_mut().get_or_insert_with(WaitQueue::new).clone()
    }

    fn wake(&self) {
        let queue = self.queue.borrow().clone();
        if let Some(queue) = queue {
            queue.notify(PollEvents::all());
        }
    }

    /// The lock that stands in the way of `want`.
    pub fn conflict(&self, want: &Record) -> Option<Record> {
        self.records.borrow().iter().filter(|r| r.conflicts(want)).min_by_key(|r| r.start).copied()
    }

    /// Takes a record lock, which replaces what the owner had there. `EAGAIN`: another's is in the way.
    pub fn lock(&self, want: Record) -> Result<(), Errno> {
        if self.conflict(&want).is_some() {
            return Err(Errno::EAGAIN);
        }
        let mut records = self.records.borrow_mut();
        if records.len() >= RECORDS_MAX {
            return Err(Errno::ENOLCK);
        }
        let shrunk = cut(&mut records, &want);
        let mut new = want;
        // Neighbours of the same kind become one.
        records.retain(|r| {
            let touches = r.start <= new.end.saturating_add(1) && new.start <= r.end.saturating_add(1);
            let same = r.owner == new.owner && r.exclusive == new.exclusive && touches;
            if same {
                new.start = new.start.min(r.start);
                new.end = new.end.max(r.end);
            }
            !same
        });
        records.push(new);
        drop(records);
        if shrunk {
            // A write lock may have become a read lock.
            self.wake();
        }
        Ok(())
    }

    /// Gives back what the owner has in `start..=end`.
    pub fn unlock(&self, owner: Owner, start: u64, end: u64) {
        let range = Record { start, end, exclusive: false, owner };
        let changed = cut(&mut self.records.borrow_mut(), &range);
        if changed {
            self.wake();
        }
    }

    /// flock(2). `EAGAIN`: another's is in the way; the lock that the description had is gone then, as in Linux.
    pub fn lock_whole(&self, description: u64, exclusive: bool) -> Result<(), Errno> {
        let mut whole = self.whole.borrow_mut();
        if whole.contains(&(description, exclusive)) {
            return Ok(());
        }
        let had = whole.len();
        whole.retain(|(d, _)| *d != description);
        let converted = whole.len() != had;
        let free = whole.iter().all(|(_, x)| !*x && !exclusive);
        if free {
            whole.push((description, exclusive));
        }
        drop(whole);
        if converted {
            self.wake();
        }
        if free { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    /// flock(2) `LOCK_UN`.
    pub fn unlock_whole(&self, description: u64) {
        let mut whole = self.whole.borrow_mut();
        let had = whole.len();
        whole.retain(|(d, _)| *d != description);
        let changed = whole.len() != had;
        drop(whole);
        if changed {
            self.wake();
        }
    }

    /// A process has closed a descriptor of the file.
    pub fn closed_by(&self, tgid: u32) {
        if !self.records.borrow().is_empty() {
            self.unlock(Owner::Process(tgid), 0, u64::MAX);
        }
    }

    /// The last descriptor of a description is gone.
    pub fn released(&self, description: u64) {
        self.unlock_whole(description);
        if !self.records.borrow().is_empty() {
            self.unlock(Owner::Description(description), 0, u64::MAX);
        }
    }
}

/// Takes the range out of the owner's locks; whether there was anything.
fn cut(records: &mut Vec<Record>, range: &Record) -> bool {
    let mut rests = Vec::new();
    let mut changed = false;
    records.retain(|r| {
        if r.owner != range.owner || !r.meets(range) {
            return true;
        }
        changed = true;
        if r.start < range.start {
            rests.push(Record { end: range.start - 1, ..*r });
        }
        if r.end > range.end {
            rests.push(Record { start: range.end + 1, ..*r });
        }
        false
    });
    records.extend(rests);
    changed
}

/// Which process waits for which, to find deadlocks.
#[derive(Default)]
pub struct LockWaits {
    waits: RefCell<HashMap<u32, u32>>,
}

/// A process waits for another as long as this lives.
pub struct LockWait<'a> {
    waits: &'a LockWaits,
    who: u32,
}

impl LockWaits {
    /// Notes that `who` waits for `holder`; `EDEADLK` if that one waits for `who`.
    pub fn wait(&self, who: u32, holder: u32) -> Result<LockWait<'_>, Errno> {
        let mut waits = self.waits.borrow_mut();
        let mut at = holder;
        // As far as Linux looks (MAX_DEADLK_ITERATIONS).
        for _ in 0..10 {
            if at == who {
                return Err(Errno::EDEADLK);
            }
            match waits.get(&at) {
                Some(next) => at = *next,
                None => break,
            }
        }
        waits.insert(who, holder);
        Ok(LockWait { waits: self, who })
    }
}

impl Drop for LockWait<'_> {
    fn drop(&mut self) {
        self.waits.waits.borrow_mut().remove(&self.who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(start: u64, end: u64, exclusive: bool, process: u32) -> Record {
        Record { start, end, exclusive, owner: Owner::Process(process) }
    }

    #[test]
    fn ranges_split_and_merge() {
        let l = InodeLocks::default();
        l.lock(record(0, 99, true, 1)).unwrap();
        assert_eq!(l.lock(record(50, 60, false, 2)), Err(Errno::EAGAIN));
        l.unlock(Owner::Process(1), 40, 69);
        l.lock(record(50, 60, false, 2)).unwrap();
        assert_eq!(l.lock(record(0, 0, false, 2)), Err(Errno::EAGAIN));
        assert_eq!(l.lock(record(70, 70, false, 2)), Err(Errno::EAGAIN));
        l.lock(record(40, 49, true, 1)).unwrap();
        assert_eq!(l.conflict(&record(0, 1000, true, 3)), Some(record(0, 49, true, 1)));
        l.closed_by(1);
        assert_eq!(l.conflict(&record(0, 1000, true, 3)), Some(record(50, 60, false, 2)));
        assert_eq!(l.conflict(&record(0, 1000, false, 3)), None);
    }

    #[test]
    fn whole_files() {
        let l = InodeLocks::default();
        l.lock_whole(1, false).unwrap();
        l.lock_whole(2, false).unwrap();
        assert_eq!(l.lock_whole(1, true), Err(Errno::EAGAIN));
        l.lock_whole(2, true).unwrap();
        assert_eq!(l.lock_whole(1, false), Err(Errno::EAGAIN));
        l.released(2);
        l.lock_whole(1, true).unwrap();
    }

    #[test]
    fn deadlocks() {
        let w = LockWaits::default();
        let _a = w.wait(1, 2).unwrap();
        let b = w.wait(2, 3).unwrap();
        assert_eq!(w.wait(3, 1).err(), Some(Errno::EDEADLK));
        drop(b);
        assert!(w.wait(3, 1).is_ok());
    }
}
