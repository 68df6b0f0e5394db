//! What the new process does to itself, in order, from its first instruction to the loader.

use super::{JailConfig, Kind, loader::LOADER_FD, tree};
use crate::sys::{host, process, seccomp};
use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, Signal},
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket},
    },
    unistd::{Gid, Uid, setgroups, sethostname, setresgid, setresuid, setsid},
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// From `create`: the ids are mapped.
pub(super) const MAPPED: &[u8] = b"mapped";
/// To `create`: waits for the supervisor.
pub(super) const READY: &[u8] = b"ready";

/// The control socket's number.
const CONTROL_FD: i32 = 59;
/// Most descriptors a task can have on the host: rsc's own.
const NOFILE: u64 = 256;

type Step = Result<(), String>;

fn step<T>(doing: &str, result: nix::Result<T>) -> Result<T, String> {
    result.map_err(|errno| format!("{doing}: {}", errno.desc()))
}

/// How a process comes into the jail.
#[derive(Debug)]
pub(super) enum Entry {
    /// It is the first one, and makes the jail's root.
    First,
    /// It has joined the namespaces, and takes the first one's root.
    Joined(OwnedFd),
}

/// Sets up and waits; never returns.
pub(super) fn run(config: &JailConfig, control: OwnedFd, loader: &OwnedFd, entry: Entry) -> ! {
    let error = match set_up(config, &control, loader, entry) {
        Ok(()) => confine(config),
        Err(error) => {
            report(control.as_raw_fd(), &error);
            process::exit_now(1)
        }
    };
    report(CONTROL_FD, &error);
    process::exit_now(1)
}

fn report(socket: i32, text: &str) {
    let _ = send(socket, text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
}

fn set_up(config: &JailConfig, control: &OwnedFd, loader: &OwnedFd, entry: Entry) -> Step {
    let mut word = [0; 16];
    let length = step("wait for the map of ids", recv(control.as_raw_fd(), &mut word, MsgFlags::empty()))?;
    if word.get(..length) != Some(MAPPED) {
        // `create` gave up, and says so itself.
        return Err("the map of ids was not written".into());
    }
    step("start a session", setsid())?;
    reset_signals()?;
    if config.anchor {
        step("let its children go unreaped", process::ignore(Signal::SIGCHLD))?;
    }
    let first = matches!(entry, Entry::First);
    match entry {
        Entry::First => tree::make(config.shown.as_ref())?,
        Entry::Joined(root) => tree::go_nowhere(root)?,
    }
    // Refused where the user had to give up setgroups to map its group; then these groups are the caller's own.
    let _ = setgroups(&[]);
    let (uid, gid) = (Uid::from_raw(config.uid), Gid::from_raw(config.gid));
    step("take on the group id", setresgid(gid, gid, gid))?;
    step("take on the user id", setresuid(uid, uid, uid))?;
    // Changing ids made the process undumpable, and its supervisor could not seize it.
    step("become dumpable", process::prctl(libc::PR_SET_DUMPABLE, 1))?;
    if first {
        if config.owns(Kind::Network) {
            step("bring the loopback interface up", raise_loopback())?;
        }
        if config.owns(Kind::Uts) && !config.hostname.is_empty() {
            step("set the host name", sethostname(&config.hostname))?;
        }
    }
    step("set no_new_privs", process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1))?;
    step("drop all capabilities", process::drop_capabilities())?;
    keep_descriptors(control.as_fd(), loader.as_fd())
}

/// Handlers and masks survive an exec as "ignored" and "blocked"; the workload starts with neither.
fn reset_signals() -> Step {
    for signal in Signal::iterator() {
        if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            step("reset a signal's action", process::default_action(signal))?;
        }
    }
    step("unblock all signals", nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None))
}

/// As runc does in a network namespace that it makes. netdevice(7).
fn raise_loopback() -> nix::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = [0u8; size_of::<libc::ifreq>()];
    let up = (libc::IFF_UP as u16).to_ne_bytes();
    // ifr_name, and behind it ifr_flags.
    for (to, from) in request.iter_mut().zip(b"lo") {
        *to = *from;
    }
    for (to, from) in request.iter_mut().skip(libc::IFNAMSIZ).zip(up) {
        *to = from;
    }
    host::ioctl_struct(socket.as_fd(), libc::SIOCSIFFLAGS, &mut request).map(drop)
}

/// Keeps the control socket and the loader, at fixed numbers, and closes everything else.
fn keep_descriptors(control: BorrowedFd<'_>, loader: BorrowedFd<'_>) -> Step {
    let nofile = process::rlimit(libc::RLIMIT_NOFILE).map_or(NOFILE, |(_, hard)| hard.min(NOFILE));
    let doing = "keep the loader's descriptor";
    // Through a high number each, as either may sit where the other is to go.
    let high = step(doing, nix::fcntl::fcntl(loader, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(100)))?;
    let high_control = step(doing, nix::fcntl::fcntl(control, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(100)))?;
    step(doing, process::dup_raw(high, LOADER_FD, 0))?;
    step(doing, process::dup_raw(high_control, CONTROL_FD, libc::O_CLOEXEC))?;
    step("close descriptors", process::close_range(0, CONTROL_FD as u32 - 1))?;
    step("close descriptors", process::close_range(LOADER_FD as u32 + 1, u32::MAX))?;
    step("limit the number of descriptors", process::set_rlimit(libc::RLIMIT_NOFILE, nofile, nofile))
}

/// The last steps, once the supervisor has seized this process; returns why they failed.
fn confine(config: &JailConfig) -> String {
    report(CONTROL_FD, "ready");
    let mut message = vec![0; crate::platform::FILTER_MESSAGE_MAX];
    let filter = match recv(CONTROL_FD, &mut message, MsgFlags::empty()) {
        // Whoever should have become the supervisor is gone.
        Ok(0) => process::exit_now(1),
        Ok(length) => crate::platform::decode_filter(message.get(..length).unwrap_or_default()),
        Err(errno) => return format!("receive the filter: {}", errno.desc()),
    };
    let Some((program, killable)) = filter else { return "the filter is malformed".into() };
    if let Err(errno) = process::set_rlimit(libc::RLIMIT_CORE, 0, 0) {
        return format!("forbid core dumps: {}", errno.desc());
    }
    match seccomp::install(&program, killable) {
        Ok(listener) => {
            let errno = process::exec_fd(LOADER_FD, &config.args, &config.env, listener.as_raw_fd());
            format!("execute the loader: {}", errno.desc())
        }
        Err(errno) => format!("install the system call filter: {}", errno.desc()),
    }
}
