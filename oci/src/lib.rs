//! What the Open Container Initiative's runtime specification says, as far as it needs no workload: bundles and their
//! validation, container ids, annotations, the state directory, cgroups. Nothing here starts a process.

#![deny(unsafe_code)]

pub mod annotations;
pub mod bundle;
pub mod cgroups;
mod check;
pub mod defaults;
pub mod exec;
pub mod hooks;
pub mod id;
mod json;
pub mod process;
pub mod publish;
mod seccomp;
pub mod shim;
pub mod signal;
pub mod state;
mod sys;
pub mod systemd;

pub use annotations::{Annotations, Loss, Placement, Platform};
pub use bundle::{Bundle, BundleError, Permissions, RootSource};
pub use id::ContainerId;
pub use oci_spec::runtime as spec;
pub use process::ProcessId;
pub use state::{Record, Stage, Status, Store};
