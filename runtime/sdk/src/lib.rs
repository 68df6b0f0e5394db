//! The SDK.
#![deny(unsafe_code)]

#[doc(hidden)]
pub mod broker;
mod error;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod sys;

pub use error::Error;
