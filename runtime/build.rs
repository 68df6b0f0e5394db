//! Builds the resident loader, a program without libraries, which the crate embeds.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=loader");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("loader.elf");
    let script = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("loader/loader.ld");
    let status = Command::new(env::var("RUSTC")?)
        .args(["--edition=2024", "--crate-name=rsc_loader", "--crate-type=bin"])
        .args([
            "--target=x86_64-unknown-linux-gnu",
            "-Cpanic=abort",
            "-Copt-level=2",
            "-Cdebuginfo=0",
            "-Cstrip=symbols",
        ])
        .args(["-Crelocation-model=static", "-Clink-arg=-nostdlib", "-Clink-arg=-static", "-Clink-arg=-no-pie"])
        .args([
            "-Clink-arg=-Wl,--build-id=none",
            "-Clink-arg=-Wl,--no-eh-frame-hdr",
            &format!("-Clink-arg=-Wl,-T,{}", script.display()),
        ])
        .arg("-o")
        .arg(&out)
        .arg("loader/loader.rs")
        .status()?;
    if !status.success() {
        return Err("the loader does not compile".into());
    }
    let mut elf = fs::read(&out)?;
    // ET_DYN, so that the kernel puts it among the mappings, out of the way of programs with fixed addresses. Nothing in it needs
    // a relocation, and a linker that makes a static-pie would add a dynamic section to say so.
    let kind = elf.get_mut(16).ok_or("the loader is not an ELF file")?;
    *kind = 3;
    fs::write(&out, elf)?;
    Ok(())
}
