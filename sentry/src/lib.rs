//! rsc's kernel, and the server through which supervisors reach it.
#![deny(unsafe_code)]

pub mod confine;
pub mod error;
pub mod fs;
pub mod gofer;
pub mod ipc;
pub mod kernel;
pub mod net;
pub mod sandbox;
pub mod server;
pub mod stdio;
#[allow(unsafe_code)]
mod sys;
pub mod syscalls;
pub mod tty;
pub mod vfs;
