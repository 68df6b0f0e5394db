//! `remote --all`: a container without a bundle, whose root is an export of the sentry.

use crate::cli::Context;
use crate::cli::args::RemoteArgs;
use crate::lifecycle::LifecycleError;

/// Runs a program to its end; its exit status.
pub fn run(_context: &Context, _args: RemoteArgs) -> Result<u8, LifecycleError> {
    Err(LifecycleError::Unsupported("remote --all is not there yet".to_owned()))
}
