//! `state` and `list`: what is known of containers, computed from their processes as they are now.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::unistd::{Uid, User};
use rsc_oci::process::Life;
use rsc_oci::state::{Entry, StateError};
use rsc_oci::{Record, Status, Store};
use serde::Serialize;

use super::LifecycleError;

/// File in a container's folder that says how its session is; absent while all is well.
pub const SESSION: &str = "session";
/// The annotation that says the same.
const SESSION_ANNOTATION: &str = "dev.rsc.session";

/// The state of one container, in runc's shape.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    oci_version: String,
    id: String,
    pid: i32,
    status: Status,
    bundle: String,
    rootfs: String,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

impl View {
    fn of(record: Record, dir: &Path) -> Self {
        let status = record.status();
        // As runc: a container that has stopped has no pid.
        let pid = record.init.filter(|init| status != Status::Stopped && init.life() != Life::Gone);
        let mut annotations = record.annotations;
        if let Ok(session) = fs::read_to_string(dir.join(SESSION)) {
            annotations.insert(SESSION_ANNOTATION.to_owned(), session.trim().to_owned());
        }
        Self {
            oci_version: record.oci_version,
            id: record.id.to_string(),
            pid: pid.map_or(0, |init| init.pid),
            status,
            bundle: record.bundle.display().to_string(),
            rootfs: record.rootfs,
            created: record.created,
            annotations,
            owner: owner(record.owner),
        }
    }
}

fn owner(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| format!("#{uid}"), |user| user.name)
}

/// The state of one container.
pub fn state(store: &Store, id: &str) -> Result<View, LifecycleError> {
    let entry = store.entry(id)?;
    match entry.load()? {
        Some(record) => Ok(View::of(record, entry.dir())),
        // Its folder is there, its record not yet.
        None => Err(StateError::NotFound(id.to_owned()).into()),
    }
}

/// The states of all. A container that goes away meanwhile is left out; one that is damaged is named in the log.
pub fn list(store: &Store) -> Result<Vec<View>, LifecycleError> {
    let view = |entry: Entry| match entry.load() {
        Ok(record) => record.map(|record| View::of(record, entry.dir())),
        Err(StateError::NotFound(_)) => None,
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    };
    Ok(store.list()?.into_iter().filter_map(view).collect())
}

/// Ids, one a line.
pub fn ids(views: &[View]) -> String {
    views.iter().map(|view| format!("{}\n", view.id)).collect()
}

/// Columns as runc prints them.
pub fn table(views: &[View]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let mut rows = vec![header];
    for view in views {
        rows.push([
            view.id.clone(),
            view.pid.to_string(),
            view.status.as_str().to_owned(),
            view.bundle.clone(),
            view.created.clone(),
            view.owner.clone(),
        ]);
    }
    // Tab stops of twelve columns at least, as in runc's tables.
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(11) + 1
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (index, cell) in row.iter().enumerate() {
            match widths.get(index) {
                Some(width) => text.push_str(&format!("{cell:<width$}")),
                None => text.push_str(cell),
            }
        }
        text.push('\n');
    }
    text
}
