//! The `gofer` binary.

fn main() -> std::process::ExitCode {
    rsc_gofer::main_from_args(std::env::args_os())
}
