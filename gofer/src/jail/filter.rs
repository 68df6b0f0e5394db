//! The system call filter: what a server of one tree needs, each with its reason. Everything else gets EPERM.

use super::JailError;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Cmp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::os::fd::RawFd;

/// Calls that are let through whatever their arguments are.
const PLAIN: &[(i64, &str)] = &[
    (libc::SYS_read, "requests; FIFOs"),
    (libc::SYS_write, "replies; log lines"),
    (libc::SYS_poll, "requests while locks or FIFOs are waited for"),
    (libc::SYS_close, "handles"),
    (libc::SYS_openat2, "look-ups and opens, beneath a handle"),
    (libc::SYS_statx, "attributes"),
    (libc::SYS_fstatfs, "statfs"),
    (libc::SYS_getdents64, "directories"),
    (libc::SYS_lseek, "directories' cookies; data and holes; the end after an append"),
    (libc::SYS_readlinkat, "symbolic links"),
    (libc::SYS_pread64, "data"),
    (libc::SYS_pwritev2, "data"),
    (libc::SYS_mkdirat, "mkdir"),
    (libc::SYS_symlinkat, "symlink"),
    (libc::SYS_linkat, "link"),
    (libc::SYS_unlinkat, "unlink, rmdir"),
    (libc::SYS_renameat2, "rename"),
    (libc::SYS_renameat, "rename without flags, as libc's renameat2 makes it"),
    (libc::SYS_fchownat, "chown"),
    (libc::SYS_fchmodat, "chmod"),
    (libc::SYS_utimensat, "times"),
    (libc::SYS_ftruncate, "truncate"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_copy_file_range, "copies within the tree"),
    (libc::SYS_getxattr, "extended attributes, through the directory of own descriptors"),
    (libc::SYS_setxattr, "the same"),
    (libc::SYS_listxattr, "the same"),
    (libc::SYS_removexattr, "the same"),
    (libc::SYS_flock, "locks"),
    (libc::SYS_setfsuid, "files are born with their owner"),
    (libc::SYS_setfsgid, "the same"),
    (libc::SYS_futex, "the threads for slow requests"),
    (libc::SYS_brk, "memory"),
    (libc::SYS_munmap, "memory"),
    (libc::SYS_mremap, "memory"),
    (libc::SYS_madvise, "memory"),
    (libc::SYS_clock_gettime, "time stamps of log lines, where the vDSO has no clock"),
    (libc::SYS_clock_nanosleep, "back-off of waits"),
    (libc::SYS_sched_yield, "the threads"),
    (libc::SYS_getrandom, "hash seeds"),
    (libc::SYS_restart_syscall, "a poll that was stopped and continued"),
    (libc::SYS_rt_sigreturn, "the end of a signal handler of the standard library's"),
    (libc::SYS_rt_sigprocmask, "abort and the end of threads"),
    (libc::SYS_sigaltstack, "the end of threads"),
    (libc::SYS_exit, "the end of threads"),
    (libc::SYS_exit_group, "the end"),
];

fn rule(conditions: Vec<(u8, Len, Cmp, u64)>) -> Result<SeccompRule, String> {
    let conditions: Result<Vec<_>, _> =
        conditions.into_iter().map(|(arg, len, op, value)| SeccompCondition::new(arg, len, op, value)).collect();
    SeccompRule::new(conditions.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

/// Compiles the filter for a server with these descriptors.
fn compile(own: RawFd, donate: Option<RawFd>) -> Result<BpfProgram, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = PLAIN.iter().map(|(nr, _)| (*nr, vec![])).collect();
    let number = |n: libc::c_int| u64::from(n as u32);
    // Opening by path: only in the directory of own descriptors, to open again what a handle names.
    rules.insert(libc::SYS_openat, vec![rule(vec![(0, Len::Dword, Cmp::Eq, number(own))])?]);
    // Never a device.
    let kind = |kind: u32| rule(vec![(2, Len::Dword, Cmp::MaskedEq(libc::S_IFMT.into()), kind.into())]);
    rules.insert(libc::SYS_mknodat, vec![kind(libc::S_IFREG)?, kind(libc::S_IFIFO)?, kind(libc::S_IFSOCK)?]);
    // Duplicates for slow and waiting requests; record locks; the standard library's checks and standard descriptors.
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_OFD_SETLK, libc::F_OFD_GETLK, libc::F_GETFD, libc::F_GETFL]
        .map(|command| rule(vec![(1, Len::Dword, Cmp::Eq, number(command))]));
    rules.insert(libc::SYS_fcntl, commands.into_iter().collect::<Result<_, _>>()?);
    // Memory, never executable.
    let no_exec = || rule(vec![(2, Len::Dword, Cmp::MaskedEq(libc::PROT_EXEC as u64), 0)]);
    rules.insert(libc::SYS_mmap, vec![no_exec()?]);
    rules.insert(libc::SYS_mprotect, vec![no_exec()?]);
    if let Some(donate) = donate {
        // Descriptors go to the supervisor and nowhere else.
        rules.insert(libc::SYS_sendmsg, vec![rule(vec![(0, Len::Dword, Cmp::Eq, number(donate))])?]);
    }
    let deny = SeccompAction::Errno(libc::EPERM as u32);
    let filter =
        SeccompFilter::new(rules, deny, SeccompAction::Allow, TargetArch::x86_64).map_err(|e| e.to_string())?;
    BpfProgram::try_from(filter).map_err(|e| e.to_string())
}

/// Installs the filter on all threads of the process, for good.
pub(crate) fn install(own: RawFd, donate: Option<RawFd>) -> Result<(), JailError> {
    let program = compile(own, donate).map_err(JailError::Filter)?;
    seccompiler::apply_filter_all_threads(&program).map_err(|e| JailError::Filter(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;
    use rsc_proto::abi::Errno;
    use std::os::fd::{AsFd, AsRawFd};

    /// On a thread of its own, which keeps the filter to itself.
    fn filtered<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(move || {
            let program = compile(99, None).unwrap();
            seccompiler::apply_filter(&program).unwrap();
            run()
        })
        .join()
        .unwrap()
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tree = std::fs::File::open(dir.path()).unwrap();
        filtered(move || {
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)));
            assert!(std::fs::File::open("/dev/null").is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)));
            assert_eq!(crate::sys::ns::unshare(libc::CLONE_NEWUSER), Err(Errno::EPERM));
            assert_eq!(crate::sys::ipc::socket_pair(libc::SOCK_STREAM).err(), Some(Errno::EPERM));
            let dir = tree.as_fd();
            for kind in [libc::S_IFCHR, libc::S_IFBLK] {
                assert_eq!(fs::mknod(dir, c"device", kind | 0o666), Err(Errno::EPERM));
            }
            assert_eq!(fs::mknod(dir, c"fifo", libc::S_IFIFO | 0o666), Ok(()));
            let file = fs::open_beneath(dir, c"file", libc::O_CREAT | libc::O_RDWR, 0o600).unwrap();
            assert!(file.as_raw_fd() > 2);
        });
    }

    #[test]
    fn each_rule_has_a_reason() {
        assert!(PLAIN.iter().all(|(_, reason)| !reason.is_empty()));
        let mut numbers: Vec<i64> = PLAIN.iter().map(|(nr, _)| *nr).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), PLAIN.len());
    }
}
