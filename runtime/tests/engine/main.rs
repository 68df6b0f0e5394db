//! The engine, the platforms and the jail against a small kernel in this process: real programs, no session.
//!
//! Each case runs in a process of its own, because a jail is made before any thread starts, and because a supervisor takes over
//! SIGCHLD. `cargo test --test engine -- NAME` runs the cases whose name contains NAME.

// Tests may panic; the lint's exception for tests does not reach a harness of one's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod fake;
mod programs;

use rsc_runtime::{platform::Platform, sys::process};
use std::{
    io::Write,
    time::{Duration, Instant},
};

/// How a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) platform: Platform,
    pub(crate) strict: bool,
}

/// A name and what to do; an error says what was wrong.
type Case = (&'static str, fn(Setup) -> Result<(), String>);

const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let wanted = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    programs::build();
    let mut failed = Vec::new();
    let mut run = 0;
    for platform in [Platform::Ptrace, Platform::Seccomp] {
        for strict in [false, true] {
            let setup = Setup { platform, strict };
            for (name, case) in cases::ALL {
                let name = format!("{platform}/{}/{name}", if strict { "strict" } else { "auto" });
                if !name.contains(&wanted) {
                    continue;
                }
                run += 1;
                let started = Instant::now();
                let result = isolated(*case, setup);
                println!("{name}: {} ({} ms)", if result { "ok" } else { "FAILED" }, started.elapsed().as_millis());
                if !result {
                    failed.push(name);
                }
            }
        }
    }
    programs::remove();
    println!("{run} cases, {} failed {}", failed.len(), failed.join(" "));
    std::process::exit(i32::from(!failed.is_empty()));
}

/// Runs a case in a child; false if it failed or took too long.
fn isolated(case: fn(Setup) -> Result<(), String>, setup: Setup) -> bool {
    let _ = std::io::stdout().flush();
    match process::fork_into(0) {
        Ok(process::Forked::Child) => {
            if std::env::var_os("RSC_TEST_TRACE").is_some() {
                tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::stderr).init();
            }
            let result = case(setup);
            if let Err(error) = &result {
                eprintln!("    {error}");
            }
            process::exit_now(i32::from(result.is_err()))
        }
        Ok(process::Forked::Parent(pid)) => {
            let started = Instant::now();
            loop {
                match nix::sys::wait::waitpid(
                    nix::unistd::Pid::from_raw(pid),
                    Some(nix::sys::wait::WaitPidFlag::WNOHANG),
                ) {
                    Ok(nix::sys::wait::WaitStatus::StillAlive) if started.elapsed() > PATIENCE => {
                        eprintln!("    took too long");
                        let _ = process::kill(pid, libc::SIGKILL);
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    Ok(nix::sys::wait::WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(2)),
                    Ok(nix::sys::wait::WaitStatus::Exited(_, code)) => return code == 0,
                    _ => return false,
                }
            }
        }
        Err(errno) => {
            eprintln!("    fork: {errno}");
            false
        }
    }
}
