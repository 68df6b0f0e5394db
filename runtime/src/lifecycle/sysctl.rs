//! Sysctls of the container's network namespace, which is the compute host's: sockets live there. All others are the sentry's.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, geteuid};
use rsc_oci::spec::Spec;

use super::LifecycleError;
use crate::jail::Kind;
use crate::supervisor::sandbox;
use crate::sys::host;
use crate::sys::process::{self, Forked, exit_now, fork_into};

/// Sets them in the network namespace of `init`. One of the host's own is left alone: the check of the bundle refuses that.
pub(super) fn apply(spec: &Spec, init: i32) -> Result<(), LifecycleError> {
    let all = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let net: Vec<_> = all.into_iter().flatten().filter(|(name, _)| name.starts_with("net.")).collect();
    if net.is_empty() || sandbox::namespace(spec, Kind::Network).is_none() {
        return Ok(());
    }
    let failed = || LifecycleError::io("setting linux.sysctl of", "the container's network");
    let (ours, theirs) = nix::unistd::pipe().map_err(failed())?;
    match fork_into(0).map_err(failed())? {
        Forked::Child => {
            host::close_all_but(&[theirs.as_raw_fd()]);
            let done = enter(init).and_then(|()| net.iter().try_for_each(|(name, value)| set(name, value)));
            if let Err(text) = &done {
                // The parent is gone only if it was killed.
                let _ = File::from(theirs).write_all(text.as_bytes());
            }
            exit_now(i32::from(done.is_err()))
        }
        Forked::Parent(pid) => {
            drop(theirs);
            let mut problem = String::new();
            File::from(ours).read_to_string(&mut problem).map_err(LifecycleError::io("reading", "a pipe"))?;
            waitpid(Pid::from_raw(pid), None).map_err(failed())?;
            if problem.is_empty() { Ok(()) } else { Err(LifecycleError::Refused(problem)) }
        }
    }
}

fn enter(init: i32) -> Result<(), String> {
    let entered = if geteuid().is_root() {
        let namespace = File::open(format!("/proc/{init}/ns/net")).map(OwnedFd::from);
        namespace.and_then(|namespace| Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?))
    } else {
        process::pidfd_open(init)
            .and_then(|pidfd| setns(pidfd, CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET))
            .map_err(Into::into)
    };
    entered.map_err(|error| format!("linux.sysctl: entering the container's network: {error}"))
}

fn set(name: &str, value: &str) -> Result<(), String> {
    fs::write(format!("/proc/sys/{}", path(name)), value).map_err(|error| format!("linux.sysctl: {name}: {error}"))
}

/// Dots separate, and a slash is a dot in a name: `net.ipv4.conf.eth0/1.mtu`. sysctl(8).
fn path(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_interfaces_may_have_dots() {
        assert_eq!(super::path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
