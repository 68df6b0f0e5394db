//! The gofer's client: the sentry's way to a file tree.
//!
//! [`GoferClient`] speaks [`rsc_proto::gofer`] over a [`GoferStream`](crate::server::sandbox::GoferStream). It lives on the kernel's thread (`Rc`, not `Send`) and
//! spawns its tasks with `spawn_local`. Requests are pipelined: join futures to have several under way. A future may be
//! dropped at any time: the request is carried out or not, and what it bound is closed. [`Handle`]s close themselves; the closes
//! travel with the next request, or alone after a moment. When the connection is lost, everything fails with EIO.
//!
//! What the gofer says is checked where it could hurt (counts, names, lengths): it may sit behind an untrusted supervisor.
//! A reply that cannot be right ends the connection.
//!
//! Permissions are not the gofer's: it acts as root of its tree. Whoever calls this checks them, from the attributes that each
//! step brings.

mod conn;
mod handle;
mod ops;
#[cfg(test)]
mod tests;
mod types;

pub use handle::Handle;
pub use types::{Attached, AttrChange, Created, Keep, MakeKind, Opened, Owner, Step, TimeChange, WalkEnd, Walked};

pub use rsc_proto::gofer::{
    AllocateFlags, Attr, DirEntry, DirReply, Features, LockInfo, LockKind, LockStyle, OpenFlags, RenameFlags, StatFs,
    WriteFlags, Written, XattrFlags,
};

use std::rc::Rc;

/// A connection to one gofer, hence one tree. Cloning gives another reference to the same connection, which ends (and the
/// gofer with it) when the last reference and the last [`Handle`] are dropped.
#[derive(Clone, Debug)]
pub struct GoferClient(Rc<conn::Conn>);
