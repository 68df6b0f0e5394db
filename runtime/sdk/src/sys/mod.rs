//! Everything unsafe: system calls without the C library, whose functions may be replaced, and the process's own memory.

pub(crate) mod api;
pub mod local;
pub mod memory;
pub mod raw;
pub mod shared;
pub(crate) mod signals;
pub(crate) mod slot;
