//! `remote --all`: a container without a bundle, in the context of the server: its root is an export of the sentry, and its user, its
//! names and its network are the sentry's.
//!
//! The jail's first process never runs: it holds the namespaces, and takes in orphans. The program enters it, as with `exec`, so that
//! it is an ordinary process to signals, which a namespace's first process is not. There is no folder and no state: the supervisor
//! ends with this process, whatever ends it.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, access};
use rsc_oci::cgroups::{Beside, Cgroups};
use rsc_oci::spec::Spec;
use rsc_oci::{Annotations, Bundle, Loss, ProcessId, RootSource};
use serde_json::{Value, json};

use super::attend::{self, Attendant};
use crate::cli::args::{RemoteArgs, Streams};
use crate::cli::config::HostConfig;
use crate::cli::{self, Context, settings};
use crate::jail::{self, JailConfig};
use crate::lifecycle::control::{Channel, Conversation};
use crate::lifecycle::create::{fork_supervisor, heard, own};
use crate::lifecycle::exec::New;
use crate::lifecycle::terminal::{Pty, Relay};
use crate::lifecycle::{LifecycleError, delete};
use crate::supervisor::{Commands, InContext, Seat, sandbox};
use crate::sys::process;

/// After the program's end the supervisor may take this long to tell the sentry.
const FAREWELL: Duration = Duration::from_secs(10);
/// Linux's default, where the caller's environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Limits by their numbers in Linux.
const LIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// Runs a program to its end; its exit status. Of the signal that ended it, this process ends too.
pub(super) fn run(context: &Context, args: RemoteArgs) -> Result<u8, LifecycleError> {
    let config = HostConfig::load(context.global.config.as_deref())?;
    let mut settings = settings::resolve(&context.global, &Annotations::default(), &config);
    if settings.sentry.is_none() {
        return Err(LifecycleError::Refused("no sentry is named; give --sentry URL, or set RSC_SENTRY".to_owned()));
    }
    // The host's configuration is about containers.
    settings.on_loss = context.global.on_loss.unwrap_or(Loss::Eio);
    let wish = Wish::new(&args)?;
    let id = cli::fresh_id("remote")?;
    // From here on a signal is for the program, which unblocks its own again.
    let signals = attend::block_signals()?;
    let (stdio, master) = stdio(args.stdio)?;
    let terminal = master.is_some();
    let spec = wish.spec(terminal)?;
    let process = spec.process().clone().unwrap_or_default();
    let bundle = Bundle {
        dir: PathBuf::from("/"),
        spec,
        root: RootSource::Export(args.export.clone().unwrap_or_default()),
        annotations: Annotations::default(),
        ignored: Vec::new(),
    };
    let failed = || LifecycleError::io("making", "a socket pair");
    let (ours, theirs) = Channel::pair().map_err(failed())?;
    let (command, commands) = Channel::pair().map_err(failed())?;
    let jail = jail::spawn(&anchor(&bundle)).map_err(|error| LifecycleError::Supervisor(error.to_string()))?;
    let anchored = ProcessId::of(jail.pid);
    let seat = Seat {
        id: id.clone(),
        bundle,
        settings,
        dir: None,
        namespaces: Default::default(),
        beside: Beside::default(),
        shared: Vec::new(),
        host: None,
        // The log of calls may go to standard error.
        stdio: vec![None, None, own(2)],
        terminal: false,
        commands: Commands::Only(commands),
        jail,
        creator: Some(theirs),
        log: context.log.clone(),
        debug: context.global.debug,
        publish: Vec::new(),
        context: Some(InContext {
            own_user: args.user.is_none(),
            own_streams: args.stdio == Streams::Remote,
            program: wish.here(),
        }),
    };
    let supervisor = ProcessId::of(fork_supervisor(seat)?);
    let end = Ending { supervisor, jailed: anchored, creator: Some(ours) };
    end.ready()?;
    let init = anchored.ok_or_else(|| LifecycleError::Supervisor("the jail has ended".to_owned()))?;
    let conversation = Conversation::over(command);
    let new = New {
        id: id.as_str(),
        conversation: &conversation,
        init,
        process: &process,
        args: wish.args.clone(),
        env: wish.env.iter().filter_map(|entry| CString::new(entry.as_bytes()).ok()).collect(),
        program: None,
        cgroups: &Cgroups::default(),
        terminal,
    };
    let pid = new.start(stdio).map_err(|error| match error {
        // Its words are for clients of containers.
        LifecycleError::Start(problem) => LifecycleError::Supervisor(problem),
        other => other,
    })?;
    drop(new);
    drop(conversation);
    let relay = match (master, own(0), own(1)) {
        (Some(master), Some(input), Some(output)) => Some(Relay::start(master, input, output)?),
        _ => None,
    };
    let mut attendant = Attendant { pid, signals, relay };
    let status = attendant.wait();
    drop(end);
    attendant.finish();
    Ok(attend::exit_as(status?))
}

/// The processes that serve the program. They end when this is dropped.
struct Ending {
    supervisor: Option<ProcessId>,
    jailed: Option<ProcessId>,
    creator: Option<Channel>,
}

impl Ending {
    /// Waits until the jail is held ready.
    fn ready(&self) -> Result<(), LifecycleError> {
        use crate::lifecycle::control::FromSupervisor;
        let Some(creator) = &self.creator else { return Ok(()) };
        loop {
            // What it has started ends with it.
            if matches!(heard(creator)?, FromSupervisor::Ready) {
                return Ok(());
            }
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.creator = None;
        attend::let_children_go();
        if let Some(supervisor) = self.supervisor
            && !delete::wait(supervisor, FAREWELL)
        {
            tracing::warn!("the supervisor does not end; it is killed");
            let _ = supervisor.kill_hard();
        }
        // A dead tracer takes what it traces along; before it has come so far, the jail is alone.
        let _ = self.jailed.map(ProcessId::kill_hard);
    }
}

/// Standard streams for the program, and the master of its terminal: it has one if both input and output are.
#[allow(clippy::type_complexity)]
fn stdio(streams: Streams) -> Result<(Vec<Option<OwnedFd>>, Option<OwnedFd>), LifecycleError> {
    if streams == Streams::Remote {
        return Ok((vec![None, None, None], None));
    }
    let mut stdio = vec![own(0), own(1), own(2)];
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Ok((stdio, None));
    }
    let pty = Pty::like(std::io::stdout().as_fd())?;
    for stream in stdio.iter_mut().flatten().filter(|stream| stream.is_terminal()) {
        *stream = pty.slave.try_clone().map_err(LifecycleError::io("copying", "a descriptor"))?;
    }
    Ok((stdio, Some(pty.master)))
}

/// The jail's first process, which holds it.
fn anchor(bundle: &Bundle) -> JailConfig {
    let (host_uid, host_gid) = JailConfig::host_ids();
    JailConfig {
        uid: 0,
        gid: 0,
        host_uid,
        host_gid,
        joined: sandbox::joined(&bundle.spec),
        way_in: None,
        shown: None,
        hostname: String::new(),
        rlimits: Vec::new(),
        args: vec![c"rsc".to_owned()],
        env: Vec::new(),
        anchor: true,
    }
}

/// What is to be run, as the command line says.
struct Wish {
    args: Vec<CString>,
    env: Vec<OsString>,
    cwd: String,
    user: (u32, u32),
}

impl Wish {
    fn new(args: &RemoteArgs) -> Result<Self, LifecycleError> {
        let refused = |text: String| LifecycleError::Refused(text);
        let cwd = args.cwd.clone().unwrap_or_else(|| "/".to_owned());
        if !cwd.starts_with('/') {
            return Err(refused(format!("--cwd {cwd:?} is not absolute")));
        }
        let user = args.user.as_deref().map(parse_user).transpose().map_err(refused)?;
        let words: Result<Vec<CString>, _> = args.words.iter().map(|word| CString::new(word.as_bytes())).collect();
        Ok(Self {
            args: words.map_err(|_| refused("an argument has a zero byte".to_owned()))?,
            env: environment(std::env::vars_os(), &args.env, &cwd),
            cwd,
            user: user.unwrap_or_default(),
        })
    }

    /// A specification of it.
    fn spec(&self, terminal: bool) -> Result<Spec, LifecycleError> {
        let mask = umask(Mode::empty());
        umask(mask);
        // Bytes that are no text reach the program by the jail; where the sentry looks, names of files are meant.
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        let env: Vec<_> = self.env.iter().map(|entry| entry.to_string_lossy()).collect();
        let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
        let spec = json!({
            "ociVersion": "1.2.1",
            "process": {
                "args": args, "env": env, "cwd": self.cwd, "terminal": terminal, "rlimits": limits(),
                "user": {"uid": self.user.0, "gid": self.user.1, "umask": mask.bits()},
            },
            "root": {"path": "/"},
            "mounts": mounts(),
            "linux": {"namespaces": namespaces},
        });
        serde_json::from_value(spec)
            .map_err(|error| LifecycleError::Refused(format!("describing the program: {error}")))
    }

    /// Where this machine has the program, as a shell would look for it; only files that it may execute.
    fn here(&self) -> Option<PathBuf> {
        let name = OsStr::from_bytes(self.args.first()?.as_bytes());
        let usable = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|it| it.is_file()) && access(path.as_path(), AccessFlags::X_OK).is_ok()
        };
        let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
            vec![std::path::absolute(Path::new(name)).ok()?]
        } else {
            let path = self.env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
            let path = OsStr::from_bytes(path.unwrap_or(DEFAULT_PATH.as_bytes()));
            std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).collect()
        };
        candidates.into_iter().find(usable).and_then(|path| fs::canonicalize(path).ok())
    }
}

/// The caller's environment with the changes of `--env`. PWD says where the program really is.
pub(super) fn environment(
    callers: impl Iterator<Item = (OsString, OsString)>,
    changes: &[String],
    cwd: &str,
) -> Vec<OsString> {
    let mut entries: Vec<(OsString, OsString)> = callers.collect();
    let mut change = |name: &str, value: Option<&str>| {
        entries.retain(|(known, _)| known != name);
        entries.extend(value.map(|value| (name.into(), value.into())));
    };
    change("PWD", Some(cwd));
    change("OLDPWD", None);
    for it in changes {
        match it.split_once('=') {
            Some((name, value)) => change(name, Some(value)),
            None => change(it, None),
        }
    }
    let join = |(name, value): (OsString, OsString)| {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend(value.into_vec());
        OsString::from_vec(entry)
    };
    entries.into_iter().map(join).collect()
}

/// UID or UID:GID; without a group, that of the same number.
pub(super) fn parse_user(text: &str) -> Result<(u32, u32), String> {
    let bad = || format!("--user {text:?} is not UID or UID:GID, in numbers");
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX).ok_or_else(bad);
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    Ok((number(uid)?, number(gid)?))
}

/// The caller's own limits.
fn limits() -> Vec<Value> {
    let own = (0..).zip(LIMITS).filter_map(|(number, name)| {
        let (soft, hard) = process::rlimit(number).ok()?;
        Some(json!({"type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard}))
    });
    own.collect()
}

/// What is not of the export: devices, and what shows the sandbox itself.
fn mounts() -> Value {
    let mount = |at: &str, kind: &str, options: &str| json!({"destination": at, "type": kind, "source": kind, "options": options.split(',').collect::<Vec<_>>()});
    json!([
        mount("/proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
        mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777"),
        mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        assert_eq!(parse_user("7"), Ok((7, 7)));
        assert_eq!(parse_user("7:8"), Ok((7, 8)));
        for bad in ["", "root", "7:", ":7", "-1", "4294967295", "1:2:3"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_environment_is_the_callers() {
        let callers = [("A", "1"), ("PWD", "/here"), ("OLDPWD", "/x"), ("B", "2")];
        let callers = callers.into_iter().map(|(name, value)| (name.into(), value.into()));
        let env = environment(callers, &["B".to_owned(), "C=3=4".to_owned()], "/there");
        assert_eq!(env, ["A=1", "PWD=/there", "C=3=4"]);
    }

    #[test]
    fn a_specification_is_made() {
        let wish = Wish { args: vec![c"ls".to_owned()], env: vec!["A=1".into()], cwd: "/srv".to_owned(), user: (3, 4) };
        let spec = wish.spec(true).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!((process.user().uid(), process.user().gid(), process.terminal()), (3, 4, Some(true)));
        assert!(process.rlimits().as_ref().unwrap().len() > 10);
        assert!(sandbox::joined(&spec).is_empty());
        assert!(wish.here().is_some_and(|path| path.is_absolute()));
    }
}
