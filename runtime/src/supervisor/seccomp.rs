//! From the specification's seccomp profile to the one by numbers that the sentry evaluates. What the specification leaves open is
//! done as runc does it with libseccomp, whose profiles these are.

use std::collections::HashMap;

use rsc_oci::spec::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall,
};
use rsc_proto::table;
use rsc_proto::v1::{Seccomp, SeccompAction, SeccompArg, SeccompRule, seccomp_action::Kind, seccomp_arg::Op};

const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;

fn action(action: Action, errno: Option<u32>) -> SeccompAction {
    let (kind, errno) = match action {
        Action::ScmpActKill | Action::ScmpActKillThread => (Kind::KillThread, 0),
        // Refused when the bundle was checked.
        Action::ScmpActKillProcess | Action::ScmpActNotify => (Kind::KillProcess, 0),
        Action::ScmpActTrap => (Kind::Trap, 0),
        Action::ScmpActErrno => (Kind::Errno, errno.unwrap_or(EPERM)),
        // As in Linux without a tracer.
        Action::ScmpActTrace => (Kind::Errno, ENOSYS),
        Action::ScmpActLog => (Kind::Log, 0),
        Action::ScmpActAllow => (Kind::Allow, 0),
    };
    SeccompAction { kind: kind.into(), errno }
}

fn argument(arg: &LinuxSeccompArg) -> SeccompArg {
    let op = match arg.op() {
        Operator::ScmpCmpNe => Op::Ne,
        Operator::ScmpCmpLt => Op::Lt,
        Operator::ScmpCmpLe => Op::Le,
        Operator::ScmpCmpEq => Op::Eq,
        Operator::ScmpCmpGe => Op::Ge,
        Operator::ScmpCmpGt => Op::Gt,
        Operator::ScmpCmpMaskedEq => Op::MaskedEq,
    };
    SeccompArg {
        index: u32::try_from(arg.index()).unwrap_or(u32::MAX),
        op: op.into(),
        value: arg.value(),
        value_two: arg.value_two().unwrap_or(0),
    }
}

/// The profile by numbers.
pub(super) fn compile(profile: &LinuxSeccomp) -> Seccomp {
    let numbers: HashMap<&str, u32> = (0..table::COUNTED).filter_map(table::lookup).map(|c| (c.name, c.nr)).collect();
    let rules = || profile.syscalls().iter().flatten();
    // Names that this machine's Linux does not have are of other architectures, or of other times.
    let known =
        |rule: &LinuxSyscall| rule.names().iter().filter_map(|name| numbers.get(name.as_str()).copied()).collect();
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut compiled = Vec::new();
    for rule in rules() {
        let numbers: Vec<u32> = known(rule);
        let action = action(rule.action(), rule.errno_ret());
        // A rule that says what the default says is none: it hides no other.
        if action == default || numbers.is_empty() {
            continue;
        }
        let args: Vec<SeccompArg> = rule.args().iter().flatten().map(argument).collect();
        let twice = |arg: &SeccompArg| args.iter().filter(|other| other.index == arg.index).count() > 1;
        if args.iter().any(twice) {
            // Comparisons of one argument are alternatives, and so are then all others of the rule.
            let each =
                |arg: &SeccompArg| SeccompRule { numbers: numbers.clone(), action: Some(action), args: vec![*arg] };
            compiled.extend(args.iter().map(each));
        } else {
            compiled.push(SeccompRule { numbers, action: Some(action), args });
        }
    }
    Seccomp { default: Some(default), rules: compiled, last: last(profile, rules().flat_map(known).max()) }
}

/// Calls that are newer than the profile's newest are answered as by an older kernel, so that programs fall back to what it has;
/// but not where the default lets them pass.
fn last(profile: &LinuxSeccomp, newest: Option<u32>) -> u32 {
    match profile.default_action() {
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace => 0,
        _ => newest.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsc_proto::table::nr;
    use serde_json::json;

    fn compiled(profile: serde_json::Value) -> Seccomp {
        compile(&serde_json::from_value(profile).unwrap())
    }

    #[test]
    fn by_number() {
        let profile = compiled(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {"names": ["read", "stat64", "clone"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2},
                {"names": ["statx"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
                {"names": ["no_such_call"], "action": "SCMP_ACT_KILL"},
            ]
        }));
        let action = |kind: Kind, errno| Some(SeccompAction { kind: kind.into(), errno });
        assert_eq!(profile.default, action(Kind::Errno, 1));
        assert_eq!(
            profile.rules,
            [
                SeccompRule { numbers: vec![nr::READ, nr::CLONE], action: action(Kind::Allow, 0), args: vec![] },
                SeccompRule { numbers: vec![nr::RMDIR], action: action(Kind::Errno, 2), args: vec![] },
                SeccompRule { numbers: vec![nr::STATX], action: action(Kind::Errno, 38), args: vec![] },
            ]
        );
        assert_eq!(profile.last, nr::STATX);
    }

    #[test]
    fn comparisons() {
        let arg = |index: u64, op: &str| json!({"index": index, "value": 5, "valueTwo": 6, "op": op});
        let rule = |args| json!({"names": ["personality"], "action": "SCMP_ACT_KILL", "args": args});
        let profile = compiled(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                rule(json!([arg(0, "SCMP_CMP_MASKED_EQ"), arg(1, "SCMP_CMP_NE")])),
                rule(json!([arg(0, "SCMP_CMP_LT"), arg(0, "SCMP_CMP_GT"), arg(1, "SCMP_CMP_EQ")])),
            ]
        }));
        let got: Vec<Vec<_>> =
            profile.rules.iter().map(|rule| rule.args.iter().map(|arg| (arg.index, arg.op())).collect()).collect();
        assert_eq!(
            got,
            [vec![(0, Op::MaskedEq), (1, Op::Ne)], vec![(0, Op::Lt)], vec![(0, Op::Gt)], vec![(1, Op::Eq)]]
        );
        assert_eq!((profile.rules[0].args[0].value, profile.rules[0].args[0].value_two), (5, 6));
        assert_eq!(profile.last, 0, "the default allows");
    }
}
