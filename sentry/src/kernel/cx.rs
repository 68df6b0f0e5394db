//! The context of one system call: who makes it, its memory, and how it waits.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use futures_util::future::{Either, select};
use rsc_proto::abi::Errno;
use tokio::time::Instant;

use super::Kernel;
use super::fd::Fd;
use super::file::File;
use super::memory::UserMemory;
use super::task::Task;
use super::wait::{Listener, PollEvents, Wakeup};
use crate::error::{Interrupted, SysResult};

/// See the module's text.
pub struct Cx {
    /// The sandbox.
    pub kernel: Rc<Kernel>,
    /// The caller.
    pub task: Rc<Task>,
    /// The caller's memory.
    pub mem: UserMemory,
    /// The call's number in the session.
    pub call: u64,
    /// The system call's number.
    pub nr: u32,
    /// Its raw arguments.
    pub args: [u64; 6],
    /// Set when the supervisor asks for the call to stop.
    pub interrupt: Rc<Wakeup>,
    /// A signal for the calling thread before it goes on (SIGPIPE).
    pub signal: Cell<u32>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It may be ready now.
    Ready,
    /// The deadline passed.
    TimedOut,
}

impl Cx {
    /// The file at `fd` (not `O_PATH`), or `EBADF`.
    pub fn file(&self, fd: Fd) -> Result<Rc<File>, Errno> {
        self.task.fds.borrow().get(fd)
    }

    /// `EMFILE` when no descriptor is free: what Linux finds out before it opens anything.
    pub fn room_for_fd(&self) -> Result<(), Errno> {
        self.task.fds.borrow().room(self.task.group().nofile())
    }

    /// Puts a file at the lowest free descriptor.
    pub fn add_fd(&self, file: Rc<File>, cloexec: bool) -> Result<Fd, Errno> {
        self.task.fds.borrow().add_from(file, cloexec, 0, self.task.group().nofile())
    }

    /// Waits for `future` unless the call is interrupted first.
    pub async fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        let future = std::pin::pin!(future);
        match select(future, self.interrupt.wait()).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right(_) => Err(Interrupted),
        }
    }

    /// Waits until `wakeup` is set, the deadline passes, or the call is interrupted.
    pub async fn wait_until(&self, wakeup: &Wakeup, deadline: Option<Instant>) -> Result<Waited, Interrupted> {
        match deadline {
            None => self.wait(wakeup.wait()).await.map(|()| Waited::Ready),
            Some(at) => Ok(match self.wait(tokio::time::timeout_at(at, wakeup.wait())).await? {
                Ok(()) => Waited::Ready,
                Err(_) => Waited::TimedOut,
            }),
        }
    }

    /// Repeats `op` until it returns something other than `EAGAIN`, waiting in between for one of `events` on `file`. With
    /// `nonblocking`, `EAGAIN` is the answer; after `deadline` too.
    pub async fn blocking<T>(
        &self,
        file: &Rc<File>,
        events: PollEvents,
        nonblocking: bool,
        deadline: Option<Instant>,
        mut op: impl AsyncFnMut() -> Result<T, Errno>,
    ) -> SysResult<T> {
        match op().await {
            Err(Errno::EAGAIN) if !nonblocking => {}
            r => return Ok(r?),
        }
        let Some(queue) = file.ops().wait_queue() else { return Err(Errno::EAGAIN.into()) };
        let wakeup = Wakeup::new();
        let listener: Rc<dyn Listener> = wakeup.clone();
        let _registration = queue.listen(events, &listener);
        loop {
            // Registered before trying again: a change in between sets the flag.
            wakeup.clear();
            match op().await {
                Err(Errno::EAGAIN) => {}
                r => return Ok(r?),
            }
            if self.wait_until(&wakeup, deadline).await? == Waited::TimedOut {
                return Err(Errno::EAGAIN.into());
            }
        }
    }
}
