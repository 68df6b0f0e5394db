//! The functions of the C library that `librsc_preload.so` and `librsc.so` replace, and which of their calls are asked about.
//!
//! `docs/remote.md` says what cannot be seen. A call's way: [`sys::exports`], [`route`] and, for those that are asked about,
//! [`rsc_sdk::broker::ask`] on the terms of the calling thread: those of its innermost [`region`], or else those which the library
//! began with. Nothing here may call a function of the C library that is replaced, hence neither `std::fs` nor `std::net`.
#![deny(unsafe_code)]

mod region;
mod route;
mod start;
#[allow(unsafe_code)]
mod sys;

pub use start::{begin, begin_without_region};
