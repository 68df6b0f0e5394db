//! The compiler: from a [`Selection`] to the programs that look for it.
//!
//! A program begins with the mask of all targets that are possible and takes away those whose conditions fail, cheapest first. If one
//! is left, it writes a record and stops the process. `R7` has the address of the mask, `R6` a call's registers.
//!
//! The kernel's verifier follows every way through a program, and takes two for one where it knows nothing that sets them apart. So
//! the mask is in a map: in a register it would know which bits are left on each of 2^63 ways.

use crate::asm::{Alu, Asm, AsmError, Cond, Helper, Label, Reg, Size};
use crate::btf::Offsets;
use crate::event;
use crate::selection::{File, Literal, NAME_MAX, PATH_MAX, RELATIVE_MAX, Selection, Shape, Target};
use Reg::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};

/// The maps that programs use, by their descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    /// Call (or [`event::EXEC`]) → targets that it may be.
    pub(crate) targets: i32,
    /// 0 → the mask that is worked with, one for each processor.
    pub(crate) mask: i32,
    /// pid → targets that it is done with. The uppermost bit: it was answered for; all bits: it is ours.
    pub(crate) seen: i32,
    /// pid, of a process that was not answered for in time and is stopped by a signal → 1.
    pub(crate) stopped: i32,
    /// cgroup → targets that want it.
    pub(crate) cgroups: i32,
    /// Directory's inode number → targets whose program is below it.
    pub(crate) programs: i32,
    /// Directory's inode number → targets whose file is named from anywhere below it.
    pub(crate) below: i32,
    /// 0 → how many records had no room.
    pub(crate) lost: i32,
    /// The records.
    pub(crate) ring: i32,
}

/// The stack, downwards: the record, then what is worked with.
const RECORD: i16 = -event::LEN;
const COMM: i16 = RECORD - 16;
const NAME: i16 = COMM - 16;
const PID: i16 = NAME - 8;
const DONE: i16 = PID - 8;
const KEY: i16 = DONE - 8;
const TMP: i16 = KEY - 8;
const DENTRY: i16 = TMP - 8;
const MOUNT: i16 = DENTRY - 8;
const FOUND: i16 = MOUNT - 8;
/// Where the call's path, directory and address are in its registers; 0: it has none.
const PATH_AT: i16 = FOUND - 8;
const DIRFD_AT: i16 = PATH_AT - 8;
const ADDRESS_AT: i16 = DIRFD_AT - 8;

/// How far up a directory is looked for.
const LEVELS: i32 = 24;

/// Offsets in `struct pt_regs` of x86-64.
const ORIG_AX: i32 = 120;
const ARGUMENTS: [i32; 6] = [112, 104, 96, 56, 72, 64];

const SIGSTOP: i32 = libc::SIGSTOP;

/// How often it is looked for an answer, and how often in between for the time, which takes some: about a millisecond altogether. The
/// verifier remembers 8192 branches, of which a look has two.
const ROUNDS: i32 = 2000;
const PAUSE: usize = 16;
/// `BPF_RB_FORCE_WAKEUP`.
const WAKE: i32 = 2;

struct Compiler<'a> {
    asm: Asm,
    selection: &'a Selection,
    offsets: Option<&'a Offsets>,
    maps: Maps,
    /// Where the program ends without having found anything.
    out: Label,
}

/// For `sched_process_exec`: finds targets without calls. `None` if there are none.
pub(crate) fn exec_program(
    selection: &Selection,
    offsets: Option<&Offsets>,
    maps: Maps,
) -> Result<Option<Vec<u8>>, AsmError> {
    let targets = selection.mask(|target| target.calls.is_empty());
    if targets == 0 {
        return Ok(None);
    }
    let mut c = Compiler::new(selection, offsets, maps);
    c.clear_record();
    c.asm.store(Size::Word, R10, RECORD + event::NR, event::EXEC.cast_signed());
    c.targets();
    c.identify();
    // What was done with the program before does not count, unless the process is ours.
    c.asm.load(Size::Double, R1, R10, DONE);
    c.asm.jump_if(R1, Cond::Eq, -1, c.out);
    c.asm.store(Size::Double, R10, DONE, 0);
    c.process(targets, true);
    c.found();
    c.finish().map(Some)
}

/// For `sys_exit`: finds targets with calls. `None` if there are none.
///
/// When a call returns and not when it begins: its path is in memory by then, and no wait is broken off by the stop.
pub(crate) fn call_program(
    selection: &Selection,
    offsets: Option<&Offsets>,
    maps: Maps,
) -> Result<Option<Vec<u8>>, AsmError> {
    let numbers = selection.numbers();
    if numbers.is_empty() {
        return Ok(None);
    }
    let mut c = Compiler::new(selection, offsets, maps);
    c.asm.load(Size::Double, R8, R1, 8);
    c.asm.load(Size::Double, R6, R1, 0);
    c.read_at(R6, ORIG_AX, TMP);
    c.asm.load(Size::Double, R1, R10, TMP);
    let labels: Vec<(u32, Label)> = numbers.iter().map(|nr| (*nr, c.asm.label())).collect();
    c.choose(&labels);
    let common = c.asm.label();
    for (nr, label) in labels {
        c.asm.place(label);
        let shape = selection.shapes.get(&nr).copied().unwrap_or_default();
        for (slot, argument) in Compiler::slots(shape) {
            let at = argument.and_then(|index| ARGUMENTS.get(usize::from(index)).copied());
            c.asm.store(Size::Double, R10, slot, at.unwrap_or(0));
        }
        c.asm.mov64(R9, nr.into());
        c.asm.jump(common);
    }
    c.asm.place(common);
    c.clear_record();
    c.asm.store(Size::Word, R10, RECORD + event::NR, R9);
    c.asm.store(Size::Double, R10, RECORD + event::RESULT, R8);
    c.targets();
    c.identify();
    c.asm.load(Size::Double, R1, R10, DONE);
    c.asm.alu(Alu::Xor, R1, -1);
    c.keep(u64::MAX);
    c.end_if_none();
    let targets = selection.mask(|target| !target.calls.is_empty());
    c.port(targets);
    c.file(targets);
    c.process(targets, false);
    c.found();
    c.finish().map(Some)
}

/// For `sched_process_exit`: forgets the process.
pub(crate) fn exit_program(maps: Maps) -> Result<Vec<u8>, AsmError> {
    let mut asm = Asm::default();
    asm.call(Helper::PidTgid);
    asm.store(Size::Word, R10, -4, R0);
    for map in [maps.seen, maps.stopped] {
        asm.map(R1, map);
        asm.stack(R2, -4);
        asm.call(Helper::MapDelete);
    }
    asm.exit();
    asm.finish()
}

impl<'a> Compiler<'a> {
    fn new(selection: &'a Selection, offsets: Option<&'a Offsets>, maps: Maps) -> Self {
        let mut asm = Asm::default();
        let out = asm.label();
        Compiler { asm, selection, offsets, maps, out }
    }

    fn finish(mut self) -> Result<Vec<u8>, AsmError> {
        self.asm.place(self.out);
        self.asm.exit();
        self.asm.finish()
    }

    fn slots(shape: Shape) -> [(i16, Option<u8>); 3] {
        [(PATH_AT, shape.path), (DIRFD_AT, shape.dirfd), (ADDRESS_AT, shape.address)]
    }

    fn clear_record(&mut self) {
        for at in (RECORD..0).step_by(8) {
            self.asm.store(Size::Double, R10, at, 0);
        }
    }

    /// `*slot = *(base + offset)` in the kernel's memory; 0 if it can't be read.
    fn read_at(&mut self, base: Reg, offset: i32, slot: i16) {
        self.asm.mov(R3, base);
        self.asm.alu(Alu::Add, R3, offset);
        self.asm.mov(R2, 8);
        self.asm.stack(R1, slot);
        self.asm.call(Helper::ReadKernel);
    }

    /// Follows pointers from the one in slot `from` to slot `to`.
    fn follow(&mut self, from: i16, offsets: &[i32], to: i16) {
        let mut slot = from;
        for offset in offsets {
            self.asm.load(Size::Double, R3, R10, slot);
            self.read_at(R3, *offset, to);
            slot = to;
        }
    }

    /// `R0` = the address of the value at the key in `slot`, or 0.
    fn look_up(&mut self, map: i32, slot: i16) {
        self.asm.map(R1, map);
        self.asm.stack(R2, slot);
        self.asm.call(Helper::MapLookup);
    }

    /// A binary search for the number in `R1`.
    fn choose(&mut self, numbers: &[(u32, Label)]) {
        match numbers {
            [] => {}
            [(nr, label)] => {
                self.asm.jump_if(R1, Cond::Eq, nr.cast_signed(), *label);
                self.asm.jump(self.out);
            }
            _ => {
                let (low, high) = numbers.split_at(numbers.len() / 2);
                let right = self.asm.label();
                if let Some((last, _)) = low.last() {
                    self.asm.jump_if(R1, Cond::Gt, last.cast_signed(), right);
                }
                self.choose(low);
                self.asm.place(right);
                self.choose(high);
            }
        }
    }

    fn end_if_none(&mut self) {
        self.asm.load(Size::Double, R1, R7, 0);
        self.asm.jump_if(R1, Cond::Eq, 0, self.out);
    }

    /// Takes these targets away.
    fn drop_targets(&mut self, mask: u64) {
        self.asm.mov(R1, 0);
        self.keep(mask);
    }

    /// Of the targets in `mask`, keeps those whose bit is in `R1`.
    fn keep(&mut self, mask: u64) {
        self.asm.mov64(R2, !mask);
        self.asm.alu(Alu::Or, R1, R2);
        self.asm.load(Size::Double, R2, R7, 0);
        self.asm.alu(Alu::And, R1, R2);
        self.asm.store(Size::Double, R7, 0, R1);
    }

    /// Jumps if none of these targets is left.
    fn jump_if_gone(&mut self, mask: u64, to: Label) {
        self.asm.mov64(R1, mask);
        self.asm.load(Size::Double, R2, R7, 0);
        self.asm.alu(Alu::And, R1, R2);
        self.asm.jump_if(R1, Cond::Eq, 0, to);
    }

    /// Begins with all targets that this event may be.
    fn targets(&mut self) {
        self.look_up(self.maps.targets, RECORD + event::NR);
        self.asm.jump_if(R0, Cond::Eq, 0, self.out);
        self.asm.load(Size::Double, R8, R0, 0);
        self.asm.store(Size::Double, R10, KEY, 0);
        self.look_up(self.maps.mask, KEY);
        self.asm.jump_if(R0, Cond::Eq, 0, self.out);
        self.asm.mov(R7, R0);
        self.asm.store(Size::Double, R7, 0, R8);
    }

    /// Who this is, and what was done with it. Goes on if it is not ours.
    fn identify(&mut self) {
        self.asm.call(Helper::PidTgid);
        self.asm.store(Size::Double, R10, RECORD + event::TID, R0);
        self.asm.alu(Alu::Shr, R0, 32);
        self.asm.store(Size::Double, R10, PID, R0);
        self.asm.jump_if(R0, Cond::Eq, std::process::id().cast_signed(), self.out);
        self.asm.store(Size::Double, R10, DONE, 0);
        self.look_up(self.maps.seen, PID);
        let unknown = self.asm.label();
        self.asm.jump_if(R0, Cond::Eq, 0, unknown);
        self.asm.load(Size::Double, R1, R0, 0);
        self.asm.store(Size::Double, R10, DONE, R1);
        self.asm.place(unknown);
    }

    fn each(&self, among: u64) -> impl Iterator<Item = (u64, &'a Target)> + use<'a> {
        let bits = self.selection.targets.iter().enumerate().map(|(bit, target)| (1 << bit, target));
        bits.filter(move |(bit, _)| among & bit != 0)
    }

    /// Conditions of the process: user, cgroup, program.
    fn process(&mut self, among: u64, at_exec: bool) {
        self.asm.call(Helper::UidGid);
        self.asm.store(Size::Word, R10, RECORD + event::UID, R0);
        for (bit, target) in self.each(among) {
            if target.uids.is_empty() {
                continue;
            }
            let same = self.asm.label();
            self.asm.load(Size::Word, R1, R10, RECORD + event::UID);
            for uid in &target.uids {
                self.asm.mov64(R2, (*uid).into());
                self.asm.jump_if(R1, Cond::Eq, R2, same);
            }
            self.drop_targets(bit);
            self.asm.place(same);
        }
        self.end_if_none();
        self.asm.call(Helper::CgroupId);
        self.asm.store(Size::Double, R10, RECORD + event::CGROUP, R0);
        let grouped = among & self.selection.mask(|target| target.cgroup);
        if grouped != 0 {
            let unknown = self.asm.label();
            self.look_up(self.maps.cgroups, RECORD + event::CGROUP);
            self.asm.jump_if(R0, Cond::Eq, 0, unknown);
            self.asm.load(Size::Double, R1, R0, 0);
            self.keep(grouped);
            self.asm.place(unknown);
            self.end_if_none();
        }
        self.program(among, at_exec);
    }

    /// Where the program is and what it is called.
    fn program(&mut self, among: u64, at_exec: bool) {
        let named = among & self.selection.mask(|target| !target.names.is_empty());
        let placed = among & self.selection.mask(|target| !target.below.is_empty());
        // Without the kernel's structures there is only the thread's name, which a program that runs may have changed.
        if named | placed == 0 || (self.offsets.is_none() && !at_exec) {
            return;
        }
        let done = self.asm.label();
        self.jump_if_gone(named | placed, done);
        self.asm.stack(R1, COMM);
        self.asm.mov(R2, 16);
        self.asm.call(Helper::Comm);
        if let Some(offsets) = self.offsets {
            self.asm.call(Helper::CurrentTask);
            self.asm.store(Size::Double, R10, KEY, R0);
            self.follow(KEY, &[offsets.task_mm, offsets.mm_exe_file], TMP);
            self.follow(TMP, &[offsets.file_dentry], DENTRY);
            self.follow(TMP, &[offsets.file_mnt], MOUNT);
            self.follow(DENTRY, &[offsets.dentry_name], TMP);
            self.asm.load(Size::Double, R3, R10, TMP);
            self.asm.stack(R1, NAME);
            self.asm.mov(R2, 16);
            self.asm.call(Helper::ReadKernelStr);
        }
        for (bit, target) in self.each(named) {
            let same = self.asm.label();
            for name in &target.names {
                self.jump_if_named(COMM, name, NAME_MAX, same);
                if self.offsets.is_some() {
                    self.jump_if_named(NAME, name, NAME_MAX, same);
                }
            }
            self.drop_targets(bit);
            self.asm.place(same);
        }
        if let Some(offsets) = self.offsets
            && placed != 0
        {
            self.jump_if_gone(placed, done);
            self.asm.store(Size::Double, R10, FOUND, 0);
            self.walk(offsets, self.maps.programs);
            self.asm.load(Size::Double, R1, R10, FOUND);
            self.keep(placed);
        }
        self.asm.place(done);
        self.end_if_none();
    }

    /// Jumps if the zero-terminated string on the stack begins with the literal, or is it.
    fn jump_if_named(&mut self, at: i16, literal: &Literal, max: usize, same: Label) {
        let differs = self.asm.label();
        let mut bytes = literal.bytes.get(..literal.bytes.len().min(max)).unwrap_or_default().to_vec();
        if literal.whole && literal.bytes.len() <= max {
            bytes.push(0);
        }
        for (chunk, at) in bytes.chunks(8).zip((at..).step_by(8)) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.asm.load(Size::Double, R1, R10, at);
            if chunk.len() < 8 {
                self.asm.mov64(R2, (1 << (8 * chunk.len())) - 1);
                self.asm.alu(Alu::And, R1, R2);
            }
            self.asm.mov64(R2, u64::from_le_bytes(word));
            self.asm.jump_if(R1, Cond::Ne, R2, differs);
        }
        self.asm.jump(same);
        self.asm.place(differs);
    }

    /// Goes up from the directory in `DENTRY` and `MOUNT`; adds to `FOUND` what the map has for any on the way.
    fn walk(&mut self, offsets: &Offsets, map: i32) {
        let [next, end, up, unlisted, on] = [(); 5].map(|()| self.asm.label());
        self.asm.mov(R9, LEVELS);
        self.asm.place(next);
        self.follow(DENTRY, &[offsets.dentry_inode, offsets.inode_ino], KEY);
        self.look_up(map, KEY);
        self.asm.jump_if(R0, Cond::Eq, 0, unlisted);
        self.asm.load(Size::Double, R1, R0, 0);
        self.asm.load(Size::Double, R2, R10, FOUND);
        self.asm.alu(Alu::Or, R1, R2);
        self.asm.store(Size::Double, R10, FOUND, R1);
        self.asm.place(unlisted);
        self.follow(MOUNT, &[offsets.mnt_root], TMP);
        self.asm.load(Size::Double, R1, R10, TMP);
        self.asm.load(Size::Double, R2, R10, DENTRY);
        self.asm.jump_if(R1, Cond::Ne, R2, up);
        // The root of a mount: on to where it is mounted.
        self.follow(MOUNT, &[offsets.mount_mountpoint - offsets.mount_mnt], DENTRY);
        self.follow(MOUNT, &[offsets.mount_parent - offsets.mount_mnt], TMP);
        self.asm.load(Size::Double, R1, R10, TMP);
        self.asm.alu(Alu::Add, R1, offsets.mount_mnt);
        self.asm.load(Size::Double, R2, R10, MOUNT);
        self.asm.jump_if(R1, Cond::Eq, R2, end);
        self.asm.store(Size::Double, R10, MOUNT, R1);
        self.asm.jump(on);
        self.asm.place(up);
        self.follow(DENTRY, &[offsets.dentry_parent], TMP);
        self.asm.load(Size::Double, R1, R10, TMP);
        self.asm.load(Size::Double, R2, R10, DENTRY);
        self.asm.jump_if(R1, Cond::Eq, R2, end);
        self.asm.store(Size::Double, R10, DENTRY, R1);
        self.asm.place(on);
        self.asm.alu(Alu::Sub, R9, 1);
        self.asm.jump_if(R9, Cond::Ne, 0, next);
        self.asm.place(end);
    }

    /// The call's argument whose place is in `slot`, to `TMP`; to `none` if it has none.
    fn argument(&mut self, slot: i16, none: Label) {
        self.asm.load(Size::Double, R3, R10, slot);
        self.asm.jump_if(R3, Cond::Eq, 0, none);
        self.asm.alu(Alu::Add, R3, R6);
        self.asm.mov(R2, 8);
        self.asm.stack(R1, TMP);
        self.asm.call(Helper::ReadKernel);
    }

    /// The port in the call's address.
    fn port(&mut self, among: u64) {
        let ported = among & self.selection.mask(|target| !target.ports.is_empty());
        if ported == 0 {
            return;
        }
        let [none, internet, done] = [(); 3].map(|()| self.asm.label());
        self.jump_if_gone(ported, done);
        self.argument(ADDRESS_AT, none);
        self.asm.load(Size::Double, R3, R10, TMP);
        self.asm.mov(R2, 8);
        self.asm.stack(R1, RECORD + event::ADDRESS);
        self.asm.call(Helper::ReadUser);
        self.asm.jump_if(R0, Cond::Ne, 0, none);
        self.asm.load(Size::Half, R1, R10, RECORD + event::ADDRESS);
        self.asm.jump_if(R1, Cond::Eq, libc::AF_INET, internet);
        self.asm.jump_if(R1, Cond::Ne, libc::AF_INET6, none);
        self.asm.place(internet);
        for (bit, target) in self.each(ported) {
            let same = self.asm.label();
            for range in &target.ports {
                self.asm.load(Size::Half, R1, R10, RECORD + event::ADDRESS + 2);
                self.asm.from_be16(R1);
                // What is below the range wraps round to above it.
                self.asm.alu(Alu::Sub, R1, i32::from(*range.start()));
                self.asm.mov(R2, i32::from(range.end().saturating_sub(*range.start())) + 1);
                self.asm.jump_if(R2, Cond::Gt, R1, same);
            }
            self.drop_targets(bit);
            self.asm.place(same);
        }
        self.asm.jump(done);
        self.asm.place(none);
        self.drop_targets(ported);
        self.asm.place(done);
        self.end_if_none();
    }

    /// The call's path.
    fn file(&mut self, among: u64) {
        let filed = among & self.selection.mask(|target| target.file.is_some());
        if filed == 0 {
            return;
        }
        let [none, at_cwd, relative, absolute, done] = [(); 5].map(|()| self.asm.label());
        self.jump_if_gone(filed, done);
        self.asm.store(Size::Word, R10, RECORD + event::DIRFD, libc::AT_FDCWD);
        self.argument(DIRFD_AT, at_cwd);
        self.asm.load(Size::Word, R1, R10, TMP);
        self.asm.store(Size::Word, R10, RECORD + event::DIRFD, R1);
        self.asm.place(at_cwd);
        self.argument(PATH_AT, none);
        self.asm.load(Size::Double, R3, R10, TMP);
        self.asm.mov(R2, i32::from(event::PATH_LEN));
        self.asm.stack(R1, RECORD + event::PATH);
        self.asm.call(Helper::ReadUserStr);
        self.asm.jump_if(R0, Cond::Negative, 0, none);
        self.asm.load(Size::Byte, R1, R10, RECORD + event::PATH);
        self.asm.jump_if(R1, Cond::Eq, i32::from(b'/'), absolute);
        self.asm.place(relative);
        match self.offsets {
            Some(offsets) => self.relative(offsets, filed),
            None => self.drop_targets(filed),
        }
        self.asm.jump(done);
        self.asm.place(absolute);
        for (bit, target) in self.each(filed) {
            let Some(File { names, .. }) = &target.file else { continue };
            let same = self.asm.label();
            for name in names {
                self.jump_if_named(RECORD + event::PATH, name, PATH_MAX, same);
            }
            self.drop_targets(bit);
            self.asm.place(same);
        }
        self.asm.jump(done);
        self.asm.place(none);
        self.drop_targets(filed);
        self.asm.place(done);
        self.end_if_none();
    }

    /// A relative path may lead anywhere below the directory that it begins at; which that is, is known.
    fn relative(&mut self, offsets: &Offsets, filed: u64) {
        let [cwd, walk] = [(); 2].map(|()| self.asm.label());
        self.asm.call(Helper::CurrentTask);
        self.asm.store(Size::Double, R10, KEY, R0);
        self.asm.load(Size::Word, R1, R10, RECORD + event::DIRFD);
        self.asm.mov64(R2, u64::from(libc::AT_FDCWD.cast_unsigned()));
        self.asm.jump_if(R1, Cond::Eq, R2, cwd);
        self.follow(KEY, &[offsets.task_files, offsets.files_fdt, offsets.fdt_fd], TMP);
        self.asm.load(Size::Double, R3, R10, TMP);
        self.asm.load(Size::Word, R1, R10, RECORD + event::DIRFD);
        self.asm.alu(Alu::Shl, R1, 3);
        self.asm.alu(Alu::Add, R3, R1);
        self.read_at(R3, 0, TMP);
        self.follow(TMP, &[offsets.file_dentry], DENTRY);
        self.follow(TMP, &[offsets.file_mnt], MOUNT);
        self.asm.jump(walk);
        self.asm.place(cwd);
        self.follow(KEY, &[offsets.task_fs], TMP);
        self.follow(TMP, &[offsets.fs_pwd_dentry], DENTRY);
        self.follow(TMP, &[offsets.fs_pwd_mnt], MOUNT);
        self.asm.place(walk);
        self.asm.store(Size::Double, R10, FOUND, 0);
        self.follow(DENTRY, &[offsets.dentry_inode, offsets.inode_ino], KEY);
        for (bit, target) in self.each(filed) {
            let Some(File { from, .. }) = target.file.as_ref().filter(|file| !file.from.is_empty()) else { continue };
            let (leads, on) = (self.asm.label(), self.asm.label());
            for (inode, name) in from {
                let elsewhere = self.asm.label();
                self.asm.load(Size::Double, R1, R10, KEY);
                self.asm.mov64(R2, *inode);
                self.asm.jump_if(R1, Cond::Ne, R2, elsewhere);
                self.jump_if_named(RECORD + event::PATH, name, RELATIVE_MAX, leads);
                self.asm.place(elsewhere);
            }
            self.asm.jump(on);
            self.asm.place(leads);
            self.asm.load(Size::Double, R1, R10, FOUND);
            self.asm.mov64(R2, bit);
            self.asm.alu(Alu::Or, R1, R2);
            self.asm.store(Size::Double, R10, FOUND, R1);
            self.asm.place(on);
        }
        self.walk(offsets, self.maps.below);
        self.asm.load(Size::Double, R1, R10, FOUND);
        self.keep(filed);
    }

    /// The process's entry in a map becomes what is in `DONE`.
    fn update(&mut self, map: i32) {
        self.asm.map(R1, map);
        self.asm.stack(R2, PID);
        self.asm.stack(R3, DONE);
        self.asm.mov(R4, 0);
        self.asm.call(Helper::MapUpdate);
    }

    fn jump_if_answered(&mut self, to: Label) {
        let not = self.asm.label();
        self.look_up(self.maps.seen, PID);
        self.asm.jump_if(R0, Cond::Eq, 0, not);
        self.asm.load(Size::Double, R1, R0, 0);
        self.asm.jump_if(R1, Cond::Negative, 0, to);
        self.asm.place(not);
    }

    /// One is left: says so, and holds the process. First it waits here, which nobody can see; if no answer comes in time, it
    /// stops the process by a signal. In this order, so that nothing stays stopped that nobody knows of.
    fn found(&mut self) {
        let [no_room, again, unanswered, answered] = [(); 4].map(|()| self.asm.label());
        self.asm.load(Size::Double, R2, R7, 0);
        self.asm.store(Size::Double, R10, RECORD + event::MASK, R2);
        self.asm.load(Size::Double, R1, R10, DONE);
        self.asm.alu(Alu::Or, R1, R2);
        // An answer to what was found before is none to this.
        self.asm.mov64(R2, !(1 << 63));
        self.asm.alu(Alu::And, R1, R2);
        self.asm.store(Size::Double, R10, DONE, R1);
        self.update(self.maps.seen);
        self.asm.map(R1, self.maps.ring);
        self.asm.stack(R2, RECORD);
        self.asm.mov(R3, i32::from(event::LEN));
        self.asm.mov(R4, WAKE);
        self.asm.call(Helper::RingOutput);
        self.asm.jump_if(R0, Cond::Ne, 0, no_room);
        // Of one processor, whoever waits keeps the others from working.
        if std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1) {
            self.asm.mov(R9, ROUNDS);
            self.asm.place(again);
            self.jump_if_answered(self.out);
            (0..PAUSE).for_each(|_| self.asm.call(Helper::Time));
            self.asm.alu(Alu::Sub, R9, 1);
            self.asm.jump_if(R9, Cond::Ne, 0, again);
        }
        // Either the one who answers now sees this, or we see the answer.
        self.asm.store(Size::Double, R10, DONE, 1);
        self.update(self.maps.stopped);
        self.jump_if_answered(answered);
        self.asm.jump(unanswered);
        self.asm.place(answered);
        self.asm.map(R1, self.maps.stopped);
        self.asm.stack(R2, PID);
        self.asm.call(Helper::MapDelete);
        self.asm.jump(self.out);
        self.asm.place(unanswered);
        self.asm.mov(R1, SIGSTOP);
        self.asm.call(Helper::SendSignal);
        self.asm.jump(self.out);
        self.asm.place(no_room);
        self.asm.store(Size::Double, R10, KEY, 0);
        self.look_up(self.maps.lost, KEY);
        self.asm.jump_if(R0, Cond::Eq, 0, self.out);
        self.asm.load(Size::Double, R1, R0, 0);
        self.asm.alu(Alu::Add, R1, 1);
        self.asm.store(Size::Double, R0, 0, R1);
    }
}
