//! Calls of the OCI runtime: its command line, its log, and what it said when it failed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::error::{Doing as _, ShimError};
use super::options::Options;
use super::reaper::Reaper;
use super::stdio::Owner;

/// The default program.
const PROGRAM: &str = "rsc-runtime";
/// The end of a log, in which the last message is looked for.
const MAX_LOG: u64 = 1 << 20;

/// How the OCI runtime is called for one container.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    program: PathBuf,
    root: PathBuf,
    bundle: PathBuf,
    options: Options,
}

/// Standard input, output and error of a command.
pub(super) type Stdios = [Option<OwnedFd>; 3];

impl Runtime {
    /// For a container of `namespace` with its folder at `bundle`.
    pub(super) fn new(options: Options, namespace: &str, bundle: &Path) -> Self {
        let program = match &options.binary {
            Some(name) => name.clone(),
            None => beside_us().unwrap_or_else(|| PROGRAM.into()),
        };
        let root = options.root.clone().unwrap_or_else(|| PathBuf::from("/run/containerd/rsc")).join(namespace);
        Self { program, root, bundle: bundle.to_owned(), options }
    }

    /// The runtime's state directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whose the FIFOs of standard output are to be.
    pub(super) fn owner(&self) -> Owner {
        Owner { uid: self.options.io_uid, gid: self.options.io_gid }
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("log.json")
    }

    /// The command line up to the command.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(self.log()).args(["--log-format", "json"]);
        if self.options.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        if let Some(config) = &self.options.config {
            command.arg("--config").arg(config);
        }
        // Meant for us alone; a runtime would hand them on to hooks.
        for name in ["TTRPC_ADDRESS", "GRPC_ADDRESS", "NAMESPACE", "MAX_SHIM_VERSION", "LD_LIBRARY_PATH", "GOMAXPROCS"]
        {
            command.env_remove(name);
        }
        command.current_dir(&self.bundle);
        command
    }

    /// What `create` is given besides.
    pub(super) fn create_flags(&self) -> Vec<&'static str> {
        let mut flags = Vec::new();
        if self.options.no_pivot_root {
            flags.push("--no-pivot");
        }
        if self.options.no_new_keyring {
            flags.push("--no-new-keyring");
        }
        flags
    }

    /// Runs `name` with `args` to its end.
    pub(super) async fn run(
        &self,
        reaper: &Reaper,
        name: &'static str,
        args: &[&std::ffi::OsStr],
        stdio: Stdios,
    ) -> Result<(), ShimError> {
        let mut command = self.command();
        command.arg(name).args(args);
        let [stdin, stdout, stderr] = stdio.map(|fd| fd.map_or_else(Stdio::null, Stdio::from));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        if name != "delete" {
            // Were it to go on after our end, it could make what our clean-up has just looked for in vain.
            crate::sys::die_with_us(&mut command);
        }
        // What an earlier command has written is not this one's.
        let before = fs::metadata(self.log()).map_or(0, |log| log.len());
        let child = command.spawn().map_err(ShimError::io(format!("starting {}", self.program.display())))?;
        // The descriptors must be the child's alone: who reads from them waits for their end.
        drop(command);
        let pid = i32::try_from(child.id()).unwrap_or(-1);
        let exit = reaper.expect(pid).await;
        match exit.map(|exit| exit.status) {
            Ok(0) => Ok(()),
            Ok(status) => {
                let message = last_error(&self.log(), before)
                    .unwrap_or_else(|| format!("{} ended with status {status}", self.program.display()));
                Err(ShimError::Runtime { command: name, message })
            }
            Err(_) => Err(ShimError::Runtime { command: name, message: "its end was not seen".to_owned() }),
        }
    }

    /// Runs `name` for the container `id`.
    pub(super) async fn simple(&self, reaper: &Reaper, name: &'static str, args: &[&str]) -> Result<(), ShimError> {
        let args: Vec<_> = args.iter().map(std::ffi::OsStr::new).collect();
        self.run(reaper, name, &args, [None, None, None]).await
    }
}

/// A file in memory with `text`, to be somebody's standard input.
pub(super) fn memory_file(text: &[u8]) -> Result<OwnedFd, ShimError> {
    use std::io::Seek as _;
    let what = || "making a file in memory";
    let mut file = File::from(memfd_create(c"rsc-shim", MFdFlags::MFD_CLOEXEC).doing(what())?);
    file.write_all(text).and_then(|()| file.rewind()).map_err(ShimError::io("writing to memory"))?;
    Ok(file.into())
}

/// The runtime that was installed with this shim.
fn beside_us() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    path.is_file().then_some(path)
}

/// The message of the last error in a log of JSON lines, looked for behind its first `from` bytes.
fn last_error(log: &Path, from: u64) -> Option<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(MAX_LOG)))).ok()?;
    let mut text = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let message = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let level = line.get("level")?.as_str()?;
        (level == "error" || level == "fatal").then(|| Some(line.get("msg")?.as_str()?.to_owned()))?
    };
    text.lines().rev().find_map(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_this_command() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.json");
        let first = "{\"level\":\"error\",\"msg\":\"old\",\"time\":\"\"}\n";
        fs::write(&log, first).unwrap();
        assert_eq!(last_error(&log, 0).as_deref(), Some("old"));
        let from = first.len() as u64;
        assert_eq!(last_error(&log, from), None);
        let more = "{\"level\":\"error\",\"msg\":\"new\"}\n{\"level\":\"info\",\"msg\":\"x\"}\nnoise\n";
        fs::write(&log, format!("{first}{more}")).unwrap();
        assert_eq!(last_error(&log, from).as_deref(), Some("new"));
        assert_eq!(last_error(&dir.path().join("none"), 0), None);
    }

    #[test]
    fn the_command_line() {
        let options = Options { binary: Some("/x/rt".into()), systemd_cgroup: true, ..Options::default() };
        let command = Runtime::new(options, "ns", Path::new("/b")).command();
        let line: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let expected = "--root /run/containerd/rsc/ns --log /b/log.json --log-format json --systemd-cgroup";
        assert_eq!(line.join(" "), expected);
        assert_eq!(command.get_program(), "/x/rt");
    }
}
