//! `events`: what a container uses, once or again and again, and when it ran out of memory. One line of JSON each, as runc's.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rsc_oci::state::StateError;
use rsc_oci::{ProcessId, Record, Status, Store, cgroups, signal};
use serde_json::json;

use super::LifecycleError;

/// Prints one line of statistics.
pub fn once(store: &Store, id: &str) -> Result<(), LifecycleError> {
    let (record, _) = running(store, id)?;
    print_stats(&record)
}

/// Prints statistics every `interval`, and each lack of memory, until the container ends or nobody reads any more.
pub fn watch(store: &Store, id: &str, interval: Duration) -> Result<(), LifecycleError> {
    if interval.is_zero() {
        return Err(LifecycleError::Refused("duration interval must be greater than 0".to_owned()));
    }
    let (record, init) = running(store, id)?;
    let end = signal::pidfd_open(init.pid).map_err(LifecycleError::io("watching", "the container's init"))?;
    let memory = cgroups::oom_source(&record.leaves).ok().flatten();
    let mut killed = memory.as_ref().map_or(0, cgroups::OomSource::count);
    let mut next = Instant::now();
    while init.is_alive() {
        let now = Instant::now();
        if now >= next {
            print_stats(&record)?;
            next = now + interval;
        }
        let mut fds = vec![PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        fds.extend(memory.iter().map(|memory| PollFd::new(memory.watched.as_fd(), PollFlags::POLLPRI)));
        // What is not told by an event is seen by looking now and then.
        let patience = next.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
        match poll(&mut fds, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(LifecycleError::io("watching", "the container")(errno)),
        }
        let count = memory.as_ref().map_or(0, cgroups::OomSource::count);
        for _ in killed..count.min(killed + 1000) {
            print(&json!({"type": "oom", "id": record.id.as_str()}))?;
        }
        killed = count;
    }
    Ok(())
}

fn running(store: &Store, id: &str) -> Result<(Record, ProcessId), LifecycleError> {
    let record = store.entry(id)?.load()?.ok_or_else(|| StateError::NotFound(id.to_owned()))?;
    match (record.status(), record.init) {
        (Status::Created | Status::Running | Status::Paused, Some(init)) => Ok((record, init)),
        _ => Err(LifecycleError::Ended(record.id)),
    }
}

fn print_stats(record: &Record) -> Result<(), LifecycleError> {
    print(&json!({"type": "stats", "id": record.id.as_str(), "data": cgroups::stats(&record.leaves)}))
}

fn print(line: &serde_json::Value) -> Result<(), LifecycleError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(LifecycleError::io("writing", "events"))
}
