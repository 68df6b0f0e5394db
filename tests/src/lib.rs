//! What the tests stand on: root file systems and bundles, running things with a time limit, comparing what programs saw, and a
//! network that breaks. Only Linux, only as root.
#![deny(unsafe_code)]

pub mod bundle;
pub mod command;
pub mod compare;
pub mod relay;
pub mod root;
pub mod subject;
