//! Platforms: the two ways to trap a workload's system calls.
//!
//! Both are one tracer and one filter with a listener; they differ in the filter's answer for the data plane. `ptrace`: every call
//! that is not native stops the task for the tracer. `seccomp`: the data plane raises notifications, which cost half as much, and
//! the control plane (what needs registers rewritten, or a park with a signal mask) stops for the tracer.

pub mod filter;
pub(crate) mod numbers;

use crate::{
    jail::{self, Jail, JailError},
    sys::{
        process::{self, Forked},
        ptrace::{self, Resume, Status},
        seccomp::{self, Instruction},
    },
};
use filter::Filter;
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, send},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rsc_oci::ProcessId;
use std::{
    fmt,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    str::FromStr,
};

/// A way to trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Every trapped call stops the task.
    Ptrace,
    /// The data plane raises notifications.
    Seccomp,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Platform::Ptrace => "ptrace",
            Platform::Seccomp => "seccomp",
        })
    }
}

/// What a user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// `seccomp` where it works.
    #[default]
    Auto,
    /// This one.
    Only(Platform),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "ptrace" => Ok(Choice::Only(Platform::Ptrace)),
            "seccomp" => Ok(Choice::Only(Platform::Seccomp)),
            _ => Err(format!("unknown platform {text:?}: use auto, ptrace or seccomp")),
        }
    }
}

impl Choice {
    /// Settles on a platform by trying. The caller must have one thread only.
    pub fn resolve(self) -> Platform {
        match self {
            Choice::Only(platform) => platform,
            Choice::Auto if notifications_work() => Platform::Seccomp,
            Choice::Auto => Platform::Ptrace,
        }
    }
}

/// Whether a filter with a listener whose waiters are killable (Linux 5.19) can be installed, tried in a child.
fn notifications_work() -> bool {
    match process::fork_into(0) {
        Ok(Forked::Child) => {
            let allow = [Instruction { code: filter::RET, jt: 0, jf: 0, k: filter::ALLOW }];
            let works = process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).is_ok() && seccomp::install(&allow, true).is_ok();
            process::exit_now(i32::from(!works))
        }
        Ok(Forked::Parent(pid)) => {
            matches!(waitpid(Pid::from_raw(pid), None), Ok(WaitStatus::Exited(_, 0)))
        }
        Err(_) => false,
    }
}

/// A workload under control: its init is held at the loader's first instruction.
#[derive(Debug)]
pub struct Attached {
    /// Host pid of init.
    pub init: i32,
    /// The filter's listener.
    pub listener: OwnedFd,
    /// The platform that the filter was made for.
    pub platform: Platform,
    /// The filter lets parks through unseen.
    pub(crate) native_pause: bool,
}

/// Why a jail could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// `PTRACE_SEIZE` was refused.
    #[error("cannot trace the jail: {0}; does the host's ptrace policy (Yama, container limits) allow it?")]
    Seize(Errno),
    /// The jail said why it failed.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A step on our side.
    #[error("cannot {doing}: {error}")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// The host's answer.
        error: Errno,
    },
    /// The host does not allow a limit of the spec.
    #[error("cannot set the workload's resource limit {resource} to {soft} (soft) and {hard} (hard): {error}")]
    Rlimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
        /// The host's answer.
        error: Errno,
    },
    /// The filter could not be compiled.
    #[error(transparent)]
    Filter(#[from] filter::FilterError),
}

/// Largest message that carries a filter: 4096 instructions and a header.
pub(crate) const FILTER_MESSAGE_MAX: usize = 4096 * 8 + 1;

/// The message that hands a filter to the jail.
pub(crate) fn filter_message(filter: &Filter) -> Result<Vec<u8>, filter::FilterError> {
    Ok(encode_filter(&filter.compile()?, filter.platform == Platform::Seccomp))
}

fn encode_filter(program: &[Instruction], killable: bool) -> Vec<u8> {
    let mut bytes = vec![u8::from(killable)];
    for instruction in program {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

/// The filter in a message from the supervisor, and whether waits are to be killable.
pub(crate) fn decode_filter(bytes: &[u8]) -> Option<(Vec<Instruction>, bool)> {
    let (killable, rest) = bytes.split_first()?;
    let (chunks, []) = rest.as_chunks::<8>() else { return None };
    let program = chunks
        .iter()
        .map(|&[a, b, jt, jf, c, d, e, f]| Instruction {
            code: u16::from_ne_bytes([a, b]),
            jt,
            jf,
            k: u32::from_ne_bytes([c, d, e, f]),
        })
        .collect::<Vec<_>>();
    (!program.is_empty()).then_some((program, *killable != 0))
}

/// Takes over a jail: seizes it, has it install the filter, takes the listener, and holds it in the loader.
///
/// For the supervisor, before it starts a runtime. On an error the jail is dead and reaped by whoever is its parent.
pub fn attach(jail: &Jail, filter: &Filter) -> Result<Attached, AttachError> {
    let attached = take_over(jail, filter);
    if attached.is_err() {
        let _ = process::kill(jail.pid, libc::SIGKILL);
        // As its tracer this process must reap it before its parent can.
        while let Ok(Status::Stopped { .. }) = ptrace::wait_for(jail.pid) {
            let _ = ptrace::resume(jail.pid, Resume::Continue, 0);
        }
    }
    attached
}

fn take_over(jail: &Jail, filter: &Filter) -> Result<Attached, AttachError> {
    let host = |doing| move |error| AttachError::Host { doing, error };
    let init = jail.pid;
    let message = filter_message(filter)?;
    ptrace::seize(init, ptrace::Options::WORKLOAD).map_err(|errno| match ProcessId::of(init) {
        // A zombie can't be traced either, but then that is not what went wrong.
        Some(process) if process.is_alive() => AttachError::Seize(errno),
        _ => AttachError::Jail(JailError::Ended),
    })?;
    send(jail.control.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL).map_err(host("send the filter to the jail"))?;
    let gone = |ptrace::Gone| AttachError::Jail(JailError::Ended);
    let regs = loop {
        wait_event(jail, libc::PTRACE_EVENT_SECCOMP)?;
        let regs = ptrace::registers(init).map_err(gone)?;
        if regs.orig_rax == u64::from(numbers::EXECVEAT) {
            break regs;
        }
        // Still our own code, which may want memory on the way.
        ptrace::resume(init, Resume::Continue, 0).map_err(gone)?;
    };
    let pidfd = process::pidfd_open(init).map_err(host("open the jail's pidfd"))?;
    // An int: the upper half is whatever was there.
    let number = regs.r9 as i32;
    let listener = process::pidfd_getfd(pidfd.as_fd(), number).map_err(host("take the filter's listener"))?;
    // Older kernels wake as they please.
    let _ = seccomp::wake_in_place(listener.as_fd());
    ptrace::resume(init, Resume::Continue, 0).map_err(gone)?;
    wait_event(jail, libc::PTRACE_EVENT_EXEC)?;
    // Here and not in the jail, which has no right to raise a limit.
    for (resource, soft, hard) in &jail.rlimits {
        process::set_rlimit_of(init, *resource, *soft, *hard).map_err(|error| AttachError::Rlimit {
            resource: *resource,
            soft: *soft,
            hard: *hard,
            error,
        })?;
    }
    let native_pause = filter.native.contains(&numbers::PAUSE);
    Ok(Attached { init, listener, platform: filter.platform, native_pause })
}

/// Waits until the jail stops at an event; signals on the way are passed on.
fn wait_event(jail: &Jail, wanted: i32) -> Result<(), AttachError> {
    loop {
        match ptrace::wait_for(jail.pid).map_err(|error| AttachError::Host { doing: "wait for the jail", error })? {
            Status::Stopped { event, .. } if event == wanted => return Ok(()),
            Status::Stopped { signal, event } => {
                let (how, signal) = match event {
                    0 => (Resume::Continue, signal),
                    _ => (Resume::Continue, 0),
                };
                let _ = ptrace::resume(jail.pid, how, signal);
            }
            Status::Ended(_) => {
                // The words before its end, "ready" to `create` aside, say why.
                let error = match jail::read_report(jail)? {
                    report if report.is_empty() => JailError::Ended,
                    report => JailError::Inside(String::from_utf8_lossy(&report).into_owned()),
                };
                return Err(error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_cross_the_socket() {
        let program =
            [Instruction { code: 6, jt: 1, jf: 2, k: 0x7fff_0000 }, Instruction { code: 0x15, jt: 0, jf: 9, k: 60 }];
        let (decoded, killable) = decode_filter(&encode_filter(&program, true)).unwrap();
        assert!(killable);
        assert_eq!(decoded, program);
        assert!(decode_filter(&[]).is_none());
        assert!(decode_filter(&[1]).is_none());
        assert!(decode_filter(&[1, 2, 3]).is_none());
    }
}
