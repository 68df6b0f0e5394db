//! One container: what containerd asks for, done by calls of the OCI runtime, and the ends of its processes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::CreateTaskRequest;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::topics;
use tokio::sync::oneshot;

use super::command::{Runtime, Stdios, memory_file};
use super::error::{Doing as _, ShimError};
use super::events::{Events, timestamp};
use super::oom::OomWatch;
use super::options::Options;
use super::process::{Phase, Process, finished};
use super::reaper::{Exit, Reaper, lock};
use super::rootfs;
use super::stdio::{self, Names};
use super::terminal::{ConsoleSocket, Terminal};
use crate::id::ContainerId;
use crate::state::{Record, Store};

/// What was written to a terminal is waited for so long, after its process's end.
const DRAIN: Duration = Duration::from_secs(5);

/// What all containers of a shim have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    /// containerd's namespace.
    pub(super) namespace: Arc<str>,
    /// Waits for children.
    pub(super) reaper: Reaper,
    /// Tells containerd.
    pub(super) events: Events,
}

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    id: ContainerId,
    bundle: PathBuf,
    common: Common,
    runtime: Runtime,
    init: Arc<Process>,
    execs: Mutex<HashMap<String, Arc<Process>>>,
    paused: Mutex<bool>,
    killed_for_memory: Mutex<u64>,
    /// Its init is the first of its pid namespace, with which all others end.
    own_pids: bool,
}

impl Container {
    /// Makes a container.
    pub(super) async fn create(common: Common, request: &CreateTaskRequest) -> Result<Arc<Self>, ShimError> {
        let id = ContainerId::parse(&request.id).map_err(|error| ShimError::Invalid(error.to_string()))?;
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return Err(ShimError::Unsupported("restoring a container from a checkpoint".to_owned()));
        }
        let bundle = PathBuf::from(&request.bundle);
        if !bundle.is_absolute() {
            return Err(ShimError::Invalid(format!("bundle {:?} is not absolute", request.bundle)));
        }
        let options = Options::parse(request.options.as_ref(), &bundle)?;
        options.save(&bundle)?;
        let runtime = Runtime::new(options, &common.namespace, &bundle);
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let container = Arc::new(Self {
            own_pids: has_own_pids(&bundle),
            id,
            bundle,
            common,
            runtime,
            init: Arc::new(Process::new("", names, Vec::new())),
            execs: Mutex::default(),
            paused: Mutex::default(),
            killed_for_memory: Mutex::default(),
        });
        rootfs::mount_all(&request.rootfs, &container.rootfs())?;
        if let Err(error) = container.make_init().await {
            rootfs::unmount_all(&container.rootfs());
            return Err(error);
        }
        let created = event::TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle.clone(),
            io: MessageField::some(event::TaskIO {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
                ..Default::default()
            }),
            pid: container.init.pid(),
            ..Default::default()
        };
        container.common.events.tell(topics::TASK_CREATE_EVENT_TOPIC, &created);
        Ok(container)
    }

    fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    async fn make_init(self: &Arc<Self>) -> Result<(), ShimError> {
        let bundle = self.bundle.clone();
        let pid_file = self.bundle.join("init.pid");
        let flags = self.runtime.create_flags();
        let mut args = vec![OsStr::new("--bundle"), bundle.as_os_str()];
        args.extend(flags.iter().map(OsStr::new));
        self.make(&self.init, "create", &args, &pid_file).await
    }

    /// Runs `create` or `exec`, and has what came of it watched.
    async fn make(
        self: &Arc<Self>,
        process: &Arc<Process>,
        command: &'static str,
        args: &[&OsStr],
        pid_file: &Path,
    ) -> Result<(), ShimError> {
        let (stdios, mut held) =
            stdio::open(&process.names, &self.common.namespace, self.id.as_str(), self.runtime.owner())?;
        let watch = self.common.reaper.watch();
        let socket = if process.names.terminal { Some(ConsoleSocket::new(&self.bundle)?) } else { None };
        let socket_path = socket.as_ref().map(ConsoleSocket::path);
        let mut line = args.to_vec();
        line.extend([OsStr::new("--pid-file"), pid_file.as_os_str()]);
        if let Some(path) = &socket_path {
            line.extend([OsStr::new("--console-socket"), path.as_os_str()]);
        }
        line.push(OsStr::new(self.id.as_str()));
        let (given, kept): (Stdios, Stdios) =
            if socket.is_some() { ([None, None, None], stdios) } else { (stdios, [None, None, None]) };
        let made = async {
            self.runtime.run(&self.common.reaper, command, &line, given).await?;
            let begin = || {
                let terminal = socket.map(|socket| serve_terminal(&socket, kept)).transpose()?;
                Ok((read_pid(pid_file)?, terminal))
            };
            let begun: Result<_, ShimError> = begin();
            if begun.is_err() && command == "create" {
                // It is there, and nobody will ever ask for it.
                let args = ["--force", self.id.as_str()];
                if let Err(error) = self.runtime.simple(&self.common.reaper, "delete", &args).await {
                    tracing::warn!("after a failure of create: {error}");
                }
            }
            begun
        };
        match made.await {
            Ok((pid, terminal)) => {
                process.born(pid, held, terminal);
                tokio::spawn(self.clone().attend(process.clone(), watch.claim(pid)));
                Ok(())
            }
            Err(error) => {
                held.abort();
                Err(error)
            }
        }
    }

    /// Waits for the end of a process, and tells of it.
    async fn attend(self: Arc<Self>, process: Arc<Process>, end: oneshot::Receiver<Exit>) {
        let Ok(exit) = end.await else { return };
        // Not while it is being started: the end comes after the start.
        let _starting = process.starting.lock().await;
        if process.exec.is_empty() {
            if !self.own_pids {
                // As runc's shim: nobody else would end what the init has left behind.
                if let Err(error) =
                    self.runtime.simple(&self.common.reaper, "kill", &["--all", self.id.as_str(), "9"]).await
                {
                    tracing::info!("after the end of {}: {error}", self.id);
                }
            }
            self.look_for_kills(&self.memory_watch());
        }
        process.ended(exit);
        let name = if process.exec.is_empty() { self.id.to_string() } else { process.exec.clone() };
        let event = event::TaskExit {
            container_id: self.id.to_string(),
            id: name,
            pid: process.pid(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        };
        self.common.events.tell(topics::TASK_EXIT_EVENT_TOPIC, &event);
    }

    fn record(&self) -> Option<Record> {
        Store::new(self.runtime.root()).entry(self.id.as_str()).ok()?.load().ok()?
    }

    fn memory_watch(&self) -> Option<OomWatch> {
        let watch = OomWatch::new(&self.record()?.leaves);
        watch.inspect_err(|error| tracing::info!("watching the memory of {}: {error}", self.id)).ok()?
    }

    /// Tells of processes that were killed for want of memory and not told of yet.
    fn look_for_kills(&self, watch: &Option<OomWatch>) {
        let Some(watch) = watch else { return };
        let now = watch.count();
        let before = std::mem::replace(&mut *lock(&self.killed_for_memory), now);
        if now > before {
            let event = event::TaskOOM { container_id: self.id.to_string(), ..Default::default() };
            self.common.events.tell(topics::TASK_OOM_EVENT_TOPIC, &event);
        }
    }

    async fn watch_memory(self: Arc<Self>) {
        let watch = self.memory_watch();
        let Some(open) = &watch else { return };
        while !matches!(self.init.phase(), Phase::Stopped(_)) && open.rings().await {
            self.look_for_kills(&watch);
        }
    }

    /// The init.
    pub(super) fn init(&self) -> &Process {
        &self.init
    }

    /// The init (an empty `exec`) or another process.
    pub(super) fn process(&self, exec: &str) -> Result<Arc<Process>, ShimError> {
        if exec.is_empty() {
            return Ok(self.init.clone());
        }
        let found = lock(&self.execs).get(exec).cloned();
        found.ok_or_else(|| ShimError::NotFound(format!("process {exec} of container {}", self.id)))
    }

    /// Starts the init or an exec; its pid.
    pub(super) async fn start(self: &Arc<Self>, exec: &str) -> Result<u32, ShimError> {
        let process = self.process(exec)?;
        let _starting = process.starting.lock().await;
        if process.phase() != Phase::Created {
            return Err(ShimError::Precondition(format!("process of container {} was started before", self.id)));
        }
        let container_id = self.id.to_string();
        if exec.is_empty() {
            self.runtime.simple(&self.common.reaper, "start", &[self.id.as_str()]).await?;
            tokio::spawn(self.clone().watch_memory());
            process.started();
            let pid = process.pid();
            let event = event::TaskStart { container_id, pid, ..Default::default() };
            self.common.events.tell(topics::TASK_START_EVENT_TOPIC, &event);
            return Ok(pid);
        }
        if let Err(error) = self.make_exec(&process).await {
            process.ended(Exit { status: 255, at: SystemTime::now() });
            return Err(error);
        }
        process.started();
        let pid = process.pid();
        let event = event::TaskExecStarted { container_id, exec_id: exec.to_owned(), pid, ..Default::default() };
        self.common.events.tell(topics::TASK_EXEC_STARTED_EVENT_TOPIC, &event);
        Ok(pid)
    }

    async fn make_exec(self: &Arc<Self>, process: &Arc<Process>) -> Result<(), ShimError> {
        let spec = self.bundle.join(format!("{}.process.json", process.exec));
        let pid_file = self.bundle.join(format!("{}.pid", process.exec));
        std::fs::write(&spec, &process.spec).map_err(ShimError::io(format!("writing {}", spec.display())))?;
        let args = [OsStr::new("--process"), spec.as_os_str(), OsStr::new("--detach")];
        let made = self.make(process, "exec", &args, &pid_file).await;
        for file in [spec, pid_file] {
            // One may be missing after a failure; the folder goes with the container.
            let _ = std::fs::remove_file(file);
        }
        made
    }

    /// Notes an exec for a later start.
    pub(super) fn exec(&self, exec: &str, names: Names, spec: Vec<u8>) -> Result<(), ShimError> {
        ContainerId::parse(exec).map_err(|error| ShimError::Invalid(error.to_string()))?;
        let mut execs = lock(&self.execs);
        if execs.contains_key(exec) {
            return Err(ShimError::Exists(format!("process {exec}")));
        }
        execs.insert(exec.to_owned(), Arc::new(Process::new(exec, names, spec)));
        let (container_id, exec_id) = (self.id.to_string(), exec.to_owned());
        let event = event::TaskExecAdded { container_id, exec_id, ..Default::default() };
        self.common.events.tell(topics::TASK_EXEC_ADDED_EVENT_TOPIC, &event);
        Ok(())
    }

    /// Removes a process that does not run; the container, for its init.
    pub(super) async fn delete(&self, exec: &str) -> Result<(u32, Exit), ShimError> {
        let process = self.process(exec)?;
        let exit = match process.phase() {
            Phase::Running => return Err(ShimError::Precondition("cannot delete a running process".to_owned())),
            Phase::Created => Exit { status: 0, at: SystemTime::now() },
            Phase::Stopped(exit) => exit,
        };
        if let (Some(terminal), Phase::Stopped(_)) = (process.take_terminal(), process.phase()) {
            // Whoever still has it open loses it.
            let _ = tokio::time::timeout(DRAIN, terminal.drain()).await;
        }
        if exec.is_empty() {
            match self.runtime.simple(&self.common.reaper, "delete", &[self.id.as_str()]).await {
                Err(ShimError::Runtime { message, .. }) if message.contains("does not exist") => {}
                done => done?,
            }
            rootfs::unmount_all(&self.rootfs());
        } else {
            lock(&self.execs).remove(exec);
        }
        let event = event::TaskDelete {
            container_id: self.id.to_string(),
            id: exec.to_owned(),
            pid: process.pid(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        };
        self.common.events.tell(topics::TASK_DELETE_EVENT_TOPIC, &event);
        Ok((process.pid(), exit))
    }

    /// Sends a signal.
    pub(super) async fn kill(&self, exec: &str, signal: u32, all: bool) -> Result<(), ShimError> {
        let process = self.process(exec)?;
        if !exec.is_empty() {
            return process.kill(i32::try_from(signal).unwrap_or(0));
        }
        if matches!(process.phase(), Phase::Stopped(_)) && !all {
            return Err(finished());
        }
        let number = signal.to_string();
        let args: &[&str] =
            if all { &["--all", self.id.as_str(), &number] } else { &[self.id.as_str(), number.as_str()] };
        self.runtime.simple(&self.common.reaper, "kill", args).await.map_err(|error| match error {
            ShimError::Runtime { message, .. }
                if ["not running", "already finished", "does not exist"].iter().any(|said| message.contains(said)) =>
            {
                finished()
            }
            error => error,
        })
    }

    /// Freezes it, or lets it go on.
    pub(super) async fn pause(&self, paused: bool) -> Result<(), ShimError> {
        let command = if paused { "pause" } else { "resume" };
        self.runtime.simple(&self.common.reaper, command, &[self.id.as_str()]).await?;
        *lock(&self.paused) = paused;
        let container_id = self.id.to_string();
        if paused {
            let event = event::TaskPaused { container_id, ..Default::default() };
            self.common.events.tell(topics::TASK_PAUSED_EVENT_TOPIC, &event);
        } else {
            let event = event::TaskResumed { container_id, ..Default::default() };
            self.common.events.tell(topics::TASK_RESUMED_EVENT_TOPIC, &event);
        }
        Ok(())
    }

    /// Whether it is frozen.
    pub(super) fn is_paused(&self) -> bool {
        *lock(&self.paused)
    }

    /// Its folder.
    pub(super) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// Sets the limits that a JSON text says.
    pub(super) async fn update(&self, resources: &[u8]) -> Result<(), ShimError> {
        let input: OwnedFd = memory_file(resources)?;
        let args = ["--resources", "-", self.id.as_str()].map(OsStr::new);
        self.runtime.run(&self.common.reaper, "update", &args, [Some(input), None, None]).await
    }

    /// Its processes on this machine, with the exec ids of those that have one.
    pub(super) fn pids(&self) -> Vec<(u32, Option<String>)> {
        let leaves = self.record().map(|record| record.leaves).unwrap_or_default();
        let mut pids: Vec<u32> =
            crate::cgroups::processes(&leaves).iter().filter_map(|process| u32::try_from(process.pid).ok()).collect();
        if leaves.is_empty() && !matches!(self.init.phase(), Phase::Stopped(_)) {
            pids.push(self.init.pid());
        }
        let execs: HashMap<u32, String> =
            lock(&self.execs).values().map(|exec| (exec.pid(), exec.exec.clone())).collect();
        pids.into_iter().map(|pid| (pid, execs.get(&pid).cloned())).collect()
    }

    /// What it uses.
    pub(super) fn metrics(&self) -> Result<containerd_shim_protos::protobuf::well_known_types::any::Any, ShimError> {
        let record = self.record().ok_or_else(|| ShimError::NotFound(format!("cgroup of container {}", self.id)))?;
        Ok(super::metrics::metrics(&record.leaves))
    }
}

fn serve_terminal(socket: &ConsoleSocket, [stdin, stdout, _]: Stdios) -> Result<Terminal, ShimError> {
    Terminal::start(socket.receive()?, stdin, stdout)
}

fn read_pid(path: &Path) -> Result<i32, ShimError> {
    let what = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).doing(what())?;
    text.trim()
        .parse::<i32>()
        .ok()
        .filter(|pid| *pid > 1)
        .ok_or_else(|| ShimError::io(what())(std::io::Error::other("no pid")))
}

/// Whether the configuration asks for a new pid namespace.
fn has_own_pids(bundle: &Path) -> bool {
    let config = std::fs::read(bundle.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let namespaces = config.pointer("/linux/namespaces").and_then(serde_json::Value::as_array);
    let text =
        |value: &serde_json::Value, key: &str| value.get(key).and_then(|it| it.as_str()).unwrap_or("").to_owned();
    namespaces.into_iter().flatten().any(|one| text(one, "type") == "pid" && text(one, "path").is_empty())
}
