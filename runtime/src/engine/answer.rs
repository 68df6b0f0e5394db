//! Answers: what the sentry says of a call, checked and carried out in whatever state its task is.

use super::{
    CallRecord, Column, Engine, Outcome,
    calls::reissue,
    memory::Memory,
    procfs::{Disposition, disposition},
    task::{Call, State},
};
use crate::{
    platform::numbers,
    sys::{
        ptrace::{self, Gone, Resume},
        seccomp::Reply,
    },
};
use rsc_proto::{
    table::{self, nr},
    v1::{Answer, answer},
};
use std::time::Duration;

/// Calls whose result is how many bytes they have put into the caller's memory.
const READS: [u32; 5] = [nr::READ, nr::PREAD64, nr::READV, nr::PREADV, nr::PREADV2];

impl Engine {
    /// The sentry has answered a call.
    pub fn on_answer(&mut self, answer: Answer) {
        let Some(tid) = self.calls.get(&answer.call).copied() else { return };
        let Some(task) = self.tasks.get_mut(&tid) else { return };
        let Some(call) = task.call.as_mut().filter(|call| call.id == answer.call) else { return };
        if call.answer.is_some() {
            self.observer.refused("a second answer to one call");
            return;
        }
        call.answer = Some(answer);
        if task.group_stopped || self.frozen {
            return;
        }
        let _ = match task.state {
            State::Trapped => self.apply_trapped(tid),
            State::Notified { id } => {
                self.apply_notified(tid, id);
                Ok(())
            }
            State::Parked { asked: false } => {
                task.state = State::Parked { asked: true };
                ptrace::interrupt(tid)
            }
            State::Delivering { signal } => self.apply_stopped(tid, signal),
            // A stop is on its way.
            _ => Ok(()),
        };
    }

    /// What the answer to a task's call says, if it is there.
    fn outcome(&self, tid: i32) -> Option<&answer::Outcome> {
        self.tasks.get(&tid)?.call.as_ref()?.answer.as_ref()?.outcome.as_ref()
    }

    /// Takes the answered call from its task: checks the answer, writes its output, reports it. `None`: there is none.
    fn take_call(&mut self, tid: i32) -> Option<(Call, answer::Outcome)> {
        let call = self.tasks.get_mut(&tid)?.call.take_if(|call| call.answer.is_some())?;
        self.calls.remove(&call.id);
        let mut call = call;
        let answer = call.answer.take()?;
        let outcome = self.check(tid, &call, &answer);
        let told = match &outcome {
            answer::Outcome::Result(value) => Outcome::Result(*value),
            answer::Outcome::Native(_) => Outcome::Native,
            answer::Outcome::Exec(_) => Outcome::Exec,
            answer::Outcome::Map(_) => Outcome::Map,
            answer::Outcome::Sigsys(_) => Outcome::Sigsys,
        };
        match told {
            Outcome::Native => self.counters.count(Column::Native, call.nr),
            _ => self.counters.count(Column::Answered, call.nr),
        }
        self.observer.call(&CallRecord {
            tid: self.tasks.get(&tid).map_or(0, |task| task.name),
            nr: call.nr,
            args: &call.args,
            input: &call.input,
            output: &answer.out,
            outcome: told,
            elapsed: call.started.elapsed(),
            server: Duration::from_nanos(answer.server_ns),
        });
        if (1..=64).contains(&answer.signal) {
            self.signal_task(tid, answer.signal as i32);
        }
        Some((call, outcome))
    }

    /// What an answer may do to this very call. Anything else fails the call, and is told.
    fn check(&mut self, tid: i32, call: &Call, answer: &Answer) -> answer::Outcome {
        let error = |errno: i32| answer::Outcome::Result(-i64::from(errno));
        if !answer.out.iter().all(|segment| call.out.allows(segment.addr, segment.data.len() as u64)) {
            self.observer.refused("output outside the call's buffers");
            return error(libc::EIO);
        }
        let mut memory = Memory(tid);
        let (mut written, mut bytes) = (true, 0);
        for segment in &answer.out {
            let count = memory.write(segment.addr, &segment.data);
            bytes += count;
            written = count == segment.data.len();
            if !written {
                break;
            }
        }
        match &answer.outcome {
            Some(answer::Outcome::Result(value)) => {
                let restart = matches!(*value, -516 | -514 | -513 | -512);
                let strange = !restart && (-4095..=-512).contains(value);
                if strange || restart && !call.interrupted {
                    self.observer.refused("a restart code or an error that Linux does not have");
                    return error(libc::EIO);
                }
                // The kernel finds an unwritable buffer before it has done anything; here it is found after.
                match i64::try_from(bytes) {
                    _ if written || *value < 0 => answer::Outcome::Result(*value),
                    // A read ends where the memory does.
                    Ok(bytes @ 1..) if READS.contains(&call.nr) => answer::Outcome::Result(bytes.min(*value)),
                    _ => error(libc::EFAULT),
                }
            }
            Some(answer::Outcome::Native(native))
                if table::native_permitted(call.nr, &call.args, false) && self.names_only_own(call) =>
            {
                answer::Outcome::Native(*native)
            }
            Some(answer::Outcome::Exec(exec)) if self.may_exec(call) => answer::Outcome::Exec(exec.clone()),
            Some(answer::Outcome::Map(map)) if self.may_map(call) => answer::Outcome::Map(*map),
            Some(answer::Outcome::Sigsys(sigsys)) => answer::Outcome::Sigsys(*sigsys),
            Some(_) => {
                self.observer.refused("a call to be carried out in a way that it is not listed for");
                error(libc::EPERM)
            }
            None => {
                self.observer.refused("an answer without an outcome");
                error(libc::EIO)
            }
        }
    }

    /// The task is held at its call's trap, or at that of its park.
    pub(super) fn apply_trapped(&mut self, tid: i32) -> Result<(), Gone> {
        let Some((call, outcome)) = self.take_call(tid) else { return Ok(()) };
        let Some(mut regs) = call.regs else { return Ok(()) };
        match outcome {
            answer::Outcome::Result(value) => {
                self.note_result(tid, &call, value);
                regs.orig_rax = u64::MAX;
                regs.rax = value as u64;
                ptrace::set_registers(tid, &regs)?;
                self.set_state(tid, State::Running);
                ptrace::resume(tid, Resume::Continue, 0)
            }
            answer::Outcome::Native(native) => {
                regs.orig_rax = call.nr.into();
                ptrace::set_registers(tid, &regs)?;
                let report = native.report.then_some((call.nr, call.args));
                let how = if native.report { Resume::ToExit } else { Resume::Continue };
                self.set_state(tid, State::Native { report, mappings: self.mappings });
                ptrace::resume(tid, how, 0)
            }
            answer::Outcome::Exec(exec) => self.begin_exec(tid, &call, &exec),
            answer::Outcome::Map(map) => self.begin_map(tid, &call, &map),
            answer::Outcome::Sigsys(sigsys) => self.sigsys_trapped(tid, &regs, sigsys),
        }
    }

    /// The task waits in its call's notification.
    pub(super) fn apply_notified(&mut self, tid: i32, id: u64) {
        if matches!(self.outcome(tid), Some(answer::Outcome::Sigsys(_))) {
            // Only at a stop can the call be made another one.
            let _ = self.leave(tid, id);
            return;
        }
        let Some((call, outcome)) = self.take_call(tid) else { return };
        self.set_state(tid, State::Running);
        match outcome {
            answer::Outcome::Result(value) => {
                self.note_result(tid, &call, value);
                self.reply(tid, id, Reply::Result(value));
            }
            // Its arguments are registers, which the waiting task cannot change.
            answer::Outcome::Native(_) => self.reply(tid, id, Reply::Continue),
            // These are the control plane's.
            answer::Outcome::Exec(_) | answer::Outcome::Map(_) | answer::Outcome::Sigsys(_) => {
                self.reply(tid, id, Reply::Result(-i64::from(libc::EIO)))
            }
        }
    }

    /// The task is stopped outside of a trap, after its park was broken off: by us (`signal` 0) or by a signal's delivery.
    pub(super) fn apply_stopped(&mut self, tid: i32, signal: i32) -> Result<(), Gone> {
        let now = ptrace::registers(tid)?;
        self.note_registers(tid, now);
        match self.outcome(tid) {
            None | Some(answer::Outcome::Result(_)) => {}
            Some(answer::Outcome::Sigsys(_)) if signal == 0 => {}
            Some(_) => return self.again(tid, signal),
        }
        let Some((call, outcome)) = self.take_call(tid) else { return ptrace::resume(tid, Resume::Continue, signal) };
        if let (Some(regs), answer::Outcome::Sigsys(sigsys)) = (&call.regs, &outcome) {
            return self.sigsys_stopped(tid, regs, *sigsys);
        }
        let (Some(mut regs), answer::Outcome::Result(value)) = (call.regs, outcome) else { return Ok(()) };
        self.note_result(tid, &call, value);
        let restart = matches!(value, -516 | -514 | -513 | -512);
        let interrupted = restart || value == -i64::from(libc::EINTR);
        let masked = now.orig_rax == u64::from(numbers::PPOLL);
        let signal = if masked && !interrupted { self.end_mask(tid, signal)? } else { signal };
        // A restart code is the kernel's to interpret, as that of a call which it has interrupted itself.
        regs.orig_rax = if restart { call.nr.into() } else { u64::MAX };
        regs.rax = value as u64;
        ptrace::set_registers(tid, &regs)?;
        if let Some(task) = self.tasks.get_mut(&tid) {
            // With a handler the kernel makes it EINTR, and the wait is over.
            let handled = signal != 0 && disposition(tid, signal) == Disposition::Handled;
            task.restarts = (value == -516 && !handled).then_some(call.out);
            task.state = State::Running;
        }
        ptrace::resume(tid, Resume::Continue, signal)
    }

    /// The answer needs the tracer to rewrite the call, so the call is made again.
    fn again(&mut self, tid: i32, signal: i32) -> Result<(), Gone> {
        let Some(call) = self.tasks.get_mut(&tid).and_then(|task| task.call.as_mut()) else { return Ok(()) };
        let Some(regs) = call.regs else { return Ok(()) };
        ptrace::set_registers(tid, &reissue(&regs, call.nr))?;
        if signal == 0 {
            self.set_state(tid, State::Reissued);
        } else {
            // A handler may run first, and make calls: then the call is asked for afresh.
            self.forget(tid);
            self.set_state(tid, State::Running);
        }
        ptrace::resume(tid, Resume::Continue, signal)
    }

    /// Drops a call whose answer cannot be carried out now; it will come again.
    pub(super) fn forget(&mut self, tid: i32) {
        self.drop_call(tid);
    }

    fn note_result(&mut self, tid: i32, call: &Call, value: i64) {
        if value < 0
            && call.nr == crate::platform::numbers::EXECVE
            && let Some(starting) = self.starting.get_mut(&tid)
        {
            let errno = i32::try_from(-value).unwrap_or(libc::EIO);
            // The first that is not simply "not there" is what a person wants to know.
            if starting.errno.is_none_or(|errno| matches!(errno, libc::ENOENT | libc::ENOTDIR)) {
                starting.errno = Some(errno);
            }
        }
    }
}
