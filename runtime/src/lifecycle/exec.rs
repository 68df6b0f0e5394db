//! `exec`: one more process in a running container. It is forked here, so that it is ours (or our parent's) to reap; it enters the
//! jail and the container's cgroup, and is then the supervisor's to trace, as a sibling.

use std::ffi::CString;
use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rsc_oci::cgroups::Cgroups;
use rsc_oci::exec::{Changes, Checked, from_bundle, from_file};
use rsc_oci::spec::{Hook, Process};
use rsc_oci::state::{StateError, write_atomically};
use rsc_oci::{ProcessId, Record, Status};

use super::control::{Conversation, Reply, Request};
use super::create::{adjust_oom_score, own};
use super::passed::Passed;
use super::terminal::{Pty, Relay};
use super::{LifecycleError, environment, run, watcher};
use crate::cli::Context;
use crate::jail::{self, JailConfig};
use crate::supervisor::sandbox;
use crate::sys::process;

/// What `exec` is asked to do.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// The container.
    pub id: String,
    /// What to run.
    pub what: What,
    /// Do not wait for its end.
    pub detach: bool,
    /// Where to write its pid.
    pub pid_file: Option<PathBuf>,
    /// Where to send the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Even if the container is paused.
    pub ignore_paused: bool,
    /// How many descriptors to pass on, from 3.
    pub preserve_fds: u32,
    /// Cgroups below the container's: see [`Cgroups::below`].
    pub cgroups: Vec<String>,
}

/// What `exec` runs.
#[derive(Clone, Debug)]
pub enum What {
    /// The `process` in a file.
    File(PathBuf),
    /// The container's own, changed.
    Changed(Changes),
}

/// Runs a process in a container; its exit status, 128 and more for signals, or 0 when it is left to itself.
pub fn exec(context: &Context, options: ExecOptions) -> Result<u8, LifecycleError> {
    execute(context, options).map_err(|error| LifecycleError::Exec(Box::new(error)))
}

fn execute(context: &Context, options: ExecOptions) -> Result<u8, LifecycleError> {
    let entry = context.store.entry(&options.id)?;
    let record = entry.load()?.ok_or_else(|| StateError::NotFound(options.id.clone()))?;
    let init = match (record.status(), record.init) {
        (Status::Created | Status::Running, Some(init)) => init,
        (Status::Paused, Some(_)) if !options.ignore_paused => {
            let problem = "cannot exec in a paused container (use --ignore-paused to override)";
            return Err(LifecycleError::Refused(problem.to_owned()));
        }
        (Status::Paused, Some(init)) => init,
        (Status::Creating, _) => return Err(LifecycleError::NotRunning),
        _ => return Err(LifecycleError::Refused("cannot exec in a stopped container".to_owned())),
    };
    let Checked { process, ignored } = match options.what {
        What::File(path) => from_file(&path)?,
        What::Changed(changes) => from_bundle(&record.bundle, changes)?,
    };
    for ignored in &ignored {
        tracing::warn!("ignored: {ignored}");
    }
    let terminal = process.terminal().unwrap_or(false);
    match (terminal, options.detach, &options.console_socket) {
        (true, true, None) => {
            return Err(LifecycleError::Refused(
                "cannot allocate tty if rsc-runtime will detach without setting console socket".to_owned(),
            ));
        }
        (false, _, Some(_)) | (_, false, Some(_)) => {
            return Err(LifecycleError::Refused(
                "cannot use console socket if rsc-runtime will not detach or allocate tty".to_owned(),
            ));
        }
        _ => {}
    }
    let passed = Passed::take(0, options.preserve_fds)?;
    let cgroups = Cgroups::existing(&record.leaves).below(&options.cgroups)?;
    // From here on a signal is for the new process, which unblocks its own again.
    let signals = run::block_signals()?;
    let (mut stdio, master) = stdio(&process, terminal, options.console_socket.as_deref())?;
    stdio.extend(passed.into_descriptors());
    let conversation = begin(entry.dir(), &record)?;
    let new = New {
        id: record.id.as_str(),
        conversation: &conversation,
        init,
        process: &process,
        args: sandbox::c_strings(process.args().as_ref()),
        env: environment::of(Some(&process), root_of(&record)),
        program: None,
        cgroups: &cgroups,
        terminal,
    };
    let pid = new.start(stdio).map_err(as_start)?;
    let started = ProcessId::of(pid).ok_or_else(|| LifecycleError::Supervisor("the process has ended".to_owned()));
    let finish = || -> Result<u8, LifecycleError> {
        if let Some(path) = &options.pid_file {
            write_atomically(path, pid.to_string().as_bytes())
                .map_err(LifecycleError::io("writing", path.display().to_string()))?;
        }
        if options.detach { Ok(0) } else { attend(started?, &signals, master) }
    };
    finish().inspect_err(|_| end(pid))
}

/// Waits for its end, and serves its terminal meanwhile.
fn attend(started: ProcessId, signals: &SignalFd, master: Option<OwnedFd>) -> Result<u8, LifecycleError> {
    let mut relay = None;
    if let Some(master) = master {
        let (Some(input), Some(output)) = (own(0), own(1)) else {
            return Err(LifecycleError::io("setting up", "the terminal")(Errno::EBADF));
        };
        relay = Some(Relay::start(master, input, output)?);
    }
    let status = run::wait(started, signals, relay.as_mut());
    if let Some(relay) = &mut relay {
        relay.drain();
    }
    status
}

/// Its 0, 1 and 2, and the terminal's master if it is ours to serve.
#[allow(clippy::type_complexity)]
fn stdio(
    process: &Process,
    terminal: bool,
    console: Option<&Path>,
) -> Result<(Vec<Option<OwnedFd>>, Option<OwnedFd>), LifecycleError> {
    if !terminal {
        return Ok((vec![own(0), own(1), own(2)], None));
    }
    let (slaves, pty) = Pty::for_process(process)?;
    match console {
        Some(path) => {
            pty.send_master(path)?;
            Ok((slaves, None))
        }
        None => Ok((slaves, Some(pty.master))),
    }
}

/// Starts a `startContainer` hook in the container, as its first process's user and in that one's working directory; its pid, a child
/// of the caller.
pub(super) fn hook(
    dir: &Path,
    record: &Record,
    init: ProcessId,
    hook: &Hook,
    input: fs::File,
    output: &fs::File,
) -> Result<i32, LifecycleError> {
    let args = hook.args().clone().filter(|args| !args.is_empty());
    let args = args.unwrap_or_else(|| vec![hook.path().display().to_string()]);
    let Checked { mut process, .. } = from_bundle(&record.bundle, Changes { args, ..Changes::default() })?;
    process.set_env(hook.env().clone());
    let cgroups = Cgroups::existing(&record.leaves);
    let copy =
        || output.try_clone().map(|file| Some(file.into())).map_err(LifecycleError::io("copying", "a descriptor"));
    let stdio = vec![Some(input.into()), copy()?, copy()?];
    let conversation = begin(dir, record)?;
    let new = New {
        id: record.id.as_str(),
        conversation: &conversation,
        init,
        process: &process,
        args: sandbox::c_strings(process.args().as_ref()),
        // A hook has nothing but its own.
        env: sandbox::c_strings(process.env().as_ref()),
        program: Some(hook.path().as_path()),
        cgroups: &cgroups,
        terminal: false,
    };
    new.start(stdio).map_err(as_start)
}

fn begin(dir: &Path, record: &Record) -> Result<Conversation, LifecycleError> {
    Conversation::begin(dir).map_err(LifecycleError::io("talking to the supervisor of", record.id.as_str()))
}

/// The container's root, if it is on this host: else it is an export of the sentry.
fn root_of(record: &Record) -> Option<&Path> {
    Some(Path::new(&record.rootfs)).filter(|root| root.is_absolute())
}

/// To clients of `exec` a program that can't be had is a process that can't be started.
fn as_start(error: LifecycleError) -> LifecycleError {
    match error {
        LifecycleError::ProgramMissing(problem) | LifecycleError::ProgramUnusable(problem) => {
            LifecycleError::Start(problem)
        }
        other => other,
    }
}

/// Kills and reaps a child.
fn end(pid: i32) {
    let _ = process::kill(pid, libc::SIGKILL);
    let _ = waitpid(Pid::from_raw(pid), None);
}

/// A process to be made.
pub(crate) struct New<'a> {
    /// The container.
    pub(crate) id: &'a str,
    /// With its supervisor.
    pub(crate) conversation: &'a Conversation,
    /// Its first process.
    pub(crate) init: ProcessId,
    /// What the sentry is told.
    pub(crate) process: &'a Process,
    /// The arguments, as the new process gets them.
    pub(crate) args: Vec<CString>,
    /// The environment likewise.
    pub(crate) env: Vec<CString>,
    /// What to execute, if that is not what its first argument says.
    pub(crate) program: Option<&'a Path>,
    /// Where it is accounted.
    pub(crate) cgroups: &'a Cgroups,
    /// Its standard input is its terminal.
    pub(crate) terminal: bool,
}

impl New<'_> {
    /// Makes it and lets its program run; its pid. On an error nothing of it is left.
    pub(crate) fn start(&self, stdio: Vec<Option<OwnedFd>>) -> Result<i32, LifecycleError> {
        let process = self.process;
        let (host_uid, host_gid) = JailConfig::host_ids();
        let config = JailConfig {
            uid: 0,
            gid: 0,
            host_uid,
            host_gid,
            joined: Vec::new(),
            way_in: None,
            shown: None,
            hostname: String::new(),
            rlimits: sandbox::host_limits(process),
            args: self.args.clone(),
            env: self.env.clone(),
            anchor: false,
        };
        let jailed = |error: jail::JailError| LifecycleError::Start(error.to_string());
        let controlling = stdio.first().and_then(Option::as_ref).filter(|_| self.terminal).map(AsFd::as_fd);
        let watched = controlling.map(watcher::start).transpose();
        let watched = watched.map_err(LifecycleError::io("watching", "the terminal"))?;
        let joiner = jail::enter(&config, self.init.pid).map_err(jailed)?;
        let pid = joiner.pid();
        if !self.init.is_alive() {
            joiner.abort();
            return Err(LifecycleError::NotRunning);
        }
        let placed = self.cgroups.join(pid).map_err(LifecycleError::from);
        if let Err(error) = placed.and_then(|()| adjust_oom_score(Some(process), pid)) {
            joiner.abort();
            return Err(error);
        }
        let jail = joiner.proceed().map_err(jailed)?;
        let result = self.hand_over(&jail, stdio, watched, &config.rlimits);
        result.map(|()| pid).inspect_err(|_| end(pid))
    }

    fn hand_over(
        &self,
        jail: &jail::Jail,
        stdio: Vec<Option<OwnedFd>>,
        watched: Option<OwnedFd>,
        rlimits: &[(u32, u64, u64)],
    ) -> Result<(), LifecycleError> {
        let failed = || LifecycleError::io("talking to the supervisor of", self.id);
        let spec = memory_file(self.process).map_err(LifecycleError::io("describing", "the process"))?;
        let conversation = self.conversation;
        let mut fds: Vec<RawFd> = vec![spec.as_raw_fd(), jail.control.as_raw_fd()];
        fds.extend(stdio.iter().flatten().map(AsRawFd::as_raw_fd));
        fds.extend(watched.iter().map(AsRawFd::as_raw_fd));
        let (pid, terminal) = (jail.pid, watched.is_some());
        let open = stdio.iter().map(Option::is_some).collect();
        let program = self.program.map(|path| path.display().to_string());
        let request = Request::Enter { pid, stdio: open, terminal, program };
        outcome(conversation.ask(&request, &fds).map_err(failed())?)?;
        // Here and not in the jail, which has no right to raise a limit.
        for (resource, soft, hard) in rlimits {
            process::set_rlimit_of(pid, *resource, *soft, *hard)
                .map_err(LifecycleError::io("setting", format!("resource limit {resource} to {soft}:{hard}")))?;
        }
        outcome(conversation.ask(&Request::Release { pid }, &[]).map_err(failed())?)
    }
}

fn outcome(reply: Reply) -> Result<(), LifecycleError> {
    match reply {
        Reply::Done => Ok(()),
        Reply::ProgramMissing(problem) => Err(LifecycleError::ProgramMissing(problem)),
        Reply::ProgramUnusable(problem) => Err(LifecycleError::ProgramUnusable(problem)),
        Reply::Failed(problem) => Err(LifecycleError::Start(problem)),
    }
}

fn memory_file(process: &Process) -> std::io::Result<OwnedFd> {
    use std::io::Seek as _;
    let mut file = fs::File::from(memfd_create(c"rsc-process", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(process)?)?;
    file.rewind()?;
    Ok(file.into())
}
