//! Processes that join a running workload (`exec`): each is seized in the jail, installs the same filter, executes the loader, and
//! is held there like init before `start`. Nothing here waits: a process that was put into a frozen cgroup takes its time.

use super::{
    Engine, procfs,
    task::{State, Task},
};
use crate::{
    platform::numbers,
    sys::{
        process,
        ptrace::{self, Gone, Resume},
        seccomp,
    },
};
use nix::errno::Errno;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

/// On its way from the jail's code to the loader.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// Known from the loader's execve on.
    listener: Option<OwnedFd>,
}

impl Engine {
    /// Begins to take over `pid`, which waits in the jail for its filter. [`Observer::joined`](super::Observer::joined) or
    /// [`root_ended`](super::Observer::root_ended) follows.
    pub fn join(&mut self, pid: i32) -> nix::Result<()> {
        if self.tasks.contains_key(&pid) || self.joining.contains_key(&pid) {
            return Err(Errno::EEXIST);
        }
        ptrace::seize(pid, ptrace::Options::WORKLOAD)?;
        self.joining.insert(pid, Joining::default());
        Ok(())
    }

    /// The filter's listener of a process that has joined.
    pub fn listener_of(&self, pid: i32) -> io::Result<OwnedFd> {
        let task = self.tasks.get(&pid).ok_or(io::ErrorKind::NotFound)?;
        task.listener.try_clone()
    }

    /// Kills a process that joins or has joined.
    pub fn kill_root(&mut self, pid: i32) {
        if self.joining.contains_key(&pid) || self.roots.contains(&pid) {
            let _ = process::kill(pid, libc::SIGKILL);
        }
    }

    pub(super) fn on_join_stop(&mut self, pid: i32, signal: i32, event: i32) -> Result<(), Gone> {
        match event {
            libc::PTRACE_EVENT_SECCOMP => self.take_listener(pid)?,
            libc::PTRACE_EVENT_EXEC => return self.hold(pid),
            // Freezers and debuggers; it is nobody's job yet.
            0 => return ptrace::resume(pid, Resume::Continue, signal),
            _ => {}
        }
        ptrace::resume(pid, Resume::Continue, 0)
    }

    /// At a call that the filter traps. Until the loader is executed, it is our own code, which may want memory on the way.
    fn take_listener(&mut self, pid: i32) -> Result<(), Gone> {
        let regs = ptrace::registers(pid)?;
        if regs.orig_rax != u64::from(numbers::EXECVEAT) {
            return Ok(());
        }
        let taken = process::pidfd_open(pid)
            // An int: the upper half is whatever was there.
            .and_then(|pidfd| process::pidfd_getfd(pidfd.as_fd(), regs.r9 as i32));
        match (taken, self.joining.get_mut(&pid)) {
            (Ok(listener), Some(joining)) => {
                // Older kernels wake as they please.
                let _ = seccomp::wake_in_place(listener.as_fd());
                joining.listener = Some(listener);
            }
            (taken, _) => {
                tracing::warn!("cannot take the filter's listener of process {pid}: {:?}", taken.err());
                let _ = process::kill(pid, libc::SIGKILL);
            }
        }
        Ok(())
    }

    /// The loader is executed: from here on it is a task.
    fn hold(&mut self, pid: i32) -> Result<(), Gone> {
        let listener = self.joining.remove(&pid).and_then(|joining| joining.listener);
        let (Some(listener), Some(name)) = (listener, procfs::name_of(pid)) else {
            let _ = process::kill(pid, libc::SIGKILL);
            self.joining.insert(pid, Joining::default());
            return Ok(());
        };
        self.tasks.insert(pid, Task::new(pid, pid, name, name, State::Held, Rc::new(listener)));
        self.names.insert(name, pid);
        self.roots.insert(pid);
        self.observer.joined(pid, name);
        Ok(())
    }
}
