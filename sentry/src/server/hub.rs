//! The server's books, on the kernel's thread: which sessions there are, who may open, resume and list them.
//!
//! No `RefCell` borrow is held across an `await`.

use super::Config;
use super::gate::{Ask, Reply};
use super::guests::{Guests, Handed};
use super::relays::{Relayed, Relays};
use super::sandbox::{OpenError, Opened, SandboxFactory};
use super::session::{Resume, Session, SessionId, bounded, unknown};
use rsc_proto::link::Outflow;
use rsc_proto::table;
use rsc_proto::transport::{Identity, PROTOCOL_VERSION, Peer, build};
use rsc_proto::v1::{Hello, Sandbox, SessionInfo, Up, down, mount, root};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use subtle::ConstantTimeEq as _;
use tokio::sync::{Notify, mpsc};
use tonic::{Status, Streaming};

/// Sessions of all peers together.
const MAX_SESSIONS: usize = 4096;
/// Gofers of one session.
const MAX_GOFERS: usize = 64;
/// Published ports of one session.
const MAX_PUBLISHED: usize = 64;

pub(super) struct Hub {
    factory: Rc<dyn SandboxFactory>,
    config: Config,
    sessions: RefCell<HashMap<SessionId, Rc<Session>>>,
    /// Sessions being opened, running or ending.
    count: Cell<usize>,
    relays: Rc<Relays>,
    /// What supervisors have passed by descriptor.
    guests: Rc<Guests>,
    draining: Cell<bool>,
    /// A session has been opened.
    used: Cell<bool>,
    changed: Notify,
}

/// A place among the sessions, given back at the end.
struct Place(Rc<Hub>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get().saturating_sub(1));
        self.0.changed.notify_waiters();
    }
}

impl Hub {
    pub(super) fn new(factory: Rc<dyn SandboxFactory>, config: Config, guests: Rc<Guests>) -> Rc<Self> {
        Rc::new(Hub {
            factory,
            config,
            sessions: RefCell::new(HashMap::new()),
            count: Cell::new(0),
            relays: Rc::new(Relays::default()),
            guests,
            draining: Cell::new(false),
            used: Cell::new(false),
            changed: Notify::new(),
        })
    }

    /// Serves the gate's requests until the gate is gone.
    pub(super) async fn run(self: Rc<Self>, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            let hub = Rc::clone(&self);
            match ask {
                Ask::Attach { hello, inbound, peer, reply } => {
                    tokio::task::spawn_local(hub.attach(*hello, inbound, peer, reply));
                }
                Ask::Relay { open, inbound, peer, reply } => {
                    tokio::task::spawn_local(async move { hub.relays.attach(open, inbound, peer, reply).await });
                }
                Ask::List { peer, reply } => {
                    let _ = reply.send(Ok(self.list(&peer)));
                }
            }
        }
    }

    /// No new sessions; returns when there is none left.
    pub(super) async fn drained(&self) {
        self.draining.set(true);
        self.empty().await;
    }

    /// Returns when there is no session.
    pub(super) async fn empty(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.count.get() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Returns when there has been a session, and is none any more.
    pub(super) async fn used_up(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.used.get() && self.count.get() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Says goodbye to every session.
    pub(super) fn dismiss_all(&self, reason: &'static str) {
        let sessions: Vec<_> = self.sessions.borrow().values().cloned().collect();
        for session in sessions {
            session.dismiss(reason);
        }
    }

    fn list(&self, peer: &Peer) -> Vec<SessionInfo> {
        // The operator, which is the server's own uid, sees all; others see theirs.
        let own = nix::unistd::geteuid().as_raw();
        let all = peer.identity == Identity::Inherited || peer.identity == Identity::Unix { uid: own };
        let sessions = self.sessions.borrow();
        let mut visible: Vec<_> = sessions.values().filter(|s| all || s.peer.identity == peer.identity).collect();
        visible.sort_by_key(|s| s.id);
        visible.into_iter().map(|s| s.info()).collect()
    }

    async fn attach(
        self: Rc<Self>,
        hello: Hello,
        inbound: Streaming<Up>,
        peer: Peer,
        reply: Reply<Outflow<down::Body>>,
    ) {
        if let Err(status) = check_build(&hello) {
            tracing::warn!("refused a session of {peer}: {}", status.message());
            let _ = reply.send(Err(status));
        } else if hello.session_id.is_empty() {
            self.open(hello, inbound, peer, reply).await;
        } else {
            self.resume(&hello, inbound, &peer, reply).await;
        }
    }

    async fn resume(&self, hello: &Hello, inbound: Streaming<Up>, peer: &Peer, reply: Reply<Outflow<down::Body>>) {
        let session = SessionId::try_from(hello.session_id.as_ref())
            .ok()
            .and_then(|id| self.sessions.borrow().get(&id).cloned())
            .filter(|s| bool::from(s.secret.as_slice().ct_eq(&hello.secret)) && s.peer.identity == peer.identity);
        match session {
            Some(session) => session.resume(Resume { inbound, seen: hello.seen, reply }).await,
            None => {
                tracing::warn!("refused {peer} to resume a session: unknown, of another peer, or with a wrong secret");
                let _ = reply.send(Err(unknown()));
            }
        }
    }

    async fn open(
        self: Rc<Self>,
        hello: Hello,
        inbound: Streaming<Up>,
        peer: Peer,
        mut reply: Reply<Outflow<down::Body>>,
    ) {
        let hub = Rc::clone(&self);
        let opening = hub.prepare(hello, &peer);
        let prepared = tokio::select! {
            prepared = opening => prepared,
            // The supervisor has given up.
            () = reply.closed() => return,
        };
        let (session, resumes, opened, (place, relayed)) = match prepared {
            Ok(prepared) => prepared,
            Err(status) => {
                tracing::warn!("refused a session of {peer}: {}", status.message());
                let _ = reply.send(Err(status));
                return;
            }
        };
        let sandbox = Rc::clone(&opened.sandbox);
        if let Some(relayed) = &relayed {
            relayed.serve(&sandbox, self.config.session_grace);
        }
        let outflow = match session.welcome(opened.sandbox, opened.native) {
            Ok(outflow) => outflow,
            Err(status) => {
                sandbox.close();
                let _ = reply.send(Err(status));
                return;
            }
        };
        let connection = outflow.connection();
        if reply.send(Ok(outflow)).is_err() {
            sandbox.close();
            return;
        }
        self.used.set(true);
        tracing::info!("session {} of {peer} is open", session.id_text());
        self.sessions.borrow_mut().insert(session.id, Rc::clone(&session));
        Rc::clone(&session).drive(connection, inbound, resumes, self.config.session_grace).await;
        self.sessions.borrow_mut().remove(&session.id);
        drop((place, relayed));
    }

    #[allow(clippy::type_complexity)] // the parts of one session, named where they are taken apart
    async fn prepare(
        self: Rc<Self>,
        hello: Hello,
        peer: &Peer,
    ) -> Result<(Rc<Session>, mpsc::Receiver<Resume>, Opened, (Place, Option<Relayed>)), Status> {
        if self.draining.get() {
            return Err(Status::unavailable("the sentry is draining: it takes no new sessions"));
        }
        if self.count.get() >= MAX_SESSIONS {
            return Err(Status::resource_exhausted(format!("the sentry serves {MAX_SESSIONS} sessions already")));
        }
        self.count.set(self.count.get() + 1);
        let place = Place(Rc::clone(&self));
        let Some(sandbox) = hello.sandbox else {
            return Err(Status::invalid_argument("Hello names neither a session nor a sandbox"));
        };
        check_exports(&sandbox, peer)?;
        let (handed, relayed) = self.connect_gofers(&sandbox, &hello.relay_token, peer)?;
        let mut random = [0; 48];
        getrandom::fill(&mut random).map_err(|e| Status::resource_exhausted(format!("no randomness: {e}")))?;
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        let (id_part, secret_part) = random.split_at(16);
        id.copy_from_slice(id_part);
        secret.copy_from_slice(secret_part);
        let name = bounded(&sandbox.id);
        let (session, resumes) = Session::new(id, secret, peer.clone(), name, build());
        let opened = self.factory.open(sandbox, peer.clone(), session.outbox(), handed).await.map_err(|e| match e {
            OpenError::Invalid(text) => Status::invalid_argument(text),
            OpenError::NoProgram(text) => Status::not_found(text),
            OpenError::UnusableProgram(text) => Status::failed_precondition(text),
            OpenError::Denied(text) => Status::permission_denied(text),
            OpenError::Unavailable(text) => Status::resource_exhausted(text),
        })?;
        Ok((session, resumes, opened, (place, relayed)))
    }

    fn connect_gofers(
        &self,
        sandbox: &Sandbox,
        token: &[u8],
        peer: &Peer,
    ) -> Result<(Handed, Option<Relayed>), Status> {
        let count = sandbox.gofers.len();
        if count > MAX_GOFERS {
            return Err(Status::invalid_argument(format!("more than {MAX_GOFERS} gofers")));
        }
        if peer.identity == Identity::Inherited
            && let Some(handed) = self.guests.take(token)
        {
            let given = handed.gofers.len();
            if given != count {
                return Err(Status::invalid_argument(format!(
                    "the sandbox names {count} gofers, but {given} were passed by descriptor"
                )));
            }
            return Ok((handed, None));
        }
        if count == 0 && sandbox.published.is_empty() {
            return Ok((Handed::default(), None));
        }
        let (gofers, relayed) = self.relays.register(token, peer, count, published(sandbox)?)?;
        Ok((Handed { gofers, broker: None }, Some(relayed)))
    }
}

/// The ports to which connections may be relayed.
fn published(sandbox: &Sandbox) -> Result<Vec<u16>, Status> {
    if sandbox.published.len() > MAX_PUBLISHED {
        return Err(Status::invalid_argument(format!("more than {MAX_PUBLISHED} published ports")));
    }
    let port = |port: &u32| u16::try_from(*port).ok().filter(|port| *port != 0);
    let ports: Option<_> = sandbox.published.iter().map(port).collect();
    ports.ok_or_else(|| Status::invalid_argument("a published port is not between 1 and 65535"))
}

fn check_build(hello: &Hello) -> Result<(), Status> {
    if hello.protocol == PROTOCOL_VERSION && hello.table_digest == table::digest().as_slice() {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "the two sides do not fit together: the sentry is {}, the supervisor is {:?} (protocol {}); install the same \
         build on both",
        build(),
        bounded(&hello.build),
        hello.protocol
    )))
}

fn check_exports(sandbox: &Sandbox, peer: &Peer) -> Result<(), Status> {
    let root = sandbox.root.iter().filter_map(|root| match &root.source {
        Some(root::Source::Export(name)) => Some(name),
        _ => None,
    });
    let mounts = sandbox.mounts.iter().filter_map(|mount| match &mount.source {
        Some(mount::Source::Export(name)) => Some(name),
        _ => None,
    });
    for name in root.chain(mounts) {
        // In the sentry's context no name means the only one that it may use.
        if !(peer.may_use(name) || sandbox.in_context && name.is_empty()) {
            return Err(Status::permission_denied(format!("{peer} may not use the export {:?}", bounded(name))));
        }
    }
    Ok(())
}
