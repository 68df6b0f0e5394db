//! The `sentry` program: `serve`, `ps`, and (by itself) `gofer`.
#![deny(unsafe_code)]

mod args;
mod notify;
mod ps;
mod serve;
#[allow(unsafe_code)]
mod sys;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use std::path::Path;
use std::process::ExitCode;

/// Writes manual pages, from the definitions of the command lines themselves.
fn manual(dir: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(args::Args::command(), dir)?;
    clap_mangen::generate_to(rsc_gofer::command(), dir)
}

fn main() -> ExitCode {
    // A gofer is this program again, before any thread or runtime exists.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == "gofer") {
        let program = std::iter::once("gofer".into());
        return rsc_gofer::main_from_args(program.chain(std::env::args_os().skip(2)));
    }
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == rsc_sentry::net::broker::COMMAND) {
        return match rsc_sentry::net::broker::run(&arguments.next().unwrap_or_default()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("sentry: the socket broker: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let args = args::Args::parse();
    let result = match &args.command {
        args::Command::Serve(serve) => {
            serve::close_strays(serve);
            args.log.install().and_then(|()| serve::run(serve))
        }
        args::Command::Ps(ps) => args.log.install().and_then(|()| ps::run(ps)),
        args::Command::Man { dir } => manual(dir).context("writing manual pages"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, and no cause twice: most messages name theirs.
            let mut line = String::new();
            for cause in error.chain().map(ToString::to_string) {
                if !line.contains(&cause) {
                    line.push_str(if line.is_empty() { "" } else { ": " });
                    line.push_str(&cause);
                }
            }
            let line = line.replace('\n', " ");
            eprintln!("sentry: {line}");
            ExitCode::FAILURE
        }
    }
}
