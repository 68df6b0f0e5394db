//! Terminals as job control sees them: whose session has one, and which of its process groups is in front. Linux:
//! drivers/tty/tty_jobctrl.c. What a terminal does with bytes is its [`Line`]'s business.
//!
//! One thread; no borrow is held across an `await`.

use std::cell::Cell;
use std::rc::Rc;

use rsc_proto::abi::{Errno, OpenFlags, makedev, mode, sig};

use crate::error::SysResult;
use crate::fs::pseudo::Node;
use crate::kernel::Kernel;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::file::{File, FileOps};
use crate::kernel::memory::UserPtr;
use crate::kernel::task::{Task, ThreadGroup};
use crate::vfs::Inode;

pub mod devpts;
mod ldisc;
mod pty;

/// Major number of pseudo-terminals' slaves.
const PTS_MAJOR: u32 = 136;

/// Requests about sessions and groups. ioctl_tty(2).
mod request {
    pub(super) const TIOCSCTTY: u32 = 0x540e;
    pub(super) const TIOCGPGRP: u32 = 0x540f;
    pub(super) const TIOCSPGRP: u32 = 0x5410;
    pub(super) const TIOCNOTTY: u32 = 0x5422;
    pub(super) const TIOCGETD: u32 = 0x5424;
    pub(super) const TIOCGSID: u32 = 0x5429;
}

/// Where a terminal's bytes come from and go to.
pub trait Line {
    /// One more description of the terminal, which shows `inode` to fstat(2). `EIO`: it has been hung up.
    fn open(&self, terminal: &Rc<Terminal>, inode: Rc<dyn Inode>) -> Result<Box<dyn FileOps>, Errno>;

    /// Whether the other end is still there: else the terminal has no name any more.
    fn is_alive(&self) -> bool;

    /// Whether somebody has one of its ends: its number is taken.
    fn is_used(&self) -> bool {
        self.is_alive()
    }

    /// `TOSTOP`: output of processes in the background stops them.
    fn stops_output(&self) -> bool;

    /// How long a read waits before it returns nothing (`MIN` 0 and a `TIME`); none: for ever, or as the line itself has it.
    fn patience(&self) -> Option<std::time::Duration> {
        None
    }
}

/// One terminal.
pub struct Terminal {
    /// Its number in devpts.
    pub number: u32,
    node: Node,
    line: Box<dyn Line>,
    /// The session that it controls; 0: none.
    session: Cell<u32>,
    /// The process group in front; 0: none.
    foreground: Cell<u32>,
}

impl Terminal {
    /// A terminal that controls no session yet.
    pub fn new(number: u32, node: Node, line: Box<dyn Line>) -> Rc<Self> {
        let node = node.device(makedev(PTS_MAJOR, number));
        Rc::new(Self { number, node, line, session: Cell::new(0), foreground: Cell::new(0) })
    }

    /// The attributes of its node in devpts.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its line.
    pub fn line(&self) -> &dyn Line {
        &*self.line
    }

    /// The process group in front; 0: none.
    pub fn foreground(&self) -> u32 {
        self.foreground.get()
    }

    /// The session that it controls; 0: none.
    pub fn session(&self) -> u32 {
        self.session.get()
    }

    /// Field 7 of `/proc/PID/stat`. Linux: new_encode_dev().
    pub fn encoded(&self) -> u32 {
        self.number & 0xff | PTS_MAJOR << 8 | (self.number & !0xff) << 12
    }

    /// Opens it for a task, whose session it comes to control if it has no other. Linux: tty_open().
    pub fn open(
        self: &Rc<Self>,
        inode: Rc<dyn Inode>,
        task: Option<&Rc<Task>>,
        flags: OpenFlags,
    ) -> Result<Box<dyn FileOps>, Errno> {
        let ops = self.line.open(self, inode)?;
        if let Some(group) = task.map(|task| task.group())
            && !flags.contains(OpenFlags::O_NOCTTY)
            && flags.accmode() != 1
            && group.sid.get() == group.tgid
            && group.terminal.borrow().is_none()
            && self.session.get() == 0
        {
            self.control(&group);
        }
        Ok(ops)
    }

    /// Becomes the terminal of a session leader, with its group in front.
    pub fn control(self: &Rc<Self>, leader: &ThreadGroup) {
        self.session.set(leader.sid.get());
        self.foreground.set(leader.pgid.get());
        leader.terminal.replace(Some(self.clone()));
    }

    fn is_of(self: &Rc<Self>, group: &ThreadGroup) -> bool {
        group.terminal.borrow().as_ref().is_some_and(|terminal| Rc::ptr_eq(terminal, self))
    }

    fn in_background(self: &Rc<Self>, group: &ThreadGroup) -> bool {
        let front = self.foreground.get();
        self.is_of(group) && front != 0 && front != group.pgid.get()
    }

    /// Before a read. Linux: job_control().
    pub async fn may_read(self: &Rc<Self>, cx: &Cx) -> SysResult<()> {
        if !self.in_background(&cx.task.group()) {
            return Ok(());
        }
        if shuts_out(cx, sig::SIGTTIN).await? {
            return Err(Errno::EIO.into());
        }
        stop_group(cx, sig::SIGTTIN).await
    }

    /// Before a write.
    pub async fn may_write(self: &Rc<Self>, cx: &Cx) -> SysResult<()> {
        if self.line.stops_output() { self.may_change(cx).await } else { Ok(()) }
    }

    /// Before something changes that the group in front relies on. Linux: tty_check_change().
    pub async fn may_change(self: &Rc<Self>, cx: &Cx) -> SysResult<()> {
        if !self.in_background(&cx.task.group()) || shuts_out(cx, sig::SIGTTOU).await? {
            return Ok(());
        }
        stop_group(cx, sig::SIGTTOU).await
    }

    /// Sends a signal that was typed, or a change of size, to the group in front. Linux: isig().
    pub async fn signal_foreground(&self, kernel: &Kernel, signal: u32) {
        if self.foreground.get() != 0 {
            kernel.signal_group(self.foreground.get(), signal).await;
        }
    }

    /// The other end has gone. Linux: tty_signal_session_leader().
    pub async fn hang_up(&self, kernel: &Kernel) {
        let session = self.session.replace(0);
        self.foreground.set(0);
        let mut leader = None;
        for group in kernel.tasks.groups().iter().filter(|group| session != 0 && group.sid.get() == session) {
            group.terminal.take();
            if group.tgid == session {
                leader = Some(group.tgid);
            }
        }
        if let Some(tgid) = leader {
            for signal in [sig::SIGHUP, sig::SIGCONT] {
                // It may have ended meanwhile.
                let _ = kernel.host.send_signal(tgid, 0, signal).await;
            }
        }
    }

    /// The session that it controls lets it go; returns the group that was in front. Linux: disassociate_ctty().
    pub fn release_session(&self, kernel: &Kernel) -> u32 {
        let session = self.session.replace(0);
        for group in kernel.tasks.groups().iter().filter(|group| group.sid.get() == session) {
            group.terminal.take();
        }
        self.foreground.replace(0)
    }

    /// Requests that are the same for every terminal; none: it is one for the line.
    pub async fn ioctl(self: &Rc<Self>, cx: &Cx, file: &File, cmd: u32, arg: u64) -> Option<SysResult> {
        let group = cx.task.group();
        let number = UserPtr::<i32>::new(arg);
        let own = || if self.is_of(&group) { Ok(()) } else { Err(Errno::ENOTTY) };
        let tell = async |value: u32| {
            own()?;
            cx.mem.write(number, &(value as i32)).await?;
            Ok(0)
        };
        Some(match cmd {
            request::TIOCGPGRP => tell(self.foreground.get()).await,
            request::TIOCGSID => tell(self.session.get()).await,
            request::TIOCGETD => cx.mem.write(number, &0).await.map(|()| 0).map_err(Into::into),
            request::TIOCSPGRP => self.set_foreground(cx, number).await,
            request::TIOCSCTTY => self.take(cx, file, arg).map(|()| 0).map_err(Into::into),
            request::TIOCNOTTY => self.give_up(cx).await,
            _ => return None,
        })
    }

    /// Linux: tiocspgrp().
    async fn set_foreground(self: &Rc<Self>, cx: &Cx, pgid: UserPtr<i32>) -> SysResult {
        let group = cx.task.group();
        match self.may_change(cx).await {
            Err(crate::error::SysError::Errno(Errno::EIO)) => return Err(Errno::ENOTTY.into()),
            other => other?,
        }
        if !self.is_of(&group) || self.session.get() != group.sid.get() {
            return Err(Errno::ENOTTY.into());
        }
        let pgid = u32::try_from(cx.mem.read(pgid).await?).map_err(|_| Errno::EINVAL)?;
        let groups = cx.kernel.tasks.groups();
        let member = groups.iter().find(|other| other.pgid.get() == pgid).ok_or(Errno::ESRCH)?;
        if member.sid.get() != group.sid.get() {
            return Err(Errno::EPERM.into());
        }
        self.foreground.set(pgid);
        Ok(0)
    }

    /// Linux: tiocsctty().
    fn take(self: &Rc<Self>, cx: &Cx, file: &File, steal: u64) -> Result<(), Errno> {
        let group = cx.task.group();
        let leads = group.sid.get() == group.tgid;
        if leads && self.session.get() == group.sid.get() {
            return Ok(());
        }
        if !leads || group.terminal.borrow().is_some() {
            return Err(Errno::EPERM);
        }
        let admin = cx.task.creds().has(cap::SYS_ADMIN);
        if self.session.get() != 0 {
            if steal != 1 || !admin {
                return Err(Errno::EPERM);
            }
            self.release_session(&cx.kernel);
        }
        if !file.readable() && !admin {
            return Err(Errno::EPERM);
        }
        self.control(&group);
        Ok(())
    }

    /// `TIOCNOTTY`. Linux: disassociate_ctty(0), proc_clear_tty().
    async fn give_up(self: &Rc<Self>, cx: &Cx) -> SysResult {
        let group = cx.task.group();
        if !self.is_of(&group) {
            return Err(Errno::ENOTTY.into());
        }
        if group.sid.get() == group.tgid {
            let front = self.release_session(&cx.kernel);
            if front != 0 {
                cx.kernel.signal_group(front, sig::SIGHUP).await;
                cx.kernel.signal_group(front, sig::SIGCONT).await;
            }
        }
        group.terminal.take();
        Ok(0)
    }
}

/// Whether the caller ignores or blocks a signal: what only its own kernel knows.
async fn shuts_out(cx: &Cx, signal: u32) -> Result<bool, Errno> {
    let status = cx.kernel.host.proc_info(cx.task.tid, "status").await?;
    let status = String::from_utf8_lossy(&status);
    let has = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    };
    Ok(has("SigIgn:") || has("SigBlk:"))
}

/// Stops the caller's process group; the call is restarted when it goes on. `EIO` where nobody could let it go on.
async fn stop_group(cx: &Cx, signal: u32) -> SysResult<()> {
    let pgid = cx.task.group().pgid.get();
    if cx.kernel.is_orphaned(pgid) {
        return Err(Errno::EIO.into());
    }
    cx.kernel.signal_group(pgid, signal).await;
    // The signal is on its way, to this task too.
    cx.wait(std::future::pending()).await?;
    Ok(())
}

/// The mode of a terminal's node before anybody changes it.
pub(crate) const NODE_MODE: u32 = mode::S_IFCHR | 0o620;

impl Kernel {
    /// Sends a signal to every member of a process group.
    pub async fn signal_group(&self, pgid: u32, signal: u32) {
        let groups = self.tasks.groups();
        for group in groups.iter().filter(|group| group.pgid.get() == pgid) {
            // Who has ended meanwhile needs none.
            let _ = self.signal_process(group, signal).await;
        }
    }

    /// Whether no member of the group has a parent in another group of the same session. Linux: is_current_pgrp_orphaned().
    fn is_orphaned(&self, pgid: u32) -> bool {
        let groups = self.tasks.groups();
        let parent_of = |group: &ThreadGroup| self.tasks.group(group.parent.get());
        !groups.iter().filter(|group| group.pgid.get() == pgid).any(|group| {
            parent_of(group).is_some_and(|parent| parent.pgid.get() != pgid && parent.sid.get() == group.sid.get())
        })
    }
}

#[cfg(test)]
mod tests;
