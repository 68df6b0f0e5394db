//! Text of the files in `/proc/PID` and `/proc/PID/task/TID` (proc(5)).
//!
//! What only the compute host knows (state, times, memory) is asked of it, and everything in it that names the host's world (ids,
//! credentials, paths) is replaced with what the workload's world says.

use std::fmt::Write;
use std::rc::Rc;

use rsc_proto::abi::Errno;

use crate::kernel::Kernel;
use crate::kernel::fd::Fd;
use crate::kernel::task::{Task, ThreadGroup};

/// The sandbox of a task, whose compute host knows it.
pub(super) fn home(task: &Task) -> Result<Rc<Kernel>, Errno> {
    task.kernel().ok_or(Errno::ESRCH)
}

/// `comm`: the host's kernel keeps it, for prctl(2) sets it there.
pub(super) async fn comm(task: &Task) -> Result<String, Errno> {
    let text = home(task)?.host.proc_info(task.tid, "comm").await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// `stat`: the host's line with the fields that name its world replaced.
pub(super) async fn stat(task: &Rc<Task>, own: bool) -> Result<String, Errno> {
    let line = home(task)?.host.proc_info(task.tid, "stat").await?;
    let line = String::from_utf8_lossy(&line).into_owned();
    // The name may hold anything, parentheses too: the last one ends it.
    let (head, rest) = line.rsplit_once(')').unwrap_or_default();
    let name = head.split_once('(').map_or("", |(_, n)| n);
    let mut fields: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    let group = task.group();
    // From field 3, the state. Fields 4 to 8: ppid, pgrp, session, tty, tpgid.
    let terminal = group.terminal.borrow().clone();
    let tty = terminal.as_ref().map_or(0, |terminal| terminal.encoded());
    for (i, value) in [group.parent.get(), group.pgid.get(), group.sid.get(), tty].iter().enumerate() {
        if let Some(f) = fields.get_mut(i + 1) {
            *f = value.to_string();
        }
    }
    if let Some(tpgid) = fields.get_mut(5) {
        *tpgid = terminal.map_or_else(|| "-1".into(), |terminal| terminal.foreground().to_string());
    }
    // Who reads of itself is running. A task that the supervisor holds at a stop is not stopped, for the workload.
    if own && let Some(state) = fields.first_mut() {
        *state = "R".into();
    } else if let Some(state) = fields.first_mut().filter(|s| *s == "t") {
        *state = "S".into();
    }
    Ok(format!("{} ({name}) {}\n", task.tid, fields.join(" ")))
}

/// `status`.
pub(super) async fn status(task: &Rc<Task>, own: bool) -> Result<String, Errno> {
    let kernel = home(task)?;
    let text = kernel.host.proc_info(task.tid, "status").await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let group = task.group();
    let c = task.creds();
    let umask = task.fs.borrow().umask.get();
    let groups = c.groups.iter().map(|g| format!("{g} ")).collect::<String>();
    let mut s = String::new();
    for line in text.lines() {
        let key = line.split(':').next().unwrap_or_default();
        let _ = match key {
            "Umask" => writeln!(s, "Umask:\t{umask:04o}"),
            "State" if own => writeln!(s, "State:\tR (running)"),
            "State" => writeln!(s, "{}", line.replace("t (tracing stop)", "S (sleeping)")),
            "Tgid" => writeln!(s, "Tgid:\t{}", group.tgid),
            "Pid" => writeln!(s, "Pid:\t{}", task.tid),
            "PPid" => writeln!(s, "PPid:\t{}", group.parent.get()),
            "TracerPid" => writeln!(s, "TracerPid:\t0"),
            "Uid" => writeln!(s, "Uid:\t{}\t{}\t{}\t{}", c.uid, c.euid, c.suid, c.fsuid),
            "Gid" => writeln!(s, "Gid:\t{}\t{}\t{}\t{}", c.gid, c.egid, c.sgid, c.fsgid),
            "FDSize" => writeln!(s, "FDSize:\t{}", task.fds.borrow().list().len().next_power_of_two().max(64)),
            "Groups" => writeln!(s, "Groups:\t{groups}"),
            "NStgid" => writeln!(s, "NStgid:\t{}", group.tgid),
            "NSpid" => writeln!(s, "NSpid:\t{}", task.tid),
            "NSpgid" => writeln!(s, "NSpgid:\t{}", group.pgid.get()),
            "NSsid" => writeln!(s, "NSsid:\t{}", group.sid.get()),
            "CapInh" => writeln!(s, "CapInh:\t{:016x}", c.inheritable),
            "CapPrm" => writeln!(s, "CapPrm:\t{:016x}", c.permitted),
            "CapEff" => writeln!(s, "CapEff:\t{:016x}", c.effective),
            "CapBnd" => writeln!(s, "CapBnd:\t{:016x}", c.bounding),
            "CapAmb" => writeln!(s, "CapAmb:\t{:016x}", c.ambient),
            "NoNewPrivs" => writeln!(s, "NoNewPrivs:\t{}", i32::from(task.no_new_privs.get())),
            "Seccomp" => writeln!(s, "Seccomp:\t{}", if kernel.seccomp.is_some() { 2 } else { 0 }),
            "Seccomp_filters" => writeln!(s, "Seccomp_filters:\t{}", u32::from(kernel.seccomp.is_some())),
            _ => writeln!(s, "{line}"),
        };
    }
    Ok(s)
}

/// `statm`: as the host says it, for it names nothing.
pub(super) async fn statm(task: &Rc<Task>) -> Result<String, Errno> {
    let text = home(task)?.host.proc_info(task.tid, "statm").await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// `maps`: the supervisor names a mapped file `rsc:NUMBER`; here it becomes the path by which the workload knows it.
pub(super) async fn maps(kernel: &Kernel, task: &Rc<Task>) -> Result<String, Errno> {
    let text = kernel.host.proc_info(task.tid, "maps").await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut s = String::new();
    for line in text.lines() {
        let mut fields = line.splitn(6, ' ');
        let head: Vec<&str> = fields.by_ref().take(5).collect();
        let name = fields.next().unwrap_or_default().trim_start();
        let path = match name.strip_prefix("rsc:").and_then(|n| n.parse().ok()) {
            Some(file) => kernel.mapped_path(file, task),
            None if name.starts_with('[') => name.to_owned(),
            None => String::new(),
        };
        let head = head.join(" ");
        let _ = if path.is_empty() { writeln!(s, "{head} ") } else { writeln!(s, "{head:<72} {path}") };
    }
    Ok(s)
}

/// `limits`.
pub(super) fn limits(group: &ThreadGroup) -> String {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let mut s = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |v: u64| if v == u64::MAX { "unlimited".to_owned() } else { v.to_string() };
    for (i, (name, unit)) in NAMES.iter().enumerate() {
        let l = group.limit(i);
        let _ = writeln!(s, "{name:<25} {:<20} {:<20} {unit:<10}", show(l.rlim_cur), show(l.rlim_max));
    }
    s
}

/// `fdinfo/FD`.
pub(super) fn fdinfo(task: &Task, fd: Fd) -> Result<String, Errno> {
    let fds = task.fds.borrow();
    let file = fds.get_path(fd)?;
    let cloexec = if fds.cloexec(fd)? { 0o2_000_000 } else { 0 };
    let flags = file.flags().bits() | cloexec;
    Ok(format!("pos:\t{}\nflags:\t0{flags:o}\nmnt_id:\t1\nino:\t0\n", file.offset()))
}

/// `io`: nothing is counted yet, but tools expect the file.
pub(super) fn io() -> String {
    "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n".into()
}
