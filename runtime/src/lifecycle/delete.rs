//! `delete`: removes all that exists for a container, however far it came: processes, cgroups, socket, state.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rsc_oci::process::Life;
use rsc_oci::state::{Locked, StateError};
use rsc_oci::{ProcessId, Record, Status, Store, cgroups, hooks, signal};

use super::{LifecycleError, neighbours};

/// The supervisor may take this long to tell the sentry of the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// A process that was killed has ended after this time, or never will.
const KILLED: Duration = Duration::from_secs(10);

/// Deletes the container `id`. Forced, one that runs is killed first, and one that does not exist is no error.
pub fn delete(store: &Store, id: &str, force: bool) -> Result<(), LifecycleError> {
    let locked = match store.entry(id).and_then(rsc_oci::state::Entry::lock) {
        Err(StateError::NotFound(_)) if force => return Ok(()),
        other => other?,
    };
    let record = match locked.load() {
        Ok(record) => record,
        // What the record named can't be known any more; the folder at least can go.
        Err(StateError::Damaged { .. }) if force => None,
        Err(error) => return Err(error.into()),
    };
    let Some(record) = record else { return Ok(locked.remove()?) };
    match record.status() {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        status => return Err(LifecycleError::NotStopped(record.id, status)),
    }
    destroy(locked, &record)
}

/// Removes all that `record` names, and the container's folder.
pub fn destroy(locked: Locked, record: &Record) -> Result<(), LifecycleError> {
    if let Some(init) = record.init {
        if cgroups::is_frozen(&record.leaves) {
            // What is frozen does not even die. The signal comes first, so that nothing runs on.
            init.kill_hard().map_err(LifecycleError::io("killing", format!("process {}", init.pid)))?;
            cgroups::thaw(&record.leaves)?;
        }
        // With its tracer in the way it would not end; and a dead tracer takes all that it traces along.
        if let (Err(_), Some(supervisor)) = (end(init, FAREWELL), record.supervisor) {
            tracing::warn!("the supervisor of container {} is in the way; it is killed", record.id);
            end(supervisor, KILLED)?;
        }
        end(init, KILLED)?;
    }
    for process in cgroups::processes(&record.leaves) {
        end(process, KILLED)?;
    }
    if let Some(supervisor) = record.supervisor {
        // It ends by itself once it has told everybody; one that hangs is made to.
        if !wait(supervisor, FAREWELL) {
            end(supervisor, KILLED)?;
        }
    }
    for helper in &record.helpers {
        end(*helper, KILLED)?;
    }
    if let Some(sentry) = record.sentry {
        match neighbours::others_at(&locked, record).first() {
            // It goes on without this container, and where it is accounted from now on is with another one.
            Some(other) => record.beside.move_to(&other.beside),
            None => end(sentry, KILLED)?,
        }
    }
    record.beside.remove()?;
    if let Some(unit) = &record.unit {
        unit.stop()?;
    }
    cgroups::remove(&record.cgroups)?;
    locked.remove()?;
    if let Err(error) = hooks::run(record, hooks::Moment::Poststop) {
        // Nothing is left that could be kept from being deleted.
        tracing::warn!("container {}: {error}", record.id);
    }
    Ok(())
}

/// Kills a process and waits until it has ended.
fn end(process: ProcessId, patience: Duration) -> Result<(), LifecycleError> {
    if process.life() == Life::Alive {
        process.kill_hard().map_err(LifecycleError::io("killing", format!("process {}", process.pid)))?;
    }
    if wait(process, patience) {
        return Ok(());
    }
    let stuck = std::io::Error::other(format!("it was killed {} s ago and is still there", patience.as_secs()));
    Err(LifecycleError::io("waiting for the end of", format!("process {}", process.pid))(stuck))
}

/// Waits until a process has ended, a bounded time; reaps it when it is our child.
pub(crate) fn wait(process: ProcessId, patience: Duration) -> bool {
    let ended = match signal::pidfd_open(process.pid) {
        Ok(fd) if process.is_alive() => readable(&fd, patience),
        _ => !process.is_alive(),
    };
    if ended {
        // Not our child: nothing to reap.
        let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
    }
    ended
}

fn readable(fd: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}
