//! `remote`: ordinary processes whose system calls are carried out by a sentry.
//!
//! With `--all` ([`all`]) it is a container without a bundle. Without, this machine and the sentry share the calls between them.

mod all;
mod attend;
pub mod rules;

use crate::cli::Context;
use crate::cli::args::RemoteArgs;
use crate::lifecycle::LifecycleError;

/// Runs a program to its end; its exit status.
pub fn run(context: &Context, args: RemoteArgs) -> Result<u8, LifecycleError> {
    let done = if args.all {
        all::run(context, args)
    } else {
        Err(LifecycleError::Unsupported("remote without --all is not there yet; give --all".to_owned()))
    };
    done.map_err(|error| LifecycleError::Remote(Box::new(error)))
}
