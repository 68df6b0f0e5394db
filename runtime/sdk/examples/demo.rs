//! The classic demonstration: reads /cs_r.txt of the server, prints it, writes /ce_w.txt there.
//!
//! `RSC_SENTRY=tcp://server:7000 RSC_TOKEN_FILE=token cargo run -p rsc-sdk --example demo`

use std::io::{Read, Write};

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let server = rsc_sdk::Config::from_environment().connect()?;
    let mut line = String::new();
    server.open("/cs_r.txt")?.read_to_string(&mut line)?;
    print!("{line}");
    let mut file = server.create("/ce_w.txt")?;
    file.write_all(b"written by the client\n")?;
    file.close()?;
    Ok(())
}
