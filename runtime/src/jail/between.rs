//! Making a process where its maker can't come back from, or where only children get to: namespaces of others.
//!
//! A namespace of processes can be entered by one's children only, a user namespace by a process that will never leave it, and others
//! by one that has no right to return. So a go-between enters, makes the new process as its own sibling (`CLONE_PARENT`), says what has
//! become of it, and ends: the new process is a child of the caller, which reaps it or leaves it to its own parent.

use super::{Jail, JailConfig, JailError, child, loader, read_report, write_maps};
use crate::sys::process::{self, Forked, exit_now};
use nix::{
    sched::CloneFlags,
    sys::{
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair},
        utsname::uname,
        wait::waitpid,
    },
    unistd::{Pid, getegid, geteuid},
};
use std::os::fd::{AsRawFd, OwnedFd};

/// A step that failed, in words.
pub(super) type Gone<T> = Result<T, String>;

/// What separates the parts of a go-between's word: in none of them.
const SEPARATOR: char = '\0';
/// Its last word.
const DONE: &str = "done";

/// Has a go-between run `enter` and make the jail's process, in new namespaces where `config` wants them if it is the
/// [first](child::Entry::First). `enter` says whether it came in by another user namespace, which then is the one above the jail's.
/// On an error nothing is left. The caller must have one thread only.
pub(super) fn make(
    config: &JailConfig,
    entry: child::Entry,
    enter: impl FnOnce() -> Gone<bool>,
) -> Result<Jail, JailError> {
    let host = |doing| move |error| JailError::Host { doing, error };
    let loader = loader::memfd().map_err(host("make the loader's memory file"))?;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(host("make a socket pair"))?;
    match process::fork_into(0).map_err(host("fork"))? {
        Forked::Child => {
            drop(ours);
            go_between(config, entry, enter, theirs, &loader)
        }
        Forked::Parent(pid) => {
            drop(theirs);
            let listened =
                listen(Jail { pid, control: ours, rlimits: config.rlimits.clone(), names: Default::default() });
            let _ = waitpid(Pid::from_raw(pid), None);
            listened
        }
    }
}

/// What the go-between says; `jail` has its pid first.
fn listen(mut jail: Jail) -> Result<Jail, JailError> {
    let word = String::from_utf8_lossy(&read_report(&jail)?).into_owned();
    let mut parts = word.split(SEPARATOR);
    let Some(pid) = parts.next().and_then(|word| word.strip_prefix("pid ")?.parse().ok()) else {
        return Err(JailError::Inside(word));
    };
    jail.pid = pid;
    jail.names = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default().to_owned());
    let done = read_report(&jail).and_then(|word| match word == DONE.as_bytes() {
        true => Ok(()),
        false => Err(JailError::Inside(String::from_utf8_lossy(&word).into_owned())),
    });
    match done {
        Ok(()) => Ok(jail),
        Err(error) => {
            jail.abort();
            Err(error)
        }
    }
}

fn go_between(
    config: &JailConfig,
    entry: child::Entry,
    enter: impl FnOnce() -> Gone<bool>,
    control: OwnedFd,
    loader: &OwnedFd,
) -> ! {
    let say = |text: &str| {
        // Nobody hears it: then nobody waits for it either.
        let _ = send(control.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
    };
    let fail = |text: &str| -> ! {
        say(text);
        exit_now(1)
    };
    let nested = enter().unwrap_or_else(|problem| fail(&problem));
    let fresh = match entry {
        child::Entry::First => config.fresh(),
        child::Entry::Joined(_) => CloneFlags::empty(),
    };
    let (mut host_uid, mut host_gid) = (config.host_uid, config.host_gid);
    if nested {
        // The ids that there are here.
        (host_uid, host_gid) = (geteuid().as_raw(), getegid().as_raw());
    }
    let names = uname().map(|names| {
        let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
        format!("{SEPARATOR}{}{SEPARATOR}{}", text(names.nodename()), text(names.domainname()))
    });
    match process::fork_into(libc::CLONE_PARENT | fresh.bits()) {
        Ok(Forked::Child) => child::run(config, control, loader, entry),
        Ok(Forked::Parent(pid)) => {
            say(&format!("pid {pid}{}", names.unwrap_or_default()));
            if fresh.contains(CloneFlags::CLONE_NEWUSER) {
                // Here, because this is the user namespace above.
                if let Err(error) = write_maps(config, pid, host_uid, host_gid) {
                    fail(&error.to_string())
                }
            }
            say(DONE);
            exit_now(0)
        }
        Err(errno) => fail(&format!("fork: {}", errno.desc())),
    }
}
