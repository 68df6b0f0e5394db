//! The few system call numbers that the platforms treat by name. Everything else about calls comes from the table.

macro_rules! numbers {
    ($($name:ident = $number:literal;)*) => { $(pub(crate) const $name: u32 = $number;)* };
}

numbers! {
    MMAP = 9;
    MPROTECT = 10;
    PAUSE = 34;
    CLONE = 56;
    EXECVE = 59;
    PRCTL = 157;
    RESTART_SYSCALL = 219;
    EXIT_GROUP = 231;
    PSELECT6 = 270;
    PPOLL = 271;
    EPOLL_PWAIT = 281;
    EXECVEAT = 322;
    CLOSE_RANGE = 436;
    EPOLL_PWAIT2 = 441;
}

/// A number that no kernel implements. The filters answer it with a notification, so that a descriptor can be added to the task.
pub(crate) const MAGIC: u32 = 0x0072_7363;

/// Another, by which the filter ends or traps its caller if the first argument is one of the marks below. Nothing is given away: a
/// workload that finds them out ends itself.
pub(crate) const SIGSYS: u32 = 0x0072_7364;
/// The process ends: the first argument's lower half.
pub(crate) const MARK_KILL_PROCESS: u32 = 0x7253_4350;
/// The thread ends.
pub(crate) const MARK_KILL_THREAD: u32 = 0x7253_4354;
/// It gets SIGSYS.
pub(crate) const MARK_TRAP: u32 = 0x7253_4353;

/// Calls which the supervisor puts in the place of others: they must always stop for the tracer, whatever the table says.
pub(crate) const CONTROL: [u32; 8] = [MMAP, PAUSE, EXECVE, EXECVEAT, PPOLL, PRCTL, RESTART_SYSCALL, CLOSE_RANGE];
