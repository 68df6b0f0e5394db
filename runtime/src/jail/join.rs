//! Entering a jail that there is: for `exec`.
//!
//! A namespace of processes can be entered by one's children only, and the user namespace by a process that will never leave it. So
//! a go-between enters, makes the new process as its own sibling (`CLONE_PARENT`), says its pid and ends: the new process is a child
//! of the caller, which reaps it or leaves it to its own parent.

use super::{Jail, JailConfig, JailError, await_ready, child, loader, maps_of, read_report};
use crate::sys::process::{self, Forked, exit_now};
use nix::{
    sched::setns,
    sys::{
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair},
        wait::waitpid,
    },
    unistd::Pid,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// A process that has entered the jail and waits to be let go on.
#[derive(Debug)]
pub struct Joiner(Jail);

/// Makes a process in the jail of `init`. Its user and group there are init's own, whatever `config` says of them: the jail knows
/// no others. The caller must have one thread only.
pub fn enter(config: &JailConfig, init: i32) -> Result<Joiner, JailError> {
    let host = |doing| move |error| JailError::Host { doing, error };
    let loader = loader::memfd().map_err(host("make the loader's memory file"))?;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(host("make a socket pair"))?;
    let config = JailConfig { uid: maps_of(init, "uid_map")?, gid: maps_of(init, "gid_map")?, ..config.clone() };
    let pidfd = process::pidfd_open(init).map_err(host("open the container's init"))?;
    match process::fork_into(0).map_err(host("fork"))? {
        Forked::Child => {
            drop(ours);
            go_between(&config, &pidfd, theirs, &loader)
        }
        Forked::Parent(pid) => {
            drop(theirs);
            let rlimits = config.rlimits.clone();
            let go_between = Jail { pid, control: ours, rlimits, names: Default::default() };
            let word = read_report(&go_between);
            let _ = waitpid(Pid::from_raw(pid), None);
            let word = String::from_utf8_lossy(&word?).into_owned();
            match word.strip_prefix("pid ").and_then(|pid| pid.parse().ok()) {
                Some(pid) => Ok(Joiner(Jail { pid, ..go_between })),
                None => Err(JailError::Inside(word)),
            }
        }
    }
}

fn go_between(config: &JailConfig, init: &OwnedFd, control: OwnedFd, loader: &OwnedFd) -> ! {
    let say = |text: &str| {
        // Nobody hears it: then nobody waits for it either.
        let _ = send(control.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
    };
    if let Err(errno) = setns(init, super::NAMESPACES) {
        say(&format!("enter the container's namespaces: {}", errno.desc()));
        exit_now(1)
    }
    match process::fork_into(libc::CLONE_PARENT) {
        Ok(Forked::Child) => child::run(config, control, loader, child::Entry::Joined),
        Ok(Forked::Parent(pid)) => {
            say(&format!("pid {pid}"));
            exit_now(0)
        }
        Err(errno) => {
            say(&format!("fork: {}", errno.desc()));
            exit_now(1)
        }
    }
}

impl Joiner {
    /// Its host pid, a child of the caller.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Lets it go on until it waits for the supervisor. On an error it is dead and reaped.
    pub fn proceed(self) -> Result<Jail, JailError> {
        let told = send(self.0.control.as_raw_fd(), child::MAPPED, MsgFlags::MSG_NOSIGNAL)
            .map_err(|error| JailError::Host { doing: "talk to the new process", error })
            .map(drop);
        match told.and_then(|()| await_ready(&self.0)) {
            Ok(()) => Ok(self.0),
            Err(error) => {
                self.0.abort();
                Err(error)
            }
        }
    }

    /// Kills and reaps it.
    pub fn abort(self) {
        self.0.abort();
    }
}
