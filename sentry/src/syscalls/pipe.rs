//! pipe(2), pipe2(2). Linux: fs/pipe.c.

use rsc_proto::abi::{Errno, OpenFlags};

use crate::error::SysResult;
use crate::ipc::pipe;
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;

/// pipe(2).
pub async fn pipe(cx: &Cx, fds: UserPtr<i32>) -> SysResult<()> {
    pipe2(cx, fds, 0).await
}

/// pipe2(2). `O_NOTIFICATION_PIPE` is for a kernel without watch queues: `ENOPKG`.
pub async fn pipe2(cx: &Cx, fds: UserPtr<i32>, flags: u32) -> SysResult<()> {
    const NOTIFICATION: u32 = OpenFlags::O_EXCL.bits();
    let known = OpenFlags::O_CLOEXEC | OpenFlags::O_NONBLOCK | OpenFlags::O_DIRECT;
    if flags & !(known.bits() | NOTIFICATION) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & NOTIFICATION != 0 {
        return Err(Errno::ENOPKG.into());
    }
    let flags = OpenFlags::from_bits_truncate(flags);
    let creds = cx.task.creds();
    let (read, write) = pipe::pair(&cx.kernel, flags, (creds.fsuid, creds.fsgid))?;
    let cloexec = flags.contains(OpenFlags::O_CLOEXEC);
    let r = cx.add_fd(read, cloexec)?;
    let w = match cx.add_fd(write, cloexec) {
        Ok(w) => w,
        Err(e) => {
            let _ = cx.task.fds.borrow().remove(r);
            return Err(e.into());
        }
    };
    if let Err(e) = cx.mem.write_array(fds, &[r.0, w.0]).await {
        let _ = cx.task.fds.borrow().remove(r);
        let _ = cx.task.fds.borrow().remove(w);
        return Err(e.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::nr;
    use crate::kernel::testing::{BASE, TestBox};
    use rsc_proto::abi::{Errno, Iovec, Pollfd, Restart, Timespec};

    const BUF: u64 = BASE + 0x1000;

    async fn make(t: &std::rc::Rc<TestBox>) -> (u64, u64) {
        assert_eq!(t.call(nr::PIPE2, &[BASE, 0]).await, 0);
        let [r, w]: [i32; 2] = t.get(BASE);
        (r as u64, w as u64)
    }

    #[test]
    fn read_waits_for_write_and_sees_the_end() {
        TestBox::run(|t| async move {
            let (r, w) = make(&t).await;
            let (_, reader) = t.start(nr::READ, &[r, BUF, 100]);
            t.settle().await;
            assert!(!reader.is_finished());
            t.host.poke(BASE + 64, b"hello");
            assert_eq!(t.call(nr::WRITE, &[w, BASE + 64, 5]).await, 5);
            assert_eq!(TestBox::rax(&reader.await.unwrap()), 5);
            assert_eq!(t.host.peek(BUF, 5), b"hello");
            assert_eq!(t.call(nr::CLOSE, &[w]).await, 0);
            assert_eq!(t.call(nr::READ, &[r, BUF, 100]).await, 0);
            assert_eq!(t.call(nr::WRITE, &[r, BUF, 1]).await, Errno::EBADF.to_result());
            assert_eq!(t.call(nr::CLOSE, &[w]).await, Errno::EBADF.to_result());
        });
    }

    #[test]
    fn big_write_goes_through_in_parts_and_interruption_keeps_them() {
        TestBox::run(|t| async move {
            let (r, w) = make(&t).await;
            let (id, writer) = t.start(nr::WRITE, &[w, BASE, 100_000]);
            t.settle().await;
            assert_eq!(t.call(nr::IOCTL, &[r, 0x541b, BUF]).await, 0);
            assert_eq!(t.get::<i32>(BUF), 65536);
            assert_eq!(t.call(nr::READ, &[r, BUF, 8192]).await, 8192);
            t.settle().await;
            t.kernel.interrupt(id);
            assert_eq!(TestBox::rax(&writer.await.unwrap()), 65536 + 8192);
            let (id, writer) = t.start(nr::WRITE, &[w, BASE, 10]);
            t.settle().await;
            t.kernel.interrupt(id);
            assert_eq!(TestBox::rax(&writer.await.unwrap()), Restart::Sys.to_result());
        });
    }

    #[test]
    fn no_reader_is_epipe_with_a_signal() {
        TestBox::run(|t| async move {
            let (r, w) = make(&t).await;
            t.call(nr::CLOSE, &[r]).await;
            let answer = t.start(nr::WRITE, &[w, BASE, 10]).1.await.unwrap();
            assert_eq!((TestBox::rax(&answer), answer.signal), (Errno::EPIPE.to_result(), 13));
        });
    }

    #[test]
    fn vectors_scatter_and_gather() {
        TestBox::run(|t| async move {
            let (r, w) = make(&t).await;
            t.host.poke(BUF, b"abcdefgh");
            t.put(BASE + 128, &Iovec { iov_base: BUF, iov_len: 3 });
            t.put(BASE + 144, &Iovec { iov_base: BUF + 5, iov_len: 3 });
            assert_eq!(t.call(nr::WRITEV, &[w, BASE + 128, 2]).await, 6);
            assert_eq!(t.call(nr::READV, &[r, BASE + 128, 2]).await, 6);
            assert_eq!(t.host.peek(BUF, 8), b"abcdefgh");
            assert_eq!(t.call(nr::READV, &[r, BASE + 128, 1025]).await, Errno::EINVAL.to_result());
            assert_eq!(t.call(nr::PREADV, &[r, BASE + 128, 2, 0]).await, Errno::ESPIPE.to_result());
        });
    }

    #[test]
    fn poll_waits_and_restarts_as_linux_does() {
        TestBox::run(|t| async move {
            let (r, w) = make(&t).await;
            t.put(BUF, &Pollfd { fd: r as i32, events: 1, revents: 0 });
            t.put(BUF + 8, &Pollfd { fd: 99, events: 1, revents: 0 });
            assert_eq!(t.call(nr::POLL, &[BUF, 1, 0]).await, 0);
            assert_eq!(t.call(nr::POLL, &[BUF, 1, 2]).await, 0);
            assert_eq!(t.call(nr::POLL, &[BUF, 2, 1000]).await, 1);
            assert_eq!(t.get::<Pollfd>(BUF + 8).revents, 0x20);
            let (id, p) = t.start(nr::POLL, &[BUF, 1, 1000]);
            t.settle().await;
            t.kernel.interrupt(id);
            assert_eq!(TestBox::rax(&p.await.unwrap()), Restart::Block.to_result());
            let (_, p) = t.start(nr::RESTART_SYSCALL, &[]);
            t.settle().await;
            t.call(nr::WRITE, &[w, BASE, 1]).await;
            assert_eq!(TestBox::rax(&p.await.unwrap()), 1);
            assert_eq!(t.get::<Pollfd>(BUF).revents, 1);
            t.put(BASE + 128, &Timespec { tv_sec: 1, tv_nsec: 0 });
            assert_eq!(t.call(nr::PPOLL, &[BUF, 1, BASE + 128, BASE, 7]).await, Errno::EINVAL.to_result());
        });
    }

    #[test]
    fn select_counts_bits_and_refuses_closed_ones() {
        TestBox::run(|t| async move {
            let (r, w) = make(&t).await;
            t.put(BUF, &(1u64 << r | 1 << w));
            t.put(BUF + 8, &(1u64 << r | 1 << w));
            assert_eq!(t.call(nr::SELECT, &[64, BUF, BUF + 8, 0, 0]).await, 1);
            assert_eq!((t.get::<u64>(BUF), t.get::<u64>(BUF + 8)), (0, 1 << w));
            t.put(BUF, &(1u64 << 40));
            assert_eq!(t.call(nr::SELECT, &[64, BUF, 0, 0, 0]).await, Errno::EBADF.to_result());
            assert_eq!(t.call(nr::SELECT, &[-1i64 as u64, BUF, 0, 0, 0]).await, Errno::EINVAL.to_result());
        });
    }

    #[test]
    fn descriptors_are_copied_and_flagged() {
        TestBox::run(|t| async move {
            let (r, w) = make(&t).await;
            assert_eq!(t.call(nr::DUP, &[w]).await, 2);
            assert_eq!(t.call(nr::FCNTL, &[w, 1030, 10]).await, 10);
            assert_eq!(t.call(nr::FCNTL, &[10, 1]).await, 1);
            assert_eq!(t.call(nr::DUP3, &[r, r, 0]).await, Errno::EINVAL.to_result());
            assert_eq!(t.call(nr::DUP2, &[r, r]).await, r as i64);
            assert_eq!(t.call(nr::DUP2, &[r, 1024]).await, Errno::EBADF.to_result());
            assert_eq!(t.call(nr::FCNTL, &[w, 3]).await, 1);
            assert_eq!(t.call(nr::FCNTL, &[w, 4, 0o4000]).await, 0);
            assert_eq!(t.call(nr::FCNTL, &[w, 3]).await, 0o4001);
            assert_eq!(t.call(nr::FCNTL, &[w, 1032]).await, 65536);
            assert_eq!(t.call(nr::CLOSE_RANGE, &[2, u64::from(u32::MAX), 0]).await, 0);
            assert_eq!(t.call(nr::FCNTL, &[10, 1]).await, Errno::EBADF.to_result());
            assert_eq!(t.call(nr::LSEEK, &[r, 0, 0]).await, Errno::ESPIPE.to_result());
            assert_eq!(t.call(nr::LSEEK, &[r, 0, 9]).await, Errno::EINVAL.to_result());
        });
    }
}
