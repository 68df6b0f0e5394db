//! ptrace(2) requests and wait status.
//!
//! A tracee can be killed between any two requests: every request returns [`Gone`] for that, and it is a value, not an error.

use super::check;
use nix::errno::Errno;
use std::ptr;

/// Registers of a stopped tracee.
pub type Registers = libc::user_regs_struct;

/// The tracee is not stopped any more: it was killed. Its end will be told by [`wait_any`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// `PTRACE_EVENT_STOP`: group stops, `PTRACE_INTERRUPT`, and the first stop of an auto-attached child.
pub const EVENT_STOP: i32 = libc::PTRACE_EVENT_STOP;
/// `si_status` of a system call stop with `PTRACE_O_TRACESYSGOOD`.
pub const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// What is asked of each tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options(libc::c_int);

impl Options {
    /// Stops at its own calls and at its program's end of execve(2).
    const CALLS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEEXEC;
    /// Its children are tracees from their first moment.
    const CHILDREN: libc::c_int = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK;
    /// For workloads: everything, and they end with their tracer.
    pub const WORKLOAD: Options = Options(
        Self::CALLS | Self::CHILDREN | libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_TRACESECCOMP | libc::PTRACE_O_EXITKILL,
    );
    /// For a program that was started to be traced, and its children: they end with their tracer.
    pub const LAUNCHED: Options = Options(Self::CALLS | Self::CHILDREN | libc::PTRACE_O_EXITKILL);
    /// For a process that ran before, and its children.
    pub const VISITED: Options = Options(Self::CALLS | Self::CHILDREN);
    /// For a process that ran before; of what it makes, only its threads are meant.
    pub const VISITED_ALONE: Options = Options(Self::CALLS | libc::PTRACE_O_TRACECLONE);
}

/// How a stopped tracee goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Until its next event.
    Continue,
    /// Until its next event or the end of its system call.
    ToExit,
    /// Stays in its group stop, but tells of its end.
    Listen,
}

fn request(op: libc::c_uint, tid: i32, addr: usize, data: usize) -> Result<libc::c_long, Gone> {
    // SAFETY: only operations whose address and data are plain numbers come here.
    let value = unsafe { libc::ptrace(op, tid, addr, data) };
    check(value).map_err(|errno| gone(op, tid, errno))
}

fn gone(op: libc::c_uint, tid: i32, errno: Errno) -> Gone {
    if errno != Errno::ESRCH {
        tracing::warn!("ptrace request {op:#x} for task {tid}: {errno}");
    }
    Gone
}

/// Becomes the tracer of a task without stopping it.
pub fn seize(pid: i32, options: Options) -> nix::Result<()> {
    // SAFETY: no pointers.
    let value = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0usize, options.0 as usize) };
    check(value).map(drop)
}

/// Lets a stopped tracee go for good, with a signal if `signal` is not 0.
pub fn detach(tid: i32, signal: i32) -> Result<(), Gone> {
    request(libc::PTRACE_DETACH, tid, 0, usize::try_from(signal).unwrap_or(0)).map(drop)
}

/// Where in a system call a tracee has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStop {
    /// Before it.
    Entry {
        /// `AUDIT_ARCH_*` of the way in.
        arch: u32,
    },
    /// After it.
    Exit,
    /// Elsewhere.
    None,
}

/// Says where. Linux 5.3; `None`: this kernel cannot tell.
pub fn call_stop(tid: i32) -> Result<Option<CallStop>, Gone> {
    const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    let mut info = [0u8; 88];
    let (size, data) = (info.len(), info.as_mut_ptr());
    // SAFETY: the kernel writes at most `size` bytes.
    let value = unsafe { libc::ptrace(GET_SYSCALL_INFO, tid, size, data) };
    match check(value) {
        Ok(_) => {}
        Err(Errno::EIO) => return Ok(None),
        Err(errno) => return Err(gone(GET_SYSCALL_INFO, tid, errno)),
    }
    let [op, _, _, _, a, b, c, d, ..] = info;
    Ok(Some(match op {
        1 => CallStop::Entry { arch: u32::from_ne_bytes([a, b, c, d]) },
        2 => CallStop::Exit,
        _ => CallStop::None,
    }))
}

/// Resumes a stopped tracee, with a signal if `signal` is not 0.
pub fn resume(tid: i32, how: Resume, signal: i32) -> Result<(), Gone> {
    let op = match how {
        Resume::Continue => libc::PTRACE_CONT,
        Resume::ToExit => libc::PTRACE_SYSCALL,
        Resume::Listen => libc::PTRACE_LISTEN,
    };
    request(op, tid, 0, usize::try_from(signal).unwrap_or(0)).map(drop)
}

/// Asks a running tracee to stop; it will report [`EVENT_STOP`].
pub fn interrupt(tid: i32) -> Result<(), Gone> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Reads a stopped tracee's registers.
pub fn registers(tid: i32) -> Result<Registers, Gone> {
    let mut regs = std::mem::MaybeUninit::<Registers>::zeroed();
    // SAFETY: the kernel fills a `user_regs_struct`, for which there is room.
    let value = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, 0usize, regs.as_mut_ptr()) };
    check(value).map_err(|errno| gone(libc::PTRACE_GETREGS, tid, errno))?;
    // SAFETY: zeroed and then filled; any bits are valid.
    Ok(unsafe { regs.assume_init() })
}

/// Writes a stopped tracee's registers.
pub fn set_registers(tid: i32, regs: &Registers) -> Result<(), Gone> {
    // SAFETY: the kernel reads a `user_regs_struct`.
    let value = unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, 0usize, ptr::from_ref(regs)) };
    check(value).map_err(|errno| gone(libc::PTRACE_SETREGS, tid, errno)).map(drop)
}

/// The message of the event that the tracee stopped at.
pub fn event_message(tid: i32) -> Result<u64, Gone> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one `unsigned long`.
    let value = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, tid, 0usize, &raw mut message) };
    check(value).map_err(|errno| gone(libc::PTRACE_GETEVENTMSG, tid, errno))?;
    Ok(message)
}

/// What a wait said of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has ended and is reaped; the raw wait(2) status.
    Ended(i32),
    /// It has stopped: the signal (or [`SYSCALL_STOP`]) and the event, 0 if none.
    Stopped {
        /// `WSTOPSIG`.
        signal: i32,
        /// The upper half of the status.
        event: i32,
    },
}

impl Status {
    fn from_raw(raw: i32) -> Status {
        if libc::WIFSTOPPED(raw) {
            Status::Stopped { signal: libc::WSTOPSIG(raw), event: raw >> 16 }
        } else {
            Status::Ended(raw)
        }
    }
}

fn wait(pid: i32, flags: i32) -> nix::Result<Option<(i32, Status)>> {
    let mut raw = 0;
    // SAFETY: the kernel writes one int.
    let value = unsafe { libc::waitpid(pid, &raw mut raw, flags) };
    let pid = check(value.into())?;
    Ok((pid != 0).then(|| (i32::try_from(pid).unwrap_or(0), Status::from_raw(raw))))
}

/// The next thing that any child or tracee has to say, without waiting. `Err(ECHILD)`: there is none left.
pub fn wait_any() -> nix::Result<Option<(i32, Status)>> {
    wait(-1, libc::__WALL | libc::WNOHANG)
}

/// Waits for one task. For set-up only: the engine never waits for one pid.
pub fn wait_for(pid: i32) -> nix::Result<Status> {
    loop {
        match wait(pid, libc::__WALL) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What a signal says of itself, siginfo_t.
#[derive(Clone, Copy)]
pub struct SignalInfo(libc::siginfo_t);

impl SignalInfo {
    /// Whether a process outside of the workload's pid namespace has sent it to the thread: in there that one is pid 0.
    pub fn is_from_outside(&self) -> bool {
        // SAFETY: of a signal sent by tgkill(2) the sender is known.
        self.0.si_code == libc::SI_TKILL && unsafe { self.0.si_pid() } == 0
    }

    /// The same of a SIGSYS, but of the call with this number. sigaction(2), si_syscall.
    pub fn with_syscall(mut self, nr: u32) -> Self {
        /// Where it is in a `siginfo_t`.
        const SI_SYSCALL: usize = 24;
        // SAFETY: it is at this place of the structure on x86-64, aligned, and any bits are valid.
        unsafe { ptr::from_mut(&mut self.0).cast::<u8>().add(SI_SYSCALL).cast::<u32>().write(nr) };
        self
    }
}

impl std::fmt::Debug for SignalInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "signal {} code {}", self.0.si_signo, self.0.si_code)
    }
}

/// What the signal says at whose delivery the tracee has stopped.
pub fn signal_info(tid: i32) -> Result<SignalInfo, Gone> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel writes one `siginfo_t`.
    let value = unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, tid, 0usize, info.as_mut_ptr()) };
    check(value).map_err(|errno| gone(libc::PTRACE_GETSIGINFO, tid, errno))?;
    // SAFETY: zeroed and then filled; any bits are valid.
    Ok(SignalInfo(unsafe { info.assume_init() }))
}

/// Makes it say this.
pub fn set_signal_info(tid: i32, info: &SignalInfo) -> Result<(), Gone> {
    // SAFETY: the kernel reads one `siginfo_t`.
    let value = unsafe { libc::ptrace(libc::PTRACE_SETSIGINFO, tid, 0usize, ptr::from_ref(&info.0)) };
    check(value).map_err(|errno| gone(libc::PTRACE_SETSIGINFO, tid, errno)).map(drop)
}

/// Queues a signal with all that it says. `EPERM` for what only the kernel, kill(2) or tgkill(2) can say.
pub fn queue_signal(tgid: i32, tid: i32, signal: i32, info: &SignalInfo) -> nix::Result<()> {
    // SAFETY: the kernel reads one `siginfo_t`.
    let value = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, tgid, tid, signal, ptr::from_ref(&info.0)) };
    check(value).map(drop)
}

/// A stopped tracee's signal mask, as the kernel's 64 bits.
pub fn signal_mask(tid: i32) -> Result<u64, Gone> {
    let mut mask: u64 = 0;
    // SAFETY: the kernel writes eight bytes, the size that is given as the address.
    let value = unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, tid, 8usize, &raw mut mask) };
    check(value).map_err(|errno| gone(libc::PTRACE_GETSIGMASK, tid, errno))?;
    Ok(mask)
}

/// Sets a stopped tracee's signal mask. SIGKILL and SIGSTOP are never blocked.
pub fn set_signal_mask(tid: i32, mask: u64) -> Result<(), Gone> {
    // SAFETY: the kernel reads eight bytes, the size that is given as the address.
    let value = unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, tid, 8usize, ptr::from_ref(&mask)) };
    check(value).map_err(|errno| gone(libc::PTRACE_SETSIGMASK, tid, errno)).map(drop)
}
