//! The SDK.
#![deny(unsafe_code)]

#[doc(hidden)]
pub mod broker;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod sys;
