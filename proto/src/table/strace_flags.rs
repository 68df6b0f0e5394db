//! Names of flags and constants as strace prints them.

use std::fmt::Write;

use super::{FlagSet, SubTable};
use crate::abi::*;

/// Appends the names of the set bits of a `bitflags` type, then the unknown rest in hexadecimal.
macro_rules! names {
    ($out:expr, $flags:ty, $value:expr, $zero:expr) => {{
        let flags = <$flags>::from_bits_retain($value as _);
        let mut first = true;
        for (name, _) in flags.iter_names() {
            join($out, &mut first, name);
        }
        rest($out, &mut first, u64::from(flags.difference(<$flags>::all()).bits()), $zero);
    }};
}

fn join(out: &mut String, first: &mut bool, name: &str) {
    if !std::mem::take(first) {
        out.push('|');
    }
    out.push_str(name);
}

fn rest(out: &mut String, first: &mut bool, bits: u64, zero: &str) {
    if bits != 0 {
        join(out, first, "");
        let _ = write!(out, "{bits:#x}");
    } else if *first {
        out.push_str(zero);
    }
}

fn one_of(out: &mut String, value: u64, names: &[(u64, &str)]) {
    match names.iter().find(|(number, _)| *number == value) {
        Some((_, name)) => out.push_str(name),
        None => {
            let _ = write!(out, "{value:#x}");
        }
    }
}

/// Appends a flag argument.
pub(super) fn flags(out: &mut String, set: FlagSet, value: u64) {
    match set {
        FlagSet::Open => open(out, value),
        // Calls that take `O_CLOEXEC` and `O_NONBLOCK` but no access mode.
        FlagSet::Fdflags => names!(out, OpenFlags, value, "0"),
        FlagSet::At => names!(out, AtFlags, value, "0"),
        FlagSet::Access => names!(out, AccessMode, value, "F_OK"),
        FlagSet::Prot => names!(out, MmapProt, value, "PROT_NONE"),
        FlagSet::Mmap => mmap(out, value),
        FlagSet::Clone => clone(out, value),
        FlagSet::Statx => names!(out, StatxMask, value, "0"),
        FlagSet::Msg => names!(out, MsgFlags, value, "0"),
        FlagSet::Sock => sock(out, value),
        FlagSet::Epoll => names!(out, EpollEvents, value, "0"),
        FlagSet::EpollOp => one_of(out, value, &[(1, "EPOLL_CTL_ADD"), (2, "EPOLL_CTL_DEL"), (3, "EPOLL_CTL_MOD")]),
        FlagSet::Eventfd => names!(out, EventfdFlags, value, "0"),
        FlagSet::Timerfd => names!(out, TimerfdFlags, value, "0"),
        FlagSet::Wait => names!(out, WaitFlags, value, "0"),
        FlagSet::Mount => names!(out, MountFlags, value, "0"),
        FlagSet::Umount => names!(out, UmountFlags, value, "0"),
        FlagSet::Grnd => names!(out, GrndFlags, value, "0"),
        FlagSet::Splice => names!(out, SpliceFlags, value, "0"),
        FlagSet::Flock => names!(out, FlockOp, value, "0"),
        FlagSet::Mremap => names!(out, MremapFlags, value, "0"),
        FlagSet::Msync => names!(out, MsyncFlags, value, "0"),
        FlagSet::Rename => names!(out, RenameFlags, value, "0"),
        FlagSet::Rwf => names!(out, RwFlags, value, "0"),
        FlagSet::Falloc => names!(out, FallocFlags, value, "0"),
        FlagSet::Memfd => names!(out, MemfdFlags, value, "0"),
        FlagSet::CloseRange => names!(out, CloseRangeFlags, value, "0"),
        FlagSet::Af => family(out, value),
        FlagSet::Whence => {
            one_of(
                out,
                value,
                &[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END"), (3, "SEEK_DATA"), (4, "SEEK_HOLE")],
            );
        }
        FlagSet::Sighow => one_of(out, value, &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")]),
        FlagSet::Fcntl => command(out, SubTable::Fcntl, value),
        FlagSet::Ioctl => command(out, SubTable::Ioctl, value),
        FlagSet::Prctl => command(out, SubTable::Prctl, value),
        FlagSet::Madvise => one_of(out, value, MADVISE),
        FlagSet::Sol => one_of(
            out,
            value,
            &[
                (0, "SOL_IP"),
                (1, "SOL_SOCKET"),
                (6, "SOL_TCP"),
                (17, "SOL_UDP"),
                (41, "SOL_IPV6"),
                (270, "SOL_NETLINK"),
            ],
        ),
        FlagSet::Futex => futex(out, value),
        FlagSet::Rlimit => one_of(out, value, RLIMITS),
        FlagSet::Shut => one_of(out, value, &[(0, "SHUT_RD"), (1, "SHUT_WR"), (2, "SHUT_RDWR")]),
        FlagSet::Arch => one_of(
            out,
            value,
            &[(0x1001, "ARCH_SET_GS"), (0x1002, "ARCH_SET_FS"), (0x1003, "ARCH_GET_FS"), (0x1004, "ARCH_GET_GS")],
        ),
    }
}

const MADVISE: &[(u64, &str)] = &[
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (9, "MADV_REMOVE"),
    (10, "MADV_DONTFORK"),
    (11, "MADV_DOFORK"),
    (12, "MADV_MERGEABLE"),
    (13, "MADV_UNMERGEABLE"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (17, "MADV_DODUMP"),
    (18, "MADV_WIPEONFORK"),
    (19, "MADV_KEEPONFORK"),
    (20, "MADV_COLD"),
    (21, "MADV_PAGEOUT"),
    (22, "MADV_POPULATE_READ"),
    (23, "MADV_POPULATE_WRITE"),
    (24, "MADV_DONTNEED_LOCKED"),
    (25, "MADV_COLLAPSE"),
    (102, "MADV_GUARD_INSTALL"),
    (103, "MADV_GUARD_REMOVE"),
];

const RLIMITS: &[(u64, &str)] = &[
    (0, "RLIMIT_CPU"),
    (1, "RLIMIT_FSIZE"),
    (2, "RLIMIT_DATA"),
    (3, "RLIMIT_STACK"),
    (4, "RLIMIT_CORE"),
    (5, "RLIMIT_RSS"),
    (6, "RLIMIT_NPROC"),
    (7, "RLIMIT_NOFILE"),
    (8, "RLIMIT_MEMLOCK"),
    (9, "RLIMIT_AS"),
    (10, "RLIMIT_LOCKS"),
    (11, "RLIMIT_SIGPENDING"),
    (12, "RLIMIT_MSGQUEUE"),
    (13, "RLIMIT_NICE"),
    (14, "RLIMIT_RTPRIO"),
    (15, "RLIMIT_RTTIME"),
];

const CLOCKS: &[&str] = &[
    "CLOCK_REALTIME",
    "CLOCK_MONOTONIC",
    "CLOCK_PROCESS_CPUTIME_ID",
    "CLOCK_THREAD_CPUTIME_ID",
    "CLOCK_MONOTONIC_RAW",
    "CLOCK_REALTIME_COARSE",
    "CLOCK_MONOTONIC_COARSE",
    "CLOCK_BOOTTIME",
    "CLOCK_REALTIME_ALARM",
    "CLOCK_BOOTTIME_ALARM",
    "CLOCK_SGI_CYCLE",
    "CLOCK_TAI",
];

const FUTEX: &[&str] = &[
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "FUTEX_FD",
    "FUTEX_REQUEUE",
    "FUTEX_CMP_REQUEUE",
    "FUTEX_WAKE_OP",
    "FUTEX_LOCK_PI",
    "FUTEX_UNLOCK_PI",
    "FUTEX_TRYLOCK_PI",
    "FUTEX_WAIT_BITSET",
    "FUTEX_WAKE_BITSET",
    "FUTEX_WAIT_REQUEUE_PI",
    "FUTEX_CMP_REQUEUE_PI",
    "FUTEX_LOCK_PI2",
];

fn at(names: &'static [&'static str], index: u64) -> Option<&'static str> {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied()
}

/// Appends a clock.
pub(super) fn clock(out: &mut String, value: u64) {
    match at(CLOCKS, value) {
        Some(name) => out.push_str(name),
        None => {
            let _ = write!(out, "{:#x}", value as u32);
        }
    }
}

/// Appends a signal.
pub(super) fn signal(out: &mut String, value: u64) {
    match u32::try_from(value).ok().and_then(sig::name) {
        Some(name) => out.push_str(name),
        None if (33..=64).contains(&value) => {
            let _ = write!(out, "SIGRT_{}", value - 32);
        }
        None => {
            let _ = write!(out, "{}", value as i32);
        }
    }
}

/// Appends a family of addresses.
pub(super) fn family(out: &mut String, value: u64) {
    let names = [
        (0, "AF_UNSPEC"),
        (1, "AF_UNIX"),
        (2, "AF_INET"),
        (10, "AF_INET6"),
        (16, "AF_NETLINK"),
        (17, "AF_PACKET"),
        (38, "AF_ALG"),
        (40, "AF_VSOCK"),
    ];
    one_of(out, value, &names);
}

/// Appends a type of a file, as in `st_mode`.
pub(super) fn file_mode(out: &mut String, mode: u32) {
    let names = [
        (mode::S_IFSOCK, "S_IFSOCK"),
        (mode::S_IFLNK, "S_IFLNK"),
        (mode::S_IFREG, "S_IFREG"),
        (mode::S_IFBLK, "S_IFBLK"),
        (mode::S_IFDIR, "S_IFDIR"),
        (mode::S_IFCHR, "S_IFCHR"),
        (mode::S_IFIFO, "S_IFIFO"),
    ];
    if let Some((_, name)) = names.iter().find(|(kind, _)| *kind == mode & mode::S_IFMT) {
        out.push_str(name);
        out.push('|');
    }
    let _ = write!(out, "0{:o}", mode & 0o7777);
}

/// Appends poll(2) events.
pub(super) fn poll(out: &mut String, events: i16) {
    names!(out, PollEvents, events as u16, "0");
}

fn command(out: &mut String, table: SubTable, value: u64) {
    match table.lookup(value) {
        Some(sub) => out.push_str(sub.name),
        None => {
            let _ = write!(out, "{:#x}", value as u32);
        }
    }
}

fn open(out: &mut String, value: u64) {
    let flags = OpenFlags::from_bits_retain(value as u32);
    out.push_str(at(&["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"], flags.accmode().into()).unwrap_or_default());
    let mut left = OpenFlags::from_bits_retain(flags.bits() & !OpenFlags::ACCMODE);
    for (pair, name) in [(OpenFlags::O_SYNC, "|O_SYNC"), (OpenFlags::O_TMPFILE, "|O_TMPFILE")] {
        if left.contains(pair) {
            out.push_str(name);
            left.remove(pair);
        }
    }
    if !left.is_empty() {
        out.push('|');
        names!(out, OpenFlags, left.bits(), "");
    }
}

fn mmap(out: &mut String, value: u64) {
    let mut first = true;
    match value & 0xf {
        1 => join(out, &mut first, "MAP_SHARED"),
        2 => join(out, &mut first, "MAP_PRIVATE"),
        3 => join(out, &mut first, "MAP_SHARED_VALIDATE"),
        0 => {}
        other => rest(out, &mut first, other, ""),
    }
    let left = value & !0xf;
    if left != 0 || first {
        if !first {
            out.push('|');
        }
        names!(out, MmapFlags, left, "0");
    }
}

fn clone(out: &mut String, value: u64) {
    let signal_number = value & 0xff;
    let flags = value & !0xff;
    if flags != 0 || signal_number == 0 {
        names!(out, CloneFlags, flags, "0");
    }
    if signal_number != 0 {
        if flags != 0 {
            out.push('|');
        }
        signal(out, signal_number);
    }
}

fn sock(out: &mut String, value: u64) {
    let kind = value & 0xf;
    let names =
        [(0, "0"), (1, "SOCK_STREAM"), (2, "SOCK_DGRAM"), (3, "SOCK_RAW"), (4, "SOCK_RDM"), (5, "SOCK_SEQPACKET")];
    let left = value & !0xf;
    if kind != 0 || left == 0 {
        one_of(out, kind, &names);
    }
    if left != 0 {
        if kind != 0 {
            out.push('|');
        }
        names!(out, SockFlags, left, "");
    }
}

fn futex(out: &mut String, value: u64) {
    match at(FUTEX, value & 0x7f) {
        Some(name) => out.push_str(name),
        None => {
            let _ = write!(out, "{:#x}", value & 0x7f);
        }
    }
    for (bit, name) in [(0x80, "_PRIVATE"), (0x100, "|FUTEX_CLOCK_REALTIME")] {
        if value & bit != 0 {
            out.push_str(name);
        }
    }
}
