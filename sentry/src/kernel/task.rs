//! Tasks and thread groups, mirrored from the compute host: their kernel objects live here, they run there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use rsc_proto::abi::Rlimit64;
use tokio::time::Instant;

use super::Kernel;
use super::credentials::Credentials;
use super::fd::FdTable;
use crate::tty::Terminal;
use crate::vfs::{FsContext, Location};

/// Resource numbers of getrlimit(2).
pub mod rlimit {
    /// Seconds of CPU time.
    pub const CPU: usize = 0;
    /// Largest file, bytes.
    pub const FSIZE: usize = 1;
    /// Stack, bytes.
    pub const STACK: usize = 3;
    /// Processes of the user.
    pub const NPROC: usize = 6;
    /// Descriptors.
    pub const NOFILE: usize = 7;
    /// How many resources there are.
    pub const COUNT: usize = 16;
}

/// What restart_syscall(2) goes on with.
#[derive(Clone, Debug)]
pub struct RestartBlock {
    /// The call that was interrupted.
    pub nr: u32,
    /// Its arguments.
    pub args: [u64; 6],
    /// When it was to time out, if ever.
    pub deadline: Option<Instant>,
}

/// What an execve(2) that the host's kernel is carrying out will change once it has succeeded.
pub struct PendingExec {
    /// The new credentials.
    pub creds: Rc<Credentials>,
    /// The program, for `/proc/PID/exe`.
    pub exe: Option<Location>,
    /// The new command name.
    pub comm: Vec<u8>,
    /// Arguments, for `/proc/PID/cmdline`, NUL after each.
    pub cmdline: Vec<u8>,
    /// Environment, for `/proc/PID/environ`, NUL after each.
    pub environ: Vec<u8>,
}

/// One thread.
pub struct Task {
    /// Its id as the workload sees it.
    pub tid: u32,
    kernel: Weak<Kernel>,
    group: RefCell<Rc<ThreadGroup>>,
    /// Descriptors; shared by `CLONE_FILES`.
    pub fds: RefCell<Rc<FdTable>>,
    /// Working directory, root, umask; shared by `CLONE_FS`.
    pub fs: RefCell<Rc<FsContext>>,
    /// Credentials.
    pub creds: RefCell<Rc<Credentials>>,
    /// Command name, at most 15 bytes.
    pub comm: RefCell<Vec<u8>>,
    /// prctl `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: Cell<bool>,
    /// prctl `PR_SET_KEEPCAPS`.
    pub keep_caps: Cell<bool>,
    /// For restart_syscall(2).
    pub restart: RefCell<Option<RestartBlock>>,
    /// Between the answer to execve and its event.
    pub pending_exec: RefCell<Option<PendingExec>>,
}

impl Task {
    /// The thread group.
    pub fn group(&self) -> Rc<ThreadGroup> {
        self.group.borrow().clone()
    }

    /// The sandbox that it is in; none: that has ended.
    pub fn kernel(&self) -> Option<Rc<Kernel>> {
        self.kernel.upgrade()
    }

    /// Whether it is in this sandbox.
    pub fn is_of(&self, kernel: &Kernel) -> bool {
        self.kernel.ptr_eq(&kernel.this())
    }

    /// The current credentials.
    pub fn creds(&self) -> Rc<Credentials> {
        self.creds.borrow().clone()
    }
}

/// One process.
pub struct ThreadGroup {
    /// Its id as the workload sees it.
    pub tgid: u32,
    /// The parent's id; 0 for init, and 1 for orphans.
    pub parent: Cell<u32>,
    /// Process group.
    pub pgid: Cell<u32>,
    /// Session.
    pub sid: Cell<u32>,
    /// Threads that live, by tid.
    pub threads: RefCell<BTreeMap<u32, Weak<Task>>>,
    /// Limits, by resource number.
    pub rlimits: RefCell<[Rlimit64; rlimit::COUNT]>,
    /// The program.
    pub exe: RefCell<Option<Location>>,
    /// Arguments, NUL after each.
    pub cmdline: RefCell<Vec<u8>>,
    /// Environment at exec, NUL after each.
    pub environ: RefCell<Vec<u8>>,
    /// prctl `PR_SET_DUMPABLE`.
    pub dumpable: Cell<bool>,
    /// prctl `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: Cell<bool>,
    /// oom_score_adj as the workload set it.
    pub oom_score_adj: Cell<i32>,
    /// Whether it has ever executed a program of its own.
    pub execed: Cell<bool>,
    /// When it was made.
    pub started: Instant,
    /// The controlling terminal.
    pub terminal: RefCell<Option<Rc<Terminal>>>,
}

impl ThreadGroup {
    /// The soft `RLIMIT_NOFILE`.
    pub fn nofile(&self) -> usize {
        self.limit(rlimit::NOFILE).rlim_cur.min(i32::MAX as u64) as usize
    }

    /// The limit of a resource number below `rlimit::COUNT`; unlimited beyond.
    pub fn limit(&self, resource: usize) -> Rlimit64 {
        self.rlimits.borrow().get(resource).copied().unwrap_or(Rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX })
    }

    /// The leader, or else any thread that lives.
    pub fn any_thread(&self) -> Option<Rc<Task>> {
        let threads = self.threads.borrow();
        threads.get(&self.tgid).and_then(Weak::upgrade).or_else(|| threads.values().find_map(Weak::upgrade))
    }
}

/// What a new task shares with or copies from its maker.
pub struct NewTask {
    /// Its id.
    pub tid: u32,
    /// Its sandbox.
    pub kernel: Weak<Kernel>,
    /// Its thread group; the maker's with `CLONE_THREAD`.
    pub group: Rc<ThreadGroup>,
    /// Descriptors.
    pub fds: Rc<FdTable>,
    /// Working directory and kin.
    pub fs: Rc<FsContext>,
    /// Credentials.
    pub creds: Rc<Credentials>,
    /// Command name.
    pub comm: Vec<u8>,
    /// Inherited.
    pub no_new_privs: bool,
}

/// All tasks of a namespace of processes, be they of one sandbox or of several.
#[derive(Default)]
pub struct TaskTable {
    tasks: RefCell<BTreeMap<u32, Rc<Task>>>,
    groups: RefCell<BTreeMap<u32, Rc<ThreadGroup>>>,
}

impl TaskTable {
    /// Enters a task, and its group if that is new.
    pub fn add(&self, new: NewTask) -> Rc<Task> {
        let task = Rc::new(Task {
            tid: new.tid,
            kernel: new.kernel,
            group: RefCell::new(new.group.clone()),
            fds: RefCell::new(new.fds),
            fs: RefCell::new(new.fs),
            creds: RefCell::new(new.creds),
            comm: RefCell::new(new.comm),
            no_new_privs: Cell::new(new.no_new_privs),
            keep_caps: Cell::new(false),
            restart: RefCell::default(),
            pending_exec: RefCell::default(),
        });
        new.group.threads.borrow_mut().insert(new.tid, Rc::downgrade(&task));
        self.groups.borrow_mut().insert(new.group.tgid, new.group);
        self.tasks.borrow_mut().insert(new.tid, task.clone());
        task
    }

    /// The task with this tid.
    pub fn get(&self, tid: u32) -> Option<Rc<Task>> {
        self.tasks.borrow().get(&tid).cloned()
    }

    /// The thread group with this id.
    pub fn group(&self, tgid: u32) -> Option<Rc<ThreadGroup>> {
        self.groups.borrow().get(&tgid).cloned()
    }

    /// All thread groups, by id.
    pub fn groups(&self) -> Vec<Rc<ThreadGroup>> {
        self.groups.borrow().values().cloned().collect()
    }

    /// Ids of all tasks.
    pub fn ids(&self) -> Vec<u32> {
        self.tasks.borrow().keys().copied().collect()
    }

    /// How many tasks live.
    pub fn len(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.tasks.borrow().is_empty()
    }

    /// Takes a task away, and its group with its last thread; orphans go to init.
    pub fn remove(&self, tid: u32) -> Option<Rc<Task>> {
        let task = self.tasks.borrow_mut().remove(&tid)?;
        let group = task.group();
        group.threads.borrow_mut().remove(&tid);
        if group.threads.borrow().is_empty() {
            self.groups.borrow_mut().remove(&group.tgid);
            for g in self.groups.borrow().values().filter(|g| g.parent.get() == group.tgid) {
                g.parent.set(1);
            }
        }
        Some(task)
    }

    /// After execve by a thread that was not the leader: it takes the leader's id, all other threads are gone.
    pub fn exec(&self, former: u32, tgid: u32) -> Option<Rc<Task>> {
        let old = self.tasks.borrow_mut().remove(&former)?;
        let group = old.group();
        let others: Vec<u32> = group.threads.borrow().keys().copied().collect();
        group.threads.borrow_mut().clear();
        for tid in others {
            self.tasks.borrow_mut().remove(&tid);
        }
        let task = Rc::new(Task {
            tid: tgid,
            kernel: old.kernel.clone(),
            group: RefCell::new(group.clone()),
            fds: RefCell::new(old.fds.borrow().clone()),
            fs: RefCell::new(old.fs.borrow().clone()),
            creds: RefCell::new(old.creds()),
            comm: RefCell::new(old.comm.borrow().clone()),
            no_new_privs: Cell::new(old.no_new_privs.get()),
            keep_caps: Cell::new(false),
            restart: RefCell::default(),
            pending_exec: RefCell::new(old.pending_exec.take()),
        });
        group.threads.borrow_mut().insert(tgid, Rc::downgrade(&task));
        self.tasks.borrow_mut().insert(tgid, task.clone());
        Some(task)
    }
}
