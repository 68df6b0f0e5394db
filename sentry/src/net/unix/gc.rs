//! Descriptors in control messages, and the collector of unix sockets that only messages hold. Linux: net/unix/garbage.c.
//!
//! A socket may lie in its own queue, or two in each other's: then nobody can ever receive them. When a socket goes away while
//! sockets are in flight, those whose every holder is a message are looked at: what no other can reach is emptied.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};

use rsc_proto::abi::Errno;

use super::super::socket::SocketFile;
use super::UnixSocket;
use crate::ipc::limits::{Quota, Ticket};
use crate::kernel::file::File;

#[derive(Default)]
struct Inner {
    /// Descriptions of unix sockets in flight, by id, and how many messages hold each.
    sockets: RefCell<BTreeMap<u64, (Weak<File>, usize)>>,
    scheduled: Cell<bool>,
}

/// What is in flight in a sandbox.
#[derive(Clone, Default)]
pub struct Flying(Rc<Inner>);

/// Descriptors that a message carries.
pub(super) struct Cargo {
    files: Vec<Rc<File>>,
    flying: Flying,
    ticket: Option<Ticket>,
}

fn socket_of(file: &File) -> Option<&UnixSocket> {
    file.downcast::<SocketFile>()?.socket().as_any().downcast_ref()
}

impl Cargo {
    /// `ETOOMANYREFS` when too many are in flight.
    pub(super) fn load(flying: &Flying, quota: &Rc<Quota>, files: Vec<Rc<File>>) -> Result<Self, Errno> {
        let ticket = if files.is_empty() { None } else { Some(quota.take(files.len(), Errno::ETOOMANYREFS)?) };
        for file in files.iter().filter(|f| socket_of(f).is_some()) {
            let mut sockets = flying.0.sockets.borrow_mut();
            sockets.entry(file.id).or_insert_with(|| (Rc::downgrade(file), 0)).1 += 1;
        }
        Ok(Self { files, flying: flying.clone(), ticket })
    }

    /// Takes the files out: they have arrived.
    pub(super) fn unload(&mut self) -> Vec<Rc<File>> {
        let files = std::mem::take(&mut self.files);
        self.ticket = None;
        self.flying.landed(&files);
        files
    }

    /// The files once more, for `MSG_PEEK`.
    pub(super) fn copy(&self) -> Vec<Rc<File>> {
        self.files.clone()
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        let files = self.unload();
        drop(files);
    }
}

impl Flying {
    fn landed(&self, files: &[Rc<File>]) {
        let mut sockets = self.0.sockets.borrow_mut();
        for file in files {
            if let Some(entry) = sockets.get_mut(&file.id) {
                entry.1 -= 1;
                if entry.1 == 0 {
                    sockets.remove(&file.id);
                }
            }
        }
    }

    /// Has the collector run soon, once, if there is anything to look at. Not at once: whoever calls may be in the middle of things.
    pub(super) fn collect_later(&self) {
        let busy = self.0.sockets.try_borrow().is_ok_and(|s| s.is_empty());
        if busy || self.0.scheduled.replace(true) {
            return;
        }
        let this = self.clone();
        tokio::task::spawn_local(async move {
            this.0.scheduled.set(false);
            this.collect();
        });
    }

    fn collect(&self) {
        // Those that nothing but messages hold.
        let candidates: BTreeMap<u64, (Rc<File>, usize)> = {
            let sockets = self.0.sockets.borrow();
            let all = sockets.iter().filter_map(|(id, (file, n))| Some((*id, (file.upgrade()?, *n))));
            // One more is the upgrade itself.
            all.filter(|(_, (file, n))| Rc::strong_count(file) == n + 1).collect()
        };
        if candidates.is_empty() {
            return;
        }
        let mut holds: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut held_inside: BTreeMap<u64, usize> = BTreeMap::new();
        for (id, (file, _)) in &candidates {
            let Some(socket) = socket_of(file) else { continue };
            let inside: Vec<u64> = socket.cargo_ids().into_iter().filter(|i| candidates.contains_key(i)).collect();
            for i in &inside {
                *held_inside.entry(*i).or_default() += 1;
            }
            holds.insert(*id, inside);
        }
        // Whoever is held by a message outside lives, and so does whatever lies in its queue.
        let mut live = BTreeSet::new();
        let mut look: Vec<u64> = candidates
            .iter()
            .filter(|(id, (_, n))| held_inside.get(id).copied().unwrap_or(0) < *n)
            .map(|(id, _)| *id)
            .collect();
        while let Some(id) = look.pop() {
            if live.insert(id) {
                look.extend(holds.get(&id).into_iter().flatten());
            }
        }
        let mut garbage = Vec::new();
        for (id, (file, _)) in &candidates {
            if !live.contains(id)
                && let Some(socket) = socket_of(file)
            {
                garbage.push(socket.empty());
            }
        }
        drop(garbage);
    }
}

impl UnixSocket {
    /// Ids of the unix sockets in the messages that wait here, and in those of connections not yet accepted.
    fn cargo_ids(&self) -> Vec<u64> {
        let own = |s: &Self| -> Vec<u64> {
            let inbox = s.inbox.borrow();
            let files = inbox.iter().flat_map(|m| m.cargo.files.iter());
            files.filter(|f| socket_of(f).is_some()).map(|f| f.id).collect()
        };
        let mut ids = own(self);
        for embryo in self.pending.borrow().iter() {
            ids.extend(own(embryo));
        }
        ids
    }

    /// Takes out everything that waits here, for the caller to drop.
    fn empty(&self) -> impl Sized + use<> {
        let embryos = self.pending.borrow().iter().map(|e| e.inbox.take()).collect::<Vec<_>>();
        (self.inbox.take(), embryos)
    }
}
