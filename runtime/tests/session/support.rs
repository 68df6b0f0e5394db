//! A server on a thread of its own with sandboxes that echo, and a relay whose connections can be cut.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use rsc_proto::transport::{ClientTls, Dialer, Guard, Incoming, ListenAddr, Listener, Peer, SentryUrl, ServerTls};
use rsc_proto::v1::{self, down, up};
use rsc_runtime::session::{SessionClient, SessionConfig, SessionEvent, SessionHandle};
use rsc_sentry::server::guests::Handed;
use rsc_sentry::server::sandbox::{
    GoferStream, OpenError, Opened, Outbox, ProtocolError, Sandbox, SandboxFactory, SandboxStats,
};
use rsc_sentry::server::{Config, serve};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{oneshot, watch};

/// What the sandboxes of a server saw.
#[derive(Default)]
pub struct Seen {
    pub opened: AtomicUsize,
    pub closed: AtomicUsize,
    /// Numbers of the calls, in the order of their arrival, of all sandboxes.
    pub calls: Mutex<Vec<u64>>,
}

/// A call by this number is a protocol error of the kernel's.
pub const BAD_CALL: u32 = 9999;

struct Echo {
    out: Outbox,
    seen: Arc<Seen>,
    calls: Cell<u64>,
}

impl Sandbox for Echo {
    fn receive(&self, body: up::Body) -> Result<(), ProtocolError> {
        let up::Body::Syscall(call) = body else { return Err(ProtocolError("not a call".into())) };
        if call.nr == BAD_CALL {
            return Err(ProtocolError("a call with a bad number".into()));
        }
        self.seen.calls.lock().unwrap().push(call.call);
        self.calls.set(self.calls.get() + 1);
        let result = call.args.first().map_or(0, |a| *a as i64);
        let outcome = Some(v1::answer::Outcome::Result(result));
        self.out.send(down::Body::Answer(v1::Answer {
            call: call.call,
            out: call.segments,
            outcome,
            ..Default::default()
        }));
        Ok(())
    }

    fn close(&self) {
        self.seen.closed.fetch_add(1, Ordering::SeqCst);
    }

    fn stats(&self) -> SandboxStats {
        SandboxStats { tasks: 1, calls: self.calls.get(), ..SandboxStats::default() }
    }
}

struct EchoFactory(Arc<Seen>);

impl SandboxFactory for EchoFactory {
    fn open(
        &self,
        sandbox: v1::Sandbox,
        _peer: Peer,
        out: Outbox,
        handed: Handed,
    ) -> LocalBoxFuture<'_, Result<Opened, OpenError>> {
        async move {
            if sandbox.id == "invalid" {
                return Err(OpenError::Invalid("the sandbox is not to my liking".into()));
            }
            for gofer in handed.gofers {
                tokio::task::spawn_local(async move {
                    let mut stream: Box<dyn rsc_sentry::server::sandbox::ByteStream> = match gofer {
                        GoferStream::Relayed(stream) => stream,
                        GoferStream::Local(socket) => {
                            socket.set_nonblocking(true).unwrap();
                            Box::new(tokio::net::UnixStream::from_std(socket).unwrap())
                        }
                    };
                    let (mut read, mut write) = tokio::io::split(&mut stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
            self.0.opened.fetch_add(1, Ordering::SeqCst);
            let sandbox = Rc::new(Echo { out, seen: Arc::clone(&self.0), calls: Cell::new(0) });
            Ok(Opened { sandbox, native: vec![9, 11] })
        }
        .boxed_local()
    }
}

/// A running server. Dropping it drains it at once and joins its thread.
pub struct Server {
    pub seen: Arc<Seen>,
    pub local: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub fn start(addr: ListenAddr, tls: Option<ServerTls>, guard: Guard, config: Config) -> Server {
        let seen = Arc::new(Seen::default());
        let factory_seen = Arc::clone(&seen);
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = Listener::bind(&addr, tls.as_ref(), false).await.unwrap();
                ready.send(listener.local().to_owned()).unwrap();
                let guard = Arc::new(guard);
                let incoming = Incoming::start(vec![listener], &guard);
                let stopped = async { drop(stopped.await) };
                serve(incoming, guard, Rc::new(EchoFactory(factory_seen)), config, Rc::default(), stopped)
                    .await
                    .unwrap();
            });
        });
        let local = is_ready.recv_timeout(Duration::from_secs(20)).unwrap();
        Server { seen, local, stop: Some(stop), thread: Some(thread) }
    }

    pub fn unix(path: &Path) -> Server {
        Self::start(ListenAddr::Unix(path.to_owned()), None, Guard::default(), quick())
    }

    pub fn url(&self) -> SentryUrl {
        self.local.parse().unwrap()
    }

    /// As SIGTERM does.
    pub fn begin_drain(&mut self) {
        drop(self.stop.take());
    }

    pub fn join(mut self) {
        self.begin_drain();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.begin_drain();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sessions end at once when the server is stopped.
pub fn quick() -> Config {
    Config { drain_grace: Duration::ZERO, ..Config::default() }
}

pub fn runtime() -> LocalRuntime {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap()
}

/// Runs a test's client side; nothing here may hang.
pub fn run(test: impl Future<Output = ()>) {
    runtime().block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() });
}

pub fn dialer(url: SentryUrl) -> Dialer {
    Dialer::new(url, None, None).unwrap()
}

pub fn dialer_with(url: SentryUrl, tls: Option<ClientTls>, token: Option<&str>) -> Dialer {
    Dialer::new(url, tls, token).unwrap()
}

pub fn config(dialer: Dialer) -> SessionConfig {
    SessionConfig::new(dialer, v1::Sandbox { id: "box".into(), ..v1::Sandbox::default() }, Vec::new())
}

pub async fn open(dialer: Dialer) -> SessionHandle {
    SessionClient::connect(config(dialer)).await.unwrap().0
}

pub async fn refusal(dialer: Dialer) -> String {
    match SessionClient::connect(config(dialer)).await {
        Ok(_) => panic!("the session was opened"),
        Err(e) => e.to_string(),
    }
}

pub fn call(call: u64, nr: u32) -> up::Body {
    up::Body::Syscall(v1::Syscall { call, tid: 1, nr, args: vec![call * 3, 0, 0, 0, 0, 0], segments: Vec::new() })
}

/// The number of the answered call; its result is checked.
pub fn answered(event: SessionEvent) -> u64 {
    let SessionEvent::Body(down::Body::Answer(answer)) = event else { panic!("{event:?} instead of an answer") };
    assert_eq!(answer.outcome, Some(v1::answer::Outcome::Result(answer.call as i64 * 3)));
    answer.call
}

pub async fn round_trip(session: &mut SessionHandle, n: u64) {
    session.send(call(n, 1)).unwrap();
    assert_eq!(answered(session.recv().await), n);
}

pub async fn lost(session: &mut SessionHandle) -> String {
    loop {
        if let SessionEvent::Lost(reason) = session.recv().await {
            return reason;
        }
    }
}

/// Waits until the server has noticed something.
pub async fn until(what: impl Fn() -> bool) {
    for _ in 0..1000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen");
}

/// Relays a unix socket to another; its connections can be cut, and it can refuse new ones.
pub struct Relay {
    pub path: PathBuf,
    cuts: watch::Sender<u64>,
    down: Rc<Cell<bool>>,
}

impl Relay {
    pub fn start(path: PathBuf, to: PathBuf) -> Relay {
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (cuts, watching) = watch::channel(0);
        let down = Rc::new(Cell::new(false));
        let is_down = Rc::clone(&down);
        tokio::task::spawn_local(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if is_down.get() {
                    continue;
                }
                let (to, mut watching) = (to.clone(), watching.clone());
                watching.mark_unchanged();
                tokio::task::spawn_local(async move {
                    let Ok(mut server) = tokio::net::UnixStream::connect(to).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = watching.changed() => {}
                    }
                });
            }
        });
        Relay { path, cuts, down }
    }

    /// Ends every connection, in the middle of whatever it carries.
    pub fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    pub fn set_down(&self, down: bool) {
        self.down.set(down);
    }

    pub fn dialer(&self) -> Dialer {
        dialer(SentryUrl::Unix { path: self.path.clone() })
    }
}

pub fn echo_factory(seen: &Arc<Seen>) -> Rc<dyn SandboxFactory> {
    Rc::new(EchoFactory(Arc::clone(seen)))
}

pub fn config_of(dialer: Dialer, sandbox: v1::Sandbox) -> SessionConfig {
    SessionConfig::new(dialer, sandbox, Vec::new())
}
