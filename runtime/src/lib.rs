//! rsc runtime.
