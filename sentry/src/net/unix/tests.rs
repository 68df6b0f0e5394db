//! Unix sockets through system calls.

use std::rc::Rc;

use rsc_proto::abi::{Cmsghdr, Errno, Iovec, Msghdr, Ucred};
use zerocopy::IntoBytes;

use crate::kernel::testing::{BASE, TestBox};
use crate::syscalls::nr;

const BUF: u64 = BASE + 0x4000;
const ADDR: u64 = BASE + 0x100;
const MSG: u64 = BASE + 0x200;
const IOV: u64 = BASE + 0x280;
const CTL: u64 = BASE + 0x300;
const STREAM: u64 = 1;
const DGRAM: u64 = 2;
const SEQPACKET: u64 = 5;
const NONBLOCK: u64 = 0o4000;

async fn pair(t: &Rc<TestBox>, kind: u64) -> (u64, u64) {
    assert_eq!(t.call(nr::SOCKETPAIR, &[1, kind, 0, BASE]).await, 0);
    let [a, b]: [i32; 2] = t.get(BASE);
    (a as u64, b as u64)
}

/// Puts an abstract address; its length.
fn address(t: &Rc<TestBox>, name: &[u8]) -> u64 {
    let raw = [&[1, 0, 0], name].concat();
    t.host.poke(ADDR, &raw);
    raw.len() as u64
}

async fn listener(t: &Rc<TestBox>, kind: u64, name: &[u8], backlog: u64) -> u64 {
    let fd = t.call(nr::SOCKET, &[1, kind, 0]).await as u64;
    let len = address(t, name);
    assert_eq!(t.call(nr::BIND, &[fd, ADDR, len]).await, 0);
    assert_eq!(t.call(nr::LISTEN, &[fd, backlog]).await, 0);
    fd
}

async fn connect(t: &Rc<TestBox>, kind: u64, name: &[u8]) -> (u64, i64) {
    let fd = t.call(nr::SOCKET, &[1, kind, 0]).await as u64;
    let len = address(t, name);
    (fd, t.call(nr::CONNECT, &[fd, ADDR, len]).await)
}

fn header(t: &Rc<TestBox>, len: u64, control: u64) {
    t.put(IOV, &Iovec { iov_base: BUF, iov_len: len });
    let h = Msghdr { msg_iov: IOV, msg_iovlen: 1, msg_control: CTL, msg_controllen: control, ..Msghdr::default() };
    t.put(MSG, &h);
}

async fn send_fd(t: &Rc<TestBox>, via: u64, fd: u64) -> i64 {
    t.put(CTL, &Cmsghdr { cmsg_len: 20, cmsg_level: 1, cmsg_type: 1 });
    t.put(CTL + 16, &(fd as i32));
    header(t, 1, 24);
    t.call(nr::SENDMSG, &[via, MSG, 0]).await
}

#[test]
fn streams_carry_bytes_and_end() {
    TestBox::run(|t| async move {
        let (a, b) = pair(&t, STREAM).await;
        t.host.poke(BUF, b"hello world");
        assert_eq!(t.call(nr::SENDTO, &[a, BUF, 5, 0, 0, 0]).await, 5);
        assert_eq!(t.call(nr::WRITE, &[a, BUF + 5, 6]).await, 6);
        assert_eq!(t.call(nr::RECVFROM, &[b, BUF + 100, 100, 2, 0, 0]).await, 11);
        assert_eq!(t.call(nr::READ, &[b, BUF + 200, 4]).await, 4);
        assert_eq!(t.host.peek(BUF + 200, 4), b"hell");
        assert_eq!(t.call(nr::IOCTL, &[b, 0x541b, BASE]).await, 0);
        assert_eq!(t.get::<i32>(BASE), 7);
        assert_eq!(t.call(nr::SHUTDOWN, &[a, 1]).await, 0);
        assert_eq!(t.call(nr::READ, &[b, BUF, 100]).await, 7);
        assert_eq!(t.call(nr::READ, &[b, BUF, 100]).await, 0);
        let answer = t.start(nr::WRITE, &[a, BUF, 1]).1.await.unwrap();
        assert_eq!((TestBox::rax(&answer), answer.signal), (Errno::EPIPE.to_result(), 13));
        let answer = t.start(nr::SENDTO, &[a, BUF, 1, 0x4000, 0, 0]).1.await.unwrap();
        assert_eq!((TestBox::rax(&answer), answer.signal), (Errno::EPIPE.to_result(), 0));
    });
}

#[test]
fn a_full_stream_waits_for_the_reader() {
    TestBox::run(|t| async move {
        let (a, b) = pair(&t, STREAM | NONBLOCK).await;
        let mut sent = 0;
        loop {
            let n = t.call(nr::WRITE, &[a, BUF, 65536]).await;
            if n < 0 {
                assert_eq!(n, Errno::EAGAIN.to_result());
                break;
            }
            sent += n;
        }
        assert!((150_000..300_000).contains(&sent), "{sent}");
        t.put(BASE, &rsc_proto::abi::Pollfd { fd: a as i32, events: 4, revents: 0 });
        let (_, poll) = t.start(nr::POLL, &[BASE, 1, -1i64 as u64]);
        t.settle().await;
        assert!(!poll.is_finished());
        let mut got = 0;
        while got < sent {
            got += t.call(nr::READ, &[b, BUF, 65536]).await;
        }
        assert_eq!(TestBox::rax(&poll.await.unwrap()), 1);
        assert_eq!(t.kernel.limits.socket_bytes.used(), 0);
    });
}

#[test]
fn closing_with_unread_bytes_resets() {
    TestBox::run(|t| async move {
        let (a, b) = pair(&t, STREAM).await;
        t.call(nr::WRITE, &[a, BUF, 5]).await;
        t.call(nr::CLOSE, &[b]).await;
        assert_eq!(t.call(nr::READ, &[a, BUF, 5]).await, Errno::ECONNRESET.to_result());
        assert_eq!(t.call(nr::READ, &[a, BUF, 5]).await, 0);
        assert_eq!(t.call(nr::WRITE, &[a, BUF, 5]).await, Errno::EPIPE.to_result());
    });
}

#[test]
fn abstract_names_are_listened_on_and_connected_to() {
    TestBox::run(|t| async move {
        assert_eq!(connect(&t, STREAM, b"x").await.1, Errno::ECONNREFUSED.to_result());
        let l = listener(&t, STREAM, b"x", 0).await;
        assert_eq!(connect(&t, SEQPACKET, b"x").await.1, Errno::EPROTOTYPE.to_result());
        let (c, r) = connect(&t, STREAM, b"x").await;
        assert_eq!(r, 0);
        // The backlog is full: one more than it says, as in Linux.
        let (_, r) = connect(&t, STREAM | NONBLOCK, b"x").await;
        assert_eq!(r, Errno::EAGAIN.to_result());
        t.put(BASE, &20i32);
        let s = t.call(nr::ACCEPT4, &[l, BUF, BASE, 0]).await as u64;
        let len = address(&t, b"x");
        assert_eq!(t.call(nr::CONNECT, &[c, ADDR, len]).await, Errno::EISCONN.to_result());
        assert_eq!(t.get::<i32>(BASE), 2);
        t.put(BASE, &20i32);
        assert_eq!(t.call(nr::GETPEERNAME, &[c, BUF, BASE]).await, 0);
        assert_eq!((t.get::<i32>(BASE), t.host.peek(BUF, 4)), (4, b"\x01\0\0x".to_vec()));
        t.put(BASE, &12i32);
        assert_eq!(t.call(nr::GETSOCKOPT, &[s, 1, 17, BUF, BASE]).await, 0);
        assert_eq!(t.get::<Ucred>(BUF), Ucred { pid: 1, uid: 0, gid: 0 });
        let (_, waiting) = t.start(nr::ACCEPT, &[l, 0, 0]);
        t.settle().await;
        assert_eq!(connect(&t, STREAM, b"x").await.1, 0);
        assert!(TestBox::rax(&waiting.await.unwrap()) > 0);
        // The name is free once the socket is closed.
        t.call(nr::CLOSE, &[l]).await;
        listener(&t, STREAM, b"x", 1).await;
    });
}

#[test]
fn datagrams_are_whole_and_bounded() {
    TestBox::run(|t| async move {
        let r = t.call(nr::SOCKET, &[1, DGRAM, 0]).await as u64;
        let len = address(&t, b"d");
        assert_eq!(t.call(nr::BIND, &[r, ADDR, len]).await, 0);
        assert_eq!(t.call(nr::LISTEN, &[r, 1]).await, Errno::EOPNOTSUPP.to_result());
        let s = t.call(nr::SOCKET, &[1, DGRAM | NONBLOCK, 0]).await as u64;
        assert_eq!(t.call(nr::SENDTO, &[s, BUF, 3, 0, 0, 0]).await, Errno::ENOTCONN.to_result());
        for _ in 0..11 {
            assert_eq!(t.call(nr::SENDTO, &[s, BUF, 3, 0, ADDR, len]).await, 3);
        }
        assert_eq!(t.call(nr::SENDTO, &[s, BUF, 3, 0, ADDR, len]).await, Errno::EAGAIN.to_result());
        assert_eq!(t.call(nr::RECVFROM, &[r, BUF, 2, 0x20, 0, 0]).await, 3);
        assert_eq!(t.call(nr::SENDTO, &[s, BUF, 0, 0, ADDR, len]).await, 0);
        for want in [3; 10].into_iter().chain([0]) {
            assert_eq!(t.call(nr::RECVFROM, &[r, BUF, 9, 0x40, 0, 0]).await, want);
        }
        assert_eq!(t.call(nr::RECVFROM, &[r, BUF, 9, 0x40, 0, 0]).await, Errno::EAGAIN.to_result());
        assert_eq!(t.call(nr::CONNECT, &[s, ADDR, len]).await, 0);
        t.call(nr::CLOSE, &[r]).await;
        assert_eq!(t.call(nr::WRITE, &[s, BUF, 3]).await, Errno::ECONNREFUSED.to_result());
    });
}

#[test]
fn descriptors_travel() {
    TestBox::run(|t| async move {
        let (a, b) = pair(&t, STREAM).await;
        let (r, w) = pair(&t, SEQPACKET).await;
        assert_eq!(send_fd(&t, a, w).await, 1);
        t.call(nr::CLOSE, &[w]).await;
        header(&t, 10, 24);
        assert_eq!(t.call(nr::RECVMSG, &[b, MSG, 0x4000_0000]).await, 1);
        let h: Msghdr = t.get(MSG);
        assert_eq!((h.msg_controllen, h.msg_flags), (24, 0x4000_0000));
        let fd = t.get::<i32>(CTL + 16) as u64;
        assert_eq!(t.call(nr::FCNTL, &[fd, 1]).await, 1);
        assert_eq!(t.call(nr::WRITE, &[fd, BUF, 4]).await, 4);
        assert_eq!(t.call(nr::READ, &[r, BUF, 10]).await, 4);
        // No room for it: closed and told.
        assert_eq!(send_fd(&t, a, r).await, 1);
        header(&t, 10, 0);
        assert_eq!(t.call(nr::RECVMSG, &[b, MSG, 0]).await, 1);
        assert_eq!(t.get::<Msghdr>(MSG).msg_flags, 8);
        assert_eq!(send_fd(&t, a, 99).await, Errno::EBADF.to_result());
        assert_eq!(t.kernel.limits.fds_in_flight.used(), 0);
    });
}

#[test]
fn circles_of_descriptors_are_collected() {
    TestBox::run(|t| async move {
        let (a, b) = pair(&t, STREAM).await;
        let before = t.kernel.limits.sockets.used();
        let (c, d) = pair(&t, STREAM).await;
        assert_eq!(send_fd(&t, c, d).await, 1);
        assert_eq!(send_fd(&t, d, c).await, 1);
        t.call(nr::CLOSE, &[c]).await;
        t.call(nr::CLOSE, &[d]).await;
        assert!(t.kernel.limits.sockets.used() > before);
        // Another socket goes, and takes them along.
        let (e, _) = pair(&t, STREAM).await;
        t.call(nr::CLOSE, &[e]).await;
        t.settle().await;
        assert_eq!(t.kernel.limits.fds_in_flight.used(), 0);
        // What somebody can still receive stays.
        let (g, h) = pair(&t, STREAM).await;
        assert_eq!(send_fd(&t, a, g).await, 1);
        t.call(nr::CLOSE, &[g]).await;
        t.call(nr::CLOSE, &[e]).await;
        t.settle().await;
        assert_eq!(t.call(nr::WRITE, &[h, BUF, 1]).await, 1);
        header(&t, 10, 24);
        assert_eq!(t.call(nr::RECVMSG, &[b, MSG, 0]).await, 1);
    });
}

#[test]
fn credentials_are_seen_by_those_who_ask() {
    TestBox::run(|t| async move {
        let (a, b) = pair(&t, DGRAM).await;
        t.put(BASE, &1i32);
        assert_eq!(t.call(nr::SETSOCKOPT, &[b, 1, 16, BASE, 4]).await, 0);
        assert_eq!(t.call(nr::WRITE, &[a, BUF, 2]).await, 2);
        header(&t, 10, 100);
        assert_eq!(t.call(nr::RECVMSG, &[b, MSG, 0]).await, 2);
        assert_eq!(t.get::<Msghdr>(MSG).msg_controllen, 32);
        assert_eq!(t.get::<Ucred>(CTL + 16), Ucred { pid: 1, uid: 0, gid: 0 });
        let bad = Cmsghdr { cmsg_len: 1000, cmsg_level: 1, cmsg_type: 2 };
        t.host.poke(CTL, bad.as_bytes());
        header(&t, 1, 32);
        assert_eq!(t.call(nr::SENDMSG, &[a, MSG, 0]).await, Errno::EINVAL.to_result());
    });
}

#[test]
fn options_and_timeouts() {
    TestBox::run(|t| async move {
        let (a, _b) = pair(&t, STREAM).await;
        t.put(BUF, &rsc_proto::abi::Timeval { tv_sec: 0, tv_usec: 2000 });
        assert_eq!(t.call(nr::SETSOCKOPT, &[a, 1, 20, BUF, 16]).await, 0);
        assert_eq!(t.call(nr::READ, &[a, BUF, 1]).await, Errno::EAGAIN.to_result());
        let (id, read) = t.start(nr::RECVFROM, &[a, BUF, 1, 0, 0, 0]);
        t.kernel.interrupt(id);
        let r = TestBox::rax(&read.await.unwrap());
        assert!(r == Errno::EINTR.to_result() || r == Errno::EAGAIN.to_result());
        t.put(BASE, &4i32);
        for (name, want) in [(3, 1), (4, 0), (7, 212_992), (30, 0), (39, 1)] {
            assert_eq!(t.call(nr::GETSOCKOPT, &[a, 1, name, BUF, BASE]).await, 0);
            assert_eq!(t.get::<i32>(BUF), want);
        }
        assert_eq!(t.call(nr::GETSOCKOPT, &[a, 1, 999, BUF, BASE]).await, Errno::ENOPROTOOPT.to_result());
        assert_eq!(t.call(nr::SOCKET, &[1, 7, 0]).await, Errno::ESOCKTNOSUPPORT.to_result());
        assert_eq!(t.call(nr::SOCKET, &[1, 1, 5]).await, Errno::EPROTONOSUPPORT.to_result());
        assert_eq!(t.call(nr::SOCKET, &[17, 3, 0]).await, Errno::EAFNOSUPPORT.to_result());
        assert_eq!(t.call(nr::BIND, &[0, ADDR, 200]).await, Errno::EINVAL.to_result());
        let (r, _) = pair(&t, STREAM).await;
        assert_eq!(t.call(nr::LISTEN, &[r, 1]).await, Errno::EINVAL.to_result());
        assert_eq!(t.call(nr::ACCEPT, &[r, 0, 0]).await, Errno::EINVAL.to_result());
        t.call(nr::EVENTFD2, &[0, 0]).await;
        assert_eq!(t.call(nr::LISTEN, &[4, 1]).await, Errno::ENOTSOCK.to_result());
    });
}

#[test]
fn paths_are_bound_in_the_tree() {
    TestBox::run(|t| async move {
        let l = t.call(nr::SOCKET, &[1, STREAM, 0]).await as u64;
        t.host.poke(ADDR, b"\x01\0/sock\0");
        assert_eq!(t.call(nr::BIND, &[l, ADDR, 110]).await, 0);
        assert_eq!(t.call(nr::LISTEN, &[l, 5]).await, 0);
        let other = t.call(nr::SOCKET, &[1, STREAM, 0]).await as u64;
        assert_eq!(t.call(nr::BIND, &[other, ADDR, 8]).await, Errno::EADDRINUSE.to_result());
        assert_eq!(t.call(nr::CONNECT, &[other, ADDR, 110]).await, 0);
        t.put(BASE, &110i32);
        assert_eq!(t.call(nr::GETPEERNAME, &[other, BUF, BASE]).await, 0);
        assert_eq!((t.get::<i32>(BASE), t.host.peek(BUF + 2, 6)), (8, b"/sock\0".to_vec()));
        assert_eq!(t.call(nr::OPEN, &[ADDR + 2, 2, 0]).await, Errno::ENXIO.to_result());
        t.call(nr::CLOSE, &[l]).await;
        let late = t.call(nr::SOCKET, &[1, STREAM, 0]).await as u64;
        assert_eq!(t.call(nr::CONNECT, &[late, ADDR, 110]).await, Errno::ECONNREFUSED.to_result());
        t.host.poke(ADDR, b"\x01\0/none\0");
        assert_eq!(t.call(nr::CONNECT, &[late, ADDR, 110]).await, Errno::ENOENT.to_result());
    });
}

#[test]
fn fifos_wait_for_the_other_side() {
    TestBox::run(|t| async move {
        t.host.poke(ADDR, b"/fifo\0");
        assert_eq!(t.call(nr::MKNOD, &[ADDR, 0o010_644, 0]).await, 0);
        assert_eq!(t.call(nr::OPEN, &[ADDR, 1 | NONBLOCK, 0]).await, Errno::ENXIO.to_result());
        let (_, reader) = t.start(nr::OPEN, &[ADDR, 0, 0]);
        t.settle().await;
        assert!(!reader.is_finished());
        let w = t.call(nr::OPEN, &[ADDR, 1, 0]).await as u64;
        let r = TestBox::rax(&reader.await.unwrap()) as u64;
        assert_eq!(t.call(nr::WRITE, &[w, BUF, 7]).await, 7);
        assert_eq!(t.call(nr::READ, &[r, BUF, 100]).await, 7);
        t.call(nr::CLOSE, &[w]).await;
        assert_eq!(t.call(nr::READ, &[r, BUF, 100]).await, 0);
        assert_eq!(t.call(nr::FSTAT, &[r, BUF]).await, 0);
        assert_eq!(t.get::<rsc_proto::abi::Stat>(BUF).st_mode, 0o010_644);
    });
}
