//! The workload's filter.
//!
//! Order of its questions: architecture (32-bit entries get ENOSYS), the x32 bit (ENOSYS), the magic number (notification), the
//! number in place of a call that the container's own profile forbids (SIGSYS, as Linux alone can have it), what is native by permission (allowed), the control plane (tracer), the rest (by platform). `seccompiler` compiles the rules; as it
//! knows no user notification, and one filter of its has two answers only, its answers are substituted in the output.

use super::{Platform, numbers};
use crate::sys::seccomp::Instruction;
use rsc_proto::table::{self, Cond, Op, Plane, Rule};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RET: u16 = 0x06;
const LD_ABS: u16 = 0x20;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const JA: u16 = 0x05;

pub(crate) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const TRACE: u32 = libc::SECCOMP_RET_TRACE;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

const ARCH: u32 = 0xc000_003e;
const X32: u32 = 0x4000_0000;

/// What the filter of a workload is made from.
#[derive(Clone, Debug)]
pub struct Filter {
    /// What happens to calls of the data plane.
    pub platform: Platform,
    /// Calls that the host's kernel may carry out unasked, as far as the table's conditions hold. Empty under `strict`.
    pub native: BTreeSet<u32>,
}

/// The rules do not make a filter.
#[derive(Debug, thiserror::Error)]
#[error("cannot compile the system call filter: {0}")]
pub struct FilterError(String);

impl Filter {
    /// The program.
    pub fn compile(&self) -> Result<Vec<Instruction>, FilterError> {
        let mut program = vec![
            load(4),
            jump(JEQ, ARCH, 1, 0),
            ret(ENOSYS),
            load(0),
            jump(JGE, X32, 0, 1),
            ret(ENOSYS),
            jump(JEQ, numbers::MAGIC, 0, 1),
            ret(NOTIFY),
            jump(JEQ, numbers::SIGSYS, 0, 7),
            load(16),
            jump(JEQ, numbers::MARK_KILL_PROCESS, 0, 1),
            ret(libc::SECCOMP_RET_KILL_PROCESS),
            jump(JEQ, numbers::MARK_KILL_THREAD, 0, 1),
            ret(libc::SECCOMP_RET_KILL_THREAD),
            jump(JEQ, numbers::MARK_TRAP, 0, 1),
            ret(libc::SECCOMP_RET_TRAP),
        ];
        let mut native = BTreeMap::<i64, Vec<SeccompRule>>::new();
        for (nr, alternatives) in table::filter_rules() {
            // A restart goes on with what the sentry began as often as with a native wait: the engine decides.
            if self.native.contains(&nr) && nr != numbers::RESTART_SYSCALL {
                native.insert(nr.into(), rules(alternatives)?);
            }
        }
        append(&mut program, native, ALLOW)?;
        if self.platform == Platform::Seccomp {
            append(&mut program, control().map(|nr| (i64::from(nr), Vec::new())).collect(), TRACE)?;
        }
        program.push(ret(match self.platform {
            Platform::Ptrace => TRACE,
            Platform::Seccomp => NOTIFY,
        }));
        if program.len() > 4096 { Err(FilterError("it is too long".into())) } else { Ok(program) }
    }
}

/// The control plane: what the table says, what the supervisor puts in a call's place, and whatever may run natively once it is
/// permitted, because only the tracer can let it run and see its result.
pub(crate) fn control() -> impl Iterator<Item = u32> {
    let table = (0..1024).filter_map(table::lookup);
    let table =
        table.filter(|call| call.plane == Plane::Control || !call.native.is_empty() || !call.permitted.is_empty());
    let mut all: BTreeSet<u32> = table.map(|call| call.nr).collect();
    all.extend(numbers::CONTROL);
    all.into_iter()
}

/// No rules at all mean: always.
fn rules(alternatives: &[Rule]) -> Result<Vec<SeccompRule>, FilterError> {
    if alternatives.iter().any(|rule| rule.conditions.is_empty()) {
        return Ok(Vec::new());
    }
    alternatives.iter().map(|alternative| rule(alternative.conditions)).collect()
}

fn rule(conditions: &[Cond]) -> Result<SeccompRule, FilterError> {
    let conditions = conditions
        .iter()
        .map(|c| {
            let length = if c.wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
            let (op, value) = match c.op {
                Op::Eq(value) => (SeccompCmpOp::Eq, value),
                Op::Ne(value) => (SeccompCmpOp::Ne, value),
                Op::Le(value) => (SeccompCmpOp::Le, value),
                Op::MaskedEq { mask, value } => (SeccompCmpOp::MaskedEq(mask), value),
            };
            SeccompCondition::new(c.arg, length, op, value)
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| FilterError(error.to_string()))?;
    SeccompRule::new(conditions).map_err(|error| FilterError(error.to_string()))
}

/// Appends the rules with `action` as their answer; what matches none falls through to what comes next.
fn append(
    program: &mut Vec<Instruction>,
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    action: u32,
) -> Result<(), FilterError> {
    if rules.is_empty() {
        return Ok(());
    }
    let failed = |error: seccompiler::BackendError| FilterError(error.to_string());
    // Two answers that seccompiler knows stand for the two that are wanted.
    let (hit, miss) = (SeccompAction::Errno(1), SeccompAction::Errno(2));
    let (hit_value, miss_value) = (u32::from(hit.clone()), u32::from(miss.clone()));
    let filter = SeccompFilter::new(rules, miss, hit, TargetArch::x86_64).map_err(failed)?;
    let compiled = BpfProgram::try_from(filter).map_err(failed)?;
    let length = compiled.len();
    program.extend(compiled.iter().enumerate().map(|(index, instruction)| {
        let is_return = instruction.code == RET;
        match instruction.k {
            value if is_return && value == hit_value => ret(action),
            value if is_return && value == miss_value => {
                Instruction { code: JA, jt: 0, jf: 0, k: u32::try_from(length - index - 1).unwrap_or(u32::MAX) }
            }
            k => Instruction { code: instruction.code, jt: instruction.jt, jf: instruction.jf, k },
        }
    }));
    Ok(())
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LD_ABS, jt: 0, jf: 0, k: offset }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

const fn ret(value: u32) -> Instruction {
    Instruction { code: RET, jt: 0, jf: 0, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter over one call.
    fn answer(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let mut data = [nr, arch, 0, 0].to_vec();
        data.extend(args.iter().flat_map(|arg| [*arg as u32, (*arg >> 32) as u32]));
        let (mut pc, mut a) = (0usize, 0u32);
        loop {
            let i = program[pc];
            pc += 1;
            match i.code {
                LD_ABS => a = data[i.k as usize / 4],
                0x54 => a &= i.k,
                RET => return i.k,
                JA => pc += i.k as usize,
                0x15 => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
                0x25 => pc += usize::from(if a > i.k { i.jt } else { i.jf }),
                0x35 => pc += usize::from(if a >= i.k { i.jt } else { i.jf }),
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    fn filter(platform: Platform, native: BTreeSet<u32>) -> Vec<Instruction> {
        Filter { platform, native }.compile().unwrap()
    }

    #[test]
    fn strict_lets_nothing_through() {
        let control: BTreeSet<u32> = control().collect();
        for (platform, data) in [(Platform::Ptrace, TRACE), (Platform::Seccomp, NOTIFY)] {
            let program = filter(platform, BTreeSet::new());
            for nr in 0..600 {
                let verdict = answer(&program, ARCH, nr, [0; 6]);
                assert_eq!(verdict, if control.contains(&nr) { TRACE } else { data }, "{nr}");
            }
            assert_eq!(answer(&program, ARCH, numbers::MAGIC, [0; 6]), NOTIFY);
            let sigsys = |mark: u32| answer(&program, ARCH, numbers::SIGSYS, [mark.into(), 0, 0, 0, 0, 0]);
            assert_eq!(sigsys(numbers::MARK_KILL_PROCESS), libc::SECCOMP_RET_KILL_PROCESS);
            assert_eq!(sigsys(numbers::MARK_KILL_THREAD), libc::SECCOMP_RET_KILL_THREAD);
            assert_eq!(sigsys(numbers::MARK_TRAP), libc::SECCOMP_RET_TRAP);
            assert_eq!(sigsys(0), data);
            assert_eq!(answer(&program, 0x4000_0003, 1, [0; 6]), ENOSYS);
            assert_eq!(answer(&program, ARCH, X32 | 1, [0; 6]), ENOSYS);
            assert_eq!(answer(&program, ARCH, u32::MAX, [0; 6]), ENOSYS);
        }
    }

    #[test]
    fn the_filter_agrees_with_the_table() {
        let native: BTreeSet<u32> = table::filter_rules().map(|(nr, _)| nr).collect();
        let values = [0, 1, 2, 3, 0x11, 0x20, 0x22, 0x3d0f00, 1 << 32, u64::MAX];
        for platform in [Platform::Ptrace, Platform::Seccomp] {
            let program = filter(platform, native.clone());
            for nr in 0..600 {
                for (a, b) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
                    let args = [a, b, a, b, a, b];
                    let allowed = answer(&program, ARCH, nr, args) == ALLOW;
                    let wanted = table::native_permitted(nr, &args, true) && nr != numbers::RESTART_SYSCALL;
                    assert_eq!(allowed, wanted, "{nr} {args:?}");
                }
            }
        }
    }
}
