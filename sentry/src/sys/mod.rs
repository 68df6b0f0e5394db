//! The crate's unsafe code.

pub(crate) mod confine;
pub(crate) mod net;
pub(crate) mod stdio;
