//! timerfd_create(2) and kin. Linux: fs/timerfd.c.

use std::rc::Rc;

use rsc_proto::abi::{Errno, Itimerspec, TimerfdFlags, TimerfdSet};

use crate::error::SysResult;
use crate::ipc::clock::Clock;
use crate::ipc::timerfd::Timerfd;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::UserPtr;

/// Wake the system from suspend. capabilities(7).
const CAP_WAKE_ALARM: u8 = 35;

/// timerfd_create(2).
pub async fn timerfd_create(cx: &Cx, clock: u32, flags: u32) -> SysResult<Fd> {
    let flags = TimerfdFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let (clock, alarm) = match clock {
        0 => (Clock::Real, false),
        1 => (Clock::Monotonic, false),
        7 => (Clock::Boot, false),
        8 => (Clock::Real, true),
        9 => (Clock::Boot, true),
        _ => return Err(Errno::EINVAL.into()),
    };
    if alarm && !cx.task.creds().has(CAP_WAKE_ALARM) {
        return Err(Errno::EPERM.into());
    }
    let file = Timerfd::open(&cx.kernel, clock, flags)?;
    Ok(cx.add_fd(file, flags.contains(TimerfdFlags::TFD_CLOEXEC))?)
}

fn timer(file: &Rc<File>) -> Result<&Timerfd, Errno> {
    file.downcast::<Timerfd>().ok_or(Errno::EINVAL)
}

/// timerfd_settime(2).
pub async fn timerfd_settime(
    cx: &Cx,
    fd: Fd,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult<()> {
    let spec = cx.mem.read(new).await?;
    let flags = TimerfdSet::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !spec.it_value.is_valid() || !spec.it_interval.is_valid() {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    let before = timer(&file)?.set(&spec, flags.contains(TimerfdSet::TFD_TIMER_ABSTIME))?;
    if !old.is_null() {
        cx.mem.write(old, &before).await?;
    }
    Ok(())
}

/// timerfd_gettime(2).
pub async fn timerfd_gettime(cx: &Cx, fd: Fd, out: UserPtr<Itimerspec>) -> SysResult<()> {
    let file = cx.file(fd)?;
    let now = timer(&file)?.get();
    Ok(cx.mem.write(out, &now).await?)
}

#[cfg(test)]
mod tests {
    use super::super::nr;
    use crate::kernel::testing::{BASE, TestBox};
    use rsc_proto::abi::{Errno, Itimerspec, Timespec};

    #[test]
    fn expires_and_counts() {
        TestBox::run(|t| async move {
            let fd = t.call(nr::TIMERFD_CREATE, &[1, 0]).await as u64;
            let ms = |n: i64| Timespec { tv_sec: 0, tv_nsec: n * 1_000_000 };
            t.put(BASE, &Itimerspec { it_interval: ms(1), it_value: ms(1) });
            assert_eq!(t.call(nr::TIMERFD_SETTIME, &[fd, 0, BASE, 0]).await, 0);
            assert_eq!(t.call(nr::READ, &[fd, BASE + 64, 8]).await, 8);
            assert!(t.get::<u64>(BASE + 64) >= 1);
            assert_eq!(t.call(nr::READ, &[fd, BASE + 64, 8]).await, 8);
            t.put(BASE, &Itimerspec::default());
            assert_eq!(t.call(nr::TIMERFD_SETTIME, &[fd, 0, BASE, BASE + 64]).await, 0);
            assert_eq!(t.get::<Itimerspec>(BASE + 64).it_interval, ms(1));
            assert_eq!(t.call(nr::TIMERFD_GETTIME, &[fd, BASE]).await, 0);
            assert_eq!(t.get::<Itimerspec>(BASE), Itimerspec::default());
            t.put(BASE, &Itimerspec { it_interval: ms(0), it_value: ms(1000) });
            assert_eq!(t.call(nr::TIMERFD_SETTIME, &[fd, 0, BASE, 0]).await, Errno::EINVAL.to_result());
            assert_eq!(t.call(nr::TIMERFD_CREATE, &[2, 0]).await, Errno::EINVAL.to_result());
        });
    }

    #[test]
    fn absolute_time_in_the_past_has_expired() {
        TestBox::run(|t| async move {
            let fd = t.call(nr::TIMERFD_CREATE, &[0, 0o4000]).await as u64;
            t.put(BASE, &Itimerspec { it_value: Timespec { tv_sec: 1, tv_nsec: 0 }, ..Default::default() });
            assert_eq!(t.call(nr::TIMERFD_SETTIME, &[fd, 1, BASE, 0]).await, 0);
            assert_eq!(t.call(nr::READ, &[fd, BASE, 8]).await, 8);
            assert_eq!(t.get::<u64>(BASE), 1);
            assert_eq!(t.call(nr::READ, &[fd, BASE, 8]).await, Errno::EAGAIN.to_result());
        });
    }
}
