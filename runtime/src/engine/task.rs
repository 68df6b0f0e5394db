//! A task and the states it can be in.

use super::{
    exec::{ExecPlan, Loading},
    map::Mapping,
};
use crate::sys::ptrace::Registers;
use rsc_proto::{
    table::marshal::OutRanges,
    v1::{Answer, Segment},
};
use std::{os::fd::OwnedFd, rc::Rc, time::Instant};

/// A thread of the workload, by whatever the tracer needs to know of it.
#[derive(Debug)]
pub(super) struct Task {
    /// Host tid.
    pub(super) tid: i32,
    /// Host tgid.
    pub(super) tgid: i32,
    /// As the workload sees it.
    pub(super) name: u32,
    /// Its thread group, as the workload sees it.
    pub(super) group: u32,
    pub(super) state: State,
    /// The call that the sentry works on.
    pub(super) call: Option<Call>,
    /// In a group stop, whatever its state; nothing can be asked of it until it leaves.
    pub(super) group_stopped: bool,
    /// The next `restart_syscall` goes on with what the sentry began, and may write what that call may.
    pub(super) restarts: Option<OutRanges>,
    /// The sentry knows that it has ended.
    pub(super) exit_told: bool,
    /// Of its filter, which children inherit.
    pub(super) listener: Rc<OwnedFd>,
}

impl Task {
    pub(super) fn new(tid: i32, tgid: i32, name: u32, group: u32, state: State, listener: Rc<OwnedFd>) -> Task {
        Task {
            tid,
            tgid,
            name,
            group,
            state,
            call: None,
            group_stopped: false,
            restarts: None,
            exit_told: false,
            listener,
        }
    }
}

/// A logical call in flight.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) nr: u32,
    pub(super) args: [u64; 6],
    /// The registers at its trap; for a notification known only once the tracer has stopped the task.
    pub(super) regs: Option<Registers>,
    pub(super) out: OutRanges,
    /// Its input, when calls are recorded.
    pub(super) input: Vec<Segment>,
    pub(super) started: Instant,
    /// The address of an empty string in the task's memory, for `execveat`.
    pub(super) empty_string: u64,
    pub(super) interrupted: bool,
    /// Came while the task could not take it.
    pub(super) answer: Option<Answer>,
}

/// What a child goes on with once it is clean.
#[derive(Debug)]
pub(super) struct Cleaning {
    pub(super) regs: Registers,
    pub(super) mask: u64,
}

/// What a task does. The call in flight is apart, because it outlives states.
#[derive(Debug)]
pub(super) enum State {
    /// Auto-attached; its first stop or its parent's event is awaited.
    New,
    /// Held at the loader's first instruction until the container starts.
    Held,
    /// In user code, or in a call that the filter let through.
    Running,
    /// At a trap's stop; deaf to signals, so only for a moment.
    Trapped,
    /// Waits in a notification, which only its answer or a fatal signal ends; only for a moment.
    Notified {
        /// The notification.
        id: u64,
    },
    /// On the way from a notification to a park: its stop is awaited.
    Leaving,
    /// In native `pause` or `ppoll`, or about to be.
    Parked {
        /// A stop was asked for, to inject an answer.
        asked: bool,
    },
    /// At a delivery stop until the sentry has answered the call's interruption.
    Delivering {
        /// The signal.
        signal: i32,
    },
    /// About to make the call of its kept answer again, so that the tracer can rewrite it.
    Reissued,
    /// In a call that the sentry, or the supervisor itself, has let run.
    Native {
        /// Its result is told.
        report: Option<(u32, [u64; 6])>,
        /// How many mappings had begun before it.
        mappings: u64,
    },
    /// The filter is about to give it SIGSYS, in place of the call with these registers.
    Forbidden(Box<Registers>),
    /// A new child that may have inherited a transient descriptor closes it before it runs.
    Cleaning(Box<Cleaning>),
    /// A descriptor is added, mapped and closed.
    Mapping(Box<Mapping>),
    /// The kernel executes the loader.
    Executing(Box<ExecPlan>),
    /// The loader works off its script.
    Loading(Box<Loading>),
    /// At its exit stop.
    Exiting,
}
