//! `rsc-runtime`: an OCI runtime whose containers' system calls are carried out by a sentry.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rsc_runtime::cli::main(std::env::args_os().collect()))
}
