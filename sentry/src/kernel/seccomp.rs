//! The container's seccomp profile: asked before each call of the workload, by its number and the registers alone.
//!
//! Meanings are those of a filter that libseccomp makes of the same rules: comparisons are of all 64 bits; a rule without
//! arguments hides all others of its call; else the first that matches counts, and the default when none does.

use std::collections::BTreeMap;

use rsc_proto::table::{self, COUNTED};
use rsc_proto::v1::{self, answer, seccomp_action, seccomp_arg, sigsys};

use super::Kernel;

/// Bounds of a profile. Linux takes no filter of more than 4096 instructions, and each comparison is one at least.
const RULES_MAX: usize = 1 << 16;
const NUMBERS_MAX: usize = 1 << 16;
const COMPARISONS_MAX: usize = 4096;

/// What is done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Allow,
    /// It goes on, and is logged.
    Log,
    /// It returns this; 0: as if it had succeeded.
    Errno(u16),
    /// The caller gets a SIGSYS that it can't block or ignore.
    Trap,
    /// The calling thread ends.
    KillThread,
    /// Its process ends.
    KillProcess,
}

/// Why a profile can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No default.
    #[error("has no default action")]
    NoDefault,
    /// A number that stands for nothing.
    #[error("has {1} as the {0} of a rule")]
    Unknown(&'static str, i64),
    /// More than a kernel could take.
    #[error("has more than {1} {0}")]
    TooLarge(&'static str, usize),
}

/// One comparison.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    arg: usize,
    op: seccomp_arg::Op,
    value: u64,
    value_two: u64,
}

impl Comparison {
    fn new(arg: &v1::SeccompArg) -> Result<Self, ProfileError> {
        let op =
            seccomp_arg::Op::try_from(arg.op).map_err(|_| ProfileError::Unknown("comparison", i64::from(arg.op)))?;
        if arg.index > 5 {
            return Err(ProfileError::Unknown("argument's index", i64::from(arg.index)));
        }
        Ok(Self { arg: arg.index as usize, op, value: arg.value, value_two: arg.value_two })
    }

    fn holds(&self, args: &[u64; 6]) -> bool {
        let Some(arg) = args.get(self.arg).copied() else { return false };
        match self.op {
            seccomp_arg::Op::Eq => arg == self.value,
            seccomp_arg::Op::Ne => arg != self.value,
            seccomp_arg::Op::Lt => arg < self.value,
            seccomp_arg::Op::Le => arg <= self.value,
            seccomp_arg::Op::Ge => arg >= self.value,
            seccomp_arg::Op::Gt => arg > self.value,
            seccomp_arg::Op::MaskedEq => arg & self.value == self.value_two,
        }
    }
}

/// What a call's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// All there is to say.
    Always(Action),
    /// Its arguments matter: those rules of [`Profile::conditional`].
    ByArguments,
}

/// See the module's text.
#[derive(Debug)]
pub struct Profile {
    /// By number, up to [`COUNTED`].
    verdicts: Box<[Verdict]>,
    /// Of all other numbers.
    beyond: Action,
    /// Of calls whose rules all have arguments, of which none matches.
    default: Action,
    conditional: BTreeMap<u32, Vec<(Vec<Comparison>, Action)>>,
}

fn action(action: Option<v1::SeccompAction>) -> Result<Action, ProfileError> {
    use seccomp_action::Kind;
    let action = action.unwrap_or_default();
    let kind = Kind::try_from(action.kind).map_err(|_| ProfileError::Unknown("action", i64::from(action.kind)))?;
    Ok(match kind {
        Kind::Allow => Action::Allow,
        Kind::Log => Action::Log,
        Kind::Errno => match u16::try_from(action.errno) {
            // What is greater the workload would take for a restart code or an address.
            Ok(errno) if errno < 512 => Action::Errno(errno),
            _ => return Err(ProfileError::Unknown("errno", i64::from(action.errno))),
        },
        Kind::Trap => Action::Trap,
        Kind::KillThread => Action::KillThread,
        Kind::KillProcess => Action::KillProcess,
    })
}

impl Profile {
    /// From the supervisor's description, which is not believed.
    pub fn new(from: &v1::Seccomp) -> Result<Self, ProfileError> {
        let default = action(Some(from.default.ok_or(ProfileError::NoDefault)?))?;
        let unlisted = |nr: u32| if from.last != 0 && nr > from.last { Action::Errno(ENOSYS) } else { default };
        let mut verdicts: Vec<_> = (0..COUNTED).map(|nr| Verdict::Always(unlisted(nr))).collect();
        let mut conditional = BTreeMap::<u32, Vec<_>>::new();
        let mut settled = vec![false; verdicts.len()];
        if from.rules.len() > RULES_MAX {
            return Err(ProfileError::TooLarge("rules", RULES_MAX));
        }
        let (mut numbers, mut comparisons) = (0, 0);
        for rule in &from.rules {
            let action = action(rule.action)?;
            let args = rule.args.iter().map(Comparison::new).collect::<Result<Vec<_>, _>>()?;
            numbers += rule.numbers.len();
            comparisons += rule.numbers.len().saturating_mul(args.len());
            if numbers > NUMBERS_MAX {
                return Err(ProfileError::TooLarge("numbers of calls", NUMBERS_MAX));
            }
            if comparisons > COMPARISONS_MAX {
                return Err(ProfileError::TooLarge("comparisons of arguments", COMPARISONS_MAX));
            }
            for nr in &rule.numbers {
                let at = *nr as usize;
                let (Some(verdict), Some(settled)) = (verdicts.get_mut(at), settled.get_mut(at)) else {
                    return Err(ProfileError::Unknown("call", i64::from(*nr)));
                };
                if *settled {
                    continue;
                }
                if args.is_empty() {
                    (*verdict, *settled) = (Verdict::Always(action), true);
                    conditional.remove(nr);
                } else {
                    *verdict = Verdict::ByArguments;
                    conditional.entry(*nr).or_default().push((args.clone(), action));
                }
            }
        }
        Ok(Self { verdicts: verdicts.into(), beyond: unlisted(COUNTED), default, conditional })
    }

    /// What is done with this call.
    pub fn verdict(&self, nr: u32, args: &[u64; 6]) -> Action {
        match self.verdicts.get(nr as usize) {
            Some(Verdict::Always(action)) => *action,
            Some(Verdict::ByArguments) => {
                let rules = self.conditional.get(&nr).into_iter().flatten();
                let mut matching = rules.filter(|(args_of, _)| args_of.iter().all(|one| one.holds(args)));
                matching.next().map_or(self.default, |(_, action)| *action)
            }
            None => self.beyond,
        }
    }

    /// Whether it has nothing to say of this call, whatever its arguments.
    pub fn always_allows(&self, nr: u32) -> bool {
        self.verdicts.get(nr as usize) == Some(&Verdict::Always(Action::Allow))
    }
}

/// Of a call that was made after the profile was written.
const ENOSYS: u16 = 38;

impl Kernel {
    /// The answer to a call that the container's profile forbids. Counted, and logged once a number.
    pub(super) fn seccomp_check(&self, nr: u32, args: &[u64; 6]) -> Option<answer::Outcome> {
        let action = self.seccomp.as_ref()?.verdict(nr, args);
        let name = || table::name(nr);
        if action == Action::Allow {
            return None;
        }
        if action == Action::Log {
            if self.stats.logged.count(nr) == 1 {
                tracing::info!(sandbox = %self.id, nr, name = %name(), ?args, "the seccomp profile wants this call logged");
            }
            return None;
        }
        if self.stats.denied.count(nr) == 1 {
            tracing::info!(sandbox = %self.id, nr, name = %name(), ?args, "the seccomp profile forbids this call: {action:?}");
        }
        let sigsys = |kind: sigsys::Kind| answer::Outcome::Sigsys(v1::Sigsys { kind: kind.into() });
        Some(match action {
            Action::Allow | Action::Log => return None,
            Action::Errno(errno) => answer::Outcome::Result(-i64::from(errno)),
            Action::Trap => sigsys(sigsys::Kind::Trap),
            Action::KillThread => sigsys(sigsys::Kind::KillThread),
            Action::KillProcess => sigsys(sigsys::Kind::KillProcess),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::TestBox;
    use rsc_proto::table::nr;
    use seccomp_action::Kind;
    use seccomp_arg::Op;

    fn act(kind: Kind, errno: u32) -> Option<v1::SeccompAction> {
        Some(v1::SeccompAction { kind: kind.into(), errno })
    }

    fn rule(nr: u32, kind: Kind, errno: u32, args: &[(u32, Op, u64, u64)]) -> v1::SeccompRule {
        let args = args
            .iter()
            .map(|(index, op, value, value_two)| v1::SeccompArg {
                index: *index,
                op: (*op).into(),
                value: *value,
                value_two: *value_two,
            })
            .collect();
        v1::SeccompRule { numbers: vec![nr], action: act(kind, errno), args }
    }

    fn profile(default: Kind, rules: Vec<v1::SeccompRule>) -> Profile {
        Profile::new(&v1::Seccomp { default: act(default, 1), rules, last: 0 }).unwrap()
    }

    #[test]
    fn by_number() {
        let p = profile(Kind::Errno, vec![rule(0, Kind::Allow, 0, &[]), rule(1, Kind::KillProcess, 0, &[])]);
        assert_eq!(p.verdict(0, &[0; 6]), Action::Allow);
        assert_eq!(p.verdict(1, &[0; 6]), Action::KillProcess);
        for nr in [2, 1023, 1024, u32::MAX] {
            assert_eq!(p.verdict(nr, &[0; 6]), Action::Errno(1));
            assert!(!p.always_allows(nr));
        }
        assert!(p.always_allows(0) && !p.always_allows(1));
        assert!(!profile(Kind::Log, vec![]).always_allows(0), "one that is logged must be seen");
    }

    #[test]
    fn by_arguments() {
        let cases = [
            (Op::Eq, 5, 0, vec![5], vec![4, 6, 5 | 1 << 32]),
            (Op::Ne, 5, 0, vec![4, 6, 5 | 1 << 32], vec![5]),
            (Op::Lt, 5, 0, vec![0, 4], vec![5, u64::MAX]),
            (Op::Le, 5, 0, vec![0, 5], vec![6, 1 << 63]),
            (Op::Ge, 5, 0, vec![5, u64::MAX], vec![4]),
            (Op::Gt, 5, 0, vec![6, u64::MAX], vec![5]),
            (Op::MaskedEq, 0x7e02_0000, 0, vec![0, 0x1_0000], vec![0x1000_0000]),
        ];
        for (op, value, two, yes, no) in cases {
            let p = profile(Kind::Errno, vec![rule(9, Kind::Allow, 0, &[(5, op, value, two)])]);
            for (arg, wanted) in yes.into_iter().map(|a| (a, true)).chain(no.into_iter().map(|a| (a, false))) {
                let action = p.verdict(9, &[0, 0, 0, 0, 0, arg]);
                assert_eq!(action == Action::Allow, wanted, "{op:?} {value} {arg}");
            }
        }
    }

    #[test]
    fn several_rules_of_one_call() {
        let both = rule(9, Kind::Errno, 2, &[(0, Op::Eq, 1, 0), (1, Op::Eq, 1, 0)]);
        let one = rule(9, Kind::Errno, 3, &[(0, Op::Eq, 1, 0)]);
        let p = profile(Kind::Allow, vec![both.clone(), one.clone()]);
        assert_eq!(p.verdict(9, &[1, 1, 0, 0, 0, 0]), Action::Errno(2));
        assert_eq!(p.verdict(9, &[1, 2, 0, 0, 0, 0]), Action::Errno(3));
        assert_eq!(p.verdict(9, &[2, 1, 0, 0, 0, 0]), Action::Allow);
        assert!(!p.always_allows(9));
        // One without arguments hides those before and after it.
        let p =
            profile(Kind::Allow, vec![one.clone(), rule(9, Kind::Errno, 4, &[]), both, rule(9, Kind::Trap, 0, &[])]);
        assert_eq!(p.verdict(9, &[1, 1, 0, 0, 0, 0]), Action::Errno(4));
    }

    #[test]
    fn calls_newer_than_the_profile() {
        let from = v1::Seccomp { default: act(Kind::Errno, 1), rules: vec![rule(9, Kind::Allow, 0, &[])], last: 200 };
        let p = Profile::new(&from).unwrap();
        assert_eq!(p.verdict(200, &[0; 6]), Action::Errno(1));
        for nr in [201, 1023, 1024, u32::MAX] {
            assert_eq!(p.verdict(nr, &[0; 6]), Action::Errno(38));
        }
    }

    #[test]
    fn hostile_descriptions() {
        let ok = || rule(9, Kind::Allow, 0, &[(0, Op::Eq, 0, 0)]);
        let refused = |change: &dyn Fn(&mut v1::Seccomp)| {
            let mut from = v1::Seccomp { default: act(Kind::Allow, 0), rules: vec![ok()], last: 0 };
            change(&mut from);
            Profile::new(&from).unwrap_err().to_string()
        };
        assert!(refused(&|f| f.default = None).contains("default"));
        assert!(refused(&|f| f.default = Some(v1::SeccompAction { kind: 77, errno: 0 })).contains("action"));
        assert!(refused(&|f| f.default = act(Kind::Errno, 512)).contains("errno"));
        assert!(refused(&|f| f.rules[0].args[0].index = 6).contains("index"));
        assert!(refused(&|f| f.rules[0].args[0].op = -1).contains("comparison"));
        assert!(refused(&|f| f.rules[0].numbers = vec![u32::MAX]).contains("call"));
        assert!(refused(&|f| f.rules[0].numbers = vec![9; 5000]).contains("comparisons"));
        assert!(refused(&|f| f.rules = vec![v1::SeccompRule::default(); RULES_MAX + 1]).contains("rules"));
        assert!(
            refused(&|f| f.rules = vec![v1::SeccompRule { numbers: vec![1; NUMBERS_MAX + 1], ..Default::default() }])
                .contains("numbers")
        );
    }

    #[test]
    fn before_the_handler() {
        let rules = vec![
            rule(nr::GETUID, Kind::Errno, 38, &[]),
            rule(nr::SCHED_YIELD, Kind::Errno, 0, &[]),
            rule(nr::GETPPID, Kind::Trap, 0, &[]),
            rule(nr::GETGID, Kind::KillThread, 0, &[]),
            rule(nr::UMASK, Kind::Log, 0, &[]),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let t = TestBox::filtered(profile(Kind::Allow, rules));
            assert_eq!(t.call(nr::GETUID, &[]).await, -38);
            assert_eq!(t.call(nr::GETUID, &[]).await, -38);
            assert_eq!(t.call(nr::SCHED_YIELD, &[]).await, 0);
            assert_eq!(t.call(nr::GETEUID, &[]).await, 0);
            assert_eq!(t.call(nr::UMASK, &[0]).await, 0o22);
            assert_eq!(t.call(nr::PRCTL, &[21]).await, 2);
            for (nr, kind) in [(nr::GETPPID, sigsys::Kind::Trap), (nr::GETGID, sigsys::Kind::KillThread)] {
                let answer = t.start(nr, &[]).1.await.unwrap();
                assert_eq!(answer.outcome, Some(answer::Outcome::Sigsys(v1::Sigsys { kind: kind.into() })));
            }
            let (denied, logged) = (&t.kernel.stats.denied, &t.kernel.stats.logged);
            assert_eq!(
                denied.iter().collect::<Vec<_>>(),
                [(nr::SCHED_YIELD, 1), (nr::GETUID, 2), (nr::GETGID, 1), (nr::GETPPID, 1)]
            );
            assert_eq!(logged.iter().collect::<Vec<_>>(), [(nr::UMASK, 1)]);
            assert_eq!(t.kernel.in_flight(), 0);
        });
    }
}
