//! Requests that wait: locks that others hold, FIFOs that are not ready.
//!
//! FIFOs are in the poll set beside the socket. Locks of the host cannot be polled, and a thread for each that waits would have
//! no bound: they are tried again after a while, and at once when this connection gives a lock or a handle back.

use super::{Answer, Server};
use crate::sys::{Result, fs, ipc};
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{Cancel, Lock, LockInfo, LockKind, LockStyle, MAX_PARKED, Outcome, Poll};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Between tries of a lock, milliseconds: doubled from the first to the last.
const FIRST_RETRY: i32 = 1;
const LAST_RETRY: i32 = 64;

/// One request that waits, with a descriptor of its own.
struct Waiting {
    id: u64,
    file: OwnedFd,
    what: What,
}

enum What {
    Lock(Lock),
    Poll { events: i16, revents: i16 },
}

/// All that wait.
pub(super) struct Waits {
    waiting: Vec<Waiting>,
    locks: usize,
    retry: i32,
    /// Something may have changed for a lock.
    due: bool,
    tried: Instant,
    fds: Vec<libc::pollfd>,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits { waiting: Vec::new(), locks: 0, retry: FIRST_RETRY, due: false, tried: Instant::now(), fds: Vec::new() }
    }
}

impl Waits {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tries locks again before waiting any longer.
    pub(super) fn hurry(&mut self) {
        self.due = true;
    }

    fn add(&mut self, id: u64, file: BorrowedFd<'_>, what: What) -> Result<Answer> {
        if self.waiting.len() >= MAX_PARKED {
            return Err(Errno::ENOLCK);
        }
        let file = fs::duplicate(file).map_err(|_| Errno::ENOLCK)?;
        if let What::Lock(_) = what {
            self.locks += 1;
            self.retry = FIRST_RETRY;
        }
        self.waiting.push(Waiting { id, file, what });
        Ok(Answer::Later)
    }

    /// Waits for the socket, a FIFO, or the time to try locks again. Whether the socket has something.
    pub(super) fn wait(&mut self, socket: RawFd) -> Result<bool> {
        let pollfd = |fd, events| libc::pollfd { fd, events, revents: 0 };
        self.fds.clear();
        self.fds.push(pollfd(socket, libc::POLLIN));
        for waiting in &self.waiting {
            if let What::Poll { events, .. } = waiting.what {
                self.fds.push(pollfd(waiting.file.as_raw_fd(), events));
            }
        }
        let timeout = if self.locks > 0 { self.retry } else { -1 };
        ipc::poll(&mut self.fds, timeout)?;
        let mut results = self.fds.iter().map(|fd| fd.revents);
        let input = results.next().unwrap_or(0) != 0;
        for waiting in &mut self.waiting {
            if let What::Poll { revents, .. } = &mut waiting.what {
                *revents = results.next().unwrap_or(0);
            }
        }
        // However busy the socket is, locks get their turn.
        if !input || self.tried.elapsed() >= Duration::from_millis(self.retry.unsigned_abs().into()) {
            self.due = true;
            self.tried = Instant::now();
            self.retry = (self.retry * 2).min(LAST_RETRY);
        }
        Ok(input)
    }

    /// Takes out those that need not wait any more, with their results.
    fn take_ready(&mut self) -> Vec<(u64, Result<Answer>)> {
        let due = std::mem::take(&mut self.due);
        let mut ready = Vec::new();
        let mut locks = 0;
        self.waiting.retain(|waiting| {
            let result = match &waiting.what {
                What::Poll { revents: 0, .. } => None,
                What::Poll { revents, .. } => Some(Ok(Answer::With(Outcome::Value(*revents as u16 as u64)))),
                What::Lock(_) if !due => None,
                What::Lock(lock) => match try_lock(waiting.file.as_fd(), lock) {
                    Err(Errno::EAGAIN) => None,
                    result => Some(result.map(|()| Answer::Done)),
                },
            };
            match result {
                Some(result) => {
                    ready.push((waiting.id, result));
                    false
                }
                None => {
                    locks += usize::from(matches!(waiting.what, What::Lock(_)));
                    true
                }
            }
        });
        self.locks = locks;
        ready
    }
}

/// The lock as the host has it.
fn host_lock(op: &Lock) -> Result<libc::flock> {
    let kind = match LockKind::try_from(op.kind).map_err(|_| Errno::EINVAL)? {
        LockKind::Unlock => libc::F_UNLCK,
        LockKind::Read => libc::F_RDLCK,
        LockKind::Write => libc::F_WRLCK,
    };
    let start = i64::try_from(op.start).map_err(|_| Errno::EINVAL)?;
    let len = i64::try_from(op.len).map_err(|_| Errno::EINVAL)?;
    if len > 0 {
        // The last byte, not the one behind it, has to be a valid offset.
        start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?;
    }
    Ok(libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: start, l_len: len, l_pid: 0 })
}

fn try_lock(file: BorrowedFd<'_>, op: &Lock) -> Result<()> {
    match LockStyle::try_from(op.style).map_err(|_| Errno::EINVAL)? {
        LockStyle::Flock => {
            let operation = match LockKind::try_from(op.kind).map_err(|_| Errno::EINVAL)? {
                LockKind::Unlock => libc::LOCK_UN,
                LockKind::Read => libc::LOCK_SH,
                LockKind::Write => libc::LOCK_EX,
            };
            fs::flock(file, operation | libc::LOCK_NB)
        }
        LockStyle::Record => match fs::record_lock(file, libc::F_OFD_SETLK, &mut host_lock(op)?) {
            Err(Errno::EACCES) => Err(Errno::EAGAIN),
            result => result,
        },
    }
}

impl Server {
    pub(super) fn lock(&mut self, id: u64, op: Lock) -> Result<Answer> {
        let file = self.handles.get(op.file)?.file()?;
        if op.kind == LockKind::Unlock as i32 {
            try_lock(file, &op)?;
            self.waits.hurry();
            return Ok(Answer::Done);
        }
        match try_lock(file, &op) {
            Err(Errno::EAGAIN) if op.wait => self.waits.add(id, file, What::Lock(op)),
            result => result.map(|()| Answer::Done),
        }
    }

    pub(super) fn test_lock(&self, op: Lock) -> Result<Answer> {
        let file = self.handles.get(op.file)?.file()?;
        let mut lock = host_lock(&op)?;
        if op.kind == LockKind::Unlock as i32 {
            return Err(Errno::EINVAL);
        }
        fs::record_lock(file, libc::F_OFD_GETLK, &mut lock)?;
        let kind = match lock.l_type.into() {
            libc::F_RDLCK => LockKind::Read,
            libc::F_WRLCK => LockKind::Write,
            _ => return Ok(Answer::Done),
        };
        Ok(Answer::With(Outcome::Lock(LockInfo {
            kind: kind.into(),
            start: lock.l_start as u64,
            len: lock.l_len as u64,
            pid: lock.l_pid,
        })))
    }

    pub(super) fn poll(&mut self, id: u64, op: Poll) -> Result<Answer> {
        let bound = self.handles.get(op.file)?;
        let file = bound.file()?;
        let events = i16::try_from(op.events).map_err(|_| Errno::EINVAL)?;
        if bound.kind != libc::S_IFIFO {
            // Regular files and directories are always ready.
            let ready = events & (libc::POLLIN | libc::POLLOUT | libc::POLLRDNORM | libc::POLLWRNORM);
            return Ok(Answer::With(Outcome::Value(ready as u64)));
        }
        let mut now = [libc::pollfd { fd: file.as_raw_fd(), events, revents: 0 }];
        ipc::poll(&mut now, 0)?;
        match now[0].revents {
            0 => self.waits.add(id, file, What::Poll { events, revents: 0 }),
            revents => Ok(Answer::With(Outcome::Value(revents as u16 as u64))),
        }
    }

    pub(super) fn cancel(&mut self, op: Cancel) -> Result<Answer> {
        if let Some(at) = self.waits.waiting.iter().position(|w| w.id == op.id) {
            let waiting = self.waits.waiting.swap_remove(at);
            self.waits.locks -= usize::from(matches!(waiting.what, What::Lock(_)));
            self.answer(op.id, Err(Errno::EINTR));
        }
        Ok(Answer::Done)
    }

    /// Answers those that need not wait any more.
    pub(super) fn wait_again(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        for (id, result) in self.waits.take_ready() {
            self.answer(id, result);
        }
    }
}
