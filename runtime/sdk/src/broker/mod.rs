//! How a library within a process asks `rsc-runtime broker` about system calls: what the SDK and the libraries that stand in front of
//! the C library have in common. Not for programs.

pub mod ask;
pub mod environment;
pub mod fds;
pub mod link;
pub mod terms;
