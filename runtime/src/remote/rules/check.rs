//! What is wrong with rules that can be parsed: those that never decide anything.
//!
//! A rule is compared with each one before it alone: that two of them together leave it nothing is not found. What is found is sure.

use std::fmt;

use super::{Origin, Rule, Rules, Verdict, calls};

/// A rule that never decides anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's place among all.
    pub index: usize,
    /// Why.
    pub why: Why,
}

/// Why a rule never decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The earlier rule with this index matches whatever it matches.
    Shadowed(usize),
    /// The same, and the earlier one has the same conditions but does something else.
    Contradicted(usize),
    /// None of its calls can meet its conditions, or they go where their descriptors are.
    Idle,
}

/// All rules that never decide anything, in their order.
pub fn check(rules: &Rules) -> Vec<Finding> {
    let list: Vec<&Rule> = rules.iter().collect();
    let mut findings = Vec::new();
    for (index, rule) in list.iter().enumerate() {
        let own = matches!(rule.origin, Origin::File { .. });
        let why = if rule.effective().is_empty() {
            Some(Why::Idle)
        } else {
            list.iter().take(index).position(|earlier| earlier.when.cover(&rule.when)).map(|before| {
                let contradicts = list.get(before).is_some_and(|earlier| {
                    let mut when = earlier.when.clone();
                    when.narrow(|nr| rule.map.is_none() || calls::path_args(nr).0.is_some());
                    rule.when.cover(&when) && (earlier.verdict, &earlier.map) != (rule.verdict, &rule.map)
                });
                if contradicts { Why::Contradicted(before) } else { Why::Shadowed(before) }
            })
        };
        findings.extend(why.filter(|_| own).map(|why| Finding { index, why }));
    }
    findings
}

/// A finding in a line for a person.
pub fn describe(rules: &Rules, finding: &Finding) -> String {
    let Some(rule) = rules.rule(finding.index) else { return String::new() };
    let shown = |at: usize| rules.rule(at).map(|rule| rule.origin.to_string()).unwrap_or_default();
    match finding.why {
        Why::Idle => format!(
            "{} never matches: none of its calls can meet its conditions, or all go where their descriptors are",
            rule.origin
        ),
        Why::Shadowed(before) => {
            format!("{} is never reached: all that it matches is matched by {}", rule.origin, shown(before))
        }
        Why::Contradicted(before) => {
            let earlier = rules.rule(before).map(|rule| rule.to_string()).unwrap_or_default();
            format!(
                "{} ({rule}) contradicts {} ({earlier}), which has the same conditions and comes first",
                rule.origin,
                shown(before)
            )
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { source, line, name: Some(name) } => write!(f, "{source}, line {line} ({name:?})"),
            Origin::File { source, line, name: None } => write!(f, "{source}, line {line}"),
            Origin::BuiltIn(name) => write!(f, "the built-in rule `{name}`"),
            Origin::Syscalls => f.write_str("--syscalls"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Local => f.write_str("local"),
            Verdict::Remote => f.write_str("remote"),
            Verdict::Deny(errno) => write!(f, "deny {}", errno.name()),
        }
    }
}

/// What the rule does.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        match &self.map {
            Some(map) => write!(f, ", map to {}", String::from_utf8_lossy(map)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, Why)> {
        let rules = Rules::parse(text, "r.toml").unwrap();
        check(&rules).into_iter().map(|finding| (finding.index, finding.why)).collect()
    }

    #[test]
    fn shadows() {
        let two = |first: &str, second: &str| {
            found(&format!("[[rule]]\n{first}\naction = \"local\"\n[[rule]]\n{second}\naction = \"remote\"\n"))
        };
        for (first, second) in [
            ("path = \"/srv/**\"", "path = \"/srv/data/*\""),
            ("", "path = \"/x\""),
            ("syscalls = \"%file\"", "syscalls = [\"openat\", \"stat\"]"),
            ("address = \"10.0.0.0/8\"", "address = \"10.1.2.3\"\nport = 80"),
            ("port = \"1-1000\"", "port = [80, 443]"),
            ("host = \"*.org\"", "host = \"a.example.org\""),
            ("path = [\"/a/**\", \"/b\"]", "path = [\"/b\", \"/a/x\"]\naccess = \"read\""),
        ] {
            assert_eq!(two(first, second), [(1, Why::Shadowed(0))], "{first} / {second}");
        }
        for (first, second) in [
            ("path = \"/srv/data/**\"", "path = \"/srv/**\""),
            ("path = \"/srv/**\"\naccess = \"read\"", "path = \"/srv/a\""),
            ("path = \"/srv/**\"\nsyscalls = \"openat\"", "path = \"/srv/**\""),
            ("executable = \"/bin/a\"", "path = \"/srv/a\""),
            ("port = 80", "port = [80, 81]"),
        ] {
            assert_eq!(two(first, second), [], "{first} / {second}");
        }
        assert_eq!(two("path = \"/srv/**\"", "path = \"/srv/**\""), [(1, Why::Contradicted(0))]);
    }

    #[test]
    fn idle() {
        assert_eq!(found("[[rule]]\nsyscalls = \"getuid\"\npath = \"/x\"\naction = \"remote\""), [(0, Why::Idle)]);
        assert_eq!(found("[[rule]]\nsyscalls = [\"read\", \"close\"]\naction = \"remote\""), [(0, Why::Idle)]);
        assert_eq!(found("[[rule]]\nsyscalls = \"stat\"\nport = 80\naction = \"local\""), [(0, Why::Idle)]);
    }

    #[test]
    fn built_in_rules_are_in_order() {
        let rules = Rules::built_in(None).then(Rules::for_syscalls("all").unwrap());
        assert_eq!(check(&rules), []);
    }

    #[test]
    fn in_words() {
        let rules = Rules::parse(
            "[[rule]]\npath = \"/a\"\naction = \"remote\"\n\n[[rule]]\nname = \"mine\"\npath = \"/a\"\nmap = \"/b\"",
            "r.toml",
        )
        .unwrap();
        let finding = check(&rules).remove(0);
        assert_eq!(
            describe(&rules, &finding),
            "r.toml, line 5 (\"mine\") (local, map to /b) contradicts r.toml, line 1 (remote), which has the same conditions and comes first"
        );
    }
}
