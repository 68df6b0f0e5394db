//! The shim itself: serves its socket on one thread until containerd has no more use for it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use containerd_shim_protos::shim_async::create_task;
use containerd_shim_protos::ttrpc::r#async::Server;
use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::container::Common;
use super::error::{Doing as _, ShimError};
use super::events::Events;
use super::flags::Flags;
use super::reaper::Reaper;
use super::service::Service;

/// The last answer and the last events go out within this time.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves the socket that is standard input.
pub(super) fn serve(flags: &Flags) -> Result<(), ShimError> {
    open_log(flags.debug);
    let what = || "setting up the shim";
    let listener = std::io::stdin().as_fd().try_clone_to_owned().map(UnixListener::from).doing(what())?;
    let path =
        listener.local_addr().map_err(ShimError::io("standard input is no socket; a shim is started by containerd"))?;
    let path = path.as_pathname().map(Path::to_owned);
    // No child may get it by mistake.
    nix::unistd::dup2_stdin(File::open("/dev/null").doing(what())?).doing(what())?;
    nix::sys::prctl::set_child_subreaper(true).doing(what())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(what())?;
    let result = runtime.block_on(run(flags, listener));
    if let Some(path) = path {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(path);
    }
    runtime.shutdown_background();
    result
}

async fn run(flags: &Flags, listener: UnixListener) -> Result<(), ShimError> {
    let what = || "setting up the shim";
    let reaper = Reaper::default();
    let mut children = signal(SignalKind::child()).doing(what())?;
    let mut terminate = signal(SignalKind::terminate()).doing(what())?;
    let mut interrupt = signal(SignalKind::interrupt()).doing(what())?;
    let containerd = std::env::var("TTRPC_ADDRESS").unwrap_or_else(|_| format!("{}.ttrpc", flags.address));
    let containerd = if containerd.contains("://") { containerd } else { format!("unix://{containerd}") };
    let (events, told) = Events::start(containerd, &flags.namespace);
    let common = Common { namespace: flags.namespace.as_str().into(), reaper: reaper.clone(), events };
    let done = Arc::new(Notify::new());
    let service = Service::new(common, done.clone());
    let listener = Listener::try_from(listener).doing(what())?;
    let mut server = Server::new().add_listener(listener).register_service(create_task(Arc::new(service.clone())));
    let ttrpc =
        |error: containerd_shim_protos::ttrpc::Error| ShimError::io(what())(std::io::Error::other(error.to_string()));
    server.start().await.map_err(ttrpc)?;
    loop {
        tokio::select! {
            _ = children.recv() => reaper.reap(),
            () = done.notified() => break,
            // While there are containers nobody else would tell of their ends.
            _ = terminate.recv() => if service.is_empty() { break },
            _ = interrupt.recv() => if service.is_empty() { break },
        }
    }
    drop(service);
    // The answer to the last request, and the last events, are on their way.
    let _ = tokio::time::timeout(FAREWELL, server.shutdown()).await;
    drop(server);
    let _ = tokio::time::timeout(FAREWELL, told).await;
    Ok(())
}

/// Messages go to the FIFO that containerd has made in the container's folder; without one they are lost.
fn open_log(debug: bool) {
    let mut options = OpenOptions::new();
    // Never waits: neither for a reader to come nor for one to read.
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let Ok(log) = options.open("log") else { return };
    let most = if debug { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(most).with_writer(Mutex::new(log));
    // A second one in a process is a mistake without consequences.
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
}
