//! Making, naming, ending and signalling tasks. The host's kernel does it; the sentry permits, and mirrors what it is told.

use rsc_proto::abi::{CloneFlags, Errno};

use super::Outcome;
use crate::error::SysResult;
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;
use crate::kernel::task::{ThreadGroup, rlimit};
use std::rc::Rc;

/// The host's kernel does it, and nothing needs to be mirrored.
const NATIVE: Outcome = Outcome::Native { report: false };
/// The host's kernel does it and the outcome is mirrored.
const NATIVE_REPORTED: Outcome = Outcome::Native { report: true };

/// Tasks that one sandbox may have, whatever its limits say.
const TASKS_MAX: usize = 32_768;

/// clone(2), as the supervisor carries out clone3(2) too. Prepared here; committed by `TaskEvent.cloned`.
pub async fn clone(
    cx: &Cx,
    flags: u64,
    _stack: u64,
    _parent_tid: UserPtr<i32>,
    _child_tid: UserPtr<i32>,
    _tls: u64,
) -> SysResult<Outcome> {
    // Linux: copy_process() looks for what contradicts itself before it asks for privileges.
    let set = CloneFlags::from_bits_truncate(flags);
    if set.contains(CloneFlags::CLONE_FS) && set.intersects(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUSER) {
        return Err(Errno::EINVAL.into());
    }
    // The supervisor would refuse to carry these out, and take the permission for a lie.
    if set.intersects(CloneFlags::FORBIDDEN) {
        return Err(Errno::EPERM.into());
    }
    permit_task(cx)
}

/// fork(2), vfork(2).
pub async fn fork(cx: &Cx) -> SysResult<Outcome> {
    permit_task(cx)
}

fn permit_task(cx: &Cx) -> SysResult<Outcome> {
    let limit = cx.task.group().limit(rlimit::NPROC).rlim_cur;
    let tasks = cx.kernel.tasks.len();
    let root = cx.task.creds().uid == 0;
    if tasks >= TASKS_MAX || (!root && tasks as u64 >= limit) {
        return Err(Errno::EAGAIN.into());
    }
    Ok(NATIVE)
}

/// getpid(2).
pub async fn getpid(cx: &Cx) -> SysResult<u32> {
    Ok(cx.task.group().tgid)
}

/// gettid(2).
pub async fn gettid(cx: &Cx) -> SysResult<u32> {
    Ok(cx.task.tid)
}

/// getppid(2).
pub async fn getppid(cx: &Cx) -> SysResult<u32> {
    Ok(cx.task.group().parent.get())
}

/// setpgid(2): the host's kernel judges; `TaskEvent.native_result` tells.
pub async fn setpgid(_cx: &Cx, _pid: i32, _pgid: i32) -> SysResult<Outcome> {
    Ok(NATIVE_REPORTED)
}

/// setsid(2).
pub async fn setsid(_cx: &Cx) -> SysResult<Outcome> {
    Ok(NATIVE_REPORTED)
}

/// kill(2). All tasks share one host uid, so the permission check is here.
pub async fn kill(cx: &Cx, pid: i32, sig: i32) -> SysResult<Outcome> {
    if !(0..=64).contains(&sig) {
        return Err(Errno::EINVAL.into());
    }
    let own = cx.task.group();
    let targets: Vec<Rc<ThreadGroup>> = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => cx.kernel.tasks.groups().into_iter().filter(|g| g.tgid != 1 && g.tgid != own.tgid).collect(),
        0 => cx.kernel.tasks.groups().into_iter().filter(|g| g.pgid.get() == own.pgid.get()).collect(),
        p if p < 0 => cx.kernel.tasks.groups().into_iter().filter(|g| g.pgid.get() == p.unsigned_abs()).collect(),
        // A thread's id names its process too (kill(2) of a non-leader works in Linux).
        p => cx.kernel.tasks.get(p as u32).map(|t| t.group()).into_iter().collect(),
    };
    if cx.kernel.host_pids {
        match pid {
            -1 => return signal_each(cx, &targets, sig).await,
            1.. if targets.is_empty() => cx.kernel.stranger(pid as u32).await?,
            _ if targets.is_empty() => return Err(Errno::ESRCH.into()),
            _ => {}
        }
    }
    // Zombies are not mirrored any more but do exist for the host's kernel: let it judge what is not known here.
    permit_signal(cx, &targets, sig)
}

/// To all processes of the sandbox, one by one: the host's kernel would do more.
async fn signal_each(cx: &Cx, targets: &[Rc<ThreadGroup>], sig: i32) -> SysResult<Outcome> {
    let own = cx.task.creds();
    let may = |group: &&Rc<ThreadGroup>| group.any_thread().is_some_and(|task| own.may_signal(&task.creds()));
    let mut result = if targets.is_empty() { Err(Errno::ESRCH) } else { Err(Errno::EPERM) };
    for group in targets.iter().filter(may) {
        if sig == 0 || cx.kernel.signal_process(group, sig as u32).await.is_ok() {
            result = Ok(Outcome::Value(0));
        }
    }
    Ok(result?)
}

fn permit_signal(cx: &Cx, targets: &[Rc<ThreadGroup>], sig: i32) -> SysResult<Outcome> {
    let creds = cx.task.creds();
    let sid = cx.task.group().sid.get();
    let allowed = |g: &Rc<ThreadGroup>| {
        g.any_thread().is_none_or(|t| creds.may_signal(&t.creds()) || (sig == 18 && g.sid.get() == sid))
    };
    if !targets.is_empty() && !targets.iter().any(allowed) {
        return Err(Errno::EPERM.into());
    }
    Ok(NATIVE)
}

/// tkill(2).
pub async fn tkill(cx: &Cx, tid: i32, sig: i32) -> SysResult<Outcome> {
    tgkill(cx, -1, tid, sig).await
}

/// tgkill(2); `tgid` -1 comes from tkill.
pub async fn tgkill(cx: &Cx, tgid: i32, tid: i32, sig: i32) -> SysResult<Outcome> {
    if tid <= 0 || (tgid <= 0 && tgid != -1) || !(0..=64).contains(&sig) {
        return Err(Errno::EINVAL.into());
    }
    let target = cx.kernel.tasks.get(tid as u32).map(|t| t.group());
    if target.is_none() {
        cx.kernel.stranger(tid as u32).await?;
    }
    permit_signal(cx, target.as_slice(), sig)
}

/// rt_sigqueueinfo(2): the host's kernel checks the rest of the siginfo.
pub async fn rt_sigqueueinfo(cx: &Cx, tgid: i32, sig: i32, _info: u64) -> SysResult<Outcome> {
    if tgid <= 0 {
        return Err(Errno::ESRCH.into());
    }
    kill(cx, tgid, sig).await
}

/// rt_tgsigqueueinfo(2).
pub async fn rt_tgsigqueueinfo(cx: &Cx, tgid: i32, tid: i32, sig: i32, _info: u64) -> SysResult<Outcome> {
    if tgid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    tgkill(cx, tgid, tid, sig).await
}

/// unshare(2): tables that live in the sentry can be unshared; new namespaces are refused.
pub async fn unshare(cx: &Cx, flags: u64) -> SysResult<()> {
    let shared = CloneFlags::CLONE_FILES | CloneFlags::CLONE_FS | CloneFlags::CLONE_SYSVSEM;
    // A single thread shares neither memory nor handlers, so these change nothing.
    let nothing = CloneFlags::CLONE_THREAD | CloneFlags::CLONE_SIGHAND | CloneFlags::CLONE_VM;
    let flags = CloneFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !(shared | nothing | CloneFlags::NEW_NAMESPACES).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    if flags.intersects(CloneFlags::NEW_NAMESPACES) {
        return Err(Errno::EPERM.into());
    }
    if flags.intersects(nothing) && cx.task.group().threads.borrow().len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(CloneFlags::CLONE_FILES) {
        let own = cx.task.fds.borrow().fork();
        *cx.task.fds.borrow_mut() = own;
    }
    if flags.contains(CloneFlags::CLONE_FS) {
        let own = cx.task.fs.borrow().fork();
        *cx.task.fs.borrow_mut() = own;
    }
    Ok(())
}
