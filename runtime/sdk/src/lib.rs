//! The SDK of rsc: a program's own choice of what a server carries out for it.
//!
//! A [`Server`] has calls by name and number, files ([`RemoteFile`]), directories and sockets ([`RemoteTcpStream`],
//! [`RemoteListener`]), which are the server's whatever rules say. A [`region`] has the calls of a stretch of this program's code go
//! there, where `librsc.so` is linked or preloaded. Both ask the user's `rsc-runtime broker`, which is started if it is not there.
//!
//! ```no_run
//! use std::io::Write;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = rsc_sdk::Config::new("tcp://server:7000").token_file("token").connect()?;
//! println!("{}", String::from_utf8(server.read("/cs_r.txt")?)?);
//! server.create("/ce_w.txt")?.write_all(b"written by the client\n")?;
//! let _region = server.region(Some("openat,read,write,close"))?;
//! // Read there.
//! std::fs::read("/cs_r.txt")?;
//! # Ok(())
//! # }
//! ```
//!
//! `docs/remote.md` tells more.
#![deny(unsafe_code)]

#[doc(hidden)]
pub mod broker;
mod config;
mod dir;
mod error;
mod fd;
mod file;
mod net;
mod region;
mod server;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod sys;

pub use config::Config;
pub use dir::DirEntry;
pub use error::Error;
pub use fd::RemoteFd;
pub use file::{Metadata, OpenOptions, RemoteFile};
pub use net::{RemoteListener, RemoteTcpStream};
pub use region::{Region, region};
pub use server::Server;
