//! `[[watch]]`: which processes `rsc-runtime watch` takes over. What happens to their calls then, the rules say.

use std::ops::{Range, RangeInclusive};

use rsc_proto::table::{self, Dir, Kind, Shape, nr};
use serde::Deserialize;
use serde::de::Deserializer;
use toml::Spanned;

use super::Origin;
use super::calls::{self, CallSet};
use super::glob::{Glob, NameGlob};
use super::parse::{Ports, Words, Wrong, each};

/// How many there may be: each is at least one target of the kernel's side.
pub(super) const MAX_WATCHED: usize = rsc_bpf::selection::MAX_TARGETS;

/// A kind of processes. All conditions must hold; a list is met by one of it, an empty one always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it is written.
    pub origin: Origin,
    /// The program, as it was called or as it is.
    pub executables: Vec<Glob>,
    /// The real user id.
    pub uids: Vec<u32>,
    /// The cgroup's path, in any hierarchy.
    pub cgroups: Vec<Glob>,
    /// The container's id.
    pub containers: Vec<NameGlob>,
    /// The process is taken over after the first of these calls; none: when it executes its program.
    pub calls: CallSet,
    /// The path in the call.
    pub paths: Vec<Glob>,
    /// The port in the call's address.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// One `[[watch]]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWatch {
    pub(super) name: Option<Spanned<String>>,
    executable: Option<Words>,
    #[serde(default, deserialize_with = "ids")]
    uid: Vec<u32>,
    cgroup: Option<Words>,
    container: Option<Words>,
    syscalls: Option<Words>,
    path: Option<Words>,
    port: Option<Ports>,
}

/// One id or a list of them.
fn ids<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a user's number or a list of them")]
    enum Ids {
        One(u32),
        Several(Vec<u32>),
    }
    Ok(match Ids::deserialize(from)? {
        Ids::One(id) => vec![id],
        Ids::Several(ids) => ids,
    })
}

impl RawWatch {
    pub(super) fn checked(self, span: Range<usize>, origin: Origin) -> Result<Watched, Wrong> {
        let of_calls = self.syscalls.is_some() || self.path.is_some() || self.port.is_some();
        let mut watched = Watched {
            origin,
            executables: each(self.executable, Glob::parse)?,
            uids: self.uid,
            cgroups: each(self.cgroup, Glob::parse)?,
            containers: each(self.container, NameGlob::parse)?,
            calls: CallSet::default(),
            paths: each(self.path, Glob::parse)?,
            ports: self.port.map_or(Vec::new(), Ports::ranges),
        };
        if of_calls {
            watched.calls = named(self.syscalls.as_ref())?;
            watched.narrow();
            if watched.calls.is_empty() {
                let problem = "no call can meet these conditions; path is for calls with a path, port for connect, bind and sendto";
                return Err((span, problem.to_owned()));
            }
        } else if watched.of_any_process() {
            let problem = "a [[watch]] without conditions would take over every process; say which";
            return Err((span, problem.to_owned()));
        }
        Ok(watched)
    }
}

impl Watched {
    /// Whether nothing is asked of the process itself.
    pub fn of_any_process(&self) -> bool {
        self.executables.is_empty() && self.uids.is_empty() && self.cgroups.is_empty() && self.containers.is_empty()
    }

    /// Drops the calls that can't meet the conditions.
    fn narrow(&mut self) {
        let (path, port) = (!self.paths.is_empty(), !self.ports.is_empty());
        let able = CallSet::of(|call| {
            (!path || calls::path_args(call.nr).0.is_some()) && (!port || address_arg(call.nr).is_some())
        });
        self.calls = self.calls.and(able);
    }
}

/// Which of a call's arguments is the address that it brings.
pub fn address_arg(nr: u32) -> Option<usize> {
    let call = table::lookup(nr)?;
    call.args.iter().position(|arg| matches!(arg.kind, Kind::Pointer(Dir::In, Shape::Sockaddr(_))))
}

/// Calls that do not return to the program that made them.
const NOT_RETURNING: &[u32] = &[nr::EXIT, nr::EXIT_GROUP, nr::EXECVE, nr::EXECVEAT, nr::RT_SIGRETURN];

fn named(words: Option<&Words>) -> Result<CallSet, Wrong> {
    let returning = CallSet::of(|call| !NOT_RETURNING.contains(&call.nr));
    let Some(words) = words else { return Ok(returning) };
    let mut all = CallSet::default();
    for word in &words.0 {
        let set = calls::named(word.as_ref()).map_err(|problem| (word.span(), problem))?;
        if set.and(returning).is_empty() {
            let problem = format!("{} does not return to the program that made it; leave it out", word.as_ref());
            return Err((word.span(), problem));
        }
        all = all.or(set);
    }
    Ok(all.and(returning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::rules::Rules;

    fn parse(text: &str) -> Result<Vec<Watched>, String> {
        Rules::parse(text, "r").map(|rules| rules.watched().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn processes_and_calls() {
        let text = "[[watch]]\nname = \"a\"\nexecutable = \"/usr/bin/x\"\nuid = [1, 2]\ncontainer = \"3f*\"\n\
                    [[watch]]\nuid = 0\ncgroup = [\"/a/**\", \"/b\"]\n[[watch]]\nport = [80, \"1-9\"]\n\
                    [[watch]]\npath = \"/srv/**\"\nsyscalls = \"%file\"\n";
        let watched = parse(text).unwrap();
        let [first, second, port, path] = watched.as_slice() else { panic!("{watched:?}") };
        assert!(first.calls.is_empty() && first.uids == [1, 2] && first.containers.len() == 1);
        assert_eq!(first.origin, Origin::File { source: "r".into(), line: 1, name: Some("a".into()) });
        assert!(second.uids == [0] && second.cgroups.len() == 2);
        assert_eq!(port.calls.iter().collect::<Vec<_>>(), [nr::CONNECT, nr::SENDTO, nr::BIND]);
        assert_eq!(port.ports, [80..=80, 1..=9]);
        assert!(path.calls.contains(nr::OPENAT) && !path.calls.contains(nr::EXECVE) && !path.calls.contains(nr::READ));
        assert!(Rules::built_in(None).then(Rules::parse(text, "r").unwrap()).watched().len() == 4);
    }

    #[test]
    fn mistakes() {
        for (text, told) in [
            ("[[watch]]", "every process"),
            ("[[watch]]\nname = \"x\"", "every process"),
            ("[[watch]]\nexecutable = \"bin\"", "line 2, column 14: \"bin\" is not an absolute path"),
            ("[[watch]]\nuid = \"root\"", "line 2, column 7: a user's number"),
            ("[[watch]]\nuid = -1", "a user's number"),
            ("[[watch]]\nsyscalls = \"exit\"", "does not return"),
            ("[[watch]]\nsyscalls = \"opne\"", "did you mean open?"),
            ("[[watch]]\nsyscalls = \"read\"\npath = \"/x\"", "no call can meet"),
            ("[[watch]]\npath = \"/x\"\nport = 1", "no call can meet"),
            ("[[watch]]\naction = \"remote\"", "unknown field `action`"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(told), "{text}: {said}");
        }
    }
}
