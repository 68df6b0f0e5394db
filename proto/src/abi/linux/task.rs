//! Tasks: signals, clone, limits, identity of the system.

use super::Timeval;

abi_struct! {
    /// `struct rusage`, getrusage(2).
    144 struct Rusage {
        ru_utime: Timeval,
        ru_stime: Timeval,
        ru_maxrss: i64,
        ru_ixrss: i64,
        ru_idrss: i64,
        ru_isrss: i64,
        ru_minflt: i64,
        ru_majflt: i64,
        ru_nswap: i64,
        ru_inblock: i64,
        ru_oublock: i64,
        ru_msgsnd: i64,
        ru_msgrcv: i64,
        ru_nsignals: i64,
        ru_nvcsw: i64,
        ru_nivcsw: i64,
    }

    /// `struct rlimit64`, prlimit(2). On x86-64 `struct rlimit` is the same.
    16 struct Rlimit64 {
        rlim_cur: u64,
        rlim_max: u64,
    }

    /// `struct sysinfo`, sysinfo(2).
    112 struct Sysinfo {
        uptime: i64,
        loads: [u64; 3],
        totalram: u64,
        freeram: u64,
        sharedram: u64,
        bufferram: u64,
        totalswap: u64,
        freeswap: u64,
        procs: u16,
        pad: u16,
        __pad1: u32,
        totalhigh: u64,
        freehigh: u64,
        mem_unit: u32,
        __pad2: u32,
    }

    /// `struct new_utsname`, uname(2). Each field ends with a zero.
    390 struct Utsname {
        sysname: [u8; 65],
        nodename: [u8; 65],
        release: [u8; 65],
        version: [u8; 65],
        machine: [u8; 65],
        domainname: [u8; 65],
    }

    /// `struct clone_args`, clone3(2).
    88 struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }

    /// The kernel's signal set: bit N-1 is signal N.
    8 struct Sigset {
        bits: u64,
    }

    /// The kernel's `struct sigaction`, rt_sigaction(2).
    32 struct Sigaction {
        handler: u64,
        flags: u64,
        restorer: u64,
        mask: Sigset,
    }

    /// `stack_t`, sigaltstack(2).
    24 struct StackT {
        ss_sp: u64,
        ss_flags: i32,
        __pad0: u32,
        ss_size: u64,
    }

    /// `siginfo_t`, sigaction(2): the union is left as bytes.
    128 struct Siginfo {
        si_signo: i32,
        si_errno: i32,
        si_code: i32,
        __pad0: u32,
        fields: [u8; 112],
    }

    /// `struct signalfd_siginfo`, signalfd(2).
    128 struct SignalfdSiginfo {
        ssi_signo: u32,
        ssi_errno: i32,
        ssi_code: i32,
        ssi_pid: u32,
        ssi_uid: u32,
        ssi_fd: i32,
        ssi_tid: u32,
        ssi_band: u32,
        ssi_overrun: u32,
        ssi_trapno: u32,
        ssi_status: i32,
        ssi_int: i32,
        ssi_ptr: u64,
        ssi_utime: u64,
        ssi_stime: u64,
        ssi_addr: u64,
        ssi_addr_lsb: u16,
        __pad2: u16,
        ssi_syscall: i32,
        ssi_call_addr: u64,
        ssi_arch: u32,
        __pad: [u8; 28],
    }

    /// The sixth argument of pselect6(2): a signal set and its size.
    16 struct SigsetArg {
        ss: u64,
        ss_len: u64,
    }

    /// `struct __user_cap_header_struct`, capget(2).
    8 struct CapHeader {
        version: u32,
        pid: i32,
    }

    /// `struct __user_cap_data_struct`, capget(2); version 3 has two of them.
    12 struct CapData {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    /// `struct sched_param`, sched_setparam(2).
    4 struct SchedParam {
        sched_priority: i32,
    }

    /// `struct sched_attr` with all fields of Linux 5.3, sched_setattr(2).
    56 struct SchedAttr {
        size: u32,
        sched_policy: u32,
        sched_flags: u64,
        sched_nice: i32,
        sched_priority: u32,
        sched_runtime: u64,
        sched_deadline: u64,
        sched_period: u64,
        sched_util_min: u32,
        sched_util_max: u32,
    }

    /// `struct sigevent`, timer_create(2).
    64 struct Sigevent {
        sigev_value: u64,
        sigev_signo: i32,
        sigev_notify: i32,
        fields: [u8; 48],
    }
}

impl Sigset {
    /// Whether signal `sig` (1 to 64) is in the set.
    pub const fn contains(self, sig: u32) -> bool {
        sig >= 1 && sig <= 64 && self.bits & (1 << (sig - 1)) != 0
    }
}
