//! The supervisor: the process that stays for the life of a container, between the jail and the sentry.
//!
//! It is forked by `create` and has one thread, on which everything happens: traps, the session, the caller's stdio, the arena,
//! the control socket. It ends when the workload's init has ended and everybody was told, and takes its helpers with it.

mod confine;
mod context;
mod control;
mod entering;
mod helpers;
mod home;
mod main_loop;
mod namespaces;
mod observer;
mod publish;
mod reverse;
pub mod sandbox;
mod seccomp;
pub(crate) mod session;
mod strace;
mod terminal;
mod upstream;

pub use context::InContext;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{chdir, setsid};
use rsc_oci::cgroups::Beside;
use rsc_oci::publish::Publication;
use rsc_oci::state::Settings;
use rsc_oci::{Bundle, ContainerId};

use crate::cli::log::Log;
use crate::jail::{Jail, Kind};
use crate::lifecycle::control::{Channel, FromSupervisor};
use crate::sys::host;

/// File in the container's folder that takes what helpers write to standard error.
const HELPERS_LOG: &str = "helpers.log";

/// All that a supervisor inherits from the `create` that forks it.
#[derive(Debug)]
pub struct Seat {
    /// The container.
    pub id: ContainerId,
    /// Its bundle.
    pub bundle: Bundle,
    /// What `create` resolved.
    pub settings: Settings,
    /// Its folder; none: there is no container that others could know of, and it ends with its creator.
    pub dir: Option<PathBuf>,
    /// Keys of its namespaces, by their names in `/proc/PID/ns`.
    pub namespaces: BTreeMap<String, String>,
    /// Where it, and what it starts, are to be accounted.
    pub beside: Beside,
    /// Kinds of namespaces that it shares with another container.
    pub shared: Vec<Kind>,
    /// The folder of a container whose private sentry it uses.
    pub host: Option<PathBuf>,
    /// Ports that it relays.
    pub publish: Vec<Publication>,
    /// The workload's descriptors, from 0 on.
    pub stdio: Vec<Option<OwnedFd>>,
    /// They are a terminal of ours.
    pub terminal: bool,
    /// Where commands come from.
    pub commands: Commands,
    /// The jail.
    pub jail: Jail,
    /// To `create`.
    pub creator: Option<Channel>,
    /// Where messages go.
    pub log: Log,
    /// More of them.
    pub debug: bool,
    /// It is in the sentry's context.
    pub context: Option<InContext>,
}

/// Where commands come from.
#[derive(Debug)]
pub enum Commands {
    /// The control socket: everybody who may.
    Socket(OwnedFd),
    /// One connection, of the creator's.
    Only(Channel),
}

impl AsFd for Commands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Commands::Socket(listener) => listener.as_fd(),
            Commands::Only(channel) => channel.as_fd(),
        }
    }
}

impl Seat {
    /// Descriptors that must survive the fork.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut fds: Vec<RawFd> = self.stdio.iter().flatten().map(AsRawFd::as_raw_fd).collect();
        fds.extend([self.commands.as_fd().as_raw_fd(), self.jail.control.as_raw_fd()]);
        fds.extend(self.creator.as_ref().map(|creator| creator.as_fd().as_raw_fd()));
        fds.extend(self.log.descriptor());
        fds
    }

    /// Tells `create`. An error means that it is gone.
    fn tell(&self, message: &FromSupervisor) -> io::Result<()> {
        match &self.creator {
            Some(creator) => creator.send(message, &[]),
            None => Err(nix::errno::Errno::EPIPE.into()),
        }
    }
}

/// Why a container could not be brought up, in one line.
#[derive(Debug)]
pub(crate) struct StartupError(pub(crate) String);

impl<E: std::error::Error> From<E> for StartupError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The supervisor's life; what its process is to exit with.
pub fn serve(seat: Seat) -> i32 {
    let dir = seat.dir.clone();
    if let Err(error) = seat.beside.enter() {
        tracing::warn!("container {}: the supervisor: {error}", seat.id);
    }
    if let Err(error) = detach(&seat) {
        let message = FromSupervisor::Failed(format!("setting up the supervisor: {error}"));
        // Without `create` there is nobody to tell.
        let _ = seat.tell(&message);
        return 1;
    }
    let creator = seat.creator.as_ref().and_then(|it| it.as_fd().try_clone_to_owned().ok()).map(Channel::from_fd);
    match main_loop::run(seat) {
        Ok(()) => 0,
        Err(error) => {
            let message = FromSupervisor::Failed(with_helpers_words(error.0, dir.as_deref()));
            if let Some(creator) = creator {
                let _ = creator.send(&message, &[]);
            }
            1
        }
    }
}

/// What a helper said last often is the cause of what we saw.
fn with_helpers_words(problem: String, dir: Option<&std::path::Path>) -> String {
    let Some(dir) = dir else { return problem };
    let said = std::fs::read_to_string(dir.join(HELPERS_LOG)).unwrap_or_default();
    let routine = |line: &str| [" INFO ", " DEBUG "].iter().any(|level| line.contains(level));
    match said.lines().map(str::trim).rfind(|line| !line.is_empty() && !routine(line)) {
        Some(line) => format!("{problem}: {line}"),
        None => problem,
    }
}

/// Leaves the caller's session, directory, signals and standard descriptors behind.
fn detach(seat: &Seat) -> io::Result<()> {
    setsid()?;
    chdir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    // Blocked before there is any other thread (name resolution starts one): SIGCHLD goes to whichever does not block it, and
    // where it is ignored it is lost to the engine's signalfd.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    host::replace_standard(null.as_fd(), 0)?;
    host::replace_standard(null.as_fd(), 1)?;
    // Without a folder the caller hears it.
    if let Some(dir) = &seat.dir {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let log = options.open(dir.join(HELPERS_LOG))?;
        host::replace_standard(log.as_fd(), 2)?;
    }
    raise_descriptor_limit();
    match seat.stdio.as_slice() {
        [Some(slave), ..] if seat.terminal => terminal::acquire(slave),
        _ => Ok(()),
    }
}

/// Many files may be mapped at a time.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A lower limit only means fewer mappings.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
