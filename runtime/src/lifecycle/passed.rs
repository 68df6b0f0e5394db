//! Descriptors of the caller that the workload gets beside 0, 1 and 2: `--preserve-fds`, and those of socket activation
//! (sd_listen_fds(3)). They keep their numbers.
//!
//! The workload's are virtual: the supervisor keeps the real ones and reads and writes them for the sentry, as it does with 0, 1 and 2.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{SFlag, fstat};
use rsc_oci::spec::Spec;

use super::LifecycleError;
use crate::sys::host;

/// How many descriptors can be passed on: Linux sends few more at a time (SCM_MAX_FD), and some travel beside.
pub const MAX: u32 = 200;
/// The first number.
const FIRST: i32 = 3;

/// What is passed on.
#[derive(Debug)]
pub(super) struct Passed {
    descriptors: Vec<OwnedFd>,
    /// How many of them are for sd_listen_fds(3).
    activated: u32,
}

/// How many descriptors a service manager has handed to this very process. As runc, whose library counts nothing else.
pub fn activated() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| ours).unwrap_or(0)
}

impl Passed {
    /// Copies descriptors of ours: first those of socket activation, then `preserved` ones.
    pub(super) fn take(activated: u32, preserved: u32) -> Result<Self, LifecycleError> {
        let count = activated.saturating_add(preserved);
        if count > MAX {
            return Err(LifecycleError::Refused(format!("--preserve-fds: at most {MAX} descriptors can be passed on")));
        }
        let descriptors = (FIRST..).take(count as usize).map(take).collect::<Result<_, _>>()?;
        Ok(Self { descriptors, activated })
    }

    /// Tells the workload of those of socket activation, as runc does.
    pub(super) fn announce(&self, spec: &mut Spec) {
        let Some(process) = spec.process_mut().as_mut().filter(|_| self.activated > 0) else { return };
        let mut env = process.env().clone().unwrap_or_default();
        env.extend([format!("LISTEN_FDS={}", self.activated), "LISTEN_PID=1".to_owned()]);
        process.set_env(Some(env));
    }

    /// They, for the workload's numbers from 3 on.
    pub(super) fn into_descriptors(self) -> impl Iterator<Item = Option<OwnedFd>> {
        self.descriptors.into_iter().map(Some)
    }
}

fn take(number: i32) -> Result<OwnedFd, LifecycleError> {
    let fd = host::inherited(number)
        .map_err(LifecycleError::io("taking over", format!("descriptor {number} (--preserve-fds, LISTEN_FDS)")))?;
    match unfit(&fd).map_err(LifecycleError::io("looking at", format!("descriptor {number}")))? {
        None => Ok(fd),
        Some(what) => Err(LifecycleError::Unsupported(format!(
            "descriptor {number} (--preserve-fds, LISTEN_FDS) is {what}, which can't be passed on: a workload gets files, \
             pipes, terminals and connected sockets"
        ))),
    }
}

/// What can't be read and written at a distance.
fn unfit(fd: &OwnedFd) -> nix::Result<Option<&'static str>> {
    if OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?).contains(OFlag::O_PATH) {
        return Ok(Some("a path (O_PATH)"));
    }
    Ok(match SFlag::from_bits_truncate(fstat(fd)?.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG | SFlag::S_IFIFO | SFlag::S_IFCHR => None,
        SFlag::S_IFSOCK if getsockopt(fd, sockopt::AcceptConn)? => Some("a socket that listens"),
        SFlag::S_IFSOCK => match nix::sys::socket::getpeername::<nix::sys::socket::SockaddrStorage>(fd.as_raw_fd()) {
            Err(Errno::ENOTCONN) => Some("a socket without a connection"),
            _ => None,
        },
        SFlag::S_IFDIR => Some("a directory"),
        SFlag::S_IFBLK => Some("a block device"),
        _ => Some("an object of the host's kernel"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn what_can_be_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let is = |fd: OwnedFd| unfit(&fd).unwrap();
        assert_eq!(is(tempfile::tempfile().unwrap().into()), None);
        assert_eq!(is(std::fs::File::open("/dev/null").unwrap().into()), None);
        assert_eq!(is(UnixStream::pair().unwrap().0.into()), None);
        assert_eq!(is(nix::unistd::pipe().unwrap().0), None);
        assert_eq!(is(UnixListener::bind(dir.path().join("s")).unwrap().into()), Some("a socket that listens"));
        let alone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(is(alone.into()), Some("a socket without a connection"));
        assert_eq!(is(std::fs::File::open(dir.path()).unwrap().into()), Some("a directory"));
    }

    #[test]
    fn only_what_was_inherited_counts() {
        // Ours, opened with O_CLOEXEC.
        let own = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(host::inherited(own.as_raw_fd()).err(), Some(Errno::EBADF));
        assert!(Passed::take(0, MAX + 1).is_err());
    }
}
