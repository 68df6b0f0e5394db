//! Reads `src/syscalls.tbl` and writes it as static Rust data. Strict: whatever is not understood is an error with its line.
//!
//! The format is described at the head of the table itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

type Result<T> = std::result::Result<T, String>;

/// What the table may call a plain value; the second is its width in a register, in bytes.
const SCALARS: &[(&str, u8)] = &[
    ("fd", 4),
    ("dirfd", 4),
    ("int", 4),
    ("uint", 4),
    ("long", 8),
    ("ulong", 8),
    ("size", 8),
    ("off", 8),
    ("ptr", 8),
    ("hex", 8),
    ("mode", 4),
    ("dev", 8),
    ("pid", 4),
    ("sig", 4),
    ("uid", 4),
    ("gid", 4),
    ("clock", 4),
];

const FLAG_SETS: &[&str] = &[
    "open",
    "at",
    "access",
    "prot",
    "mmap",
    "clone",
    "statx",
    "msg",
    "sock",
    "epoll",
    "epoll_op",
    "eventfd",
    "timerfd",
    "wait",
    "mount",
    "umount",
    "grnd",
    "splice",
    "flock",
    "mremap",
    "msync",
    "rename",
    "rwf",
    "falloc",
    "memfd",
    "af",
    "whence",
    "sighow",
    "fcntl",
    "ioctl",
    "prctl",
    "madvise",
    "sol",
    "futex",
    "rlimit",
    "shut",
    "arch",
    "close_range",
    "fdflags",
];

struct Arg {
    name: String,
    width: u8,
    code: String,
}

struct Call {
    nr: u32,
    name: String,
    args: Vec<Arg>,
    plane: &'static str,
    placement: Option<&'static str>,
    restart: &'static str,
    support: Option<String>,
    native: Vec<String>,
    permitted: Vec<String>,
}

#[derive(Default)]
struct Table {
    consts: BTreeMap<String, u64>,
    structs: BTreeMap<String, u32>,
    subs: Vec<(String, String, u64, String)>,
    calls: Vec<Call>,
}

/// Turns the table's text into Rust source.
pub(crate) fn generate(text: &str) -> Result<String> {
    let mut table = Table::default();
    let mut canonical = String::new();
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim_end();
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        for word in line.split_whitespace() {
            canonical.push_str(word);
            canonical.push(' ');
        }
        canonical.push('\n');
        table.line(line).map_err(|error| format!("syscalls.tbl:{}: {error}\n    {line}", index + 1))?;
    }
    table.check().map_err(|error| format!("syscalls.tbl: {error}"))?;
    Ok(table.emit(&canonical))
}

impl Table {
    fn line(&mut self, line: &str) -> Result<()> {
        if line.starts_with(' ') {
            let call = self.calls.len().checked_sub(1).ok_or("a rule before the first call")?;
            return self.rule(call, line.trim());
        }
        if let Some(rest) = line.strip_prefix("const ") {
            let (name, value) = two(rest)?;
            if self.consts.insert(name.into(), number(value)?).is_some() {
                return Err(format!("constant {name} is there twice"));
            }
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("struct ") {
            let (name, size) = two(rest)?;
            let size = u32::try_from(number(size)?).map_err(|_| "size is too large")?;
            if self.structs.insert(name.into(), size).is_some() {
                return Err(format!("struct {name} is there twice"));
            }
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("sub ") {
            let mut words = rest.split_whitespace();
            let (Some(of), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
                return Err("sub wants a call, a name, a number and a type".into());
            };
            if !matches!(of, "ioctl" | "fcntl" | "prctl") {
                return Err(format!("no sub-table for {of}"));
            }
            let kind: Vec<&str> = words.collect();
            let (_, code) = self.kind(&kind, &[])?;
            let value = self.value(value)?;
            self.subs.push((of.into(), name.into(), value, code));
            return Ok(());
        }
        self.call(line)
    }

    fn call(&mut self, line: &str) -> Result<()> {
        let (nr, rest) = line.split_once(' ').ok_or("a call wants a number and a name")?;
        let nr: u32 = nr.parse().map_err(|_| format!("`{nr}` is no number of a call"))?;
        let (name, rest) = rest.trim_start().split_once('(').ok_or("no ( after the name")?;
        let (inside, tail) = rest.split_once(')').ok_or("no ) after the arguments")?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(format!("`{name}` is no name of a call"));
        }
        let texts: Vec<Vec<&str>> =
            inside.split(',').map(|t| t.split_whitespace().collect()).filter(|t: &Vec<_>| !t.is_empty()).collect();
        if texts.len() > 6 {
            return Err("more than six arguments".into());
        }
        let names: Vec<&str> = texts.iter().filter_map(|t| t.first().copied()).collect();
        if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            return Err("two arguments have the same name".into());
        }
        let mut args = Vec::new();
        for text in &texts {
            let (width, code) = self.kind(&text[1..], &names)?;
            args.push(Arg { name: text[0].into(), width, code });
        }
        let mut call = Call {
            nr,
            name: name.into(),
            args,
            plane: "Data",
            placement: None,
            restart: "Never",
            support: None,
            native: Vec::new(),
            permitted: Vec::new(),
        };
        for word in tail.split_whitespace() {
            match word {
                "control" => call.plane = "Control",
                "local" => call.placement = Some("Local"),
                "posted" => call.placement = Some("Posted"),
                "eintr" => call.restart = "Eintr",
                "restartsys" => call.restart = "Restart(Restart::Sys)",
                "nointr" => call.restart = "Restart(Restart::NoIntr)",
                "nohand" => call.restart = "Restart(Restart::NoHand)",
                "restartblock" => call.restart = "Restart(Restart::Block)",
                _ => return Err(format!("unknown word `{word}` after the arguments")),
            }
        }
        if self.calls.last().is_some_and(|last| last.nr >= nr) {
            return Err("calls must stand in the order of their numbers".into());
        }
        if self.calls.iter().any(|other| other.name == call.name) {
            return Err("the name is there twice".into());
        }
        self.calls.push(call);
        Ok(())
    }

    /// A type: its width in a register and the Rust expression of its `Kind`.
    fn kind(&self, words: &[&str], names: &[&str]) -> Result<(u8, String)> {
        let (first, rest) = words.split_first().ok_or("an argument wants a name and a type")?;
        let dir = match *first {
            "in" => "Dir::In",
            "out" => "Dir::Out",
            "inout" => "Dir::InOut",
            "flags" | "flags64" => {
                let [set] = rest else { return Err("flags want the name of one set".into()) };
                if !FLAG_SETS.contains(set) {
                    return Err(format!("unknown set of flags `{set}`"));
                }
                let width = if *first == "flags" { 4 } else { 8 };
                return Ok((width, format!("Kind::Value(Scalar::Flags(FlagSet::{}))", camel(set))));
            }
            "by" => {
                return match rest {
                    ["ioctl"] => Ok((8, "Kind::Sub(SubTable::Ioctl)".into())),
                    ["fcntl"] => Ok((8, "Kind::Sub(SubTable::Fcntl)".into())),
                    ["prctl"] => Ok((8, "Kind::Sub(SubTable::Prctl)".into())),
                    _ => Err("`by` wants ioctl, fcntl or prctl".into()),
                };
            }
            scalar => {
                let (_, width) =
                    SCALARS.iter().find(|(name, _)| *name == scalar).ok_or(format!("unknown type `{scalar}`"))?;
                if !rest.is_empty() {
                    return Err(format!("`{}` after a plain value", rest.join(" ")));
                }
                return Ok((*width, format!("Kind::Value(Scalar::{})", camel(scalar))));
            }
        };
        let (shape, rest) = rest.split_first().ok_or("a direction wants a shape")?;
        let (shape, size) = match shape.split_once('[') {
            Some((shape, size)) => (shape, Some(size.strip_suffix(']').ok_or("no ] after the size")?)),
            None => (*shape, None),
        };
        let size = size.map(|size| self.size(size, names)).transpose()?;
        let code = match (shape, size, rest) {
            ("path", None, []) => "Shape::Path".into(),
            ("str", Some(size), []) => format!("Shape::Str({size})"),
            ("buf", Some(size), []) => format!("Shape::Buf({size})"),
            ("struct", None, [layout]) => format!("Shape::Struct({})", self.layout(layout)?),
            ("array", Some(size), [layout]) => format!("Shape::Array({}, {size})", self.layout(layout)?),
            ("iovec", Some(size), []) => format!("Shape::Iovec({size})"),
            ("msghdr", None, []) => "Shape::Msghdr".into(),
            ("mmsghdr", Some(size), []) => format!("Shape::Mmsghdr({size})"),
            ("sockaddr", Some(size), []) => format!("Shape::Sockaddr({size})"),
            ("fd_set", Some(size), []) => format!("Shape::FdSet({size})"),
            ("sigset", Some(size), []) => format!("Shape::Sigset({size})"),
            ("sigset_arg", None, []) => "Shape::SigsetArg".into(),
            ("strings", None, []) => "Shape::Strings".into(),
            ("ifconf", None, []) => "Shape::Ifconf".into(),
            _ => return Err(format!("unknown shape `{}`", words.join(" "))),
        };
        Ok((8, format!("Kind::Pointer({dir}, {code})")))
    }

    fn size(&self, text: &str, names: &[&str]) -> Result<String> {
        let index = |name: &str| {
            names.iter().position(|other| *other == name).ok_or(format!("no argument `{name}` for the size"))
        };
        if let Some(name) = text.strip_prefix('*') {
            return Ok(format!("Size::Behind({})", index(name)?));
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(format!("Size::Bytes({})", number(text)?));
        }
        Ok(format!("Size::Arg({})", index(text)?))
    }

    fn layout(&self, name: &str) -> Result<String> {
        let size = self.structs.get(name).ok_or(format!("unknown struct `{name}`"))?;
        Ok(format!("Layout {{ name: {name:?}, size: {size} }}"))
    }

    fn rule(&mut self, call: usize, line: &str) -> Result<()> {
        let (line, reason) = quoted(line)?;
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        match word {
            "native" | "permitted" => {
                let rules = self.conditions(&self.calls[call].args, &rest)?;
                let rules =
                    rules.iter().map(|c| format!("Rule {{ conditions: &[{}], reason: {reason:?} }}", c.join(", ")));
                let call = &mut self.calls[call];
                if word == "native" {
                    call.native.extend(rules)
                } else {
                    call.permitted.extend(rules)
                }
                Ok(())
            }
            "partial" if rest.is_empty() => self.support(call, format!("Support::Partial({reason:?})")),
            "refused" => match rest[..] {
                [errno] if errno.starts_with('E') && errno.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                    self.support(call, format!("Support::Refused(Errno::{errno}, {reason:?})"))
                }
                _ => Err("refused wants one errno".into()),
            },
            _ => Err(format!("unknown rule `{word}`")),
        }
    }

    fn support(&mut self, call: usize, code: String) -> Result<()> {
        match self.calls[call].support.replace(code) {
            None => Ok(()),
            Some(_) => Err("two support levels".into()),
        }
    }

    /// `if A and B or C`: alternatives of conditions. `X in 1 2 3` makes an alternative of each value.
    fn conditions(&self, args: &[Arg], words: &[&str]) -> Result<Vec<Vec<String>>> {
        let Some((first, rest)) = words.split_first() else { return Ok(vec![Vec::new()]) };
        if *first != "if" {
            return Err(format!("`{first}` where `if` or a reason was expected"));
        }
        let mut all = Vec::new();
        for alternative in rest.split(|word| *word == "or") {
            let mut rules: Vec<Vec<String>> = vec![Vec::new()];
            for condition in alternative.split(|word| *word == "and") {
                let choices = self.condition(args, condition)?;
                rules = rules
                    .iter()
                    .flat_map(|rule| choices.iter().map(|choice| [rule.clone(), vec![choice.clone()]].concat()))
                    .collect();
            }
            all.extend(rules);
        }
        Ok(all)
    }

    fn condition(&self, args: &[Arg], words: &[&str]) -> Result<Vec<String>> {
        let [name, rest @ ..] = words else { return Err("an empty condition".into()) };
        let index = args.iter().position(|arg| arg.name == *name).ok_or(format!("no argument `{name}`"))?;
        let width = args[index].width;
        let fits = |value: u64| {
            if width == 4 && value > u64::from(u32::MAX) {
                return Err(format!("{value:#x} does not fit `{name}`, which is 4 bytes"));
            }
            Ok(value)
        };
        let make = |op: String| format!("Cond {{ arg: {index}, wide: {}, op: Op::{op} }}", width == 8);
        match rest {
            ["&", mask, "==", value] => {
                let (mask, value) = (fits(self.value(mask)?)?, fits(self.value(value)?)?);
                if value & !mask != 0 {
                    return Err("the value has bits outside the mask: never true".into());
                }
                Ok(vec![make(format!("MaskedEq {{ mask: {mask}, value: {value} }}"))])
            }
            ["&", mask, "in", values @ ..] if !values.is_empty() => {
                let mask = fits(self.value(mask)?)?;
                values
                    .iter()
                    .map(|value| match fits(self.value(value)?)? {
                        value if value & !mask != 0 => Err("a value has bits outside the mask: never true".into()),
                        value => Ok(make(format!("MaskedEq {{ mask: {mask}, value: {value} }}"))),
                    })
                    .collect()
            }
            ["==", value] => Ok(vec![make(format!("Eq({})", fits(self.value(value)?)?))]),
            ["!=", value] => Ok(vec![make(format!("Ne({})", fits(self.value(value)?)?))]),
            ["<=", value] => Ok(vec![make(format!("Le({})", fits(self.value(value)?)?))]),
            ["in", values @ ..] if !values.is_empty() => {
                values.iter().map(|value| Ok(make(format!("Eq({})", fits(self.value(value)?)?)))).collect()
            }
            _ => Err(format!("`{}` is no condition", words.join(" "))),
        }
    }

    /// A number, or constants and numbers joined by `|`.
    fn value(&self, text: &str) -> Result<u64> {
        text.split('|').try_fold(0, |all, part| {
            let value = match self.consts.get(part) {
                Some(value) => *value,
                None => number(part).map_err(|_| format!("unknown constant `{part}`"))?,
            };
            Ok(all | value)
        })
    }

    fn check(&self) -> Result<()> {
        let missing: Vec<u32> =
            (0..=334).chain(424..=467).filter(|nr| !self.calls.iter().any(|c| c.nr == *nr)).collect();
        if !missing.is_empty() {
            return Err(format!("calls {missing:?} are missing"));
        }
        for call in &self.calls {
            if matches!(&call.support, Some(s) if s.contains("Refused"))
                && !call.native.is_empty()
                && !call.native.iter().any(|r| r.contains("Cond"))
            {
                return Err(format!("{} is refused and always native", call.name));
            }
        }
        Ok(())
    }

    fn emit(&self, canonical: &str) -> String {
        let mut out = String::from("/// Every call, in the order of the numbers.\npub static TABLE: &[Syscall] = &[\n");
        for call in &self.calls {
            let args: Vec<String> =
                call.args.iter().map(|arg| format!("Arg {{ name: {:?}, kind: {} }}", arg.name, arg.code)).collect();
            let placement = call.placement.unwrap_or(if call.native.is_empty() { "Remote" } else { "Native" });
            let _ = writeln!(
                out,
                "    Syscall {{ nr: {}, name: {:?}, args: &[{}], plane: Plane::{}, placement: Placement::{placement}, \
                 native: &[{}], permitted: &[{}], support: {}, interrupt: Interruption::{} }},",
                call.nr,
                call.name,
                args.join(", "),
                call.plane,
                call.native.join(", "),
                call.permitted.join(", "),
                call.support.as_deref().unwrap_or("Support::Full"),
                call.restart,
            );
        }
        out.push_str("];\n\n/// Numbers by name.\n#[allow(missing_docs)]\npub mod nr {\n");
        for call in &self.calls {
            let _ = writeln!(out, "    pub const {}: u32 = {};", call.name.to_uppercase(), call.nr);
        }
        out.push_str("}\n\n");
        let end = self.calls.last().map_or(0, |call| call.nr + 1);
        let _ = writeln!(out, "static INDEX: [u16; {end}] = [");
        for nr in 0..end {
            let position = self.calls.iter().position(|call| call.nr == nr).map_or(u16::MAX as usize, |p| p);
            let _ = write!(out, "{position},");
        }
        out.push_str("];\n\n");
        for (of, name) in [("ioctl", "IOCTLS"), ("fcntl", "FCNTLS"), ("prctl", "PRCTLS")] {
            let mut rows: Vec<_> = self.subs.iter().filter(|sub| sub.0 == of).collect();
            rows.sort_by_key(|sub| sub.2);
            let _ = writeln!(out, "static {name}: &[Sub] = &[");
            for (_, name, value, code) in rows {
                let _ = writeln!(out, "    Sub {{ command: {value}, name: {name:?}, kind: {code} }},");
            }
            out.push_str("];\n\n");
        }
        let _ = writeln!(out, "static DIGEST: [u8; 32] = {:?};", digest(canonical));
        out
    }
}

/// FNV-1a of 64 bits, four times from different starts. It tells builds apart; it does not withstand somebody who wants a clash,
/// and need not: each side enforces its own table.
fn digest(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (lane, chunk) in out.chunks_mut(8).enumerate() {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ (lane as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        chunk.copy_from_slice(&hash.to_le_bytes());
    }
    out
}

fn two(text: &str) -> Result<(&str, &str)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [a, b] => Ok((a, b)),
        _ => Err("a name and a number were expected".into()),
    }
}

fn number(text: &str) -> Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no number"))
}

/// Splits a rule from its text in quotes, which must end the line.
fn quoted(line: &str) -> Result<(&str, &str)> {
    let (head, rest) = line.split_once('"').ok_or("a rule ends with a text in quotes")?;
    let text = rest.strip_suffix('"').ok_or("the text is not closed")?;
    if text.is_empty() || text.contains('"') {
        return Err("the text is empty or has quotes inside".into());
    }
    Ok((head.trim(), text))
}

fn camel(name: &str) -> String {
    name.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

// Compiled for tests as a module of the crate: build scripts have no tests of their own.
#[cfg(test)]
mod tests {
    use super::*;

    fn error(lines: &str) -> String {
        generate(lines).unwrap_err()
    }

    #[test]
    fn errors_name_the_line() {
        let first = "struct stat 144\n# a comment\n\n0 read(fd fd, buf out buf[count], count size) restartsys\n";
        for (line, message) in [
            ("0 again(fd fd)", "order of their numbers"),
            ("1 read(fd fd)", "name is there twice"),
            ("1 write(fd fish)", "unknown type `fish`"),
            ("1 write(fd fd, buf in buf[size])", "no argument `size`"),
            ("1 write(fd fd, fd fd)", "same name"),
            ("1 write(buf in struct stats)", "unknown struct `stats`"),
            ("1 write(flags flags nonsense)", "unknown set of flags"),
            ("1 write(fd fd) sometimes", "unknown word `sometimes`"),
            ("1 write(a fd, b fd, c fd, d fd, e fd, f fd, g fd)", "more than six"),
            ("1 write fd", "no ( after the name"),
            ("    native", "text in quotes"),
            ("    native if count == 1 and \"why\"", "empty condition"),
            ("    native if nobody == 1 \"why\"", "no argument `nobody`"),
            ("    native if fd == 0x100000000 \"why\"", "does not fit"),
            ("    native if fd & 1 == 2 \"why\"", "never true"),
            ("    native if fd == NAME \"why\"", "unknown constant `NAME`"),
            ("    refused 38 \"why\"", "one errno"),
            ("    partial \"\"", "empty"),
            ("    allowed \"why\"", "unknown rule"),
            ("sub close X 1 int", "no sub-table"),
            ("struct stat 144", "there twice"),
        ] {
            let text = format!("{first}{line}\n");
            let error = error(&text);
            assert!(error.starts_with("syscalls.tbl:5: ") && error.contains(message), "{line}: {error}");
        }
        assert!(error(first).contains("are missing"));
    }

    #[test]
    fn conditions_make_alternatives() {
        let args = [("a", 4), ("b", 8)].map(|(name, width)| Arg { name: name.into(), width, code: String::new() });
        let table = Table::default();
        let words: Vec<&str> = "if a in 1 2 and b != 3 or b <= 9".split(' ').collect();
        let rules = table.conditions(&args, &words).unwrap();
        assert_eq!(rules.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(rules[2], ["Cond { arg: 1, wide: true, op: Op::Le(9) }"]);
    }
}
