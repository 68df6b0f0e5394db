//! The caller's standard streams, and further descriptors that it passes on: files whose home is the compute host, read, written and polled by reverse requests.
//!
//! Readiness is cached: `refresh` asks, and while somebody listens a waiting poll, one a direction, is with the compute host. A
//! direction that has fired is watched again when somebody asks again, so a level that stays high costs nothing.

use std::any::Any;
use std::cell::Cell;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use rsc_proto::abi::{Errno, OpenFlags, Stat};
use rsc_proto::v1;

use super::cx::Cx;
use super::file::{File, FileOps, Fut, Placed, Written, ready};
use super::host::ComputeHost;
use super::wait::{PollEvents, WaitQueue};
use crate::error::SysResult;
use crate::tty::{Line, Terminal};
use crate::vfs::Inode;

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
        0x5425 => Arg::Value,           // TCSBRKP
        0x5413 => Arg::Out(8),          // TIOCGWINSZ
        0x5414 => Arg::In(8),           // TIOCSWINSZ
        0x5411 | 0x541b => Arg::Out(4), // TIOCOUTQ, FIONREAD
        TCGETS2 => Arg::Out(44),
        0x402c_542b..=0x402c_542d => Arg::In(44), // TCSETS2, TCSETSW2, TCSETSF2
        _ => return None,
    })
}

const TCGETS2: u32 = 0x802c_542a;
/// Of `c_lflag`, the fourth word of every `struct termios`: output from the background stops who writes it.
const TOSTOP: u32 = 0o400;

/// Requests that only the group in front may make undisturbed. Linux: tty_mode_ioctl(), n_tty_ioctl_helper().
fn disturbs(cmd: u32) -> bool {
    matches!(cmd, 0x5402..=0x5404 | 0x5409..=0x540b | 0x5425 | 0x402c_542b..=0x402c_542d)
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
    fn new(host: &Rc<dyn ComputeHost>, index: u32) -> Rc<Self> {
        Rc::new(Self {
            host: host.clone(),
            index,
            ready: Cell::default(),
            queue: WaitQueue::new(),
            watching_in: Cell::new(false),
            watching_out: Cell::new(false),
        })
    }

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

/// A container's own terminal, whose home is the compute host: the descriptors of it that a process came with.
struct Console {
    inners: Vec<Weak<Inner>>,
    /// Those of init stay: programs expect `/dev/console` to be there.
    _kept: Option<Rc<Inner>>,
    about: v1::Stdio,
    tostop: Rc<Cell<bool>>,
}

impl Line for Console {
    fn open(&self, terminal: &Rc<Terminal>, inode: Rc<dyn Inode>) -> Result<Box<dyn FileOps>, Errno> {
        let inner = self.inners.iter().find_map(Weak::upgrade).ok_or(Errno::EIO)?;
        let console = Attached { terminal: terminal.clone(), inode, tostop: self.tostop.clone() };
        Ok(Box::new(StdioFile { inner, about: self.about, ino: 0, console: Some(console) }))
    }

    fn is_alive(&self) -> bool {
        self.inners.iter().any(|inner| inner.strong_count() > 0)
    }

    fn stops_output(&self) -> bool {
        self.tostop.get()
    }
}

/// What a file of a console knows of it.
#[derive(Clone)]
struct Attached {
    terminal: Rc<Terminal>,
    inode: Rc<dyn Inode>,
    tostop: Rc<Cell<bool>>,
}

/// Files of a process's standard streams; none where one is closed.
pub type Streams = Vec<Option<Box<dyn FileOps>>>;

/// The caller's descriptors from number `base` on, of a process that has a terminal of its own. `enter` gives that its number and
/// node.
pub fn open_console(
    host: &Rc<dyn ComputeHost>,
    about: &[v1::Stdio],
    base: u32,
    keep: bool,
    enter: impl FnOnce(Box<dyn Line>) -> Result<(Rc<Terminal>, Rc<dyn Inode>), Errno>,
) -> Result<(Rc<Terminal>, Streams), Errno> {
    let inners: Vec<_> =
        about.iter().zip(base..).map(|(about, index)| (!about.closed).then(|| Inner::new(host, index))).collect();
    let first = about.iter().zip(&inners).find(|(about, inner)| about.tty && inner.is_some());
    let (described, first) = first.ok_or(Errno::ENOTTY)?;
    let tostop = Rc::new(Cell::new(false));
    let ttys = about.iter().zip(&inners).filter(|(about, _)| about.tty);
    let (terminal, inode) = enter(Box::new(Console {
        inners: ttys.filter_map(|(_, inner)| inner.as_ref().map(Rc::downgrade)).collect(),
        _kept: if keep { first.clone() } else { None },
        about: *described,
        tostop: tostop.clone(),
    }))?;
    let files = about.iter().zip(inners).map(|(about, inner)| {
        let console = Attached { terminal: terminal.clone(), inode: inode.clone(), tostop: tostop.clone() };
        let console = about.tty.then_some(console);
        inner.map(|inner| -> Box<dyn FileOps> { Box::new(StdioFile { inner, about: *about, ino: 0, console }) })
    });
    let files = files.collect();
    Ok((terminal, files))
}

/// One of the caller's descriptors.
pub struct StdioFile {
    inner: Rc<Inner>,
    about: v1::Stdio,
    ino: u64,
    console: Option<Attached>,
}

impl StdioFile {
    /// Opens the caller's descriptor `index`. `ino` is the number that fstat(2) shows.
    pub fn open(host: Rc<dyn ComputeHost>, index: u32, about: v1::Stdio, ino: u64) -> Rc<File> {
        File::new(Self { inner: Inner::new(&host, index), about, ino, console: None }, Self::flags(&about))
    }

    /// The flags that its description shows.
    pub fn flags(about: &v1::Stdio) -> OpenFlags {
        OpenFlags::from_bits_truncate(about.flags & (3 | OpenFlags::O_APPEND.bits()))
    }

    /// Whether it is a terminal.
    pub fn is_tty(&self) -> bool {
        self.about.tty
    }

    fn regular(&self) -> bool {
        self.about.mode & S_IFMT == S_IFREG
    }
}

impl Placed for StdioFile {
    fn read_at(&self, offset: u64, len: usize) -> Fut<'_, Result<Bytes, Errno>> {
        self.inner.host.stdio_read_at(self.inner.index, len.min(IO_MAX) as u32, offset)
    }

    fn write_at(&self, offset: u64, data: Bytes) -> Fut<'_, Result<usize, Errno>> {
        Box::pin(async move {
            let part = data.slice(..data.len().min(IO_MAX));
            let most = part.len() as u64;
            Ok(self.inner.host.stdio_write_at(self.inner.index, part, offset).await?.min(most) as usize)
        })
    }

    fn seek_to(&self, offset: i64, whence: u32) -> Fut<'_, Result<u64, Errno>> {
        self.inner.host.stdio_seek(self.inner.index, offset, whence)
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

    fn placed(&self) -> Option<&dyn Placed> {
        if self.regular() { Some(self) } else { None }
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

    fn terminal(&self) -> Option<&Rc<Terminal>> {
        self.console.as_ref().map(|console| &console.terminal)
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        if let Some(console) = &self.console {
            return Box::pin(async move { Ok(console.inode.refresh().await?.to_stat()) });
        }
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

    fn ioctl<'a>(&'a self, cx: &'a Cx, file: &'a Rc<File>, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        Box::pin(async move {
            if let Some(console) = &self.console {
                if let Some(done) = console.terminal.ioctl(cx, file, cmd, arg).await {
                    return done;
                }
                if disturbs(cmd) {
                    console.terminal.may_change(cx).await?;
                }
            }
            let shape = tty_ioctl(cmd).ok_or(Errno::ENOTTY)?;
            if !self.about.tty && cmd != 0x541b {
                return Err(Errno::ENOTTY.into());
            }
            let (data, out) = match shape {
                Arg::In(n) => (cx.mem.read_bytes(arg, n).await?, 0),
                Arg::Out(n) => (Bytes::new(), n),
                Arg::Value => (Bytes::copy_from_slice(&(arg as u32).to_le_bytes()), 0),
            };
            if let (Some(console), true, Some(lflag)) = (&self.console, out == 0, data.get(12..16)) {
                let lflag = <[u8; 4]>::try_from(lflag).map_or(0, u32::from_le_bytes);
                console.tostop.set(lflag & TOSTOP != 0);
            }
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
        let again = Self { inner: self.inner.clone(), about: self.about, ino: self.ino, console: self.console.clone() };
        Ok(Box::new(again))
    }

    fn sync(&self, _: bool) -> Fut<'_, Result<(), Errno>> {
        ready(if self.regular() { Ok(()) } else { Err(Errno::EINVAL) })
    }
}
