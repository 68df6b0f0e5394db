//! The engine: the state of each task of a workload, and what every stop, notification, answer and request does to it.
//!
//! It is a plain state machine on one thread. It never waits: [`drive`] tells it of stops and notifications, the session's client
//! of answers, and it resumes tasks and sends frames through [`Upstream`]. It holds what the design promises: an answer writes only
//! where its call allows, runs natively only what the table lists, and a call belongs to its task until the task has its result.

mod answer;
mod calls;
mod drive;
mod exec;
mod image;
mod join;
mod map;
pub(crate) mod memory;
mod observe;
pub(crate) mod procfs;
mod reverse;
mod signals;
mod sigsys;
mod stack;
mod stops;
mod strangers;
mod task;

pub(crate) use calls::{args_of, reissue, set_args, with_call};
pub use drive::{drive, listen};
pub use observe::{CallRecord, Column, Counters, Observer, Outcome};
pub use procfs::name_of;

use crate::{jail::loader::TRANSIENT_FDS, platform::Attached, sys::ptrace};
use join::Joining;
use rsc_proto::v1::{self, up};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant},
};
use task::{State, Task};
use tokio::sync::Notify;

/// Where frames for the sentry go. Must not call back into the engine.
pub trait Upstream {
    /// Queues a frame behind all before it.
    fn send(&mut self, body: up::Body);
}

/// Opens the files that answers name.
pub trait FileSources {
    /// A descriptor to map the file with: readable, and `writable` only when a shared writable mapping was granted.
    fn open(&mut self, source: &v1::FileSource, writable: bool) -> io::Result<OwnedFd>;
}

/// What ends a sandbox whose session is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The workload is killed.
    Kill,
    /// Every task is held until the workload is killed.
    Freeze,
}

/// How an engine behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// A call that is not answered within this time is parked, so that signals reach its task. Long enough that a loaded sentry's
    /// quick answers do not cost a park, short enough that nobody notices a signal that comes late.
    pub park_after: Duration,
    /// Keep what the observer needs to print calls: their input.
    pub record: bool,
    /// The workload's pid namespace has other processes in it: it may see them, and do nothing to them.
    pub strangers: bool,
    /// The program to start: `argv[0]`.
    pub program: Vec<u8>,
    /// Directories to look for it in when it has no slash: `PATH`, separated by colons.
    pub path: Vec<u8>,
    /// Names in `/proc/PID/ns` of the namespaces which are the host's for the workload.
    pub host_namespaces: Vec<&'static str>,
}

impl Options {
    /// For a program and its environment.
    pub fn new(program: &[u8], env: &[impl AsRef<[u8]>]) -> Options {
        let path = env.iter().find_map(|entry| entry.as_ref().strip_prefix(b"PATH="));
        Options {
            park_after: Duration::from_millis(4),
            record: false,
            strangers: false,
            program: program.to_vec(),
            path: path.unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").to_vec(),
            host_namespaces: Vec::new(),
        }
    }
}

/// The program that a process begins with, while it has not been executed.
#[derive(Debug, Default)]
struct Starting {
    /// What the attempts came to so far.
    errno: Option<i32>,
}

/// The heart of the supervisor. See the module.
pub struct Engine {
    upstream: Box<dyn Upstream>,
    files: Box<dyn FileSources>,
    observer: Box<dyn Observer>,
    options: Options,
    /// Of init's filter.
    listener: Rc<OwnedFd>,
    /// Parks in `pause` pass the filter.
    native_pause: bool,
    init: i32,
    /// By host tid.
    tasks: HashMap<i32, Task>,
    /// Host tids by the workload's.
    names: HashMap<u32, i32>,
    /// Children that stopped before their parent's event, with the stop's signal.
    embryos: HashMap<i32, i32>,
    /// Tasks by their calls in flight.
    calls: HashMap<u64, i32>,
    /// Tasks held in their exit stop by the event that the sentry has yet to acknowledge.
    exits: HashMap<u64, i32>,
    /// When calls are to be parked, in order.
    parks: VecDeque<(Instant, i32, u64)>,
    /// Tells whoever drives the engine that there is a deadline where there was none.
    deadlines: Rc<Notify>,
    /// Numbers for transient descriptors that are free.
    slots: HashSet<u32>,
    /// Mappings that have begun.
    mappings: u64,
    /// Children to be cleaned at their first stop.
    unclean: HashSet<i32>,
    next_call: u64,
    next_event: u64,
    /// Processes that are about to execute their first program, by host tid.
    starting: HashMap<i32, Starting>,
    /// Processes on their way into the workload.
    joining: HashMap<i32, Joining>,
    /// Those that are in it, and have ended when this is told.
    roots: HashSet<i32>,
    /// Exits are not held for the sentry any more.
    released: bool,
    frozen: bool,
    /// Stops that came while everything is frozen.
    frozen_stops: Vec<i32>,
    /// Signals that were sent again to their tasks, and what they said the first time.
    put_off: HashMap<(i32, i32), ptrace::SignalInfo>,
    ended: Option<i32>,
    counters: Counters,
}

impl Engine {
    /// For a workload whose init is held in the loader.
    pub fn new(
        attached: Attached,
        options: Options,
        upstream: Box<dyn Upstream>,
        files: Box<dyn FileSources>,
        observer: Box<dyn Observer>,
    ) -> Engine {
        let listener = Rc::new(attached.listener);
        // One that has ended meanwhile needs no name.
        let name = name_of(attached.init).unwrap_or(1);
        let init = Task::new(attached.init, attached.init, name, name, State::Held, Rc::clone(&listener));
        Engine {
            upstream,
            files,
            observer,
            options,
            listener,
            native_pause: attached.native_pause,
            init: attached.init,
            tasks: [(attached.init, init)].into(),
            names: [(name, attached.init)].into(),
            embryos: HashMap::new(),
            calls: HashMap::new(),
            exits: HashMap::new(),
            parks: VecDeque::new(),
            deadlines: Rc::default(),
            slots: TRANSIENT_FDS.collect(),
            mappings: 0,
            unclean: HashSet::new(),
            next_call: 1,
            next_event: 1,
            starting: HashMap::new(),
            joining: HashMap::new(),
            roots: HashSet::new(),
            released: false,
            frozen: false,
            frozen_stops: Vec::new(),
            ended: None,
            put_off: HashMap::new(),
            counters: Counters::default(),
        }
    }

    /// Host pid of the workload's init.
    pub fn init(&self) -> i32 {
        self.init
    }

    /// Init's wait(2) status once the whole workload has ended and is reaped.
    pub fn ended(&self) -> Option<i32> {
        self.ended.filter(|_| self.tasks.is_empty())
    }

    /// What was done so far, by call and column.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The host tids of all tasks.
    pub fn tids(&self) -> impl Iterator<Item = i32> {
        self.tasks.keys().copied()
    }

    /// When [`Engine::on_timer`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.parks.front().map(|(at, _, _)| *at)
    }

    /// Exits are no longer told before they are seen: for `kill KILL`, `delete --force`, and a session that is lost.
    pub fn release_exits(&mut self) {
        self.released = true;
        for (_, tid) in std::mem::take(&mut self.exits) {
            self.resume(tid, crate::sys::ptrace::Resume::Continue, 0);
        }
    }

    /// Kills the whole workload, whatever state it is in.
    pub fn kill(&mut self) {
        self.release_exits();
        // Where init is not the first in its namespace, its end is nobody else's.
        let groups: HashSet<i32> = self.tasks.values().map(|task| task.tgid).chain([self.init]).collect();
        for group in groups {
            let _ = crate::sys::process::kill(group, libc::SIGKILL);
        }
    }

    /// The session is gone for good.
    pub fn lose(&mut self, loss: Loss) {
        // Nobody is there to acknowledge exits, and a zombie that is held would keep its parent waiting.
        self.release_exits();
        match loss {
            Loss::Kill => self.kill(),
            Loss::Freeze => {
                self.frozen = true;
                for tid in self.tasks.keys() {
                    let _ = crate::sys::ptrace::interrupt(*tid);
                }
            }
        }
    }

    fn event(&mut self, tid: u32, id: u64, what: v1::task_event::What) {
        self.upstream.send(up::Body::Event(v1::TaskEvent { tid, id, what: Some(what) }));
    }
}
