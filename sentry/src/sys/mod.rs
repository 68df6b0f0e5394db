//! The crate's unsafe code.

pub(crate) mod net;
