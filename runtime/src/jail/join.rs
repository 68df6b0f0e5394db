//! Entering a jail that there is: for `exec`.

use super::{Jail, JailConfig, JailError, await_ready, between, child, maps_of};
use crate::sys::process;
use nix::{
    fcntl::{OFlag, open},
    sched::setns,
    sys::{
        socket::{MsgFlags, send},
        stat::Mode,
    },
};
use std::os::fd::AsRawFd;

/// A process that has entered the jail and waits to be let go on.
#[derive(Debug)]
pub struct Joiner(Jail);

/// Makes a process in the jail of `init`. Its user and group there are init's own, whatever `config` says of them: the jail knows
/// no others. The caller must have one thread only.
pub fn enter(config: &JailConfig, init: i32) -> Result<Joiner, JailError> {
    let host = |doing| move |error| JailError::Host { doing, error };
    let config = JailConfig { uid: maps_of(init, "uid_map")?, gid: maps_of(init, "gid_map")?, ..config.clone() };
    let pidfd = process::pidfd_open(init).map_err(host("open the container's init"))?;
    // Who enters the mount namespace has its tree for a root, which is not init's.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(format!("/proc/{init}/root").as_str(), flags, Mode::empty());
    let root = root.map_err(host("find the root of the container's init"))?;
    let enter = || {
        setns(pidfd, super::NAMESPACES)
            .map_err(|errno| format!("enter the container's namespaces: {}", errno.desc()))?;
        Ok(true)
    };
    between::make(&config, child::Entry::Joined(root), enter).map(Joiner)
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
