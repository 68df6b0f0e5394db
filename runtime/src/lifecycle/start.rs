//! `start`: lets the program of a created container run.

use rsc_oci::state::Locked;
use rsc_oci::{Record, Stage, Status, Store, hooks};

use super::control::{self, Reply, Request};
use super::{LifecycleError, exec};

/// Starts the container `id`.
pub fn start(store: &Store, id: &str) -> Result<(), LifecycleError> {
    start_locked(&store.entry(id)?.lock()?)
}

/// Starts a container that the caller holds.
pub fn start_locked(locked: &Locked) -> Result<(), LifecycleError> {
    let Some(mut record) = locked.load()? else { return Err(LifecycleError::NotStartable(Status::Creating)) };
    match record.status() {
        Status::Created => {}
        other => return Err(LifecycleError::NotStartable(other)),
    }
    if let Err(error) = start_container(locked, &record) {
        // As runc: init was about to execute the program, and ends with it.
        if let Some(init) = record.init {
            init.kill_hard().map_err(LifecycleError::io("killing", "the container's init"))?;
        }
        return Err(error);
    }
    // Written first: should this command be killed in between, the container is not taken for one that never ran.
    record.stage = Stage::Started;
    locked.save(&record)?;
    let error = match control::ask(locked.dir(), &Request::Start) {
        Ok(Reply::Done) => return poststart(&record),
        // The workload has ended with this: it was started, and has stopped.
        Ok(Reply::ProgramMissing(problem)) => return Err(LifecycleError::ProgramMissing(problem)),
        Ok(Reply::ProgramUnusable(problem)) => return Err(LifecycleError::ProgramUnusable(problem)),
        Ok(Reply::Failed(problem)) => problem,
        Err(error) => format!("starting container {}: the supervisor does not answer: {error}", record.id),
    };
    record.stage = Stage::Created;
    locked.save(&record)?;
    Err(LifecycleError::Supervisor(error))
}

/// Runs the hooks that are the container's own programs.
fn start_container(locked: &Locked, record: &Record) -> Result<(), LifecycleError> {
    let Some(init) = record.init else { return Ok(()) };
    hooks::start_container(record, |hook, input, output| {
        exec::hook(locked.dir(), record, init, hook, input, output)
            .map_err(|error| std::io::Error::other(error.to_string()))
    })?;
    Ok(())
}

/// As runc: a container whose poststart hook fails is not left running.
fn poststart(record: &Record) -> Result<(), LifecycleError> {
    let result = hooks::run(record, hooks::Moment::Poststart);
    if result.is_err()
        && let Some(init) = record.init
    {
        init.kill_hard().map_err(LifecycleError::io("killing", "the container's init"))?;
    }
    Ok(result?)
}
