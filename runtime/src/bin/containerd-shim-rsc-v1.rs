//! `containerd-shim-rsc-v1`: runs containers for containerd by calling `rsc-runtime`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rsc_oci::shim::main(std::env::args_os().skip(1)))
}
