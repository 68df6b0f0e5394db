//! The life of a container, command by command. Everything that exists for a container stands in its record before it is made
//! or right after, so that one function, [`delete::destroy`], can remove all of it at any moment.

pub mod control;
pub mod create;
pub mod delete;
mod environment;
pub mod events;
pub mod exec;
pub mod kill;
pub mod neighbours;
mod passed;
pub mod pause;
pub mod ps;
pub mod run;
pub mod start;
pub mod state;
mod sysctl;
pub mod terminal;
pub mod update;
mod watcher;

pub use passed::{MAX as MAX_PASSED, activated};

use std::io;
use std::path::PathBuf;

use rsc_oci::annotations::Permitted;
use rsc_oci::cgroups::CgroupError;
use rsc_oci::hooks::HookError;
use rsc_oci::id::IdError;
use rsc_oci::signal::UnknownSignal;
use rsc_oci::state::StateError;
use rsc_oci::systemd::SystemdError;
use rsc_oci::{BundleError, ContainerId, Status};

use crate::cli::config::{ConfigError, HostConfig};

/// Why a command failed. The text is one line for a person; where clients look for runc's words, it has them.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The host's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The settings of a container tool.
    #[error(transparent)]
    Install(#[from] crate::install::InstallError),
    /// Rules for system calls.
    #[error(transparent)]
    Rules(#[from] crate::remote::rules::RulesError),
    /// The id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// systemd.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// A hook.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A signal's name.
    #[error(transparent)]
    Signal(#[from] UnknownSignal),
    /// Something that runc can do and we can't.
    #[error("{0}")]
    Unsupported(String),
    /// Something that makes no sense.
    #[error("{0}")]
    Refused(String),
    /// A process of `exec` could not be started.
    #[error("unable to start container process: {0}")]
    Start(String),
    /// `exec` failed.
    #[error("exec failed: {0}")]
    Exec(Box<LifecycleError>),
    /// `remote` failed.
    #[error("{0}")]
    Remote(Box<LifecycleError>),
    /// `resume` of a container that is not paused.
    #[error("container not paused")]
    NotPaused,
    /// `events` of a container that does not run.
    #[error("container with id {0} is not running")]
    Ended(ContainerId),
    /// A signal for a container without processes.
    #[error("container not running")]
    NotRunning,
    /// `start` of a container that is past it.
    #[error("cannot start {}", match .0 {
        Status::Running => "an already running container",
        Status::Stopped => "a container that has stopped",
        Status::Paused => "a container that is paused",
        _ => "a container that is still being created",
    })]
    NotStartable(Status),
    /// `delete` without force of a container that lives.
    #[error("cannot delete container {0} that is not stopped: {status}; use --force", status = .1.as_str())]
    NotStopped(ContainerId, Status),
    /// The program of the workload is not there.
    #[error("{0}")]
    ProgramMissing(String),
    /// The program of the workload can't be executed.
    #[error("{0}")]
    ProgramUnusable(String),
    /// The supervisor could not do its part.
    #[error("{0}")]
    Supervisor(String),
    /// The operating system.
    #[error("{doing} {what}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        what: String,
        /// What failed.
        source: io::Error,
    },
}

/// What `remote` exits with when it could not run the program at all.
pub const REMOTE_FAILED: u8 = 125;

impl LifecycleError {
    /// What the command exits with: 127 and 126 as a shell has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ProgramMissing(_) => 127,
            Self::ProgramUnusable(_) => 126,
            // As runc, and unlike anything that a program is likely to end with.
            Self::Exec(_) => 255,
            // As env(1) and nohup(1): it is not the program that failed.
            Self::Remote(error) => match error.exit_code() {
                code @ (126 | 127) => code,
                _ => REMOTE_FAILED,
            },
            _ => 1,
        }
    }

    /// For `map_err` on calls of the operating system.
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Io { doing, what, source: source.into() }
    }
}

/// What `create` and `run` are asked to do.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The container's name.
    pub id: ContainerId,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Where to write init's pid.
    pub pid_file: Option<PathBuf>,
    /// Where to send the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// How many descriptors to pass on, from 3.
    pub preserve_fds: u32,
    /// What the bundle's annotations may choose.
    pub permitted: Permitted,
    /// The host's configuration.
    pub config: HostConfig,
}
