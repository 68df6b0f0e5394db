//! What may run natively: asked by whoever compiles the filter, and by the supervisor for each answer "run it natively".

use super::{Cond, Op, Rule, Syscall, TABLE, lookup};

impl Cond {
    /// Whether it holds for these registers.
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        let Some(value) = args.get(usize::from(self.arg)) else { return false };
        let value = if self.wide { *value } else { value & 0xffff_ffff };
        match self.op {
            Op::Eq(other) => value == other,
            Op::Ne(other) => value != other,
            Op::Le(other) => value <= other,
            Op::MaskedEq { mask, value: other } => value & mask == other,
        }
    }
}

impl Rule {
    /// Whether all its conditions hold.
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        self.conditions.iter().all(|cond| cond.holds(args))
    }
}

impl Syscall {
    /// The rule under which the call may run natively, if any. With `from_filter` only those count by which the filter lets it
    /// through unseen; else also those that need the sentry's permission.
    pub fn native_rule(&self, args: &[u64; 6], from_filter: bool) -> Option<&'static Rule> {
        let permitted: &'static [Rule] = if from_filter { &[] } else { self.permitted };
        self.native.iter().chain(permitted).find(|rule| rule.holds(args))
    }
}

/// Whether a call with these arguments may run natively. With `from_filter`: unseen by the sentry, as the filter decides under
/// placement `auto`. Without: because the sentry has answered so, in any placement.
pub fn native_permitted(nr: u32, args: &[u64; 6], from_filter: bool) -> bool {
    lookup(nr).is_some_and(|call| call.native_rule(args, from_filter).is_some())
}

/// What a filter may let through under placement `auto`: each call with its alternatives, in the order of the numbers. An
/// alternative without conditions is always true.
pub fn filter_rules() -> impl Iterator<Item = (u32, &'static [Rule])> {
    TABLE.iter().filter(|call| !call.native.is_empty()).map(|call| (call.nr, call.native))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::CloneFlags;
    use crate::table::{Kind, Scalar, Shape, nr};
    use proptest::prelude::*;

    fn filter(nr: u32, args: [u64; 6]) -> bool {
        native_permitted(nr, &args, true)
    }

    fn answer(nr: u32, args: [u64; 6]) -> bool {
        native_permitted(nr, &args, false)
    }

    #[test]
    fn memory() {
        assert!(filter(nr::MMAP, [0, 4096, 3, 0x22, u64::MAX, 0]));
        assert!(!filter(nr::MMAP, [0, 4096, 3, 0x02, 3, 0]));
        assert!(!answer(nr::MMAP, [0, 4096, 3, 0x02, 3, 0]), "a file mapping is the tracer's");
        assert!(!answer(nr::MMAP, [0, 4096, 3, 0x4_0022, u64::MAX, 0]), "huge pages are the host's");
        assert!(filter(nr::MADVISE, [0, 4096, 4, 0, 0, 0]));
        assert!(filter(nr::MADVISE, [0, 4096, 0xdead_0000_0004, 0, 0, 0]), "the kernel sees 4 bytes");
        assert!(!answer(nr::MADVISE, [0, 4096, 9, 0, 0, 0]), "MADV_REMOVE writes files");
        assert!(!answer(nr::MADVISE, [0, 4096, 100, 0, 0, 0]));
        assert!(!filter(nr::MREMAP, [0; 6]));
        assert!(!answer(nr::MSYNC, [0; 6]));
    }

    #[test]
    fn clones() {
        let thread = 0x003d_0f00;
        assert!(!filter(nr::CLONE, [thread, 0, 0, 0, 0, 0]), "the sentry is asked first");
        assert!(answer(nr::CLONE, [thread, 0, 0, 0, 0, 0]));
        assert!(answer(nr::CLONE, [17, 0, 0, 0, 0, 0]));
        for flag in CloneFlags::FORBIDDEN.iter() {
            assert!(!answer(nr::CLONE, [thread | flag.bits(), 0, 0, 0, 0, 0]), "{flag:?}");
        }
        assert!(!answer(nr::CLONE3, [0x1000, 88, 0, 0, 0, 0]));
        assert!(answer(nr::FORK, [0; 6]) && !filter(nr::FORK, [0; 6]));
        assert!(answer(nr::KILL, [0; 6]) && !filter(nr::KILL, [0; 6]));
        assert!(answer(nr::EXIT_GROUP, [0; 6]) && !filter(nr::EXIT_GROUP, [0; 6]));
        assert!(!answer(nr::UNSHARE, [0; 6]) && !answer(nr::SETNS, [0; 6]));
    }

    #[test]
    fn descriptors_in_disguise() {
        assert!(filter(nr::CLOCK_GETTIME, [1, 0, 0, 0, 0, 0]));
        let thread_clock = (!1234u32 << 3) | 6;
        assert!(filter(nr::CLOCK_GETTIME, [thread_clock.into(), 0, 0, 0, 0, 0]));
        let fd_clock = (!5u32 << 3) | 3;
        assert!(!answer(nr::CLOCK_GETTIME, [fd_clock.into(), 0, 0, 0, 0, 0]));
        assert!(filter(nr::WAITID, [1, 7, 0, 4, 0, 0]));
        assert!(!answer(nr::WAITID, [3, 7, 0, 4, 0, 0]), "P_PIDFD");
        assert!(!answer(nr::SETPRIORITY, [2, 0, 0, 0, 0, 0]), "PRIO_USER is the host's user");
        assert!(!filter(nr::GET_ROBUST_LIST, [7, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn prctl_by_option() {
        assert!(filter(nr::PRCTL, [15, 0x1000, 0, 0, 0, 0]));
        for option in [4, 22, 24, 35, 38, 47, 59, 0x4155_5856] {
            assert!(!answer(nr::PRCTL, [option, 0, 0, 0, 0, 0]), "option {option}");
        }
        assert!(answer(nr::PRCTL, [36, 1, 0, 0, 0, 0]) && !filter(nr::PRCTL, [36, 1, 0, 0, 0, 0]));
        assert!(!answer(nr::ARCH_PRCTL, [0x1012, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn limits_and_personality() {
        assert!(answer(nr::PRLIMIT64, [0, 3, 0x1000, 0, 0, 0]) && !filter(nr::PRLIMIT64, [0, 3, 0x1000, 0, 0, 0]));
        assert!(!answer(nr::PRLIMIT64, [0, 7, 0x1000, 0, 0, 0]), "NOFILE is the sentry's");
        assert!(filter(nr::PERSONALITY, [0xffff_ffff, 0, 0, 0, 0, 0]));
        assert!(!answer(nr::PERSONALITY, [0x40_0000, 0, 0, 0, 0, 0]), "READ_IMPLIES_EXEC");
    }

    /// Nothing that takes a path or a descriptor may ever pass, but for `mmap`, whose condition makes the kernel ignore it.
    #[test]
    fn no_paths_no_descriptors() {
        for call in TABLE.iter().filter(|call| !call.native.is_empty() || !call.permitted.is_empty()) {
            for arg in call.args {
                let forbidden = matches!(
                    arg.kind,
                    Kind::Value(Scalar::Fd | Scalar::Dirfd)
                        | Kind::Pointer(
                            _,
                            Shape::Path | Shape::Iovec(_) | Shape::Msghdr | Shape::Mmsghdr(_) | Shape::Strings
                        )
                );
                assert!(!forbidden || call.name == "mmap", "{} takes {}", call.name, arg.name);
            }
        }
        for name in
            ["read", "write", "openat", "close", "dup", "ioctl", "fcntl", "socket", "io_uring_setup", "ptrace", "bpf"]
        {
            let call = super::super::by_name(name).unwrap();
            assert!(call.native.is_empty() && call.permitted.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_rule_has_a_reason_and_a_valid_argument() {
        for call in TABLE {
            for rule in call.native.iter().chain(call.permitted) {
                assert!(!rule.reason.is_empty(), "{}", call.name);
                for cond in rule.conditions {
                    assert!(usize::from(cond.arg) < call.args.len(), "{}", call.name);
                }
            }
        }
        assert!(filter_rules().all(|(_, rules)| !rules.is_empty()));
    }

    proptest! {
        #[test]
        fn the_filter_allows_less_than_the_answer(nr in 0u32..500, args: [u64; 6]) {
            if native_permitted(nr, &args, true) {
                prop_assert!(native_permitted(nr, &args, false));
            }
        }
    }
}
