//! `delete`: what a shim that died has left of a container goes, and containerd is told how it ended.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::{Message as _, MessageField};

use super::command::Runtime;
use super::error::{Doing as _, ShimError};
use super::events::timestamp;
use super::flags::Flags;
use super::options::Options;
use super::{rootfs, start};
use crate::id::ContainerId;

/// 128 and SIGKILL.
const KILLED: u32 = 137;

/// Removes the container `flags.id`.
pub(super) fn delete(flags: &Flags) -> Result<(), ShimError> {
    let id = ContainerId::parse(&flags.id).map_err(|error| ShimError::Invalid(error.to_string()))?;
    let bundle = match &flags.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(ShimError::io("finding the working directory"))?,
    };
    let runtime = Runtime::new(Options::load(&bundle), &flags.namespace, &bundle);
    // First: containerd gives us a few seconds, and nobody else knows of it.
    start::remove_dead_socket(&bundle);
    let what = || "running the OCI runtime";
    // Its words are for containerd's log; the answer alone is for standard output.
    let mut command = runtime.command();
    let output = command.args(["delete", "--force", id.as_str()]).output().doing(what())?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ShimError::Runtime { command: "delete", message });
    }
    rootfs::unmount_all(&bundle.join("rootfs"));
    let pid: PathBuf = bundle.join("init.pid");
    let pid = std::fs::read_to_string(pid).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let exited_at = MessageField::some(timestamp(SystemTime::now()));
    let response = DeleteResponse { pid, exit_status: KILLED, exited_at, ..Default::default() };
    let bytes = response.write_to_bytes().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(ShimError::io("answering containerd"))
}
