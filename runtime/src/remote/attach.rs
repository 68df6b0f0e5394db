//! `attach`: takes over a running process, and gives it back. `detach` asks the `attach` of a process to do so, by a socket in the
//! user's runtime directory.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};

use super::core::Core;
use super::open::{self, World};
use super::tracer::Tracer;
use crate::cli::Context;
use crate::cli::args::{AttachArgs, DetachArgs};
use crate::lifecycle::LifecycleError;
use crate::session::SessionHandle;
use crate::sys::ptrace::Options;

/// What `detach` asks.
const LEAVE: u8 = b'd';
const LEAVE_BY_FORCE: u8 = b'f';
/// How long an answer may take: calls in flight are ended first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Attaches until the process has ended or is given back.
pub fn attach(context: &Context, args: &AttachArgs) -> Result<u8, LifecycleError> {
    let settings = open::settings_of(context)?;
    let world = World { export: args.export.clone(), cwd: args.cwd.clone(), ..World::default() };
    let rules = open::rules_of(args.rules.as_deref(), &args.syscalls)?;
    let options = if args.follow_children { Options::VISITED } else { Options::VISITED_ALONE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.map_err(LifecycleError::io("starting", "the executor"))?.block_on(async {
        let (core, mut session) = open::open(&settings, &world, rules).await?;
        let tracer = Tracer::new(Rc::clone(&core), options, world.cwd.map(String::into_bytes));
        let path = socket_of(args.pid)?;
        let doors = Door::open(&path)?;
        tracer.attach(args.pid).map_err(|error| LifecycleError::Refused(error.to_string()))?;
        tracing::info!("attached to process {}; detach or Ctrl-C gives it back", args.pid);
        live(&tracer, &core, &mut session, &doors).await?;
        session.close("detached").await;
        Ok(0)
    })
}

/// Asks for a process to be given back.
pub fn detach(args: &DetachArgs) -> Result<u8, LifecycleError> {
    let path = socket_of(args.pid)?;
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            LifecycleError::Refused(format!("no attach of yours holds process {}", args.pid))
        }
        _ => LifecycleError::io("asking", path.display().to_string())(error),
    })?;
    let asked = |error| LifecycleError::io("asking", path.display().to_string())(error);
    stream.set_read_timeout(Some(PATIENCE)).map_err(asked)?;
    stream.write_all(&[if args.force { LEAVE_BY_FORCE } else { LEAVE }]).map_err(asked)?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer).map_err(asked)?;
    if answer.is_empty() { Ok(0) } else { Err(LifecycleError::Refused(answer)) }
}

/// The socket of the `attach` of a process.
fn socket_of(pid: i32) -> Result<PathBuf, LifecycleError> {
    Ok(open::runtime_directory()?.join(format!("attach-{pid}.sock")))
}

/// Where `detach` knocks; gone with its owner.
struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    fn open(path: &PathBuf) -> Result<Self, LifecycleError> {
        let failed = LifecycleError::io("listening at", path.display().to_string());
        if UnixStream::connect(path).is_ok() {
            return Err(LifecycleError::Refused("another attach of yours holds this process".to_owned()));
        }
        // What a killed one has left.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(failed)?;
        Ok(Door { listener, path: path.clone() })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn live(
    tracer: &Rc<Tracer>,
    core: &Rc<Core>,
    session: &mut SessionHandle,
    door: &Door,
) -> Result<(), LifecycleError> {
    let taken = |kind| signal(kind).map_err(LifecycleError::io("watching for", "signals"));
    let mut interrupt = taken(SignalKind::interrupt())?;
    let (mut terminate, mut hangup) = (taken(SignalKind::terminate())?, taken(SignalKind::hangup())?);
    let drive = tracer.drive();
    tokio::pin!(drive);
    let (mut lost, mut warned) = (false, false);
    let mut waiting = Vec::new();
    loop {
        let force = tokio::select! {
            biased;
            driven = &mut drive => return driven.map_err(LifecycleError::io("tracing", "the process")),
            () = tracer.changed() => None,
            reason = core.client().serve(session), if !lost => {
                lost = true;
                tracing::error!("the session with the sentry is lost ({reason}): remote calls fail with EIO from now on");
                None
            }
            visitor = door.listener.accept() => {
                let Ok((mut stream, _)) = visitor else { continue };
                let mut asked = [0];
                // Whoever opens the door and says nothing is nobody.
                let read = tokio::time::timeout(Duration::from_secs(1), stream.read_exact(&mut asked)).await;
                let force = matches!(read, Ok(Ok(_))).then_some(asked == [LEAVE_BY_FORCE]);
                match (force, refusal(core, force == Some(true))) {
                    (Some(_), Some(refusal)) => {
                        let _ = stream.write_all(refusal.as_bytes()).await;
                        None
                    }
                    (force, _) => {
                        waiting.push(stream);
                        force
                    }
                }
            }
            _ = interrupt.recv() => {
                let refused = refusal(core, warned);
                warned = true;
                match refused {
                    Some(refusal) => {
                        tracing::error!("{refusal}; Ctrl-C once more leaves it so");
                        None
                    }
                    None => Some(true),
                }
            }
            _ = terminate.recv() => Some(true),
            _ = hangup.recv() => Some(true),
        };
        if tracer.is_idle() {
            // Dropped, which says that it is done.
            drop(waiting);
            return Ok(());
        }
        if force.is_some() {
            tracer.leave();
        }
    }
}

/// Why the process cannot be given back as it is.
fn refusal(core: &Rc<Core>, force: bool) -> Option<String> {
    let open = core.placeholders.len();
    (open > 0 && !force).then(|| {
        format!("{open} remote descriptors are open, which would fail from then on; close them first, or use --force")
    })
}
