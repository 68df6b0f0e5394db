//! Starting a gofer, and taking the descriptors that it donates.

use crate::jail::IdMap;
use crate::sys::{ipc, ns};
use rsc_proto::abi::Errno;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Which program is the gofer.
#[derive(Debug, Clone, Default)]
pub enum Program {
    /// `gofer` beside the running executable, then in `/usr/libexec/rsc`.
    #[default]
    Installed,
    /// This program, with these arguments before the gofer's own.
    Command(PathBuf, Vec<OsString>),
}

/// What a gofer shall serve.
#[derive(Debug, Clone, Default)]
pub struct GoferConfig {
    /// The tree: a directory, or a single file.
    pub root: PathBuf,
    /// Refuse every change.
    pub read_only: bool,
    /// With a socket for donated descriptors: the gofer is on the supervisor's machine.
    pub donations: bool,
    /// Owners of files, if not the default: every id as it is, or without privileges the caller's own as 0.
    pub uid_map: Vec<IdMap>,
    /// Groups of files, likewise. Both or none.
    pub gid_map: Vec<IdMap>,
    /// Which program.
    pub program: Program,
}

/// A gofer that was started. It ends when `socket` is closed; somebody has to wait for `child` then. A gofer that could not enter
/// its jail says why on stderr and closes its sockets.
#[derive(Debug)]
pub struct SpawnedGofer {
    /// For requests; blocking.
    pub socket: UnixStream,
    /// For [`receive_donation`]; blocking, `SOCK_SEQPACKET`.
    pub donations: Option<OwnedFd>,
    /// The process.
    pub child: Child,
}

/// Why a gofer could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No program.
    #[error("no gofer beside {0} nor in /usr/libexec/rsc: install it there")]
    Missing(PathBuf),
    /// Sockets.
    #[error("cannot make a socket for the gofer: {0:?}")]
    Socket(Errno),
    /// The program cannot be executed.
    #[error("cannot execute {program}: {error}")]
    Execute {
        /// Which.
        program: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

fn installed() -> Result<PathBuf, SpawnError> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().map(|dir| dir.join("gofer"));
    let places = beside.into_iter().chain([PathBuf::from("/usr/libexec/rsc/gofer")]);
    places.into_iter().find(|path| path.is_file()).ok_or(SpawnError::Missing(own))
}

/// Starts a gofer, in a process group of its own and with nothing of the environment but `RSC_LOG`.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn(config: &GoferConfig) -> Result<SpawnedGofer, SpawnError> {
    let (socket, theirs) = ipc::socket_pair(libc::SOCK_STREAM).map_err(SpawnError::Socket)?;
    let mut passed = vec![theirs];
    let mut donations = None;
    if config.donations {
        let (ours, theirs) = ipc::socket_pair(libc::SOCK_SEQPACKET).map_err(SpawnError::Socket)?;
        donations = Some(ours);
        passed.push(theirs);
    }
    let child = execute(config, passed)?;
    Ok(SpawnedGofer { socket: socket.into(), donations, child })
}

/// As [`spawn`], on a socket that somebody else holds the other end of. Without donations.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn_on(config: &GoferConfig, socket: OwnedFd) -> Result<Child, SpawnError> {
    execute(config, vec![socket])
}

fn execute(config: &GoferConfig, passed: Vec<OwnedFd>) -> Result<Child, SpawnError> {
    let (program, first) = match &config.program {
        Program::Installed => (installed()?, vec![]),
        Program::Command(program, first) => (program.clone(), first.clone()),
    };
    let mut command = Command::new(&program);
    command.args(first).arg("--root").arg(&config.root).args(["--fd", "3"]);
    if passed.len() > 1 {
        command.args(["--donate-fd", "4"]);
    }
    if config.read_only {
        command.arg("--ro");
    }
    for (flag, maps) in [("--uid-map", &config.uid_map), ("--gid-map", &config.gid_map)] {
        for map in maps {
            command.arg(flag).arg(map.to_string());
        }
    }
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(log) = std::env::var_os("RSC_LOG") {
        command.env("RSC_LOG", log);
    }
    ns::pass_descriptors(&mut command, passed);
    command.spawn().map_err(|error| SpawnError::Execute { program, error })
}

/// Passes on a descriptor with a number, without waiting: what [`receive_donation`] receives.
///
/// # Errors
/// As `sendmsg(2)`.
pub fn send_descriptor(socket: BorrowedFd<'_>, number: u64, file: BorrowedFd<'_>) -> Result<(), Errno> {
    ipc::send_descriptor(socket, number, file)
}

/// Receives one donated descriptor and its token. `None`: the gofer has ended. With `wait`, waits for one; without, EAGAIN says
/// that there is none (the donation is there before the reply to its request).
///
/// # Errors
/// EPROTO: what came is no donation. Others as `recvmsg(2)`.
pub fn receive_donation(donations: BorrowedFd<'_>, wait: bool) -> Result<Option<(u64, OwnedFd)>, Errno> {
    ipc::receive_descriptor(donations, wait)
}
