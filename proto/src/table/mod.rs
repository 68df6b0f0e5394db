//! The syscall table: what each call takes, where it may run, how far it is supported.
//!
//! Made by `build/table.rs` from `src/syscalls.tbl`, whose head describes the format. Dispatch, marshalling ([`marshal`]), the
//! strace-format log ([`strace`]), filters ([`filter_rules`]) and `docs/syscalls.md` ([`docs`]) all come from it.

pub mod docs;
pub mod marshal;
mod native;
#[cfg(test)]
#[path = "../../build/table.rs"]
mod parser;
mod ranges;
pub mod strace;
mod strace_flags;

pub use native::{filter_rules, native_permitted};

use crate::abi::{Errno, Restart};

include!(concat!(env!("OUT_DIR"), "/syscalls.rs"));

/// One call.
#[derive(Debug)]
pub struct Syscall {
    /// Number on x86-64.
    pub nr: u32,
    /// Name, as in the man pages (`newfstatat`, `pread64` as the kernel has them).
    pub name: &'static str,
    /// Up to six.
    pub args: &'static [Arg],
    /// Who traps it on the platform `seccomp`.
    pub plane: Plane,
    /// Where it runs by default, subject to the native rules' conditions.
    pub placement: Placement,
    /// Alternatives under any of which the filter may let it through (placement `auto`).
    pub native: &'static [Rule],
    /// Alternatives under any of which it may run natively once the sentry has answered so.
    pub permitted: &'static [Rule],
    /// How far it is supported.
    pub support: Support,
    /// How a signal ends its wait.
    pub interrupt: Interruption,
}

/// One argument.
#[derive(Debug)]
pub struct Arg {
    /// Name in the man page.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value in a register.
    Value(Scalar),
    /// An address of something that the call reads or writes. Null means: not given.
    Pointer(Dir, Shape),
    /// What a sub-table says for the command, which is the argument before this one.
    Sub(SubTable),
}

/// Who reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    /// The kernel reads it.
    In,
    /// The kernel writes it.
    Out,
    /// Both.
    InOut,
}

impl Dir {
    /// Whether the kernel reads it.
    pub const fn is_in(self) -> bool {
        matches!(self, Dir::In | Dir::InOut)
    }

    /// Whether the kernel writes it.
    pub const fn is_out(self) -> bool {
        matches!(self, Dir::Out | Dir::InOut)
    }
}

/// A value in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names of the table.
pub enum Scalar {
    Fd,
    Dirfd,
    Int,
    Uint,
    Long,
    Ulong,
    Size,
    Off,
    Ptr,
    Hex,
    Mode,
    Dev,
    Pid,
    Sig,
    Uid,
    Gid,
    Clock,
    Flags(FlagSet),
}

/// Which names a flag argument is printed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names of the table.
pub enum FlagSet {
    Open,
    At,
    Access,
    Prot,
    Mmap,
    Clone,
    Statx,
    Msg,
    Sock,
    Epoll,
    EpollOp,
    Eventfd,
    Timerfd,
    Wait,
    Mount,
    Umount,
    Grnd,
    Splice,
    Flock,
    Mremap,
    Msync,
    Rename,
    Rwf,
    Falloc,
    Memfd,
    Af,
    Whence,
    Sighow,
    Fcntl,
    Ioctl,
    Prctl,
    Madvise,
    Sol,
    Futex,
    Rlimit,
    Shut,
    Arch,
    CloseRange,
    Fdflags,
}

/// What lies behind a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A path that ends with a zero, up to `PATH_MAX`.
    Path,
    /// Another string that ends with a zero, up to so many bytes.
    Str(Size),
    /// Plain bytes.
    Buf(Size),
    /// One structure.
    Struct(Layout),
    /// Structures one behind the other.
    Array(Layout, Size),
    /// `struct iovec`s and what they point to.
    Iovec(Size),
    /// A `struct msghdr` and all it points to.
    Msghdr,
    /// `struct mmsghdr`s and all they point to.
    Mmsghdr(Size),
    /// A socket address.
    Sockaddr(Size),
    /// `fd_set`s: the size is the number of descriptors.
    FdSet(Size),
    /// A signal set of the kernel's 8 bytes.
    Sigset(Size),
    /// pselect6's pair of a signal set's address and size.
    SigsetArg,
    /// Addresses of strings, ended by a null.
    Strings,
    /// `struct ifconf` and the buffer it points to.
    Ifconf,
}

/// How much lies behind a pointer: bytes, or elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many.
    Bytes(u32),
    /// As the argument with this index says.
    Arg(u8),
    /// As the four bytes say to which the argument with this index points.
    Behind(u8),
}

/// A structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Name in the table.
    pub name: &'static str,
    /// Bytes.
    pub size: u32,
}

/// Calls whose last argument depends on a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The calls' names.
pub enum SubTable {
    Ioctl,
    Fcntl,
    Prctl,
}

/// One command of a [`SubTable`].
#[derive(Debug)]
pub struct Sub {
    /// The command's number.
    pub command: u64,
    /// Its name.
    pub name: &'static str,
    /// What the argument is.
    pub kind: Kind,
}

impl SubTable {
    /// The known commands in the order of their numbers.
    pub fn commands(self) -> &'static [Sub] {
        match self {
            SubTable::Ioctl => IOCTLS,
            SubTable::Fcntl => FCNTLS,
            SubTable::Prctl => PRCTLS,
        }
    }

    /// A command, which is 4 bytes of the register.
    pub fn lookup(self, command: u64) -> Option<&'static Sub> {
        let commands = self.commands();
        let command = command & 0xffff_ffff;
        commands.binary_search_by_key(&command, |sub| sub.command).ok().and_then(|at| commands.get(at))
    }
}

/// Who traps a call on the platform `seccomp`. On `ptrace` everything is the tracer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// The notification's listener.
    Data,
    /// The tracer.
    Control,
}

/// Where a call is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// By the compute host's kernel.
    Native,
    /// By the supervisor, from leased state.
    Local,
    /// By the sentry later; the task goes on now.
    Posted,
    /// By the sentry; the task waits.
    Remote,
}

/// How far a call is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux has it.
    Full,
    /// What is missing.
    Partial(&'static str),
    /// What it returns, and why.
    Refused(Errno, &'static str),
}

/// What a signal does to a task that waits in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Nothing: the call is finished first.
    Never,
    /// It returns `EINTR`, whatever the handler's flags.
    Eintr,
    /// It is restarted by this code's rules.
    Restart(Restart),
}

impl Interruption {
    /// What stands in `rax` at the delivery stop of an interrupted call; `None` when it is not interruptible.
    pub const fn to_result(self) -> Option<i64> {
        match self {
            Interruption::Never => None,
            Interruption::Eintr => Some(Errno::EINTR.to_result()),
            Interruption::Restart(restart) => Some(restart.to_result()),
        }
    }
}

/// One alternative of conditions, all of which must hold, and the reason why the call is then safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// On register values alone.
    pub conditions: &'static [Cond],
    /// Why it is safe.
    pub reason: &'static str,
}

/// A condition on one argument's register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cond {
    /// Index of the argument.
    pub arg: u8,
    /// All 8 bytes count; else the lower 4, as in the kernel for an argument of that width.
    pub wide: bool,
    /// The comparison.
    pub op: Op,
}

/// A comparison. Each exists in `seccompiler` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq(u64),
    /// Different.
    Ne(u64),
    /// Less or equal, unsigned.
    Le(u64),
    /// Equal under a mask.
    MaskedEq {
        /// Bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
}

/// A call by its number.
pub fn lookup(nr: u32) -> Option<&'static Syscall> {
    let at = *INDEX.get(usize::try_from(nr).ok()?)?;
    TABLE.get(usize::from(at))
}

/// A call by its name.
pub fn by_name(name: &str) -> Option<&'static Syscall> {
    TABLE.iter().find(|call| call.name == name)
}

/// A call's name, or `syscall_NR`.
pub fn name(nr: u32) -> std::borrow::Cow<'static, str> {
    lookup(nr).map_or_else(|| format!("syscall_{nr:#x}").into(), |call| call.name.into())
}

/// Numbers below this have counters of their own.
pub const COUNTED: u32 = 1024;

/// Under which number calls are counted, on both sides: a workload can call any, and those that no kernel has share one place.
pub fn counted(nr: u32) -> u32 {
    if nr < COUNTED { nr } else { u32::MAX }
}

/// What an unsupported call returns: `ENOSYS` for those that are not in the table.
pub fn refusal(nr: u32) -> Option<Errno> {
    match lookup(nr) {
        None => Some(Errno::ENOSYS),
        Some(Syscall { support: Support::Refused(errno, _), .. }) => Some(*errno),
        Some(_) => None,
    }
}

/// A digest of the table: both ends of a session must have the same. Not cryptographic: it tells builds apart, and each side
/// enforces its own table whatever the other says.
pub fn digest() -> [u8; 32] {
    DIGEST
}

/// Names of the calls that are supported in full or in part, in the order of their numbers.
pub fn supported_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|call| !matches!(call.support, Support::Refused(..))).map(|call| call.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi;

    #[test]
    fn numbers_are_the_hosts() {
        assert_eq!(lookup(nr::READ).map(|call| call.name), Some("read"));
        assert_eq!(i64::from(nr::OPENAT), libc::SYS_openat);
        assert_eq!(i64::from(nr::RSEQ), libc::SYS_rseq);
        assert_eq!(i64::from(nr::CLONE3), libc::SYS_clone3);
        assert_eq!(i64::from(nr::FUTEX_WAITV), libc::SYS_futex_waitv);
        assert_eq!(i64::from(nr::MSEAL), libc::SYS_mseal);
        assert_eq!(i64::from(nr::EPOLL_PWAIT2), libc::SYS_epoll_pwait2);
        assert_eq!(i64::from(nr::GETRANDOM), libc::SYS_getrandom);
        assert!(lookup(337).is_none() && lookup(423).is_none() && lookup(u32::MAX).is_none());
        assert_eq!(by_name("newfstatat").map(|call| call.nr), Some(nr::NEWFSTATAT));
        assert_eq!(refusal(400), Some(Errno::ENOSYS));
        assert_eq!(name(0x4000_0000), "syscall_0x40000000");
        assert_ne!(digest(), [0; 32]);
        for call in TABLE {
            assert_eq!(lookup(call.nr).map(|found| found.name), Some(call.name));
        }
    }

    #[test]
    fn layouts_are_the_abis() {
        let sizes = |name: &str| match name {
            "stat" => abi::Stat::SIZE,
            "statx" => abi::Statx::SIZE,
            "statfs" => abi::Statfs::SIZE,
            "pollfd" => abi::Pollfd::SIZE,
            "epoll_event" => abi::EpollEvent::SIZE,
            "sigaction" => abi::Sigaction::SIZE,
            "siginfo" => abi::Siginfo::SIZE,
            "timespec" => abi::Timespec::SIZE,
            "rusage" => abi::Rusage::SIZE,
            "sysinfo" => abi::Sysinfo::SIZE,
            "utsname" => abi::Utsname::SIZE,
            "flock" => abi::Flock::SIZE,
            "termios" => abi::Termios::SIZE,
            "termios2" => abi::Termios2::SIZE,
            "winsize" => abi::Winsize::SIZE,
            "ifreq" => abi::Ifreq::SIZE,
            "timex" => abi::Timex::SIZE,
            "sigevent" => abi::Sigevent::SIZE,
            _ => 0,
        };
        let mut seen = 0;
        let mut check = |kind: Kind| {
            if let Kind::Pointer(_, Shape::Struct(layout) | Shape::Array(layout, _)) = kind
                && sizes(layout.name) != 0
            {
                assert_eq!(layout.size as usize, sizes(layout.name), "{}", layout.name);
                seen += 1;
            }
        };
        TABLE.iter().flat_map(|call| call.args).for_each(|arg| check(arg.kind));
        IOCTLS.iter().chain(FCNTLS).for_each(|sub| check(sub.kind));
        assert!(seen > 60);
    }

    #[test]
    fn sub_tables_know_their_commands() {
        assert_eq!(SubTable::Ioctl.lookup(0x5413).map(|sub| sub.name), Some("TIOCGWINSZ"));
        assert_eq!(SubTable::Ioctl.lookup(0xffff_ffff_0000_5413).map(|sub| sub.name), Some("TIOCGWINSZ"));
        assert_eq!(SubTable::Fcntl.lookup(1030).map(|sub| sub.name), Some("F_DUPFD_CLOEXEC"));
        assert!(SubTable::Prctl.lookup(99).is_none());
    }

    #[test]
    fn interruption_codes() {
        let code = |name| by_name(name).and_then(|call| call.interrupt.to_result());
        assert_eq!(code("read"), Some(-512));
        assert_eq!(code("poll"), Some(-516));
        assert_eq!(code("pause"), Some(-514));
        assert_eq!(code("epoll_wait"), Some(-4));
        assert_eq!(code("fsync"), None);
    }
}
