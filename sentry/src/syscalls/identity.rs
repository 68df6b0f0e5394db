//! Who a task is: user and group ids, groups, capabilities (credentials(7), capabilities(7)). The world sees these, and not the
//! compute host's.

use std::rc::Rc;

use rsc_proto::abi::{CapData, CapHeader, Errno};

use crate::error::SysResult;
use crate::kernel::credentials::{Credentials, cap};
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;

/// "Leave it as it is" in setresuid(2) and kin.
const KEEP: u32 = u32::MAX;
/// setgroups(2). Linux: `NGROUPS_MAX`.
const NGROUPS_MAX: usize = 65_536;
/// `SECBIT_KEEP_CAPS` and its neighbours as bits of `securebits`. securebits(7).
pub mod securebits {
    /// A root user id gives no capabilities.
    pub const NOROOT: u32 = 1;
    /// A change of user ids does not change capabilities.
    pub const NO_SETUID_FIXUP: u32 = 4;
    /// Capabilities survive giving up root.
    pub const KEEP_CAPS: u32 = 16;
}

/// getuid(2).
pub async fn getuid(cx: &Cx) -> SysResult<u32> {
    Ok(cx.task.creds().uid)
}

/// geteuid(2).
pub async fn geteuid(cx: &Cx) -> SysResult<u32> {
    Ok(cx.task.creds().euid)
}

/// getgid(2).
pub async fn getgid(cx: &Cx) -> SysResult<u32> {
    Ok(cx.task.creds().gid)
}

/// getegid(2).
pub async fn getegid(cx: &Cx) -> SysResult<u32> {
    Ok(cx.task.creds().egid)
}

/// getresuid(2).
pub async fn getresuid(cx: &Cx, r: UserPtr<u32>, e: UserPtr<u32>, s: UserPtr<u32>) -> SysResult<()> {
    let c = cx.task.creds();
    cx.mem.write(r, &c.uid).await?;
    cx.mem.write(e, &c.euid).await?;
    Ok(cx.mem.write(s, &c.suid).await?)
}

/// getresgid(2).
pub async fn getresgid(cx: &Cx, r: UserPtr<u32>, e: UserPtr<u32>, s: UserPtr<u32>) -> SysResult<()> {
    let c = cx.task.creds();
    cx.mem.write(r, &c.gid).await?;
    cx.mem.write(e, &c.egid).await?;
    Ok(cx.mem.write(s, &c.sgid).await?)
}

fn install(cx: &Cx, new: Credentials) {
    *cx.task.creds.borrow_mut() = Rc::new(new);
}

/// What a change of user ids does to capabilities. Linux: cap_emulate_setxuid().
fn fix_capabilities(old: &Credentials, new: &mut Credentials) {
    if new.securebits & securebits::NO_SETUID_FIXUP != 0 {
        return;
    }
    let roots = |c: &Credentials| c.uid == 0 || c.euid == 0 || c.suid == 0;
    if roots(old) && !roots(new) {
        if new.securebits & securebits::KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = 0;
    } else if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
}

/// Capabilities that follow the file system user id. Linux: `CAP_FS_SET`.
const FS_CAPS: u64 = 1 << cap::CHOWN
    | 1 << cap::MKNOD
    | 1 << cap::DAC_OVERRIDE
    | 1 << cap::DAC_READ_SEARCH
    | 1 << cap::FOWNER
    | 1 << cap::FSETID
    | 1 << 9
    | 1 << 32;

/// setuid(2).
pub async fn setuid(cx: &Cx, uid: u32) -> SysResult<()> {
    if uid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    let old = cx.task.creds();
    let mut new = (*old).clone();
    if old.has(cap::SETUID) {
        (new.uid, new.suid) = (uid, uid);
    } else if uid != old.uid && uid != old.suid {
        return Err(Errno::EPERM.into());
    }
    (new.euid, new.fsuid) = (uid, uid);
    fix_capabilities(&old, &mut new);
    install(cx, new);
    Ok(())
}

/// setgid(2).
pub async fn setgid(cx: &Cx, gid: u32) -> SysResult<()> {
    if gid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    let old = cx.task.creds();
    let mut new = (*old).clone();
    if old.has(cap::SETGID) {
        (new.gid, new.sgid) = (gid, gid);
    } else if gid != old.gid && gid != old.sgid {
        return Err(Errno::EPERM.into());
    }
    (new.egid, new.fsgid) = (gid, gid);
    install(cx, new);
    Ok(())
}

/// setreuid(2).
pub async fn setreuid(cx: &Cx, ruid: u32, euid: u32) -> SysResult<()> {
    let old = cx.task.creds();
    let mut new = (*old).clone();
    let may = old.has(cap::SETUID);
    if ruid != KEEP {
        if ruid != old.uid && ruid != old.euid && !may {
            return Err(Errno::EPERM.into());
        }
        new.uid = ruid;
    }
    if euid != KEEP {
        if euid != old.uid && euid != old.euid && euid != old.suid && !may {
            return Err(Errno::EPERM.into());
        }
        new.euid = euid;
    }
    if ruid != KEEP || (euid != KEEP && euid != old.uid) {
        new.suid = new.euid;
    }
    new.fsuid = new.euid;
    fix_capabilities(&old, &mut new);
    install(cx, new);
    Ok(())
}

/// setregid(2).
pub async fn setregid(cx: &Cx, rgid: u32, egid: u32) -> SysResult<()> {
    let old = cx.task.creds();
    let mut new = (*old).clone();
    let may = old.has(cap::SETGID);
    if rgid != KEEP {
        if rgid != old.gid && rgid != old.egid && !may {
            return Err(Errno::EPERM.into());
        }
        new.gid = rgid;
    }
    if egid != KEEP {
        if egid != old.gid && egid != old.egid && egid != old.sgid && !may {
            return Err(Errno::EPERM.into());
        }
        new.egid = egid;
    }
    if rgid != KEEP || (egid != KEEP && egid != old.gid) {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    install(cx, new);
    Ok(())
}

/// setresuid(2).
pub async fn setresuid(cx: &Cx, r: u32, e: u32, s: u32) -> SysResult<()> {
    let old = cx.task.creds();
    let known = [old.uid, old.euid, old.suid];
    if !old.has(cap::SETUID) && [r, e, s].iter().any(|id| *id != KEEP && !known.contains(id)) {
        return Err(Errno::EPERM.into());
    }
    let mut new = (*old).clone();
    let pick = |id: u32, was: u32| if id == KEEP { was } else { id };
    (new.uid, new.euid, new.suid) = (pick(r, old.uid), pick(e, old.euid), pick(s, old.suid));
    new.fsuid = new.euid;
    fix_capabilities(&old, &mut new);
    install(cx, new);
    Ok(())
}

/// setresgid(2).
pub async fn setresgid(cx: &Cx, r: u32, e: u32, s: u32) -> SysResult<()> {
    let old = cx.task.creds();
    let known = [old.gid, old.egid, old.sgid];
    if !old.has(cap::SETGID) && [r, e, s].iter().any(|id| *id != KEEP && !known.contains(id)) {
        return Err(Errno::EPERM.into());
    }
    let mut new = (*old).clone();
    let pick = |id: u32, was: u32| if id == KEEP { was } else { id };
    (new.gid, new.egid, new.sgid) = (pick(r, old.gid), pick(e, old.egid), pick(s, old.sgid));
    new.fsgid = new.egid;
    install(cx, new);
    Ok(())
}

/// setfsuid(2): the previous id, whether it worked or not.
pub async fn setfsuid(cx: &Cx, uid: u32) -> SysResult<u32> {
    let old = cx.task.creds();
    if uid != KEEP && (old.has(cap::SETUID) || [old.uid, old.euid, old.suid, old.fsuid].contains(&uid)) {
        let mut new = (*old).clone();
        new.fsuid = uid;
        if new.securebits & securebits::NO_SETUID_FIXUP == 0 {
            if old.fsuid == 0 && uid != 0 {
                new.effective &= !FS_CAPS;
            } else if old.fsuid != 0 && uid == 0 {
                new.effective |= new.permitted & FS_CAPS;
            }
        }
        install(cx, new);
    }
    Ok(old.fsuid)
}

/// setfsgid(2).
pub async fn setfsgid(cx: &Cx, gid: u32) -> SysResult<u32> {
    let old = cx.task.creds();
    if gid != KEEP && (old.has(cap::SETGID) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid)) {
        let mut new = (*old).clone();
        new.fsgid = gid;
        install(cx, new);
    }
    Ok(old.fsgid)
}

/// getgroups(2).
pub async fn getgroups(cx: &Cx, size: i32, list: UserPtr<u32>) -> SysResult<usize> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let groups = cx.task.creds().groups.clone();
    if size != 0 {
        if groups.len() > size {
            return Err(Errno::EINVAL.into());
        }
        cx.mem.write_array(list, &groups).await?;
    }
    Ok(groups.len())
}

/// setgroups(2).
pub async fn setgroups(cx: &Cx, size: i32, list: UserPtr<u32>) -> SysResult<()> {
    let old = cx.task.creds();
    if !old.has(cap::SETGID) {
        return Err(Errno::EPERM.into());
    }
    let size = usize::try_from(size).ok().filter(|n| *n <= NGROUPS_MAX).ok_or(Errno::EINVAL)?;
    let mut groups = cx.mem.read_array(list, size).await?;
    if groups.contains(&KEEP) {
        return Err(Errno::EINVAL.into());
    }
    groups.sort_unstable();
    let mut new = (*old).clone();
    new.groups = groups.into();
    install(cx, new);
    Ok(())
}

/// The versions of the capability header; 1 has one data structure, 2 and 3 have two.
const CAP_VERSIONS: [(u32, usize); 3] = [(0x1998_0330, 1), (0x2007_1026, 2), (0x2008_0522, 2)];

async fn capability_header(cx: &Cx, header: UserPtr<CapHeader>) -> SysResult<(CapHeader, usize)> {
    let h = cx.mem.read(header).await?;
    match CAP_VERSIONS.iter().find(|(v, _)| *v == h.version) {
        Some((_, n)) => Ok((h, *n)),
        None => {
            // The preferred version is told even though the call fails.
            cx.mem.write(header.cast::<u32>(), &CAP_VERSIONS[2].0).await?;
            Err(Errno::EINVAL.into())
        }
    }
}

/// capget(2).
pub async fn capget(cx: &Cx, header: UserPtr<CapHeader>, data: UserPtr<CapData>) -> SysResult<()> {
    let (h, n) = match capability_header(cx, header).await {
        Ok(x) => x,
        // With no data pointer it is a question for the version.
        Err(e) if data.is_null() && e == Errno::EINVAL.into() => return Ok(()),
        Err(e) => return Err(e),
    };
    if h.pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = match h.pid {
        0 => cx.task.creds(),
        pid => cx.kernel.tasks.get(pid as u32).ok_or(Errno::ESRCH)?.creds(),
    };
    if data.is_null() {
        return Ok(());
    }
    let half = |i: usize| CapData {
        effective: (creds.effective >> (32 * i)) as u32,
        permitted: (creds.permitted >> (32 * i)) as u32,
        inheritable: (creds.inheritable >> (32 * i)) as u32,
    };
    let all: Vec<CapData> = (0..n).map(half).collect();
    Ok(cx.mem.write_array(data, &all).await?)
}

/// capset(2). Linux: cap_capset().
pub async fn capset(cx: &Cx, header: UserPtr<CapHeader>, data: UserPtr<CapData>) -> SysResult<()> {
    let (h, n) = capability_header(cx, header).await?;
    if h.pid != 0 && h.pid as u32 != cx.task.tid {
        return Err(Errno::EPERM.into());
    }
    let d: Vec<CapData> = cx.mem.read_array(data, n).await?;
    let valid = (1u64 << (cap::LAST + 1)) - 1;
    let join = |f: fn(&CapData) -> u32| d.iter().rev().fold(0u64, |acc, half| acc << 32 | u64::from(f(half))) & valid;
    let (effective, permitted, inheritable) = (join(|d| d.effective), join(|d| d.permitted), join(|d| d.inheritable));
    let old = cx.task.creds();
    let more_inheritable = !old.has(cap::SETPCAP) && inheritable & !(old.inheritable | old.permitted) != 0;
    if more_inheritable
        || inheritable & !(old.inheritable | old.bounding) != 0
        || permitted & !old.permitted != 0
        || effective & !permitted != 0
    {
        return Err(Errno::EPERM.into());
    }
    let mut new = (*old).clone();
    (new.effective, new.permitted, new.inheritable) = (effective, permitted, inheritable);
    new.ambient &= permitted & inheritable;
    install(cx, new);
    Ok(())
}
