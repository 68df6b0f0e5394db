//! Scheduling of other tasks: the host's kernel carries it out once virtual credentials allow it, since to the host all tasks are
//! one user's. Reading needs no leave. And what calls get that run natively, but not with these arguments.

use std::rc::Rc;

use rsc_proto::abi::Errno;

use super::{Outcome, nr};
use crate::error::SysResult;
use crate::kernel::credentials::{Credentials, cap};
use crate::kernel::cx::Cx;
use crate::kernel::task::Task;

/// `which` of setpriority(2) and getpriority(2).
mod priority {
    pub(super) const PROCESS: i32 = 0;
    pub(super) const PGRP: i32 = 1;
    pub(super) const USER: i32 = 2;
}

/// `which` of ioprio_set(2) and ioprio_get(2).
mod io_priority {
    pub(super) const PROCESS: i32 = 1;
    pub(super) const PGRP: i32 = 2;
    pub(super) const USER: i32 = 3;
}

const NATIVE: Outcome = Outcome::Native { report: false };

/// Whether one may change the other's scheduling. Linux: check_same_owner() and CAP_SYS_NICE.
fn may_schedule(own: &Credentials, other: &Credentials) -> bool {
    own.euid == other.euid || own.euid == other.uid || own.has(cap::SYS_NICE)
}

/// Tasks that the sentry does not know (zombies, or none) are the host's to judge.
fn permit(cx: &Cx, targets: &[Rc<Task>]) -> SysResult<Outcome> {
    let own = cx.task.creds();
    if targets.iter().all(|task| may_schedule(&own, &task.creds())) { Ok(NATIVE) } else { Err(Errno::EPERM.into()) }
}

async fn permit_pid(cx: &Cx, pid: i32) -> SysResult<Outcome> {
    match u32::try_from(pid) {
        // Itself, or a mistake.
        Ok(0) | Err(_) => Ok(NATIVE),
        Ok(tid) => {
            let task = cx.kernel.tasks.get(tid);
            if task.is_none() {
                cx.kernel.stranger(tid).await?;
            }
            permit(cx, task.as_slice())
        }
    }
}

fn permit_group(cx: &Cx, pgid: i32) -> SysResult<Outcome> {
    let pgid = if pgid == 0 { cx.task.group().pgid.get() } else { pgid as u32 };
    let groups = cx.kernel.tasks.groups();
    let members = groups.iter().filter(|group| group.pgid.get() == pgid).filter_map(|group| group.any_thread());
    permit(cx, &members.collect::<Vec<_>>())
}

/// sched_setparam(2), sched_setscheduler(2), sched_setattr(2), sched_setaffinity(2).
pub async fn set(cx: &Cx, pid: i32) -> SysResult<Outcome> {
    permit_pid(cx, pid).await
}

/// setpriority(2).
pub async fn setpriority(cx: &Cx, which: i32, who: i32) -> SysResult<Outcome> {
    match which {
        priority::PROCESS => permit_pid(cx, who).await,
        priority::PGRP => permit_group(cx, who),
        _ => Err(cx.kernel.unlisted(cx).into()),
    }
}

/// ioprio_set(2).
pub async fn ioprio_set(cx: &Cx, which: i32, who: i32) -> SysResult<Outcome> {
    match which {
        io_priority::PROCESS => permit_pid(cx, who).await,
        io_priority::PGRP => permit_group(cx, who),
        _ => Err(cx.kernel.unlisted(cx).into()),
    }
}

/// What Linux answers to a call which it has, but that is not let run with these arguments: as if what they name were not there.
pub fn unlisted_errno(cx: &Cx) -> Errno {
    /// All options that waitid(2) knows, and those of which it wants one.
    const WAIT_OPTIONS: u32 = 0xe100_000f;
    const WAIT_FOR: u32 = 0xe;
    const P_PIDFD: u32 = 3;
    let [first, second, _, fourth, ..] = cx.args.map(|arg| arg as u32);
    match cx.nr {
        // About another task, and no task looks into another here.
        nr::GET_ROBUST_LIST if cx.kernel.tasks.get(first).is_some() => Errno::EPERM,
        nr::GET_ROBUST_LIST => Errno::ESRCH,
        // Users are the sandbox's, and the host knows only one: none of that user's processes is found.
        nr::GETPRIORITY | nr::SETPRIORITY if first as i32 == priority::USER => Errno::ESRCH,
        nr::IOPRIO_GET | nr::IOPRIO_SET if first as i32 == io_priority::USER => Errno::ESRCH,
        nr::WAITID if first == P_PIDFD && fourth & !WAIT_OPTIONS == 0 && fourth & WAIT_FOR != 0 => {
            if (second as i32) < 0 { Errno::EINVAL } else { Errno::EBADF }
        }
        // Clocks, operations, codes that are not there.
        _ => Errno::EINVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::super::nr;
    use crate::kernel::testing::TestBox;
    use rsc_proto::abi::Errno;

    #[test]
    fn what_is_not_listed_is_counted() {
        TestBox::run(|t| async move {
            for _ in 0..2 {
                assert_eq!(t.call(nr::GETPRIORITY, &[2, 0]).await, Errno::ESRCH.to_result());
            }
            assert_eq!(t.call(nr::SETPRIORITY, &[2, 0, 0]).await, Errno::ESRCH.to_result());
            assert_eq!(t.call(nr::SETPRIORITY, &[7, 0, 0]).await, Errno::EINVAL.to_result());
            assert_eq!(t.call(nr::WAITID, &[3, 9, 0, 4, 0]).await, Errno::EBADF.to_result());
            assert_eq!(t.call(nr::WAITID, &[3, 9, 0, 0, 0]).await, Errno::EINVAL.to_result());
            assert_eq!(t.call(nr::CLOCK_GETTIME, &[99, 0]).await, Errno::EINVAL.to_result());
            let unlisted = &t.kernel.stats.unlisted;
            assert_eq!([nr::GETPRIORITY, nr::SETPRIORITY, nr::WAITID].map(|nr| unlisted.get(nr)), [2, 2, 2]);
            assert_eq!(t.kernel.stats.unimplemented.iter().count(), 0);
        });
    }
}
