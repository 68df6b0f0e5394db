//! A traced thread: what is done at each of its stops, in their order.

use super::{Stop, Tracer};
use crate::engine::memory::Memory;
use crate::remote::client::Window;
use crate::remote::core::{Caller, Core, Done, Process, Served, Then};
use crate::sys::process;
use crate::sys::ptrace::{self, Gone, Registers, Resume};
use rsc_proto::table::marshal::MemoryReader;
use std::rc::Rc;
use tokio::sync::mpsc;

/// The architecture whose calls the table describes. linux/audit.h.
pub(super) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// x32 calls, which are others.
const X32: u64 = 0x4000_0000;
/// What the ABI keeps below the stack's end for the function that runs.
const RED_ZONE: u64 = 128;
/// Room for a path.
const STRING: u64 = 4096;

/// A thread's memory, by process_vm_readv(2).
pub(super) struct TaskMemory(pub(super) i32);

impl Window for TaskMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        Memory(self.0).read(addr, buf)
    }

    fn write(&self, addr: u64, data: &[u8]) -> usize {
        Memory(self.0).write(addr, data)
    }
}

/// What is to be done at the end of a call that runs here.
enum AtExit {
    Nothing,
    Then(Then),
    /// The registers had other arguments for the time of the call.
    Restore(Box<Registers>),
}

/// See the module.
pub(super) struct Thread {
    pub(super) tracer: Rc<Tracer>,
    pub(super) tid: i32,
    pub(super) caller: Rc<Caller>,
    stops: mpsc::UnboundedReceiver<Stop>,
    at_exit: AtExit,
    /// What its call came to while it could not take it; the same call comes again.
    kept: Option<(u32, [u64; 6], Served)>,
}

/// The thread is not traced any more: it has ended, or was let go.
pub(super) struct Over;

impl From<Gone> for Over {
    fn from(Gone: Gone) -> Self {
        Over
    }
}

impl Thread {
    pub(super) fn new(
        tracer: Rc<Tracer>,
        tid: i32,
        process: Rc<Process>,
        stops: mpsc::UnboundedReceiver<Stop>,
    ) -> Self {
        let caller = Rc::new(Caller::new(tid, process, Rc::new(TaskMemory(tid))));
        Thread { tracer, tid, caller, stops, at_exit: AtExit::Nothing, kept: None }
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.tracer.core
    }

    /// From its first stop to its end.
    pub(super) async fn live(mut self) {
        // A request fails when the thread was killed; that its end is told as the end of its channel.
        while let Ok(stop) = self.next().await {
            let _ = self.on_stop(stop).await;
        }
    }

    pub(super) async fn next(&mut self) -> Result<Stop, Over> {
        self.stops.recv().await.ok_or(Over)
    }

    async fn on_stop(&mut self, stop: Stop) -> Result<(), Over> {
        match stop {
            Stop::Entry(arch) => self.on_entry(arch).await,
            Stop::Exit => self.on_exit().await,
            Stop::Signal(libc::SIGCONT) if self.tracer.has_continued(self.caller.process.tgid) => self.go_on(0),
            Stop::Signal(signal) => self.go_on(signal),
            Stop::Group => Ok(ptrace::resume(self.tid, Resume::Listen, 0)?),
            Stop::Execed => {
                self.at_exit = AtExit::Nothing;
                self.caller.process.execed();
                self.go_on(0)
            }
            Stop::Interrupted | Stop::Other => self.go_on(0),
        }
    }

    /// Lets it run to its next stop, or for good if that is what is wanted.
    pub(super) fn go_on(&mut self, signal: i32) -> Result<(), Over> {
        // Registers that are not its own must be put right first.
        if self.tracer.leaving.get() && !matches!(self.at_exit, AtExit::Restore(_)) {
            ptrace::detach(self.tid, signal)?;
            self.tracer.forget(self.tid, 0);
            return Ok(());
        }
        Ok(ptrace::resume(self.tid, Resume::ToExit, signal)?)
    }

    /// Before a call.
    async fn on_entry(&mut self, arch: u32) -> Result<(), Over> {
        let regs = ptrace::registers(self.tid)?;
        let Ok(number) = u32::try_from(regs.orig_rax) else { return self.go_on(0) };
        if arch != AUDIT_ARCH_X86_64 || regs.orig_rax & X32 != 0 {
            return self.go_on(0);
        }
        if !self.core().concerns(number) {
            self.caller.process.calls.ran_here(number);
            return self.go_on(0);
        }
        let args = crate::engine::args_of(&regs);
        let kept = self.kept.take_if(|kept| (kept.0, kept.1) == (number, args)).map(|kept| kept.2);
        let served = match kept {
            Some(served) => served,
            None => {
                let (core, caller) = (Rc::clone(self.core()), Rc::clone(&self.caller));
                let mut served = Box::pin(async move { core.serve(&caller, number, args).await });
                let held = self.while_held(&regs, number, served.as_mut()).await?;
                self.caller.count(number, held.as_ref());
                match held {
                    Some(served) => served,
                    // It has been dealt with where it was parked.
                    None => return Ok(()),
                }
            }
        };
        match served {
            Served::Here(then) => {
                self.at_exit = then.map_or(AtExit::Nothing, AtExit::Then);
                self.go_on(0)
            }
            Served::HereWith(strings) => self.here_with(&regs, strings),
            Served::Done(done) => self.done_at_entry(regs, done).await,
            Served::Map(memfd) => self.map(regs, memfd).await,
            Served::Replace(made) => self.replace(regs, made).await,
        }
    }

    fn here_with(&mut self, regs: &Registers, strings: Vec<(usize, Vec<u8>)>) -> Result<(), Over> {
        let mut changed = *regs;
        let mut args = crate::engine::args_of(regs);
        let mut addr = regs.rsp.wrapping_sub(RED_ZONE) & !15;
        for (at, mut string) in strings {
            string.push(0);
            addr = addr.wrapping_sub(STRING);
            if self.caller.window.write(addr, &string) != string.len() {
                return self.finish(*regs, -i64::from(libc::EFAULT));
            }
            if let Some(slot) = args.get_mut(at) {
                *slot = addr;
            }
        }
        crate::engine::set_args(&mut changed, args);
        ptrace::set_registers(self.tid, &changed)?;
        self.at_exit = AtExit::Restore(Box::new(*regs));
        Ok(ptrace::resume(self.tid, Resume::ToExit, 0)?)
    }

    /// The call was carried out elsewhere, and its thread is still before it.
    async fn done_at_entry(&mut self, regs: Registers, done: Done) -> Result<(), Over> {
        self.write_out(&done);
        let result = match done.made {
            Some(made) => match self.place(&regs, made).await? {
                Ok(number) => return self.return_from_exit(regs, number.into()),
                Err(errno) => -i64::from(errno as i32),
            },
            None => done.result,
        };
        self.finish(regs, result)
    }

    /// The same call comes again, and is to come to this.
    pub(super) fn keep(&mut self, number: u32, args: [u64; 6], served: Served) {
        self.kept = Some((number, args, served));
    }

    pub(super) fn write_out(&self, done: &Done) {
        for segment in &done.out {
            if self.caller.window.write(segment.addr, &segment.data) != segment.data.len() {
                tracing::debug!("a result of a call could not be written to its caller's memory");
            }
        }
        if done.signal != 0 {
            let _ = process::tgkill(self.caller.process.tgid, self.tid, done.signal);
        }
    }

    /// From before a call to its result, without carrying it out.
    fn finish(&mut self, mut regs: Registers, result: i64) -> Result<(), Over> {
        regs.orig_rax = u64::MAX;
        regs.rax = result as u64;
        ptrace::set_registers(self.tid, &regs)?;
        // Its stop after the call has nothing to do.
        self.at_exit = AtExit::Nothing;
        self.go_on(0)
    }

    /// From after a call, which was another one, to the result of the one that was meant.
    pub(super) fn return_from_exit(&mut self, mut regs: Registers, result: i64) -> Result<(), Over> {
        regs.orig_rax = u64::MAX;
        regs.rax = result as u64;
        ptrace::set_registers(self.tid, &regs)?;
        self.go_on(0)
    }

    /// After a call that ran here.
    async fn on_exit(&mut self) -> Result<(), Over> {
        match std::mem::replace(&mut self.at_exit, AtExit::Nothing) {
            AtExit::Nothing => {}
            AtExit::Then(then) => {
                let mut regs = ptrace::registers(self.tid)?;
                let before = regs.rax as i64;
                let core = Rc::clone(self.core());
                let result = core.after(&self.caller, then, before).await;
                if result != before {
                    regs.rax = result as u64;
                    ptrace::set_registers(self.tid, &regs)?;
                }
            }
            AtExit::Restore(before) => {
                let mut regs = *before;
                let now = ptrace::registers(self.tid)?;
                regs.rax = now.rax;
                regs.orig_rax = now.orig_rax;
                regs.rip = now.rip;
                ptrace::set_registers(self.tid, &regs)?;
            }
        }
        self.go_on(0)
    }
}
