//! What a call is made of, for those who move it: its descriptors and what it makes.

use rsc_proto::table::{Kind, Scalar, lookup, nr};

/// Close-on-exec, as open(2) and most calls that make a descriptor have it.
const CLOEXEC: u64 = libc::O_CLOEXEC as u64;

/// Which arguments of a call are descriptors, other than those from which a name starts.
pub fn descriptors(number: u32) -> Vec<usize> {
    let args = lookup(number).map_or(&[][..], |call| call.args);
    let is_fd = |at: &usize| args.get(*at).is_some_and(|arg| matches!(arg.kind, Kind::Value(Scalar::Fd)));
    (0..args.len()).filter(is_fd).collect()
}

/// Whether a call is this machine's whatever its descriptors are: it is about their numbers, or waits for any mix of them.
pub fn is_of_numbers(number: u32) -> bool {
    matches!(
        number,
        nr::DUP
            | nr::DUP2
            | nr::DUP3
            | nr::CLOSE
            | nr::CLOSE_RANGE
            | nr::POLL
            | nr::PPOLL
            | nr::SELECT
            | nr::PSELECT6
            | nr::EPOLL_CTL
            | nr::EPOLL_WAIT
            | nr::EPOLL_PWAIT
            | nr::EPOLL_PWAIT2
    )
}

/// Whether a call's result is a new descriptor.
pub fn makes_descriptor(number: u32) -> bool {
    matches!(
        number,
        nr::OPEN
            | nr::OPENAT
            | nr::OPENAT2
            | nr::CREAT
            | nr::SOCKET
            | nr::ACCEPT
            | nr::ACCEPT4
            | nr::INOTIFY_INIT
            | nr::INOTIFY_INIT1
    )
}

/// Whether the descriptor that a call makes is to be closed by execve(2).
pub fn is_close_on_exec(number: u32, args: &[u64; 6], how: Option<u64>) -> bool {
    let flags = match number {
        nr::OPEN | nr::SOCKET => args[1],
        nr::OPENAT => args[2],
        nr::OPENAT2 => how.unwrap_or(0),
        nr::ACCEPT4 => args[3],
        nr::INOTIFY_INIT1 => args[0],
        _ => 0,
    };
    flags & CLOEXEC != 0
}

/// Which argument is the mode of something that is made, to which the caller's umask applies.
pub fn made_mode(number: u32) -> Option<usize> {
    match number {
        nr::CREAT | nr::MKDIR | nr::MKNOD => Some(1),
        nr::OPEN | nr::MKDIRAT | nr::MKNODAT => Some(2),
        nr::OPENAT => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_calls() {
        assert_eq!(descriptors(nr::READ), [0]);
        assert_eq!(descriptors(nr::OPENAT), [0; 0]);
        assert_eq!(descriptors(nr::SENDFILE), [0, 1]);
        assert_eq!(descriptors(u32::MAX), [0; 0]);
    }
}
