//! What the engine tells to whoever prints calls and counts them.

use crate::platform::numbers;
use rsc_proto::{table, v1::Segment};
use std::{collections::BTreeMap, time::Duration};

/// How a call came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sentry's result.
    Result(i64),
    /// The host's kernel carries it out, because the sentry said so.
    Native,
    /// A program was resolved; the host's kernel executes the loader.
    Exec,
    /// A file is mapped in its place.
    Map,
    /// The caller is ended or gets SIGSYS.
    Sigsys,
}

/// One logical call, answered.
#[derive(Debug)]
pub struct CallRecord<'a> {
    /// The calling task, as the workload sees it.
    pub tid: u32,
    /// Number.
    pub nr: u32,
    /// Arguments.
    pub args: &'a [u64; 6],
    /// Input, when recorded.
    pub input: &'a [Segment],
    /// What the sentry had written.
    pub output: &'a [Segment],
    /// How it ended.
    pub outcome: Outcome,
    /// From the trap to the answer.
    pub elapsed: Duration,
    /// Of that, in the sentry.
    pub server: Duration,
}

/// Hears of calls. All methods may be left out.
pub trait Observer {
    /// A call was answered.
    fn call(&mut self, _call: &CallRecord<'_>) {}
    /// The first program of a process, init or one that joined, was executed. By host pid, as below.
    fn started(&mut self, _pid: i32) {}
    /// It could not be executed; the process ends with 127 or 126.
    fn start_failed(&mut self, _pid: i32, _errno: i32) {}
    /// A process that joins is held in the loader; its id as the workload sees it.
    fn joined(&mut self, _pid: i32, _name: u32) {}
    /// A process that joins, or has joined, has ended.
    fn root_ended(&mut self, _pid: i32) {}
    /// A child of the supervisor which is no task has ended: its pid and wait(2) status.
    fn child_ended(&mut self, _pid: i32, _status: i32) {}
    /// Something the sentry said was refused.
    fn refused(&mut self, _what: &str) {}
}

impl Observer for () {}

/// Who carried a call out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Trapped and sent to the sentry: the logical calls.
    Sent,
    /// Of these, answered with a result.
    Answered,
    /// Of these, run natively by the sentry's permission.
    Native,
    /// Calls that the supervisor put in others' place: the loader's, mappings, closes.
    Own,
    /// Parks.
    Park,
    /// Restarts which the kernel asked for.
    Restart,
}

/// Calls by number and column.
#[derive(Clone, Debug, Default)]
pub struct Counters(BTreeMap<(Column, u32), u64>);

impl Counters {
    pub(super) fn count(&mut self, column: Column, nr: u32) {
        let nr = if nr == numbers::MAGIC { nr } else { table::counted(nr) };
        *self.0.entry((column, nr)).or_default() += 1;
    }

    /// How often.
    pub fn get(&self, column: Column, nr: u32) -> u64 {
        self.0.get(&(column, nr)).copied().unwrap_or(0)
    }

    /// All that were counted: column, number, how often.
    pub fn iter(&self) -> impl Iterator<Item = (Column, u32, u64)> {
        self.0.iter().map(|((column, nr), count)| (*column, *nr, *count))
    }
}
