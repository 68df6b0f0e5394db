//! The functions of `rsc.h`.
