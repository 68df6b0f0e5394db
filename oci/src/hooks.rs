//! The specification's hooks: programs of the compute host that are run at certain moments of a container's life, with its state on
//! standard input. config.md, "POSIX-platform Hooks".

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use oci_spec::runtime::{Hook, Hooks};
use serde::Serialize;

use crate::json::one_line;
use crate::process::ProcessId;
use crate::signal::{pidfd_open, pidfd_send_signal};
use crate::state::{Record, Status};
use crate::sys;

/// What a failed hook wrote is quoted up to this length, in bytes.
const QUOTED: u64 = 1024;

/// When hooks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// During `create`, once there are namespaces: `prestart`, which is deprecated, and `createRuntime`.
    CreateRuntime,
    /// Right after, in the namespaces of the container that are the compute host's: network, IPC, UTS and cgroup.
    CreateContainer,
    /// After `start`.
    Poststart,
    /// After `delete`.
    Poststop,
}

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
#[error("error running {list} hook #{index} ({path}): {problem}")]
pub struct HookError {
    list: &'static str,
    index: usize,
    path: String,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    TimedOut(Duration),
    Failed(ExitStatus, String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TimedOut(limit) => write!(f, "it ran past its timeout of {} s and was killed", limit.as_secs()),
            Self::Failed(status, output) => {
                match status.code() {
                    Some(code) => write!(f, "exit status {code}")?,
                    None => write!(f, "killed by signal {}", status.signal().unwrap_or_default())?,
                }
                if output.is_empty() { Ok(()) } else { write!(f, ", output: {output}") }
            }
        }
    }
}

/// The state of the specification, without what only our own `state` says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a std::path::Path,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: &'a std::collections::BTreeMap<String, String>,
}

fn lists(hooks: &Hooks, moment: Moment) -> Vec<(&'static str, &[Hook])> {
    fn get<'a>(name: &'static str, list: &'a Option<Vec<Hook>>) -> (&'static str, &'a [Hook]) {
        (name, list.as_deref().unwrap_or_default())
    }
    match moment {
        #[allow(deprecated)]
        Moment::CreateRuntime => {
            vec![get("prestart", hooks.prestart()), get("createRuntime", hooks.create_runtime())]
        }
        Moment::CreateContainer => vec![get("createContainer", hooks.create_container())],
        Moment::Poststart => vec![get("poststart", hooks.poststart())],
        Moment::Poststop => vec![get("poststop", hooks.poststop())],
    }
}

/// Runs the hooks of a moment, in their order; the first that fails ends it.
///
/// # Errors
/// [`HookError`]
pub fn run(record: &Record, moment: Moment) -> Result<(), HookError> {
    let Some(hooks) = &record.hooks else { return Ok(()) };
    for (list, hooks) in lists(hooks, moment) {
        for (index, hook) in hooks.iter().enumerate() {
            one(record, moment, hook).map_err(|problem| HookError {
                list,
                index,
                path: one_line(&hook.path().display().to_string()),
                problem,
            })?;
        }
    }
    Ok(())
}

/// Runs the `startContainer` hooks: programs of the container's own, which `spawn` starts in it, with these for standard input and
/// output; it gives the pid of a child of the caller.
///
/// # Errors
/// [`HookError`]
pub fn start_container(
    record: &Record,
    mut spawn: impl FnMut(&Hook, File, &File) -> io::Result<i32>,
) -> Result<(), HookError> {
    let list = record.hooks.as_ref().and_then(|hooks| hooks.start_container().as_deref()).unwrap_or_default();
    for (index, hook) in list.iter().enumerate() {
        let mut run = || {
            let mut output = memory().map_err(Problem::Io)?;
            let input = input(record, Status::Created, record.init).map_err(Problem::Io)?;
            let pid = spawn(hook, input, &output).map_err(Problem::Io)?;
            finish(hook, pid, &mut output)
        };
        let path = one_line(&hook.path().display().to_string());
        run().map_err(|problem| HookError { list: "startContainer", index, path, problem })?;
    }
    Ok(())
}

fn one(record: &Record, moment: Moment, hook: &Hook) -> Result<(), Problem> {
    let mut output = memory().map_err(Problem::Io)?;
    let child = spawn(record, moment, hook, &output).map_err(Problem::Io)?;
    let pid = i32::try_from(child.id()).map_err(|error| Problem::Io(io::Error::other(error)))?;
    finish(hook, pid, &mut output)
}

/// Waits for its end; it is an error if that is not a success.
fn finish(hook: &Hook, pid: i32, output: &mut File) -> Result<(), Problem> {
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let status = wait(pid, limit)?;
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    // It is about what the hook said; that it can't be read changes nothing.
    let _ = output.rewind().and_then(|()| output.take(QUOTED).read_to_end(&mut said));
    Err(Problem::Failed(status, one_line(String::from_utf8_lossy(&said).trim())))
}

/// A file without a name: unlike a pipe it takes all that is written, whether or not somebody reads.
fn memory() -> io::Result<File> {
    Ok(memfd_create(c"hook", MFdFlags::MFD_CLOEXEC)?.into())
}

/// The container's state, for a hook's standard input.
fn input(record: &Record, status: Status, init: Option<ProcessId>) -> io::Result<File> {
    let state = State {
        oci_version: &record.oci_version,
        id: record.id.as_str(),
        status,
        pid: init.map(|init| init.pid),
        bundle: &record.bundle,
        annotations: &record.annotations,
    };
    let mut input = memory()?;
    serde_json::to_writer(&mut input, &state)?;
    input.flush()?;
    input.rewind()?;
    Ok(input)
}

fn spawn(record: &Record, moment: Moment, hook: &Hook, output: &File) -> io::Result<Child> {
    let (status, init) = match moment {
        Moment::CreateRuntime | Moment::CreateContainer => (Status::Creating, record.init),
        Moment::Poststart => (Status::Running, record.init),
        Moment::Poststop => (Status::Stopped, None),
    };
    let input = input(record, status, init)?;
    let mut command = Command::new(hook.path());
    if let Some((name, args)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(args);
    }
    command.env_clear().envs(hook.env().iter().flatten().filter_map(|entry| entry.split_once('=')));
    // As runc: a relative path of the hook's own is from the bundle.
    command.current_dir(&record.bundle);
    command.stdin(Stdio::from(input)).stdout(output.try_clone()?).stderr(output.try_clone()?);
    if moment == Moment::CreateContainer
        && let Some(init) = init
    {
        let open = |name| File::open(format!("/proc/{}/ns/{name}", init.pid)).map(OwnedFd::from);
        let namespaces: Vec<OwnedFd> =
            ["net", "ipc", "uts", "cgroup"].into_iter().map(open).collect::<Result<_, _>>()?;
        sys::enter_before_exec(&mut command, namespaces);
    }
    command.spawn()
}

fn wait(pid: i32, limit: Option<Duration>) -> Result<ExitStatus, Problem> {
    let reap = || loop {
        match waitpid(Pid::from_raw(pid), None) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(_, code)) => return Ok(ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(ExitStatus::from_raw(signal as i32)),
            Ok(_) => {}
            Err(errno) => return Err(Problem::Io(errno.into())),
        }
    };
    if let Some(limit) = limit {
        let end = pidfd_open(pid).map_err(Problem::Io)?;
        let deadline = Instant::now() + limit;
        loop {
            let left = PollTimeout::try_from(deadline.saturating_duration_since(Instant::now()));
            match poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], left.unwrap_or(PollTimeout::MAX)) {
                Ok(0) if Instant::now() >= deadline => {
                    // Both fail only if it has ended after all.
                    let _ = pidfd_send_signal(&end, Signal::SIGKILL as i32).map(|()| reap());
                    return Err(Problem::TimedOut(limit));
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => break,
                Err(errno) => return Err(Problem::Io(errno.into())),
            }
        }
    }
    reap()
}
