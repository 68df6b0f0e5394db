//! Signals: delivery stops.

use super::{
    Engine,
    procfs::{Disposition, disposition},
    task::State,
};
use crate::sys::ptrace::{self, Gone, Resume};
use rsc_proto::{
    table::{self, Interruption},
    v1::{self, up},
};

impl Engine {
    /// A signal is about to be delivered. A task with a call in flight is held until the call is done or undone.
    pub(super) fn on_delivery(&mut self, tid: i32, signal: i32) -> Result<(), Gone> {
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        match task.state {
            State::Parked { .. } | State::Leaving if task.call.is_some() => {}
            State::Forbidden(_) if signal == libc::SIGSYS => return self.sigsys_delivery(tid),
            State::Reissued => {
                self.forget(tid);
                self.set_state(tid, State::Running);
                return ptrace::resume(tid, Resume::Continue, signal);
            }
            _ => return ptrace::resume(tid, Resume::Continue, signal),
        }
        if self.has_answer(tid) {
            return self.apply_stopped(tid, signal);
        }
        match disposition(tid, signal) {
            // Nothing that the program could see: the park goes on, or the task ends.
            Disposition::Ignored | Disposition::Fatal => ptrace::resume(tid, Resume::Continue, signal),
            Disposition::Handled | Disposition::Stops => {
                self.interrupt_call(tid);
                self.set_state(tid, State::Delivering { signal });
                Ok(())
            }
        }
    }

    fn interrupt_call(&mut self, tid: i32) {
        let Some(call) = self.tasks.get_mut(&tid).and_then(|task| task.call.as_mut()) else { return };
        let interruptible = table::lookup(call.nr).is_some_and(|entry| entry.interrupt != Interruption::Never);
        // What continues a wait is as interruptible as that.
        if (interruptible || call.nr == crate::platform::numbers::RESTART_SYSCALL) && !call.interrupted {
            call.interrupted = true;
            self.upstream.send(up::Body::Interrupt(v1::Interrupt { call: call.id }));
        }
    }
}
