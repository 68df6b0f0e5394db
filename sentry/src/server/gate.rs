//! The gRPC services: who is asking, is the first frame right, then over to the [`Hub`](super::hub::Hub) on the same thread.
//!
//! gRPC handlers must be `Send` and the hub is not, so one channel lies between them; it is crossed once per stream, not per
//! frame.

use futures_util::StreamExt as _;
use futures_util::stream::Map;
use rsc_proto::link::{Chunks, Frame, Outflow};
use rsc_proto::transport::{Guard, Peer, Proof};
use rsc_proto::v1::control_server::Control;
use rsc_proto::v1::session_server::Session;
use rsc_proto::v1::{
    Down, Hello, ListSessionsReply, ListSessionsRequest, RelayChunk, RelayOpen, SessionInfo, Up, down, relay_chunk, up,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};

/// How long the first frame of a stream may take.
const FIRST_FRAME: Duration = Duration::from_secs(10);

/// What a stream's handler asks of the hub.
pub(super) enum Ask {
    Attach { hello: Box<Hello>, inbound: Streaming<Up>, peer: Peer, reply: Reply<Outflow<down::Body>> },
    Relay { open: RelayOpen, inbound: Streaming<RelayChunk>, peer: Peer, reply: Reply<Outflow<relay_chunk::Body>> },
    List { peer: Peer, reply: Reply<Vec<SessionInfo>> },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Status>>;

/// The services' shared state.
#[derive(Clone)]
pub(super) struct Gate {
    hub: mpsc::Sender<Ask>,
    guard: Arc<Guard>,
}

impl Gate {
    pub(super) fn new(hub: mpsc::Sender<Ask>, guard: Arc<Guard>) -> Self {
        Gate { hub, guard }
    }

    fn peer<T>(&self, request: &Request<T>, what: &str) -> Result<Peer, Status> {
        let peer = self.guard.identify(request.extensions().get::<Proof>(), request.metadata());
        peer.inspect_err(|status| tracing::warn!("refused {what}: {}", status.message()))
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let ended = || Status::unavailable("the sentry is ending");
        self.hub.send(ask(reply)).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

async fn first<T>(inbound: &mut Streaming<T>, what: &str) -> Result<T, Status> {
    let first = tokio::time::timeout(FIRST_FRAME, inbound.message()).await;
    let refuse = |problem: String| {
        tracing::warn!("refused a stream: {problem}");
        Status::invalid_argument(problem)
    };
    match first {
        Ok(Ok(Some(frame))) => Ok(frame),
        Ok(Ok(None)) => Err(refuse(format!("the stream ended before its {what}"))),
        Ok(Err(status)) => Err(refuse(format!("the {what} is not readable: {}", status.message()))),
        Err(_) => Err(refuse(format!("no {what} in time"))),
    }
}

fn down(frame: Frame<down::Body>) -> Result<Down, Status> {
    Ok(Down { seq: frame.seq, ack: frame.ack, body: frame.body })
}

#[tonic::async_trait]
impl Session for Gate {
    type AttachStream = Map<Outflow<down::Body>, fn(Frame<down::Body>) -> Result<Down, Status>>;
    type RelayStream = Map<Chunks, fn(RelayChunk) -> Result<RelayChunk, Status>>;

    async fn attach(&self, request: Request<Streaming<Up>>) -> Result<Response<Self::AttachStream>, Status> {
        let peer = self.peer(&request, "a session")?;
        let mut inbound = request.into_inner();
        let Up { seq: 0, body: Some(up::Body::Hello(hello)), .. } = first(&mut inbound, "Hello").await? else {
            return Err(Status::invalid_argument("the first frame is not Hello"));
        };
        let outflow = self.ask(|reply| Ask::Attach { hello: Box::new(hello), inbound, peer, reply }).await?;
        Ok(Response::new(outflow.map(down)))
    }

    async fn relay(&self, request: Request<Streaming<RelayChunk>>) -> Result<Response<Self::RelayStream>, Status> {
        let peer = self.peer(&request, "a relayed stream")?;
        let mut inbound = request.into_inner();
        let RelayChunk { seq: 0, body: Some(relay_chunk::Body::Open(open)), .. } =
            first(&mut inbound, "RelayOpen").await?
        else {
            return Err(Status::invalid_argument("the first chunk is not RelayOpen"));
        };
        let outflow = self.ask(|reply| Ask::Relay { open, inbound, peer, reply }).await?;
        let chunks: Chunks = outflow.map(rsc_proto::link::chunk);
        Ok(Response::new(chunks.map(Ok)))
    }
}

#[tonic::async_trait]
impl Control for Gate {
    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsReply>, Status> {
        let peer = self.peer(&request, "a list of sessions")?;
        let sessions = self.ask(|reply| Ask::List { peer, reply }).await?;
        Ok(Response::new(ListSessionsReply { sessions }))
    }
}
