//! `mmap` of a file: a descriptor is added, the call is made with it, and the descriptor is closed.
//!
//! The trapped call is turned into the magic number, whose notification lets the descriptor in. At its exit the real call is made,
//! at that one's exit the close. Signals are blocked meanwhile, so that no handler runs in between.

use super::{
    Column, Engine,
    calls::{reissue, set_args},
    task::{Call, Cleaning, State},
};
use crate::{
    jail::loader::TRANSIENT_FDS,
    platform::numbers,
    sys::ptrace::{self, Gone, Registers, Resume},
};
use rsc_proto::v1::{self, task_event::What};
use std::os::fd::OwnedFd;

/// A mapping under way.
#[derive(Debug)]
pub(super) struct Mapping {
    step: Step,
    pub(super) fd: OwnedFd,
    pub(super) slot: u32,
    regs: Registers,
    args: [u64; 6],
    mask: u64,
    result: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Add,
    Map,
    Close,
}

impl Engine {
    /// Whether a fork that began after so many mappings may have copied a transient descriptor.
    pub(super) fn may_have_copied(&self, mappings: u64) -> bool {
        self.mappings != mappings || self.slots.len() < TRANSIENT_FDS.len()
    }

    /// A new child at its first stop has the transient descriptors closed before it returns to the program.
    pub(super) fn clean(&mut self, tid: i32) -> Result<(), Gone> {
        let regs = ptrace::registers(tid)?;
        let mask = ptrace::signal_mask(tid)?;
        ptrace::set_signal_mask(tid, u64::MAX)?;
        let mut close = reissue(&regs, numbers::CLOSE_RANGE);
        let (first, last) = (TRANSIENT_FDS.start, TRANSIENT_FDS.end - 1);
        set_args(&mut close, [first.into(), last.into(), 0, 0, 0, 0]);
        ptrace::set_registers(tid, &close)?;
        self.set_state(tid, State::Cleaning(Box::new(Cleaning { regs, mask })));
        ptrace::resume(tid, Resume::Continue, 0)
    }

    /// It is clean.
    pub(super) fn cleaned(&mut self, tid: i32, cleaning: &Cleaning) -> Result<(), Gone> {
        let mut regs = cleaning.regs;
        regs.orig_rax = u64::MAX;
        ptrace::set_registers(tid, &regs)?;
        ptrace::set_signal_mask(tid, cleaning.mask)?;
        ptrace::resume(tid, Resume::Continue, 0)
    }

    pub(super) fn may_map(&self, call: &Call) -> bool {
        call.nr == numbers::MMAP && call.args[3] & libc::MAP_ANONYMOUS as u64 == 0
    }

    /// The task is held at the trap of its `mmap`.
    pub(super) fn begin_map(&mut self, tid: i32, call: &Call, map: &v1::MapFile) -> Result<(), Gone> {
        let Some(regs) = call.regs else { return Ok(()) };
        let opened = map.source.as_ref().ok_or(libc::EIO).and_then(|source| {
            self.files.open(source, map.writable).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
        });
        let slot = self.slots.iter().next().copied();
        let (fd, slot) = match (opened, slot) {
            (Ok(fd), Some(slot)) => (fd, slot),
            (Err(errno), _) => return self.refuse_map(tid, regs, call, errno),
            (_, None) => return self.refuse_map(tid, regs, call, libc::ENFILE),
        };
        self.slots.remove(&slot);
        self.mappings += 1;
        let mask = ptrace::signal_mask(tid)?;
        ptrace::set_signal_mask(tid, u64::MAX)?;
        let mut magic = regs;
        magic.orig_rax = numbers::MAGIC.into();
        ptrace::set_registers(tid, &magic)?;
        let mapping = Mapping { step: Step::Add, fd, slot, regs, args: call.args, mask, result: 0 };
        self.set_state(tid, State::Mapping(Box::new(mapping)));
        ptrace::resume(tid, Resume::ToExit, 0)
    }

    fn refuse_map(&mut self, tid: i32, mut regs: Registers, call: &Call, errno: i32) -> Result<(), Gone> {
        regs.orig_rax = u64::MAX;
        regs.rax = (-i64::from(errno)) as u64;
        ptrace::set_registers(tid, &regs)?;
        self.set_state(tid, State::Running);
        self.tell_map(tid, regs.rax, call.args);
        ptrace::resume(tid, Resume::Continue, 0)
    }

    fn tell_map(&mut self, tid: i32, result: u64, args: [u64; 6]) {
        let Some(name) = self.tasks.get(&tid).map(|task| task.name) else { return };
        let result = v1::NativeResult { nr: numbers::MMAP, result: result as i64, args: args.to_vec() };
        self.event(name, 0, What::NativeResult(result));
    }

    /// The real call, or the close, is about to run.
    pub(super) fn map_trapped(&mut self, tid: i32, mapping: Box<Mapping>, nr: u32) -> Result<(), Gone> {
        self.counters.count(Column::Own, nr);
        self.set_state(tid, State::Mapping(mapping));
        ptrace::resume(tid, Resume::ToExit, 0)
    }

    /// A step is done.
    pub(super) fn map_exited(&mut self, tid: i32, mut mapping: Box<Mapping>, now: &Registers) -> Result<(), Gone> {
        let added = now.rax == 0;
        match mapping.step {
            Step::Add if added => {
                let mut args = mapping.args;
                args[4] = mapping.slot.into();
                mapping.step = Step::Map;
                self.map_step(tid, mapping, numbers::MMAP, args)
            }
            Step::Add => {
                mapping.result = now.rax;
                self.map_done(tid, &mapping)
            }
            Step::Map => {
                mapping.result = now.rax;
                mapping.step = Step::Close;
                let slot = u64::from(mapping.slot);
                self.map_step(tid, mapping, numbers::CLOSE_RANGE, [slot, slot, 0, 0, 0, 0])
            }
            Step::Close => self.map_done(tid, &mapping),
        }
    }

    fn map_step(&mut self, tid: i32, mapping: Box<Mapping>, nr: u32, args: [u64; 6]) -> Result<(), Gone> {
        let mut regs = reissue(&mapping.regs, nr);
        set_args(&mut regs, args);
        ptrace::set_registers(tid, &regs)?;
        self.set_state(tid, State::Mapping(mapping));
        ptrace::resume(tid, Resume::Continue, 0)
    }

    fn map_done(&mut self, tid: i32, mapping: &Mapping) -> Result<(), Gone> {
        self.slots.insert(mapping.slot);
        let mut regs = mapping.regs;
        regs.orig_rax = u64::MAX;
        regs.rax = mapping.result;
        ptrace::set_registers(tid, &regs)?;
        ptrace::set_signal_mask(tid, mapping.mask)?;
        self.set_state(tid, State::Running);
        self.tell_map(tid, mapping.result, mapping.args);
        ptrace::resume(tid, Resume::Continue, 0)
    }
}
