//! Setting clocks: they are the host's, so nobody may; but wrong requests get the errors that Linux gives them first.
//! Linux: kernel/time/posix-timers.c.

use rsc_proto::abi::{Errno, Timespec};

use crate::error::SysResult;
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;

/// `CLOCK_REALTIME`
const REALTIME: i32 = 0;
/// The kind of clock in a negative number. Linux: CPUCLOCK_CLOCK_MASK and the bit beside it.
const KIND: i32 = 7;
/// A clock that is a descriptor. Linux: CLOCKFD.
const DESCRIPTOR: i32 = 3;

/// clock_settime(2). Of the clocks that are not a process's own, only the wall clock can be set at all.
pub async fn clock_settime(cx: &Cx, clock: i32, time: UserPtr<Timespec>) -> SysResult<()> {
    let of_a_process = clock < 0 && clock & KIND != DESCRIPTOR;
    if clock != REALTIME && !of_a_process {
        return Err(Errno::EINVAL.into());
    }
    let time = cx.mem.read(time).await?;
    if clock == REALTIME && !time.is_valid() {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::EPERM.into())
}

#[cfg(test)]
mod tests {
    use super::super::nr;
    use crate::kernel::testing::{BASE, TestBox};
    use rsc_proto::abi::{Errno, Timespec};

    #[test]
    fn nobody_sets_clocks() {
        TestBox::run(|t| async move {
            t.put(BASE, &Timespec { tv_sec: 1, tv_nsec: 0 });
            let set = async |clock: i32, at| t.call(nr::CLOCK_SETTIME, &[clock as u64, at]).await;
            assert_eq!(set(0, BASE).await, Errno::EPERM.to_result());
            assert_eq!(set(0, 8).await, Errno::EFAULT.to_result());
            assert_eq!(set(1, BASE).await, Errno::EINVAL.to_result(), "CLOCK_MONOTONIC can't be set");
            assert_eq!(set(99, BASE).await, Errno::EINVAL.to_result());
            assert_eq!(set(!0 << 3 | 2, BASE).await, Errno::EPERM.to_result(), "a process's clock");
            assert_eq!(set(!5 << 3 | 3, BASE).await, Errno::EINVAL.to_result(), "a descriptor");
            t.put(BASE, &Timespec { tv_sec: 1, tv_nsec: 1_000_000_000 });
            assert_eq!(set(0, BASE).await, Errno::EINVAL.to_result());
        });
    }
}
