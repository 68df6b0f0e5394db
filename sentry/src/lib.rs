//! rsc sentry.

pub mod server;
