//! `librsc.so`: the functions of `rsc.h`, for programs which are linked with it or have it preloaded. It stands in front of the C
//! library's functions as `librsc_preload.so` does, but outside of marked regions only descriptors that are remote are looked after.
//!
//! All of that is [`rsc_interpose`].
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod sys;
