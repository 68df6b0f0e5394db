//! A server without a jail, for tests of what stands on it.

use crate::jail::{Ids, Tree};
use crate::server::{Parts, ServeError, Server};
use crate::sys::{fs, ns};
use rsc_proto::abi::Errno;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Serves `root` on the calling thread, to be made for this and to end with it, until the other end of `socket` closes. For
/// tests: no jail, no filter, and every right of the process. `max_handles` bounds the client's handles.
///
/// # Errors
/// Like the program's.
pub fn serve_unjailed(
    root: &Path,
    read_only: bool,
    max_handles: usize,
    socket: UnixStream,
    donations: Option<OwnedFd>,
) -> Result<(), ServeError> {
    let parts = || {
        let path = CString::new(root.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let tree = Tree { root: fs::open_path(&path)?, own: fs::open_path(c"/proc/self/fd")?, ids: Ids::all() };
        // Current directory, umask and securebits of this thread alone, as the program has them.
        ns::unshare(libc::CLONE_FS)?;
        ns::quiet_signals();
        // Fails without privileges; then files cannot be given to others either.
        let _ = ns::keep_caps_across_fs_ids();
        fs::change_dir(&tree.own)?;
        Ok(Parts { socket: socket.into(), donations, tree, read_only, max_handles })
    };
    let parts = parts().map_err(ServeError::Socket)?;
    Server::new(parts).map_err(|e| ServeError::Socket(e.into()))?.serve()
}
