//! `librsc_preload.so`: for `LD_PRELOAD`. Stands in front of the C library's functions for files, sockets and names; asks the user's
//! `rsc-runtime broker` about those calls that rules or remote descriptors concern, and leaves all others to the kernel at once.
//!
//! `docs/preload.md` says what it cannot see. A call's way: [`sys::exports`], [`route`], and for those that are asked about [`ask`]
//! over the thread's own [`link`]. Nothing here may call a function of the C library that is replaced, hence neither `std::fs` nor
//! `std::net`.
#![deny(unsafe_code)]

mod ask;
mod fds;
mod link;
mod route;
mod start;
#[allow(unsafe_code)]
mod sys;
