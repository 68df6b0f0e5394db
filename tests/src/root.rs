//! Root file systems for containers, made of the distribution's static busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::run;

/// Makes a root file system with busybox and its applets, and the usual empty directories.
///
/// # Errors
/// There is no static busybox, or the directory cannot be filled.
pub fn busybox(root: &Path) -> Result<()> {
    let bin = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .context("no busybox on this machine: run tests/setup")?;
    for dir in ["bin", "proc", "sys", "dev", "tmp", "etc", "root", "d", "t"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::copy(bin, root.join("bin/busybox")).context("copy busybox")?;
    let list = run(Command::new(bin).arg("--list"), Duration::from_secs(10))?;
    for applet in list.stdout.lines().filter(|a| *a != "busybox") {
        let link = root.join("bin").join(applet);
        if !link.exists() {
            symlink("busybox", link)?;
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    Ok(())
}

/// Adds the C library and its loader, so that dynamic programs of this machine run in the root.
///
/// # Errors
/// The libraries are not where this machine's linker says.
pub fn add_libc(root: &Path) -> Result<()> {
    for (from, to) in [
        ("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libc.so.6"),
    ] {
        let to = root.join(to);
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::copy(from, &to).with_context(|| format!("copy {from}"))?;
    }
    Ok(())
}
