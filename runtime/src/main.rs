//! `rsc-runtime`: an OCI runtime whose containers' system calls are carried out by a sentry.

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    // Clients leave descriptors open that are not meant for us, nor for a workload.
    rsc_runtime::sys::host::close_strays(3 + rsc_runtime::cli::passed_on(&argv));
    ExitCode::from(rsc_runtime::cli::main(argv))
}
