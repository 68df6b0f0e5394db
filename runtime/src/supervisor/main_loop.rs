//! What a supervisor does, from its first helper to its last word. Everything is on one thread: futures beside each other, none of
//! which ever waits in the kernel but for readiness.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rsc_gofer::send_descriptor;
use rsc_oci::{Loss, Placement};
use rsc_proto::transport::Dialer;
use rsc_proto::transport::door::Offer;
use rsc_proto::v1::{self, Welcome, down};
use tokio::io::Interest;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;

use super::control::Asked;
use super::entering::{Entrance, Wish};
use super::helpers::{self, Net};
use super::observer::{Entering, Starting, Watch};
use super::publish::{self, Published, Way};
use super::reverse::Reverse;
use super::strace::Strace;
use super::upstream::Upstream;
use super::{Commands, Seat, StartupError, confine, control, home, namespaces, sandbox, session, terminal};
use crate::arena::Arena;
use crate::engine::{self, Engine};
use crate::jail::Kind;
use crate::lifecycle::control::{FromSupervisor, Reply, Request};
use crate::lifecycle::state::SESSION;
use crate::platform::{self, Choice, Platform, filter::Filter};
use crate::session::{ConnectError, SessionClient, SessionConfig, SessionEvent, SessionHandle};
use crate::sys::host;
use rsc_sentry::stdio::Stdio;

/// Runs the container to its end. An error is one from before it was ready.
pub(super) fn run(seat: Seat) -> Result<(), StartupError> {
    // The probe of `auto` forks, which only a process with one thread may.
    let platform = match seat.settings.platform {
        rsc_oci::Platform::Auto => Choice::Auto,
        rsc_oci::Platform::Ptrace => Choice::Only(Platform::Ptrace),
        rsc_oci::Platform::Seccomp => Choice::Only(Platform::Seccomp),
    };
    let platform = platform.resolve();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // The thread that resolves a host name must be gone before capabilities are dropped: each thread has its own.
    let runtime =
        builder.enable_all().thread_keep_alive(Duration::from_millis(1)).build_local(LocalOptions::default())?;
    // A task, because the future that a runtime is given is woken by a system call each time.
    let life = runtime.spawn_local(async move {
        let (supervisor, session) = bring_up(seat, platform).await?;
        supervisor.live(session).await;
        Ok(())
    });
    runtime.block_on(life).unwrap_or_else(|error| Err(StartupError(format!("the supervisor broke down: {error}"))))
}

/// A container that is ready for `start`, or runs.
struct Supervisor {
    seat: Seat,
    engine: Rc<RefCell<Engine>>,
    upstream: Upstream,
    reverse: Rc<Reverse>,
    strace: Option<Strace>,
    starting: Starting,
    entrance: Entrance,
    /// What the engine says of processes that enter.
    entering: mpsc::UnboundedReceiver<Entering>,
    /// The container's program.
    program: Vec<u8>,
    lost: Cell<bool>,
    /// To the private sentry, for the supervisors of others.
    door: Option<OwnedFd>,
    /// Which published ports are open.
    published: Option<publish::Open>,
}

/// Starts the helpers, opens the session, takes over the jail.
async fn bring_up(mut seat: Seat, platform: Platform) -> Result<(Supervisor, SessionHandle), StartupError> {
    let strace = match &seat.settings.strace {
        Some(path) => {
            let opened = Strace::open(path, seat.stdio.get(2).and_then(Option::as_ref));
            Some(opened.map_err(|error| StartupError(format!("--strace {}: {error}", path.display())))?)
        }
        None => None,
    };
    let mut plan = sandbox::plan(&seat.id, &seat.bundle, seat.settings.placement, strace.is_some());
    if let Some(context) = &seat.context {
        seat.stdio = vec![None, None, None];
        context.complete(&mut plan.sandbox);
    }
    plan.sandbox.stdio = Stdio::describe(&seat.stdio);
    namespaces::describe(&seat, &mut plan.sandbox)?;
    let process = plan.sandbox.process.clone().unwrap_or_default();
    let strangers = plan.sandbox.host_pids;
    let published = publish(&seat, &mut plan.sandbox).await?;
    let Connected { session, welcome, donors, door, program: found } = connect(&seat, plan).await?;
    let filter = filter(&seat, platform, &welcome);
    let message = platform::filter_message(&filter)?;
    let attached = platform::attach(&seat.jail, &filter)?;
    let first_stdio = u32::try_from(seat.stdio.len())?;
    let stdio = Rc::new(Stdio::new(std::mem::take(&mut seat.stdio)));
    let arena = Rc::new(RefCell::new(Arena::new(donors)));
    let upstream = Upstream::new(session.sender());
    if seat.terminal {
        terminal::forward(&upstream)?;
    }
    let starting = Starting::default();
    let program = process.args.first().map(String::as_bytes).unwrap_or_default();
    let mut options = engine::Options::new(program, &process.env);
    options.record = strace.is_some();
    options.host_namespaces = sandbox::host_namespaces(&seat.bundle.spec);
    options.strangers = strangers;
    let (sender, entering) = mpsc::unbounded_channel();
    let watch = Watch { strace: strace.clone(), starting: starting.clone(), entering: sender };
    let engine = Engine::new(attached, options, Box::new(upstream.clone()), Box::new(arena.clone()), Box::new(watch));
    let replies = upstream.clone();
    let reverse = Rc::new(Reverse::new(stdio, arena, Rc::new(move |reply| replies.reply(reply))));
    let engine = Rc::new(RefCell::new(engine));
    let context = seat.context.clone();
    let (own, begun) = (upstream.clone(), starting.clone());
    let entrance = Entrance::new(engine.clone(), own, Rc::clone(&reverse), begun, message, context, found, first_stdio);
    confine::alone().await?;
    confine::confine()?;
    let program = program.to_vec();
    let lost = Cell::new(false);
    let published = published.map(|published| {
        let remote = seat.settings.sentry.is_some();
        published.serve(if remote { Way::Relayed(session.relays()) } else { Way::Beside })
    });
    let supervisor = Supervisor {
        seat,
        engine,
        upstream,
        reverse,
        strace,
        starting,
        entrance,
        entering,
        program,
        lost,
        door,
        published,
    };
    Ok((supervisor, session))
}

/// Binds the ports that are to be relayed, and tells the sentry of them. Where the sandbox's network is the container's namespace, a
/// port that keeps its number is there without that.
async fn publish(seat: &Seat, sandbox: &mut v1::Sandbox) -> Result<Option<Published>, StartupError> {
    let (mut ports, net) = (seat.publish.clone(), net(seat));
    if seat.settings.sentry.is_none() {
        ports.retain(|port| port.host != port.container);
    }
    if ports.is_empty() {
        return Ok(None);
    }
    let (published, helper) = Published::bind(&net, &ports).await?;
    seat.tell(&FromSupervisor::Helper(helper))?;
    let inside: BTreeSet<u32> = ports.iter().map(|port| port.container.get().into()).collect();
    sandbox.published = inside.into_iter().collect();
    Ok(Some(published))
}

/// What a session comes with.
struct Connected {
    session: SessionHandle,
    welcome: Welcome,
    /// Sockets on which gofers donate descriptors.
    donors: Vec<OwnedFd>,
    /// See [`Supervisor`].
    door: Option<OwnedFd>,
    /// The path of this machine's program, where the server has none of its name.
    program: Option<String>,
}

async fn connect(seat: &Seat, plan: sandbox::Plan) -> Result<Connected, StartupError> {
    let dialer = session::dialer(&seat.settings)?;
    home::settle(seat.jail.pid);
    let mut sockets: Vec<OwnedFd> = Vec::new();
    let mut donors = Vec::new();
    for gofer in helpers::gofers(&plan.exports)? {
        seat.tell(&FromSupervisor::Helper(gofer.pid))?;
        sockets.push(gofer.socket);
        donors.extend(gofer.donations);
    }
    let (mut door, mut guest) = (None, None);
    let (dialer, relayed) = match (dialer, &seat.host) {
        (Some(dialer), _) => (dialer, sockets.into_iter().map(Into::into).collect()),
        (None, None) => {
            let sentry = helpers::sentry(sockets, &net(seat), seat.debug)?;
            seat.tell(&FromSupervisor::Sentry(sentry.pid))?;
            door = Some(sentry.door);
            (Dialer::inherited(sentry.socket), Vec::new())
        }
        (None, Some(host)) => {
            let mut network = None;
            if !seat.shared.contains(&Kind::Network) {
                let broker = helpers::broker(&net(seat))?;
                seat.tell(&FromSupervisor::Helper(broker.pid))?;
                network = Some(broker.socket);
            }
            let place = helpers::join_sentry(host, sockets, network)?;
            (door, guest) = (Some(place.door), Some(place.token));
            (Dialer::inherited(place.socket), Vec::new())
        }
    };
    let mut config = SessionConfig::new(dialer.clone(), plan.sandbox.clone(), relayed);
    config.guest = guest;
    config.loss_grace = Duration::from_secs(seat.settings.loss_grace);
    let mut connected = SessionClient::connect(config).await;
    let mut program = None;
    if let Err(ConnectError::Program { missing: true, .. }) = &connected
        && let Some((plan, path)) = seat.context.as_ref().and_then(|context| context.with_program(&plan))
    {
        let mut sockets = Vec::new();
        for gofer in helpers::gofers(&plan.exports)? {
            sockets.push(gofer.socket.into());
            donors.extend(gofer.donations);
        }
        let mut config = SessionConfig::new(dialer, plan.sandbox, sockets);
        config.loss_grace = Duration::from_secs(seat.settings.loss_grace);
        connected = SessionClient::connect(config).await;
        program = Some(path);
    }
    if let Err(ConnectError::Program { reason, missing }) = &connected {
        let problem = if *missing { FromSupervisor::ProgramMissing } else { FromSupervisor::ProgramUnusable };
        seat.tell(&problem(reason.clone()))?;
    }
    let (session, welcome) = connected?;
    Ok(Connected { session, welcome, donors, door, program })
}

fn filter(seat: &Seat, platform: Platform, welcome: &Welcome) -> Filter {
    let native = match seat.settings.placement {
        Placement::Strict => BTreeSet::new(),
        Placement::Auto => welcome.native.iter().copied().collect(),
    };
    Filter { platform, native }
}

/// The network for a private sentry: what the specification's network namespace is.
fn net(seat: &Seat) -> Net {
    match sandbox::namespace(&seat.bundle.spec, Kind::Network) {
        None => Net::Host,
        // The jail is in it, made or joined; who owns the jail may enter it.
        Some(_) => Net::Path(format!("/proc/{}/ns/net", seat.jail.pid).into()),
    }
}

impl Supervisor {
    /// From "ready" to the end of the workload.
    async fn live(mut self, mut session: SessionHandle) {
        let Ok(commands) = self.seat.commands.as_fd().try_clone_to_owned() else { return };
        let (sender, mut asked) = mpsc::channel(1);
        let commands = match &self.seat.commands {
            Commands::Socket(_) => tokio::task::spawn_local(control::serve(commands, sender)),
            Commands::Only(_) => tokio::task::spawn_local(control::serve_only(commands, sender)),
        };
        if self.seat.tell(&FromSupervisor::Ready).is_err() {
            // Whoever wanted this container is gone, and its record says that it is half made.
            self.engine.borrow_mut().kill();
        }
        // Who is in no folder ends with its creator.
        let creator = self.seat.creator.take().filter(|_| self.seat.dir.is_none());
        let creator = creator.and_then(|it| host::watch(it.into(), Interest::READABLE).ok());
        let deserted = async {
            match &creator {
                Some(creator) => drop(creator.readable().await),
                None => std::future::pending().await,
            }
        };
        let mut waits = true;
        tokio::pin!(deserted);
        let engine = self.engine.clone();
        let drive = engine::drive(&engine);
        tokio::pin!(drive);
        let ended = loop {
            // The workload's own events first: it is what everything else waits for.
            tokio::select! {
                biased;
                ended = &mut drive => break ended,
                event = session.recv() => self.on_session(event),
                Some(asked) = asked.recv() => self.on_command(asked),
                Some(event) = self.entering.recv() => self.entrance.on_event(event),
                () = self.upstream.orphaned() => {}
                () = &mut deserted, if waits => {
                    waits = false;
                    self.engine.borrow_mut().kill();
                }
                () = self.upstream.stalled() => self.lose("the sentry does not take what it is sent"),
            }
            self.feed();
        };
        commands.abort();
        if let Err(error) = ended {
            tracing::error!("driving the workload: {error}");
            self.engine.borrow_mut().kill();
        }
        if let Some(strace) = &self.strace {
            strace.summary(self.engine.borrow().counters());
        }
        session.close("the container has ended").await;
    }

    fn on_session(&self, event: SessionEvent) {
        match event {
            SessionEvent::Body(down::Body::Answer(answer)) => {
                self.upstream.answered(answer.call);
                self.engine.borrow_mut().on_answer(answer);
            }
            SessionEvent::Body(down::Body::EventDone(done)) => self.engine.borrow_mut().on_event_done(done.id),
            SessionEvent::Body(down::Body::ProcessReady(ready)) => self.entrance.on_ready(ready),
            SessionEvent::Body(down::Body::Reverse(request)) => {
                let reply = self.engine.borrow_mut().on_reverse(&request);
                match (reply, request.what) {
                    (Some(reply), _) => self.upstream.reply(reply),
                    (None, Some(what)) => self.reverse.serve(request.id, what),
                    (None, None) => tracing::warn!("the sentry sent an empty request"),
                }
            }
            SessionEvent::Body(down::Body::Listening(now)) => self.open_ports(&now),
            // The session keeps those to itself.
            SessionEvent::Body(_) => {}
            SessionEvent::Detached => {
                self.note("the connection to the sentry is broken; it is being restored");
            }
            SessionEvent::Resumed => self.note("the connection to the sentry is restored"),
            SessionEvent::Lost(reason) => self.lose(&reason),
        }
    }

    /// Somebody listens at these published ports, and at no other.
    fn open_ports(&self, now: &v1::Listening) {
        if let Some(published) = &self.published {
            let ports = now.ports.iter().filter_map(|port| u16::try_from(*port).ok());
            published.send_replace(ports.collect());
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{text}");
        if let Some(strace) = &self.strace {
            strace.note(text);
        }
    }

    /// The session is gone for good.
    fn lose(&self, reason: &str) {
        if self.lost.replace(true) {
            return;
        }
        let mode = self.seat.settings.on_loss;
        tracing::warn!("container {}: the session is lost ({reason}): on-loss is {mode}", self.seat.id);
        if let Some(strace) = &self.strace {
            strace.note(&format!("the session is lost: {reason}"));
        }
        if let Some(path) = self.seat.dir.as_ref().map(|dir| dir.join(SESSION))
            && let Err(error) = rsc_oci::state::write_atomically(&path, b"lost\n")
        {
            tracing::warn!("writing {}: {error}", path.display());
        }
        self.upstream.lose();
        self.open_ports(&v1::Listening::default());
        let mut engine = self.engine.borrow_mut();
        match mode {
            Loss::Kill => engine.lose(engine::Loss::Kill),
            Loss::Freeze => {
                engine.release_exits();
                engine.lose(engine::Loss::Freeze);
            }
            // What is in flight and what comes is answered here: see `feed`.
            Loss::Eio => engine.release_exits(),
        }
    }

    /// After a loss under `eio`: the answers which stand in for the sentry's.
    fn feed(&self) {
        if !self.lost.get() || self.seat.settings.on_loss != Loss::Eio {
            return;
        }
        for answer in self.upstream.answers_instead() {
            self.engine.borrow_mut().on_answer(answer);
        }
    }

    /// Lets another supervisor in at the private sentry.
    fn share(&self, fds: &[OwnedFd]) -> Reply {
        let (Some(door), [theirs]) = (&self.door, fds) else {
            return Reply::Failed("the container has no private sentry".to_owned());
        };
        match send_descriptor(door.as_fd(), Offer::Door.number(), theirs.as_fd()) {
            Ok(()) => Reply::Done,
            Err(errno) => Reply::Failed(format!("the private sentry does not take another container: {errno}")),
        }
    }

    fn on_command(&self, asked: Asked) {
        let Asked { request, fds, reply } = asked;
        match request {
            Request::Abandon { pid } => self.entrance.abandon(pid),
            _ if self.lost.get() => {
                let lost = "the session with the sentry is lost; delete the container".to_owned();
                // The command may have gone away.
                let _ = reply.send(Reply::Failed(lost));
            }
            Request::Start => {
                let mut engine = self.engine.borrow_mut();
                self.starting.expect(engine.init(), &self.program, reply);
                engine.start();
            }
            Request::Enter { pid, stdio, terminal, program } => {
                self.entrance.enter(Wish { pid, open: stdio, terminal, program, fds }, reply);
            }
            Request::Release { pid } => self.entrance.release(pid, reply),
            Request::Share => {
                // The command may have gone away.
                let _ = reply.send(self.share(&fds));
            }
        }
    }
}
