//! The jail: the process that becomes the workload's init on the compute host.
//!
//! [`spawn`] is called by `create` before it starts a thread. The new process is a child of `create`, in fresh namespaces, with an
//! empty read-only root (whatever its mount namespace [shows](tree) to others), no capabilities and no descriptors but the loader's. It stops there until the supervisor, a sibling, has
//! seized it and sent the filter ([`crate::platform::attach`]); then it installs the filter and executes the loader, where the
//! supervisor holds it until the container starts. Where a step fails the caller gets an error and nothing is left behind.

mod between;
mod child;
mod join;
pub(crate) mod loader;
pub mod namespaces;
mod tree;

pub use join::{Joiner, enter};
pub use namespaces::{Joined, Kind};
pub use tree::{Mounted, Part, Shown};

use crate::sys::process::{self, Forked};
use nix::{
    errno::Errno,
    sched::CloneFlags,
    sys::{
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
        utsname::uname,
        wait::waitpid,
    },
    unistd::{Pid, getegid, geteuid},
};
use std::{
    ffi::CString,
    fs,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

/// What the jail must know of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailConfig {
    /// The workload's user and group: what its own user namespace shows.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// What these are outside: ids without any right on the host.
    pub host_uid: u32,
    /// See `host_uid`.
    pub host_gid: u32,
    /// Namespaces to be in; all others are its own, a network namespace with nothing but a loopback interface.
    pub joined: Vec<Joined>,
    /// The user namespace by which to come into these, for somebody who may not enter them otherwise; none: the one that they belong
    /// to. The jail's own is one within it.
    pub way_in: Option<PathBuf>,
    /// What somebody is to see who enters its mount namespace from outside; none: nothing.
    pub shown: Option<Shown>,
    /// The host name in a namespace of its own, where other tools see it; empty: whatever it is.
    pub hostname: String,
    /// Host limits: resource, soft, hard. Only STACK, AS, DATA, MEMLOCK, CPU and NPROC belong here.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// The program and its arguments; at least one.
    pub args: Vec<CString>,
    /// The environment.
    pub env: Vec<CString>,
    /// It only holds the namespaces, and never runs: orphans that come to it must not wait for it to be reaped.
    pub anchor: bool,
}

/// The kinds of namespaces that a jail is in apart from the host, made or joined.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS);

impl JailConfig {
    /// The namespaces which the jail makes.
    fn fresh(&self) -> CloneFlags {
        self.joined.iter().fold(NAMESPACES, |fresh, it| fresh - it.kind.flag())
    }

    /// Whether it has a namespace of this kind of its own.
    pub(crate) fn owns(&self, kind: Kind) -> bool {
        self.fresh().contains(kind.flag())
    }

    /// The ids outside for the calling user: `nobody` for root, the caller's own otherwise.
    pub fn host_ids() -> (u32, u32) {
        let own = (geteuid().as_raw(), getegid().as_raw());
        if own.0 == 0 && maps_nobody("/proc/self/uid_map") && maps_nobody("/proc/self/gid_map") {
            (NOBODY, NOBODY)
        } else {
            own
        }
    }
}

const NOBODY: u32 = 65534;

fn maps_nobody(path: &str) -> bool {
    let Ok(map) = fs::read_to_string(path) else { return false };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        first.zip(count).is_some_and(|(first, count)| (first..first + count).contains(&u64::from(NOBODY)))
    })
}

/// A jail that waits for its supervisor. Dropping it does not end it: see [`Jail::abort`].
#[derive(Debug)]
pub struct Jail {
    /// Host pid of the workload's init, a child of the caller.
    pub pid: i32,
    /// For the supervisor: the jail's other end. The supervisor gets it by being forked afterwards.
    pub control: OwnedFd,
    /// Limits which the supervisor sets once the jail is in the loader.
    pub(crate) rlimits: Vec<(u32, u64, u64)>,
    /// What its namespace of names said when it was made: host and domain name.
    pub names: (String, String),
}

impl Jail {
    /// Kills and reaps the jail, when something failed before it was attached.
    pub fn abort(self) {
        let _ = process::kill(self.pid, libc::SIGKILL);
        let _ = waitpid(Pid::from_raw(self.pid), None);
    }
}

/// Why a jail could not be made.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Namespaces are not to be had.
    #[error(
        "cannot make the jail's namespaces (user, pid, mount, network, ipc, uts): {0}; are unprivileged user namespaces allowed on this host?"
    )]
    Namespaces(Errno),
    /// A namespace can't be entered.
    #[error("cannot join the {kind} namespace {path}: {error}", path = .path.display())]
    Join {
        /// What it is, as in `/proc/PID/ns`.
        kind: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What opening or entering it said.
        error: std::io::Error,
    },
    /// The host does not let us write the map of ids.
    #[error("cannot map the jail's {what} {inner} to the host's {outer}: {error}")]
    IdMap {
        /// `user` or `group`.
        what: &'static str,
        /// Id in the jail.
        inner: u32,
        /// Id on the host.
        outer: u32,
        /// What writing it said.
        error: std::io::Error,
    },
    /// Something on our side.
    #[error("cannot {doing}: {error}")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// The host's answer.
        error: Errno,
    },
    /// A step in the new process failed.
    #[error("cannot set up the jail: {0}")]
    Inside(String),
    /// It ended without a word.
    #[error("the jail ended while it was set up")]
    Ended,
}

/// Makes the jail. The caller must have one thread only.
pub fn spawn(config: &JailConfig) -> Result<Jail, JailError> {
    let foreign = namespaces::foreign(&config.joined)?;
    let jail = if foreign.is_empty() {
        make_here(config)?
    } else {
        // What is refused is said by the go-between, in the same words.
        let enter = || namespaces::enter(&foreign, config.way_in.as_deref()).map_err(|error| error.to_string());
        between::make(config, child::Entry::First, enter)?
    };
    let host = |doing| move |error| JailError::Host { doing, error };
    let told = send(jail.control.as_raw_fd(), child::MAPPED, MsgFlags::MSG_NOSIGNAL);
    match told.map_err(host("talk to the jail")).and_then(|_| await_ready(&jail)) {
        Ok(()) => Ok(jail),
        Err(error) => {
            jail.abort();
            Err(error)
        }
    }
}

/// Makes its process from this one's namespaces.
fn make_here(config: &JailConfig) -> Result<Jail, JailError> {
    let host = |doing| move |error| JailError::Host { doing, error };
    let loader = loader::memfd().map_err(host("make the loader's memory file"))?;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(host("make a socket pair"))?;
    let names = uname().map(|names| {
        (names.nodename().to_string_lossy().into_owned(), names.domainname().to_string_lossy().into_owned())
    });
    match process::fork_into(config.fresh().bits()).map_err(JailError::Namespaces)? {
        Forked::Child => {
            drop(ours);
            child::run(config, theirs, &loader, child::Entry::First)
        }
        Forked::Parent(pid) => {
            drop(theirs);
            let names = names.unwrap_or_default();
            let jail = Jail { pid, control: ours, rlimits: config.rlimits.clone(), names };
            match write_maps(config, pid, config.host_uid, config.host_gid) {
                Ok(()) => Ok(jail),
                Err(error) => {
                    jail.abort();
                    Err(error)
                }
            }
        }
    }
}

/// Writes the maps of ids, from the user namespace above. `outer_uid` and `outer_gid` are ids in that one.
fn write_maps(config: &JailConfig, pid: i32, outer_uid: u32, outer_gid: u32) -> Result<(), JailError> {
    let write = |file: &str, text: &str| fs::write(format!("/proc/{pid}/{file}"), text);
    if geteuid().as_raw() != 0 {
        // A user without privileges may map its group only once setgroups is out of reach.
        let _ = write("setgroups", "deny");
    }
    for (what, file, inner, outer) in
        [("group", "gid_map", config.gid, outer_gid), ("user", "uid_map", config.uid, outer_uid)]
    {
        write(file, &format!("{inner} {outer} 1\n")).map_err(|error| JailError::IdMap { what, inner, outer, error })?;
    }
    Ok(())
}

fn await_ready(jail: &Jail) -> Result<(), JailError> {
    match read_report(jail)? {
        report if report == child::READY => Ok(()),
        report => Err(JailError::Inside(String::from_utf8_lossy(&report).into_owned())),
    }
}

/// The one id that the jail of `init` knows, from its map (`uid_map`, `gid_map`).
fn maps_of(init: i32, map: &'static str) -> Result<u32, JailError> {
    let text = fs::read_to_string(format!("/proc/{init}/{map}")).unwrap_or_default();
    let first = text.split_whitespace().next().and_then(|id| id.parse().ok());
    first.ok_or(JailError::Host { doing: "read the container's map of ids", error: Errno::ESRCH })
}

/// The jail's next word; an error if it has ended.
pub(crate) fn read_report(jail: &Jail) -> Result<Vec<u8>, JailError> {
    let mut buffer = vec![0; 1024];
    loop {
        match recv(jail.control.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) => return Err(JailError::Ended),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(JailError::Host { doing: "hear from the jail", error }),
        }
    }
}
