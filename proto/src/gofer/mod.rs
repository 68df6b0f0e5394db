//! The gofer's wire: a file protocol over one ordered byte stream.
//!
//! The stream is a socketpair to a gofer on this machine, or the same bytes relayed by a supervisor. Each frame is
//!
//! ```text
//! u32 header length | u32 payload length | header | payload      (little endian)
//! ```
//!
//! The header is a [`Request`] or a [`Reply`] in protobuf encoding; the payload is file data or an attribute's value, so that
//! data is read from and written to files in place. Limits: [`MAX_HEADER`], [`MAX_PAYLOAD`].
//!
//! # Handles
//!
//! A handle is a number chosen by the client, bound by the server to a descriptor. Every handle names an inode; one that was
//! *opened* can also do input and output. Because the client chooses, requests on a handle may follow the one which binds it
//! without waiting (they get EBADF if it fails), and a reply that nobody wants any more loses nothing. A number is below
//! [`AttachReply::max_handles`] and not in use, else EBADF; it is free again after a close.
//!
//! # The concurrency contract
//!
//! - Requests are carried out one at a time, in the order of arrival, and replies have that order, except for:
//! - *slow* requests ([`Op::Sync`], [`Op::CopyRange`], [`Op::Allocate`]): started in order, carried out beside later requests;
//! - *parked* requests ([`Op::Lock`] with `wait`, [`Op::Poll`]): tried in order, and if they have to wait, answered when they are
//!   done or by [`Op::Cancel`] (EINTR).
//! - The handles in [`Request::close`] are closed before the request's operation. A slow or parked request keeps its descriptor.
//! - Other processes may change the tree at any time. Each operation is atomic as far as the host's system call is.
//! - A request that fails (`errno` not 0) has changed nothing and bound no handle. Exceptions, which are Linux's own, are
//!   stated at the operation: [`Op::SetAttr`], [`Op::Write`].
//!
//! A malformed frame, an unknown operation or flag ends the connection: there is no way to say that such a peer meant well.
//! A request without operation only closes handles and has no reply.

mod frame;
mod message;
mod types;

pub use frame::{
    Frame, FrameError, MAX_FRAME, MAX_HEADER, MAX_PAYLOAD, PREFIX, begin_frame, encode_frame, finish_frame, split_frame,
};
pub use message::*;
pub use types::*;

/// The protocol's version, in [`Attach`]. A gofer refuses any other with EPROTONOSUPPORT.
pub const VERSION: u32 = 1;
/// Names in one [`Walk`].
pub const MAX_WALK: usize = 256;
/// Bytes of one name, as Linux's `NAME_MAX`.
pub const NAME_MAX: usize = 255;
/// Bytes of a symbolic link's target, as Linux's `PATH_MAX` less the NUL.
pub const TARGET_MAX: usize = 4095;
/// Bytes of an extended attribute's value or of a list of names, as Linux's `XATTR_SIZE_MAX`.
pub const XATTR_MAX: usize = 65536;
/// Requests of one connection that may wait ([`Op::Lock`], [`Op::Poll`]) at the same time; more get ENOLCK.
pub const MAX_PARKED: usize = 1024;
/// Bytes that one [`CopyRange`] copies at most; a short count is no error.
pub const MAX_COPY: u64 = 64 << 20;

/// Whether `name` can be one component: not empty, no `/`, no NUL, not `.` or `..`, at most [`NAME_MAX`] bytes.
///
/// # Errors
/// The errno of the refusal: EINVAL or ENAMETOOLONG.
pub fn check_name(name: &[u8]) -> Result<(), i32> {
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|b| matches!(b, b'/' | 0)) {
        return Err(libc::EINVAL);
    }
    if name.len() > NAME_MAX {
        return Err(libc::ENAMETOOLONG);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(check_name(b"a"), Ok(()));
        assert_eq!(check_name(b"..."), Ok(()));
        assert_eq!(check_name(&[b'x'; 255]), Ok(()));
        assert_eq!(check_name(&[b'x'; 256]), Err(libc::ENAMETOOLONG));
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert_eq!(check_name(bad), Err(libc::EINVAL), "{bad:?}");
        }
    }
}
