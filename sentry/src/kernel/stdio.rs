//! The caller's standard streams: files whose home is the compute host, read, written and polled by reverse requests.
//!
//! Readiness is cached: `refresh` asks, and while somebody listens a waiting poll, one a direction, is with the compute host. A
//! direction that has fired is watched again when somebody asks again, so a level that stays high costs nothing.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, OpenFlags, Stat};
use rsc_proto::v1;

use super::cx::Cx;
use super::file::{File, FileOps, Fut, Written, ready};
use super::host::ComputeHost;
use super::wait::{PollEvents, WaitQueue};
use crate::error::SysResult;

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
/// Bytes of one read or write.
const IO_MAX: usize = 1 << 20;

/// How a terminal request uses its argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arg {
    /// Takes a structure of this size.
    In(usize),
    /// Fills a structure of this size.
    Out(usize),
    /// The argument is a number.
    Value,
}

/// Terminal requests that the compute host may be asked. ioctl_tty(2).
fn tty_ioctl(cmd: u32) -> Option<Arg> {
    Some(match cmd {
        0x5401 => Arg::Out(36),         // TCGETS
        0x5402..=0x5404 => Arg::In(36), // TCSETS, TCSETSW, TCSETSF
        0x5409..=0x540b => Arg::Value,  // TCSBRK, TCXONC, TCFLSH
        0x5413 => Arg::Out(8),          // TIOCGWINSZ
        0x5414 => Arg::In(8),           // TIOCSWINSZ
        0x5411 | 0x541b => Arg::Out(4), // TIOCOUTQ, FIONREAD
        _ => return None,
    })
}

struct Inner {
    host: Rc<dyn ComputeHost>,
    index: u32,
    ready: Cell<PollEvents>,
    queue: Rc<WaitQueue>,
    watching_in: Cell<bool>,
    watching_out: Cell<bool>,
}

impl Inner {
    /// Puts waiting polls with the compute host, in each direction that has none and that somebody wants.
    fn arm(self: &Rc<Self>) {
        for (events, watching) in [(PollEvents::IN, &self.watching_in), (PollEvents::OUT, &self.watching_out)] {
            if watching.replace(true) {
                continue;
            }
            let weak = Rc::downgrade(self);
            let (host, index) = (self.host.clone(), self.index);
            tokio::task::spawn_local(async move {
                let got = host.stdio_poll(index, events.bits(), true).await;
                let Some(this) = weak.upgrade() else { return };
                let flag = if events == PollEvents::IN { &this.watching_in } else { &this.watching_out };
                flag.set(false);
                let got = got.map_or(PollEvents::ERR, PollEvents::from_bits_truncate);
                this.ready.set(this.ready.get() | got);
                this.queue.notify(got | events);
            });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.host.stdio_close(self.index);
    }
}

/// One of the caller's descriptors 0, 1 and 2.
pub struct StdioFile {
    inner: Rc<Inner>,
    about: v1::Stdio,
    ino: u64,
}

impl StdioFile {
    /// Opens the caller's descriptor `index`. `ino` is the number that fstat(2) shows.
    pub fn open(host: Rc<dyn ComputeHost>, index: u32, about: v1::Stdio, ino: u64) -> Rc<File> {
        let flags = OpenFlags::from_bits_truncate(about.flags & (3 | OpenFlags::O_APPEND.bits()));
        let inner = Rc::new(Inner {
            host,
            index,
            ready: Cell::default(),
            queue: WaitQueue::new(),
            watching_in: Cell::new(false),
            watching_out: Cell::new(false),
        });
        File::new(Self { inner, about, ino }, flags)
    }

    /// Whether it is a terminal.
    pub fn is_tty(&self) -> bool {
        self.about.tty
    }

    fn regular(&self) -> bool {
        self.about.mode & S_IFMT == S_IFREG
    }
}

impl FileOps for StdioFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        match self.about.mode & S_IFMT {
            0o010_000 => format!("pipe:[{}]", self.ino),
            0o140_000 => format!("socket:[{}]", self.ino),
            _ if self.about.tty => "/dev/pts/0".into(),
            0o020_000 => "/dev/null".into(),
            _ => format!("/dev/stdio/{}", self.inner.index),
        }
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        self.inner.host.stdio_read(self.inner.index, len.min(IO_MAX) as u32)
    }

    fn write<'a>(&'a self, _: &'a File, _: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        Box::pin(async move {
            let part = data.slice(..data.len().min(IO_MAX));
            let most = part.len() as u64;
            let n = self.inner.host.stdio_write(self.inner.index, part).await?;
            Ok(Written { bytes: n.min(most) as usize, end: 0 })
        })
    }

    fn poll(&self) -> PollEvents {
        if self.regular() { PollEvents::READABLE | PollEvents::WRITABLE } else { self.inner.ready.get() }
    }

    fn refresh(&self) -> Option<Fut<'_, ()>> {
        if self.regular() {
            return None;
        }
        Some(Box::pin(async move {
            let all = PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::PRI | PollEvents::RDHUP;
            let got = self.inner.host.stdio_poll(self.inner.index, all.bits(), false).await;
            self.inner.ready.set(got.map_or(PollEvents::ERR, PollEvents::from_bits_truncate));
            self.inner.arm();
        }))
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        if self.regular() {
            return None;
        }
        self.inner.arm();
        Some(self.inner.queue.clone())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        let mode =
            if self.about.mode & S_IFMT == 0o020_000 { self.about.mode & S_IFMT | 0o620 } else { self.about.mode };
        ready(Ok(Stat {
            st_dev: 13,
            st_ino: self.ino,
            st_nlink: 1,
            st_mode: mode,
            st_blksize: 4096,
            st_rdev: match (self.about.mode & S_IFMT, self.about.tty) {
                (0o020_000, true) => 136 << 8,
                (0o020_000, false) => 0x103,
                _ => 0,
            },
            ..Default::default()
        }))
    }

    fn ioctl<'a>(&'a self, cx: &'a Cx, _: &'a Rc<File>, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        Box::pin(async move {
            let shape = tty_ioctl(cmd).ok_or(Errno::ENOTTY)?;
            if !self.about.tty && cmd != 0x541b {
                return Err(Errno::ENOTTY.into());
            }
            let (data, out) = match shape {
                Arg::In(n) => (cx.mem.read_bytes(arg, n).await?, 0),
                Arg::Out(n) => (Bytes::new(), n),
                Arg::Value => (Bytes::copy_from_slice(&(arg as u32).to_le_bytes()), 0),
            };
            let got = self.inner.host.stdio_ioctl(self.inner.index, cmd, data).await?;
            if out > 0 {
                if got.len() != out {
                    return Err(Errno::EIO.into());
                }
                cx.mem.write_bytes(arg, got).await?;
            }
            Ok(0)
        })
    }

    fn reopen(&self, _: OpenFlags) -> Result<Box<dyn FileOps>, Errno> {
        let again = Self { inner: self.inner.clone(), about: self.about, ino: self.ino };
        Ok(Box::new(again))
    }

    fn sync(&self, _: bool) -> Fut<'_, Result<(), Errno>> {
        ready(if self.regular() { Ok(()) } else { Err(Errno::EINVAL) })
    }
}
