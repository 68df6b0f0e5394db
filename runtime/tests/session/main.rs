//! The session end to end: the server with a sandbox that echoes, the supervisor's client, real sockets between them.
// Clippy knows helpers of tests for tests only where they are marked so one by one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, missing_docs)]

mod basics;
mod cuts;
mod latency;
mod refusals;
mod support;
mod tcp;
