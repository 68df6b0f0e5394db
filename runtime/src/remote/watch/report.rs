//! What `watch` tells: a line of JSON for each process that was found, and one when it is over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rsc_bpf::selection::Call;
use rsc_proto::table;
use serde_json::{Value, json};

use super::facts::Facts;
use crate::remote::calls::Counts;
use crate::remote::core::Process;

/// Where lines go.
pub(super) struct Report(Box<dyn Write>);

impl Report {
    /// To a file, or to standard output.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Report> {
        Ok(Report(match path {
            Some(path) => Box::new(File::create(path)?),
            None => Box::new(io::stdout()),
        }))
    }

    fn line(&mut self, line: &Value) {
        // Nobody reads on, or there is no room: the work goes on.
        let _ = writeln!(self.0, "{line}").and_then(|()| self.0.flush());
    }

    /// Whoever has waited for it can begin.
    pub(super) fn watching(&mut self, tables: usize) {
        self.line(&json!({ "event": "watching", "tables": tables }));
    }

    /// A process that was found. `why` is the table that means it; `error`: it could not be taken over.
    pub(super) fn found(&mut self, pid: i32, facts: &Facts, why: &str, call: Option<&Call>, error: Option<&str>) {
        let mut line = json!({
            "event": if error.is_some() { "refused" } else { "found" },
            "pid": pid,
            "executable": facts.executable,
            "watch": why,
        });
        if let Some(fields) = line.as_object_mut() {
            if let Some(call) = call {
                fields.insert("call".into(), call_line(call));
            }
            if let Some(error) = error {
                fields.insert("error".into(), error.into());
            }
        }
        self.line(&line);
    }

    /// A process that is traced no more: which calls ran here and which there. `ended`: its wait(2) status.
    pub(super) fn over(&mut self, process: &Process, ended: Option<i32>) {
        let mut line = json!({
            "event": if ended.is_some() { "ended" } else { "released" },
            "pid": process.tgid,
            "executable": process.executable(),
            "here": by_name(&process.calls.here.borrow()),
            "there": by_name(&process.calls.there.borrow()),
        });
        if let (Some(fields), Some(status)) = (line.as_object_mut(), ended) {
            fields.insert("status".into(), status.into());
        }
        self.line(&line);
    }
}

/// The call that this machine has carried out before the process was taken over.
fn call_line(call: &Call) -> Value {
    let mut line = json!({ "name": table::name(call.nr), "result": call.result });
    if let Some(fields) = line.as_object_mut() {
        if !call.path.is_empty() {
            fields.insert("path".into(), String::from_utf8_lossy(&call.path).into());
        }
        if call.port != 0 {
            fields.insert("port".into(), call.port.into());
        }
    }
    line
}

fn by_name(counts: &Counts) -> BTreeMap<String, u64> {
    counts.iter().map(|(nr, count)| (table::name(*nr).into_owned(), *count)).collect()
}
