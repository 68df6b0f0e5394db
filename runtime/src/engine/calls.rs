//! Calls: from a trap to a frame, and the park of a task whose call takes long.

use super::{
    Column, Engine, Starting,
    map::Mapping,
    memory::Memory,
    task::{Call, State},
};
use crate::{
    platform::numbers,
    sys::{
        process,
        ptrace::{self, Gone, Registers, Resume},
        seccomp::{self, Notification, Reply},
    },
};
use nix::errno::Errno;
use rsc_proto::{
    table::marshal::gather,
    v1::{self, up},
};
use std::{
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    time::Instant,
};

/// The restart code which breaks a notification off: the task is about to be stopped, and nobody sees it.
const BREAK_OFF: i64 = -512;

/// The arguments in a task's registers.
pub(crate) fn args_of(regs: &Registers) -> [u64; 6] {
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9]
}

/// Puts arguments into registers.
pub(crate) fn set_args(regs: &mut Registers, args: [u64; 6]) {
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
}

impl Engine {
    /// A call stopped for the tracer.
    pub(super) fn new_trap(&mut self, tid: i32, regs: Registers) -> Result<(), Gone> {
        let nr = regs.orig_rax as u32;
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        let restarts = task.restarts.take().filter(|_| nr == numbers::RESTART_SYSCALL);
        if nr == numbers::RESTART_SYSCALL && restarts.is_none() {
            // The kernel goes on with a wait which was native.
            self.counters.count(Column::Restart, nr);
            return ptrace::resume(tid, Resume::Continue, 0);
        }
        if nr == numbers::EXIT_GROUP
            && let Some(Starting { errno }) = self.starting.remove(&tid)
        {
            return self.fail_start(tid, regs, errno.unwrap_or(libc::ENOENT));
        }
        task.state = State::Trapped;
        self.send_call(tid, nr, args_of(&regs), Some(regs));
        // The table says nothing of what a restarted call writes.
        if let Some(out) = restarts
            && let Some(call) = self.tasks.get_mut(&tid).and_then(|task| task.call.as_mut())
        {
            call.out = out;
        }
        Ok(())
    }

    /// A notification of init's filter is there. Call it when poll(2) on the listener says so.
    pub fn on_notification(&mut self) {
        let listener = Rc::clone(&self.listener);
        self.on_notification_from(listener.as_fd());
    }

    /// A notification is there.
    pub(super) fn on_notification_from(&mut self, listener: BorrowedFd<'_>) {
        match seccomp::receive(listener) {
            Ok(notification) => {
                let id = notification.id;
                if let Err(Gone) = self.notified(&notification) {
                    reply_to(listener, id, Reply::Result(-i64::from(libc::ENOSYS)));
                }
            }
            // It went away in between.
            Err(Errno::ENOENT | Errno::EINTR) => {}
            Err(errno) => tracing::warn!("cannot receive a notification: {errno}"),
        }
    }

    fn notified(&mut self, notification: &Notification) -> Result<(), Gone> {
        let tid = i32::try_from(notification.pid).unwrap_or(0);
        let nr = notification.data.nr as u32;
        let task = self.tasks.get_mut(&tid).ok_or(Gone)?;
        if nr == numbers::MAGIC {
            return match &mut task.state {
                State::Mapping(mapping) => {
                    let Mapping { fd, slot, .. } = &**mapping;
                    let added = seccomp::add_fd(task.listener.as_fd(), notification.id, fd.as_fd(), *slot);
                    self.answer_magic(tid, notification.id, added);
                    Ok(())
                }
                State::Loading(loading) => {
                    let added = loading.add_fds(task.listener.as_fd(), notification.id);
                    self.answer_magic(tid, notification.id, added);
                    Ok(())
                }
                // The workload tries the number itself.
                _ => Err(Gone),
            };
        }
        if task.call.is_some() {
            // A wait that was broken off before it was known to be: the same call again.
            let same = task.call.as_ref().is_some_and(|call| call.nr == nr && call.args == notification.data.args);
            if same && matches!(task.state, State::Leaving | State::Notified { .. }) {
                task.state = State::Notified { id: notification.id };
                if self.has_answer(tid) {
                    self.apply_notified(tid, notification.id);
                }
                return Ok(());
            }
            self.abandon_call(tid);
        }
        self.set_state(tid, State::Notified { id: notification.id });
        self.send_call(tid, nr, notification.data.args, None);
        Ok(())
    }

    fn answer_magic(&mut self, tid: i32, id: u64, added: nix::Result<()>) {
        self.counters.count(Column::Own, numbers::MAGIC);
        let result = added.map_or_else(|errno| -i64::from(errno as i32), |()| 0);
        self.reply(tid, id, Reply::Result(result));
    }

    pub(super) fn reply(&self, tid: i32, id: u64, reply: Reply) {
        if let Some(task) = self.tasks.get(&tid) {
            reply_to(task.listener.as_fd(), id, reply);
        }
    }

    fn send_call(&mut self, tid: i32, nr: u32, args: [u64; 6], regs: Option<Registers>) {
        let started = Instant::now();
        let gathered = gather(nr, &args, &mut Memory(tid));
        let Some(task) = self.tasks.get_mut(&tid) else { return };
        let id = self.next_call;
        self.next_call += 1;
        let path = match nr {
            numbers::EXECVE => args[0],
            numbers::EXECVEAT => args[1],
            _ => 0,
        };
        let empty_string = if path == 0 {
            0
        } else {
            let segment = gathered.segments.iter().find(|segment| segment.addr == path);
            let end = segment.and_then(|segment| segment.data.iter().position(|byte| *byte == 0));
            path + end.unwrap_or(0) as u64
        };
        let input = if self.options.record { gathered.segments.clone() } else { Vec::new() };
        task.call = Some(Call {
            id,
            nr,
            args,
            regs,
            out: gathered.out,
            input,
            started,
            empty_string,
            interrupted: false,
            answer: None,
        });
        self.calls.insert(id, tid);
        self.parks.push_back((started + self.options.park_after, tid, id));
        self.counters.count(Column::Sent, nr);
        let call = v1::Syscall { call: id, tid: task.name, nr, args: args.to_vec(), segments: gathered.segments };
        self.upstream.send(up::Body::Syscall(call));
    }

    pub(super) fn has_answer(&self, tid: i32) -> bool {
        self.tasks.get(&tid).and_then(|task| task.call.as_ref()).is_some_and(|call| call.answer.is_some())
    }

    /// The task ends: its call does not matter any more.
    pub(super) fn drop_call(&mut self, tid: i32) {
        if let Some(call) = self.tasks.get_mut(&tid).and_then(|task| task.call.take()) {
            self.calls.remove(&call.id);
        }
    }

    /// The task went on without its call's answer, which only a change of its handlers at the wrong moment can do.
    pub(super) fn abandon_call(&mut self, tid: i32) {
        if let Some(call) = self.tasks.get_mut(&tid).and_then(|task| task.call.take()) {
            self.calls.remove(&call.id);
            if !call.interrupted && call.answer.is_none() {
                self.upstream.send(up::Body::Interrupt(v1::Interrupt { call: call.id }));
            }
        }
    }

    /// Parks the tasks whose calls take long. Call it at [`Engine::deadline`].
    pub fn on_timer(&mut self, now: Instant) {
        while let Some((at, tid, id)) = self.parks.front().copied()
            && at <= now
        {
            self.parks.pop_front();
            let waits = self.calls.get(&id) == Some(&tid) && !self.has_answer(tid);
            if waits {
                let _ = self.park(tid);
            }
        }
    }

    fn park(&mut self, tid: i32) -> Result<(), Gone> {
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        match task.state {
            State::Trapped => {
                let Some(regs) = task.call.as_ref().and_then(|call| call.regs) else { return Ok(()) };
                let (nr, args) = self.park_call(tid, args_of(&regs));
                let regs = with_call(&regs, nr, args);
                ptrace::set_registers(tid, &regs)?;
                self.set_state(tid, State::Parked { asked: false });
                self.counters.count(Column::Park, nr);
                ptrace::resume(tid, Resume::Continue, 0)
            }
            State::Notified { id } => self.leave(tid, id),
            _ => Ok(()),
        }
    }

    /// Breaks a notification off: the task will stand at a stop, where its registers can be changed.
    pub(super) fn leave(&mut self, tid: i32, id: u64) -> Result<(), Gone> {
        // First the trap that stops it, so that the broken-off call cannot reach the program.
        ptrace::interrupt(tid)?;
        self.set_state(tid, State::Leaving);
        self.reply(tid, id, Reply::Result(BREAK_OFF));
        Ok(())
    }

    /// The task has left its notification and stands at a stop: on to the park.
    pub(super) fn park_left(&mut self, tid: i32) -> Result<(), Gone> {
        let now = ptrace::registers(tid)?;
        self.note_registers(tid, now);
        let (nr, args) = self.park_call(tid, args_of(&now));
        let regs = reissue(&with_call(&now, nr, args), nr);
        ptrace::set_registers(tid, &regs)?;
        self.set_state(tid, State::Parked { asked: false });
        // Else it is counted when it traps.
        if nr == numbers::PAUSE && self.native_pause {
            self.counters.count(Column::Park, nr);
        }
        ptrace::resume(tid, Resume::Continue, 0)
    }

    /// Makes registers seen after a notification those of the call's trap.
    pub(super) fn note_registers(&mut self, tid: i32, mut regs: Registers) {
        if let Some(call) = self.tasks.get_mut(&tid).and_then(|task| task.call.as_mut())
            && call.regs.is_none()
        {
            regs.orig_rax = call.nr.into();
            set_args(&mut regs, call.args);
            call.regs = Some(regs);
        }
    }

    /// What a task waits in: `pause`, or `ppoll` with the mask which its call has for the time of its wait. Not for rt_sigsuspend,
    /// which runs natively in the end: a signal that its mask lets in must find it there.
    fn park_call(&self, tid: i32, args: [u64; 6]) -> (u32, [u64; 6]) {
        let call = self.tasks.get(&tid).and_then(|task| task.call.as_ref());
        let mask = match call.map(|call| call.nr) {
            Some(numbers::PPOLL) => args[3],
            Some(numbers::EPOLL_PWAIT | numbers::EPOLL_PWAIT2) => args[4],
            // A pointer to a pair of the mask's address and its size.
            Some(numbers::PSELECT6) if args[5] != 0 => Memory(tid).word(args[5]).unwrap_or(0),
            _ => 0,
        };
        if mask == 0 { (numbers::PAUSE, args) } else { (numbers::PPOLL, [0, 0, 0, mask, 8, 0]) }
    }

    /// A process's first program could not be executed: it ends with the status that shells give.
    fn fail_start(&mut self, tid: i32, mut regs: Registers, errno: i32) -> Result<(), Gone> {
        regs.rdi = if matches!(errno, libc::ENOENT | libc::ENOTDIR) { 127 } else { 126 };
        ptrace::set_registers(tid, &regs)?;
        self.observer.start_failed(tid, errno);
        self.counters.count(Column::Own, numbers::EXIT_GROUP);
        ptrace::resume(tid, Resume::Continue, 0)
    }

    pub(super) fn signal_task(&self, tid: i32, signal: i32) {
        if let Some(task) = self.tasks.get(&tid) {
            let _ = process::tgkill(task.tgid, tid, signal);
        }
    }
}

fn reply_to(listener: BorrowedFd<'_>, id: u64, reply: Reply) {
    match seccomp::reply(listener, id, reply) {
        // Killed meanwhile.
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => tracing::warn!("cannot answer a notification: {errno}"),
    }
}

/// Registers at a trap with another call in them.
pub(crate) fn with_call(regs: &Registers, nr: u32, args: [u64; 6]) -> Registers {
    let mut regs = *regs;
    regs.orig_rax = nr.into();
    set_args(&mut regs, args);
    regs
}

/// Registers with which a task, stopped after its `syscall` instruction, executes that instruction again.
pub(crate) fn reissue(regs: &Registers, nr: u32) -> Registers {
    let mut regs = *regs;
    regs.rip = regs.rip.wrapping_sub(2);
    regs.rax = nr.into();
    // Not in a system call any more: the kernel must not apply restart rules.
    regs.orig_rax = u64::MAX;
    regs
}
