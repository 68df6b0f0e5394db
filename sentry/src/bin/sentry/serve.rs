//! `sentry serve`: listeners, rules, the kernel, and the end.

use crate::args::ServeArgs;
use crate::notify::ServiceManager;
use crate::sys;
use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use rsc_proto::transport::{
    ClientCertificates, Guard, Incoming, ListenAddr, Listener, Peer, ServerTls, Tokens, UnixIo,
};
use rsc_sentry::confine::close_others;
use rsc_sentry::confine::sentry::{Needs, confine};
use rsc_sentry::confine::starter::{Jobs, Starter};
use rsc_sentry::net::NetConfig;
use rsc_sentry::sandbox::{Context, ExportSource, KernelFactory, KernelSettings, Lent};
use rsc_sentry::server::exports::Net;
use rsc_sentry::server::guests::{Doors, Guests};
use rsc_sentry::server::sandbox::{GoferStream, OpenError, SandboxFactory};
use rsc_sentry::server::{Config, serve};
use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};

/// What the listeners ask for.
struct Plan {
    listen: Vec<ListenAddr>,
    tls: Option<ServerTls>,
    guard: Guard,
}

/// Closes what whoever started the program left open by accident. Before anything in it opens descriptors.
pub(crate) fn close_strays(args: &ServeArgs) {
    close_others(&given(args));
}

/// Descriptors that the command line names.
fn given(args: &ServeArgs) -> Vec<i32> {
    args.session_fd.into_iter().chain(args.door_fd).chain(args.gofer_fd.iter().copied()).collect()
}

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    // Before anything opens descriptors of its own.
    let inherited = args.session_fd.map(|fd| inherited(fd, args.door_fd, &args.gofer_fd)).transpose()?;
    for export in &args.export {
        let found = std::fs::metadata(&export.path);
        found.with_context(|| format!("cannot export {} as {}", export.path.display(), export.name))?;
    }
    // While there is one thread, and before what it must not have.
    let jobs = Jobs { exports: args.export.clone(), net: args.net.clone() };
    let starter = Starter::fork(jobs, &given(args))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("cannot start the runtime")?;
    match inherited {
        Some(inherited) => runtime.block_on(embedded(args, starter, inherited)),
        None => {
            let plan = plan(args)?;
            runtime.block_on(listening(args, starter, plan))
        }
    }
}

/// What a private sentry was started with.
struct Inherited {
    session: UnixStream,
    door: Option<OwnedFd>,
    gofers: Vec<UnixStream>,
}

fn inherited(session: i32, door: Option<i32>, gofers: &[i32]) -> anyhow::Result<Inherited> {
    let mut taken = Vec::new();
    let mut adopt = |fd: i32, flag| -> anyhow::Result<OwnedFd> {
        if taken.contains(&fd) {
            bail!("descriptor {fd} is given twice");
        }
        taken.push(fd);
        sys::adopt(fd).with_context(|| format!("descriptor {fd} of {flag} is not usable"))
    };
    Ok(Inherited {
        session: adopt(session, "--session-fd")?.into(),
        door: door.map(|fd| adopt(fd, "--door-fd")).transpose()?,
        gofers: gofers.iter().map(|fd| Ok(adopt(*fd, "--gofer-fd")?.into())).collect::<anyhow::Result<_>>()?,
    })
}

fn plan(args: &ServeArgs) -> anyhow::Result<Plan> {
    let listen: Vec<_> = (args.unix.iter().cloned().map(ListenAddr::Unix))
        .chain(args.tcp.iter().cloned().map(ListenAddr::Tcp))
        .chain(args.vsock.iter().copied().map(ListenAddr::Vsock))
        .collect();
    if listen.is_empty() {
        bail!("nowhere to listen; give --unix PATH, --tcp HOST:PORT or --vsock PORT");
    }
    if !args.tcp.is_empty() && args.tls_client_ca.is_none() && args.token_file.is_none() && !args.insecure {
        bail!(
            "--tcp would admit everybody; give --tls-client-ca (with --tls-cert and --tls-key) or --token-file, or say \
             --insecure"
        );
    }
    let tokens = args.token_file.as_ref().map(|path| Tokens::load(path)).transpose()?;
    let need =
        if tokens.is_some() || args.insecure { ClientCertificates::Optional } else { ClientCertificates::Required };
    let client_ca = args.tls_client_ca.as_deref().map(|ca| (ca, need));
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => Some(ServerTls::load(cert, key, client_ca)?),
        _ => None,
    };
    if !args.tcp.is_empty() && tls.is_none() && tokens.is_some() {
        tracing::warn!("tokens cross the network unencrypted; give --tls-cert and --tls-key");
    }
    let guard = Guard {
        tokens,
        insecure: args.insecure,
        allow_uids: args.allow_uid.clone(),
        allow_cids: (!args.allow_cid.is_empty()).then(|| args.allow_cid.clone()),
    };
    Ok(Plan { listen, tls, guard })
}

async fn listening(args: &ServeArgs, starter: Starter, plan: Plan) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let mut listeners = Vec::new();
    for addr in &plan.listen {
        let listener = Listener::bind(addr, plan.tls.as_ref(), !plan.guard.allow_uids.is_empty()).await?;
        tracing::info!("listening on {}", listener.local());
        listeners.push(listener);
    }
    let guard = Arc::new(plan.guard);
    let incoming = Incoming::start(listeners, &guard);
    let config = Config {
        session_grace: Duration::from_secs(args.session_grace),
        drain_grace: Duration::from_secs(args.drain_grace),
        single: false,
    };
    let manager = ServiceManager::from_environment();
    let mut context = Context::of_process();
    context.lent = args.allow_stdio.then(Lent::own);
    confine(&Needs { unix: args.unix.clone(), stdio: args.allow_stdio })?;
    // Connections queue at the listeners from here on.
    manager.tell(sd_notify::NotifyState::Ready);
    let shutdown = async {
        shutdown.await;
        tracing::info!("draining");
        manager.tell(sd_notify::NotifyState::Stopping);
    };
    serve(incoming, guard, factory(args, starter, context), config, Guests::new(Vec::new()), shutdown).await?;
    Ok(())
}

async fn embedded(args: &ServeArgs, starter: Starter, inherited: Inherited) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let session = UnixIo::new(inherited.session).context("the socket of --session-fd is not usable")?;
    let guests = Guests::new(inherited.gofers);
    let (doors, connections) = Doors::new(Rc::clone(&guests));
    doors.admit(session);
    if let Some(door) = inherited.door {
        doors.serve(door);
    }
    let incoming = futures_util::stream::unfold(connections, async |mut connections| {
        let accepted = connections.recv().await?;
        Some((Ok::<_, Infallible>(accepted), connections))
    });
    let incoming = incoming.chain(futures_util::stream::pending());
    // No session has a second connection, so there is nothing to wait for when its one is closed.
    let config = Config { session_grace: Duration::ZERO, drain_grace: Duration::ZERO, single: true };
    let over = async {
        tokio::select! {
            () = doors.deserted() => {}
            () = shutdown => {}
        }
    };
    let context = Context::of_process();
    confine(&Needs::default())?;
    serve(incoming, Arc::new(Guard::default()), factory(args, starter, context), config, guests, over).await?;
    Ok(())
}

/// SIGTERM or SIGINT; a second one ends the process at once.
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    Ok(async move {
        let mut once = async || {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        once().await;
        tokio::task::spawn_local(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            std::process::exit(1);
        });
    })
}

/// The kernel, with what the command line gives it.
fn factory(args: &ServeArgs, starter: Starter, context: Context) -> Rc<dyn SandboxFactory> {
    let net = match &args.net {
        Net::None => NetConfig::None,
        Net::Host => NetConfig::Host,
        Net::Path(path) => NetConfig::Path(path.clone()),
    };
    let starter = Rc::new(starter);
    let exports = Rc::new(CommandLineExports(Rc::clone(&starter)));
    let broker = Rc::new(move |_: &NetConfig, socket: OwnedFd| starter.broker(socket.as_fd()));
    Rc::new(KernelFactory::new(KernelSettings { exports, net, broker, context: Rc::new(context) }))
}

/// The trees of `--export`.
struct CommandLineExports(Rc<Starter>);

impl ExportSource for CommandLineExports {
    fn only(&self, peer: &Peer) -> Result<String, OpenError> {
        let mut names = self.0.names().filter(|name| peer.may_use(name));
        match (names.next(), names.next()) {
            (Some(only), None) => Ok(only.to_owned()),
            (None, _) => Err(OpenError::Denied(
                "there is no export for this peer; see --export and the token file of the sentry".to_owned(),
            )),
            (Some(first), Some(second)) => {
                let names: Vec<&str> = [first, second].into_iter().chain(names).take(20).collect();
                let names = names.join(", ");
                Err(OpenError::Denied(format!(
                    "there are several exports for this peer: {names}; name one with --export"
                )))
            }
        }
    }

    fn start(&self, name: &str, peer: &Peer, plain_ids: bool) -> Result<GoferStream, OpenError> {
        // The same answer for what does not exist and for what this peer may not know of.
        if !peer.may_use(name) || !self.0.knows(name) {
            return Err(OpenError::Denied(format!(
                "there is no export {name:?} for this peer; see --export and the token file of the sentry"
            )));
        }
        self.0.start(name, plain_ids).map_err(|e| OpenError::Unavailable(e.to_string()))
    }
}
