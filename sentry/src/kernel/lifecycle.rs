//! The mirrored life of tasks: what the supervisor tells of clone, exec and exit, in order.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use rsc_proto::abi::{CloneFlags, Errno, Rlimit64, sig};
use rsc_proto::table::nr;
use rsc_proto::v1::{self, task_event::What};
use tokio::time::Instant;

use super::Kernel;
use super::credentials::Credentials;
use super::fd::{FD_MAX, Fd, FdTable};
use super::file::File;
use super::task::{NewTask, Task, ThreadGroup, rlimit};
use crate::tty::Terminal;
use crate::vfs::FsContext;

/// What the supervisor told does not fit what it told before.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// No such task.
    #[error("an event of task {0}, which does not exist")]
    NoTask(u32),
    /// The new task's id is taken.
    #[error("task {0} was cloned, but exists already")]
    Exists(u32),
    /// A process that enters has the id of another.
    #[error("task {0} enters, but exists already")]
    Enters(u32),
    /// No content.
    #[error("an event of task {0} says nothing")]
    Empty(u32),
}

/// Files whose descriptors an event closed.
#[derive(Default)]
pub struct Closed {
    files: Vec<Rc<File>>,
    owner: u32,
}

impl Closed {
    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Flushes and releases them. Nobody is left to tell of errors.
    pub async fn flush(self) {
        for file in self.files {
            let _ = file.closed_by(self.owner).await;
        }
    }
}

/// What a task starts with that has no parent in the sandbox: its first, and those that enter it later.
pub struct Init {
    /// Its credentials.
    pub creds: Credentials,
    /// Working directory, root and umask.
    pub fs: Rc<FsContext>,
    /// Limits by resource number.
    pub rlimits: [Rlimit64; rlimit::COUNT],
    /// Files for the descriptors from 0 on.
    pub stdio: Vec<Option<Rc<File>>>,
    /// The spec's noNewPrivileges.
    pub no_new_privs: bool,
    /// The terminal of its session.
    pub terminal: Option<Rc<Terminal>>,
}

impl Kernel {
    /// Enters the first task, with id 1.
    pub fn add_init(&self, init: Init) -> Rc<Task> {
        self.add_root(1, init)
    }

    /// Enters a process beside the first one; its tid must be free.
    pub fn enter(&self, tid: u32, init: Init) -> Result<Rc<Task>, EventError> {
        if tid == 0 || !self.is_free(tid) {
            return Err(EventError::Enters(tid));
        }
        Ok(self.add_root(tid, init))
    }

    /// Whether a new task can have this tid. The compute host's kernel gives each tid once: what a sandbox whose session is broken
    /// still has of it is out of date, and goes.
    fn is_free(&self, tid: u32) -> bool {
        match self.tasks.get(tid) {
            Some(task) if task.is_of(self) => false,
            Some(_) => {
                tracing::warn!(sandbox = %self.id, tid, "another sandbox's task of the same id is out of date: it is dropped");
                self.tasks.remove(tid);
                true
            }
            None => self.tasks.group(tid).is_none(),
        }
    }

    fn add_root(&self, tid: u32, init: Init) -> Rc<Task> {
        let fds = FdTable::new();
        for (i, file) in init.stdio.into_iter().enumerate() {
            if let Some(file) = file {
                // Number i is free in an empty table, so this can't fail.
                let _ = fds.set(Fd(i as i32), file, false, FD_MAX);
            }
        }
        let group = Rc::new(ThreadGroup {
            tgid: tid,
            parent: Cell::new(0),
            pgid: Cell::new(tid),
            sid: Cell::new(tid),
            threads: RefCell::default(),
            rlimits: RefCell::new(init.rlimits),
            exe: RefCell::default(),
            cmdline: RefCell::default(),
            environ: RefCell::default(),
            dumpable: Cell::new(true),
            subreaper: Cell::new(false),
            oom_score_adj: Cell::new(0),
            execed: Cell::new(false),
            started: Instant::now(),
            terminal: RefCell::default(),
        });
        if let Some(terminal) = init.terminal {
            terminal.control(&group);
        }
        self.tasks.add(NewTask {
            tid,
            kernel: self.this(),
            group,
            fds,
            fs: init.fs,
            creds: Rc::new(init.creds),
            comm: b"init".to_vec(),
            no_new_privs: init.no_new_privs,
        })
    }

    /// One event of the compute host, in order; the mirror is changed when this returns. The files whose last descriptor went are
    /// to be flushed for their thread group (and then dropped) before the event counts as done.
    pub fn event(&self, event: v1::TaskEvent) -> Result<Closed, EventError> {
        let tid = event.tid;
        let task = self.own_task(tid);
        match event.what.ok_or(EventError::Empty(tid))? {
            What::Cloned(c) => self.cloned(&task.ok_or(EventError::NoTask(tid))?, &c)?,
            What::Execed(e) => return self.execed(tid, e.former_tid),
            What::ExecFailed(_) => {
                if let Some(t) = task {
                    t.pending_exec.take();
                }
            }
            // Of a task that is not there: no error, a group's other threads may have gone by an exec.
            What::Exited(_) => return Ok(self.exited(tid)),
            What::NativeResult(n) => {
                if let Some(t) = task {
                    self.native_result(&t, &n);
                }
            }
        }
        Ok(Closed::default())
    }

    fn cloned(&self, parent: &Rc<Task>, c: &v1::Cloned) -> Result<(), EventError> {
        if self.tasks.get(c.child).is_some() && !self.is_free(c.child) {
            return Err(EventError::Exists(c.child));
        }
        let flags = CloneFlags::from_bits_truncate(c.flags);
        let old = parent.group();
        let group = if flags.contains(CloneFlags::CLONE_THREAD) {
            old
        } else {
            Rc::new(ThreadGroup {
                tgid: c.child,
                parent: Cell::new(if flags.contains(CloneFlags::CLONE_PARENT) { old.parent.get() } else { old.tgid }),
                pgid: old.pgid.clone(),
                sid: old.sid.clone(),
                threads: RefCell::default(),
                rlimits: old.rlimits.clone(),
                exe: old.exe.clone(),
                cmdline: old.cmdline.clone(),
                environ: old.environ.clone(),
                dumpable: old.dumpable.clone(),
                subreaper: Cell::new(false),
                oom_score_adj: old.oom_score_adj.clone(),
                execed: old.execed.clone(),
                started: Instant::now(),
                terminal: old.terminal.clone(),
            })
        };
        let fds = parent.fds.borrow();
        let fs = parent.fs.borrow();
        self.tasks.add(NewTask {
            tid: c.child,
            kernel: self.this(),
            group,
            fds: if flags.contains(CloneFlags::CLONE_FILES) { fds.clone() } else { fds.fork() },
            fs: if flags.contains(CloneFlags::CLONE_FS) { fs.clone() } else { fs.fork() },
            creds: parent.creds(),
            comm: parent.comm.borrow().clone(),
            no_new_privs: parent.no_new_privs.get(),
        });
        Ok(())
    }

    fn execed(&self, tid: u32, former: u32) -> Result<Closed, EventError> {
        let caller = if former == 0 { tid } else { former };
        let before = self.own_task(caller).ok_or(EventError::NoTask(caller))?;
        let siblings: Vec<Rc<Task>> = before.group().threads.borrow().values().filter_map(Weak::upgrade).collect();
        let task = self.tasks.exec(caller, before.group().tgid).ok_or(EventError::NoTask(caller))?;
        drop((before, siblings));
        let shared = Rc::strong_count(&task.fds.borrow()) > 1;
        if shared {
            let own = task.fds.borrow().fork();
            *task.fds.borrow_mut() = own;
        }
        let group = task.group();
        group.execed.set(true);
        if let Some(p) = task.pending_exec.take() {
            *task.creds.borrow_mut() = p.creds;
            *task.comm.borrow_mut() = p.comm;
            *group.exe.borrow_mut() = p.exe;
            *group.cmdline.borrow_mut() = p.cmdline;
            *group.environ.borrow_mut() = p.environ;
        }
        let files = task.fds.borrow().remove_range(0, usize::MAX, |cloexec| cloexec);
        Ok(Closed { files, owner: group.tgid })
    }

    fn exited(&self, tid: u32) -> Closed {
        let known = self.own_task(tid).is_some();
        let Some(task) = known.then(|| self.tasks.remove(tid)).flatten() else { return Closed::default() };
        self.left_session(&task.group());
        let fds = task.fds.borrow().clone();
        // The table itself, this clone, and no other task: the last user closes all.
        if Rc::strong_count(&fds) != 2 {
            return Closed::default();
        }
        Closed { files: fds.remove_range(0, usize::MAX, |_| true), owner: task.group().tgid }
    }

    /// With a session's leader its terminal goes: whoever is in front is told. Linux: disassociate_ctty(1).
    fn left_session(&self, group: &Rc<ThreadGroup>) {
        if group.sid.get() != group.tgid || !group.threads.borrow().is_empty() {
            return;
        }
        let Some(terminal) = group.terminal.take() else { return };
        let front = terminal.release_session(self);
        let Some(kernel) = self.this().upgrade().filter(|_| front != 0 && !self.tasks.is_empty()) else { return };
        tokio::task::spawn_local(async move {
            for signal in [sig::SIGHUP, sig::SIGCONT] {
                kernel.signal_group(front, signal).await;
            }
        });
    }

    /// Sends a signal to a process, by the compute host of the sandbox that it is in. `ESRCH`: it has ended.
    pub async fn signal_process(&self, group: &ThreadGroup, signal: u32) -> Result<(), Errno> {
        let home = group.any_thread().and_then(|task| task.kernel()).ok_or(Errno::ESRCH)?;
        home.host.send_signal(group.tgid, 0, signal).await
    }

    /// What a call that would do something to a process which is not known here comes to. The host's kernel is to judge what it knows of
    /// zombies, but not to touch processes of its own.
    pub async fn stranger(&self, pid: u32) -> Result<(), Errno> {
        if !self.host_pids {
            return Ok(());
        }
        self.host.proc_info(pid, "comm").await.map_err(|_| Errno::ESRCH)?;
        Err(Errno::EPERM)
    }

    /// Mirrors what the host's kernel did for a call that was permitted with `report`.
    fn native_result(&self, task: &Rc<Task>, n: &v1::NativeResult) {
        if n.result < 0 {
            return;
        }
        let group = task.group();
        let arg = |i: usize| n.args.get(i).copied().unwrap_or(0) as u32;
        match n.nr {
            nr::SETSID => {
                group.sid.set(group.tgid);
                group.pgid.set(group.tgid);
                group.terminal.take();
            }
            nr::SETPGID => {
                let target = if arg(0) == 0 { Some(group) } else { self.tasks.group(arg(0)) };
                if let Some(g) = target {
                    g.pgid.set(if arg(1) == 0 { g.tgid } else { arg(1) });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::TestBox;

    fn cloned(tid: u32, child: u32) -> v1::TaskEvent {
        let cloned = v1::Cloned { child, flags: 17, child_tgid: child };
        v1::TaskEvent { tid, id: 0, what: Some(What::Cloned(cloned)) }
    }

    fn exited(tid: u32) -> v1::TaskEvent {
        v1::TaskEvent { tid, id: 0, what: Some(What::Exited(v1::Exited { status: 0, last: true })) }
    }

    #[test]
    fn sandboxes_of_one_pid_namespace_see_each_other_and_touch_their_own() {
        TestBox::run(|t| async move {
            let (first, second) = (&t.kernel, t.beside(7));
            assert!(first.tasks.get(7).is_some() && first.own_task(7).is_none() && second.own_task(7).is_some());
            assert!(second.enter(7, init_of(&t)).is_err(), "taken");
            // What the first one's supervisor says of the second one's tasks is nothing, or wrong.
            assert!(first.event(exited(7)).is_ok() && second.own_task(7).is_some());
            assert!(first.event(cloned(7, 8)).is_err());
            let call = v1::Syscall { call: 1, tid: 7, nr: nr::GETPID, args: vec![0; 6], segments: Vec::new() };
            assert_eq!(TestBox::rax(&first.syscall(call).await), -3);
            // The host's kernel has given a tid anew: whoever had it is gone.
            assert!(first.event(cloned(1, 9)).is_ok() && first.event(cloned(1, 9)).is_err());
            assert!(second.event(cloned(7, 9)).is_ok());
            assert!(first.own_task(9).is_none() && second.own_task(9).is_some());
            second.close();
            assert_eq!(first.tasks.ids(), [1]);
        });
    }

    #[test]
    fn signals_go_to_the_supervisor_that_has_the_process() {
        TestBox::run(|t| async move {
            let second = t.beside(7);
            let own = t.kernel.tasks.group(1).unwrap();
            assert_eq!(second.signal_process(&own, 15).await, Ok(()));
            assert_eq!(*t.host.signals.borrow(), [(1, 0, 15)]);
            let other = t.kernel.tasks.group(7).unwrap();
            assert_eq!(t.kernel.signal_process(&other, 15).await, Ok(()));
            assert_eq!(t.host.signals.borrow().len(), 1);
        });
    }

    fn init_of(t: &TestBox) -> Init {
        let task = t.kernel.own_task(1).unwrap();
        let fs = task.fs.borrow().clone();
        Init {
            creds: Credentials::all_powerful(),
            fs,
            rlimits: *task.group().rlimits.borrow(),
            stdio: Vec::new(),
            no_new_privs: false,
            terminal: None,
        }
    }
}
