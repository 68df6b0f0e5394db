//! `run`.

use super::{CreateOptions, LifecycleError, create};
use crate::cli::Context;

/// Makes, starts, awaits and deletes a container.
pub fn run(context: &Context, options: &CreateOptions, _: bool, _: bool) -> Result<u8, LifecycleError> {
    create::create(context, options).map(|()| 0)
}
