//! What a task may do: user and group ids and capabilities (credentials(7), capabilities(7)). Immutable; a change makes a new one.

use std::rc::Rc;

/// Capability numbers. Linux: include/uapi/linux/capability.h.
pub mod cap {
    /// Make arbitrary changes to file UIDs and GIDs.
    pub const CHOWN: u8 = 0;
    /// Bypass file read, write and execute permission checks.
    pub const DAC_OVERRIDE: u8 = 1;
    /// Bypass file read and directory read and execute permission checks.
    pub const DAC_READ_SEARCH: u8 = 2;
    /// Bypass checks that need the file's owner.
    pub const FOWNER: u8 = 3;
    /// Keep set-user-ID bits on modification.
    pub const FSETID: u8 = 4;
    /// Bypass permission checks for sending signals.
    pub const KILL: u8 = 5;
    /// Make arbitrary manipulations of process GIDs.
    pub const SETGID: u8 = 6;
    /// Make arbitrary manipulations of process UIDs.
    pub const SETUID: u8 = 7;
    /// Change capability sets.
    pub const SETPCAP: u8 = 8;
    /// Bind to privileged ports.
    pub const NET_BIND_SERVICE: u8 = 10;
    /// Perform network administration.
    pub const NET_ADMIN: u8 = 12;
    /// Use raw sockets.
    pub const NET_RAW: u8 = 13;
    /// Use chroot(2).
    pub const SYS_CHROOT: u8 = 18;
    /// Trace other processes.
    pub const SYS_PTRACE: u8 = 19;
    /// System administration.
    pub const SYS_ADMIN: u8 = 21;
    /// Raise nice values, scheduling.
    pub const SYS_NICE: u8 = 23;
    /// Override resource limits.
    pub const SYS_RESOURCE: u8 = 24;
    /// Create special files.
    pub const MKNOD: u8 = 27;
    /// The highest capability that is known.
    pub const LAST: u8 = 40;
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Real, effective, saved and file system user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// User id for file access.
    pub fsuid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// Group id for file access.
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: Rc<[u32]>,
    /// Effective capabilities, bit by number.
    pub effective: u64,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Inheritable capabilities.
    pub inheritable: u64,
    /// Bounding set.
    pub bounding: u64,
    /// Ambient set.
    pub ambient: u64,
    /// `SECBIT_*` flags.
    pub securebits: u32,
}

impl Credentials {
    /// Root's with every capability: the kernel's own, when it makes a sandbox's tree.
    pub fn all_powerful() -> Self {
        let all = (1 << (cap::LAST + 1)) - 1;
        Self {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Rc::new([]),
            effective: all,
            permitted: all,
            inheritable: 0,
            bounding: all,
            ambient: 0,
            securebits: 0,
        }
    }

    /// Whether the effective set has `capability`.
    pub fn has(&self, capability: u8) -> bool {
        self.effective & (1 << capability) != 0
    }

    /// Whether file access as this group is allowed by membership.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// Whether this task may send signals to one with credentials `to`. Linux: kill_ok_by_cred().
    pub fn may_signal(&self, to: &Self) -> bool {
        self.has(cap::KILL) || [self.euid, self.uid].iter().any(|u| *u == to.suid || *u == to.uid)
    }
}
