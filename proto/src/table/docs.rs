//! `docs/syscalls.md` from the table: what a user may rely on.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Interruption, Plane, Rule, Support, Syscall, TABLE};

const HEAD: &str = "\
# System calls

Every system call of x86-64 Linux, and what a program under rsc gets. This file is generated from `proto/src/syscalls.tbl`
(`RSC_BLESS=1 cargo test -p rsc-proto table::docs`); change it there.

- **where**: `native`: the compute host's kernel carries it out, let through by the filter under `--placement=auto`; `permitted`: it
  does so once the sentry has permitted this very call; `sentry`: the sentry carries it out. Under `--placement=strict` each call
  goes to the sentry first. *if*: under conditions on the arguments, else the sentry carries it out.
- **support**: `full`: as Linux has it; `partial`: what is missing; `refused`: what it returns, and why. A number that is not here
  returns ENOSYS.
- **interrupted**: how a signal ends a wait: `never`, with `EINTR` always, or by Linux's restart rules (`ERESTARTSYS` is restarted when
  the handler has `SA_RESTART`).
- **covered by**: the conformance programs which print the same natively and under rsc.

";

/// The document. `coverage` has lines `SYSCALL PROGRAM`; lines about unknown calls are left out.
pub fn syscalls_md(coverage: &str) -> String {
    let mut programs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in coverage.lines() {
        let mut words = line.split_whitespace();
        if let (Some(call), Some(program)) = (words.next(), words.next())
            && !call.starts_with('#')
        {
            let programs = programs.entry(call).or_default();
            if !programs.contains(&program) {
                programs.push(program);
            }
        }
    }
    let mut out = String::from(HEAD);
    let count = |wanted: fn(&Support) -> bool| TABLE.iter().filter(|call| wanted(&call.support)).count();
    let covered = TABLE.iter().filter(|call| programs.contains_key(call.name)).count();
    let _ = writeln!(
        out,
        "{} calls: {} full, {} partial, {} refused; {covered} covered by conformance programs.\n",
        TABLE.len(),
        count(|support| matches!(support, Support::Full)),
        count(|support| matches!(support, Support::Partial(_))),
        count(|support| matches!(support, Support::Refused(..))),
    );
    out.push_str(
        "| nr | call | where | support | interrupted | covered by |\n| ---: | --- | --- | --- | --- | --- |\n",
    );
    for call in TABLE {
        let arguments: Vec<&str> = call.args.iter().map(|arg| arg.name).collect();
        let support = match call.support {
            Support::Full => "full".to_owned(),
            Support::Partial(missing) => format!("partial: {missing}"),
            Support::Refused(errno, why) => format!("refused, {}: {why}", errno.name()),
        };
        let interrupted = match call.interrupt {
            Interruption::Never => "never",
            Interruption::Eintr => "EINTR",
            Interruption::Restart(restart) => restart.name(),
        };
        let covered = programs.get(call.name).map(|programs| programs.join(", ")).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | `{}({})` | {} | {support} | {interrupted} | {covered} |",
            call.nr,
            call.name,
            arguments.join(", "),
            place(call),
        );
    }
    out
}

fn place(call: &Syscall) -> String {
    let mut parts = Vec::new();
    for (word, rules) in [("native", call.native), ("permitted", call.permitted)] {
        if let Some(Rule { reason, .. }) = rules.first() {
            let conditional = if rules.iter().all(|rule| rule.conditions.is_empty()) { "" } else { ", *if*" };
            parts.push(format!("{word}{conditional}: {reason}"));
        }
    }
    if parts.is_empty() {
        return match call.plane {
            Plane::Data => "sentry".to_owned(),
            Plane::Control => "sentry, by the tracer".to_owned(),
        };
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_document_is_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let coverage = std::fs::read_to_string(root.join("tests/conformance/coverage.txt")).unwrap_or_default();
        let path = root.join("docs/syscalls.md");
        let wanted = syscalls_md(&coverage);
        if std::env::var_os("RSC_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "docs/syscalls.md is stale: RSC_BLESS=1 cargo test -p rsc-proto table::docs");
    }

    #[test]
    fn coverage_is_named_once() {
        let text = syscalls_md("# comment line\nread io\nread io\nread pipes\nnonsense x\n\nwrite\n");
        assert!(text.contains("| ERESTARTSYS | io, pipes |"));
        assert!(text.contains("; 1 covered by"));
    }
}
