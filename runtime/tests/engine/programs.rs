//! The workloads: small C programs, compiled once.

use std::{fs, path::PathBuf, process::Command};

/// Where they are.
pub(crate) fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("rsc-engine-{}", nix::unistd::getpgrp()))
}

/// The path of one.
pub(crate) fn path(name: &str) -> String {
    folder().join(name).to_str().unwrap().to_owned()
}

pub(crate) fn build() {
    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/engine/programs");
    for (output, flags) in
        [("static", &["-static"][..]), ("dynamic", &["-pie"][..]), ("fixed", &["-static", "-no-pie"][..])]
    {
        let status = Command::new("gcc")
            .args(["-O1", "-w", "-pthread"])
            .args(flags)
            .arg("-o")
            .arg(folder.join(output))
            .arg(sources.join("all.c"))
            .status()
            .unwrap();
        assert!(status.success(), "the test programs do not compile");
    }
    fs::write(folder.join("script"), format!("#!{}\n", path("static"))).unwrap();
    fs::write(folder.join("data"), "0123456789abcdef".repeat(1024)).unwrap();
}

pub(crate) fn remove() {
    let _ = fs::remove_dir_all(folder());
}
