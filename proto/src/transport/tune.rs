//! HTTP/2 settings, the same on both sides and for every transport.

use std::time::Duration;
use tonic::transport::{Endpoint, Server};

/// A receiver's largest frame: measured to double bulk throughput over the default of 16 KiB.
const MAX_FRAME: u32 = 1 << 20;
/// A stream's window: more than the largest message, so that one message never waits for a window update.
const STREAM_WINDOW: u32 = 16 << 20;
/// A connection's window. Each stream of ours has a connection of its own; the rest is for `ps` and health.
const CONNECTION_WINDOW: u32 = 24 << 20;
/// Pings below the session's own: they find dead connections of idle gofer streams, too.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that a peer may have open on one connection.
const MAX_STREAMS: u32 = 64;

pub(super) fn client(endpoint: Endpoint) -> Endpoint {
    endpoint
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// A server with these settings.
pub fn server() -> Server {
    Server::builder()
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
