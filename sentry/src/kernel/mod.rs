//! The kernel of one sandbox. Its entrance is [`Kernel::syscall`]: *this task made this call, here is a window onto its memory;
//! answer, or suspend until you can*. It never knows whether it runs behind gRPC or inside a supervisor.
//!
//! Everything is on one thread. No `RefCell` borrow is held across an `await` (a lint sees to it), so there is no lock order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use rsc_proto::abi::{Errno, sig};
use rsc_proto::table::{self, Support};
use rsc_proto::v1::{self, answer};
use tokio::time::Instant;

pub mod credentials;
pub mod cx;
pub mod fd;
pub mod file;
pub mod host;
pub mod lifecycle;
pub mod memory;
pub mod seccomp;
pub mod stats;
pub mod stdio;
pub mod task;
pub mod wait;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub mod testing;

use crate::error::SysError;
use crate::ipc::limits::Limits;
use crate::net::NetStack;
use crate::syscalls::{self, Outcome};
use crate::tty::Terminal;
use crate::vfs::{Location, Vfs};
use cx::Cx;
use file::{Fut, ready};
use host::ComputeHost;
use memory::UserMemory;
use stats::Stats;
use task::{Task, TaskTable};
use wait::Wakeup;

/// Names that uname(2) shows and sethostname(2) changes.
#[derive(Clone, Debug)]
pub struct UtsNames {
    /// The node's name.
    pub nodename: String,
    /// The NIS domain name.
    pub domainname: String,
}

impl UtsNames {
    /// A namespace of names.
    pub fn shared(nodename: &str, domainname: &str) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { nodename: nodename.into(), domainname: domainname.into() }))
    }
}

/// See the module's text.
pub struct Kernel {
    /// The container's id, for logs.
    pub id: String,
    /// The other side.
    pub host: Rc<dyn ComputeHost>,
    /// What the workload may see of the compute host.
    pub facts: v1::HostFacts,
    /// Tasks and thread groups: its own, and those of other sandboxes in the same namespace of processes.
    pub tasks: Rc<TaskTable>,
    /// Host and domain name.
    pub uts: Rc<RefCell<UtsNames>>,
    /// Mounts and file systems.
    pub vfs: Rc<Vfs>,
    /// Sockets' namespace.
    pub net: Rc<NetStack>,
    /// How much of each kind of object it may have.
    pub limits: Limits,
    /// The container's filter, which all tasks have.
    pub seccomp: Option<seccomp::Profile>,
    /// Processes that no sandbox knows are in sight (and out of reach): its pid namespace is the compute host's.
    pub host_pids: bool,
    /// Counters.
    pub stats: Stats,
    /// When the sandbox was made.
    pub started: Instant,
    /// PATH of the spec's environment, with which the first program is looked up.
    pub path: RefCell<Option<Vec<u8>>>,
    /// The next pipe's, socket's or anonymous file's inode number.
    pub next_ino: Cell<u64>,
    /// It is being taken apart: nobody is left to be told of anything.
    pub closing: Cell<bool>,
    /// Terminals of the compute host, by the number of the first descriptor that came with them.
    pub consoles: RefCell<BTreeMap<u32, Weak<Terminal>>>,
    /// Where the files were opened that tasks have mapped, by `FileSource.file`.
    mapped: RefCell<BTreeMap<u64, Location>>,
    /// Calls in flight, to be interrupted.
    in_flight: RefCell<BTreeMap<u64, Rc<Wakeup>>>,
    this: Weak<Kernel>,
}

/// What a kernel is made of.
pub struct KernelParts {
    /// The container's id.
    pub id: String,
    /// The other side.
    pub host: Rc<dyn ComputeHost>,
    /// What the workload may see of the compute host.
    pub facts: v1::HostFacts,
    /// The namespace of processes.
    pub tasks: Rc<TaskTable>,
    /// The namespace of host and domain name.
    pub uts: Rc<RefCell<UtsNames>>,
    /// Mounts and file systems.
    pub vfs: Rc<Vfs>,
    /// Sockets' namespace.
    pub net: Rc<NetStack>,
    /// The container's filter.
    pub seccomp: Option<seccomp::Profile>,
    /// Its pid namespace is the compute host's.
    pub host_pids: bool,
}

impl Kernel {
    /// A kernel without tasks.
    pub fn new(parts: KernelParts) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            id: parts.id,
            host: parts.host,
            facts: parts.facts,
            tasks: parts.tasks,
            uts: parts.uts,
            vfs: parts.vfs,
            net: parts.net,
            limits: Limits::default(),
            seccomp: parts.seccomp,
            host_pids: parts.host_pids,
            stats: Stats::default(),
            started: Instant::now(),
            path: RefCell::default(),
            next_ino: Cell::new(1),
            closing: Cell::new(false),
            consoles: RefCell::default(),
            mapped: RefCell::default(),
            in_flight: RefCell::default(),
            this: this.clone(),
        })
    }

    /// A new inode number for an anonymous object.
    pub fn new_ino(&self) -> u64 {
        self.next_ino.replace(self.next_ino.get() + 1)
    }

    /// Carries out one call. Never fails: whatever is wrong with the call is its answer. The call can be interrupted from when
    /// this returns, before the future is polled.
    pub fn syscall(self: &Rc<Self>, call: v1::Syscall) -> Fut<'static, v1::Answer> {
        let id = call.call;
        let answer = |outcome| -> Fut<'static, _> {
            ready(v1::Answer { call: id, outcome: Some(outcome), ..Default::default() })
        };
        let refused = |e: Errno| answer(answer::Outcome::Result(e.to_result()));
        let Ok(args) = <[u64; 6]>::try_from(call.args) else { return refused(Errno::EINVAL) };
        let Some(task) = self.own_task(call.tid) else { return refused(Errno::ESRCH) };
        self.stats.calls.count(call.nr);
        // As in Linux before anything else is looked at.
        if let Some(denied) = self.seccomp_check(call.nr, &args) {
            return answer(denied);
        }
        let interrupt = Wakeup::new();
        self.in_flight.borrow_mut().insert(id, interrupt.clone());
        let cx = Rc::new(Cx {
            kernel: self.clone(),
            task,
            mem: UserMemory::new(self.host.clone(), call.tid, call.segments),
            call: id,
            nr: call.nr,
            args,
            interrupt,
            signal: Cell::new(0),
        });
        Box::pin(Self::run(cx))
    }

    async fn run(cx: Rc<Cx>) -> v1::Answer {
        let started = std::time::Instant::now();
        let result = match syscalls::dispatch(cx.clone()) {
            Some(handler) => handler.await,
            // No handler, but the table lists it as native: strict placement asks, and this is the permission.
            None if table::native_permitted(cx.nr, &cx.args, false) => Ok(Outcome::Native { report: false }),
            None => Err(cx.kernel.without_handler(&cx).into()),
        };
        cx.kernel.in_flight.borrow_mut().remove(&cx.call);
        let outcome = match result {
            Ok(Outcome::Value(v)) => answer::Outcome::Result(v as i64),
            Ok(Outcome::Native { report }) => answer::Outcome::Native(v1::Native { report }),
            Ok(Outcome::Exec(e)) => answer::Outcome::Exec(*e),
            Ok(Outcome::Map(m)) => answer::Outcome::Map(*m),
            Err(SysError::Errno(e)) => answer::Outcome::Result(e.to_result()),
            Err(SysError::Restart(r)) => answer::Outcome::Result(r.to_result()),
        };
        v1::Answer {
            call: cx.call,
            out: cx.mem.take_output(),
            signal: cx.signal.get(),
            outcome: Some(outcome),
            server_ns: started.elapsed().as_nanos() as u64,
        }
    }

    /// The errno of a call that has no handler: the table's, or `ENOSYS`; counted, and logged once a number, unless Linux too refuses it.
    fn without_handler(&self, cx: &Cx) -> Errno {
        let nr = cx.nr;
        let name = table::name(nr);
        match table::lookup(nr).map(|call| (&call.support, call.native.is_empty() && call.permitted.is_empty())) {
            Some((Support::Refused(errno, _), _)) if *errno != Errno::ENOSYS => *errno,
            Some((Support::Full | Support::Partial(_), false)) => self.unlisted(cx),
            _ => {
                if self.stats.unimplemented.count(nr) == 1 {
                    tracing::warn!(sandbox = %self.id, nr, %name, "system call is not implemented: the workload got ENOSYS");
                }
                Errno::ENOSYS
            }
        }
    }

    /// The errno of a call that the table has as native, but not with these arguments. Counted, and logged once a number.
    pub fn unlisted(&self, cx: &Cx) -> Errno {
        let errno = syscalls::sched::unlisted_errno(cx);
        if self.stats.unlisted.count(cx.nr) == 1 {
            let (name, args) = (table::name(cx.nr), cx.args);
            tracing::warn!(sandbox = %self.id, nr = cx.nr, %name, ?args, "not supported with these arguments: the workload got {errno:?}");
        }
        errno
    }

    /// Asks a call in flight to stop. Without effect on one that has been answered.
    pub fn interrupt(&self, call: u64) {
        if let Some(i) = self.in_flight.borrow().get(&call) {
            i.wake();
        }
    }

    /// A signal that the terminal of descriptor `index` has sent on the compute host.
    pub async fn terminal_signal(&self, index: u32, signal: u32) {
        let console = self.consoles.borrow().get(&index).and_then(Weak::upgrade);
        match (console, signal) {
            (Some(console), sig::SIGHUP) => console.hang_up(self).await,
            (Some(console), sig::SIGINT | sig::SIGQUIT | sig::SIGTSTP | sig::SIGWINCH) => {
                console.signal_foreground(self, signal).await;
            }
            _ => {}
        }
    }

    /// A file was mapped or executed: `/proc/PID/maps` will show it by this name.
    pub fn name_mapping(&self, file: u64, at: &Location) {
        self.mapped.borrow_mut().insert(file, at.clone());
    }

    /// Whether some process runs this file as its program: nobody may open it for writing. Linux: deny_write_access().
    pub fn executes(&self, dev: u64, ino: u64) -> bool {
        self.tasks.groups().iter().any(|group| {
            group.any_thread().is_some_and(|task| task.is_of(self))
                && group.exe.borrow().as_ref().is_some_and(|at| {
                    let attr = at.inode().attr();
                    (attr.dev, attr.ino) == (dev, ino)
                })
        })
    }

    /// The path that `/proc/PID/maps` shows for a mapped file; empty if it is not known.
    pub fn mapped_path(&self, file: u64, viewer: &Task) -> String {
        let Some(at) = self.mapped.borrow().get(&file).cloned() else { return String::new() };
        let root = viewer.fs.borrow().root();
        String::from_utf8_lossy(&self.vfs.display_path(&at, &root)).into_owned()
    }

    /// Time since the compute host booted.
    pub fn uptime(&self) -> std::time::Duration {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(std::time::Duration::from_nanos(self.facts.boot_time_ns))
    }

    /// Ends all: tasks, and with them descriptors and files.
    pub fn close(&self) {
        self.closing.set(true);
        for task in self.own_tasks() {
            self.tasks.remove(task.tid);
        }
        self.mapped.take();
        self.vfs.shutdown();
    }

    /// The task with this tid, if it is one of this sandbox.
    pub fn own_task(&self, tid: u32) -> Option<Rc<Task>> {
        self.tasks.get(tid).filter(|task| task.is_of(self))
    }

    /// The tasks of this sandbox.
    pub fn own_tasks(&self) -> Vec<Rc<Task>> {
        let all = self.tasks.ids().into_iter();
        all.filter_map(|tid| self.own_task(tid)).collect()
    }

    /// Calls that have not been answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.borrow().len()
    }

    /// This kernel, for objects that outlive a borrow of it.
    pub fn this(&self) -> Weak<Kernel> {
        self.this.clone()
    }
}
