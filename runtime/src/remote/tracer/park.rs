//! A thread whose call takes long: it is parked in native pause(2), where signals reach it.
//!
//! docs/decisions/0007-waits-are-parked.md.

use super::{
    Stop,
    thread::{Over, Thread},
};
use crate::engine::procfs::{Disposition, disposition};
use crate::remote::core::Served;
use crate::sys::ptrace::{self, Registers, Resume};
use nix::errno::Errno;
use rsc_proto::table::{Interruption, lookup, nr};
use std::pin::Pin;
use std::time::Duration;

/// A call that takes longer parks its thread.
const PARK_AFTER: Duration = Duration::from_millis(4);

impl Thread {
    /// Waits for what a call comes to. Soon, and the thread is still before its call; else it was parked, and is on its way again.
    pub(super) async fn while_held(
        &mut self,
        regs: &Registers,
        number: u32,
        mut served: Pin<&mut (impl Future<Output = Served> + ?Sized)>,
    ) -> Result<Option<Served>, Over> {
        tokio::select! {
            biased;
            served = &mut served => return Ok(Some(served)),
            () = tokio::time::sleep(PARK_AFTER) => {}
        }
        let interruptible = lookup(number).is_some_and(|call| call.interrupt != Interruption::Never);
        ptrace::set_registers(self.tid, &crate::engine::with_call(regs, nr::PAUSE, [0; 6]))?;
        ptrace::resume(self.tid, Resume::ToExit, 0)?;
        let mut answer = None;
        loop {
            let stop = tokio::select! {
                biased;
                stop = self.next() => stop?,
                served = &mut served, if answer.is_none() => {
                    answer = Some(served);
                    // Its stop brings us to the end of the park.
                    ptrace::interrupt(self.tid)?;
                    continue;
                }
            };
            match stop {
                // The park again, after something that was nothing.
                Stop::Entry(_) if answer.is_some() => {
                    // Still before a call: as if it had never been parked.
                    ptrace::set_registers(self.tid, regs)?;
                    return Ok(answer);
                }
                Stop::Exit if answer.is_some() || self.tracer.leaving.get() => {
                    if answer.is_none() {
                        self.caller.interrupt();
                    }
                    let served = match answer.take() {
                        Some(served) => served,
                        None => served.await,
                    };
                    self.settle(regs, number, served).await?;
                    return Ok(None);
                }
                Stop::Signal(signal) => {
                    let ends = !matches!(disposition(self.tid, signal), Disposition::Ignored | Disposition::Fatal);
                    if !ends || !interruptible && answer.is_none() {
                        ptrace::resume(self.tid, Resume::ToExit, signal)?;
                        continue;
                    }
                    if answer.is_none() {
                        self.caller.interrupt();
                    }
                    let served = match answer.take() {
                        Some(served) => served,
                        None => served.await,
                    };
                    self.settle_at_signal(regs, number, served, signal)?;
                    return Ok(None);
                }
                Stop::Group => ptrace::resume(self.tid, Resume::Listen, 0)?,
                // Its program is another one: the call is nobody's.
                Stop::Execed => {
                    self.go_on(0)?;
                    return Ok(None);
                }
                Stop::Entry(_) | Stop::Exit | Stop::Interrupted | Stop::Other => {
                    ptrace::resume(self.tid, Resume::ToExit, 0)?;
                }
            }
        }
    }

    /// The thread is behind its park; no signal.
    async fn settle(&mut self, regs: &Registers, number: u32, served: Served) -> Result<(), Over> {
        match served {
            Served::Done(done) if done.made.is_none() && !is_restart(done.result) => {
                self.write_out(&done);
                self.return_from_exit(*regs, done.result)
            }
            // Made again, as a call of its own, at whose stop the rest is done.
            Served::Done(done) if is_restart(done.result) => {
                ptrace::set_registers(self.tid, &crate::engine::reissue(regs, number))?;
                self.go_on(0)
            }
            served => {
                self.keep(number, crate::engine::args_of(regs), served);
                ptrace::set_registers(self.tid, &crate::engine::reissue(regs, number))?;
                self.go_on(0)
            }
        }
    }

    /// The thread is behind its park, before the delivery of a signal.
    fn settle_at_signal(&mut self, regs: &Registers, number: u32, served: Served, signal: i32) -> Result<(), Over> {
        let mut back = *regs;
        match served {
            Served::Done(done) if done.made.is_none() => {
                self.write_out(&done);
                // A restart code is the kernel's to interpret, as that of a call which it has interrupted itself.
                back.orig_rax = if is_restart(done.result) { number.into() } else { u64::MAX };
                back.rax = done.result as u64;
            }
            Served::Done(done) => {
                // A descriptor is put in where its call is made again, after the handler.
                self.keep(number, crate::engine::args_of(regs), Served::Done(done));
                back = crate::engine::reissue(regs, number);
            }
            Served::Here(_) | Served::HereWith(_) | Served::Map(_) | Served::Replace(_) => {
                back.orig_rax = u64::MAX;
                back.rax = (-i64::from(Errno::EINTR as i32)) as u64;
            }
        }
        ptrace::set_registers(self.tid, &back)?;
        self.go_on(signal)
    }
}

fn is_restart(result: i64) -> bool {
    matches!(result, -516 | -514 | -513 | -512)
}
