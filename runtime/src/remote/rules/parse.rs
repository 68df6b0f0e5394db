//! Rules from TOML and from `--syscalls`: everything is checked here, and a mistake is told with its line and column.

use std::fmt;
use std::io::{self, Read as _};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use rsc_proto::abi::Errno;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::calls::{self, Access, CallSet};
use super::condition::{Conditions, Network, parse_ports};
use super::glob::{Glob, NameGlob};
use super::watched::{MAX_WATCHED, RawWatch};
use super::{Origin, Rule, Verdict, Watched};

/// A file of rules is never larger, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// Nor has it more rules than this.
const MAX_RULES: usize = 1000;
/// Nor a rule more words under one key.
const MAX_WORDS: usize = 1000;
/// What `map` replaces a path with is never longer.
const MAX_PATH: usize = 4095;

/// Why rules can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file can't be read.
    #[error("rules {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("rules {from}, line {line}, column {column}: {problem}")]
    Content {
        /// The file.
        from: String,
        /// Where, from 1.
        line: usize,
        /// Where in the line, in characters from 1.
        column: usize,
        /// What is wrong there, and what to do about it.
        problem: String,
    },
    /// The list of calls is not what it should be.
    #[error("--syscalls: {0}")]
    Syscalls(String),
}

/// Reads a file of rules, bounded. A FIFO in its place does not hang us.
pub(super) fn read(path: &Path) -> Result<String, RulesError> {
    let refused = |source| RulesError::Read { path: path.to_owned(), source };
    if !path.metadata().map_err(refused)?.is_file() {
        return Err(refused(io::Error::other("not a regular file")));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(refused)?;
    file.take(MAX_TEXT as u64 + 1).read_to_string(&mut text).map_err(refused)?;
    Ok(text)
}

/// A file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
    #[serde(default)]
    watch: Vec<Spanned<RawWatch>>,
}

/// One `[[rule]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Option<Spanned<String>>,
    syscalls: Option<Words>,
    path: Option<Words>,
    address: Option<Words>,
    host: Option<Words>,
    port: Option<Ports>,
    executable: Option<Words>,
    access: Option<Spanned<RawAccess>>,
    action: Option<Spanned<RawAction>>,
    deny: Option<Spanned<String>>,
    map: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAccess {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAction {
    Remote,
    Local,
}

/// One word or a list of them.
#[derive(Debug)]
pub(super) struct Words(pub(super) Vec<Spanned<String>>);

/// One port, a range of them, or a list of both.
#[derive(Debug)]
pub(super) struct Ports(Vec<Spanned<Port>>);

#[derive(Debug)]
pub(super) struct Port(RangeInclusive<u16>);

impl Ports {
    pub(super) fn ranges(self) -> Vec<RangeInclusive<u16>> {
        self.0.into_iter().map(|port| port.into_inner().0).collect()
    }
}

/// Takes one or several of what can itself tell where it stands.
struct OneOrMore<T>(&'static str, std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
    type Value = Vec<Spanned<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element()? {
            if all.len() == MAX_WORDS {
                return Err(de::Error::custom(format!("more than {MAX_WORDS} in one list; split the rule")));
            }
            all.push(one);
        }
        if all.is_empty() {
            return Err(de::Error::custom("an empty list, which nothing matches; leave it out"));
        }
        Ok(all)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        // The place of the key's value is that of the error that is made of this.
        let one = T::deserialize(de::value::StrDeserializer::new(text))?;
        Ok(vec![Spanned::new(0..0, one)])
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        let one = T::deserialize(de::value::I64Deserializer::new(value))?;
        Ok(vec![Spanned::new(0..0, one)])
    }
}

/// Puts the place of the whole value where a single one could not know its own.
fn placed<T>(value: Spanned<Vec<Spanned<T>>>) -> Vec<Spanned<T>> {
    let whole = value.span();
    let place =
        |one: Spanned<T>| if one.span() == (0..0) { Spanned::new(whole.clone(), one.into_inner()) } else { one };
    value.into_inner().into_iter().map(place).collect()
}

macro_rules! one_or_more {
    ($list:ident, $item:ty, $expected:literal) => {
        impl<'de> Deserialize<'de> for $list {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Inner(Vec<Spanned<$item>>);
                impl<'de> Deserialize<'de> for Inner {
                    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                        from.deserialize_any(OneOrMore::<$item>($expected, std::marker::PhantomData)).map(Inner)
                    }
                }
                let whole = Spanned::<Inner>::deserialize(from)?;
                let span = whole.span();
                Ok(Self(placed(Spanned::new(span, whole.into_inner().0))))
            }
        }
    };
}

one_or_more!(Words, String, "a string or a list of strings");
one_or_more!(Ports, Port, "a port, a range like \"8000-8999\", or a list of them");

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port or a range like \"8000-8999\"")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Port, E> {
                let port =
                    u16::try_from(value).map_err(|_| E::custom(format!("{value} is no port; they go up to 65535")))?;
                Ok(Port(port..=port))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                parse_ports(text).map(Port).map_err(E::custom)
            }
        }
        from.deserialize_any(One)
    }
}

/// What is wrong, and where.
pub(super) type Wrong = (Range<usize>, String);

/// The rules of a file, and the processes that `watch` takes over.
pub(super) fn file(text: &str, source: &str) -> Result<(Vec<Rule>, Vec<Watched>), RulesError> {
    let refused = |(span, problem): Wrong| {
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        RulesError::Content { from: source.to_owned(), line, column, problem }
    };
    if text.len() > MAX_TEXT {
        return Err(refused((
            0..0,
            format!("the file is larger than {MAX_TEXT} bytes; use patterns instead of lists"),
        )));
    }
    let file: File = toml::from_str(text).map_err(|error| {
        let problem = error.message().lines().collect::<Vec<_>>().join(" ");
        refused((error.span().unwrap_or(0..0), problem))
    })?;
    if let Some(one) = file.rule.get(MAX_RULES) {
        return Err(refused((one.span(), format!("more than {MAX_RULES} rules; use patterns and lists"))));
    }
    let line = |span: Range<usize>| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1;
    let origin = |span: Range<usize>, name: Option<&Spanned<String>>| Origin::File {
        source: source.to_owned(),
        line: line(span),
        name: name.map(|name| name.as_ref().clone()),
    };
    let rule = |raw: Spanned<RawRule>| {
        let span = raw.span();
        let origin = origin(span.clone(), raw.as_ref().name.as_ref());
        rule(raw.into_inner(), span, origin).map_err(refused)
    };
    let watch = |raw: Spanned<RawWatch>| {
        let span = raw.span();
        let origin = origin(span.clone(), raw.as_ref().name.as_ref());
        raw.into_inner().checked(span, origin).map_err(refused)
    };
    if let Some(one) = file.watch.get(MAX_WATCHED) {
        return Err(refused((one.span(), format!("more than {MAX_WATCHED} tables [[watch]]; use patterns and lists"))));
    }
    let rules = file.rule.into_iter().map(rule).collect::<Result<_, _>>()?;
    Ok((rules, file.watch.into_iter().map(watch).collect::<Result<_, _>>()?))
}

fn rule(raw: RawRule, span: Range<usize>, origin: Origin) -> Result<Rule, Wrong> {
    let (verdict, map) = action(&raw, &span)?;
    let mut when = Conditions {
        calls: named_calls(raw.syscalls.as_ref(), verdict)?,
        paths: each(raw.path, Glob::parse)?,
        addresses: each(raw.address, Network::parse)?,
        hosts: each(raw.host, NameGlob::parse)?,
        ports: raw.port.map_or(Vec::new(), Ports::ranges),
        executables: each(raw.executable, Glob::parse)?,
        access: raw.access.map(|access| match access.into_inner() {
            RawAccess::Read => Access::Read,
            RawAccess::Write => Access::Write,
        }),
    };
    if let Some(map) = &raw.map {
        check_map(&when, map)?;
    }
    when.narrow(|nr| map.is_none() || calls::path_args(nr).0.is_some());
    Ok(Rule { origin, when, verdict, map })
}

/// What `action`, `deny` and `map` say together.
fn action(raw: &RawRule, span: &Range<usize>) -> Result<(Verdict, Option<Vec<u8>>), Wrong> {
    let map = raw.map.as_ref().map(|map| map.as_ref().clone().into_bytes());
    let verdict = match (&raw.action, &raw.deny, &raw.map) {
        (None, None, None) => {
            return Err((
                span.clone(),
                "a rule without action, deny or map; say what is to be done, like action = \"remote\"".to_owned(),
            ));
        }
        (Some(_), Some(deny), _) => return Err((deny.span(), "deny beside action; leave one of them out".to_owned())),
        (None, Some(deny), Some(_)) => return Err((deny.span(), "deny beside map; leave one of them out".to_owned())),
        (None, Some(deny), None) => match Errno::from_name(deny.as_ref()) {
            Some(errno) => Verdict::Deny(errno),
            None => {
                return Err((
                    deny.span(),
                    format!("{:?} is no name of an error; write one like \"ENOENT\" or \"EACCES\"", deny.as_ref()),
                ));
            }
        },
        (Some(action), None, _) if *action.as_ref() == RawAction::Remote => Verdict::Remote,
        (_, None, _) => Verdict::Local,
    };
    Ok((verdict, map))
}

fn check_map(when: &Conditions, map: &Spanned<String>) -> Result<(), Wrong> {
    let refused = |problem: &str| Err((map.span(), problem.to_owned()));
    let text = map.as_ref();
    if !text.starts_with('/') || text.contains('\0') || text.len() > MAX_PATH {
        return refused("what a path is mapped to must be an absolute path");
    }
    if text.split('/').any(|component| matches!(component, "." | "..")) {
        return refused("what a path is mapped to can't have the components . and ..");
    }
    if when.paths.is_empty() {
        return refused("map without path; say which paths it is for");
    }
    if let Some(glob) = when.paths.iter().find(|glob| glob.depth().is_none()) {
        return Err((
            map.span(),
            format!("map for the path {glob}: there ** may stand at the end only, so that it is clear what stays"),
        ));
    }
    Ok(())
}

/// The calls of `syscalls`; without it, all that rules apply to.
fn named_calls(words: Option<&Words>, verdict: Verdict) -> Result<CallSet, Wrong> {
    let Some(words) = words else {
        return Ok(CallSet::of(|call| calls::is_remotable(call.nr) || calls::has_path(call)));
    };
    let mut all = CallSet::default();
    for word in &words.0 {
        let wrong = |problem| (word.span(), problem);
        let set = calls::named(word.as_ref()).map_err(wrong)?;
        let only = single(word.as_ref(), set);
        if let Some(problem) = only.filter(|_| verdict == Verdict::Remote).and_then(calls::never_remote) {
            return Err((word.span(), problem));
        }
        if only.is_some_and(|nr| matches!(verdict, Verdict::Deny(_)) && !calls::is_deniable(nr)) {
            return Err((word.span(), format!("{} can't be denied: no program goes on without it", word.as_ref())));
        }
        all = all.or(set);
    }
    Ok(all)
}

/// The call, if a word is one call's name.
fn single(word: &str, set: CallSet) -> Option<u32> {
    if word == "all" || word.starts_with('%') { None } else { set.iter().next() }
}

pub(super) fn each<T>(words: Option<Words>, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Wrong> {
    let words = words.map_or(Vec::new(), |words| words.0);
    words.into_iter().map(|word| parse(word.as_ref()).map_err(|problem| (word.span(), problem))).collect()
}

/// The rules of a list of calls: one, without conditions.
pub(super) fn syscalls(list: &str) -> Result<Vec<Rule>, RulesError> {
    if list.len() > MAX_TEXT {
        return Err(RulesError::Syscalls(format!("a list of more than {MAX_TEXT} bytes")));
    }
    let mut all = CallSet::default();
    for word in list.split(',').map(str::trim) {
        if word.is_empty() {
            return Err(RulesError::Syscalls(
                "an empty name in the list; write names with commas between, like openat,read".to_owned(),
            ));
        }
        let set = calls::named(word).map_err(RulesError::Syscalls)?;
        if let Some(problem) = single(word, set).and_then(calls::never_remote) {
            return Err(RulesError::Syscalls(problem));
        }
        all = all.or(set);
    }
    let mut when = Conditions { calls: all, ..Conditions::default() };
    when.narrow(|_| true);
    Ok(vec![Rule { origin: Origin::Syscalls, when, verdict: Verdict::Remote, map: None }])
}
