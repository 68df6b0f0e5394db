//! Everything unsafe: system calls, the program's memory, and the functions of the C library that are replaced.

pub(crate) mod exports;
pub(crate) mod local;
pub(crate) mod memory;
pub(crate) mod raw;
pub(crate) mod signals;
pub(crate) mod slot;
