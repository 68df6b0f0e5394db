//! Resource limits: getrlimit(2), setrlimit(2), prlimit(2).
//!
//! The sentry answers every question. STACK, AS, DATA, MEMLOCK, CPU and NPROC bind in the host's kernel, so setting one of those
//! for oneself is also carried out there; NOFILE, FSIZE and LOCKS bind here.

use std::rc::Rc;

use rsc_proto::abi::{Errno, Rlimit64};

use super::Outcome;
use crate::error::SysResult;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;
use crate::kernel::task::{Task, rlimit};

/// No descriptor limit beyond this, as `/proc/sys/fs/nr_open` says.
const NR_OPEN: u64 = 1_048_576;

/// Whether the host's kernel enforces this limit.
fn native(resource: usize) -> bool {
    // CPU, DATA, STACK, NPROC, MEMLOCK, AS
    matches!(resource, 0 | 2 | 3 | 6 | 8 | 9)
}

fn check(cx: &Cx, target: &Rc<Task>, resource: usize, new: Rlimit64) -> Result<(), Errno> {
    if new.rlim_cur > new.rlim_max {
        return Err(Errno::EINVAL);
    }
    if resource == rlimit::NOFILE && new.rlim_max > NR_OPEN {
        return Err(Errno::EPERM);
    }
    let old = target.group().limit(resource);
    if new.rlim_max > old.rlim_max && !cx.task.creds().has(cap::SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn set(target: &Rc<Task>, resource: usize, new: Rlimit64) {
    if let Some(slot) = target.group().rlimits.borrow_mut().get_mut(resource) {
        *slot = new;
    }
}

fn known(resource: u32) -> Result<usize, Errno> {
    let r = resource as usize;
    if r < rlimit::COUNT { Ok(r) } else { Err(Errno::EINVAL) }
}

/// getrlimit(2).
pub async fn getrlimit(cx: &Cx, resource: u32, out: UserPtr<Rlimit64>) -> SysResult<()> {
    let limit = cx.task.group().limit(known(resource)?);
    Ok(cx.mem.write(out, &limit).await?)
}

/// setrlimit(2).
pub async fn setrlimit(cx: &Cx, resource: u32, new: UserPtr<Rlimit64>) -> SysResult<Outcome> {
    let new = cx.mem.read(new).await?;
    let resource = known(resource)?;
    check(cx, &cx.task, resource, new)?;
    set(&cx.task, resource, new);
    Ok(if native(resource) { Outcome::Native { report: false } } else { Outcome::Value(0) })
}

/// prlimit(2).
pub async fn prlimit64(
    cx: &Cx,
    pid: i32,
    resource: u32,
    new: UserPtr<Rlimit64>,
    old: UserPtr<Rlimit64>,
) -> SysResult<Outcome> {
    let resource = known(resource)?;
    let new = match new.non_null() {
        Some(p) => Some(cx.mem.read(p).await?),
        None => None,
    };
    let target = match pid {
        0 => cx.task.clone(),
        p => cx.kernel.tasks.get(p as u32).ok_or(Errno::ESRCH)?,
    };
    let own = Rc::ptr_eq(&target.group(), &cx.task.group());
    if !own && !may_change(cx, &target) {
        return Err(Errno::EPERM.into());
    }
    let was = target.group().limit(resource);
    if let Some(new) = new {
        check(cx, &target, resource, new)?;
        if native(resource) && !own {
            // The host's kernel would have to change another process; nobody but init's tools asks for it.
            return Err(Errno::EPERM.into());
        }
        set(&target, resource, new);
        if native(resource) && own {
            // The host's kernel writes the old limit too: it is the same there.
            return Ok(Outcome::Native { report: false });
        }
    }
    if !old.is_null() {
        cx.mem.write(old, &was).await?;
    }
    Ok(Outcome::Value(0))
}

/// Linux: check_prlimit_permission().
fn may_change(cx: &Cx, target: &Rc<Task>) -> bool {
    let (me, them) = (cx.task.creds(), target.creds());
    let same = [them.uid, them.euid, them.suid].iter().all(|u| *u == me.uid)
        && [them.gid, them.egid, them.sgid].iter().all(|g| *g == me.gid);
    same || me.has(cap::SYS_RESOURCE)
}
