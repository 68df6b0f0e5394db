//! The server: sessions of many supervisors over any mix of transports, each driving one sandbox of the kernel.
//!
//! All of it runs on one thread, inside a tokio `LocalRuntime` (or `LocalSet`). A frame's way: the connection's task decodes
//! HTTP/2, the session's task ([`session`]) decodes the frame and calls [`Sandbox::receive`](sandbox::Sandbox::receive); what
//! the kernel puts into its [`Outbox`](sandbox::Outbox) is taken by the response's task and written by the connection's. No
//! thread is crossed.

pub mod exports;
mod gate;
pub mod guests;
mod hub;
mod relays;
pub mod sandbox;
mod session;

use futures_util::Stream;
use rsc_proto::transport::{Accepted, Guard, MAX_MESSAGE, error_chain};
use rsc_proto::v1::control_server::ControlServer;
use rsc_proto::v1::session_server::SessionServer;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// How long sessions may take to end after they were told to, before the server ends anyway. Longer than they linger.
const LAST_WORDS: Duration = Duration::from_secs(6);

/// A server's settings.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long a session without a connection is kept.
    pub session_grace: Duration,
    /// How long a drain waits for sessions to end by themselves.
    pub drain_grace: Duration,
    /// End when the one session has ended (an embedded sentry).
    pub single: bool,
}

impl Default for Config {
    fn default() -> Self {
        // Supervisors give up after 30 s unless told otherwise; a session outlives that.
        Config { session_grace: Duration::from_secs(60), drain_grace: Duration::from_secs(10), single: false }
    }
}

/// Why a server ended other than by a drain.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// gRPC failed.
    #[error("serving gRPC: {0}")]
    Grpc(String),
    /// The reflection service can't be made.
    #[error("describing the services: {0}")]
    Reflection(String),
}

/// Serves until `shutdown` completes, then drains: no new connections or sessions, the others may end by themselves for
/// [`Config::drain_grace`], the rest get a Goodbye.
pub async fn serve<I>(
    incoming: I,
    guard: Arc<Guard>,
    factory: Rc<dyn sandbox::SandboxFactory>,
    config: Config,
    guests: Rc<guests::Guests>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    I: Stream<Item = Result<Accepted, Infallible>> + Send + 'static,
{
    let hub = hub::Hub::new(factory, config, guests);
    let (asks, receiver) = mpsc::channel(64);
    let hub_task = tokio::task::spawn_local(Rc::clone(&hub).run(receiver));
    let gate = gate::Gate::new(asks, guard);
    let session =
        SessionServer::new(gate.clone()).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_serving::<SessionServer<gate::Gate>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(rsc_proto::v1::DESCRIPTORS)
        .build_v1()
        .map_err(|e| ServeError::Reflection(error_chain(&e)))?;
    let stop_accepting = Arc::new(Notify::new());
    let stop = Arc::clone(&stop_accepting);
    let server = rsc_proto::transport::server()
        .add_service(session)
        .add_service(ControlServer::new(gate))
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(incoming, async move { stop.notified().await });
    // On the same thread: the runtime has only one.
    let mut server = tokio::spawn(server);
    tokio::pin!(shutdown);
    tokio::select! {
        () = shutdown => {}
        () = hub.used_up(), if config.single => {}
        ended = &mut server => {
            hub_task.abort();
            return match ended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(e)) => Err(ServeError::Grpc(error_chain(&e))),
                Err(e) => Err(ServeError::Grpc(e.to_string())),
            };
        }
    }
    health_reporter.set_not_serving::<SessionServer<gate::Gate>>().await;
    stop_accepting.notify_one();
    if tokio::time::timeout(config.drain_grace, hub.drained()).await.is_err() {
        hub.dismiss_all("the sentry is shutting down");
        let _ = tokio::time::timeout(LAST_WORDS, hub.empty()).await;
    }
    hub_task.abort();
    server.abort();
    Ok(())
}
