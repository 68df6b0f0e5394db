//! Calls that the container's seccomp profile answers with SIGSYS.
//!
//! What Linux does then no signal from outside can do: it kills in spite of handlers and masks, one thread alone if need be, and
//! traps with a `siginfo_t` of its own. So the task makes another call in the place of the forbidden one, and the host's filter
//! does just that.

use super::{
    Column, Engine,
    calls::{reissue, with_call},
    task::State,
};
use crate::{
    platform::numbers,
    sys::ptrace::{self, Gone, Registers, Resume},
};
use rsc_proto::v1::{Sigsys, sigsys::Kind};

/// Registers at the trap of the call that takes the forbidden one's place.
fn instead(regs: &Registers, kind: Kind) -> Registers {
    let mark = match kind {
        Kind::KillProcess => numbers::MARK_KILL_PROCESS,
        Kind::KillThread => numbers::MARK_KILL_THREAD,
        Kind::Trap => numbers::MARK_TRAP,
    };
    let mut args = super::calls::args_of(regs);
    args[0] = mark.into();
    with_call(regs, numbers::SIGSYS, args)
}

impl Engine {
    fn forbid(&mut self, tid: i32, regs: &Registers, kind: Kind, now: &Registers) -> Result<(), Gone> {
        ptrace::set_registers(tid, now)?;
        let state = match kind {
            Kind::Trap => State::Forbidden(Box::new(*regs)),
            Kind::KillProcess | Kind::KillThread => State::Running,
        };
        self.set_state(tid, state);
        ptrace::resume(tid, Resume::Continue, 0)
    }

    /// The task is held at the forbidden call's trap, where its registers were these.
    pub(super) fn sigsys_trapped(&mut self, tid: i32, regs: &Registers, sigsys: Sigsys) -> Result<(), Gone> {
        self.forbid(tid, regs, sigsys.kind(), &instead(regs, sigsys.kind()))
    }

    /// The task stands behind the forbidden call, whose registers were these.
    pub(super) fn sigsys_stopped(&mut self, tid: i32, regs: &Registers, sigsys: Sigsys) -> Result<(), Gone> {
        self.counters.count(Column::Own, numbers::SIGSYS);
        self.forbid(tid, regs, sigsys.kind(), &reissue(&instead(regs, sigsys.kind()), numbers::SIGSYS))
    }

    /// SIGSYS is about to be delivered: the program is shown the call that it made.
    pub(super) fn sigsys_delivery(&mut self, tid: i32) -> Result<(), Gone> {
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        if let State::Forbidden(mut regs) = std::mem::replace(&mut task.state, State::Running) {
            let nr = regs.orig_rax;
            let info = ptrace::signal_info(tid)?.with_syscall(nr as u32);
            ptrace::set_signal_info(tid, &info)?;
            // As at its entry.
            regs.rax = nr;
            ptrace::set_registers(tid, &regs)?;
        }
        ptrace::resume(tid, Resume::Continue, libc::SIGSYS)
    }
}
