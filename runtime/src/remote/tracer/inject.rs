//! Calls that a thread is made to make for us, in the place of one of its own: to get a descriptor, or to map one.

use super::{
    Stop,
    thread::{Over, Thread},
};
use crate::remote::core::Made;
use crate::sys::process;
use crate::sys::ptrace::{self, Registers, Resume};
use nix::errno::Errno;
use rsc_proto::table::nr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Every signal that can be blocked.
const ALL_SIGNALS: u64 = u64::MAX;

impl Thread {
    /// Gives the thread, which is before its call, a placeholder for a new remote descriptor: its number. Afterwards it is behind
    /// the call.
    pub(super) async fn place(&mut self, regs: &Registers, made: Made) -> Result<Result<i32, Errno>, Over> {
        let kind = (libc::SOCK_STREAM | if made.cloexec { libc::SOCK_CLOEXEC } else { 0 }) as u64;
        let result = self.instead(regs, nr::SOCKET, [libc::AF_UNIX as u64, kind, 0, 0, 0, 0]).await?;
        let placed = match i32::try_from(result) {
            Ok(number) if number >= 0 => {
                let taken = self.copy_of(number).and_then(|theirs| self.core().placeholders.take(&theirs, made.number));
                taken.map(|handle| (number, handle))
            }
            _ => Err(Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EIO))),
        };
        match placed {
            Ok((number, handle)) => {
                handle.seen.set((self.caller.process.tgid, number));
                self.core().adopt(handle);
                Ok(Ok(number))
            }
            Err(errno) => {
                self.core().discard(made.number).await;
                let mut regs = *regs;
                regs.rax = (-i64::from(errno as i32)) as u64;
                Ok(Err(errno)).inspect(|_| {
                    // Behind the call already.
                    let _ = ptrace::set_registers(self.tid, &regs);
                })
            }
        }
    }

    /// Puts a placeholder in the place of the descriptor that is the call's first argument; then the call is made again.
    pub(super) async fn replace(&mut self, regs: Registers, made: Made) -> Result<(), Over> {
        let target = regs.rdi as i32;
        let waits = epolls_with(self.caller.process.tgid, target);
        let fresh = match self.place(&regs, made).await? {
            Ok(fresh) => fresh,
            Err(errno) => return self.return_from_exit(regs, -i64::from(errno as i32)),
        };
        let mask = ptrace::signal_mask(self.tid)?;
        ptrace::set_signal_mask(self.tid, ALL_SIGNALS)?;
        let cloexec = if made.cloexec { libc::O_CLOEXEC as u64 } else { 0 };
        let moved = self.again(&regs, nr::DUP3, [fresh as u64, target as u64, cloexec, 0, 0, 0]).await?;
        self.again(&regs, nr::CLOSE, [fresh as u64, 0, 0, 0, 0, 0]).await?;
        // What waited for the old one waits for the new one.
        if !waits.is_empty()
            && let Some(handle) = self.core().placeholders.find(self.tid, self.caller.process.tgid, target)
        {
            self.core().mirror(&handle).await;
        }
        let event = regs.rsp.wrapping_sub(256) & !15;
        for wait in waits {
            if self.caller.window.write(event, &wait.event) == wait.event.len() {
                let add = libc::EPOLL_CTL_ADD as u64;
                self.again(&regs, nr::EPOLL_CTL, [wait.epoll as u64, add, target as u64, event, 0, 0]).await?;
            }
        }
        ptrace::set_signal_mask(self.tid, mask)?;
        if moved < 0 {
            return self.return_from_exit(regs, moved);
        }
        let number = regs.orig_rax as u32;
        ptrace::set_registers(self.tid, &crate::engine::reissue(&regs, number))?;
        self.go_on(0)
    }

    /// Maps a copy: the thread makes a memfd, which is filled, maps it as it meant to map the remote file, and closes it.
    pub(super) async fn map(&mut self, regs: Registers, contents: OwnedFd) -> Result<(), Over> {
        let args = crate::engine::args_of(&regs);
        // An empty string that is surely there: the end of the thread's own stack is its to write.
        let name = regs.rsp.wrapping_sub(256) & !15;
        if self.caller.window.write(name, &[0; 8]) != 8 {
            return self.give_up(regs, Errno::EFAULT);
        }
        let made = self.instead(&regs, nr::MEMFD_CREATE, [name, 1, 0, 0, 0, 0]).await?;
        let Ok(number) = i32::try_from(made) else { return self.return_from_exit(regs, made) };
        if number < 0 {
            return self.return_from_exit(regs, made);
        }
        let filled = self.copy_of(number).and_then(|memfd| fill(memfd, contents));
        let mask = ptrace::signal_mask(self.tid)?;
        ptrace::set_signal_mask(self.tid, ALL_SIGNALS)?;
        let result = match filled {
            Ok(()) => {
                let [addr, length, protection, flags, ..] = args;
                self.again(&regs, nr::MMAP, [addr, length, protection, flags, number as u64, 0]).await?
            }
            Err(errno) => -i64::from(errno as i32),
        };
        self.again(&regs, nr::CLOSE, [number as u64, 0, 0, 0, 0, 0]).await?;
        ptrace::set_signal_mask(self.tid, mask)?;
        self.return_from_exit(regs, result)
    }

    fn give_up(&mut self, mut regs: Registers, errno: Errno) -> Result<(), Over> {
        regs.orig_rax = u64::MAX;
        regs.rax = (-i64::from(errno as i32)) as u64;
        ptrace::set_registers(self.tid, &regs)?;
        self.go_on(0)
    }

    fn copy_of(&self, number: i32) -> nix::Result<OwnedFd> {
        let pidfd = process::pidfd_open(self.caller.process.tgid)?;
        process::pidfd_getfd(pidfd.as_fd(), number)
    }

    /// Another call instead of the one that the thread is about to make; its result. The thread is behind it then.
    pub(super) async fn instead(&mut self, regs: &Registers, number: u32, args: [u64; 6]) -> Result<i64, Over> {
        ptrace::set_registers(self.tid, &crate::engine::with_call(regs, number, args))?;
        ptrace::resume(self.tid, Resume::ToExit, 0)?;
        self.until_exit().await
    }

    /// One more call by a thread that is behind one. Its signals must be blocked.
    async fn again(&mut self, regs: &Registers, number: u32, args: [u64; 6]) -> Result<i64, Over> {
        let mut next = crate::engine::reissue(regs, number);
        crate::engine::set_args(&mut next, args);
        ptrace::set_registers(self.tid, &next)?;
        ptrace::resume(self.tid, Resume::ToExit, 0)?;
        self.until_exit().await
    }

    async fn until_exit(&mut self) -> Result<i64, Over> {
        loop {
            match self.next().await? {
                Stop::Exit => return Ok(ptrace::registers(self.tid)?.rax as i64),
                Stop::Group => ptrace::resume(self.tid, Resume::Listen, 0)?,
                Stop::Execed => return Err(Over),
                Stop::Signal(signal) => ptrace::resume(self.tid, Resume::ToExit, signal)?,
                Stop::Entry(_) | Stop::Interrupted | Stop::Other => ptrace::resume(self.tid, Resume::ToExit, 0)?,
            }
        }
    }
}

/// An epoll instance in which a descriptor is.
struct Wait {
    epoll: i32,
    /// `struct epoll_event`.
    event: [u8; 12],
}

/// The epoll instances of a process in which one of its descriptors is. proc_pid_fdinfo(5).
fn epolls_with(pid: i32, fd: i32) -> Vec<Wait> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut waits = Vec::new();
    for epoll in numbers {
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).unwrap_or_default();
        for line in info.lines().filter_map(|line| line.strip_prefix("tfd:")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [number, "events:", events, "data:", data, ..] = words.as_slice()
                && number.parse() == Ok(fd)
                && let (Ok(events), Ok(data)) = (u32::from_str_radix(events, 16), u64::from_str_radix(data, 16))
            {
                let mut event = [0; 12];
                let (mask, user) = event.split_at_mut(4);
                mask.copy_from_slice(&events.to_ne_bytes());
                user.copy_from_slice(&data.to_ne_bytes());
                waits.push(Wait { epoll, event });
            }
        }
    }
    waits
}

fn fill(memfd: OwnedFd, contents: OwnedFd) -> nix::Result<()> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let (mut from, mut to) = (File::from(contents), File::from(memfd));
    let size = from.metadata().map_err(errno)?.len();
    from.seek(SeekFrom::Start(0)).map_err(errno)?;
    to.set_len(size).map_err(errno)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer).map_err(errno)? {
            0 => return Ok(()),
            count => to.write_all(buffer.get(..count).unwrap_or_default()).map_err(errno)?,
        }
    }
}
