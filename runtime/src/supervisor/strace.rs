//! `--strace`: one line a call in strace's format, with where it was carried out and how long that took, and at the end how often
//! each call went which way.
//!
//! ```text
//! [3] openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 <remote, 84 µs, sentry 21 µs>
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

use rsc_proto::table;

use crate::engine::{CallRecord, Column, Counters, Outcome};

/// Where lines go. Clones write to the same place.
#[derive(Clone, Debug)]
pub(super) struct Strace {
    out: Rc<RefCell<BufWriter<File>>>,
}

impl Strace {
    /// Opens the file at `path`; `-` is the workload's own standard error.
    pub(super) fn open(path: &Path, stderr: Option<&OwnedFd>) -> io::Result<Self> {
        let file = if path == Path::new("-") {
            let stderr = stderr.ok_or_else(|| io::Error::other("standard error is closed"))?;
            stderr.try_clone()?.into()
        } else {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).open(path)?
        };
        Ok(Self { out: Rc::new(RefCell::new(BufWriter::new(file))) })
    }

    /// One answered call.
    pub(super) fn call(&self, call: &CallRecord<'_>) {
        let (placement, result) = match call.outcome {
            Outcome::Result(result) => ("remote", Some(result)),
            Outcome::Native => ("native", None),
            Outcome::Exec => ("exec", Some(0)),
            Outcome::Map => ("map", None),
            Outcome::Sigsys => ("sigsys", None),
        };
        let text = table::strace::render(call.nr, call.args, call.input, result, call.output);
        let (elapsed, server) = (call.elapsed.as_micros(), call.server.as_micros());
        self.line(&format!("[{}] {text} <{placement}, {elapsed} µs, sentry {server} µs>", call.tid));
    }

    /// A line of ours.
    pub(super) fn note(&self, text: &str) {
        self.line(&format!("--- {text}"));
    }

    fn line(&self, line: &str) {
        // A log that can't be written must not end a container.
        let _ = writeln!(self.out.borrow_mut(), "{line}");
    }

    /// Writes out what is kept back.
    pub(super) fn flush(&self) {
        let _ = self.out.borrow_mut().flush();
    }

    /// The counters by column, at the end.
    pub(super) fn summary(&self, counters: &Counters) {
        const COLUMNS: [(Column, &str); 6] = [
            (Column::Sent, "sent"),
            (Column::Answered, "answered"),
            (Column::Native, "native"),
            (Column::Own, "own"),
            (Column::Park, "park"),
            (Column::Restart, "restart"),
        ];
        let mut calls: BTreeMap<u32, [u64; 6]> = BTreeMap::new();
        for (column, nr, count) in counters.iter() {
            if let Some(index) = COLUMNS.iter().position(|(known, _)| *known == column)
                && let Some(cell) = calls.entry(nr).or_default().get_mut(index)
            {
                *cell += count;
            }
        }
        let mut header = format!("--- {:<24}", "call");
        COLUMNS.iter().for_each(|(_, name)| header.push_str(&format!("{name:>10}")));
        self.line(&header);
        for (nr, counts) in calls {
            let mut line = format!("--- {:<24}", table::name(nr));
            counts.iter().for_each(|count| line.push_str(&format!("{count:>10}")));
            self.line(&line);
        }
        self.flush();
    }
}
