//! Requests of the sentry: memory of waiting tasks, signals, and what `/proc` needs. Everything else is not the engine's.

use super::{Engine, memory::Memory};
use crate::sys::process;
use bytes::Bytes;
use rsc_proto::{
    table::marshal::MemoryReader,
    v1::{Reverse, ReverseReply, reverse::What},
};
use std::fs;

/// Most bytes of one memory request.
const MEMORY_MAX: u32 = 1 << 20;
/// Most bytes of a file of `/proc`.
const PROC_MAX: usize = 1 << 20;

impl Engine {
    /// Answers a request, if it is one for the engine.
    pub fn on_reverse(&mut self, request: &Reverse) -> Option<ReverseReply> {
        let (value, data) = match request.what.as_ref()? {
            What::ReadMemory(read) => self.read_memory(read.tid, read.addr, read.len),
            What::WriteMemory(write) => (self.write_memory(write.tid, write.addr, &write.data), Bytes::new()),
            What::Signal(signal) => (self.send_signal(signal.tgid, signal.tid, signal.sig), Bytes::new()),
            What::ProcInfo(info) => self.proc_info(info.tid, &info.what),
            _ => return None,
        };
        Some(ReverseReply { id: request.id, value, data })
    }

    /// The host tid of a task whose call the sentry works on; nobody else's memory is touched.
    fn waiting(&mut self, name: u32) -> Option<i32> {
        let tid = *self.names.get(&name)?;
        let waits = self.tasks.get(&tid)?.call.as_ref().is_some_and(|call| call.answer.is_none());
        if !waits {
            self.observer.refused("a request for the memory of a task that has no call in flight");
        }
        waits.then_some(tid)
    }

    fn read_memory(&mut self, name: u32, addr: u64, len: u32) -> (i64, Bytes) {
        let Some(tid) = self.waiting(name) else { return (-i64::from(libc::ESRCH), Bytes::new()) };
        let mut buffer = vec![0; len.min(MEMORY_MAX) as usize];
        let got = Memory(tid).read(addr, &mut buffer);
        buffer.truncate(got);
        (got as i64, buffer.into())
    }

    fn write_memory(&mut self, name: u32, addr: u64, data: &[u8]) -> i64 {
        let Some(tid) = self.waiting(name) else { return -i64::from(libc::ESRCH) };
        Memory(tid).write(addr, data) as i64
    }

    fn send_signal(&mut self, group: u32, name: u32, signal: u32) -> i64 {
        let known = |name: &u32| self.names.get(name).and_then(|tid| self.tasks.get(tid));
        let Ok(signal) = i32::try_from(signal) else { return -i64::from(libc::EINVAL) };
        let sent = match (name, known(&group), known(&name)) {
            (0, Some(leader), _) => process::kill(leader.tgid, signal),
            (_, _, Some(task)) if task.group == group || group == 0 => process::tgkill(task.tgid, task.tid, signal),
            _ => return -i64::from(libc::ESRCH),
        };
        sent.map_or_else(|errno| -i64::from(errno as i32), |()| 0)
    }

    /// What identifies a namespace of a task: `net:[4026531840]`.
    fn namespace(&self, tid: i32, name: &str) -> (i64, Bytes) {
        const NAMES: [&str; 10] =
            ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"];
        if !NAMES.contains(&name) {
            return (-i64::from(libc::EINVAL), Bytes::new());
        }
        // What the specification leaves to the host is the host's for the workload, though the jail has one of its own.
        let owner = if self.options.host_namespaces.contains(&name) { "self".to_owned() } else { tid.to_string() };
        match fs::read_link(format!("/proc/{owner}/ns/{name}")) {
            Ok(target) => {
                let data = Bytes::from(target.into_os_string().into_encoded_bytes());
                (data.len() as i64, data)
            }
            Err(error) => (-i64::from(error.raw_os_error().unwrap_or(libc::EIO)), Bytes::new()),
        }
    }

    fn proc_info(&mut self, name: u32, what: &str) -> (i64, Bytes) {
        const FILES: [&str; 11] = [
            "comm",
            "stat",
            "statm",
            "status",
            "maps",
            "smaps_rollup",
            "io",
            "limits",
            "wchan",
            "schedstat",
            "oom_score",
        ];
        let Some(tid) = self.names.get(&name) else { return self.stranger_info(name, what) };
        if let Some(namespace) = what.strip_prefix("ns/") {
            return self.namespace(*tid, namespace);
        }
        if !FILES.contains(&what) {
            return (-i64::from(libc::EINVAL), Bytes::new());
        }
        read_proc(&format!("/proc/{tid}/{what}"))
    }
}

/// A file of `/proc`, or the errno of reading it.
pub(super) fn read_proc(path: &str) -> (i64, Bytes) {
    match fs::read(path) {
        Ok(mut data) => {
            data.truncate(PROC_MAX);
            (data.len() as i64, data.into())
        }
        Err(error) => (-i64::from(error.raw_os_error().unwrap_or(libc::EIO)), Bytes::new()),
    }
}
