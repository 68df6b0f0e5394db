//! Who may do what to which inode: mode bits, capabilities, sticky directories (path_resolution(7), capabilities(7)).

use rsc_proto::abi::{Errno, mode};

use super::inode::Attr;
use crate::kernel::credentials::{Credentials, cap};

bitflags::bitflags! {
    /// Wanted access. The low bits are those of access(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        /// Execute a file, search a directory.
        const EXEC = 1;
        /// Write.
        const WRITE = 2;
        /// Read.
        const READ = 4;
    }
}

/// Whether the mode bits or a capability give `want`; `EACCES`. Linux: generic_permission().
pub fn check(attr: &Attr, creds: &Credentials, want: Access) -> Result<(), Errno> {
    let bits = if creds.fsuid == attr.uid {
        attr.mode >> 6
    } else if creds.in_group(attr.gid) {
        attr.mode >> 3
    } else {
        attr.mode
    };
    if want.bits() & !bits & 7 == 0 {
        return Ok(());
    }
    let search = creds.has(cap::DAC_READ_SEARCH);
    if attr.is_dir() {
        if !want.contains(Access::WRITE) && search || creds.has(cap::DAC_OVERRIDE) {
            return Ok(());
        }
        return Err(Errno::EACCES);
    }
    if want == Access::READ && search {
        return Ok(());
    }
    // Even root executes only what somebody may execute.
    if (!want.contains(Access::EXEC) || attr.mode & 0o111 != 0) && creds.has(cap::DAC_OVERRIDE) {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// Whether the caller is the owner or may act as one. Linux: inode_owner_or_capable().
pub fn owner_or_capable(attr: &Attr, creds: &Credentials) -> bool {
    creds.fsuid == attr.uid || creds.has(cap::FOWNER)
}

/// Whether a sticky directory keeps the caller from removing the entry. Linux: check_sticky().
pub fn sticky(dir: &Attr, victim: &Attr, creds: &Credentials) -> bool {
    dir.mode & mode::S_ISVTX != 0 && creds.fsuid != victim.uid && creds.fsuid != dir.uid && !creds.has(cap::FOWNER)
}

/// The mode that a file keeps after somebody without `CAP_FSETID` has written to it; `None`: the one it has. Linux:
/// file_remove_privs().
pub fn without_set_id(attr: &Attr, creds: &Credentials) -> Option<u32> {
    if !attr.is_regular() || creds.has(cap::FSETID) {
        return None;
    }
    dropped_set_id(attr.mode)
}

/// The permissions without set-user-id, and without set-group-id where it means that (group execute); `None` when neither is
/// there.
pub fn dropped_set_id(m: u32) -> Option<u32> {
    let mut gone = m & mode::S_ISUID;
    if m & (mode::S_ISGID | 0o010) == mode::S_ISGID | 0o010 {
        gone |= mode::S_ISGID;
    }
    if gone == 0 { None } else { Some(m & 0o7777 & !gone) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn creds(uid: u32, caps: u64) -> Credentials {
        Credentials {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid: uid,
            egid: uid,
            sgid: uid,
            fsgid: uid,
            groups: [].into(),
            effective: caps,
            permitted: caps,
            inheritable: 0,
            bounding: caps,
            ambient: 0,
            securebits: 0,
        }
    }

    #[test]
    fn classes_do_not_fall_through() {
        let attr = Attr { mode: 0o100_077, uid: 5, gid: 6, ..Default::default() };
        assert_eq!(check(&attr, &creds(5, 0), Access::READ), Err(Errno::EACCES));
        assert_eq!(check(&attr, &creds(6, 0), Access::READ | Access::EXEC), Ok(()));
        assert_eq!(check(&attr, &creds(7, 0), Access::WRITE), Ok(()));
    }

    #[test]
    fn capabilities() {
        let all = u64::MAX;
        let file = Attr { mode: 0o100_600, uid: 5, ..Default::default() };
        assert_eq!(check(&file, &creds(0, all), Access::READ | Access::WRITE), Ok(()));
        assert_eq!(check(&file, &creds(0, all), Access::EXEC), Err(Errno::EACCES));
        let dir = Attr { mode: 0o040_000, uid: 5, ..Default::default() };
        assert_eq!(check(&dir, &creds(0, 1 << cap::DAC_READ_SEARCH), Access::READ | Access::EXEC), Ok(()));
        assert_eq!(check(&dir, &creds(0, 1 << cap::DAC_READ_SEARCH), Access::WRITE), Err(Errno::EACCES));
    }

    #[test]
    fn set_id_bits() {
        assert_eq!(dropped_set_id(0o106_755), Some(0o755));
        assert_eq!(dropped_set_id(0o102_745), None);
        assert_eq!(dropped_set_id(0o104_745), Some(0o745));
    }
}
