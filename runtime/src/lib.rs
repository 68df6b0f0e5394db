//! The runtime: jail, platforms, loader, supervisor, session client and command line of `rsc-runtime`.
#![deny(unsafe_code)]

pub mod arena;
pub mod cli;
pub mod engine;
pub mod install;
pub mod jail;
pub mod lifecycle;
pub mod platform;
pub mod remote;
pub mod session;
pub mod supervisor;
#[allow(unsafe_code)]
pub mod sys;
