//! The system calls, by family; each handler is a plain `async fn` over typed arguments.
//!
//! To add one: write the handler in its family's file, name it in `handlers!` below, and correct its line in
//! `proto/src/syscalls.tbl`. A test asserts that the two agree.

use std::rc::Rc;

pub(crate) use rsc_proto::table::nr;
use rsc_proto::v1::{Exec, MapFile};

use crate::error::{SysError, SysResult};
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::Fut;
use crate::kernel::memory::UserPtr;

pub mod attr;
pub mod clock;
pub mod copy;
pub mod dir;
pub mod epoll;
pub mod eventfd;
pub mod exec;
pub mod fdtable;
pub mod identity;
pub mod info;
pub mod io;
pub mod limits;
pub mod lock;
pub mod lookup;
pub mod message;
pub mod mm;
pub mod mount;
pub mod open;
pub mod path;
pub mod pipe;
pub mod poll;
pub mod prctl;
pub mod process;
pub mod sched;
pub mod socket;
pub mod stat;
pub mod sync;
pub mod timerfd;
pub mod xattr;

/// What a handler decides.
#[derive(Debug)]
pub enum Outcome {
    /// The value for `rax`.
    Value(u64),
    /// The host's kernel carries the call out; `report`: and its result is told.
    Native {
        /// Tell the result by `TaskEvent.native_result`.
        report: bool,
    },
    /// A program to execute.
    Exec(Box<Exec>),
    /// A file to map.
    Map(Box<MapFile>),
}

/// An argument register as a handler's parameter. Linux truncates to the parameter's type, so does this.
pub trait FromArg {
    /// The parameter that the register holds.
    fn from_arg(arg: u64) -> Self;
}

macro_rules! from_arg {
    ($($t:ty),*) => { $(impl FromArg for $t { fn from_arg(arg: u64) -> Self { arg as $t } })* };
}
from_arg!(i32, u32, i64, u64, usize);

impl FromArg for Fd {
    fn from_arg(arg: u64) -> Self {
        Self(arg as i32)
    }
}

impl<T> FromArg for UserPtr<T> {
    fn from_arg(arg: u64) -> Self {
        Self::new(arg)
    }
}

/// A handler's value as the outcome.
pub trait IntoOutcome {
    /// The outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(0)
    }
}

impl IntoOutcome for u64 {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(self)
    }
}

impl IntoOutcome for usize {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(self as u64)
    }
}

impl IntoOutcome for u32 {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(u64::from(self))
    }
}

impl IntoOutcome for Fd {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(self.0 as u64)
    }
}

fn finish<T: IntoOutcome>(result: Result<T, SysError>) -> SysResult<Outcome> {
    result.map(IntoOutcome::into_outcome)
}

macro_rules! apply {
    ($f:path, $cx:expr, $a:expr, 0) => {
        $f($cx)
    };
    ($f:path, $cx:expr, $a:expr, 1) => {
        $f($cx, FromArg::from_arg($a[0]))
    };
    ($f:path, $cx:expr, $a:expr, 2) => {
        $f($cx, FromArg::from_arg($a[0]), FromArg::from_arg($a[1]))
    };
    ($f:path, $cx:expr, $a:expr, 3) => {
        $f($cx, FromArg::from_arg($a[0]), FromArg::from_arg($a[1]), FromArg::from_arg($a[2]))
    };
    ($f:path, $cx:expr, $a:expr, 4) => {
        $f($cx, FromArg::from_arg($a[0]), FromArg::from_arg($a[1]), FromArg::from_arg($a[2]), FromArg::from_arg($a[3]))
    };
    ($f:path, $cx:expr, $a:expr, 5) => {
        $f(
            $cx,
            FromArg::from_arg($a[0]),
            FromArg::from_arg($a[1]),
            FromArg::from_arg($a[2]),
            FromArg::from_arg($a[3]),
            FromArg::from_arg($a[4]),
        )
    };
    ($f:path, $cx:expr, $a:expr, 6) => {
        $f(
            $cx,
            FromArg::from_arg($a[0]),
            FromArg::from_arg($a[1]),
            FromArg::from_arg($a[2]),
            FromArg::from_arg($a[3]),
            FromArg::from_arg($a[4]),
            FromArg::from_arg($a[5]),
        )
    };
}

/// `NUMBER => handler, arguments;` The single list from which dispatch comes.
macro_rules! handlers {
    ($($nr:ident => $f:path, $n:tt;)*) => {
        /// Starts the handler of `cx.nr`; `None` if there is none.
        pub fn dispatch(cx: Rc<Cx>) -> Option<Fut<'static, SysResult<Outcome>>> {
            let a = cx.args;
            Some(match cx.nr {
                $(nr::$nr => Box::pin(async move { finish(apply!($f, &cx, a, $n).await) }),)*
                _ => return None,
            })
        }

        /// Numbers of the calls that have a handler.
        pub const IMPLEMENTED: &[u32] = &[$(nr::$nr),*];
    };
}

handlers! {
    // Processes
    CLONE => process::clone, 5;
    FORK => process::fork, 0;
    VFORK => process::fork, 0;
    EXECVE => exec::execve, 3;
    EXECVEAT => exec::execveat, 5;
    KILL => process::kill, 2;
    TKILL => process::tkill, 2;
    TGKILL => process::tgkill, 3;
    GETPID => process::getpid, 0;
    GETTID => process::gettid, 0;
    GETPPID => process::getppid, 0;
    SETPGID => process::setpgid, 2;
    SETSID => process::setsid, 0;
    PRCTL => prctl::prctl, 5;
    RT_SIGQUEUEINFO => process::rt_sigqueueinfo, 3;
    RT_TGSIGQUEUEINFO => process::rt_tgsigqueueinfo, 4;
    UNSHARE => process::unshare, 1;
    SCHED_SETPARAM => sched::set, 1;
    SCHED_SETSCHEDULER => sched::set, 1;
    SCHED_SETATTR => sched::set, 1;
    SCHED_SETAFFINITY => sched::set, 1;
    SETPRIORITY => sched::setpriority, 2;
    IOPRIO_SET => sched::ioprio_set, 2;

    // Identity
    GETUID => identity::getuid, 0;
    GETEUID => identity::geteuid, 0;
    GETGID => identity::getgid, 0;
    GETEGID => identity::getegid, 0;
    GETRESUID => identity::getresuid, 3;
    GETRESGID => identity::getresgid, 3;
    SETUID => identity::setuid, 1;
    SETGID => identity::setgid, 1;
    SETREUID => identity::setreuid, 2;
    SETREGID => identity::setregid, 2;
    SETRESUID => identity::setresuid, 3;
    SETRESGID => identity::setresgid, 3;
    SETFSUID => identity::setfsuid, 1;
    SETFSGID => identity::setfsgid, 1;
    GETGROUPS => identity::getgroups, 2;
    SETGROUPS => identity::setgroups, 2;
    CAPGET => identity::capget, 2;
    CAPSET => identity::capset, 2;

    // Information and limits
    UNAME => info::uname, 1;
    SETHOSTNAME => info::sethostname, 2;
    SETDOMAINNAME => info::setdomainname, 2;
    SYSINFO => info::sysinfo, 1;
    GETRANDOM => info::getrandom, 3;
    CLOCK_SETTIME => clock::clock_settime, 2;
    GETRLIMIT => limits::getrlimit, 2;
    SETRLIMIT => limits::setrlimit, 2;
    PRLIMIT64 => limits::prlimit64, 4;

    // Opening and status
    OPEN => open::open, 3;
    CREAT => open::creat, 2;
    OPENAT => open::openat, 4;
    OPENAT2 => open::openat2, 4;
    MEMFD_CREATE => open::memfd_create, 2;
    STAT => stat::stat, 2;
    LSTAT => stat::lstat, 2;
    FSTAT => stat::fstat, 2;
    NEWFSTATAT => stat::newfstatat, 4;
    STATX => stat::statx, 5;
    ACCESS => stat::access, 2;
    FACCESSAT => stat::faccessat, 3;
    FACCESSAT2 => stat::faccessat2, 4;
    READLINK => stat::readlink, 3;
    READLINKAT => stat::readlinkat, 4;
    STATFS => stat::statfs, 2;
    FSTATFS => stat::fstatfs, 2;

    // Directories
    GETDENTS => dir::getdents, 3;
    GETDENTS64 => dir::getdents64, 3;
    CHDIR => dir::chdir, 1;
    FCHDIR => dir::fchdir, 1;
    CHROOT => dir::chroot, 1;
    GETCWD => dir::getcwd, 2;
    UMASK => dir::umask, 1;

    // Mounts
    MOUNT => mount::mount, 5;
    UMOUNT2 => mount::umount2, 2;

    // Names
    MKDIR => path::mkdir, 2;
    MKDIRAT => path::mkdirat, 3;
    MKNOD => path::mknod, 3;
    MKNODAT => path::mknodat, 4;
    SYMLINK => path::symlink, 2;
    SYMLINKAT => path::symlinkat, 3;
    LINK => path::link, 2;
    LINKAT => path::linkat, 5;
    UNLINK => path::unlink, 1;
    UNLINKAT => path::unlinkat, 3;
    RMDIR => path::rmdir, 1;
    RENAME => path::rename, 2;
    RENAMEAT => path::renameat, 4;
    RENAMEAT2 => path::renameat2, 5;

    // Attributes
    CHMOD => attr::chmod, 2;
    FCHMOD => attr::fchmod, 2;
    FCHMODAT => attr::fchmodat, 3;
    FCHMODAT2 => attr::fchmodat2, 4;
    CHOWN => attr::chown, 3;
    LCHOWN => attr::lchown, 3;
    FCHOWN => attr::fchown, 3;
    FCHOWNAT => attr::fchownat, 5;
    UTIMENSAT => attr::utimensat, 4;
    UTIME => attr::utime, 2;
    UTIMES => attr::utimes, 2;
    FUTIMESAT => attr::futimesat, 3;
    TRUNCATE => attr::truncate, 2;
    FTRUNCATE => attr::ftruncate, 2;
    SETXATTR => xattr::setxattr, 5;
    LSETXATTR => xattr::lsetxattr, 5;
    FSETXATTR => xattr::fsetxattr, 5;
    GETXATTR => xattr::getxattr, 4;
    LGETXATTR => xattr::lgetxattr, 4;
    FGETXATTR => xattr::fgetxattr, 4;
    LISTXATTR => xattr::listxattr, 3;
    LLISTXATTR => xattr::llistxattr, 3;
    FLISTXATTR => xattr::flistxattr, 3;
    REMOVEXATTR => xattr::removexattr, 2;
    LREMOVEXATTR => xattr::lremovexattr, 2;
    FREMOVEXATTR => xattr::fremovexattr, 2;

    // Writing back, space, hints, locks
    FLOCK => lock::flock, 2;
    FSYNC => sync::fsync, 1;
    FDATASYNC => sync::fdatasync, 1;
    SYNC => sync::sync, 0;
    SYNCFS => sync::syncfs, 1;
    SYNC_FILE_RANGE => sync::sync_file_range, 4;
    FALLOCATE => sync::fallocate, 4;
    FADVISE64 => sync::fadvise64, 4;
    READAHEAD => sync::readahead, 3;

    // From file to file
    SENDFILE => copy::sendfile, 4;
    COPY_FILE_RANGE => copy::copy_file_range, 6;
    SPLICE => copy::splice, 6;
    TEE => copy::tee, 4;
    VMSPLICE => copy::vmsplice, 4;

    // Mapped files
    MADVISE => mm::madvise, 3;
    MMAP => mm::mmap, 6;
    MREMAP => mm::mremap, 0;
    MSYNC => mm::msync, 3;

    // Bytes
    READ => io::read, 3;
    WRITE => io::write, 3;
    PREAD64 => io::pread64, 4;
    PWRITE64 => io::pwrite64, 4;
    READV => io::readv, 3;
    WRITEV => io::writev, 3;
    PREADV => io::preadv, 4;
    PWRITEV => io::pwritev, 4;
    PREADV2 => io::preadv2, 6;
    PWRITEV2 => io::pwritev2, 6;
    LSEEK => io::lseek, 3;
    IOCTL => io::ioctl, 3;
    // Descriptors
    CLOSE => fdtable::close, 1;
    CLOSE_RANGE => fdtable::close_range, 3;
    DUP => fdtable::dup, 1;
    DUP2 => fdtable::dup2, 2;
    DUP3 => fdtable::dup3, 3;
    FCNTL => fdtable::fcntl, 3;
    PIPE => pipe::pipe, 1;
    PIPE2 => pipe::pipe2, 2;
    // Waiting for descriptors
    POLL => poll::poll, 3;
    PPOLL => poll::ppoll, 5;
    SELECT => poll::select, 5;
    PSELECT6 => poll::pselect6, 6;
    RESTART_SYSCALL => poll::restart_syscall, 0;
    EPOLL_CREATE => epoll::epoll_create, 1;
    EPOLL_CREATE1 => epoll::epoll_create1, 1;
    EPOLL_CTL => epoll::epoll_ctl, 4;
    EPOLL_WAIT => epoll::epoll_wait, 4;
    EPOLL_PWAIT => epoll::epoll_pwait, 6;
    EPOLL_PWAIT2 => epoll::epoll_pwait2, 6;
    EVENTFD => eventfd::eventfd, 1;
    EVENTFD2 => eventfd::eventfd2, 2;
    TIMERFD_CREATE => timerfd::timerfd_create, 2;
    TIMERFD_SETTIME => timerfd::timerfd_settime, 4;
    TIMERFD_GETTIME => timerfd::timerfd_gettime, 2;

    // Sockets
    SOCKET => socket::socket, 3;
    SOCKETPAIR => socket::socketpair, 4;
    BIND => socket::bind, 3;
    LISTEN => socket::listen, 2;
    ACCEPT => socket::accept, 3;
    ACCEPT4 => socket::accept4, 4;
    CONNECT => socket::connect, 3;
    GETSOCKNAME => socket::getsockname, 3;
    GETPEERNAME => socket::getpeername, 3;
    SHUTDOWN => socket::shutdown, 2;
    SETSOCKOPT => socket::setsockopt, 5;
    GETSOCKOPT => socket::getsockopt, 5;
    SENDTO => message::sendto, 6;
    SENDMSG => message::sendmsg, 3;
    SENDMMSG => message::sendmmsg, 4;
    RECVFROM => message::recvfrom, 6;
    RECVMSG => message::recvmsg, 3;
    RECVMMSG => message::recvmmsg, 5;
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod agreement {
    use rsc_proto::table::{Support, TABLE};

    use super::IMPLEMENTED;

    /// What the table promises has a handler or runs natively; what it refuses has none. Whoever adds a call corrects both.
    #[test]
    fn the_table_and_the_handlers_agree() {
        for call in TABLE {
            let handled = IMPLEMENTED.contains(&call.nr);
            let native = !call.native.is_empty() || !call.permitted.is_empty();
            let refused = matches!(call.support, Support::Refused(..));
            assert!(refused || handled || native, "{} has no handler but is not refused", call.name);
            assert!(!(refused && handled), "{} is refused but has a handler", call.name);
        }
    }
}
