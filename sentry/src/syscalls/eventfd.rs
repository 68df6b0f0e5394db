//! eventfd(2), eventfd2(2).

use rsc_proto::abi::{Errno, EventfdFlags};

use crate::error::SysResult;
use crate::ipc::eventfd::Eventfd;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;

/// eventfd(2).
pub async fn eventfd(cx: &Cx, initial: u32) -> SysResult<Fd> {
    eventfd2(cx, initial, 0).await
}

/// eventfd2(2).
pub async fn eventfd2(cx: &Cx, initial: u32, flags: u32) -> SysResult<Fd> {
    let flags = EventfdFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let file = Eventfd::open(&cx.kernel, initial, flags)?;
    Ok(cx.add_fd(file, flags.contains(EventfdFlags::EFD_CLOEXEC))?)
}

#[cfg(test)]
mod tests {
    use super::super::nr;
    use crate::kernel::testing::{BASE, TestBox};
    use rsc_proto::abi::Errno;

    #[test]
    fn counts_waits_and_overflows() {
        TestBox::run(|t| async move {
            assert_eq!(t.call(nr::EVENTFD2, &[0, 2]).await, Errno::EINVAL.to_result());
            let fd = t.call(nr::EVENTFD2, &[3, 0o4000]).await as u64;
            assert_eq!(t.call(nr::READ, &[fd, BASE, 8]).await, 8);
            assert_eq!(t.get::<u64>(BASE), 3);
            assert_eq!(t.call(nr::READ, &[fd, BASE, 8]).await, Errno::EAGAIN.to_result());
            assert_eq!(t.call(nr::READ, &[fd, BASE, 7]).await, Errno::EINVAL.to_result());
            t.put(BASE, &u64::MAX);
            assert_eq!(t.call(nr::WRITE, &[fd, BASE, 8]).await, Errno::EINVAL.to_result());
            t.put(BASE, &(u64::MAX - 1));
            assert_eq!(t.call(nr::WRITE, &[fd, BASE, 8]).await, 8);
            t.put(BASE, &1u64);
            assert_eq!(t.call(nr::WRITE, &[fd, BASE, 8]).await, Errno::EAGAIN.to_result());
        });
    }

    #[test]
    fn semaphore_gives_one_at_a_time() {
        TestBox::run(|t| async move {
            let fd = t.call(nr::EVENTFD2, &[2, 0o4001]).await as u64;
            for want in [8, 8, Errno::EAGAIN.to_result()] {
                assert_eq!(t.call(nr::READ, &[fd, BASE, 8]).await, want);
            }
            assert_eq!(t.get::<u64>(BASE), 1);
        });
    }
}
