//! `remote`: ordinary processes whose system calls are carried out by a sentry.
//!
//! With `--all` ([`all`]) it is a container without a bundle. Without, this machine and the sentry share the calls between them:
//! [`core`] decides where a call goes and carries out what goes there, [`client`] is its session, and whoever has a call asks the
//! core: [`tracer`], for programs that are launched under it or attached to. How, and why so:
//! `docs/decisions/0017-remote-processes.md`.

mod all;
pub mod attach;
mod attend;
pub mod broker;
pub mod calls;
pub mod client;
pub mod core;
mod launch;
pub mod names;
pub mod open;
pub mod placeholder;
pub mod rules;
pub mod shape;
pub mod tracer;
pub mod watch;

use crate::cli::Context;
use crate::cli::args::RemoteArgs;
use crate::lifecycle::LifecycleError;

/// Runs a program to its end; its exit status.
pub fn run(context: &Context, args: RemoteArgs) -> Result<u8, LifecycleError> {
    let done = if args.all { all::run(context, args) } else { launch::run(context, &args) };
    done.map_err(|error| LifecycleError::Remote(Box::new(error)))
}
