//! execve(2): the kernel executes the loader, which then loads what the sentry resolved.

use super::{
    Column, Engine, Starting,
    calls::args_of,
    image::{self, FDS, Step},
    memory::Memory,
    stack::{self, Builder, Vectors},
    task::{Call, State},
};
use crate::{
    jail::loader::LOADER_FD,
    platform::numbers,
    sys::{
        process,
        ptrace::{self, Gone, Registers, Resume},
        seccomp,
    },
};
use rsc_proto::{
    abi::elf::Elf,
    v1::{self, task_event::What},
};
use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A program that the kernel's exec of the loader is under way for.
#[derive(Debug)]
pub(super) struct ExecPlan {
    exec: v1::Exec,
    program: (Elf, OwnedFd),
    interpreter: Option<(Elf, OwnedFd)>,
    /// As the workload left them, for an exec that fails.
    regs: Registers,
}

/// The loader at work.
#[derive(Debug)]
pub(super) struct Loading {
    program: OwnedFd,
    interpreter: Option<OwnedFd>,
    /// Calls which it still has to make, in order.
    expected: VecDeque<(u32, [u64; 6])>,
}

impl Loading {
    /// Puts the program and its interpreter into the task.
    pub(super) fn add_fds(&self, listener: BorrowedFd<'_>, id: u64) -> nix::Result<()> {
        seccomp::add_fd(listener, id, self.program.as_fd(), FDS.0)?;
        match &self.interpreter {
            Some(interpreter) => seccomp::add_fd(listener, id, interpreter.as_fd(), FDS.1),
            None => Ok(()),
        }
    }
}

impl Engine {
    pub(super) fn may_exec(&self, call: &Call) -> bool {
        matches!(call.nr, numbers::EXECVE | numbers::EXECVEAT)
    }

    /// The task is held at the trap of its exec.
    pub(super) fn begin_exec(&mut self, tid: i32, call: &Call, exec: &v1::Exec) -> Result<(), Gone> {
        let Some(regs) = call.regs else { return Ok(()) };
        let opened = self.open_elf(exec.program.as_ref()).and_then(|program| {
            let interpreter = exec.interpreter.as_ref().map(|source| self.open_elf(Some(source))).transpose()?;
            Ok((program, interpreter))
        });
        let (program, interpreter) = match opened {
            Ok(opened) => opened,
            Err(errno) => {
                self.tell_exec_failed(tid, errno);
                let mut regs = regs;
                regs.orig_rax = u64::MAX;
                regs.rax = (-i64::from(errno)) as u64;
                ptrace::set_registers(tid, &regs)?;
                self.set_state(tid, State::Running);
                return ptrace::resume(tid, Resume::Continue, 0);
            }
        };
        let (argv, envp) = match call.nr {
            numbers::EXECVE => (call.args[1], call.args[2]),
            _ => (call.args[2], call.args[3]),
        };
        let mut rewritten = regs;
        rewritten.orig_rax = numbers::EXECVEAT.into();
        rewritten.rdi = LOADER_FD as u64;
        // The end of the path that was given: an empty string.
        rewritten.rsi = call.empty_string;
        rewritten.rdx = argv;
        rewritten.r10 = envp;
        rewritten.r8 = libc::AT_EMPTY_PATH as u64;
        ptrace::set_registers(tid, &rewritten)?;
        self.counters.count(Column::Own, numbers::EXECVEAT);
        let plan = ExecPlan { exec: exec.clone(), program, interpreter, regs };
        self.set_state(tid, State::Executing(Box::new(plan)));
        ptrace::resume(tid, Resume::ToExit, 0)
    }

    fn open_elf(&mut self, source: Option<&v1::FileSource>) -> Result<(Elf, OwnedFd), i32> {
        let source = source.ok_or(libc::EIO)?;
        let file = self.files.open(source, false).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
        image::read_elf(file)
    }

    fn tell_exec_failed(&mut self, tid: i32, errno: i32) {
        if let Some(task) = self.tasks.get(&tid) {
            let name = task.name;
            self.event(name, 0, What::ExecFailed(v1::ExecFailed { errno }));
        }
    }

    /// The kernel would not execute the loader: bad pointers, too many arguments, no memory.
    pub(super) fn exec_refused(&mut self, tid: i32, plan: &ExecPlan, now: &Registers) -> Result<(), Gone> {
        let errno = i32::try_from((now.rax as i64).saturating_neg()).unwrap_or(libc::EIO);
        self.tell_exec_failed(tid, errno);
        let mut regs = plan.regs;
        regs.orig_rax = u64::MAX;
        regs.rax = now.rax;
        ptrace::set_registers(tid, &regs)?;
        ptrace::resume(tid, Resume::Continue, 0)
    }

    /// The task is at its exec event, in a fresh address space with the loader alone.
    pub(super) fn load(&mut self, tid: i32, plan: &ExecPlan) -> Result<(), Gone> {
        let mut regs = ptrace::registers(tid)?;
        let Some((loading, sp, script)) = prepare(tid, plan, regs.rsp) else {
            // Past the point of no return the kernel, too, can only kill.
            tracing::warn!("cannot lay out a program for task {tid}");
            let _ = process::kill(tid, libc::SIGKILL);
            return Ok(());
        };
        regs.rsp = sp;
        regs.rdi = script;
        ptrace::set_registers(tid, &regs)?;
        self.set_state(tid, State::Loading(Box::new(loading)));
        ptrace::resume(tid, Resume::Continue, 0)
    }

    /// A call of the loader: let through when it is the one to come.
    pub(super) fn loading_trapped(
        &mut self,
        tid: i32,
        mut loading: Box<Loading>,
        regs: &Registers,
    ) -> Result<(), Gone> {
        let nr = regs.orig_rax as u32;
        let args = args_of(regs);
        // Those which the filter lets through are not seen.
        while let Some((expected, expected_args)) = loading.expected.pop_front() {
            if expected == nr && expected_args == args {
                self.counters.count(Column::Own, nr);
                let done = loading.expected.is_empty();
                self.set_state(tid, if done { State::Running } else { State::Loading(loading) });
                return ptrace::resume(tid, Resume::Continue, 0);
            }
        }
        tracing::error!("the loader of task {tid} does not do what it was told");
        let _ = process::kill(tid, libc::SIGKILL);
        Ok(())
    }

    /// Lets the container's program begin: init leaves the loader's first instruction to execute it.
    pub fn start(&mut self) {
        let (program, path) = (std::mem::take(&mut self.options.program), std::mem::take(&mut self.options.path));
        self.start_root(self.init, &program, &path);
    }

    /// Lets a process that is held in the loader begin with `program`, looked for in `path`. None is held: nothing happens.
    pub fn start_root(&mut self, pid: i32, program: &[u8], path: &[u8]) {
        if !matches!(self.tasks.get(&pid).map(|task| &task.state), Some(State::Held)) {
            return;
        }
        self.starting.insert(pid, Starting::default());
        self.set_state(pid, State::Running);
        if self.begin_start(pid, program, path).is_none() {
            let _ = process::kill(pid, libc::SIGKILL);
        }
    }

    /// Writes the loader's first script: `execve` of each place where the program may be, and an exit if there is none.
    fn begin_start(&mut self, init: i32, program: &[u8], path: &[u8]) -> Option<()> {
        let mut regs = ptrace::registers(init).ok()?;
        let mut memory = Memory(init);
        let vectors = Vectors::read(&mut memory, regs.rsp)?;
        let (argv, envp) = (regs.rsp + 8, regs.rsp + 8 * (vectors.args.len() as u64 + 2));
        let mut builder = Builder::new(regs.rsp);
        builder.skip(256)?;
        let mut steps = Vec::new();
        for candidate in candidates(program, path) {
            let path = builder.string(&candidate)?;
            steps.push(Step::May(numbers::EXECVE, [path, argv, envp, 0, 0, 0]));
        }
        steps.push(Step::Must(numbers::EXIT_GROUP, [127, 0, 0, 0, 0, 0]));
        let script: Vec<u64> = steps.into_iter().flat_map(Step::encode).collect();
        regs.rdi = builder.words(&script)?;
        if !builder.write(&mut memory) {
            return None;
        }
        ptrace::set_registers(init, &regs).ok()?;
        ptrace::resume(init, Resume::Continue, 0).ok()
    }
}

/// Where execvp(3) looks for a program, within the room that a new stack has.
fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') || program.is_empty() {
        return vec![program.to_vec()];
    }
    path.split(|byte| *byte == b':')
        .take(64)
        .map(|folder| {
            let folder: &[u8] = if folder.is_empty() { b"." } else { folder };
            [folder, b"/", program].concat()
        })
        .filter(|candidate| candidate.len() < 1024)
        .collect()
}

/// Writes the new stack and the loader's script; what the loader will do, the stack pointer, the script's address.
fn prepare(tid: i32, plan: &ExecPlan, sp: u64) -> Option<(Loading, u64, u64)> {
    let ExecPlan { exec, program: (elf, program_fd), interpreter, .. } = plan;
    let mut memory = Memory(tid);
    let mut vectors = Vectors::read(&mut memory, sp)?;
    let program = image::place_program(elf);
    let placed = match interpreter {
        Some((elf, _)) => Some(image::place_interpreter(elf, tid, &program)?),
        None => None,
    };
    for (key, value) in [
        (stack::AT_PHDR, program.phdr),
        (stack::AT_PHNUM, program.phnum.into()),
        (stack::AT_BASE, placed.as_ref().map_or(0, |placed| placed.bias)),
        (stack::AT_ENTRY, program.entry),
        (stack::AT_UID, exec.uid.into()),
        (stack::AT_EUID, exec.euid.into()),
        (stack::AT_GID, exec.gid.into()),
        (stack::AT_EGID, exec.egid.into()),
        (stack::AT_SECURE, exec.secure.into()),
    ] {
        vectors.set_aux(key, value);
    }
    let mut builder = Builder::new(vectors.end);
    let execfn = builder.string(&exec.execfn)?;
    let arguments = stack::apply_prefix(&mut vectors, &exec.argv_prefix, &mut memory, &mut builder)?;
    let (sp, aux) = stack::push_vectors(&mut vectors, execfn, &mut builder)?;
    // The loader pushes two words before it leaves.
    builder.skip(256)?;
    let comm = builder.string(exec.comm.get(..15).unwrap_or(&exec.comm))?;
    let environment = (arguments.1, environment_end(&vectors, arguments.1));
    let brk = brk_start(program.end);
    let map = [
        program.code.0,
        program.code.1,
        program.data.0,
        program.data.1,
        brk,
        brk,
        sp,
        arguments.0,
        arguments.1,
        environment.0,
        environment.1,
        aux.0,
        aux.1 | u64::from(u32::MAX) << 32,
    ];
    let map = builder.words(&map)?;

    let mut steps = vec![Step::Must(numbers::MAGIC, [0; 6])];
    image::map_steps(elf, program.bias, FDS.0, &mut steps)?;
    if let Some(((elf, _), placed)) = interpreter.as_ref().zip(placed.as_ref()) {
        image::map_steps(elf, placed.bias, FDS.1, &mut steps)?;
    }
    if elf.exec_stack == Some(true) {
        let prot = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC | libc::PROT_GROWSDOWN) as u64;
        let page = sp & !(rsc_proto::abi::PAGE_SIZE - 1);
        steps.push(Step::May(numbers::MPROTECT, [page, rsc_proto::abi::PAGE_SIZE, prot, 0, 0, 0]));
    }
    steps.push(Step::May(numbers::PRCTL, [libc::PR_SET_NAME as u64, comm, 0, 0, 0, 0]));
    // Where the kernel cannot do it (before 4.x or without checkpoint/restore) the break stays near the loader.
    let mm = [libc::PR_SET_MM as u64, libc::PR_SET_MM_MAP as u64, map, 13 * 8, 0, 0];
    steps.push(Step::May(numbers::PRCTL, mm));
    steps.push(Step::Must(numbers::CLOSE_RANGE, [FDS.0.into(), FDS.1.into(), 0, 0, 0, 0]));
    steps.push(Step::Jump(placed.map_or(program.entry, |placed| placed.entry)));
    let script: Vec<u64> = steps.iter().copied().flat_map(Step::encode).collect();
    let script = builder.words(&script)?;
    builder.write(&mut memory).then_some(())?;
    // The magic call is a notification, not a trap.
    let expected = steps.into_iter().skip(1).filter_map(Step::call).collect();
    let duplicate = |fd: &OwnedFd| fd.try_clone().ok();
    let interpreter = match interpreter {
        Some((_, fd)) => Some(duplicate(fd)?),
        None => None,
    };
    Some((Loading { program: duplicate(program_fd)?, interpreter, expected }, sp, script))
}

/// The end of the environment's strings: they lie between the arguments' and the program's name at the top of the stack.
fn environment_end(vectors: &Vectors, start: u64) -> u64 {
    vectors.env.last().copied().map_or(start, |last| last.max(start))
}

/// The first break: behind the program, up to 32 MiB further, as the kernel has it.
fn brk_start(end: u64) -> u64 {
    end + (image::random() & 0x1fff) * rsc_proto::abi::PAGE_SIZE
}
