//! `rsc-runtime broker`: the client core for processes in which a library asks (`librsc_preload.so`, the SDK). One for each user, over
//! a unix socket that only this user's processes may use; a session for each combination of settings. It ends by itself when nobody
//! has used it for a while.
//!
//! A process is known by the pid that the kernel tells of its connections; a thread names itself, and must be that process's. What a
//! call does not bring along of its memory is read from the process, which the kernel lets only those do who could do anything to
//! it (ptrace(2), "access mode checking").

mod connection;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prost::Message;
use rsc_proto::v1::BrokerSettings;
use tokio::net::UnixListener;
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, OnceCell};
use tokio::time::sleep;

use super::core::{Core, Process};
use super::open::{self, World};
use super::rules::Rules;
use crate::cli::Context;
use crate::cli::args::BrokerArgs;
use crate::lifecycle::LifecycleError;
use crate::sys::process::{self, Forked};

/// Without connections and remote descriptors it ends after so long.
const IDLE: Duration = Duration::from_secs(60);
/// A sentry that is gone is not tried more often.
const RETRY: Duration = Duration::from_secs(5);
/// Sessions at most.
const SESSIONS_MAX: usize = 32;
/// Connections at most: threads of this user's processes.
const CONNECTIONS_MAX: usize = 16 * 1024;

/// One session and whose calls go there.
struct Seat {
    core: Rc<Core>,
    /// Working directory there that processes begin with.
    cwd: Option<Vec<u8>>,
    /// By pid: the process, and how many connections it has.
    processes: RefCell<HashMap<i32, (Rc<Process>, usize)>>,
    /// Once it is lost: when another is tried.
    retry_at: Cell<Instant>,
    /// By tid: how many connections it has, one for each of its terms.
    threads: RefCell<HashMap<i32, usize>>,
}

/// Where a session is, or will be once it is open.
type Place = Rc<OnceCell<Rc<Seat>>>;

/// See the module.
struct Broker {
    context: Context,
    seats: RefCell<HashMap<Vec<u8>, Place>>,
    /// By their file and list, as long as somebody is on these terms.
    rules: RefCell<HashMap<(String, String), Weak<Rules>>>,
    connections: Cell<usize>,
    changed: Notify,
}

/// Serves until nobody needs it any more.
pub fn run(context: &Context, args: &BrokerArgs) -> Result<u8, LifecycleError> {
    let path = match &args.socket {
        Some(path) => path.clone(),
        None => context.store.root().join("broker.sock"),
    };
    let told = if args.detach { Some(detach()?) } else { None };
    let Some((listener, _lock)) = listen(&path)? else {
        // Another one is at work; whoever has started this one finds it.
        tell(told);
        return Ok(0);
    };
    // A thread is a descriptor, and so is a placeholder. Without more it makes do with what there is.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let context = Context { store: context.store.clone(), global: context.global.clone(), log: context.log.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(LifecycleError::io("starting", "the executor"))?;
    runtime.block_on(async {
        let listener = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
        let listener = listener.map_err(LifecycleError::io("listening at", path.display().to_string()))?;
        tell(told);
        let broker = Rc::new(Broker {
            context,
            seats: RefCell::default(),
            rules: RefCell::default(),
            connections: Cell::new(0),
            changed: Notify::new(),
        });
        broker.serve(&listener).await;
        // New ones start another from now on.
        let _ = fs::remove_file(&path);
        Ok(0)
    })
}

/// Goes to the background: the caller's process ends with success once [`tell`] is called, with failure if that never is.
fn detach() -> Result<File, LifecycleError> {
    let (reader, writer) = nix::unistd::pipe().map_err(LifecycleError::io("making", "a pipe"))?;
    match process::fork_into(0).map_err(LifecycleError::io("forking for", "the broker"))? {
        Forked::Parent(_) => {
            drop(writer);
            let mut byte = [0];
            let told = File::from(reader).read(&mut byte).unwrap_or(0);
            process::exit_now(i32::from(told == 0))
        }
        Forked::Child => {
            drop(reader);
            // It leads no session yet, so this cannot fail; and no folder is to be held.
            let _ = nix::unistd::setsid();
            let _ = nix::unistd::chdir("/");
            Ok(File::from(writer))
        }
    }
}

/// Lets whoever has started us go on, and lets its terminal go.
fn tell(told: Option<File>) {
    let Some(mut told) = told else { return };
    if let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        for number in 0..3 {
            let _ = crate::sys::host::replace_standard(std::os::fd::AsFd::as_fd(&null), number);
        }
    }
    // It may be gone.
    let _ = told.write_all(&[1]);
}

/// The socket, and the lock that says that it is ours. `None`: another broker has it.
fn listen(path: &Path) -> Result<Option<(StdListener, Flock<File>)>, LifecycleError> {
    let failed = |doing| LifecycleError::io(doing, path.display().to_string());
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("making the folder of"))?;
    }
    let lock_path = PathBuf::from(format!("{}.lock", path.display()));
    let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let lock = lock.map_err(failed("locking"))?;
    let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(failed("locking")(std::io::Error::from(errno))),
    };
    // What is there is of one that has died.
    let _ = fs::remove_file(path);
    let listener = StdListener::bind(path).map_err(failed("listening at"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("listening at"))?;
    Ok(Some((listener, lock)))
}

impl Broker {
    async fn serve(self: &Rc<Self>, listener: &UnixListener) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if self.connections.get() < CONNECTIONS_MAX => {
                        self.connections.set(self.connections.get() + 1);
                        let broker = Rc::clone(self);
                        tokio::task::spawn_local(async move {
                            connection::serve(&broker, stream).await;
                            broker.connections.set(broker.connections.get() - 1);
                            broker.changed.notify_one();
                        });
                    }
                    // Dropped: its process says that nobody answers.
                    Ok(_) => tracing::warn!("more than {CONNECTIONS_MAX} connections: one is refused"),
                    Err(error) => {
                        tracing::warn!("cannot take a connection: {error}");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                () = self.changed.notified() => {}
                () = sleep(IDLE), if self.is_idle() => return,
            }
        }
    }

    fn is_idle(&self) -> bool {
        let in_use = |cell: &Place| cell.get().is_some_and(|seat| !seat.core.placeholders.is_empty());
        self.connections.get() == 0 && !self.seats.borrow().values().any(in_use)
    }

    /// The session for these settings, opened by the first that wants it. Programs that start when it is lost get another one, or,
    /// where the sentry does not come back, the lost one: their remote calls fail, their local ones go on.
    async fn seat(&self, settings: &BrokerSettings) -> Result<Rc<Seat>, String> {
        // Descriptors mean the same on all terms.
        let terms =
            BrokerSettings { rules: String::new(), syscalls: String::new(), explicit: false, ..settings.clone() };
        let key = terms.encode_to_vec();
        let (cell, lost) = {
            let mut seats = self.seats.borrow_mut();
            if seats.len() >= SESSIONS_MAX && !seats.contains_key(&key) {
                return Err(format!("more than {SESSIONS_MAX} different settings are in use; end some programs"));
            }
            let cell = seats.entry(key.clone()).or_default();
            let lost = cell.get().filter(|seat| seat.core.client().is_lost()).cloned();
            if let Some(lost) = &lost {
                if lost.retry_at.get() > Instant::now() {
                    return Ok(Rc::clone(lost));
                }
                *cell = Place::default();
            }
            (Rc::clone(cell), lost)
        };
        let opened = cell.get_or_try_init(|| self.open(settings)).await.map(Rc::clone);
        match (opened, lost) {
            (Ok(seat), _) => Ok(seat),
            (Err(_), Some(lost)) => {
                lost.retry_at.set(Instant::now() + RETRY);
                self.seats.borrow_mut().insert(key, Rc::new(OnceCell::new_with(Some(Rc::clone(&lost)))));
                Ok(lost)
            }
            (Err(error), None) => {
                self.seats.borrow_mut().remove(&key);
                Err(error.to_string())
            }
        }
    }

    /// The rules that are wanted; none at all if neither a file nor a list is named.
    fn rules(&self, settings: &BrokerSettings) -> Result<Rc<Rules>, LifecycleError> {
        let key = (settings.rules.clone(), settings.syscalls.clone());
        if let Some(known) = self.rules.borrow().get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let rules = match (settings.rules.as_str(), settings.syscalls.as_str()) {
            ("", "") => Rules::default(),
            (file, list) => {
                let file = Some(Path::new(file)).filter(|_| !file.is_empty());
                let list: Vec<String> = Some(list.to_owned()).filter(|list| !list.is_empty()).into_iter().collect();
                open::rules_of(file, &list)?
            }
        };
        let rules = Rc::new(rules);
        let mut known = self.rules.borrow_mut();
        known.retain(|_, rules| rules.strong_count() > 0);
        known.insert(key, Rc::downgrade(&rules));
        Ok(rules)
    }

    async fn open(&self, settings: &BrokerSettings) -> Result<Rc<Seat>, LifecycleError> {
        let path = |text: &String| Some(text).filter(|text| !text.is_empty()).map(PathBuf::from);
        let text = |text: &String| Some(text).filter(|text| !text.is_empty()).cloned();
        let mut global = self.context.global.clone();
        global.sentry = text(&settings.sentry);
        global.token_file = path(&settings.token_file).or(global.token_file);
        global.tls_ca = path(&settings.tls_ca).or(global.tls_ca);
        global.tls_cert = path(&settings.tls_cert).or(global.tls_cert);
        global.tls_key = path(&settings.tls_key).or(global.tls_key);
        let context = Context { store: self.context.store.clone(), global, log: self.context.log.clone() };
        let resolved = open::settings_of(&context)?;
        let cwd = text(&settings.cwd);
        let world = World { export: text(&settings.export), cwd: cwd.clone(), ..World::default() };
        let (core, mut session) = open::open(&resolved, &world, Rules::default()).await?;
        let served = Rc::clone(&core);
        tokio::task::spawn_local(async move {
            let reason = served.client().serve(&mut session).await;
            tracing::error!("a session with a sentry is lost ({reason}): its remote calls fail with EIO from now on");
        });
        let cwd = cwd.map(String::into_bytes);
        Ok(Rc::new(Seat {
            core,
            cwd,
            processes: RefCell::default(),
            threads: RefCell::default(),
            retry_at: Cell::new(Instant::now()),
        }))
    }
}

impl Seat {
    /// A process of which a thread has connected.
    fn enter(&self, pid: i32, tid: i32) -> Rc<Process> {
        *self.threads.borrow_mut().entry(tid).or_default() += 1;
        let mut processes = self.processes.borrow_mut();
        if let Some((process, count)) = processes.get_mut(&pid) {
            if *count == 0 {
                // Its connections end with its program.
                process.execed();
            }
            *count += 1;
            return Rc::clone(process);
        }
        processes.retain(|pid, (_, count)| *count > 0 || Path::new(&format!("/proc/{pid}")).exists());
        let process = match parent_of(pid).and_then(|parent| processes.get(&parent)) {
            Some((parent, _)) => parent.fork(pid),
            None => Process::new(pid, self.cwd.clone()),
        };
        processes.insert(pid, (Rc::clone(&process), 1));
        process
    }

    /// A thread's connection has ended; perhaps it has.
    fn leave(&self, pid: i32, tid: i32) {
        if let Some((_, count)) = self.processes.borrow_mut().get_mut(&pid) {
            *count = count.saturating_sub(1);
        }
        let mut threads = self.threads.borrow_mut();
        let left = threads.get(&tid).copied().unwrap_or(0).saturating_sub(1);
        if left > 0 {
            threads.insert(tid, left);
        } else {
            threads.remove(&tid);
            self.core.client().ended(tid, 0);
        }
    }
}

/// A process's parent.
fn parent_of(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// What is sent with a message.
type Brought = Option<OwnedFd>;
