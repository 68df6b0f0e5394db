//! Rules: which system calls of an ordinary process a sentry carries out, which this machine does, and which fail.
//!
//! The first rule that matches decides: first the user's (a file, [`Rules::parse`]), then those that keep local what must be
//! ([`Rules::built_in`]), then `--syscalls` ([`Rules::for_syscalls`]); without a match a call runs here. [`Rules::load`] puts the
//! three together. Everything of a file is checked and bounded when it is parsed, so that a decision cannot fail. Nothing here
//! looks at a process or a file system: whoever asks has resolved names, and brings them in a [`Subject`].
//!
//! `docs/rules.md` is the user's reference, `docs/rules.schema.json` the file's schema.

mod built_in;
pub mod calls;
pub mod check;
pub mod condition;
pub mod explain;
pub mod glob;
mod parse;
mod schema;
mod watched;

use std::net::SocketAddr;
use std::path::Path;

use rsc_proto::abi::Errno;

pub use calls::{Access, CallSet, Class, PathArg, access_of, class, follows, path_args};
use condition::Conditions;
pub use parse::RulesError;
pub use schema::schema;
pub use watched::{Watched, address_arg};

/// All rules, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    list: Vec<Rule>,
    concerned: CallSet,
    with_paths: CallSet,
    with_addresses: CallSet,
    watched: Vec<Watched>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it comes from.
    pub origin: Origin,
    /// When it matches.
    pub when: Conditions,
    /// What is done then.
    pub verdict: Verdict,
    /// What the path becomes first: the whole path, or for patterns that end with `/**` the folder before that.
    pub map: Option<Vec<u8>>,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user's file.
    File {
        /// The file, as it was named.
        source: String,
        /// The line of its `[[rule]]`, from 1.
        line: usize,
        /// What the user calls it.
        name: Option<String>,
    },
    /// One that comes with rsc, by its name.
    BuiltIn(&'static str),
    /// `--syscalls`.
    Syscalls,
}

/// What is done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// This machine carries it out.
    Local,
    /// The sentry does.
    Remote,
    /// Nobody: it fails.
    Deny(Errno),
}

/// A call, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its number.
    pub nr: u32,
    /// Its path, absolute, with `.`, `..` and symbolic links resolved (the last one as [`follows`] says). For `connect`, `bind` and
    /// the sending calls on a unix socket: the socket's path, or `@NAME` for an abstract one.
    pub path: Option<&'a [u8]>,
    /// The other path of `rename` and `link`.
    pub second: Option<&'a [u8]>,
    /// An internet address which it brings.
    pub address: Option<SocketAddr>,
    /// The names under which that address was looked up.
    pub hosts: &'a [String],
    /// The program of the process.
    pub executable: &'a Path,
    /// What it does to the file: [`access_of`].
    pub access: Access,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who carries it out.
    pub verdict: Verdict,
    /// What its path is to be replaced by.
    pub map: Option<Vec<u8>>,
    /// What its second path is to be replaced by.
    pub second: Option<Vec<u8>>,
    /// Why.
    pub by: By,
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// None matched: it runs here.
    Nothing,
    /// The one with this index: [`Rules::rule`].
    Rule(usize),
    /// Two, by which a call's two paths are on different sides: `EXDEV`, as between two file systems, after which programs copy.
    Sides(Option<usize>, Option<usize>),
}

impl Rules {
    /// The user's rules. `source` is what messages call the text.
    pub fn parse(text: &str, source: &str) -> Result<Self, RulesError> {
        let (rules, watched) = parse::file(text, source)?;
        Ok(Self { watched, ..Self::from_list(rules) })
    }

    /// Rules that make each call of a list remote: names, sets like `%file`, `all`, with commas between. Put them behind
    /// [`Rules::built_in`].
    pub fn for_syscalls(list: &str) -> Result<Self, RulesError> {
        parse::syscalls(list).map(Self::from_list)
    }

    /// Rules for what must be local, whatever a list of calls says. `runtime_dir` is `$XDG_RUNTIME_DIR`.
    pub fn built_in(runtime_dir: Option<&Path>) -> Self {
        Self::from_list(built_in::rules(runtime_dir))
    }

    /// The user's rules from a file, the built-in ones, and a list of calls, in this order.
    pub fn load(file: Option<&Path>, syscalls: Option<&str>) -> Result<Self, RulesError> {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
        let user =
            file.map_or(Ok(Self::default()), |path| Self::parse(&parse::read(path)?, &path.display().to_string()))?;
        let last = syscalls.map_or(Ok(Self::default()), Self::for_syscalls)?;
        Ok(user.then(Self::built_in(runtime_dir.as_deref())).then(last))
    }

    /// These, and behind them others.
    #[must_use]
    pub fn then(self, others: Self) -> Self {
        let (mut list, mut watched) = (self.list, self.watched);
        list.extend(others.list);
        watched.extend(others.watched);
        Self { watched, ..Self::from_list(list) }
    }

    fn from_list(list: Vec<Rule>) -> Self {
        let mut rules = Self::default();
        let mut settled = CallSet::default();
        for rule in &list {
            if rule.verdict != Verdict::Local || rule.map.is_some() {
                rules.concerned = rules.concerned.or(rule.effective().without(settled));
            }
            if rule.when == (Conditions { calls: rule.when.calls, ..Conditions::default() }) {
                // Nothing behind it is asked for these.
                settled = settled.or(rule.when.calls);
            }
        }
        for rule in &list {
            let calls = rule.when.calls.and(rules.concerned);
            if !rule.when.paths.is_empty() || rule.when.access.is_some() || rule.map.is_some() {
                rules.with_paths = rules.with_paths.or(calls);
            }
            if rule.when.on_address() {
                rules.with_addresses = rules.with_addresses.or(calls);
            }
        }
        rules.list = list;
        rules
    }

    /// What becomes of a call.
    ///
    /// Calls whose class is [`Class::Descriptor`] go where their descriptor is, as do those that name a file by a descriptor alone:
    /// ask about them only to learn whether they are denied.
    pub fn decide(&self, subject: &Subject<'_>) -> Decision {
        let first = self.side(subject, subject.path);
        if subject.second.is_none() {
            let (verdict, map, index) = first;
            return Decision { verdict, map, second: None, by: index.map_or(By::Nothing, By::Rule) };
        }
        let other = self.side(subject, subject.second);
        let by = |index: Option<usize>| index.map_or(By::Nothing, By::Rule);
        match (first, other) {
            ((verdict @ Verdict::Deny(_), _, index), _) | (_, (verdict @ Verdict::Deny(_), _, index)) => {
                Decision { verdict, map: None, second: None, by: by(index) }
            }
            ((mine, map, index), (theirs, second, other)) if mine == theirs => {
                Decision { verdict: mine, map, second, by: by(index.or(other)) }
            }
            ((_, _, index), (_, _, other)) => {
                Decision { verdict: Verdict::Deny(Errno::EXDEV), map: None, second: None, by: By::Sides(index, other) }
            }
        }
    }

    fn side(&self, subject: &Subject<'_>, path: Option<&[u8]>) -> (Verdict, Option<Vec<u8>>, Option<usize>) {
        let found = self.list.iter().enumerate().find(|(_, rule)| rule.when.hold(subject, path));
        let Some((index, rule)) = found else { return (Verdict::Local, None, None) };
        let verdict = if rule.is_possible(subject.nr) { rule.verdict } else { Verdict::Local };
        (verdict, path.and_then(|path| rule.mapped(path)), Some(index))
    }

    /// Whether a rule could have a call be anything but carried out here as it is. Calls of which this is not true need not be asked
    /// about.
    pub fn concerns(&self, nr: u32) -> bool {
        self.concerned.contains(nr)
    }

    /// All calls for which [`Rules::concerns`] is true.
    pub fn concerned(&self) -> CallSet {
        self.concerned
    }

    /// Whether [`Rules::decide`] looks at this call's path, or at what it does to the file.
    pub fn needs_paths(&self, nr: u32) -> bool {
        self.with_paths.contains(nr)
    }

    /// Whether it looks at this call's address, and the names known for it.
    pub fn needs_address(&self, nr: u32) -> bool {
        self.with_addresses.contains(nr)
    }

    /// The processes that `rsc-runtime watch` takes over.
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// A rule by its index.
    pub fn rule(&self, index: usize) -> Option<&Rule> {
        self.list.get(index)
    }

    /// All rules in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }
}

impl Rule {
    /// Whether what it says can be done with a call. Where not it runs here, though the rule matches: processes and memory are this
    /// machine's.
    fn is_possible(&self, nr: u32) -> bool {
        match self.verdict {
            Verdict::Local => true,
            Verdict::Remote => calls::is_remotable(nr),
            Verdict::Deny(_) => calls::is_deniable(nr),
        }
    }

    /// The calls for which it can make a difference.
    fn effective(&self) -> CallSet {
        let asked = |nr: u32| calls::is_remotable(nr) || calls::path_args(nr).0.is_some();
        self.when.calls.and(CallSet::of(|call| match self.verdict {
            Verdict::Local => asked(call.nr),
            _ => self.is_possible(call.nr),
        }))
    }

    /// What a path that it matches becomes.
    fn mapped(&self, path: &[u8]) -> Option<Vec<u8>> {
        let to = self.map.as_ref()?;
        let glob = self.when.paths.iter().find(|glob| glob.matches(path));
        let mut result = to.clone();
        // What `**` has matched stays.
        if let Some(depth) = glob.filter(|glob| glob.is_tree()).and_then(glob::Glob::depth) {
            for component in glob::components(path).iter().skip(depth) {
                if result.last() != Some(&b'/') {
                    result.push(b'/');
                }
                result.extend_from_slice(component);
            }
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests;
