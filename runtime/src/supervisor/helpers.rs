//! The processes that a supervisor starts: a gofer for each tree of this host, and a private sentry.
//!
//! Each ends by itself when its socket closes, hence with the supervisor at the latest.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rsc_gofer::{GoferConfig, SpawnError, send_descriptor};
use rsc_proto::transport::door::{GuestToken, Offer};
use rsc_sentry::net::broker::COMMAND as BROKER;

use super::sandbox::Export;
use crate::lifecycle::neighbours::knock;
use crate::sys::host;

/// Where programs are that are not beside ours.
const LIBEXEC: &str = "/usr/libexec/rsc";

/// Why a helper could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    /// A gofer.
    #[error("gofer for {path}: {source}")]
    Gofer {
        /// The tree that it should have served.
        path: PathBuf,
        /// Why not.
        source: SpawnError,
    },
    /// The sentry's program is not there.
    #[error("no sentry beside {0} nor in {LIBEXEC}; install it there, or name one with --sentry")]
    NoSentry(PathBuf),
    /// Another container's sentry can't be had.
    #[error("the sentry of the container in {host}, whose namespaces are joined: {source}")]
    Shared {
        /// That container's folder.
        host: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The sentry can't be executed.
    #[error("sentry {program}: {source}")]
    Sentry {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A gofer at work.
#[derive(Debug)]
pub(super) struct Gofer {
    /// Its pid.
    pub(super) pid: i32,
    /// For requests.
    pub(super) socket: OwnedFd,
    /// On which it donates descriptors.
    pub(super) donations: Option<OwnedFd>,
}

/// Starts a gofer for each tree.
pub(super) fn gofers(exports: &[Export]) -> Result<Vec<Gofer>, HelperError> {
    exports.iter().map(gofer).collect()
}

fn gofer(export: &Export) -> Result<Gofer, HelperError> {
    let config = GoferConfig {
        root: export.path.clone(),
        read_only: export.read_only,
        donations: true,
        ..GoferConfig::default()
    };
    let spawned =
        rsc_gofer::spawn(&config).map_err(|source| HelperError::Gofer { path: export.path.clone(), source })?;
    Ok(Gofer {
        pid: i32::try_from(spawned.child.id()).unwrap_or_default(),
        socket: spawned.socket.into(),
        donations: spawned.donations,
    })
}

/// A private sentry at work.
#[derive(Debug)]
pub(super) struct PrivateSentry {
    /// Its pid.
    pub(super) pid: i32,
    /// For the session.
    pub(super) socket: UnixStream,
    /// On which others that are to use it can be let in.
    pub(super) door: OwnedFd,
}

/// A place at another container's private sentry.
#[derive(Debug)]
pub(super) struct Place {
    /// For the session.
    pub(super) socket: UnixStream,
    /// What its Hello shows.
    pub(super) token: GuestToken,
    /// On which others can be let in.
    pub(super) door: OwnedFd,
}

/// The network that a private sentry gives to its sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Net {
    /// That of the host.
    Host,
    /// A namespace by its path.
    Path(PathBuf),
}

/// Starts a private sentry and hands it the gofers.
pub(super) fn sentry(gofers: Vec<OwnedFd>, net: &Net, debug: bool) -> Result<PrivateSentry, HelperError> {
    let program = installed("sentry")?;
    let failed = |source| HelperError::Sentry { program: program.clone(), source };
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| failed(errno.into()))?;
    let (door, door_theirs) = door().map_err(failed)?;
    let mut command = Command::new(&program);
    command.args(["serve", "--session-fd", "3", "--door-fd", "4"]);
    for number in (5..).take(gofers.len()) {
        command.args(["--gofer-fd", &i32::to_string(&number)]);
    }
    match net {
        Net::Host => command.args(["--net", "host"]),
        Net::Path(path) => command.arg("--net").arg(path),
    };
    // Of its own, so that what is typed at a terminal is not for it.
    command.process_group(0);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    if debug {
        command.arg("--debug");
    }
    let mut fds = vec![theirs, door_theirs];
    fds.extend(gofers);
    host::pass_descriptors(&mut command, fds);
    let child = command.spawn().map_err(failed)?;
    Ok(PrivateSentry { pid: i32::try_from(child.id()).unwrap_or_default(), socket: ours.into(), door })
}

/// A door, ours and the sentry's end; ours does not wait.
fn door() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(&theirs, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// Hands over gofers, the network's broker if there is one, and a session, to the private sentry of the container in `host`.
pub(super) fn join_sentry(host: &Path, gofers: Vec<OwnedFd>, broker: Option<OwnedFd>) -> Result<Place, HelperError> {
    let failed = |source| HelperError::Shared { host: host.to_owned(), source };
    let refused = |errno: rsc_proto::abi::Errno| failed(io::Error::from_raw_os_error(errno.number()));
    let (door, theirs) = door().map_err(failed)?;
    knock(host, &theirs).map_err(failed)?;
    let offer = |offer: Offer, fd: &OwnedFd| send_descriptor(door.as_fd(), offer.number(), fd.as_fd()).map_err(refused);
    for gofer in &gofers {
        offer(Offer::Gofer, gofer)?;
    }
    if let Some(broker) = &broker {
        offer(Offer::Broker, broker)?;
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| failed(io::ErrorKind::Unsupported.into()))?;
    let token = GuestToken::new(u64::from_ne_bytes(random));
    let (socket, theirs) = UnixStream::pair().map_err(failed)?;
    offer(Offer::Session(token), &theirs.into())?;
    Ok(Place { socket, token, door })
}

/// A broker of internet sockets at work.
#[derive(Debug)]
pub(super) struct Broker {
    /// Its pid.
    pub(super) pid: i32,
    /// For requests.
    pub(super) socket: OwnedFd,
}

/// Starts a broker in a network that is not the sentry's.
pub(super) fn broker(net: &Net) -> Result<Broker, HelperError> {
    let program = installed("sentry")?;
    let failed = |source| HelperError::Sentry { program: program.clone(), source };
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| failed(errno.into()))?;
    let mut command = Command::new(&program);
    command.arg(BROKER).arg(match net {
        Net::Host => "host".as_ref(),
        Net::Path(path) => path.as_os_str(),
    });
    command.env_clear().stdin(Stdio::from(theirs)).stdout(Stdio::null()).process_group(0);
    let child = command.spawn().map_err(failed)?;
    Ok(Broker { pid: i32::try_from(child.id()).unwrap_or_default(), socket: ours })
}

fn installed(name: &str) -> Result<PathBuf, HelperError> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().map(|dir| dir.join(name));
    let found = beside.into_iter().chain([Path::new(LIBEXEC).join(name)]).find(|path| path.is_file());
    found.ok_or(HelperError::NoSentry(own))
}
