//! `create`: the jail, which becomes the workload's init and is our child, and beside it the supervisor.
//!
//! Order: folder, cgroup, socket, jail, supervisor; each goes into the record at once, so that a failure anywhere ends in the one
//! function that removes all of it. Nothing here starts a thread: both children are forked.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rsc_oci::cgroups::{Beside, Cgroups, Hierarchies};
use rsc_oci::publish::Publication;
use rsc_oci::spec::Process;
use rsc_oci::state::{Locked, write_atomically};
use rsc_oci::systemd::Plan;
use rsc_oci::{Bundle, Permissions, ProcessId, Record, RootSource, Stage, hooks};

use super::control::{self, Channel, FromSupervisor};
use super::neighbours::{Host, Neighbours, Turn};
use super::passed::{self, Passed};
use super::terminal::Pty;
use super::{CreateOptions, LifecycleError, delete, environment, sysctl};
use crate::cli::{Context, settings, time};
use crate::jail::{self, JailConfig, Joined, Kind};
use crate::supervisor::{self, Commands, Seat, sandbox};
use crate::sys::host;
use crate::sys::process::{Forked, exit_now, fork_into};

/// A container that is held ready for `start`.
#[derive(Debug)]
pub struct Created {
    /// Its folder, held against other commands.
    pub locked: Locked,
    /// Its record.
    pub record: Record,
    /// The terminal's master, when no console socket was given.
    pub terminal: Option<OwnedFd>,
}

/// Makes a container. `attached`: the caller stays and serves the terminal itself.
pub fn create(context: &Context, options: &CreateOptions, attached: bool) -> Result<Created, LifecycleError> {
    let mut bundle = Bundle::load(&options.bundle, &Permissions { annotations: options.permitted.clone() })?;
    let passed = Passed::take(passed::activated(), options.preserve_fds)?;
    passed.announce(&mut bundle.spec);
    for ignored in &bundle.ignored {
        tracing::info!("ignored: {ignored}");
    }
    let terminal = bundle.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    match (terminal, &options.console_socket) {
        (true, None) if !attached => {
            return Err(LifecycleError::Unsupported(
                "cannot allocate tty if rsc-runtime will detach without setting console socket; give --console-socket"
                    .to_owned(),
            ));
        }
        (false, Some(_)) => {
            return Err(LifecycleError::Unsupported(
                "cannot use console socket: config.json: process.terminal is false".to_owned(),
            ));
        }
        _ => {}
    }
    let locked = context.store.create(&options.id)?;
    let mut record = first_record(context, options, &bundle);
    match make(context, options, &bundle, &locked, &mut record, terminal, passed) {
        Ok(terminal) => Ok(Created { locked, record, terminal }),
        Err(error) => {
            if let Some(path) = &options.pid_file {
                // Absent unless the last step failed.
                let _ = fs::remove_file(path);
            }
            if let Err(left) = delete::destroy(locked, &record) {
                tracing::warn!("cleaning up container {}: {left}", record.id);
            }
            Err(error)
        }
    }
}

fn first_record(context: &Context, options: &CreateOptions, bundle: &Bundle) -> Record {
    let annotations: BTreeMap<_, _> = bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect();
    Record {
        oci_version: bundle.spec.version().clone(),
        id: options.id.clone(),
        bundle: bundle.dir.clone(),
        rootfs: match &bundle.root {
            RootSource::Directory(path) => path.display().to_string(),
            RootSource::Export(name) => format!("sentry:{name}"),
        },
        created: time::now(),
        owner: nix::unistd::geteuid().as_raw(),
        annotations,
        stage: Stage::Creating,
        creator: ProcessId::myself(),
        init: None,
        supervisor: None,
        helpers: Vec::new(),
        sentry: None,
        namespaces: BTreeMap::new(),
        cgroups: Vec::new(),
        leaves: Vec::new(),
        unit: None,
        beside: Beside::default(),
        joins_pids: false,
        hooks: bundle.spec.hooks().clone(),
        settings: settings::resolve(&context.global, &bundle.annotations, &options.config),
    }
}

fn make(
    context: &Context,
    options: &CreateOptions,
    bundle: &Bundle,
    locked: &Locked,
    record: &mut Record,
    terminal: bool,
    passed: Passed,
) -> Result<Option<OwnedFd>, LifecycleError> {
    locked.save(record)?;
    let joined = sandbox::joined(&bundle.spec);
    // Until this container can be joined, or others have been found that can.
    let turn = Turn::wait(&joined)?;
    let Around { shared, host, publish } = neighbours(context, bundle, &joined, locked, record)?;
    let turn = turn.still_needed(shared.len());
    let plan = scope(context, bundle, record)?;
    let cgroups = match &plan {
        None => Some(make_cgroups(context, bundle, locked, record)?),
        Some(_) => None,
    };
    let (mut stdio, master) = stdio(options, bundle, terminal)?;
    stdio.extend(passed.into_descriptors());
    let listener = control::listen_in(locked.dir())
        .map_err(LifecycleError::io("making the control socket of", record.id.as_str()))?;
    let jail = jail::spawn(&jail_config(bundle)).map_err(|error| LifecycleError::Supervisor(error.to_string()))?;
    record.init = ProcessId::of(jail.pid);
    locked.save(record)?;
    match (cgroups, plan) {
        (Some(cgroups), _) => cgroups.join(jail.pid)?,
        // A scope can't be made without a process in it.
        (None, Some(plan)) => join_scope(plan, bundle, locked, record, jail.pid)?,
        (None, None) => {}
    }
    adjust_oom_score(bundle.spec.process().as_ref(), jail.pid)?;
    sysctl::apply(&bundle.spec, jail.pid)?;
    hooks::run(record, hooks::Moment::CreateRuntime)?;
    hooks::run(record, hooks::Moment::CreateContainer)?;
    let (ours, theirs) = Channel::pair().map_err(LifecycleError::io("making", "a socket pair"))?;
    let seat = Seat {
        id: record.id.clone(),
        bundle: bundle.clone(),
        settings: record.settings.clone(),
        dir: Some(locked.dir().to_owned()),
        namespaces: record.namespaces.clone(),
        beside: record.beside.clone(),
        shared,
        host: host.map(|host| host.dir),
        publish,
        stdio,
        terminal,
        commands: Commands::Socket(listener),
        jail,
        creator: Some(theirs),
        log: context.log.clone(),
        debug: context.global.debug,
        context: None,
    };
    let supervisor = fork_supervisor(seat)?;
    record.supervisor = ProcessId::of(supervisor);
    locked.save(record)?;
    await_ready(&ours, record)?;
    drop(turn);
    let init = record.init.ok_or_else(|| LifecycleError::Supervisor("the container's init has ended".to_owned()))?;
    record.stage = Stage::Created;
    locked.save(record)?;
    if let Some(path) = &options.pid_file {
        write_atomically(path, init.pid.to_string().as_bytes())
            .map_err(LifecycleError::io("writing", path.display().to_string()))?;
    }
    Ok(master)
}

/// What follows from the containers around it.
struct Around {
    /// Kinds of namespaces that it shares with another.
    shared: Vec<Kind>,
    /// Whose private sentry it uses.
    host: Option<Host>,
    /// The ports that are left for it to publish.
    publish: Vec<Publication>,
}

/// Finds out with whom it will share namespaces; then their sentry is its own, whatever was asked for.
fn neighbours(
    context: &Context,
    bundle: &Bundle,
    joined: &[Joined],
    locked: &Locked,
    record: &mut Record,
) -> Result<Around, LifecycleError> {
    let Neighbours { keys, shared, host, published } = Neighbours::find(&context.store, &record.id, joined)?;
    record.namespaces = keys;
    record.joins_pids = joined.iter().any(|it| it.kind == Kind::Pid);
    if let Some(host) = &host {
        let (own, theirs) = (&mut record.settings, &host.record.settings);
        if own.sentry != theirs.sentry {
            tracing::info!("container {}: the sentry is that of container {}", record.id, host.record.id);
        }
        own.sentry.clone_from(&theirs.sentry);
        own.token_file.clone_from(&theirs.token_file);
        own.tls_ca.clone_from(&theirs.tls_ca);
        own.tls_cert.clone_from(&theirs.tls_cert);
        own.tls_key.clone_from(&theirs.tls_key);
        if own.sentry.is_none() {
            record.sentry = host.record.sentry;
            host.mark(locked.dir())?;
        }
    }
    locked.save(record)?;
    let mut publish = bundle.annotations.publish.clone();
    publish.retain(|port| !published.contains(port));
    Ok(Around { shared, host: host.filter(|_| record.settings.sentry.is_none()), publish })
}

fn make_cgroups(
    context: &Context,
    bundle: &Bundle,
    locked: &Locked,
    record: &mut Record,
) -> Result<Cgroups, LifecycleError> {
    let linux = bundle.spec.linux().as_ref();
    let asked = linux.and_then(|linux| linux.cgroups_path().clone()).filter(|path| !path.as_os_str().is_empty());
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let hierarchies = Hierarchies::detect().needed(resources);
    let own = Path::new("/").join(record.id.as_str());
    let mut noted = Ok(());
    let mut note = |dirs: &[PathBuf]| {
        record.cgroups = dirs.to_vec();
        noted = locked.save(record);
    };
    let made = match &asked {
        Some(path) => Cgroups::create(&hierarchies, path, &mut note),
        None => Cgroups::create_own(&hierarchies, &own, &mut note),
    };
    noted?;
    let cgroups = match made {
        Ok(cgroups) => cgroups,
        // As with runc, a user without privileges has a cgroup only where one can be made.
        Err(_) if asked.is_none() && context.global.is_rootless() => Cgroups::default(),
        Err(error) => return Err(error.into()),
    };
    record.cgroups = cgroups.made().to_vec();
    record.leaves = cgroups.leaves().to_vec();
    locked.save(record)?;
    match cgroups.make_beside() {
        Ok(beside) => record.beside = beside,
        // What serves it stays where we are.
        Err(error) => tracing::warn!("container {}: {error}", record.id),
    }
    locked.save(record)?;
    if let Some(resources) = resources {
        cgroups.limit(resources)?;
    }
    Ok(cgroups)
}

/// The scope that systemd is to make, if it is to.
fn scope(context: &Context, bundle: &Bundle, record: &Record) -> Result<Option<Plan>, LifecycleError> {
    if !context.global.systemd_cgroup {
        return Ok(None);
    }
    let path = bundle.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone()).unwrap_or_default();
    let user = context.global.is_rootless();
    Ok(Some(Plan::new(&path.to_string_lossy(), record.id.as_str(), &record.annotations, user)?))
}

/// Has systemd make a scope with init in it. Where it is in the record, deleting the container ends it; before that, init's end does.
fn join_scope(
    plan: Plan,
    bundle: &Bundle,
    locked: &Locked,
    record: &mut Record,
    init: i32,
) -> Result<(), LifecycleError> {
    let hierarchies = Hierarchies::detect();
    let unified = hierarchies.is_unified();
    let (unit, path) = plan.start(init, unified)?;
    record.unit = Some(unit.clone());
    locked.save(record)?;
    let mut noted = Ok(());
    let adopted = Cgroups::adopt(&hierarchies, &path, &mut |dirs| {
        record.cgroups = dirs.to_vec();
        noted = locked.save(record);
    });
    noted?;
    let cgroups = adopted?;
    record.cgroups = cgroups.made().to_vec();
    record.leaves = cgroups.leaves().to_vec();
    locked.save(record)?;
    cgroups.join(init)?;
    if let Some(resources) = bundle.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) {
        unit.limit(resources, unified)?;
        cgroups.limit(resources)?;
    }
    Ok(())
}

/// The workload's 0, 1 and 2, and the terminal's master if the caller has to serve it.
#[allow(clippy::type_complexity)]
fn stdio(
    options: &CreateOptions,
    bundle: &Bundle,
    terminal: bool,
) -> Result<(Vec<Option<OwnedFd>>, Option<OwnedFd>), LifecycleError> {
    if !terminal {
        return Ok((vec![own(0), own(1), own(2)], None));
    }
    let (slaves, pty) = Pty::for_process(bundle.spec.process().as_ref().unwrap_or(&Process::default()))?;
    match &options.console_socket {
        Some(path) => {
            pty.send_master(path)?;
            Ok((slaves, None))
        }
        None => Ok((slaves, Some(pty.master))),
    }
}

/// A copy of one of our own standard descriptors; none when it is closed.
pub(crate) fn own(number: i32) -> Option<OwnedFd> {
    match number {
        0 => std::io::stdin().as_fd().try_clone_to_owned().ok(),
        1 => std::io::stdout().as_fd().try_clone_to_owned().ok(),
        2 => std::io::stderr().as_fd().try_clone_to_owned().ok(),
        _ => None,
    }
}

fn jail_config(bundle: &Bundle) -> JailConfig {
    let (host_uid, host_gid) = JailConfig::host_ids();
    let process = bundle.spec.process().as_ref();
    let root = match &bundle.root {
        RootSource::Directory(path) => Some(path.as_path()),
        RootSource::Export(_) => None,
    };
    let user = process.map(|process| process.user().clone()).unwrap_or_default();
    JailConfig {
        uid: user.uid(),
        gid: user.gid(),
        host_uid,
        host_gid,
        joined: sandbox::joined(&bundle.spec),
        way_in: sandbox::way_in(&bundle.spec),
        shown: sandbox::shown(bundle),
        hostname: bundle.spec.hostname().clone().unwrap_or_default(),
        rlimits: process.map(sandbox::host_limits).unwrap_or_default(),
        args: sandbox::c_strings(process.and_then(|process| process.args().as_ref())),
        env: environment::of(process, root),
        anchor: false,
    }
}

/// Gives a process the score that its specification asks for.
pub(super) fn adjust_oom_score(process: Option<&Process>, pid: i32) -> Result<(), LifecycleError> {
    let Some(score) = process.and_then(|process| process.oom_score_adj()) else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    match fs::write(&path, score.to_string()) {
        // Lowering needs a privilege. What it has already needs none.
        Err(_) if fs::read_to_string(&path).is_ok_and(|now| now.trim() == score.to_string()) => Ok(()),
        other => other.map_err(LifecycleError::io("setting process.oomScoreAdj", score.to_string())),
    }
}

/// Forks the supervisor; its pid, a child of the caller.
pub(crate) fn fork_supervisor(seat: Seat) -> Result<i32, LifecycleError> {
    match fork_into(0) {
        Ok(Forked::Child) => {
            // Above all not the lock, nor the parent's end of the channel.
            host::close_all_but(&seat.descriptors());
            let code =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| supervisor::serve(seat))).unwrap_or(101);
            exit_now(code)
        }
        Ok(Forked::Parent(pid)) => Ok(pid),
        Err(errno) => {
            seat.jail.abort();
            Err(LifecycleError::io("forking", "the supervisor")(errno))
        }
    }
}

/// Listens to the supervisor until init is held ready.
fn await_ready(channel: &Channel, record: &mut Record) -> Result<(), LifecycleError> {
    loop {
        match heard(channel)? {
            FromSupervisor::Helper(pid) => record.helpers.extend(ProcessId::of(pid)),
            FromSupervisor::Sentry(pid) => record.sentry = ProcessId::of(pid),
            _ => return Ok(()),
        }
    }
}

/// What a supervisor says next, unless it has failed.
pub(crate) fn heard(channel: &Channel) -> Result<FromSupervisor, LifecycleError> {
    let message = channel.receive::<FromSupervisor>();
    match message.map_err(LifecycleError::io("hearing from", "the supervisor"))? {
        Some((FromSupervisor::ProgramMissing(problem), _)) => Err(LifecycleError::ProgramMissing(problem)),
        Some((FromSupervisor::ProgramUnusable(problem), _)) => Err(LifecycleError::ProgramUnusable(problem)),
        Some((FromSupervisor::Failed(problem), _)) => Err(LifecycleError::Supervisor(problem)),
        Some((message, _)) => Ok(message),
        None => Err(LifecycleError::Supervisor("the supervisor ended unexpectedly".to_owned())),
    }
}
