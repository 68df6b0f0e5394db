//! The descriptor table of one or more tasks (`CLONE_FILES`): numbers, their close-on-exec flags and file descriptions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rsc_proto::abi::Errno;

use super::file::File;

/// A descriptor as the workload says it: any 32-bit value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fd(pub i32);

#[derive(Clone)]
struct Slot {
    file: Rc<File>,
    cloexec: bool,
}

/// The most descriptors that a table can have whatever `RLIMIT_NOFILE` says: the sandbox's quota.
pub const FD_MAX: usize = 1 << 20;

/// See the module's text. Closing returns the file so that the caller can flush it; dropping a file releases it.
#[derive(Default)]
pub struct FdTable {
    slots: RefCell<Vec<Option<Slot>>>,
    /// No number below this is free.
    hint: Cell<usize>,
}

impl FdTable {
    /// An empty table.
    pub fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    /// A copy that shares the file descriptions. Linux: dup_fd().
    pub fn fork(&self) -> Rc<Self> {
        Rc::new(Self { slots: RefCell::new(self.slots.borrow().clone()), hint: Cell::new(self.hint.get()) })
    }

    /// The file at `fd`; `EBADF` if there is none, or if it was opened with `O_PATH`. Linux: fdget().
    pub fn get(&self, fd: Fd) -> Result<Rc<File>, Errno> {
        let f = self.get_path(fd)?;
        if f.is_path() { Err(Errno::EBADF) } else { Ok(f) }
    }

    /// The file at `fd`, `O_PATH` or not. Linux: fdget_raw().
    pub fn get_path(&self, fd: Fd) -> Result<Rc<File>, Errno> {
        let slots = self.slots.borrow();
        let i = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        slots.get(i).and_then(Option::as_ref).map(|s| s.file.clone()).ok_or(Errno::EBADF)
    }

    /// Puts a file at the lowest free number that is at least `from`. `limit` is the soft `RLIMIT_NOFILE`; `EMFILE` beyond.
    pub fn add_from(&self, file: Rc<File>, cloexec: bool, from: usize, limit: usize) -> Result<Fd, Errno> {
        let limit = limit.min(FD_MAX);
        let mut slots = self.slots.borrow_mut();
        let start = from.max(self.hint.get());
        let n =
            (start..slots.len()).find(|&i| slots.get(i).is_none_or(Option::is_none)).unwrap_or(start.max(slots.len()));
        if n >= limit {
            return Err(Errno::EMFILE);
        }
        if slots.len() <= n {
            slots.resize(n + 1, None);
        }
        if let Some(slot) = slots.get_mut(n) {
            *slot = Some(Slot { file, cloexec });
        }
        if from <= self.hint.get() {
            self.hint.set(n + 1);
        }
        Ok(Fd(n as i32))
    }

    /// `EMFILE` when no number below `limit` is free.
    pub fn room(&self, limit: usize) -> Result<(), Errno> {
        let limit = limit.min(FD_MAX);
        let slots = self.slots.borrow();
        let free = slots.len() < limit || slots.iter().take(limit).skip(self.hint.get()).any(Option::is_none);
        if free { Ok(()) } else { Err(Errno::EMFILE) }
    }

    /// Puts a file at `fd`, whatever is there; returns what was. Linux: do_dup2().
    pub fn set(&self, fd: Fd, file: Rc<File>, cloexec: bool, limit: usize) -> Result<Option<Rc<File>>, Errno> {
        let n = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        if n >= limit.min(FD_MAX) {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= n {
            slots.resize(n + 1, None);
        }
        let old = slots.get_mut(n).and_then(|s| s.replace(Slot { file, cloexec }));
        Ok(old.map(|s| s.file))
    }

    /// Takes the file away from `fd`.
    pub fn remove(&self, fd: Fd) -> Result<Rc<File>, Errno> {
        let n = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let old = self.slots.borrow_mut().get_mut(n).and_then(Option::take).ok_or(Errno::EBADF)?;
        self.hint.set(self.hint.get().min(n));
        Ok(old.file)
    }

    /// The close-on-exec flag of `fd`.
    pub fn cloexec(&self, fd: Fd) -> Result<bool, Errno> {
        let slots = self.slots.borrow();
        let i = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        slots.get(i).and_then(Option::as_ref).map(|s| s.cloexec).ok_or(Errno::EBADF)
    }

    /// Sets the close-on-exec flag of `fd`.
    pub fn set_cloexec(&self, fd: Fd, on: bool) -> Result<(), Errno> {
        let mut slots = self.slots.borrow_mut();
        let i = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        slots.get_mut(i).and_then(Option::as_mut).ok_or(Errno::EBADF)?.cloexec = on;
        Ok(())
    }

    /// Takes away every file in `first..=last` that `pick` (given the close-on-exec flag) wants gone, lowest first.
    pub fn remove_range(&self, first: usize, last: usize, pick: impl Fn(bool) -> bool) -> Vec<Rc<File>> {
        let mut slots = self.slots.borrow_mut();
        let end = last.saturating_add(1).min(slots.len());
        let mut gone = Vec::new();
        for i in first..end {
            if let Some(slot) = slots.get_mut(i)
                && slot.as_ref().is_some_and(|s| pick(s.cloexec))
                && let Some(old) = slot.take()
            {
                gone.push(old.file);
                self.hint.set(self.hint.get().min(i));
            }
        }
        gone
    }

    /// Sets close-on-exec on every descriptor in `first..=last`. Linux: `CLOSE_RANGE_CLOEXEC`.
    pub fn cloexec_range(&self, first: usize, last: usize) {
        let mut slots = self.slots.borrow_mut();
        let end = last.saturating_add(1).min(slots.len());
        for slot in slots.iter_mut().take(end).skip(first).flatten() {
            slot.cloexec = true;
        }
    }

    /// Every descriptor in use, in order.
    pub fn list(&self) -> Vec<(Fd, Rc<File>)> {
        let slots = self.slots.borrow();
        slots.iter().enumerate().filter_map(|(i, s)| s.as_ref().map(|s| (Fd(i as i32), s.file.clone()))).collect()
    }
}
