//! The workload's clocks, as its host's kernel shows them.
//!
//! Clock reads are the host's own affair, but deadlines that calls give in terms of them end up here. On one machine the clocks are
//! the same; from another machine they follow from the wall clock and the moment at which the compute host was started.

use nix::time::{ClockId, clock_gettime};
use rsc_proto::v1::HostFacts;

/// A clock that deadlines are given in. clock_gettime(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_REALTIME`
    Real,
    /// `CLOCK_MONOTONIC`
    Monotonic,
    /// `CLOCK_BOOTTIME`
    Boot,
}

/// Boot times this near are the same machine's. Nanoseconds.
const SAME_MACHINE: u64 = 2_000_000_000;

fn local(id: ClockId) -> u64 {
    // The three clocks always exist.
    clock_gettime(id).map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

impl Clock {
    /// What the clock shows on the compute host. Nanoseconds.
    pub fn now(self, facts: &HostFacts) -> u64 {
        let real = local(ClockId::CLOCK_REALTIME);
        if self == Self::Real {
            return real;
        }
        let booted = real.saturating_sub(local(ClockId::CLOCK_BOOTTIME));
        if facts.boot_time_ns != 0 && facts.boot_time_ns.abs_diff(booted) > SAME_MACHINE {
            return real.saturating_sub(facts.boot_time_ns);
        }
        match self {
            Self::Monotonic => local(ClockId::CLOCK_MONOTONIC),
            _ => local(ClockId::CLOCK_BOOTTIME),
        }
    }
}
