//! prctl(2): what concerns names, identity and children. What concerns a thread's own machine state is native.

use rsc_proto::abi::Errno;

use super::Outcome;
use super::identity::securebits;
use crate::error::SysResult;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;

const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_DUMPABLE: i32 = 3;
const PR_SET_DUMPABLE: i32 = 4;
const PR_GET_KEEPCAPS: i32 = 7;
const PR_SET_KEEPCAPS: i32 = 8;
const PR_GET_SECCOMP: i32 = 21;
const PR_CAPBSET_READ: i32 = 23;
const PR_CAPBSET_DROP: i32 = 24;
const PR_GET_SECUREBITS: i32 = 27;
const PR_SET_SECUREBITS: i32 = 28;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_GET_NO_NEW_PRIVS: i32 = 39;
const PR_CAP_AMBIENT: i32 = 47;

/// prctl(2).
pub async fn prctl(cx: &Cx, option: i32, a2: u64, a3: u64, a4: u64, a5: u64) -> SysResult<Outcome> {
    let unused = a3 | a4 | a5 == 0;
    let value = |v: bool| Ok(Outcome::Value(u64::from(v)));
    let group = cx.task.group();
    match option {
        PR_GET_DUMPABLE => value(group.dumpable.get()),
        PR_SET_DUMPABLE if a2 <= 1 => {
            group.dumpable.set(a2 == 1);
            value(false)
        }
        PR_GET_KEEPCAPS => value(cx.task.creds().securebits & securebits::KEEP_CAPS != 0),
        PR_SET_KEEPCAPS if a2 <= 1 => {
            let mut new = (*cx.task.creds()).clone();
            new.securebits = new.securebits & !securebits::KEEP_CAPS | if a2 == 1 { securebits::KEEP_CAPS } else { 0 };
            *cx.task.creds.borrow_mut() = new.into();
            value(false)
        }
        // SECCOMP_MODE_FILTER. Without a profile as without CONFIG_SECCOMP, below.
        PR_GET_SECCOMP if cx.kernel.seccomp.is_some() => Ok(Outcome::Value(2)),
        PR_CAPBSET_READ if a2 <= u64::from(cap::LAST) => value(cx.task.creds().bounding & (1 << a2) != 0),
        PR_CAPBSET_DROP => {
            let old = cx.task.creds();
            if !old.has(cap::SETPCAP) {
                return Err(Errno::EPERM.into());
            }
            if a2 > u64::from(cap::LAST) {
                return Err(Errno::EINVAL.into());
            }
            let mut new = (*old).clone();
            new.bounding &= !(1 << a2);
            *cx.task.creds.borrow_mut() = new.into();
            value(false)
        }
        PR_GET_SECUREBITS => Ok(Outcome::Value(u64::from(cx.task.creds().securebits))),
        PR_SET_SECUREBITS => {
            if !cx.task.creds().has(cap::SETPCAP) || a2 > 0xff {
                return Err(Errno::EPERM.into());
            }
            let mut new = (*cx.task.creds()).clone();
            new.securebits = a2 as u32;
            *cx.task.creds.borrow_mut() = new.into();
            value(false)
        }
        PR_SET_CHILD_SUBREAPER => {
            group.subreaper.set(a2 != 0);
            Ok(Outcome::Native { report: false })
        }
        PR_GET_CHILD_SUBREAPER => {
            cx.mem.write(UserPtr::<i32>::new(a2), &i32::from(group.subreaper.get())).await?;
            value(false)
        }
        // The host's kernel sends the signal.
        PR_SET_PDEATHSIG if a2 <= 64 => Ok(Outcome::Native { report: false }),
        PR_SET_NO_NEW_PRIVS if a2 == 1 && unused => {
            cx.task.no_new_privs.set(true);
            value(false)
        }
        PR_GET_NO_NEW_PRIVS if a2 == 0 && unused => value(cx.task.no_new_privs.get()),
        PR_CAP_AMBIENT => ambient(cx, a2, a3, a4 | a5),
        _ if rsc_proto::table::native_permitted(cx.nr, &cx.args, false) => Ok(Outcome::Native { report: false }),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `PR_CAP_AMBIENT`, capabilities(7).
fn ambient(cx: &Cx, what: u64, capability: u64, rest: u64) -> SysResult<Outcome> {
    let old = cx.task.creds();
    let mut new = (*old).clone();
    if rest != 0 {
        return Err(Errno::EINVAL.into());
    }
    if what == 4 {
        // PR_CAP_AMBIENT_CLEAR_ALL
        if capability != 0 {
            return Err(Errno::EINVAL.into());
        }
        new.ambient = 0;
        *cx.task.creds.borrow_mut() = new.into();
        return Ok(Outcome::Value(0));
    }
    if capability > u64::from(cap::LAST) {
        return Err(Errno::EINVAL.into());
    }
    let bit = 1u64 << capability;
    match what {
        1 => return Ok(Outcome::Value(u64::from(old.ambient & bit != 0))),
        2 if old.permitted & old.inheritable & bit == 0 => return Err(Errno::EPERM.into()),
        2 => new.ambient |= bit,
        3 => new.ambient &= !bit,
        _ => return Err(Errno::EINVAL.into()),
    }
    *cx.task.creds.borrow_mut() = new.into();
    Ok(Outcome::Value(0))
}
