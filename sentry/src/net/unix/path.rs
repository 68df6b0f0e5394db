//! Socket inodes: where the names of unix sockets meet the file tree.

use std::rc::Rc;

use rsc_proto::abi::Errno;

use super::UnixSocket;
use crate::kernel::cx::Cx;

/// Makes the socket's inode. `EADDRINUSE` if the name is taken.
pub(super) async fn bind(_cx: &Cx, _path: &[u8], _socket: &Rc<UnixSocket>) -> Result<(), Errno> {
    Err(Errno::EADDRNOTAVAIL)
}

/// The socket whose inode is there; `None`: nobody is bound to it any more. Needs write permission on it.
pub(super) async fn find(_cx: &Cx, _path: &[u8]) -> Result<Option<Rc<UnixSocket>>, Errno> {
    Err(Errno::ENOENT)
}
