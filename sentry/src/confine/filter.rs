//! System call filters as lists with reasons: what is let through, what ends the process, and EPERM for the rest.

use super::ConfineError;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Cmp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::{BTreeMap, BTreeSet};

/// A call that is let through, and why.
pub type Reasoned = (i64, &'static str);

/// Calls that no program of rsc's makes once it serves, and that break out of processes, or into the kernel: one attempt ends the
/// process, and the kernel logs it. The others that are not let through are only refused, as libraries may try them.
pub const DEADLY: &[Reasoned] = &[
    (libc::SYS_ptrace, "other processes"),
    (libc::SYS_process_vm_readv, "other processes"),
    (libc::SYS_process_vm_writev, "other processes"),
    (libc::SYS_process_madvise, "other processes"),
    (libc::SYS_pidfd_getfd, "other processes' descriptors"),
    (libc::SYS_kcmp, "other processes"),
    (libc::SYS_bpf, "programs in the kernel"),
    (libc::SYS_perf_event_open, "the kernel's inside"),
    (libc::SYS_userfaultfd, "holds the kernel up in the middle of a copy"),
    (libc::SYS_io_uring_setup, "calls that no filter sees"),
    (libc::SYS_io_uring_enter, "the same"),
    (libc::SYS_io_uring_register, "the same"),
    (libc::SYS_init_module, "modules"),
    (libc::SYS_finit_module, "modules"),
    (libc::SYS_delete_module, "modules"),
    (libc::SYS_kexec_load, "another kernel"),
    (libc::SYS_kexec_file_load, "another kernel"),
    (libc::SYS_reboot, "the machine"),
    (libc::SYS_swapon, "the machine"),
    (libc::SYS_swapoff, "the machine"),
    (libc::SYS_iopl, "the machine"),
    (libc::SYS_ioperm, "the machine"),
    (libc::SYS_settimeofday, "the machine's clock"),
    (libc::SYS_clock_settime, "the machine's clock"),
    (libc::SYS_adjtimex, "the machine's clock"),
    (libc::SYS_clock_adjtime, "the machine's clock"),
    (libc::SYS_syslog, "the kernel's log"),
    (libc::SYS_acct, "the machine's accounts"),
    (libc::SYS_quotactl, "file systems"),
    (libc::SYS_quotactl_fd, "file systems"),
    (libc::SYS_keyctl, "the kernel's keys"),
    (libc::SYS_add_key, "the kernel's keys"),
    (libc::SYS_request_key, "the kernel's keys"),
    (libc::SYS_open_by_handle_at, "files past every directory's permissions"),
    (libc::SYS_name_to_handle_at, "the same"),
    (libc::SYS_modify_ldt, "segments of 16 bit code"),
    (libc::SYS_personality, "memory layouts that help exploits"),
    (libc::SYS_vhangup, "terminals"),
    (libc::SYS_sethostname, "the machine's name"),
    (libc::SYS_setdomainname, "the machine's name"),
];

/// Namespaces, mounts and programs: deadly as well for a process that starts none.
pub const DEADLY_WITHOUT_CHILDREN: &[Reasoned] = &[
    (libc::SYS_execve, "programs"),
    (libc::SYS_execveat, "programs"),
    (libc::SYS_fork, "processes"),
    (libc::SYS_vfork, "processes"),
    (libc::SYS_setns, "namespaces"),
    (libc::SYS_unshare, "namespaces"),
    (libc::SYS_chroot, "another root"),
    (libc::SYS_pivot_root, "another root"),
    (libc::SYS_mount, "mounts"),
    (libc::SYS_umount2, "mounts"),
    (libc::SYS_open_tree, "mounts"),
    (libc::SYS_move_mount, "mounts"),
    (libc::SYS_fsopen, "mounts"),
    (libc::SYS_fsconfig, "mounts"),
    (libc::SYS_fsmount, "mounts"),
    (libc::SYS_fspick, "mounts"),
    (libc::SYS_mount_setattr, "mounts"),
];

/// What is let through: the number, and the conditions of which one has to hold (none: always).
#[derive(Debug, Default)]
pub struct Allowed {
    rules: BTreeMap<i64, Vec<SeccompRule>>,
}

/// A condition on the 32-bit argument with this index.
pub type Condition = (u8, Cmp, u64);

impl Allowed {
    /// Calls whatever their arguments are.
    pub fn plain(calls: &[Reasoned]) -> Self {
        Self { rules: calls.iter().map(|(nr, _)| (*nr, vec![])).collect() }
    }

    /// Calls whatever their arguments are, too.
    pub fn and(&mut self, calls: &[Reasoned]) {
        self.rules.extend(calls.iter().map(|(nr, _)| (*nr, vec![])));
    }

    /// A call if all of these hold; or those of another `when` for the same call.
    ///
    /// # Errors
    /// [`ConfineError::Filter`]: an index that is no argument's.
    pub fn when(&mut self, nr: i64, conditions: &[Condition]) -> Result<(), ConfineError> {
        let condition = |(arg, cmp, value): &Condition| SeccompCondition::new(*arg, Len::Dword, cmp.clone(), *value);
        let conditions = conditions.iter().map(condition).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        self.rules.entry(nr).or_default().push(SeccompRule::new(conditions).map_err(failed)?);
        Ok(())
    }

    /// Memory that is not executable: this process makes no code.
    ///
    /// # Errors
    /// As [`when`](Self::when).
    pub fn data_memory(&mut self) -> Result<(), ConfineError> {
        for nr in [libc::SYS_mmap, libc::SYS_mprotect] {
            self.when(nr, &[(2, Cmp::MaskedEq(libc::PROT_EXEC as u64), 0)])?;
        }
        Ok(())
    }

    /// The numbers.
    pub fn numbers(&self) -> BTreeSet<i64> {
        self.rules.keys().copied().collect()
    }
}

fn failed(error: impl std::fmt::Display) -> ConfineError {
    ConfineError::Filter(error.to_string())
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    mismatch: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let filter = SeccompFilter::new(rules, mismatch, matching, TargetArch::x86_64).map_err(failed)?;
    BpfProgram::try_from(filter).map_err(failed)
}

/// The two programs: EPERM for what is not allowed, death for what is deadly. The kernel takes the stricter verdict.
fn programs(allowed: Allowed, deadly: &[&[Reasoned]]) -> Result<[BpfProgram; 2], ConfineError> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let deadly = deadly.iter().copied().flatten().map(|(nr, _)| (*nr, vec![])).collect();
    Ok([
        compile(deadly, SeccompAction::Allow, SeccompAction::KillProcess)?,
        compile(allowed.rules, refused, SeccompAction::Allow)?,
    ])
}

/// Installs the filter on all threads of this process, for good. It wins over what started later could allow itself.
///
/// # Errors
/// [`ConfineError::Filter`].
pub fn install(allowed: Allowed, deadly: &[&[Reasoned]]) -> Result<(), ConfineError> {
    for program in programs(allowed, deadly)? {
        seccompiler::apply_filter_all_threads(&program).map_err(failed)?;
    }
    Ok(())
}

/// Installs a filter that ends the process at what is deadly and lets all else through: for a process that starts others, which
/// inherit it and have filters of their own.
///
/// # Errors
/// [`ConfineError::Filter`].
pub fn install_deadly(deadly: &[&[Reasoned]]) -> Result<(), ConfineError> {
    let deadly = deadly.iter().copied().flatten().map(|(nr, _)| (*nr, vec![])).collect();
    let program = compile(deadly, SeccompAction::Allow, SeccompAction::KillProcess)?;
    seccompiler::apply_filter_all_threads(&program).map_err(failed)
}

/// Installs the filter on the calling thread.
#[cfg(test)]
pub(super) fn install_here(allowed: Allowed, deadly: &[&[Reasoned]]) {
    for program in programs(allowed, deadly).unwrap() {
        seccompiler::apply_filter(&program).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_named_once_and_with_a_reason() {
        let all: Vec<_> = DEADLY.iter().chain(DEADLY_WITHOUT_CHILDREN).collect();
        assert!(all.iter().all(|(_, reason)| !reason.is_empty()));
        assert_eq!(all.iter().map(|(nr, _)| nr).collect::<BTreeSet<_>>().len(), all.len());
    }
}
