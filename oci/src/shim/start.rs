//! `start`: finds the shim of the container's pod or starts one, and says where it listens.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, poll};
use serde_json::Value;

use super::error::{Doing as _, ShimError};
use super::flags::Flags;
use super::options::Options;
use crate::cgroups::{Cgroups, Hierarchies};

/// Where containerd's own shims listen too.
const SOCKETS: &str = "/run/containerd/s";
/// Annotations that name the group of a container: containers of one value share a shim.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// A process that was killed has closed its sockets after so many milliseconds.
const LAST_BREATH: u16 = 500;
/// A config.json is not larger.
const MAX_CONFIG: u64 = 16 << 20;

/// Prints the address of the shim.
pub(super) fn start(flags: &Flags) -> Result<(), ShimError> {
    if flags.id.is_empty() || flags.namespace.is_empty() {
        return Err(ShimError::Invalid("start needs -id and -namespace".to_owned()));
    }
    let group = group(Path::new("config.json")).unwrap_or_else(|| flags.id.clone());
    let path = socket_path(&flags.address, &flags.namespace, &group);
    let address = format!("unix://{}", path.display());
    let stdin = io::stdin().lock();
    let options = if stdin.is_terminal() { Options::default() } else { Options::read(stdin)? };
    let cgroup = options.shim_cgroup.as_deref().map(cgroup).transpose()?;
    if let Some(listener) = listen(&path)? {
        let pid = spawn(flags, listener, cgroup.as_ref()).inspect_err(|_| drop(fs::remove_file(&path)))?;
        adjust_score(pid);
    }
    let what = || "telling containerd the address";
    crate::state::write_atomically(Path::new("address"), address.as_bytes()).doing(what())?;
    let mut out = io::stdout().lock();
    out.write_all(address.as_bytes()).and_then(|()| out.flush()).doing(what())
}

fn group(config: &Path) -> Option<String> {
    if fs::metadata(config).ok()?.len() > MAX_CONFIG {
        return None;
    }
    let config: Value = serde_json::from_slice(&fs::read(config).ok()?).ok()?;
    let annotations = config.get("annotations")?;
    GROUPS.iter().find_map(|name| annotations.get(name)?.as_str()).map(str::to_owned)
}

/// One place for each group of a namespace of a containerd. A hash, for a socket's path is short.
fn socket_path(containerd: &str, namespace: &str, group: &str) -> PathBuf {
    let name = [containerd, namespace, group].join("\0");
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(SOCKETS).join(format!("rsc-{}", hash.get(..48).unwrap_or_default()))
}

/// A socket there; none when somebody listens at it already.
fn listen(path: &Path) -> Result<Option<UnixListener>, ShimError> {
    let what = || format!("listening at {}", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o711).create(SOCKETS).doing(what())?;
    for _ in 0..8 {
        match UnixListener::bind(path) {
            Ok(listener) => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).doing(what())?;
                return Ok(Some(listener));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(ShimError::io(what())(error)),
        }
        if UnixStream::connect(path).is_ok() {
            return Ok(None);
        }
        // Of a shim that is dead.
        let _ = fs::remove_file(path);
    }
    Err(ShimError::io(what())(io::Error::from(io::ErrorKind::AddrInUse)))
}

/// The cgroup that option `ShimCgroup` names, in the hierarchies that have it. As with runc's shim it must exist.
fn cgroup(path: &Path) -> Result<Cgroups, ShimError> {
    let found = Cgroups::found(&Hierarchies::detect().needed(None), path);
    if found.leaves().is_empty() {
        return Err(ShimError::Invalid(format!("option ShimCgroup: there is no cgroup {}", path.display())));
    }
    Ok(found)
}

fn spawn(flags: &Flags, listener: UnixListener, cgroup: Option<&Cgroups>) -> Result<u32, ShimError> {
    let what = || "starting the shim";
    let mut command = Command::new(std::env::current_exe().doing(what())?);
    command.args(["-namespace", &flags.namespace, "-id", &flags.id, "-address", &flags.address]);
    if flags.debug {
        command.arg("-debug");
    }
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().doing(what())?;
    let joined = cgroup.map_or(Ok(()), |cgroup| cgroup.join(i32::try_from(child.id()).unwrap_or(-1)));
    if let Err(error) = joined {
        // It may have ended by itself.
        let _ = child.kill();
        return Err(ShimError::io("option ShimCgroup")(io::Error::other(error)));
    }
    Ok(child.id())
}

/// As runc's shim: rather this process than containerd, if one must go.
fn adjust_score(pid: u32) {
    let parent = nix::unistd::getppid();
    let score = fs::read_to_string(format!("/proc/{parent}/oom_score_adj")).ok();
    let Some(score) = score.and_then(|score| score.trim().parse::<i32>().ok()) else { return };
    // Lowering needs a privilege; without it the score stays as it is.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), (score + 1).min(1000).to_string());
}

/// Removes the socket named in the file `address` of a container's folder, when nobody listens at it any more.
pub(super) fn remove_dead_socket(bundle: &Path) {
    let address = fs::read_to_string(bundle.join("address")).unwrap_or_default();
    let Some(path) = address.trim().strip_prefix("unix://").map(Path::new) else { return };
    if path.parent() == Some(Path::new(SOCKETS)) && !is_served(path, LAST_BREATH) {
        let _ = fs::remove_file(path);
    }
}

/// Whether somebody listens at a socket, and goes on. What was killed a moment ago may still be about to close it: then the
/// connection ends by itself.
fn is_served(path: &Path, patience: u16) -> bool {
    let Ok(stream) = UnixStream::connect(path) else { return false };
    let ends = poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], patience);
    !matches!(ends, Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        assert_eq!(group(&config), None);
        fs::write(&config, r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}"#).unwrap();
        assert_eq!(group(&config).as_deref(), Some("pod"));
        fs::write(&config, "{}").unwrap();
        assert_eq!(group(&config), None);
    }

    #[test]
    fn a_socket_that_is_being_closed_is_not_served() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert!(!is_served(&path, 0));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_served(&path, 0));
        let closing = std::thread::spawn(move || drop(listener));
        assert!(!is_served(&path, 60_000));
        closing.join().unwrap();
    }

    #[test]
    fn one_socket_a_group() {
        let path = socket_path("/run/c.sock", "ns", "pod");
        assert_eq!(path, socket_path("/run/c.sock", "ns", "pod"));
        assert_ne!(path, socket_path("/run/c.sock", "n", "spod"));
        assert!(path.as_os_str().len() < 108);
    }
}
