//! Credentials after execve(2): set-user-id, set-group-id, capabilities(7). Linux: bprm_fill_uid(), cap_bprm_creds_from_file().

use rsc_proto::abi::{MountFlags, mode};

use crate::kernel::credentials::Credentials;
use crate::kernel::task::Task;
use crate::vfs::Location;

/// `SECBIT_NOROOT`.
const NOROOT: u32 = 1;
/// `SECBIT_KEEP_CAPS`.
const KEEP_CAPS: u32 = 1 << 4;

/// What the program will run as.
pub(super) struct NewCreds {
    pub(super) creds: Credentials,
    /// `AT_SECURE`.
    pub(super) secure: bool,
}

/// The credentials of `task` once it runs the program at `at`.
pub(super) fn compute(task: &Task, at: &Location) -> NewCreds {
    let attr = at.inode().attr();
    let may_set_id = !task.no_new_privs.get() && !at.mount.flags().contains(MountFlags::MS_NOSUID);
    let m = if may_set_id { attr.mode } else { 0 };
    let set_uid = (m & mode::S_ISUID != 0).then_some(attr.uid);
    let set_gid = (m & (mode::S_ISGID | 0o010) == mode::S_ISGID | 0o010).then_some(attr.gid);
    transition(&task.creds(), set_uid, set_gid)
}

fn transition(old: &Credentials, set_uid: Option<u32>, set_gid: Option<u32>) -> NewCreds {
    let mut new = old.clone();
    new.euid = set_uid.unwrap_or(old.euid);
    new.egid = set_gid.unwrap_or(old.egid);
    let set_id = new.euid != old.uid || new.egid != old.gid;
    let mut effective = false;
    new.permitted = 0;
    if old.securebits & NOROOT == 0 && (new.euid == 0 || new.uid == 0) {
        new.permitted = old.bounding | old.inheritable;
        effective = new.euid == 0;
    }
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);
    if set_id {
        new.ambient = 0;
    }
    new.permitted |= new.ambient;
    new.effective = if effective { new.permitted } else { new.ambient };
    new.securebits &= !KEEP_CAPS;
    let grew = new.permitted & !new.ambient != 0;
    let secure = set_id || new.uid != 0 && (effective || grew);
    NewCreds { creds: new, secure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::permission::tests::creds;

    #[test]
    fn root_gets_the_bounding_set() {
        let mut old = creds(0, 0b1111);
        old.bounding = 0b0111;
        let new = transition(&old, None, None);
        assert_eq!((new.creds.permitted, new.creds.effective, new.secure), (0b0111, 0b0111, false));
    }

    #[test]
    fn a_user_keeps_only_the_ambient_set() {
        let mut old = creds(1000, 0b1111);
        old.ambient = 0b0100;
        let new = transition(&old, None, None);
        assert_eq!((new.creds.permitted, new.creds.effective, new.secure), (0b0100, 0b0100, false));
    }

    #[test]
    fn set_user_id_root() {
        let mut old = creds(1000, 0);
        old.bounding = 0b0111;
        old.ambient = 0b0100;
        let new = transition(&old, Some(0), None);
        assert_eq!((new.creds.uid, new.creds.euid, new.creds.suid, new.creds.fsuid), (1000, 0, 0, 0));
        assert_eq!((new.creds.effective, new.creds.ambient, new.secure), (0b0111, 0, true));
    }

    #[test]
    fn set_user_id_of_a_user_drops_roots_capabilities() {
        let mut old = creds(1000, 0);
        old.bounding = 0b0111;
        let new = transition(&old, Some(7), None);
        assert_eq!((new.creds.effective, new.creds.permitted, new.secure), (0, 0, true));
    }
}
