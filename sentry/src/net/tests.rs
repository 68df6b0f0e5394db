//! Internet sockets and netlink through system calls, over the machine's loopback interface.

use std::rc::Rc;

use rsc_proto::abi::{Errno, Pollfd, SockaddrIn};

use crate::kernel::testing::{BASE, TestBox};
use crate::syscalls::nr;

const BUF: u64 = BASE + 0x4000;
const ADDR: u64 = BASE + 0x100;
const LEN: u64 = BASE + 0x180;

fn loopback(t: &Rc<TestBox>, port: [u8; 2]) {
    let addr = SockaddrIn { sin_family: 2, sin_port: port, sin_addr: [127, 0, 0, 1], sin_zero: [0; 8] };
    t.put(ADDR, &addr);
}

async fn bound(t: &Rc<TestBox>, kind: u64) -> (u64, [u8; 2]) {
    let fd = t.call(nr::SOCKET, &[2, kind, 0]).await;
    assert!(fd >= 0, "{fd}");
    loopback(t, [0, 0]);
    assert_eq!(t.call(nr::BIND, &[fd as u64, ADDR, 16]).await, 0);
    t.put(LEN, &16i32);
    assert_eq!(t.call(nr::GETSOCKNAME, &[fd as u64, ADDR, LEN]).await, 0);
    (fd as u64, t.get::<SockaddrIn>(ADDR).sin_port)
}

#[test]
fn streams_connect_accept_and_wait() {
    TestBox::run(|t| async move {
        let (l, port) = bound(&t, 1).await;
        assert_eq!(t.call(nr::LISTEN, &[l, 8]).await, 0);
        let (_, accept) = t.start(nr::ACCEPT, &[l, 0, 0]);
        t.settle().await;
        let c = t.call(nr::SOCKET, &[2, 1, 0]).await as u64;
        loopback(&t, port);
        assert_eq!(t.call(nr::CONNECT, &[c, ADDR, 16]).await, 0);
        assert_eq!(t.call(nr::CONNECT, &[c, ADDR, 16]).await, Errno::EISCONN.to_result());
        let s = TestBox::rax(&accept.await.unwrap()) as u64;
        let (_, read) = t.start(nr::READ, &[s, BUF, 100]);
        t.settle().await;
        assert!(!read.is_finished());
        t.host.poke(BUF + 0x1000, b"hello");
        assert_eq!(t.call(nr::WRITE, &[c, BUF + 0x1000, 5]).await, 5);
        assert_eq!(TestBox::rax(&read.await.unwrap()), 5);
        assert_eq!(t.host.peek(BUF, 5), b"hello");
        t.put(BASE, &1i32);
        assert_eq!(t.call(nr::SETSOCKOPT, &[c, 6, 1, BASE, 4]).await, 0);
        // More than the buffers hold goes through while somebody reads.
        let (_, write) = t.start(nr::WRITE, &[c, BASE, 200_000]);
        let mut got = 0;
        while got < 200_000 {
            got += t.call(nr::READ, &[s, BUF, 50_000]).await;
        }
        assert_eq!(TestBox::rax(&write.await.unwrap()), 200_000);
        t.put(BASE, &Pollfd { fd: s as i32, events: 1, revents: 0 });
        let (_, poll) = t.start(nr::POLL, &[BASE, 1, -1i64 as u64]);
        t.settle().await;
        assert_eq!(t.call(nr::CLOSE, &[c]).await, 0);
        assert_eq!(TestBox::rax(&poll.await.unwrap()), 1);
        assert_eq!(t.call(nr::READ, &[s, BUF, 9]).await, 0);
    });
}

#[test]
fn refused_and_not_blocking() {
    TestBox::run(|t| async move {
        // A port that was just free, and has no listener.
        let (u, port) = bound(&t, 1).await;
        let c = t.call(nr::SOCKET, &[2, 1, 0]).await as u64;
        loopback(&t, port);
        assert_eq!(t.call(nr::CONNECT, &[c, ADDR, 16]).await, Errno::ECONNREFUSED.to_result());
        assert_eq!(t.call(nr::ACCEPT, &[u, 0, 0]).await, Errno::EINVAL.to_result());
        let n = t.call(nr::SOCKET, &[2, 1 | 0o4000, 0]).await as u64;
        assert_eq!(t.call(nr::READ, &[n, BUF, 1]).await, Errno::ENOTCONN.to_result());
        let r = t.start(nr::WRITE, &[n, BUF, 1]).1.await.unwrap();
        assert_eq!((TestBox::rax(&r), r.signal), (Errno::EPIPE.to_result(), 13));
        assert_eq!(t.call(nr::SOCKET, &[2, 3, 1]).await, Errno::EPERM.to_result());
        assert_eq!(t.call(nr::SETSOCKOPT, &[n, 0, 19, BASE, 4]).await, Errno::EPERM.to_result());
        assert_eq!(t.call(nr::SETSOCKOPT, &[n, 1, 26, BASE, 16]).await, Errno::ENOPROTOOPT.to_result());
    });
}

#[test]
fn datagrams_know_their_sender() {
    TestBox::run(|t| async move {
        let (a, port) = bound(&t, 2).await;
        let (b, from) = bound(&t, 2).await;
        loopback(&t, port);
        assert_eq!(t.call(nr::SENDTO, &[b, BUF, 100, 0, ADDR, 16]).await, 100);
        t.put(LEN, &16i32);
        assert_eq!(t.call(nr::RECVFROM, &[a, BUF, 10, 0x20, ADDR, LEN]).await, 100);
        assert_eq!(t.get::<SockaddrIn>(ADDR).sin_port, from);
        assert_eq!(t.call(nr::RECVFROM, &[a, BUF, 10, 0x40, 0, 0]).await, Errno::EAGAIN.to_result());
    });
}

#[test]
fn netlink_lists_the_loopback_interface() {
    TestBox::run(|t| async move {
        let s = t.call(nr::SOCKET, &[16, 3, 0]).await as u64;
        t.put(BUF, &[20u32, 22 | 0x301 << 16, 7, 0, 0]);
        assert_eq!(t.call(nr::SENDTO, &[s, BUF, 20, 0, 0, 0]).await, 20);
        let mut seen = Vec::new();
        while seen.last() != Some(&super::netlink::DONE) {
            let n = t.call(nr::RECVFROM, &[s, BUF, 8192, 0, 0, 0]).await;
            assert!(n > 0);
            let bytes = t.host.peek(BUF, n as usize);
            for (kind, message) in super::netlink::messages(&bytes) {
                assert_eq!(message[8..12], 7u32.to_ne_bytes());
                seen.push(kind);
            }
        }
        // RTM_NEWADDR
        assert!(seen.contains(&20));
        t.put(BUF, &[20u32, 26 | 0x301 << 16, 8, 0, 0]);
        assert_eq!(t.call(nr::SENDTO, &[s, BUF, 20, 0, 0, 0]).await, 20);
        assert_eq!(t.call(nr::RECVFROM, &[s, BUF, 8192, 0, 0, 0]).await, 36);
        assert_eq!(t.get::<i32>(BUF + 16), -Errno::EOPNOTSUPP.number());
        let d = t.call(nr::SOCKET, &[2, 2, 0]).await as u64;
        t.host.poke(BUF, b"lo\0\0");
        assert_eq!(t.call(nr::IOCTL, &[d, 0x8933, BUF]).await, 0);
        assert!(t.get::<i32>(BUF + 16) > 0);
    });
}
