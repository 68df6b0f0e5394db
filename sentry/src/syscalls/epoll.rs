//! epoll_create(2), epoll_ctl(2), epoll_wait(2) and kin. Linux: fs/eventpoll.c.

use std::rc::Rc;
use std::time::Duration;

use rsc_proto::abi::{EpollEvent, Errno, TASK_SIZE, Timespec};

use super::poll::{Until, check_mask, timespec};
use crate::error::SysResult;
use crate::ipc::epoll::EpollFile;
use crate::kernel::cx::{Cx, Waited};
use crate::kernel::fd::Fd;
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::{Listener, PollEvents, Wakeup};

const CTL_ADD: u32 = 1;
const CTL_DEL: u32 = 2;
const CTL_MOD: u32 = 3;
/// Linux: `EP_MAX_EVENTS`.
const EVENTS_MAX: usize = i32::MAX as usize / EpollEvent::SIZE;

/// epoll_create(2): the size is only checked.
pub async fn epoll_create(cx: &Cx, size: i32) -> SysResult<Fd> {
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    epoll_create1(cx, 0).await
}

/// epoll_create1(2).
pub async fn epoll_create1(cx: &Cx, flags: u32) -> SysResult<Fd> {
    const CLOEXEC: u32 = 0o2_000_000;
    if flags & !CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = EpollFile::open(&cx.kernel)?;
    Ok(cx.add_fd(file, flags != 0)?)
}

/// epoll_ctl(2).
pub async fn epoll_ctl(cx: &Cx, epfd: Fd, op: u32, fd: Fd, event: UserPtr<EpollEvent>) -> SysResult<()> {
    let event = if op == CTL_DEL { EpollEvent::default() } else { cx.mem.read(event).await? };
    let file = cx.file(epfd)?;
    let target = cx.file(fd)?;
    if target.ops().wait_queue().is_none() {
        return Err(Errno::EPERM.into());
    }
    if Rc::ptr_eq(&file, &target) {
        return Err(Errno::EINVAL.into());
    }
    let epoll = file.downcast::<EpollFile>().ok_or(Errno::EINVAL)?.epoll();
    match op {
        CTL_ADD => epoll.add(&cx.kernel, &target, fd, event).await?,
        CTL_DEL => epoll.delete(&target, fd)?,
        CTL_MOD => epoll.modify(&target, fd, event).await?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

fn milliseconds(timeout: i32) -> Until {
    u64::try_from(timeout).map_or(Until::Forever, |ms| Until::after(Duration::from_millis(ms)))
}

/// epoll_wait(2). Interrupted it is never restarted (signal(7)).
pub async fn epoll_wait(cx: &Cx, epfd: Fd, events: UserPtr<EpollEvent>, max: i32, timeout: i32) -> SysResult<usize> {
    wait(cx, epfd, events, max, milliseconds(timeout)).await
}

/// epoll_pwait(2).
pub async fn epoll_pwait(
    cx: &Cx,
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    max: i32,
    timeout: i32,
    mask: UserPtr<u64>,
    mask_len: usize,
) -> SysResult<usize> {
    check_mask(cx, mask, mask_len).await?;
    wait(cx, epfd, events, max, milliseconds(timeout)).await
}

/// epoll_pwait2(2).
pub async fn epoll_pwait2(
    cx: &Cx,
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    max: i32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_len: usize,
) -> SysResult<usize> {
    let until = timespec(cx, timeout).await?;
    check_mask(cx, mask, mask_len).await?;
    wait(cx, epfd, events, max, until).await
}

async fn wait(cx: &Cx, epfd: Fd, events: UserPtr<EpollEvent>, max: i32, until: Until) -> SysResult<usize> {
    let file = cx.file(epfd)?;
    // Linux: ep_check_params().
    let max = usize::try_from(max).ok().filter(|&n| n > 0 && n <= EVENTS_MAX).ok_or(Errno::EINVAL)?;
    match events.addr().checked_add((max * EpollEvent::SIZE) as u64) {
        Some(end) if end <= TASK_SIZE => {}
        _ => return Err(Errno::EFAULT.into()),
    }
    let epoll = file.downcast::<EpollFile>().ok_or(Errno::EINVAL)?.epoll();
    let wakeup = Wakeup::new();
    let listener: Rc<dyn Listener> = wakeup.clone();
    let queue = file.ops().wait_queue().ok_or(Errno::EINVAL)?;
    let _registration = queue.listen(PollEvents::READABLE, &listener);
    loop {
        wakeup.clear();
        let found = epoll.harvest(max).await;
        if !found.is_empty() {
            cx.mem.write_array(events, &found).await?;
            return Ok(found.len());
        }
        if until == Until::Now {
            return Ok(0);
        }
        match cx.wait_until(&wakeup, until.deadline()).await {
            Ok(Waited::Ready) => {}
            Ok(Waited::TimedOut) => return Ok(0),
            Err(_) => return Err(Errno::EINTR.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nr;
    use crate::kernel::testing::{BASE, TestBox};
    use rsc_proto::abi::{EpollEvent, Errno};
    use std::rc::Rc;

    const EV: u64 = BASE + 0x1000;
    const IN: u32 = 1;
    const OUT: u32 = 4;
    const ET: u32 = 1 << 31;
    const ONESHOT: u32 = 1 << 30;

    async fn setup(t: &Rc<TestBox>) -> (u64, u64, u64) {
        t.call(nr::PIPE2, &[BASE, 0]).await;
        let [r, w]: [i32; 2] = t.get(BASE);
        let ep = t.call(nr::EPOLL_CREATE1, &[0]).await as u64;
        (r as u64, w as u64, ep)
    }

    async fn ctl(t: &Rc<TestBox>, ep: u64, op: u64, fd: u64, events: u32) -> i64 {
        t.put(BASE + 64, &EpollEvent { events, data: fd });
        t.call(nr::EPOLL_CTL, &[ep, op, fd, BASE + 64]).await
    }

    async fn wait(t: &Rc<TestBox>, ep: u64) -> Vec<(u32, u64)> {
        let n = t.call(nr::EPOLL_WAIT, &[ep, EV, 8, 0]).await;
        (0..n as u64)
            .map(|i| {
                let e: EpollEvent = t.get(EV + 12 * i);
                (e.events, e.data)
            })
            .collect()
    }

    #[test]
    fn level_stays_edge_does_not() {
        TestBox::run(|t| async move {
            let (r, w, ep) = setup(&t).await;
            assert_eq!(ctl(&t, ep, 1, r, IN).await, 0);
            assert_eq!(ctl(&t, ep, 1, r, IN).await, Errno::EEXIST.to_result());
            assert_eq!(ctl(&t, ep, 1, w, OUT | ET).await, 0);
            assert_eq!(wait(&t, ep).await, [(OUT, w)]);
            assert_eq!(wait(&t, ep).await, []);
            t.call(nr::WRITE, &[w, BASE, 1]).await;
            assert_eq!(wait(&t, ep).await, [(IN, r)]);
            assert_eq!(wait(&t, ep).await, [(IN, r)]);
            t.call(nr::READ, &[r, BASE, 1]).await;
            assert_eq!(wait(&t, ep).await, []);
            assert_eq!(ctl(&t, ep, 2, r, 0).await, 0);
            assert_eq!(ctl(&t, ep, 2, r, 0).await, Errno::ENOENT.to_result());
        });
    }

    #[test]
    fn one_shot_rests_until_modified() {
        TestBox::run(|t| async move {
            let (r, w, ep) = setup(&t).await;
            ctl(&t, ep, 1, r, IN | ONESHOT).await;
            t.call(nr::WRITE, &[w, BASE, 1]).await;
            assert_eq!(wait(&t, ep).await, [(IN, r)]);
            t.call(nr::WRITE, &[w, BASE, 1]).await;
            assert_eq!(wait(&t, ep).await, []);
            assert_eq!(ctl(&t, ep, 3, r, IN | ONESHOT).await, 0);
            assert_eq!(wait(&t, ep).await, [(IN, r)]);
        });
    }

    #[test]
    fn waits_are_woken_and_interrupted() {
        TestBox::run(|t| async move {
            let (r, w, ep) = setup(&t).await;
            ctl(&t, ep, 1, r, IN).await;
            let (_, call) = t.start(nr::EPOLL_WAIT, &[ep, EV, 8, -1i64 as u64]);
            t.settle().await;
            assert!(!call.is_finished());
            t.call(nr::CLOSE, &[w]).await;
            assert_eq!(TestBox::rax(&call.await.unwrap()), 1);
            assert_eq!(t.get::<EpollEvent>(EV), EpollEvent { events: 0x10, data: r });
            ctl(&t, ep, 2, r, 0).await;
            let (id, call) = t.start(nr::EPOLL_WAIT, &[ep, EV, 8, -1i64 as u64]);
            t.settle().await;
            t.kernel.interrupt(id);
            assert_eq!(TestBox::rax(&call.await.unwrap()), Errno::EINTR.to_result());
        });
    }

    #[test]
    fn released_files_leave_no_item() {
        TestBox::run(|t| async move {
            let (r, w, ep) = setup(&t).await;
            ctl(&t, ep, 1, w, OUT).await;
            t.call(nr::DUP2, &[w, 30]).await;
            t.call(nr::CLOSE, &[w]).await;
            // The description lives on under another number, and so does the item.
            assert_eq!(wait(&t, ep).await, [(OUT, w)]);
            t.call(nr::CLOSE, &[30]).await;
            assert_eq!(wait(&t, ep).await, []);
            assert_eq!(t.kernel.limits.epoll_watches.used(), 0);
            t.call(nr::CLOSE, &[r]).await;
        });
    }

    #[test]
    fn nested_epolls_wake_and_make_no_circles() {
        TestBox::run(|t| async move {
            let (r, w, ep) = setup(&t).await;
            ctl(&t, ep, 1, r, IN).await;
            let outer = t.call(nr::EPOLL_CREATE1, &[0]).await as u64;
            assert_eq!(ctl(&t, outer, 1, ep, IN).await, 0);
            assert_eq!(ctl(&t, ep, 1, outer, IN).await, Errno::ELOOP.to_result());
            assert_eq!(ctl(&t, ep, 1, ep, IN).await, Errno::EINVAL.to_result());
            let (_, call) = t.start(nr::EPOLL_WAIT, &[outer, EV, 8, -1i64 as u64]);
            t.settle().await;
            t.call(nr::WRITE, &[w, BASE, 1]).await;
            assert_eq!(TestBox::rax(&call.await.unwrap()), 1);
            assert_eq!(wait(&t, ep).await, [(IN, r)]);
            let mut top = outer;
            let mut last = 0;
            for _ in 0..4 {
                let next = t.call(nr::EPOLL_CREATE1, &[0]).await as u64;
                last = ctl(&t, next, 1, top, IN).await;
                top = next;
            }
            assert_eq!(last, Errno::ELOOP.to_result());
        });
    }
}
