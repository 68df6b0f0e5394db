//! `linux.seccomp`: what a profile may say, and what of it is honoured.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSyscall};
use serde_json::{Value, json};

use crate::bundle::BundleError;
use crate::check::{bounded, text, wrong};

/// Arguments that a system call has.
const ARGUMENTS: usize = 6;
/// Names in all rules, and comparisons in all rules of all names. Linux takes no filter of more than 4096 instructions.
const MAX_NAMES: usize = 1 << 16;
const MAX_COMPARISONS: usize = 4096;
/// Linux's greatest errno; the numbers from 512 on are the kernel's own.
const MAX_ERRNO: u32 = 511;

/// What `features` says of it.
pub(crate) fn features() -> Value {
    json!({
        "enabled": true,
        "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
            "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
        "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
            "SCMP_CMP_NE"],
        "archs": ["SCMP_ARCH_X86_64"],
        "knownFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "supportedFlags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
    })
}

fn action(property: &str, action: Action, errno: Option<u32>) -> Result<(), BundleError> {
    if action == Action::ScmpActNotify {
        return wrong(property, "SCMP_ACT_NOTIFY is not supported: no agent can answer; use another action");
    }
    match errno {
        Some(errno) if errno > MAX_ERRNO && matches!(action, Action::ScmpActErrno | Action::ScmpActTrace) => {
            let (parent, name) = property.rsplit_once('.').unwrap_or_default();
            let errno_of = if name == "defaultAction" { "defaultErrnoRet" } else { "errnoRet" };
            wrong(format!("{parent}.{errno_of}"), format!("{errno} is no errno"))
        }
        _ => Ok(()),
    }
}

/// Checks a profile.
pub(crate) fn check(seccomp: &LinuxSeccomp, ignored: &mut Vec<String>) -> Result<(), BundleError> {
    action("linux.seccomp.defaultAction", seccomp.default_action(), seccomp.default_errno_ret())?;
    if seccomp.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()) {
        return wrong("linux.seccomp.listenerPath", "is not supported; remove it");
    }
    if seccomp.listener_metadata().as_ref().is_some_and(|data| !data.is_empty()) {
        return wrong("linux.seccomp.listenerMetadata", "has no listenerPath that it could be for; remove it");
    }
    bounded("linux.seccomp.architectures", seccomp.architectures().as_ref())?;
    bounded("linux.seccomp.flags", seccomp.flags().as_ref())?;
    for flag in seccomp.flags().iter().flatten() {
        let why = match flag {
            Flag::SeccompFilterFlagLog => "a call that the profile forbids is logged once a number",
            Flag::SeccompFilterFlagTsync => "all of a container's tasks have its profile",
            Flag::SeccompFilterFlagSpecAllow => "it says nothing about calls; mitigations are the host's",
            Flag::SeccompFilterFlagWaitKillableRecv => "there are no notifications",
        };
        ignored.push(format!("linux.seccomp.flags: {flag}: {why}"));
    }
    bounded("linux.seccomp.syscalls", seccomp.syscalls().as_ref())?;
    let (mut names, mut comparisons) = (0usize, 0usize);
    for (index, it) in seccomp.syscalls().iter().flatten().enumerate() {
        let property = format!("linux.seccomp.syscalls[{index}]");
        rule(&property, it)?;
        names += it.names().len();
        comparisons += it.names().len().saturating_mul(it.args().as_ref().map_or(0, Vec::len));
        if names > MAX_NAMES {
            return wrong(property, format!("the profile has more than {MAX_NAMES} names"));
        }
        if comparisons > MAX_COMPARISONS {
            return wrong(property, format!("the profile compares more than {MAX_COMPARISONS} arguments"));
        }
    }
    Ok(())
}

fn rule(property: &str, rule: &LinuxSyscall) -> Result<(), BundleError> {
    if rule.names().is_empty() {
        return wrong(format!("{property}.names"), "is empty; name a system call");
    }
    for (index, name) in rule.names().iter().enumerate() {
        let property = format!("{property}.names[{index}]");
        text(&property, name)?;
        if name.is_empty() {
            return wrong(property, "is empty; name a system call");
        }
    }
    action(&format!("{property}.action"), rule.action(), rule.errno_ret())?;
    for (index, arg) in rule.args().iter().flatten().enumerate() {
        if arg.index() >= ARGUMENTS {
            let problem = format!("{} is too large; system calls have {ARGUMENTS} arguments, from 0", arg.index());
            return wrong(format!("{property}.args[{index}].index"), problem);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(profile: Value) -> Result<Vec<String>, String> {
        let mut ignored = Vec::new();
        let profile: LinuxSeccomp = serde_json::from_value(profile).map_err(|error| error.to_string())?;
        check(&profile, &mut ignored).map(|()| ignored).map_err(|error| error.to_string())
    }

    #[test]
    fn what_clients_write() {
        let ignored = checked(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_RISCV64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [
                {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["a"], "action": "SCMP_ACT_KILL"}, {"names": ["a"], "action": "SCMP_ACT_KILL_THREAD"},
                {"names": ["a"], "action": "SCMP_ACT_KILL_PROCESS"}, {"names": ["a"], "action": "SCMP_ACT_TRAP"},
                {"names": ["a"], "action": "SCMP_ACT_LOG"}, {"names": ["a"], "action": "SCMP_ACT_TRACE"}
            ]
        }))
        .unwrap();
        assert_eq!(ignored.len(), 2);
        assert!(ignored[1].contains("SECCOMP_FILTER_FLAG_TSYNC"), "{ignored:?}");
        assert!(checked(json!({"defaultAction": "SCMP_ACT_ALLOW"})).unwrap().is_empty());
    }

    #[test]
    fn names_the_property() {
        let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        let arg = |arg: Value| rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [arg]}));
        let many = json!({"index": 0, "value": 0, "op": "SCMP_CMP_EQ"});
        let cases = [
            (json!({}), "defaultAction"),
            (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "linux.seccomp.defaultAction"),
            (json!({"defaultAction": "SCMP_ACT_MAYBE"}), "SCMP_ACT_MAYBE"),
            (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 512}), "linux.seccomp.defaultErrnoRet"),
            (json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}), "linux.seccomp.listenerPath"),
            (json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}), "linux.seccomp.listenerMetadata"),
            (json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}), "x86"),
            (json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FAST"]}), "FAST"),
            (rule(json!({"names": [], "action": "SCMP_ACT_KILL"})), "linux.seccomp.syscalls[0].names"),
            (rule(json!({"names": ["read", ""], "action": "SCMP_ACT_KILL"})), "linux.seccomp.syscalls[0].names[1]"),
            (rule(json!({"names": ["re\u{0}ad"], "action": "SCMP_ACT_KILL"})), "linux.seccomp.syscalls[0].names[0]"),
            (rule(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"})), "linux.seccomp.syscalls[0].action"),
            (
                rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
                "linux.seccomp.syscalls[0].errnoRet",
            ),
            (
                rule(json!({"names": vec!["read"; MAX_NAMES + 1], "action": "SCMP_ACT_KILL"})),
                "linux.seccomp.syscalls[0]",
            ),
            (arg(json!({"index": 6, "value": 0, "op": "SCMP_CMP_EQ"})), "linux.seccomp.syscalls[0].args[0].index"),
            (arg(json!({"index": 0, "value": 0, "op": "SCMP_CMP_LIKE"})), "SCMP_CMP_LIKE"),
            (arg(json!({"index": 0, "value": -1, "op": "SCMP_CMP_EQ"})), "-1"),
            (
                rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": vec![many; MAX_COMPARISONS + 1]})),
                "compares",
            ),
        ];
        for (profile, property) in cases {
            let error = checked(profile).expect_err(property);
            assert!(error.contains(property), "{error} does not name {property}");
        }
    }
}
