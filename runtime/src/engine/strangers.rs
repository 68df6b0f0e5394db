//! Processes that are no tasks of the workload's but share its pid namespace, when that is the host's: the workload sees them, as far
//! as everybody does, and reaches none of them. All tasks of all workloads have one host uid, so that the host's kernel would let it.

use super::{Engine, reverse::read_proc, task::Call};
use bytes::Bytes;
use nix::unistd::{Pid, getpgid};
use rsc_proto::table::{self, Kind, Scalar, nr};
use std::fs;

/// What of a stranger is shown: what every user of the host may read.
const FILES: [&str; 5] = ["cmdline", "comm", "stat", "statm", "status"];
/// Strangers that are listed at most.
const MOST: usize = 1 << 16;

impl Engine {
    /// Of a process that is not the workload's: a file, or with `name` 0 the list of all there are.
    pub(super) fn stranger_info(&self, name: u32, what: &str) -> (i64, Bytes) {
        match (name, what) {
            _ if !self.options.strangers => (-i64::from(libc::ESRCH), Bytes::new()),
            (0, "pids") => {
                let pids = list();
                (pids.len() as i64, pids.into())
            }
            (1.., what) if FILES.contains(&what) => read_proc(&format!("/proc/{name}/{what}")),
            _ => (-i64::from(libc::EINVAL), Bytes::new()),
        }
    }

    /// Whether a call that is to run natively is about the workload's own processes alone. What the filter lets through unseen is
    /// harmless whomever it is about.
    pub(super) fn names_only_own(&self, call: &Call) -> bool {
        if !self.options.strangers || table::native_permitted(call.nr, &call.args, true) {
            return true;
        }
        let number = |index: usize| call.args.get(index).map_or(0, |arg| *arg as u32 as i32);
        match call.nr {
            // To another group of its own session only, says the host's kernel.
            nr::SETPGID => self.is_own(number(0)),
            // By a process's or a group's number.
            nr::SETPRIORITY | nr::IOPRIO_SET => self.is_own(number(1)) || self.is_own_group(number(1)),
            _ => {
                let Some(entry) = table::lookup(call.nr) else { return false };
                let pids =
                    entry.args.iter().enumerate().filter(|(_, arg)| matches!(arg.kind, Kind::Value(Scalar::Pid)));
                pids.map(|(index, _)| number(index)).all(|pid| match pid {
                    -1 => false,
                    ..0 => self.is_own_group(pid.unsigned_abs() as i32),
                    pid => self.is_own(pid),
                })
            }
        }
    }

    /// The caller itself, or a task of the workload.
    fn is_own(&self, pid: i32) -> bool {
        pid == 0 || u32::try_from(pid).is_ok_and(|name| self.names.contains_key(&name))
    }

    /// All of a group are of one session, and the workload's sessions are its own.
    fn is_own_group(&self, pgid: i32) -> bool {
        self.tasks.keys().any(|tid| getpgid(Some(Pid::from_raw(*tid))).is_ok_and(|group| group.as_raw() == pgid))
    }
}

/// The host's processes, one a line.
fn list() -> Vec<u8> {
    let mut text = Vec::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for number in numbers.take(MOST) {
        text.extend_from_slice(format!("{number}\n").as_bytes());
    }
    text
}
