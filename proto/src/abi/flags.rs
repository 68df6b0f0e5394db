//! Flag arguments as typed bits with Linux's names. `from_bits` is `None` when unknown bits are set; `from_bits_retain` keeps them.
#![allow(missing_docs)] // The names are the kernel's; their man pages say what they mean.

use bitflags::bitflags;

bitflags! {
    /// open(2). The access mode (`O_ACCMODE`) is a number in the two lowest bits, not a set of flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        const O_WRONLY = 0o1;
        const O_RDWR = 0o2;
        const O_CREAT = 0o100;
        const O_EXCL = 0o200;
        const O_NOCTTY = 0o400;
        const O_TRUNC = 0o1000;
        const O_APPEND = 0o2000;
        const O_NONBLOCK = 0o4000;
        const O_DSYNC = 0o10000;
        const FASYNC = 0o20000;
        const O_DIRECT = 0o40000;
        const O_LARGEFILE = 0o100_000;
        const O_DIRECTORY = 0o200_000;
        const O_NOFOLLOW = 0o400_000;
        const O_NOATIME = 0o1_000_000;
        const O_CLOEXEC = 0o2_000_000;
        const __O_SYNC = 0o4_000_000;
        const O_PATH = 0o10_000_000;
        const __O_TMPFILE = 0o20_000_000;
    }
}

impl OpenFlags {
    /// The bits of the access mode.
    pub const ACCMODE: u32 = 0o3;
    /// `O_SYNC` has two bits.
    pub const O_SYNC: OpenFlags = OpenFlags::__O_SYNC.union(OpenFlags::O_DSYNC);
    /// `O_TMPFILE` has two bits.
    pub const O_TMPFILE: OpenFlags = OpenFlags::__O_TMPFILE.union(OpenFlags::O_DIRECTORY);

    /// The access mode: 0 reading, 1 writing, 2 both, 3 neither (for ioctl alone).
    pub const fn accmode(self) -> u32 {
        self.bits() & OpenFlags::ACCMODE
    }

    /// Whether the mode allows reading.
    pub const fn readable(self) -> bool {
        matches!(self.accmode(), 0 | 2)
    }

    /// Whether the mode allows writing.
    pub const fn writable(self) -> bool {
        matches!(self.accmode(), 1 | 2)
    }
}

bitflags! {
    /// clone(2), without the exit signal in the low byte.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct CloneFlags: u64 {
        const CLONE_NEWTIME = 0x80;
        const CLONE_VM = 0x100;
        const CLONE_FS = 0x200;
        const CLONE_FILES = 0x400;
        const CLONE_SIGHAND = 0x800;
        const CLONE_PIDFD = 0x1000;
        const CLONE_PTRACE = 0x2000;
        const CLONE_VFORK = 0x4000;
        const CLONE_PARENT = 0x8000;
        const CLONE_THREAD = 0x1_0000;
        const CLONE_NEWNS = 0x2_0000;
        const CLONE_SYSVSEM = 0x4_0000;
        const CLONE_SETTLS = 0x8_0000;
        const CLONE_PARENT_SETTID = 0x10_0000;
        const CLONE_CHILD_CLEARTID = 0x20_0000;
        const CLONE_DETACHED = 0x40_0000;
        const CLONE_UNTRACED = 0x80_0000;
        const CLONE_CHILD_SETTID = 0x100_0000;
        const CLONE_NEWCGROUP = 0x200_0000;
        const CLONE_NEWUTS = 0x400_0000;
        const CLONE_NEWIPC = 0x800_0000;
        const CLONE_NEWUSER = 0x1000_0000;
        const CLONE_NEWPID = 0x2000_0000;
        const CLONE_NEWNET = 0x4000_0000;
        const CLONE_IO = 0x8000_0000;
        const CLONE_CLEAR_SIGHAND = 0x1_0000_0000;
        const CLONE_INTO_CGROUP = 0x2_0000_0000;
    }
}

impl CloneFlags {
    /// Every flag that makes a namespace. `CLONE_NEWTIME` is in the exit signal's byte: it counts in clone3 and unshare only.
    pub const NEW_NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWTIME
        .union(CloneFlags::CLONE_NEWNS)
        .union(CloneFlags::CLONE_NEWCGROUP)
        .union(CloneFlags::CLONE_NEWUTS)
        .union(CloneFlags::CLONE_NEWIPC)
        .union(CloneFlags::CLONE_NEWUSER)
        .union(CloneFlags::CLONE_NEWPID)
        .union(CloneFlags::CLONE_NEWNET);
    /// What never reaches the host, whatever the sentry says.
    pub const FORBIDDEN: CloneFlags = CloneFlags::NEW_NAMESPACES
        .difference(CloneFlags::CLONE_NEWTIME)
        .union(CloneFlags::CLONE_UNTRACED)
        .union(CloneFlags::CLONE_PTRACE)
        .union(CloneFlags::CLONE_PIDFD)
        .union(CloneFlags::CLONE_INTO_CGROUP);
}

bitflags! {
    /// Protection of mmap(2) and mprotect(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MmapProt: u32 {
        const PROT_READ = 1;
        const PROT_WRITE = 2;
        const PROT_EXEC = 4;
        const PROT_SEM = 8;
        const PROT_GROWSDOWN = 0x100_0000;
        const PROT_GROWSUP = 0x200_0000;
    }

    /// Flags of mmap(2). The type (`MAP_TYPE`) is a number in the four lowest bits: 1 shared, 2 private, 3 shared and validated.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MmapFlags: u32 {
        const MAP_SHARED = 0x1;
        const MAP_PRIVATE = 0x2;
        const MAP_FIXED = 0x10;
        const MAP_ANONYMOUS = 0x20;
        const MAP_32BIT = 0x40;
        const MAP_ABOVE4G = 0x80;
        const MAP_GROWSDOWN = 0x100;
        const MAP_DENYWRITE = 0x800;
        const MAP_EXECUTABLE = 0x1000;
        const MAP_LOCKED = 0x2000;
        const MAP_NORESERVE = 0x4000;
        const MAP_POPULATE = 0x8000;
        const MAP_NONBLOCK = 0x1_0000;
        const MAP_STACK = 0x2_0000;
        const MAP_HUGETLB = 0x4_0000;
        const MAP_SYNC = 0x8_0000;
        const MAP_FIXED_NOREPLACE = 0x10_0000;
    }

    /// `AT_*` flags of the calls with a directory descriptor. Some bits have another meaning in one call: `AT_EACCESS` and
    /// `AT_REMOVEDIR` share theirs.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AtFlags: u32 {
        const AT_SYMLINK_NOFOLLOW = 0x100;
        const AT_REMOVEDIR = 0x200;
        const AT_SYMLINK_FOLLOW = 0x400;
        const AT_NO_AUTOMOUNT = 0x800;
        const AT_EMPTY_PATH = 0x1000;
        const AT_STATX_FORCE_SYNC = 0x2000;
        const AT_STATX_DONT_SYNC = 0x4000;
        const AT_RECURSIVE = 0x8000;
    }

    /// statx(2), the mask of wanted and given fields.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct StatxMask: u32 {
        const STATX_TYPE = 0x1;
        const STATX_MODE = 0x2;
        const STATX_NLINK = 0x4;
        const STATX_UID = 0x8;
        const STATX_GID = 0x10;
        const STATX_ATIME = 0x20;
        const STATX_MTIME = 0x40;
        const STATX_CTIME = 0x80;
        const STATX_INO = 0x100;
        const STATX_SIZE = 0x200;
        const STATX_BLOCKS = 0x400;
        const STATX_BTIME = 0x800;
        const STATX_MNT_ID = 0x1000;
        const STATX_DIOALIGN = 0x2000;
        const STATX_MNT_ID_UNIQUE = 0x4000;
        const STATX_SUBVOL = 0x8000;
        const STATX_WRITE_ATOMIC = 0x1_0000;
        const STATX_DIO_READ_ALIGN = 0x2_0000;
    }

    /// openat2(2), `open_how.resolve`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ResolveFlags: u64 {
        const RESOLVE_NO_XDEV = 0x1;
        const RESOLVE_NO_MAGICLINKS = 0x2;
        const RESOLVE_NO_SYMLINKS = 0x4;
        const RESOLVE_BENEATH = 0x8;
        const RESOLVE_IN_ROOT = 0x10;
        const RESOLVE_CACHED = 0x20;
    }

    /// renameat2(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RenameFlags: u32 {
        const RENAME_NOREPLACE = 1;
        const RENAME_EXCHANGE = 2;
        const RENAME_WHITEOUT = 4;
    }

    /// access(2). Zero is `F_OK`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AccessMode: u32 {
        const X_OK = 1;
        const W_OK = 2;
        const R_OK = 4;
    }

    /// preadv2(2), pwritev2(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RwFlags: u32 {
        const RWF_HIPRI = 0x1;
        const RWF_DSYNC = 0x2;
        const RWF_SYNC = 0x4;
        const RWF_NOWAIT = 0x8;
        const RWF_APPEND = 0x10;
        const RWF_NOAPPEND = 0x20;
        const RWF_ATOMIC = 0x40;
        const RWF_DONTCACHE = 0x80;
    }

    /// fallocate(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FallocFlags: u32 {
        const FALLOC_FL_KEEP_SIZE = 0x1;
        const FALLOC_FL_PUNCH_HOLE = 0x2;
        const FALLOC_FL_NO_HIDE_STALE = 0x4;
        const FALLOC_FL_COLLAPSE_RANGE = 0x8;
        const FALLOC_FL_ZERO_RANGE = 0x10;
        const FALLOC_FL_INSERT_RANGE = 0x20;
        const FALLOC_FL_UNSHARE_RANGE = 0x40;
    }

    /// Flags beside the type of socket(2) and socketpair(2), and of accept4(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SockFlags: u32 {
        const SOCK_NONBLOCK = 0o4000;
        const SOCK_CLOEXEC = 0o2_000_000;
    }

    /// send(2), recv(2) and `msg_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MsgFlags: u32 {
        const MSG_OOB = 0x1;
        const MSG_PEEK = 0x2;
        const MSG_DONTROUTE = 0x4;
        const MSG_CTRUNC = 0x8;
        const MSG_PROBE = 0x10;
        const MSG_TRUNC = 0x20;
        const MSG_DONTWAIT = 0x40;
        const MSG_EOR = 0x80;
        const MSG_WAITALL = 0x100;
        const MSG_FIN = 0x200;
        const MSG_SYN = 0x400;
        const MSG_CONFIRM = 0x800;
        const MSG_RST = 0x1000;
        const MSG_ERRQUEUE = 0x2000;
        const MSG_NOSIGNAL = 0x4000;
        const MSG_MORE = 0x8000;
        const MSG_WAITFORONE = 0x1_0000;
        const MSG_BATCH = 0x4_0000;
        const MSG_ZEROCOPY = 0x400_0000;
        const MSG_FASTOPEN = 0x2000_0000;
        const MSG_CMSG_CLOEXEC = 0x4000_0000;
    }

    /// poll(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PollEvents: u16 {
        const POLLIN = 0x1;
        const POLLPRI = 0x2;
        const POLLOUT = 0x4;
        const POLLERR = 0x8;
        const POLLHUP = 0x10;
        const POLLNVAL = 0x20;
        const POLLRDNORM = 0x40;
        const POLLRDBAND = 0x80;
        const POLLWRNORM = 0x100;
        const POLLWRBAND = 0x200;
        const POLLMSG = 0x400;
        const POLLREMOVE = 0x1000;
        const POLLRDHUP = 0x2000;
    }

    /// epoll_ctl(2): the low bits are those of poll(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct EpollEvents: u32 {
        const EPOLLIN = 0x1;
        const EPOLLPRI = 0x2;
        const EPOLLOUT = 0x4;
        const EPOLLERR = 0x8;
        const EPOLLHUP = 0x10;
        const EPOLLNVAL = 0x20;
        const EPOLLRDNORM = 0x40;
        const EPOLLRDBAND = 0x80;
        const EPOLLWRNORM = 0x100;
        const EPOLLWRBAND = 0x200;
        const EPOLLMSG = 0x400;
        const EPOLLRDHUP = 0x2000;
        const EPOLLEXCLUSIVE = 0x1000_0000;
        const EPOLLWAKEUP = 0x2000_0000;
        const EPOLLONESHOT = 0x4000_0000;
        const EPOLLET = 0x8000_0000;
    }

    /// eventfd2(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct EventfdFlags: u32 {
        const EFD_SEMAPHORE = 1;
        const EFD_NONBLOCK = 0o4000;
        const EFD_CLOEXEC = 0o2_000_000;
    }

    /// timerfd_create(2), and `TFD_TIMER_*` of timerfd_settime(2) apart, in [`TimerfdSet`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TimerfdFlags: u32 {
        const TFD_NONBLOCK = 0o4000;
        const TFD_CLOEXEC = 0o2_000_000;
    }

    /// timerfd_settime(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TimerfdSet: u32 {
        const TFD_TIMER_ABSTIME = 1;
        const TFD_TIMER_CANCEL_ON_SET = 2;
    }

    /// memfd_create(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MemfdFlags: u32 {
        const MFD_CLOEXEC = 0x1;
        const MFD_ALLOW_SEALING = 0x2;
        const MFD_HUGETLB = 0x4;
        const MFD_NOEXEC_SEAL = 0x8;
        const MFD_EXEC = 0x10;
    }

    /// `F_ADD_SEALS` of fcntl(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Seals: u32 {
        const F_SEAL_SEAL = 0x1;
        const F_SEAL_SHRINK = 0x2;
        const F_SEAL_GROW = 0x4;
        const F_SEAL_WRITE = 0x8;
        const F_SEAL_FUTURE_WRITE = 0x10;
        const F_SEAL_EXEC = 0x20;
    }

    /// wait4(2), waitid(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct WaitFlags: u32 {
        const WNOHANG = 0x1;
        const WUNTRACED = 0x2;
        const WEXITED = 0x4;
        const WCONTINUED = 0x8;
        const WNOWAIT = 0x100_0000;
        const __WNOTHREAD = 0x2000_0000;
        const __WALL = 0x4000_0000;
        const __WCLONE = 0x8000_0000;
    }

    /// rt_sigaction(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SaFlags: u64 {
        const SA_NOCLDSTOP = 0x1;
        const SA_NOCLDWAIT = 0x2;
        const SA_SIGINFO = 0x4;
        const SA_UNSUPPORTED = 0x400;
        const SA_EXPOSE_TAGBITS = 0x800;
        const SA_RESTORER = 0x400_0000;
        const SA_ONSTACK = 0x800_0000;
        const SA_RESTART = 0x1000_0000;
        const SA_NODEFER = 0x4000_0000;
        const SA_RESETHAND = 0x8000_0000;
    }

    /// mount(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MountFlags: u64 {
        const MS_RDONLY = 0x1;
        const MS_NOSUID = 0x2;
        const MS_NODEV = 0x4;
        const MS_NOEXEC = 0x8;
        const MS_SYNCHRONOUS = 0x10;
        const MS_REMOUNT = 0x20;
        const MS_MANDLOCK = 0x40;
        const MS_DIRSYNC = 0x80;
        const MS_NOSYMFOLLOW = 0x100;
        const MS_NOATIME = 0x400;
        const MS_NODIRATIME = 0x800;
        const MS_BIND = 0x1000;
        const MS_MOVE = 0x2000;
        const MS_REC = 0x4000;
        const MS_SILENT = 0x8000;
        const MS_UNBINDABLE = 0x2_0000;
        const MS_PRIVATE = 0x4_0000;
        const MS_SLAVE = 0x8_0000;
        const MS_SHARED = 0x10_0000;
        const MS_RELATIME = 0x20_0000;
        const MS_STRICTATIME = 0x100_0000;
        const MS_LAZYTIME = 0x200_0000;
    }

    /// umount2(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UmountFlags: u32 {
        const MNT_FORCE = 1;
        const MNT_DETACH = 2;
        const MNT_EXPIRE = 4;
        const UMOUNT_NOFOLLOW = 8;
    }

    /// getrandom(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct GrndFlags: u32 {
        const GRND_NONBLOCK = 1;
        const GRND_RANDOM = 2;
        const GRND_INSECURE = 4;
    }

    /// splice(2), tee(2), vmsplice(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SpliceFlags: u32 {
        const SPLICE_F_MOVE = 1;
        const SPLICE_F_NONBLOCK = 2;
        const SPLICE_F_MORE = 4;
        const SPLICE_F_GIFT = 8;
    }

    /// flock(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FlockOp: u32 {
        const LOCK_SH = 1;
        const LOCK_EX = 2;
        const LOCK_NB = 4;
        const LOCK_UN = 8;
    }

    /// mremap(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MremapFlags: u32 {
        const MREMAP_MAYMOVE = 1;
        const MREMAP_FIXED = 2;
        const MREMAP_DONTUNMAP = 4;
    }

    /// msync(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MsyncFlags: u32 {
        const MS_ASYNC = 1;
        const MS_INVALIDATE = 2;
        const MS_SYNC = 4;
    }

    /// close_range(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct CloseRangeFlags: u32 {
        const CLOSE_RANGE_UNSHARE = 2;
        const CLOSE_RANGE_CLOEXEC = 4;
    }
}

/// The directory descriptor that means the current directory.
pub const AT_FDCWD: i32 = -100;

/// Numbers of signals.
pub mod sig {
    pub const SIGHUP: u32 = 1;
    pub const SIGINT: u32 = 2;
    pub const SIGQUIT: u32 = 3;
    pub const SIGILL: u32 = 4;
    pub const SIGTRAP: u32 = 5;
    pub const SIGABRT: u32 = 6;
    pub const SIGBUS: u32 = 7;
    pub const SIGFPE: u32 = 8;
    pub const SIGKILL: u32 = 9;
    pub const SIGUSR1: u32 = 10;
    pub const SIGSEGV: u32 = 11;
    pub const SIGUSR2: u32 = 12;
    pub const SIGPIPE: u32 = 13;
    pub const SIGALRM: u32 = 14;
    pub const SIGTERM: u32 = 15;
    pub const SIGSTKFLT: u32 = 16;
    pub const SIGCHLD: u32 = 17;
    pub const SIGCONT: u32 = 18;
    pub const SIGSTOP: u32 = 19;
    pub const SIGTSTP: u32 = 20;
    pub const SIGTTIN: u32 = 21;
    pub const SIGTTOU: u32 = 22;
    pub const SIGURG: u32 = 23;
    pub const SIGXCPU: u32 = 24;
    pub const SIGXFSZ: u32 = 25;
    pub const SIGVTALRM: u32 = 26;
    pub const SIGPROF: u32 = 27;
    pub const SIGWINCH: u32 = 28;
    pub const SIGIO: u32 = 29;
    pub const SIGPWR: u32 = 30;
    pub const SIGSYS: u32 = 31;
    /// The highest signal.
    pub const NSIG: u32 = 64;

    /// The name of a standard signal, `SIGRTMIN` as the kernel counts it, or `None`.
    pub fn name(sig: u32) -> Option<&'static str> {
        const NAMES: [&str; 33] = [
            "0",
            "SIGHUP",
            "SIGINT",
            "SIGQUIT",
            "SIGILL",
            "SIGTRAP",
            "SIGABRT",
            "SIGBUS",
            "SIGFPE",
            "SIGKILL",
            "SIGUSR1",
            "SIGSEGV",
            "SIGUSR2",
            "SIGPIPE",
            "SIGALRM",
            "SIGTERM",
            "SIGSTKFLT",
            "SIGCHLD",
            "SIGCONT",
            "SIGSTOP",
            "SIGTSTP",
            "SIGTTIN",
            "SIGTTOU",
            "SIGURG",
            "SIGXCPU",
            "SIGXFSZ",
            "SIGVTALRM",
            "SIGPROF",
            "SIGWINCH",
            "SIGIO",
            "SIGPWR",
            "SIGSYS",
            "SIGRTMIN",
        ];
        NAMES.get(usize::try_from(sig).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_the_hosts() {
        assert_eq!(OpenFlags::O_TMPFILE.bits(), libc::O_TMPFILE as u32);
        assert_eq!(OpenFlags::O_SYNC.bits(), libc::O_SYNC as u32);
        assert_eq!(OpenFlags::O_CLOEXEC.bits(), libc::O_CLOEXEC as u32);
        assert_eq!(OpenFlags::O_PATH.bits(), libc::O_PATH as u32);
        assert_eq!(OpenFlags::O_DIRECT.bits(), libc::O_DIRECT as u32);
        assert_eq!(CloneFlags::CLONE_UNTRACED.bits(), libc::CLONE_UNTRACED as u64);
        assert_eq!(CloneFlags::CLONE_IO.bits() as u32, libc::CLONE_IO as u32);
        assert_eq!(MmapFlags::MAP_NORESERVE.bits(), libc::MAP_NORESERVE as u32);
        assert_eq!(MsgFlags::MSG_CMSG_CLOEXEC.bits(), libc::MSG_CMSG_CLOEXEC as u32);
        assert_eq!(OpenFlags::from_bits(1 << 31), None);
        assert!(OpenFlags::O_RDWR.readable() && OpenFlags::O_RDWR.writable() && OpenFlags::empty().readable());
    }
}
