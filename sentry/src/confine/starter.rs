//! The starter: the child that starts the sentry's own helpers, so that the sentry itself keeps neither the rights nor the system
//! calls for it.
//!
//! A gofer has to enter namespaces, mount and map ids before it jails itself, a socket broker enters a network namespace, and both
//! would inherit the sentry's filter. So a child is forked before anything else happens. It knows the exports and the network from
//! the command line, and takes one kind of request: a number, of an export or for a broker, and a socket for the helper to serve.
//! It ends when the sentry closes its socket. The worst that a compromised sentry can make of it is more helpers for the same
//! trees and the same network, which it could reach anyway.

use super::filter::{DEADLY, install_deadly};
use super::{ConfineError, drop_capabilities, no_privileges, step};
use crate::net::broker;
use crate::server::exports::{Export, ExportError, Net};
use crate::server::sandbox::GoferStream;
use crate::sys::confine::{close_each, fork_into};
use caps::Capability;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::{Pid, setpgid};
use rsc_gofer::{GoferConfig, IdMap, Program, receive_donation, send_descriptor, spawn_on};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The number that asks for a socket broker.
const BROKER: u64 = u64::MAX;
/// Beside the number of an export: files keep the owners that they have on this machine.
const PLAIN_IDS: u64 = 1 << 32;
/// Helpers at a time: as many as sessions may have together, within reason.
const MAX_CHILDREN: usize = 8192;

/// What a starter keeps to start gofers as root: the right to write their maps of ids. All that a gofer needs else, it has within
/// its own user namespace.
pub const FOR_EXPORTS: [Capability; 3] = [
    // /proc/PID/uid_map with more than one's own id.
    Capability::CAP_SETUID,
    // /proc/PID/gid_map likewise.
    Capability::CAP_SETGID,
    // A map of id 0.
    Capability::CAP_SETFCAP,
];

/// What it keeps beside those on a kernel without user namespaces, where gofers are jailed with the host's own privileges.
const FOR_EXPORTS_WITHOUT_USER_NAMESPACES: [Capability; 8] = [
    // What a gofer keeps, to act as the owner of its tree's files.
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    // Its namespaces and mounts.
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_CHROOT,
    // To give up the rest.
    Capability::CAP_SETPCAP,
];

/// What it keeps for brokers in a network namespace that is not theirs: binding to ports below 1024, which the sentry permits or
/// refuses by the workload's own capabilities.
pub const FOR_NETWORK: Capability = Capability::CAP_NET_BIND_SERVICE;

/// What there is to start.
#[derive(Clone, Debug)]
pub struct Jobs {
    /// Trees, each use of which has a gofer.
    pub exports: Vec<Export>,
    /// Where socket brokers are.
    pub net: Net,
}

/// The sentry's handle on its starter. Dropping it ends the starter.
#[derive(Debug)]
pub struct Starter {
    jobs: Jobs,
    /// Taken by `drop` alone.
    socket: Option<OwnedFd>,
    pid: Pid,
}

impl Starter {
    /// Forks the starter, and waits until it is ready. The process has one thread. `foreign`: open descriptors that are none of
    /// the starter's business.
    ///
    /// # Errors
    /// [`ConfineError`]; when it comes from the starter, which says more in the log, [`ConfineError::Starter`].
    pub fn fork(jobs: Jobs, foreign: &[RawFd]) -> Result<Self, ConfineError> {
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = step("make a socket for the starter", pair)?;
        let pid = fork_into(|| {
            close_each(foreign);
            // Else it would never see the end.
            close_each(&[ours.as_raw_fd()]);
            match run(&theirs, &jobs) {
                Ok(()) => 0,
                Err(error) => {
                    tracing::error!("the starter of helpers: {error}");
                    1
                }
            }
        });
        drop(theirs);
        let starter = Self { pid: step("fork the starter", pid)?, jobs, socket: Some(ours) };
        let mut word = [0];
        match starter.socket.as_ref().map(|socket| recv(socket.as_raw_fd(), &mut word, MsgFlags::empty())) {
            Some(Ok(1)) => Ok(starter),
            _ => Err(ConfineError::Starter),
        }
    }

    fn ask(&self, number: u64, socket: BorrowedFd<'_>) -> std::io::Result<()> {
        let ours = self.socket.as_ref().ok_or(Errno::EPIPE)?;
        send_descriptor(ours.as_fd(), number, socket).map_err(|e| std::io::Error::from_raw_os_error(e.number()))
    }

    /// Starts a socket broker on this socket. What goes wrong in the starter or in the broker, they log; the other end of the
    /// socket is closed then.
    ///
    /// # Errors
    /// The starter does not take the request.
    pub fn broker(&self, socket: BorrowedFd<'_>) -> std::io::Result<()> {
        self.ask(BROKER, socket)
    }

    /// Starts a gofer for the export with this name; with `plain_ids` a sentry without privileges shows its own files as its own, and
    /// not as root's. What goes wrong in the starter or in the gofer, they log; the stream is closed
    /// then.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn start(&self, name: &str, plain_ids: bool) -> Result<GoferStream, ExportError> {
        let unknown = || ExportError::Unknown { name: name.to_owned() };
        let number = self.jobs.exports.iter().position(|export| export.name == name).ok_or_else(unknown)?;
        let failed = |source: std::io::Error| ExportError::Starter { name: name.to_owned(), source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let number = number as u64 | if plain_ids { PLAIN_IDS } else { 0 };
        self.ask(number, theirs.as_fd()).map_err(failed)?;
        Ok(GoferStream::Local(ours))
    }

    /// Names of all exports.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.jobs.exports.iter().map(|export| export.name.as_str())
    }

    /// Whether there is an export with this name.
    pub fn knows(&self, name: &str) -> bool {
        self.jobs.exports.iter().any(|export| export.name == name)
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        self.socket = None;
        // It does nothing but wait for this.
        while nix::sys::wait::waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}

fn confine(jobs: &Jobs) -> Result<(), ConfineError> {
    let mut keep = Vec::new();
    if !jobs.exports.is_empty() {
        keep.extend(FOR_EXPORTS);
        let user_namespaces = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
        if matches!(user_namespaces.ok().as_deref().map(str::trim), None | Some("0")) {
            keep.extend(FOR_EXPORTS_WITHOUT_USER_NAMESPACES);
        }
    }
    match &jobs.net {
        // Brokers make namespaces of their own, in which they may do everything.
        Net::None => {}
        Net::Host => keep.push(FOR_NETWORK),
        Net::Path(path) => {
            // Here and now, so that nobody keeps the right to enter namespaces. Gofers have an empty one anyway.
            crate::net::broker::enter(path).map_err(|error| ConfineError::Network { path: path.clone(), error })?;
            keep.push(FOR_NETWORK);
        }
    }
    drop_capabilities(&keep)?;
    no_privileges()?;
    install_deadly(&[DEADLY])
}

/// The starter's life.
fn run(socket: &OwnedFd, jobs: &Jobs) -> Result<(), ConfineError> {
    // A terminal's signals are for the sentry, which drains.
    step("make a process group", setpgid(Pid::from_raw(0), Pid::from_raw(0)))?;
    // Found before the program is replaced by an update.
    let program = std::env::current_exe().unwrap_or_default();
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    step("block SIGCHLD", ended.thread_block())?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let ends = step("watch for SIGCHLD", SignalFd::with_flags(&ended, flags))?;
    confine(jobs)?;
    step("tell the sentry", send(socket.as_raw_fd(), &[1], MsgFlags::MSG_NOSIGNAL))?;
    let mut children: Vec<Child> = Vec::new();
    loop {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => step("wait for requests", other)?,
        };
        while let Ok(Some(_)) = ends.read_signal() {}
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        match receive_donation(socket.as_fd(), false) {
            Ok(Some(_)) if children.len() >= MAX_CHILDREN => {
                tracing::error!("refused to start a helper: {MAX_CHILDREN} are running");
            }
            Ok(Some((number, stream))) => match start(jobs, &program, number, stream) {
                Ok(child) => children.push(child),
                Err(error) => tracing::error!("cannot start a helper: {error}"),
            },
            Ok(None) => return Ok(()),
            Err(errno) if errno.number() == libc::EAGAIN || errno.number() == libc::EINTR => {}
            Err(errno) => tracing::error!("the sentry's request is not readable: {errno:?}"),
        }
    }
}

fn start(jobs: &Jobs, program: &Path, number: u64, socket: OwnedFd) -> Result<Child, String> {
    if number == BROKER {
        let mut command = Command::new(program);
        // The namespace of `--net PATH` has been entered.
        command.arg(broker::COMMAND).arg(if jobs.net == Net::None { "none" } else { "host" });
        command.env_clear().stdin(Stdio::from(socket)).stdout(Stdio::null()).process_group(0);
        return command.spawn().map_err(|error| format!("the socket broker: {error}"));
    }
    let plain_ids = number & PLAIN_IDS != 0;
    let number = number & !PLAIN_IDS;
    let export = usize::try_from(number).ok().and_then(|number| jobs.exports.get(number));
    let export = export.ok_or_else(|| format!("there is no export {number}"))?;
    // Root's show every id as it is anyway.
    let own = |id: u32| {
        let plain = plain_ids && !nix::unistd::geteuid().is_root();
        if plain { vec![IdMap { inside: id, outside: id, count: 1 }] } else { Vec::new() }
    };
    let config = GoferConfig {
        root: export.path.clone(),
        read_only: export.read_only,
        uid_map: own(nix::unistd::geteuid().as_raw()),
        gid_map: own(nix::unistd::getegid().as_raw()),
        program: Program::Command(program.to_owned(), vec!["gofer".into()]),
        ..GoferConfig::default()
    };
    spawn_on(&config, socket).map_err(|error| format!("export {}: {error}", export.name))
}
