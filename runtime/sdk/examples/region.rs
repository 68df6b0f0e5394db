//! A marked region: the standard library's own functions work with the server's files for a stretch of code.
//!
//! `LD_PRELOAD=target/release/librsc.so RSC_SENTRY=… cargo run -p rsc-sdk --example region`

use std::fs;

fn show(when: &str) {
    println!("{when}: {}", fs::read_to_string("/cs_r.txt").unwrap_or_else(|error| error.to_string()).trim_end());
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), rsc_sdk::Error> {
    show("before");
    {
        let _region = rsc_sdk::region(Some("openat,statx"))?;
        show("within");
        let other = std::thread::spawn(|| show("another thread"));
        // A thread that panics has said so.
        let _ = other.join();
    }
    show("after");
    Ok(())
}
