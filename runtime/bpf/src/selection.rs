//! What to look for, and what was found: the crate's interface in types.
//!
//! The kernel's side is a sieve. It lets through every process that is wanted and few others: a program's name is compared by its
//! first 15 bytes, a file by how its name begins, and a cgroup that is not known yet passes. Whoever takes the events asks again,
//! with the whole rule, before touching the process.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How many targets there can be: each is a bit, and one bit says that a process is ours.
pub const MAX_TARGETS: usize = 63;
/// A name in the kernel is compared up to here: `TASK_COMM_LEN` without its zero.
pub const NAME_MAX: usize = 15;
/// An absolute path is compared up to here.
pub const PATH_MAX: usize = 255;
/// A relative one up to here: there are more of them for a pattern.
pub const RELATIVE_MAX: usize = 16;

/// A name as a pattern begins with it, or is it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The bytes before the first wildcard.
    pub bytes: Vec<u8>,
    /// There is no wildcard.
    pub whole: bool,
}

/// One kind of process that is looked for. What is `None` or empty does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The program's file name is one of these, as it was called or as it is.
    pub names: Vec<Literal>,
    /// Directories (their inode numbers) below which the program is; needs a kernel that describes itself ([`Sieve::can_walk`]).
    pub below: Vec<u64>,
    /// The real user id is one of these.
    pub uids: Vec<u32>,
    /// Whether the cgroup matters: then [`Sieve::learn_cgroup`] says which are wanted.
    pub cgroup: bool,
    /// With none of them a process is found at execve(2), else when one of these calls has returned.
    pub calls: Vec<u32>,
    /// The files that the call may name.
    pub file: Option<File>,
    /// The port in the call's address is in one of these ranges.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// Files that a call may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Their absolute names.
    pub names: Vec<Literal>,
    /// Directories (inode numbers) from which, and from below which, any relative name may lead there…
    pub below: Vec<u64>,
    /// …and those from which these do.
    pub from: Vec<(u64, Literal)>,
}

/// Where a call has what is looked at: the argument's index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// A path.
    pub path: Option<u8>,
    /// The directory that a relative path begins at; `None`: the working directory.
    pub dirfd: Option<u8>,
    /// A socket's address.
    pub address: Option<u8>,
}

/// Everything that is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// By number, which is the bit in masks.
    pub targets: Vec<Target>,
    /// The shapes of the calls that targets name.
    pub shapes: BTreeMap<u32, Shape>,
}

impl Selection {
    /// The calls that targets name, rising.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.targets.iter().flat_map(|target| target.calls.iter().copied()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The bits of the targets for which this holds.
    pub(crate) fn mask(&self, holds: impl Fn(&Target) -> bool) -> u64 {
        self.targets.iter().enumerate().filter(|(_, target)| holds(target)).fold(0, |mask, (bit, _)| mask | 1 << bit)
    }
}

/// A process that has passed the sieve. It is stopped, or about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The process.
    pub pid: i32,
    /// The thread that made the call.
    pub tid: i32,
    /// The targets that it may be.
    pub mask: u64,
    /// Its cgroup in the version 2 hierarchy.
    pub cgroup: u64,
    /// Its real user id.
    pub uid: u32,
    /// The call; `None` at execve(2).
    pub call: Option<Call>,
}

/// A call that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub nr: u32,
    /// Its result.
    pub result: i64,
    /// The directory that a relative path begins at, `AT_FDCWD` for the working directory.
    pub dirfd: i32,
    /// Its path, if it has one that could be read; cut at [`PATH_MAX`].
    pub path: Vec<u8>,
    /// The port of its address; 0 if it has none.
    pub port: u16,
}

#[cfg(doc)]
use crate::Sieve;
