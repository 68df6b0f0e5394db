//! Programs under a tracer: launched by us, or attached to while they run. Every call stops twice, before and after
//! (`PTRACE_SYSCALL`); nothing is installed in the process, so it can be given back as it was.

mod inject;
mod park;
mod thread;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::sync::{Notify, mpsc};

use super::core::{Core, Process};
use crate::sys::ptrace::{self, CallStop, EVENT_STOP, Options, SYSCALL_STOP, Status};
use crate::sys::readiness::watch;
use thread::Thread;

/// What a thread has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Before a call, made by this way in.
    Entry(u32),
    /// After a call.
    Exit,
    /// A signal is about to be delivered.
    Signal(i32),
    /// The thread group has stopped.
    Group,
    /// Where `PTRACE_INTERRUPT` has stopped it, or a new thread's first stop.
    Interrupted,
    /// It has executed another program.
    Execed,
    /// Something that needs nothing.
    Other,
}

/// The tracer of some processes. It works on one thread: ptrace(2) belongs to threads.
pub struct Tracer {
    core: Rc<Core>,
    options: Options,
    /// Who is traced: where its stops go.
    threads: RefCell<HashMap<i32, mpsc::UnboundedSender<Stop>>>,
    processes: RefCell<HashMap<i32, Rc<Process>>>,
    /// Threads between the two stops of a call, where the kernel does not say it.
    inside: RefCell<HashSet<i32>>,
    /// The working directory there that a process begins with.
    there: Option<Vec<u8>>,
    /// Every thread is let go at its next stop.
    leaving: Cell<bool>,
    /// How processes have ended that were waited for.
    ended: RefCell<HashMap<i32, i32>>,
    changed: Notify,
    /// Processes whose next SIGCONT is ours.
    continued: RefCell<HashSet<i32>>,
    on_over: RefCell<Option<OnOver>>,
}

/// What is told of a process that has ended, with its wait(2) status.
type OnOver = Box<dyn Fn(&Process, i32)>;

/// Why a process cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such process.
    #[error("there is no process {0}")]
    Gone(i32),
    /// Not allowed.
    #[error("process {pid} is not ours to trace: {why}")]
    Refused {
        /// Which.
        pid: i32,
        /// Why, as far as it can be told.
        why: String,
    },
    /// Its calls would not be understood.
    #[error("process {0} is a 32-bit program, whose system calls are others; nothing was done to it")]
    Narrow(i32),
}

impl Tracer {
    /// A tracer that asks `core` of every call.
    pub fn new(core: Rc<Core>, options: Options, there: Option<Vec<u8>>) -> Rc<Self> {
        Rc::new(Tracer {
            core,
            options,
            threads: RefCell::default(),
            processes: RefCell::default(),
            inside: RefCell::default(),
            there,
            leaving: Cell::new(false),
            ended: RefCell::default(),
            changed: Notify::new(),
            continued: RefCell::default(),
            on_over: RefCell::default(),
        })
    }

    /// Takes over a child that has not executed its program yet: it is traced from that moment on.
    pub fn launch(self: &Rc<Self>, pid: i32) -> nix::Result<()> {
        ptrace::seize(pid, self.options)?;
        self.enter(pid, pid, None);
        Ok(())
    }

    /// Takes over a running process, all its threads.
    pub fn attach(self: &Rc<Self>, pid: i32) -> Result<(), AttachError> {
        check_width(pid)?;
        let mut found = true;
        // New ones may appear while the others are taken.
        while std::mem::take(&mut found) {
            let tids = threads_of(pid).map_err(|_| AttachError::Gone(pid))?;
            for tid in tids {
                if self.threads.borrow().contains_key(&tid) {
                    continue;
                }
                match ptrace::seize(tid, self.options) {
                    Ok(()) => {
                        found = true;
                        self.enter(tid, pid, None);
                        let _ = ptrace::interrupt(tid);
                    }
                    Err(Errno::ESRCH) if tid == pid => return Err(AttachError::Gone(pid)),
                    // A thread that has ended, or one that a traced sibling has just made.
                    Err(Errno::ESRCH) => {}
                    Err(_) if tid != pid && self.threads.borrow().contains_key(&pid) => {}
                    Err(errno) => return Err(refusal(pid, errno)),
                }
            }
        }
        Ok(())
    }

    /// Whether a process is traced.
    pub fn holds(&self, pid: i32) -> bool {
        self.processes.borrow().contains_key(&pid)
    }

    /// Ends the stop that a process was in when it was taken over. It is not told of.
    pub fn end_stop(&self, pid: i32) {
        self.continued.borrow_mut().insert(pid);
        // It may have been killed.
        let _ = crate::sys::process::kill(pid, libc::SIGCONT);
    }

    /// Whether that was just now.
    fn has_continued(&self, pid: i32) -> bool {
        self.continued.borrow_mut().remove(&pid)
    }

    /// Has this told of each process that ends, instead of keeping how it did.
    pub fn on_over(&self, told: impl Fn(&Process, i32) + 'static) {
        *self.on_over.borrow_mut() = Some(Box::new(told));
    }

    /// Begins to let every process go. With remote descriptors open their users would be left with nothing behind them.
    pub fn leave(&self) {
        self.leaving.set(true);
        for tid in self.threads.borrow().keys() {
            let _ = ptrace::interrupt(*tid);
        }
    }

    /// Whether nobody is traced.
    pub fn is_idle(&self) -> bool {
        self.threads.borrow().is_empty()
    }

    /// The processes that are traced.
    pub fn processes(&self) -> Vec<Rc<Process>> {
        self.processes.borrow().values().cloned().collect()
    }

    /// How a traced process ended, its wait(2) status.
    pub fn status_of(&self, pid: i32) -> Option<i32> {
        self.ended.borrow().get(&pid).copied()
    }

    /// Waits until threads have come or gone.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Serves all tracees, until it is dropped.
    pub async fn drive(self: &Rc<Self>) -> io::Result<()> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
        let children = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let wakes = watch(children.as_fd().try_clone_to_owned()?)?;
        loop {
            self.take_stops();
            let mut ready = wakes.readable().await?;
            while let Ok(Some(_)) = children.read_signal() {}
            ready.clear_ready();
        }
    }

    fn take_stops(self: &Rc<Self>) {
        loop {
            match ptrace::wait_any() {
                Ok(Some((tid, Status::Ended(status)))) => self.on_ended(tid, status),
                Ok(Some((tid, Status::Stopped { signal, event }))) => self.on_stop(tid, signal, event),
                Ok(None) | Err(Errno::ECHILD) => return,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    tracing::warn!("cannot wait for tracees: {errno}");
                    return;
                }
            }
        }
    }

    fn on_stop(self: &Rc<Self>, tid: i32, signal: i32, event: i32) {
        if !self.threads.borrow().contains_key(&tid) {
            // A new thread or child, traced from its first moment.
            let (tgid, parent) = kin_of(tid);
            self.enter(tid, tgid, Some(parent));
        }
        let stop = match event {
            0 if signal == SYSCALL_STOP => {
                let told = ptrace::call_stop(tid).and_then(|told| told.map_or_else(|| self.by_turns(tid), Ok));
                match told {
                    Ok(CallStop::Entry { arch }) => Stop::Entry(arch),
                    Ok(CallStop::Exit) => Stop::Exit,
                    Ok(CallStop::None) => Stop::Other,
                    // Killed: its end will be told.
                    Err(ptrace::Gone) => return,
                }
            }
            0 => Stop::Signal(signal),
            libc::PTRACE_EVENT_EXEC => {
                let former = ptrace::event_message(tid).map_or(tid, |tid| tid as i32);
                if former != tid {
                    // Another thread than the leader: it has the leader's place and name now.
                    self.forget(former, 0);
                }
                Stop::Execed
            }
            EVENT_STOP => match signal {
                libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Stop::Group,
                _ => Stop::Interrupted,
            },
            _ => Stop::Other,
        };
        if let Some(stops) = self.threads.borrow().get(&tid) {
            // One whose thread is on its way out needs nothing.
            let _ = stops.send(stop);
        }
    }

    /// Where in a call a thread has stopped, by what the stop before was: for kernels that cannot say it (User-Mode Linux).
    fn by_turns(&self, tid: i32) -> Result<CallStop, ptrace::Gone> {
        let mut inside = self.inside.borrow_mut();
        if inside.remove(&tid) {
            return Ok(CallStop::Exit);
        }
        let regs = ptrace::registers(tid)?;
        // What the kernel writes there before a call. Else it was attached to within one.
        if regs.rax as i64 != -i64::from(libc::ENOSYS) {
            return Ok(CallStop::Exit);
        }
        inside.insert(tid);
        Ok(CallStop::Entry { arch: thread::AUDIT_ARCH_X86_64 })
    }

    fn enter(self: &Rc<Self>, tid: i32, tgid: i32, parent: Option<i32>) {
        let process = {
            let mut processes = self.processes.borrow_mut();
            match processes.get(&tgid) {
                Some(process) => Rc::clone(process),
                None => {
                    let process = match parent.and_then(|parent| processes.get(&parent)) {
                        Some(parent) => parent.fork(tgid),
                        None => Process::new(tgid, self.there.clone()),
                    };
                    processes.insert(tgid, Rc::clone(&process));
                    process
                }
            }
        };
        let (sender, stops) = mpsc::unbounded_channel();
        self.threads.borrow_mut().insert(tid, sender);
        let thread = Thread::new(Rc::clone(self), tid, process, stops);
        tokio::task::spawn_local(thread.live());
        self.changed.notify_one();
    }

    fn on_ended(&self, tid: i32, status: i32) {
        // A leader is told of last, and stays a zombie until its parent has heard of it.
        let over = self.processes.borrow_mut().remove(&tid);
        self.forget(tid, status);
        match (over, &*self.on_over.borrow()) {
            (Some(process), Some(told)) => {
                self.continued.borrow_mut().remove(&tid);
                told(&process, status);
            }
            (Some(_), None) => {
                self.ended.borrow_mut().insert(tid, status);
            }
            (None, _) => {}
        }
    }

    /// A thread is not traced any more.
    fn forget(&self, tid: i32, status: i32) {
        // Its future ends with its channel.
        self.inside.borrow_mut().remove(&tid);
        self.threads.borrow_mut().remove(&tid);
        self.core.client().ended(tid, status);
        if threads_of(tid).is_err() {
            self.processes.borrow_mut().remove(&tid);
        }
        self.changed.notify_one();
    }
}

fn threads_of(pid: i32) -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// A thread's process, and that one's parent.
fn kin_of(tid: i32) -> (i32, i32) {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    (field("Tgid:").unwrap_or(tid), field("PPid:").unwrap_or(0))
}

/// A 32-bit program has other calls.
fn check_width(pid: i32) -> Result<(), AttachError> {
    let mut head = [0; 5];
    let program = format!("/proc/{pid}/exe");
    match std::fs::File::open(&program).and_then(|mut file| io::Read::read_exact(&mut file, &mut head)) {
        Ok(()) if head.starts_with(b"\x7fELF") && head.last() == Some(&1) => Err(AttachError::Narrow(pid)),
        // What may not be looked at may not be traced either, and that says why.
        _ => Ok(()),
    }
}

fn refusal(pid: i32, errno: Errno) -> AttachError {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let why = match field("TracerPid:") {
        tracer if !matches!(tracer, "" | "0") => format!("process {tracer} traces it already"),
        _ if field("State:").starts_with('Z') => "it has ended".to_owned(),
        _ => {
            let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
            match scope.trim() {
                "" | "0" => format!("{errno}; is it another user's, or does it run with privileges?"),
                scope => format!("{errno}; the host's kernel.yama.ptrace_scope is {scope}"),
            }
        }
    };
    AttachError::Refused { pid, why }
}
