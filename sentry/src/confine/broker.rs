//! A socket broker's confinement, once it is in its network namespace.

use super::filter::{Allowed, DEADLY, DEADLY_WITHOUT_CHILDREN, Reasoned, install};
use super::starter::FOR_NETWORK;
use super::{ConfineError, drop_capabilities, landlock, no_privileges};
use seccompiler::SeccompCmpOp as Cmp;

/// What the filter lets through whatever the arguments are.
const PLAIN: &[Reasoned] = &[
    (libc::SYS_recvmsg, "requests; dumps of interfaces"),
    (libc::SYS_sendmsg, "replies with sockets; requests for dumps"),
    (libc::SYS_bind, "what it is for"),
    (libc::SYS_ioctl, "questions about interfaces; the sentry's list of them is the broker's, too"),
    (libc::SYS_close, "what was handed over"),
    (libc::SYS_write, "one line on standard error when it fails"),
    (libc::SYS_futex, "locks of the standard library"),
    (libc::SYS_brk, "memory"),
    (libc::SYS_munmap, "memory"),
    (libc::SYS_mremap, "memory"),
    (libc::SYS_madvise, "memory"),
    (libc::SYS_restart_syscall, "a wait that was stopped and continued"),
    (libc::SYS_rt_sigreturn, "the end of a signal handler of the standard library's"),
    (libc::SYS_rt_sigprocmask, "abort"),
    (libc::SYS_sigaltstack, "the end"),
    (libc::SYS_exit, "the end"),
    (libc::SYS_exit_group, "the end"),
];

fn filter() -> Result<Allowed, ConfineError> {
    let mut allowed = Allowed::plain(PLAIN);
    allowed.data_memory()?;
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] {
        allowed.when(libc::SYS_socket, &[(0, Cmp::Eq, family as u64)])?;
    }
    // The standard library's checks of descriptors.
    for command in [libc::F_GETFD, libc::F_GETFL] {
        allowed.when(libc::SYS_fcntl, &[(1, Cmp::Eq, command as u64)])?;
    }
    Ok(allowed)
}

/// Gives up everything but making and binding sockets, on ports below 1024 where the starter was allowed to.
///
/// # Errors
/// [`ConfineError`]; the process must not serve then.
pub fn confine() -> Result<(), ConfineError> {
    drop_capabilities(&[FOR_NETWORK])?;
    no_privileges()?;
    landlock::forbid_paths(&[])?;
    install(filter()?, &[DEADLY, DEADLY_WITHOUT_CHILDREN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_a_reason_and_is_not_deadly() {
        assert!(PLAIN.iter().all(|(_, reason)| !reason.is_empty()));
        let allowed = filter().unwrap().numbers();
        assert!(DEADLY.iter().chain(DEADLY_WITHOUT_CHILDREN).all(|(nr, _)| !allowed.contains(nr)));
    }
}
