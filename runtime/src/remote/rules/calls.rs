//! What rules need to know of a system call, from the syscall table: whether it has paths or an address, whether it can be carried
//! out elsewhere at all, what it does to a file, and whether it follows a last symbolic link.

use rsc_proto::abi::flags::OpenFlags;
use rsc_proto::table::{self, Dir, FlagSet, Kind, Scalar, Shape, Support, Syscall, nr};

/// Words of a [`CallSet`].
pub const WORDS: usize = 8;

/// A set of system calls by number, below 512.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallSet([u64; WORDS]);

impl CallSet {
    /// The calls of the table for which `keep` holds.
    pub fn of(keep: impl Fn(&Syscall) -> bool) -> Self {
        let mut set = Self::default();
        table::TABLE.iter().filter(|call| keep(call)).for_each(|call| set.insert(call.nr));
        set
    }

    /// Adds a call. Numbers that no kernel has are ignored.
    pub fn insert(&mut self, nr: u32) {
        if let Some(word) = self.0.get_mut(nr as usize / 64) {
            *word |= 1 << (nr % 64);
        }
    }

    /// Whether a call is in it.
    pub fn contains(&self, nr: u32) -> bool {
        self.0.get(nr as usize / 64).is_some_and(|word| word & (1 << (nr % 64)) != 0)
    }

    /// What is in either.
    pub fn or(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
        self
    }

    /// What is in both.
    pub fn and(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine &= theirs);
        self
    }

    /// What is in this one alone.
    pub fn without(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine &= !theirs);
        self
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Bit N of word M is call 64 M + N: how a library in another process is told.
    pub fn words(&self) -> [u64; WORDS] {
        self.0
    }

    /// The numbers in it, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..WORDS as u32 * 64).filter(|nr| self.contains(*nr))
    }
}

/// By what it is decided where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Always this machine: processes, memory, threads, signals, waits, and what no sentry has.
    Here,
    /// Where its descriptor is.
    Descriptor,
    /// The rules, which may look at its path.
    Path,
    /// The rules, which may look at its address.
    Address,
    /// The rules, by its number alone.
    Plain,
}

/// Calls that the table does not show to be this machine's: they make processes or descriptors of this machine, or are about this
/// very task.
const HERE: &[u32] = &[
    nr::EXECVE,
    nr::EXECVEAT,
    nr::CLONE3,
    nr::PIPE,
    nr::PIPE2,
    nr::SOCKETPAIR,
    nr::EVENTFD,
    nr::EVENTFD2,
    nr::EPOLL_CREATE,
    nr::EPOLL_CREATE1,
    nr::TIMERFD_CREATE,
    nr::MEMFD_CREATE,
    nr::MSYNC,
    nr::RT_SIGSUSPEND,
    nr::RT_SIGTIMEDWAIT,
    nr::RESTART_SYSCALL,
    nr::PRCTL,
    nr::GETRLIMIT,
    nr::SETRLIMIT,
    nr::PRLIMIT64,
    nr::PERSONALITY,
    nr::UNSHARE,
    nr::GETPGID,
    nr::GETSID,
    nr::GET_ROBUST_LIST,
];

/// Calls on descriptors that are not arguments of their own.
const ON_DESCRIPTORS: &[u32] = &[nr::POLL, nr::PPOLL, nr::SELECT, nr::PSELECT6, nr::CLOSE_RANGE];

/// Calls without which no program goes on.
const UNDENIABLE: &[u32] = &[nr::EXIT, nr::EXIT_GROUP, nr::RT_SIGRETURN];

/// By what it is decided where a call goes.
pub fn class(nr: u32) -> Class {
    let Some(call) = table::lookup(nr) else { return Class::Here };
    if HERE.contains(&nr) || matches!(call.support, Support::Refused(..)) {
        Class::Here
    } else if has_path(call) {
        Class::Path
    } else if has_address(call) {
        Class::Address
    } else if ON_DESCRIPTORS.contains(&nr) || has_descriptor(call) {
        Class::Descriptor
    } else if !call.native.is_empty() || !call.permitted.is_empty() {
        Class::Here
    } else {
        Class::Plain
    }
}

/// Whether a sentry can be asked to carry a call out because of its number, path or address.
pub fn is_remotable(nr: u32) -> bool {
    matches!(class(nr), Class::Path | Class::Address | Class::Plain)
}

/// Whether a call can be refused without breaking the task itself.
pub fn is_deniable(nr: u32) -> bool {
    !UNDENIABLE.contains(&nr)
}

/// Whether one of its arguments is a path in a file system.
pub fn has_path(call: &Syscall) -> bool {
    path_args(call.nr).0.is_some()
}

/// Whether it may bring a socket address.
pub fn has_address(call: &Syscall) -> bool {
    call.args.iter().any(|arg| match arg.kind {
        Kind::Pointer(dir, Shape::Sockaddr(_) | Shape::Msghdr | Shape::Mmsghdr(_)) => dir.is_in(),
        _ => false,
    })
}

fn has_descriptor(call: &Syscall) -> bool {
    call.args.iter().any(|arg| matches!(arg.kind, Kind::Value(Scalar::Fd | Scalar::Dirfd)))
}

/// Where a path is among a call's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathArg {
    /// The descriptor of the folder from which a relative one counts; without it: the working directory.
    pub dirfd: Option<usize>,
    /// The path's address.
    pub path: usize,
}

/// A call's paths: none, one, or two as `rename` has them.
pub fn path_args(nr: u32) -> (Option<PathArg>, Option<PathArg>) {
    let Some(call) = table::lookup(nr) else { return (None, None) };
    let is_path = |kind| matches!(kind, Kind::Pointer(Dir::In, Shape::Path));
    // What a symbolic link says is text; what is mounted need not be a file; modules and queues have names, no paths.
    let foreign = |name| {
        matches!(name, "source" | "param_values" | "name") || (name == "target" && call.name.starts_with("symlink"))
    };
    let mut found =
        call.args.iter().enumerate().filter(|(_, arg)| is_path(arg.kind) && !foreign(arg.name)).map(|(at, _)| {
            let before = at.checked_sub(1).filter(|before| {
                matches!(call.args.get(*before).map(|arg| arg.kind), Some(Kind::Value(Scalar::Dirfd)))
            });
            PathArg { dirfd: before, path: at }
        });
    (found.next(), found.next())
}

/// What a call does to the file which it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// It names none.
    #[default]
    Neither,
    /// It looks at it.
    Read,
    /// It may change it, or what it is called.
    Write,
}

/// Calls with a path which change nothing, besides those that open or look at rights.
const READING: &[u32] = &[
    nr::STAT,
    nr::LSTAT,
    nr::NEWFSTATAT,
    nr::STATX,
    nr::READLINK,
    nr::READLINKAT,
    nr::STATFS,
    nr::CHDIR,
    nr::CHROOT,
    nr::GETXATTR,
    nr::LGETXATTR,
    nr::LISTXATTR,
    nr::LLISTXATTR,
    nr::GETXATTRAT,
    nr::LISTXATTRAT,
    nr::FILE_GETATTR,
    nr::NAME_TO_HANDLE_AT,
    nr::INOTIFY_ADD_WATCH,
    nr::FANOTIFY_MARK,
    nr::OPEN_TREE,
    nr::EXECVE,
    nr::EXECVEAT,
    nr::USELIB,
];

/// What a call does to the file which it names, from its number and arguments. `how`: the flags in `openat2`'s structure, which lie
/// in memory; not known, it is taken to write. `connect`, `bind` and the sending calls count as writing.
pub fn access_of(nr: u32, args: &[u64; 6], how: Option<u64>) -> Access {
    let Some(call) = table::lookup(nr) else { return Access::Neither };
    if nr == nr::OPENAT2 {
        return how.map_or(Access::Write, open_access);
    }
    if !has_path(call) {
        return if has_address(call) { Access::Write } else { Access::Neither };
    }
    if READING.contains(&nr) {
        return Access::Read;
    }
    let flags = |set| {
        let at = call.args.iter().position(|arg| arg.kind == Kind::Value(Scalar::Flags(set)))?;
        args.get(at).map(|value| value & 0xffff_ffff)
    };
    if let Some(flags) = flags(FlagSet::Open) {
        return open_access(flags);
    }
    match flags(FlagSet::Access) {
        // Whether one may write is asked where one would write.
        Some(mode) if mode & u64::from(libc::W_OK.unsigned_abs()) == 0 => Access::Read,
        _ => Access::Write,
    }
}

fn open_access(flags: u64) -> Access {
    let flags = OpenFlags::from_bits_retain(flags as u32);
    let changes = OpenFlags::O_CREAT | OpenFlags::O_TRUNC | OpenFlags::__O_TMPFILE;
    if flags.contains(OpenFlags::O_PATH) || (flags.accmode() == 0 && !flags.intersects(changes)) {
        Access::Read
    } else {
        Access::Write
    }
}

/// Calls which never follow a last symbolic link, in neither of their paths.
const NOT_FOLLOWING: &[u32] = &[
    nr::LSTAT,
    nr::READLINK,
    nr::READLINKAT,
    nr::UNLINK,
    nr::UNLINKAT,
    nr::RMDIR,
    nr::RENAME,
    nr::RENAMEAT,
    nr::RENAMEAT2,
    nr::MKDIR,
    nr::MKDIRAT,
    nr::MKNOD,
    nr::MKNODAT,
    nr::SYMLINK,
    nr::SYMLINKAT,
    nr::LINK,
    nr::LCHOWN,
    nr::LSETXATTR,
    nr::LGETXATTR,
    nr::LLISTXATTR,
    nr::LREMOVEXATTR,
    nr::BIND,
];

/// Whether a call follows the symbolic link that its path may end with. `second`: of its other path. `how` as in [`access_of`].
pub fn follows(nr: u32, args: &[u64; 6], second: bool, how: Option<u64>) -> bool {
    let Some(call) = table::lookup(nr) else { return true };
    let flags = |set| {
        let at = call.args.iter().position(|arg| arg.kind == Kind::Value(Scalar::Flags(set)));
        at.and_then(|at| args.get(at)).copied()
    };
    if NOT_FOLLOWING.contains(&nr) {
        return false;
    }
    if nr == nr::LINKAT || nr == nr::NAME_TO_HANDLE_AT {
        let follow = flags(FlagSet::At).unwrap_or(0) & libc::AT_SYMLINK_FOLLOW as u64 != 0;
        return follow && !second;
    }
    let open = if nr == nr::OPENAT2 { how } else { flags(FlagSet::Open) };
    if let Some(open) = open {
        let open = OpenFlags::from_bits_retain(open as u32);
        return !open.contains(OpenFlags::O_NOFOLLOW) && !open.contains(OpenFlags::O_CREAT | OpenFlags::O_EXCL);
    }
    flags(FlagSet::At).unwrap_or(0) & libc::AT_SYMLINK_NOFOLLOW as u64 == 0
}

/// Names of sets, without their `%`, and what is in them.
pub const GROUPS: &[(&str, &str)] = &[
    ("all", "every call that can be carried out elsewhere"),
    ("file", "calls with a path"),
    ("desc", "calls with a descriptor"),
    ("network", "calls on sockets"),
];

/// The calls that a word of a rule or of `--syscalls` stands for: a name, `all`, or a set like `%file`. Else what is wrong with it.
pub fn named(word: &str) -> Result<CallSet, String> {
    let group = if word == "all" { Some("all") } else { word.strip_prefix('%') };
    match group {
        Some("all") => return Ok(CallSet::of(|call| is_remotable(call.nr))),
        Some("file") => return Ok(CallSet::of(has_path)),
        Some("desc") => return Ok(CallSet::of(|call| ON_DESCRIPTORS.contains(&call.nr) || has_descriptor(call))),
        Some("network") => return Ok(CallSet::of(is_network)),
        Some(_) => {
            let names: Vec<String> = GROUPS.iter().map(|(name, _)| format!("%{name}")).collect();
            return Err(format!("no set of calls is named {word:?}; there are {}", names.join(", ")));
        }
        None => {}
    }
    let Some(call) = table::by_name(word) else {
        let hint = suggest(word).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        return Err(format!("no system call of x86-64 is named {word:?}{hint}"));
    };
    let mut set = CallSet::default();
    set.insert(call.nr);
    Ok(set)
}

/// Calls on sockets alone, and those that make them.
fn is_network(call: &Syscall) -> bool {
    call.args.iter().any(|arg| match arg.kind {
        Kind::Value(Scalar::Flags(FlagSet::Af)) => true,
        Kind::Value(_) => arg.name == "sockfd",
        _ => false,
    })
}

/// Why a call that a rule names can't be made remote by it, if so.
pub fn never_remote(nr: u32) -> Option<String> {
    let call = table::lookup(nr)?;
    match (class(nr), call.support) {
        (Class::Here, Support::Refused(_, why)) => {
            Some(format!("{} is not carried out by a sentry ({why}); leave it out", call.name))
        }
        (Class::Here, _) => Some(format!("{} is always carried out by this machine; leave it out", call.name)),
        _ => None,
    }
}

/// The name that is nearest to a wrong one.
fn suggest(word: &str) -> Option<&'static str> {
    if word.len() > 40 {
        return None;
    }
    // The C library's names: pread, fstatat, umount.
    let part = |call: &&Syscall| word.len() > 3 && call.name.contains(word);
    if let Some(name) = table::TABLE.iter().filter(part).map(|call| call.name).min_by_key(|name| name.len()) {
        return Some(name);
    }
    let (letters, name) = table::TABLE.iter().map(|call| (distance(word, call.name), call.name)).min()?;
    (letters <= 2).then_some(name)
}

/// How many letters must be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, mine) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, theirs) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(mine != theirs)).min(left + 1).min(*slot + 1);
            diagonal = *slot;
            *slot = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(name: &str) -> Class {
        class(table::by_name(name).unwrap().nr)
    }

    #[test]
    fn classes() {
        for name in ["openat", "stat", "rename", "unlinkat", "chdir", "symlink", "truncate", "openat2"] {
            assert_eq!(class_of(name), Class::Path, "{name}");
        }
        for name in ["connect", "bind", "sendto", "sendmsg", "sendmmsg"] {
            assert_eq!(class_of(name), Class::Address, "{name}");
        }
        for name in [
            "read",
            "writev",
            "fstat",
            "close",
            "mmap",
            "dup2",
            "fcntl",
            "poll",
            "epoll_wait",
            "accept4",
            "recvmsg",
            "close_range",
        ] {
            assert_eq!(class_of(name), Class::Descriptor, "{name}");
        }
        for name in [
            "fork",
            "clone3",
            "brk",
            "execve",
            "wait4",
            "kill",
            "futex",
            "pipe2",
            "shmget",
            "exit_group",
            "rt_sigaction",
        ] {
            assert_eq!(class_of(name), Class::Here, "{name}");
        }
        for name in ["getuid", "uname", "socket", "sethostname", "getcwd", "umask", "sysinfo"] {
            assert_eq!(class_of(name), Class::Plain, "{name}");
        }
        assert_eq!(class(100_000), Class::Here);
    }

    #[test]
    fn every_plain_call_is_meant_to_be_one() {
        let plain: Vec<&str> =
            table::TABLE.iter().filter(|call| class(call.nr) == Class::Plain).map(|call| call.name).collect();
        println!("{plain:?}");
        for name in plain {
            let call = table::by_name(name).unwrap();
            assert!(!matches!(call.plane, table::Plane::Control), "{name} changes the task itself");
        }
    }

    #[test]
    fn paths() {
        let of = |name| path_args(table::by_name(name).unwrap().nr);
        let arg = |dirfd, path| Some(PathArg { dirfd, path });
        assert_eq!(of("open"), (arg(None, 0), None));
        assert_eq!(of("openat"), (arg(Some(0), 1), None));
        assert_eq!(of("renameat2"), (arg(Some(0), 1), arg(Some(2), 3)));
        assert_eq!(of("link"), (arg(None, 0), arg(None, 1)));
        assert_eq!(of("symlinkat"), (arg(Some(1), 2), None));
        assert_eq!(of("read"), (None, None));
        assert_eq!(path_args(9999), (None, None));
    }

    #[test]
    fn accesses() {
        let access = |name, args: [u64; 6]| access_of(table::by_name(name).unwrap().nr, &args, None);
        assert_eq!(access("openat", [0; 6]), Access::Read);
        assert_eq!(access("openat", [0, 0, 2, 0, 0, 0]), Access::Write);
        assert_eq!(access("openat", [0, 0, 0o100, 0, 0, 0]), Access::Write);
        assert_eq!(access("openat", [0, 0, 0o10_000_002, 0, 0, 0]), Access::Read);
        assert_eq!(access("open", [0, 0o1000, 0, 0, 0, 0]), Access::Write);
        assert_eq!(access("creat", [0; 6]), Access::Write);
        assert_eq!(access("stat", [0; 6]), Access::Read);
        assert_eq!(access("unlink", [0; 6]), Access::Write);
        assert_eq!(access("faccessat2", [0, 0, 4, 0, 0, 0]), Access::Read);
        assert_eq!(access("faccessat2", [0, 0, 2, 0, 0, 0]), Access::Write);
        assert_eq!(access("getuid", [0; 6]), Access::Neither);
        assert_eq!(access("openat2", [0; 6]), Access::Write);
        assert_eq!(access_of(nr::OPENAT2, &[0; 6], Some(0)), Access::Read);
    }

    #[test]
    fn last_links() {
        let follows = |name, args: [u64; 6]| follows(table::by_name(name).unwrap().nr, &args, false, None);
        assert!(follows("stat", [0; 6]) && !follows("lstat", [0; 6]) && follows("openat", [0; 6]));
        assert!(!follows("openat", [0, 0, 0o400_000, 0, 0, 0]) && !follows("openat", [0, 0, 0o300, 0, 0, 0]));
        assert!(!follows("newfstatat", [0, 0, 0, 0x100, 0, 0]) && follows("newfstatat", [0; 6]));
        assert!(follows("linkat", [0, 0, 0, 0, 0x400, 0]) && !follows("linkat", [0; 6]));
        assert!(!super::follows(nr::LINKAT, &[0, 0, 0, 0, 0x400, 0], true, None));
    }

    #[test]
    fn words_for_calls() {
        assert_eq!(named("openat").unwrap().iter().collect::<Vec<_>>(), [nr::OPENAT]);
        let file = named("%file").unwrap();
        assert!(file.contains(nr::OPENAT) && file.contains(nr::EXECVE) && !file.contains(nr::READ));
        let network = named("%network").unwrap();
        assert!(network.contains(nr::SOCKET) && network.contains(nr::RECVMSG) && !network.contains(nr::READ));
        assert!(named("%desc").unwrap().contains(nr::READ));
        let all = named("all").unwrap();
        assert!(all.contains(nr::GETUID) && !all.contains(nr::FORK) && all == named("%all").unwrap());
        assert!(named("opnat").unwrap_err().contains("openat?"));
        assert!(named("fstatat").unwrap_err().contains("newfstatat?"));
        assert!(named("%disc").unwrap_err().contains("%desc"));
        assert!(never_remote(nr::FORK).unwrap().contains("this machine") && never_remote(nr::READ).is_none());
        assert!(never_remote(nr::SHMGET).unwrap().contains("CONFIG_SYSVIPC"));
    }

    #[test]
    fn all_numbers_fit() {
        assert!(table::TABLE.iter().all(|call| (call.nr as usize) < WORDS * 64));
    }
}
