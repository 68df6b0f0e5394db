//! `librsc_preload.so`: for `LD_PRELOAD`. Stands in front of the C library's functions for files, sockets and names; asks the user's
//! `rsc-runtime broker` about those calls that rules or remote descriptors concern, and leaves all others to the kernel at once.
//!
//! All of that is [`rsc_interpose`]; here is when it begins: before the program's own code.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod sys;
