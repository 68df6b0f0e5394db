//! The task logic of `containerd-shim-rsc-v1`, containerd's runtime v2 shim: one process for all containers of a pod, which calls
//! the OCI runtime, holds the containers' standard streams, waits for their processes, and tells containerd.

mod cleanup;
mod command;
mod container;
mod error;
mod events;
mod flags;
mod loops;
mod metrics;
mod oom;
mod options;
mod process;
mod reaper;
mod rootfs;
mod serve;
mod service;
mod start;
mod stdio;
mod terminal;

use std::ffi::OsString;
use std::io::Write as _;

use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

pub use error::ShimError;
use flags::{Action, Flags};

/// As containerd has it.
const NAME: &str = "io.containerd.rsc.v1";

/// Does what the command line (less the program's name) says; what the process is to exit with.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let done = Flags::parse(args).map_err(|error| ShimError::Invalid(error.to_string())).and_then(|flags| match flags
        .action
    {
        Action::Serve => serve::serve(&flags),
        Action::Start => start::start(&flags),
        Action::Delete => cleanup::delete(&flags),
        Action::Version => print(format!("containerd-shim-rsc-v1:\n  Version:  {}\n", version()).as_bytes()),
        Action::Info => print(&info().write_to_bytes().unwrap_or_default()),
    });
    match done {
        Ok(()) => 0,
        Err(error) => {
            // containerd shows what is there.
            let _ = writeln!(std::io::stderr(), "containerd-shim-rsc-v1: {error}");
            1
        }
    }
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn info() -> RuntimeInfo {
    let version = RuntimeVersion { version: version().to_owned(), ..RuntimeVersion::default() };
    RuntimeInfo { name: NAME.to_owned(), version: MessageField::some(version), ..RuntimeInfo::default() }
}

fn print(bytes: &[u8]) -> Result<(), ShimError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(ShimError::io("writing"))
}
