//! The gofer: the only process of rsc's that touches a real file tree.
//!
//! It serves one tree over one inherited socket, by descriptors and never by host paths, from within a jail of its own, and ends
//! when the socket closes. It never dials. The wire is [`rsc_proto::gofer`].
//!
//! - [`main_from_args`]: the program, for the `gofer` binary and for others that re-execute themselves as one;
//! - [`spawn`]: starts one.

#![deny(unsafe_code)]

mod jail;
mod program;
mod server;
mod spawn;
#[allow(unsafe_code)]
mod sys;
mod unjailed;

pub use jail::{IdMap, JailError};
pub use program::{command, main_from_args};
pub use server::ServeError;
pub use spawn::{GoferConfig, Program, SpawnError, SpawnedGofer, receive_donation, send_descriptor, spawn, spawn_on};
#[doc(hidden)]
pub use unjailed::serve_unjailed;
