//! Pseudo-terminals and job control as calls see them.

use std::rc::Rc;

use rsc_proto::abi::linux::Winsize;
use rsc_proto::abi::{AT_FDCWD, Errno, MountFlags, OpenFlags, sig};
use rsc_proto::table::nr;

use crate::kernel::testing::{BASE, TestBox};

const A: u64 = BASE;
const OUT: u64 = BASE + 0x2000;
const TIOCGPGRP: u64 = 0x540f;
const TIOCSPGRP: u64 = 0x5410;
const TIOCGWINSZ: u64 = 0x5413;
const TIOCSWINSZ: u64 = 0x5414;
const TIOCNOTTY: u64 = 0x5422;
const TIOCSPTLCK: u64 = 0x4004_5431;

async fn open(t: &Rc<TestBox>, path: &str, flags: OpenFlags) -> i64 {
    let p = t.path(A, path);
    t.call(nr::OPENAT, &[AT_FDCWD as i64 as u64, p, u64::from((flags | OpenFlags::O_NONBLOCK).bits()), 0]).await
}

async fn ioctl(t: &Rc<TestBox>, fd: u64, cmd: u64, value: i32) -> i64 {
    t.put(OUT, &value);
    t.call(nr::IOCTL, &[fd, cmd, OUT]).await
}

async fn write(t: &Rc<TestBox>, fd: u64, text: &[u8]) -> i64 {
    t.host.poke(OUT, text);
    let written = t.call(nr::WRITE, &[fd, OUT, text.len() as u64]).await;
    t.settle().await;
    written
}

async fn read(t: &Rc<TestBox>, fd: u64) -> Result<Vec<u8>, i64> {
    let n = t.call(nr::READ, &[fd, OUT, 100]).await;
    if n < 0 { Err(n) } else { Ok(t.host.peek(OUT, n as usize)) }
}

/// Mounts an instance and opens a pair in it: master and slave.
async fn pair(t: &Rc<TestBox>) -> (u64, u64) {
    let p = t.path(A, "/pts");
    assert_eq!(t.call(nr::MKDIR, &[p, 0o755]).await, 0);
    let vfs = &t.kernel.vfs;
    let at = vfs.root();
    let child = at.inode().lookup(b"pts", Default::default()).unwrap();
    let at = at.at(at.dentry.splice(b"pts", &child, &vfs.dentries));
    let options = super::devpts::Options { ptmx_mode: 0o666, ..Default::default() };
    vfs.mount(&at, super::devpts::mount(77, options), MountFlags::empty(), "devpts");
    let master = open(t, "/pts/ptmx", OpenFlags::O_RDWR).await as u64;
    assert_eq!(open(t, "/pts/0", OpenFlags::O_RDWR).await, Errno::EIO.to_result(), "it is locked at first");
    assert_eq!(ioctl(t, master, TIOCSPTLCK, 0).await, 0);
    (master, open(t, "/pts/0", OpenFlags::O_RDWR).await as u64)
}

#[test]
fn a_leader_gets_the_terminal_that_it_opens_and_its_signals() {
    TestBox::run(async |t| {
        let (master, slave) = pair(&t).await;
        assert_eq!(ioctl(&t, slave, TIOCGPGRP, 0).await, 0);
        assert_eq!(t.get::<i32>(OUT), 1);
        write(&t, master, b"junk\x03\x1a").await;
        assert_eq!(t.host.signals.borrow().as_slice(), [(1, 0, sig::SIGINT), (1, 0, sig::SIGTSTP)]);
        t.put(OUT, &Winsize { ws_row: 7, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 });
        assert_eq!(t.call(nr::IOCTL, &[master, TIOCSWINSZ, OUT]).await, 0);
        t.settle().await;
        assert_eq!(t.host.signals.borrow().last(), Some(&(1, 0, sig::SIGWINCH)));
        assert_eq!(t.call(nr::IOCTL, &[slave, TIOCGWINSZ, OUT]).await, 0);
        assert_eq!(t.get::<Winsize>(OUT).ws_col, 77);
        assert_eq!(ioctl(&t, slave, TIOCSPGRP, 4242).await, Errno::ESRCH.to_result());
        assert_eq!(ioctl(&t, slave, TIOCSPGRP, -1).await, Errno::EINVAL.to_result());
        assert_eq!(ioctl(&t, slave, TIOCNOTTY, 0).await, 0);
        assert_eq!(ioctl(&t, slave, TIOCGPGRP, 0).await, Errno::ENOTTY.to_result());
    });
}

#[test]
fn lines_go_through_and_the_end_is_a_hang_up() {
    TestBox::run(async |t| {
        let (master, slave) = pair(&t).await;
        assert_eq!(read(&t, slave).await, Err(Errno::EAGAIN.to_result()));
        write(&t, master, b"ab\x7fc\r").await;
        assert_eq!(read(&t, slave).await.as_deref(), Ok(&b"ac\n"[..]));
        write(&t, slave, b"x\n").await;
        assert_eq!(read(&t, master).await.as_deref(), Ok(&b"ab\x08 \x08c\r\nx\r\n"[..]));
        assert_eq!(t.call(nr::CLOSE, &[master]).await, 0);
        t.settle().await;
        assert_eq!(t.host.signals.borrow().as_slice(), [(1, 0, sig::SIGHUP), (1, 0, sig::SIGCONT)]);
        assert_eq!(read(&t, slave).await, Ok(Vec::new()));
        assert_eq!(write(&t, slave, b"x").await, Errno::EIO.to_result());
        assert_eq!(open(&t, "/pts/0", OpenFlags::O_RDWR).await, Errno::ENOENT.to_result());
    });
}

#[test]
fn the_last_slave_hangs_the_master_up() {
    TestBox::run(async |t| {
        let (master, slave) = pair(&t).await;
        write(&t, slave, b"last").await;
        assert_eq!(t.call(nr::CLOSE, &[slave]).await, 0);
        assert_eq!(read(&t, master).await.as_deref(), Ok(&b"last"[..]));
        assert_eq!(read(&t, master).await, Err(Errno::EIO.to_result()));
        // Open again, it goes on.
        let slave = open(&t, "/pts/0", OpenFlags::O_RDWR).await as u64;
        write(&t, slave, b"more").await;
        assert_eq!(read(&t, master).await.as_deref(), Ok(&b"more"[..]));
    });
}

#[test]
fn a_kernel_that_ends_takes_its_terminals_with_it() {
    let ended = std::cell::RefCell::new(None);
    TestBox::run(async |t| {
        pair(&t).await;
        ended.replace(Some(t));
    });
    // Outside of any runtime: nothing may be spawned.
    ended.take().unwrap().kernel.close();
}
