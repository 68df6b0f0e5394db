//! Everything unsafe: the functions of the C library that are replaced, and those of `rsc.h`.

pub(crate) mod api;
pub(crate) mod exports;
pub(crate) mod programs;
