//! What a machine lacks when it refuses: found by looking, not by guessing from the error alone.

use caps::{CapSet, Capability, has_cap};
use nix::errno::Errno;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Map,
    Ring,
    Program,
    Tracepoint(&'static str),
}

/// A refusal, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {errno}; {cause}")]
pub struct Missing {
    doing: String,
    errno: Errno,
    cause: String,
}

/// What is known of this machine.
#[derive(Clone, Debug, Default)]
struct Machine {
    /// Capabilities that this process lacks, of those which are needed.
    lacks: Vec<&'static str>,
    /// `kernel.unprivileged_bpf_disabled`.
    unprivileged_disabled: String,
    /// The chosen mode of /sys/kernel/security/lockdown.
    lockdown: Option<String>,
}

impl Machine {
    fn look() -> Machine {
        let has = |capability| has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        let admin = has(Capability::CAP_SYS_ADMIN);
        let needed = [
            ("CAP_BPF", admin || has(Capability::CAP_BPF)),
            ("CAP_PERFMON", admin || has(Capability::CAP_PERFMON)),
            ("CAP_SYS_PTRACE", has(Capability::CAP_SYS_PTRACE)),
        ];
        let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").ok();
        let chosen = lockdown.and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()));
        Machine {
            lacks: needed.into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect(),
            unprivileged_disabled: std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            lockdown: chosen.filter(|mode| mode != "none"),
        }
    }

    fn cause(&self, step: Step, errno: Errno) -> String {
        match (errno, step) {
            (Errno::ENOSYS, _) => "the kernel has no bpf(2): it needs CONFIG_BPF_SYSCALL".into(),
            (Errno::EPERM | Errno::EACCES, _) if !self.lacks.is_empty() => {
                let lacks = self.lacks.join(", ");
                let unprivileged = match self.unprivileged_disabled.as_str() {
                    "" => String::new(),
                    value => format!(" (kernel.unprivileged_bpf_disabled = {value})"),
                };
                format!("this process lacks {lacks}{unprivileged}: run it as root, or with these capabilities")
            }
            (Errno::EPERM | Errno::EACCES, _) => match &self.lockdown {
                Some(mode) => format!("the kernel is locked down ({mode}), which forbids programs that read its memory"),
                None => "a security module, a seccomp filter, a user namespace, or before Linux 5.11 the limit on locked memory (ulimit -l) forbids it".into(),
            },
            (Errno::EINVAL, Step::Map | Step::Ring) => "ring buffers and LRU maps need Linux 5.8".into(),
            (Errno::EINVAL, Step::Program) => "the kernel needs CONFIG_BPF_EVENTS".into(),
            (Errno::ENOENT, Step::Tracepoint("sys_exit")) => {
                "rules about calls need a kernel with CONFIG_FTRACE_SYSCALLS".into()
            }
            (Errno::ENOENT, Step::Tracepoint(_)) => "the kernel needs CONFIG_TRACEPOINTS and CONFIG_BPF_EVENTS".into(),
            _ => "the kernel gives no reason".into(),
        }
    }
}

/// Explains a refusal.
pub(crate) fn explain(step: Step, errno: Errno) -> Missing {
    let doing = match step {
        Step::Map => "making an eBPF map".into(),
        Step::Ring => "mapping an eBPF ring buffer".into(),
        Step::Program => "loading an eBPF program".into(),
        Step::Tracepoint(name) => format!("attaching an eBPF program to the tracepoint {name}"),
    };
    Missing { doing, errno, cause: Machine::look().cause(step, errno) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_name_what_is_missing() {
        let bare = Machine { lacks: vec!["CAP_BPF", "CAP_PERFMON"], unprivileged_disabled: "2".into(), lockdown: None };
        let said = bare.cause(Step::Map, Errno::EPERM);
        assert!(said.contains("CAP_BPF, CAP_PERFMON") && said.contains("unprivileged_bpf_disabled = 2"), "{said}");
        assert!(bare.cause(Step::Map, Errno::ENOSYS).contains("CONFIG_BPF_SYSCALL"));
        assert!(bare.cause(Step::Tracepoint("sys_exit"), Errno::ENOENT).contains("CONFIG_FTRACE_SYSCALLS"));
        let locked = Machine { lockdown: Some("confidentiality".into()), ..Machine::default() };
        assert!(locked.cause(Step::Program, Errno::EPERM).contains("confidentiality"));
    }
}
