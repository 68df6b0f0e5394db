//! Times and timers.

abi_struct! {
    /// `struct timespec`.
    16 struct Timespec {
        tv_sec: i64,
        tv_nsec: i64,
    }

    /// `struct timeval`.
    16 struct Timeval {
        tv_sec: i64,
        tv_usec: i64,
    }

    /// `struct timezone`.
    8 struct Timezone {
        tz_minuteswest: i32,
        tz_dsttime: i32,
    }

    /// `struct itimerspec`, timerfd_settime(2).
    32 struct Itimerspec {
        it_interval: Timespec,
        it_value: Timespec,
    }

    /// `struct itimerval`, setitimer(2).
    32 struct Itimerval {
        it_interval: Timeval,
        it_value: Timeval,
    }

    /// `struct tms`, times(2).
    32 struct Tms {
        tms_utime: i64,
        tms_stime: i64,
        tms_cutime: i64,
        tms_cstime: i64,
    }

    /// `struct timex`, adjtimex(2).
    208 struct Timex {
        modes: u32,
        __pad0: u32,
        offset: i64,
        freq: i64,
        maxerror: i64,
        esterror: i64,
        status: i32,
        __pad1: u32,
        constant: i64,
        precision: i64,
        tolerance: i64,
        time: Timeval,
        tick: i64,
        ppsfreq: i64,
        jitter: i64,
        shift: i32,
        __pad2: u32,
        stabil: i64,
        jitcnt: i64,
        calcnt: i64,
        errcnt: i64,
        stbcnt: i64,
        tai: i32,
        __pad3: [u32; 11],
    }
}

impl Timespec {
    /// Whether the kernel would take it (`timespec64_valid`).
    pub const fn is_valid(&self) -> bool {
        self.tv_sec >= 0 && self.tv_nsec >= 0 && self.tv_nsec < 1_000_000_000
    }

    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Timespec {
        Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 }
    }

    /// As a duration; `None` when it is not valid.
    pub fn to_duration(self) -> Option<std::time::Duration> {
        if !self.is_valid() {
            return None;
        }
        Some(std::time::Duration::new(u64::try_from(self.tv_sec).ok()?, u32::try_from(self.tv_nsec).ok()?))
    }
}

impl From<std::time::Duration> for Timespec {
    fn from(duration: std::time::Duration) -> Timespec {
        Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        }
    }
}

impl Timeval {
    /// As a duration; `None` when it is not valid.
    pub fn to_duration(self) -> Option<std::time::Duration> {
        if !(0..1_000_000).contains(&self.tv_usec) {
            return None;
        }
        Some(std::time::Duration::new(u64::try_from(self.tv_sec).ok()?, u32::try_from(self.tv_usec).ok()? * 1000))
    }
}
