//! `pause` and `resume`: the freezer of the container's cgroup.

use rsc_oci::{Status, Store, cgroups};

use super::LifecycleError;

/// Freezes all processes of the container `id`.
pub fn pause(store: &Store, id: &str) -> Result<(), LifecycleError> {
    let locked = store.entry(id)?.lock()?;
    let record = locked.load()?.filter(|it| matches!(it.status(), Status::Created | Status::Running));
    let Some(record) = record else { return Err(LifecycleError::NotRunning) };
    Ok(cgroups::freeze(&record.leaves)?)
}

/// Lets them run on.
pub fn resume(store: &Store, id: &str) -> Result<(), LifecycleError> {
    let locked = store.entry(id)?.lock()?;
    let Some(record) = locked.load()?.filter(|record| record.status() == Status::Paused) else {
        return Err(LifecycleError::NotPaused);
    };
    Ok(cgroups::thaw(&record.leaves)?)
}
