//! `create`.

use super::{CreateOptions, LifecycleError};
use crate::cli::Context;

/// Makes a container.
pub fn create(_: &Context, options: &CreateOptions) -> Result<(), LifecycleError> {
    rsc_oci::Bundle::load(&options.bundle, rsc_oci::Permissions { annotations: options.allow_annotations })?;
    Err(LifecycleError::Unsupported("containers can't be created yet".to_owned()))
}
