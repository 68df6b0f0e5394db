//! A byte stream relayed over a link: a gofer's socket on one side, the kernel's end on the other (or a client's connection and the
//! workload's), and connections between them that may break. No byte is lost or doubled, and each direction ends by itself.

use super::{Frame, LinkError, Outflow, Port};
use crate::v1::relay_chunk::Body;
use crate::v1::{RelayChunk, RelayEnd, RelayStop};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream::Map;
use futures_util::{Stream, StreamExt as _};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// Largest chunk read from the socket at once.
const CHUNK: usize = 256 << 10;

/// How long the last acknowledgement may take to leave.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The other side broke the link's rules.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other side sent what is not allowed here.
    #[error("a chunk with no place here")]
    Unexpected,
    /// No more connections will come.
    #[error("the connection is gone for good")]
    Lost,
}

/// The chunks for one connection, as gRPC wants them.
pub type Chunks = Map<Outflow<Body>, fn(Frame<Body>) -> RelayChunk>;

/// Wraps a frame for the wire.
pub fn chunk(frame: Frame<Body>) -> RelayChunk {
    RelayChunk { seq: frame.seq, ack: frame.ack, body: frame.body }
}

/// Relays `socket` over `port` until an end is closed for good or a rule is broken.
///
/// `connections` brings each new connection's inbound chunks, after the `RelayOpen`s were exchanged and the port opened, with
/// the number of its [`Outflow`]; a later one replaces an earlier one. `broken` is told the number of one that ends: it may be
/// that of a connection which has been replaced since.
pub async fn relay<S, C, E>(
    socket: S,
    port: Port<Body>,
    mut connections: mpsc::Receiver<(u64, C)>,
    mut broken: impl FnMut(u64),
) -> Result<(), RelayError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Stream<Item = Result<RelayChunk, E>> + Unpin,
{
    let (reader, mut writer) = tokio::io::split(socket);
    let feeding = feed(reader, &port);
    tokio::pin!(feeding);
    let mut fed = false;
    let mut inbound: Option<(u64, C)> = None;
    // Received and acknowledged, not yet written. It outlives connections: a chunk half written is finished, not repeated.
    let mut pending = Bytes::new();
    let mut ended = false;
    let mut stopped = false;
    loop {
        tokio::select! {
            biased;
            connection = connections.recv() => match connection {
                Some(connection) => inbound = Some(connection),
                None => return Err(RelayError::Lost),
            },
            written = writer.write(&pending), if !pending.is_empty() => match written {
                Ok(n) if n > 0 => pending.advance(n),
                // Nobody reads any more.
                _ => {
                    pending.clear();
                    (ended, stopped) = (true, true);
                    port.finish(Body::Stop(RelayStop {}), 0);
                }
            },
            chunk = next(&mut inbound), if inbound.is_some() && pending.is_empty() => match chunk {
                Some(Ok(chunk)) => {
                    let size = match &chunk.body {
                        Some(Body::Data(data)) => data.len(),
                        _ => 0,
                    };
                    if (chunk.seq == 0) != chunk.body.is_none() {
                        return Err(RelayError::Unexpected);
                    }
                    port.receive(chunk.seq, chunk.ack, size)?;
                    match chunk.body {
                        Some(Body::Data(data)) if !ended => pending = data,
                        Some(Body::Data(_)) | None => {}
                        Some(Body::End(RelayEnd {})) => {
                            ended = true;
                            let _ = writer.shutdown().await;
                        }
                        Some(Body::Stop(RelayStop {})) => {
                            port.close();
                            return Ok(());
                        }
                        Some(Body::Open(_)) => return Err(RelayError::Unexpected),
                    }
                }
                broken_off => {
                    if let Some((connection, _)) = inbound.take() {
                        let done = stopped || fed && ended && port.is_drained();
                        if done && broken_off.is_none() {
                            // The other side has ended as well, and waits for our last acknowledgement.
                            let flushed = std::future::poll_fn(|cx| port.poll_finished(cx));
                            let _ = tokio::time::timeout(LAST_WORD, flushed).await;
                        }
                        port.disconnect(connection);
                        if done {
                            return Ok(());
                        }
                        broken(connection);
                    }
                }
            },
            () = &mut feeding, if !fed && !stopped => {
                fed = true;
            }
        }
        if fed && ended && !stopped {
            // The other side learns that all has arrived; then it ends the connection, as it does ours.
            port.end();
        }
    }
}

async fn next<C: Stream + Unpin>(inbound: &mut Option<(u64, C)>) -> Option<C::Item> {
    match inbound {
        Some((_, inbound)) => inbound.next().await,
        None => std::future::pending().await,
    }
}

/// Socket to port, as fast as the other side acknowledges.
async fn feed(mut reader: impl AsyncRead + Unpin, port: &Port<Body>) {
    let mut buffer = BytesMut::new();
    loop {
        std::future::poll_fn(|cx| port.poll_room(cx)).await;
        buffer.reserve(CHUNK);
        let read: io::Result<usize> = (&mut reader).take(CHUNK as u64).read_buf(&mut buffer).await;
        let body = match read {
            Ok(n) if n > 0 => Body::Data(buffer.split().freeze()),
            _ => Body::End(RelayEnd {}),
        };
        let (size, last) = match &body {
            Body::Data(data) => (data.len(), false),
            _ => (0, true),
        };
        // There was room, and nobody else pushes.
        if port.push(body, size).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;
    use std::convert::Infallible;
    use tokio::io::DuplexStream;

    type Wire = futures_util::stream::BoxStream<'static, Result<RelayChunk, Infallible>>;

    /// A connection from one port to the other which breaks after so many chunks.
    fn wire(from: &Port<Body>, chunks: usize) -> Wire {
        from.connect(None).map(|f| Ok(chunk(f))).take(chunks).boxed()
    }

    fn reconnect(a: &Port<Body>, b: &Port<Body>, chunks: usize) -> (Wire, Wire) {
        let (from_a, from_b) = (wire(a, chunks), wire(b, chunks));
        let (seen_a, seen_b) = (a.seen(), b.seen());
        a.open(seen_b).unwrap();
        b.open(seen_a).unwrap();
        (from_a, from_b)
    }

    async fn send(mut socket: DuplexStream, bytes: Vec<u8>) -> Vec<u8> {
        let (mut reader, mut writer) = tokio::io::split(&mut socket);
        let mut got = Vec::new();
        let write = async {
            for piece in bytes.chunks(1000) {
                writer.write_all(piece).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut got));
        read.unwrap();
        got
    }

    /// A relay may end before its user has read the last bytes.
    async fn finish(relay: impl Future<Output = Result<(), RelayError>>) {
        relay.await.unwrap();
        std::future::pending().await
    }

    #[tokio::test]
    async fn bytes_survive_cuts_in_any_place() {
        let limits = Limits { frames: 80, bytes: 300_000, largest: 300_000 };
        let (a, b) = (Port::new(limits), Port::new(limits));
        let (a_user, a_socket) = tokio::io::duplex(4096);
        let (b_user, b_socket) = tokio::io::duplex(4096);
        let (a_new, a_connections) = mpsc::channel(1);
        let (b_new, b_connections) = mpsc::channel(1);
        let (cut, mut cuts) = mpsc::unbounded_channel();
        let cut_too = cut.clone();
        let relay_a = relay(a_socket, a.clone(), a_connections, move |n| cut.send(n).unwrap());
        let relay_b = relay(b_socket, b.clone(), b_connections, move |n| cut_too.send(n).unwrap());
        let network = async {
            for n in 1.. {
                // Both ports count their connections from 1.
                let (from_a, from_b) = reconnect(&a, &b, 1 + n % 7);
                let n = n as u64;
                if a_new.send((n, from_b)).await.is_err() || b_new.send((n, from_a)).await.is_err() {
                    break;
                }
                while cuts.recv().await.unwrap() != n {}
            }
        };
        let up: Vec<u8> = (0..1_500_000u32).map(|n| (n % 251) as u8).collect();
        let down: Vec<u8> = (0..1_000_000u32).map(|n| (n % 241) as u8).collect();
        let users = async { tokio::join!(send(a_user, up.clone()), send(b_user, down.clone())) };
        let (got_a, got_b) = tokio::select! {
            got = users => got,
            () = network => panic!("the network ended"),
            () = finish(relay_a) => unreachable!(),
            () = finish(relay_b) => unreachable!(),
        };
        assert!(got_a == down && got_b == up);
    }

    #[tokio::test]
    async fn who_reads_no_more_ends_both() {
        let (a, b) = (Port::new(Limits::CONNECTION), Port::new(Limits::CONNECTION));
        let (mut a_user, a_socket) = tokio::io::duplex(4096);
        let (b_user, b_socket) = tokio::io::duplex(4096);
        let (from_a, from_b) = reconnect(&a, &b, usize::MAX);
        let (a_new, a_connections) = mpsc::channel(1);
        let (b_new, b_connections) = mpsc::channel(1);
        a_new.try_send((1, from_b)).unwrap();
        b_new.try_send((1, from_a)).unwrap();
        drop(b_user);
        let write = async { while a_user.write_all(&[7; 1000]).await.is_ok() {} };
        let relay_a = async {
            // Both ends of its socket go with it.
            relay(a_socket, a, a_connections, |_| {}).await.unwrap();
        };
        let (end, (), ()) = tokio::join!(relay(b_socket, b, b_connections, |_| {}), relay_a, write);
        end.unwrap();
    }

    #[tokio::test]
    async fn both_sides_end_by_themselves_when_all_has_arrived() {
        let (a, b) = (Port::new(Limits::CONNECTION), Port::new(Limits::CONNECTION));
        let (a_user, a_socket) = tokio::io::duplex(4096);
        let (b_user, b_socket) = tokio::io::duplex(4096);
        let (from_a, from_b) = reconnect(&a, &b, usize::MAX);
        let (a_new, a_connections) = mpsc::channel(1);
        let (b_new, b_connections) = mpsc::channel(1);
        a_new.try_send((1, from_b)).unwrap();
        b_new.try_send((1, from_a)).unwrap();
        let relays = async {
            tokio::join!(relay(a_socket, a, a_connections, |_| {}), relay(b_socket, b, b_connections, |_| {}))
        };
        let (got_a, got_b, ends) = tokio::join!(send(a_user, vec![1; 100]), send(b_user, vec![2; 50_000]), relays);
        assert!(got_a == vec![2; 50_000] && got_b == vec![1; 100]);
        assert!(ends.0.is_ok() && ends.1.is_ok());
    }
}
