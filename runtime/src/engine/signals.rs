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
        self.restore_info(tid, signal)?;
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

    /// The call of a task has a result, but waited under a mask of its own. As in Linux, where a result goes before signals, the mask
    /// ends with the call, and what it alone let in stays pending: the signal to go on with, 0 if it was put off.
    pub(super) fn end_mask(&mut self, tid: i32, signal: i32) -> Result<i32, Gone> {
        // With a mask to be restored this is that one.
        let mask = ptrace::signal_mask(tid)?;
        ptrace::set_signal_mask(tid, mask)?;
        if !(1..=64).contains(&signal) || mask & (1 << (signal - 1)) == 0 {
            return Ok(signal);
        }
        let info = ptrace::signal_info(tid)?;
        let tgid = self.tasks.get(&tid).map_or(tid, |task| task.tgid);
        if ptrace::queue_signal(tgid, tid, signal, &info).is_err() {
            self.put_off.insert((tid, signal), info);
            self.signal_task(tid, signal);
        }
        Ok(0)
    }

    /// A signal that was put off comes again, by our hand: it is to say what it said.
    fn restore_info(&mut self, tid: i32, signal: i32) -> Result<(), Gone> {
        if self.put_off.contains_key(&(tid, signal))
            && ptrace::signal_info(tid)?.is_from_outside()
            && let Some(info) = self.put_off.remove(&(tid, signal))
        {
            ptrace::set_signal_info(tid, &info)?;
        }
        Ok(())
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
