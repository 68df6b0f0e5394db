//! The sentry's own confinement.

use super::filter::{Allowed, DEADLY, DEADLY_WITHOUT_CHILDREN, Reasoned, install};
use super::{ConfineError, drop_capabilities, landlock, no_privileges};
use crate::stdio::Stdio;
use seccompiler::SeccompCmpOp as Cmp;
use std::path::{Path, PathBuf};

/// What the filter lets through whatever the arguments are.
const PLAIN: &[Reasoned] = &[
    (libc::SYS_read, "signals and wake-ups of the runtime; gofers"),
    (libc::SYS_write, "log lines; wake-ups; gofers"),
    (libc::SYS_readv, "sessions"),
    (libc::SYS_writev, "sessions"),
    (libc::SYS_recvfrom, "sessions; gofers; sockets of sandboxes"),
    (libc::SYS_sendto, "the same"),
    (libc::SYS_recvmsg, "the same, with descriptors from helpers"),
    (libc::SYS_sendmsg, "the same; a socket to the starter"),
    (libc::SYS_shutdown, "the end of sessions and gofers"),
    (libc::SYS_close, "descriptors of any kind"),
    (libc::SYS_accept4, "listeners, the sandboxes' included"),
    (libc::SYS_connect, "sockets that a broker made; no other internet socket can be had"),
    (libc::SYS_listen, "the same"),
    (libc::SYS_getsockopt, "who a unix socket's peer is; pending errors"),
    (libc::SYS_setsockopt, "TCP_NODELAY and keep-alive of what was accepted; sockets of sandboxes"),
    (libc::SYS_getsockname, "what was accepted; sockets of sandboxes"),
    (libc::SYS_getpeername, "the same"),
    (libc::SYS_epoll_wait, "the runtime waits"),
    (libc::SYS_epoll_pwait, "the same"),
    (libc::SYS_epoll_ctl, "the runtime waits for one more"),
    (libc::SYS_epoll_create1, "one more for the host sockets of each sandbox"),
    (libc::SYS_poll, "is a sandbox's socket ready?"),
    (libc::SYS_futex, "locks of the libraries"),
    (libc::SYS_brk, "memory"),
    (libc::SYS_munmap, "memory"),
    (libc::SYS_mremap, "memory"),
    (libc::SYS_madvise, "memory"),
    (libc::SYS_getrandom, "secrets of sessions; the workloads' random numbers; hash seeds"),
    (libc::SYS_clock_gettime, "clocks, where the vDSO has none"),
    (libc::SYS_gettimeofday, "the same"),
    (libc::SYS_clock_nanosleep, "back-off of the libraries"),
    (libc::SYS_sched_yield, "locks of the libraries"),
    (libc::SYS_getuid, "is a peer the sentry's own user?"),
    (libc::SYS_geteuid, "the same"),
    (libc::SYS_getpid, "log lines; abort"),
    (libc::SYS_gettid, "log lines; abort"),
    (libc::SYS_restart_syscall, "a wait that was stopped and continued"),
    (libc::SYS_rt_sigreturn, "the end of the runtime's signal handlers"),
    (libc::SYS_rt_sigprocmask, "abort; the end of threads"),
    (libc::SYS_sigaltstack, "the end of threads"),
    (libc::SYS_wait4, "the starter's end"),
    (libc::SYS_exit, "the end of threads"),
    (libc::SYS_exit_group, "the end"),
];

/// What a sentry still needs after it has confined itself.
#[derive(Debug, Default)]
pub struct Needs {
    /// Unix sockets that it listens on, to be removed at the end.
    pub unix: Vec<PathBuf>,
    /// It lends its standard streams.
    pub stdio: bool,
}

/// The filter.
fn filter(needs: &Needs) -> Result<Allowed, ConfineError> {
    let mut allowed = Allowed::plain(PLAIN);
    if !needs.unix.is_empty() {
        allowed.and(&[
            (libc::SYS_statx, "is the socket's path still this socket?"),
            (libc::SYS_unlink, "removes the socket's path; Landlock says where"),
        ]);
    }
    if needs.stdio {
        allowed.and(&[
            (libc::SYS_preadv2, "reads standard input without waiting"),
            (libc::SYS_pwritev2, "writes to standard output without waiting"),
        ]);
    }
    allowed.data_memory()?;
    let number = |n: libc::c_int| u64::from(n as u32);
    let mut each =
        |nr, arg, values: &[u64]| values.iter().try_for_each(|value| allowed.when(nr, &[(arg, Cmp::Eq, *value)]));
    // Non-blocking sockets; how much there is to read, or is still to be sent; is there urgent data?
    const SIOCATMARK: u64 = 0x8905;
    const IOCTLS: [u64; 4] = [libc::FIONBIO, libc::FIONREAD, libc::TIOCOUTQ, SIOCATMARK];
    each(libc::SYS_ioctl, 1, &IOCTLS)?;
    if needs.stdio {
        // A terminal's settings and size, of the list in `crate::stdio`.
        let requests: Vec<u64> = Stdio::requests().map(u64::from).filter(|it| !IOCTLS.contains(it)).collect();
        each(libc::SYS_ioctl, 1, &requests)?;
    }
    // The standard library's copies and checks of descriptors.
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
    each(libc::SYS_fcntl, 1, &commands.map(number))?;
    // A socket for the starter to put a gofer on.
    each(libc::SYS_socketpair, 0, &[number(libc::AF_UNIX)])?;
    // abort(3), to itself.
    let own = u64::from(std::process::id());
    allowed.when(libc::SYS_tgkill, &[(0, Cmp::Eq, own), (2, Cmp::Eq, number(libc::SIGABRT))])?;
    Ok(allowed)
}

/// Gives up everything but what `needs` says. To be called with listeners bound, files read, the runtime and the starter started,
/// before anything is accepted.
///
/// # Errors
/// [`ConfineError`]; the process must not serve then.
pub fn confine(needs: &Needs) -> Result<(), ConfineError> {
    let dirs: Vec<&Path> = needs.unix.iter().map(|path| parent(path)).collect();
    let filter = filter(needs)?;
    drop_capabilities(&[])?;
    no_privileges()?;
    let landlock = landlock::forbid_paths(&dirs)?;
    if landlock == 0 {
        tracing::info!("this kernel has no Landlock: the system call filter alone keeps the sentry from files");
    }
    install(filter, &[DEADLY, DEADLY_WITHOUT_CHILDREN])
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::filter::install_here;
    use std::collections::BTreeSet;

    #[test]
    fn each_call_is_named_once_with_a_reason_and_is_not_deadly() {
        assert!(PLAIN.iter().all(|(_, reason)| !reason.is_empty()));
        assert_eq!(PLAIN.iter().map(|(nr, _)| nr).collect::<BTreeSet<_>>().len(), PLAIN.len());
        let allowed = filter(&Needs { unix: vec!["/run/x".into()], stdio: true }).unwrap().numbers();
        assert!(DEADLY.iter().chain(DEADLY_WITHOUT_CHILDREN).all(|(nr, _)| !allowed.contains(nr)));
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        let refused = |e: std::io::Error| e.raw_os_error() == Some(libc::EPERM);
        let file = std::fs::File::open("/dev/null").unwrap();
        std::thread::spawn(move || {
            install_here(filter(&Needs::default()).unwrap(), &[DEADLY, DEADLY_WITHOUT_CHILDREN]);
            assert!(std::fs::File::open("/dev/null").is_err_and(refused));
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err_and(refused));
            assert!(std::os::unix::net::UnixStream::connect("/run/x").is_err_and(refused));
            assert!(std::fs::remove_file("/nonexistent").is_err_and(refused));
            assert_eq!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None), Err(nix::Error::EPERM));
            assert!(std::os::unix::net::UnixStream::pair().is_ok());
            assert!(file.try_clone().is_ok());
        })
        .join()
        .unwrap();
    }
}
