//! One processor for the supervisor and its helpers.
//!
//! They and the task whose call they carry out take turns: only one of them runs at a time. Waking the next one costs about 6 µs on
//! the same processor and 50 µs on another. The tasks themselves are not bound: the listener wakes them where their answer comes
//! from (`sys::seccomp::wake_in_place`), and those that compute are moved on by the scheduler.

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// Binds this process, and what it starts from now on, to a processor that the workload may use too: the one it is on if it may.
pub(super) fn settle(init: i32) {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(init)) else { return };
    let allows = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let here = sched_getcpu().ok().filter(allows);
    let Some(home) = here.or_else(|| (0..CpuSet::count()).find(allows)) else { return };
    let mut only = CpuSet::new();
    let bound = only.set(home).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
    // It is a matter of speed alone.
    if let Err(error) = bound {
        tracing::debug!("cannot stay on processor {home}: {error}");
    }
}
