//! The crate's only `unsafe`: thin wrappers around system calls that no library offers in the form that is needed here.
//!
//! Nothing here decides anything. Each function does one call, takes and returns plain values, and turns `errno` into a type.

pub mod host;
