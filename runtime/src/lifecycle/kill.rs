//! `kill`: a signal to the workload's init, or to all of its processes, by the host's kernel.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use rsc_oci::{Record, Status, Store, cgroups, signal};

use super::LifecycleError;

/// Kills what is left in a container's cgroup.
pub(super) fn kill_rest(record: &Record) -> Result<(), LifecycleError> {
    for process in cgroups::processes(&record.leaves) {
        process.kill_hard().map_err(LifecycleError::io("killing", format!("process {}", process.pid)))?;
    }
    Ok(())
}

/// Sends `signal` (a number or a name).
pub fn kill(store: &Store, id: &str, signal: &str, all: bool) -> Result<(), LifecycleError> {
    let number = signal::parse(signal)?;
    let locked = store.entry(id)?.lock()?;
    let Some(record) = locked.load()? else { return Err(LifecycleError::NotRunning) };
    if all {
        // As with runc, a container whose processes are gone already is no error here.
        for process in cgroups::processes(&record.leaves) {
            match process.kill(number) {
                Err(error) if error.raw_os_error() != Some(Errno::ESRCH as i32) => {
                    return Err(LifecycleError::io("signalling", format!("process {}", process.pid))(error));
                }
                _ => {}
            }
        }
        if number == Signal::SIGKILL as i32 && cgroups::is_frozen(&record.leaves) {
            cgroups::thaw(&record.leaves)?;
        }
        return match record.init {
            Some(init) if record.leaves.is_empty() && init.is_alive() => {
                init.kill(number).map_err(LifecycleError::io("signalling", "the container's init"))
            }
            _ => Ok(()),
        };
    }
    match (record.status(), record.init) {
        (Status::Created | Status::Running | Status::Paused, Some(init)) => match init.kill(number) {
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Err(LifecycleError::NotRunning),
            done => {
                done.map_err(LifecycleError::io("signalling", "the container's init"))?;
                // What is frozen does not die of it, in version 1.
                if number == Signal::SIGKILL as i32 && cgroups::is_frozen(&record.leaves) {
                    cgroups::thaw(&record.leaves)?;
                }
                Ok(())
            }
        },
        _ => Err(LifecycleError::NotRunning),
    }
}
