//! Pseudo-terminals of the sandbox's own: `/dev/ptmx`, a master and its slave. pty(7); Linux: drivers/tty/pty.c.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use rsc_proto::abi::linux::{Termios, Termios2, Winsize};
use rsc_proto::abi::{Errno, OpenFlags, Stat, sig};

use super::devpts::DevPts;
use super::ldisc::Discipline;
use super::{Line, Terminal};
use crate::error::SysResult;
use crate::kernel::Kernel;
use crate::kernel::cx::Cx;
use crate::kernel::file::{File, FileOps, Fut, Written, ready};
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::{PollEvents, WaitQueue};
use crate::vfs::Inode;

/// Requests that a pty answers. ioctl_tty(2).
mod request {
    pub(super) const TCGETS: u32 = 0x5401;
    pub(super) const TCSETS: u32 = 0x5402;
    pub(super) const TCSETSW: u32 = 0x5403;
    pub(super) const TCSETSF: u32 = 0x5404;
    pub(super) const TCSBRK: u32 = 0x5409;
    pub(super) const TCXONC: u32 = 0x540a;
    pub(super) const TCFLSH: u32 = 0x540b;
    pub(super) const TIOCGPGRP: u32 = 0x540f;
    pub(super) const TIOCSPGRP: u32 = 0x5410;
    pub(super) const TIOCOUTQ: u32 = 0x5411;
    pub(super) const TIOCGWINSZ: u32 = 0x5413;
    pub(super) const TIOCSWINSZ: u32 = 0x5414;
    pub(super) const FIONREAD: u32 = 0x541b;
    pub(super) const TIOCPKT: u32 = 0x5420;
    pub(super) const TCSBRKP: u32 = 0x5425;
    pub(super) const TIOCGSID: u32 = 0x5429;
    pub(super) const TCGETS2: u32 = 0x802c_542a;
    pub(super) const TCSETS2: u32 = 0x402c_542b;
    pub(super) const TCSETSW2: u32 = 0x402c_542c;
    pub(super) const TCSETSF2: u32 = 0x402c_542d;
    pub(super) const TIOCGPTN: u32 = 0x8004_5430;
    pub(super) const TIOCSPTLCK: u32 = 0x4004_5431;
    pub(super) const TIOCSIG: u32 = 0x4004_5436;
    pub(super) const TIOCGPKT: u32 = 0x8004_5438;
    pub(super) const TIOCGPTLCK: u32 = 0x8004_5439;
    pub(super) const TIOCGPTPEER: u32 = 0x5441;
}

/// First byte of what a master in packet mode reads: data, not a change of state.
const TIOCPKT_DATA: u8 = 0;

/// What master and slave share.
pub(super) struct Pty {
    discipline: RefCell<Discipline>,
    size: Cell<Winsize>,
    /// The slave can't be opened.
    locked: Cell<bool>,
    packets: Cell<bool>,
    /// Open descriptions of the slave.
    slaves: Cell<usize>,
    /// The slave was open once: with its last description it is hung up for the master.
    used: Cell<bool>,
    master_open: Cell<bool>,
    to_master: Rc<WaitQueue>,
    to_slave: Rc<WaitQueue>,
    terminal: RefCell<Weak<Terminal>>,
    kernel: Weak<Kernel>,
}

/// Opens `/dev/ptmx` of an instance: a new pair's master.
pub(super) fn open_master(
    devpts: &DevPts,
    inode: Rc<dyn Inode>,
    ids: (u32, u32),
    kernel: Weak<Kernel>,
) -> Result<Box<dyn FileOps>, Errno> {
    let pty = Rc::new(Pty {
        discipline: RefCell::default(),
        size: Cell::new(Winsize::default()),
        locked: Cell::new(true),
        packets: Cell::new(false),
        slaves: Cell::new(0),
        used: Cell::new(false),
        master_open: Cell::new(true),
        to_master: WaitQueue::new(),
        to_slave: WaitQueue::new(),
        terminal: RefCell::default(),
        kernel,
    });
    let line = Box::new(SlaveLine(pty.clone()));
    let terminal = devpts.add(ids.0, ids.1, |number, node| Terminal::new(number, node, line))?;
    pty.terminal.replace(Rc::downgrade(&terminal));
    Ok(Box::new(Master { pty, terminal, inode }))
}

struct SlaveLine(Rc<Pty>);

impl Line for SlaveLine {
    fn open(&self, terminal: &Rc<Terminal>, inode: Rc<dyn Inode>) -> Result<Box<dyn FileOps>, Errno> {
        if !self.0.master_open.get() || self.0.locked.get() {
            return Err(Errno::EIO);
        }
        Ok(Box::new(Slave::new(self.0.clone(), terminal.clone(), inode)))
    }

    fn is_alive(&self) -> bool {
        self.0.master_open.get()
    }

    fn is_used(&self) -> bool {
        self.0.master_open.get() || self.0.slaves.get() > 0
    }

    fn stops_output(&self) -> bool {
        self.0.discipline.borrow().stops_output()
    }

    fn patience(&self) -> Option<std::time::Duration> {
        self.0.discipline.borrow().patience()
    }
}

impl Pty {
    /// Something of the discipline has changed: whoever waits looks again.
    fn notify(&self) {
        let (readable, writable, output) = {
            let discipline = self.discipline.borrow();
            (discipline.can_read(), discipline.can_write(), discipline.output_len() > 0)
        };
        let mut slave = PollEvents::empty();
        slave.set(PollEvents::READABLE, readable);
        slave.set(PollEvents::WRITABLE, writable);
        self.to_slave.notify(slave);
        let mut master = PollEvents::WRITABLE;
        master.set(PollEvents::READABLE, output);
        self.to_master.notify(master);
    }

    /// Carries signals to the group in front, without waiting.
    fn signal(&self, signals: Vec<u32>) {
        let (Some(kernel), Some(terminal)) = (self.kernel.upgrade(), self.terminal.borrow().upgrade()) else { return };
        if signals.is_empty() || terminal.foreground() == 0 {
            return;
        }
        tokio::task::spawn_local(async move {
            for signal in signals {
                terminal.signal_foreground(&kernel, signal).await;
            }
        });
    }

    fn change(&self, termios: Termios) {
        self.discipline.borrow_mut().set_termios(termios);
        self.notify();
    }

    /// Requests of both ends.
    async fn ioctl(&self, cx: &Cx, cmd: u32, arg: u64) -> SysResult {
        match cmd {
            request::TCGETS => {
                let termios = self.discipline.borrow().termios();
                cx.mem.write(UserPtr::new(arg), &termios).await?;
            }
            request::TCGETS2 => {
                let t = self.discipline.borrow().termios();
                let (c_ispeed, c_ospeed) = (38400, 38400);
                let two = Termios2 {
                    c_iflag: t.c_iflag,
                    c_oflag: t.c_oflag,
                    c_cflag: t.c_cflag,
                    c_lflag: t.c_lflag,
                    c_line: t.c_line,
                    c_cc: t.c_cc,
                    c_ispeed,
                    c_ospeed,
                };
                cx.mem.write(UserPtr::new(arg), &two).await?;
            }
            request::TCSETS | request::TCSETSW | request::TCSETSF => {
                let termios = cx.mem.read(UserPtr::<Termios>::new(arg)).await?;
                if cmd == request::TCSETSF {
                    self.discipline.borrow_mut().flush_input();
                }
                self.change(termios);
            }
            request::TCSETS2 | request::TCSETSW2 | request::TCSETSF2 => {
                let t = cx.mem.read(UserPtr::<Termios2>::new(arg)).await?;
                if cmd == request::TCSETSF2 {
                    self.discipline.borrow_mut().flush_input();
                }
                self.change(Termios {
                    c_iflag: t.c_iflag,
                    c_oflag: t.c_oflag,
                    c_cflag: t.c_cflag,
                    c_lflag: t.c_lflag,
                    c_line: t.c_line,
                    c_cc: t.c_cc,
                });
            }
            request::TIOCGWINSZ => cx.mem.write(UserPtr::new(arg), &self.size.get()).await?,
            request::TIOCSWINSZ => {
                let size = cx.mem.read(UserPtr::<Winsize>::new(arg)).await?;
                if self.size.replace(size) != size {
                    self.signal(vec![sig::SIGWINCH]);
                }
            }
            // What was written is on its way; there is no line that could break.
            request::TCSBRK | request::TCSBRKP => {}
            request::TCXONC => {
                match arg {
                    0 | 1 => self.discipline.borrow_mut().set_stopped(arg == 0),
                    2 | 3 => {}
                    _ => return Err(Errno::EINVAL.into()),
                }
                self.notify();
            }
            request::TCFLSH => {
                let (input, output) = match arg {
                    0 => (true, false),
                    1 => (false, true),
                    2 => (true, true),
                    _ => return Err(Errno::EINVAL.into()),
                };
                let mut discipline = self.discipline.borrow_mut();
                if input {
                    discipline.flush_input();
                }
                if output {
                    discipline.flush_output();
                }
                drop(discipline);
                self.notify();
            }
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }
}

/// Requests of the slave that only the group in front may make undisturbed.
fn disturbs(cmd: u32) -> bool {
    matches!(
        cmd,
        request::TCSETS
            | request::TCSETSW
            | request::TCSETSF
            | request::TCSETS2
            | request::TCSETSW2
            | request::TCSETSF2
            | request::TCSBRK
            | request::TCSBRKP
            | request::TCXONC
            | request::TCFLSH
    )
}

/// The end that a terminal emulator has.
struct Master {
    pty: Rc<Pty>,
    terminal: Rc<Terminal>,
    inode: Rc<dyn Inode>,
}

impl Drop for Master {
    fn drop(&mut self) {
        self.pty.master_open.set(false);
        self.pty.to_slave.notify(PollEvents::all());
        let terminal = self.terminal.clone();
        if let Some(kernel) = self.pty.kernel.upgrade().filter(|kernel| !kernel.closing.get()) {
            tokio::task::spawn_local(async move { terminal.hang_up(&kernel).await });
        }
    }
}

impl Master {
    fn hung_up(&self) -> bool {
        self.pty.used.get() && self.pty.slaves.get() == 0
    }
}

impl FileOps for Master {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "/dev/ptmx".into()
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        let packets = usize::from(self.pty.packets.get());
        let got = self.pty.discipline.borrow_mut().take_output(len.saturating_sub(packets));
        if got.is_empty() {
            return ready(Err(if self.hung_up() { Errno::EIO } else { Errno::EAGAIN }));
        }
        self.pty.notify();
        ready(Ok(if packets == 1 { [&[TIOCPKT_DATA][..], &got].concat().into() } else { got.into() }))
    }

    fn write<'a>(&'a self, _: &'a File, _: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        let mut signals = Vec::new();
        let room = self.pty.discipline.borrow().room();
        let part = data.get(..data.len().min(room)).unwrap_or_default();
        if part.is_empty() && !data.is_empty() {
            return ready(Err(Errno::EAGAIN));
        }
        self.pty.discipline.borrow_mut().receive(part, &mut signals);
        self.pty.notify();
        self.pty.signal(signals);
        ready(Ok(Written { bytes: part.len(), end: 0 }))
    }

    fn poll(&self) -> PollEvents {
        let discipline = self.pty.discipline.borrow();
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, discipline.output_len() > 0);
        events.set(PollEvents::WRITABLE, discipline.room() > 0);
        events.set(PollEvents::HUP, self.hung_up());
        events
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        Some(self.pty.to_master.clone())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(self.inode.attr().to_stat()))
    }

    fn ioctl<'a>(&'a self, cx: &'a Cx, _: &'a Rc<File>, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        Box::pin(async move {
            let number = UserPtr::<i32>::new(arg);
            match cmd {
                request::TIOCGPTN => cx.mem.write(number, &(self.terminal.number as i32)).await?,
                request::TIOCSPTLCK => self.pty.locked.set(cx.mem.read(number).await? != 0),
                request::TIOCGPTLCK => cx.mem.write(number, &i32::from(self.pty.locked.get())).await?,
                request::TIOCPKT => self.pty.packets.set(cx.mem.read(number).await? != 0),
                request::TIOCGPKT => cx.mem.write(number, &i32::from(self.pty.packets.get())).await?,
                request::FIONREAD => {
                    let waiting = self.pty.discipline.borrow().output_len();
                    cx.mem.write(number, &(waiting as i32)).await?;
                }
                request::TIOCOUTQ => cx.mem.write(number, &0).await?,
                // The master's own are the slave's. Linux: tiocgpgrp() with a pty's master.
                request::TIOCGPGRP => cx.mem.write(number, &(self.terminal.foreground() as i32)).await?,
                request::TIOCGSID => {
                    let session = self.terminal.session();
                    if session == 0 {
                        return Err(Errno::ENOTTY.into());
                    }
                    cx.mem.write(number, &(session as i32)).await?;
                }
                request::TIOCSPGRP => return Err(Errno::ENOTTY.into()),
                request::TIOCSIG => {
                    let signal = u32::try_from(arg).ok().filter(|signal| (1..=64).contains(signal));
                    self.pty.signal(vec![signal.ok_or(Errno::EINVAL)?]);
                }
                request::TIOCGPTPEER => return self.open_peer(cx, arg),
                _ => return self.pty.ioctl(cx, cmd, arg).await,
            }
            Ok(0)
        })
    }
}

impl Master {
    /// A descriptor of the slave that needs no path. Linux: ptm_open_peer().
    fn open_peer(&self, cx: &Cx, flags: u64) -> SysResult {
        let flags = OpenFlags::from_bits_truncate(flags as u32);
        let inode = DevPts::nameless(&self.terminal);
        let slave = Slave::new(self.pty.clone(), self.terminal.clone(), inode);
        let file = File::with_location(Box::new(slave), flags, None);
        Ok(cx.add_fd(file, flags.contains(OpenFlags::O_CLOEXEC))?.0 as u64)
    }
}

/// The end that programs have for a terminal.
struct Slave {
    pty: Rc<Pty>,
    terminal: Rc<Terminal>,
    inode: Rc<dyn Inode>,
}

impl Slave {
    fn new(pty: Rc<Pty>, terminal: Rc<Terminal>, inode: Rc<dyn Inode>) -> Self {
        pty.slaves.set(pty.slaves.get() + 1);
        pty.used.set(true);
        Self { pty, terminal, inode }
    }

    fn hung_up(&self) -> bool {
        !self.pty.master_open.get()
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.pty.slaves.set(self.pty.slaves.get().saturating_sub(1));
        if self.pty.slaves.get() == 0 {
            self.pty.to_master.notify(PollEvents::all());
        }
    }
}

impl FileOps for Slave {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        format!("/dev/pts/{}", self.terminal.number)
    }

    fn terminal(&self) -> Option<&Rc<Terminal>> {
        Some(&self.terminal)
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        if self.hung_up() {
            return ready(Ok(Bytes::new()));
        }
        let got = self.pty.discipline.borrow_mut().read(len);
        self.pty.notify();
        ready(got.map(Bytes::from))
    }

    fn write<'a>(&'a self, _: &'a File, _: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        if self.hung_up() {
            return ready(Err(Errno::EIO));
        }
        let bytes = self.pty.discipline.borrow_mut().write(&data);
        if bytes == 0 && !data.is_empty() {
            return ready(Err(Errno::EAGAIN));
        }
        self.pty.notify();
        ready(Ok(Written { bytes, end: 0 }))
    }

    fn poll(&self) -> PollEvents {
        if self.hung_up() {
            return PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::ERR | PollEvents::HUP;
        }
        let discipline = self.pty.discipline.borrow();
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, discipline.can_read());
        events.set(PollEvents::WRITABLE, discipline.can_write());
        events
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        Some(self.pty.to_slave.clone())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(self.inode.attr().to_stat()))
    }

    fn ioctl<'a>(&'a self, cx: &'a Cx, file: &'a Rc<File>, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        Box::pin(async move {
            if self.hung_up() {
                return Err(if cmd == request::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO }.into());
            }
            if let Some(done) = self.terminal.ioctl(cx, file, cmd, arg).await {
                return done;
            }
            if disturbs(cmd) {
                self.terminal.may_change(cx).await?;
            }
            let number = UserPtr::<i32>::new(arg);
            match cmd {
                request::FIONREAD => {
                    let waiting = self.pty.discipline.borrow().input_len();
                    cx.mem.write(number, &(waiting as i32)).await?;
                }
                request::TIOCOUTQ => {
                    let waiting = self.pty.discipline.borrow().output_len();
                    cx.mem.write(number, &(waiting as i32)).await?;
                }
                request::TCXONC if arg == 2 || arg == 3 => {
                    self.pty.discipline.borrow_mut().ask_other_end(arg == 2);
                    self.pty.notify();
                }
                _ => return self.pty.ioctl(cx, cmd, arg).await,
            }
            Ok(0)
        })
    }

    fn reopen(&self, _: OpenFlags) -> Result<Box<dyn FileOps>, Errno> {
        if self.hung_up() {
            return Err(Errno::EIO);
        }
        Ok(Box::new(Self::new(self.pty.clone(), self.terminal.clone(), self.inode.clone())))
    }
}
