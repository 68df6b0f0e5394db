//! Patterns for paths and names: `*`, `?`, `[a-z]`, `[!a-z]`, `\` before a character that is meant as it is, and, as a whole
//! component of a path, `**` for any number of components, none included.
//!
//! Matching takes time in proportion to pattern times text, whatever they are: both levels remember one star to go back to, the
//! last one, which is enough because everything else takes exactly one component or one character.

use std::fmt;

/// No pattern is longer.
pub const MAX: usize = 1024;

/// A pattern for absolute paths, or for the names of abstract sockets, which begin with `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

/// A pattern for a name without components, as hosts have them; `*` takes dots too, and case does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameGlob {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`.
    Any,
    One(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    /// `?`.
    Char,
    /// `*`.
    Star,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Part {
    /// The characters before the first wildcard, and whether there is none.
    fn literal(&self) -> (Vec<u8>, bool) {
        let Part::One(pieces) = self else { return (Vec::new(), false) };
        let begins: Vec<u8> =
            pieces.iter().map_while(|piece| if let Piece::Byte(byte) = piece { Some(*byte) } else { None }).collect();
        let whole = begins.len() == pieces.len();
        (begins, whole)
    }
}

impl Glob {
    /// A pattern from its text, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        if let Some(name) = text.strip_prefix('@') {
            // An abstract socket's name has no components: a slash in it is a character like others.
            let mut pieces = vec![Piece::Byte(b'@')];
            pieces.extend(parse_pieces(name)?);
            return Ok(Self { text: text.to_owned(), parts: vec![Part::One(pieces)] });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("{text:?} is not an absolute path; begin it with / (or /**/ for any folder)"));
        };
        let mut parts = Vec::new();
        for component in rest.split('/').filter(|component| !component.is_empty()) {
            parts.push(match component {
                "**" => Part::Any,
                "." | ".." => {
                    return Err(format!(
                        "{text:?} has a component {component:?}; names are resolved before they match"
                    ));
                }
                _ if component.contains("**") => {
                    return Err(format!("{text:?} has ** beside other characters; it stands for whole components"));
                }
                _ => Part::One(parse_pieces(component)?),
            });
        }
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Whether it matches an absolute path without `.`, `..` and empty components, or `@NAME`.
    pub fn matches(&self, path: &[u8]) -> bool {
        if path.first() == Some(&b'@') {
            return matches!(self.parts.as_slice(), [Part::One(pieces)] if self.is_abstract() && match_pieces(pieces, path));
        }
        !self.is_abstract() && match_parts(&self.parts, &components(path))
    }

    /// Whether it names abstract sockets.
    fn is_abstract(&self) -> bool {
        self.text.starts_with('@')
    }

    /// Whether it ends with `/**`, hence stands for a folder and all below it.
    pub fn is_tree(&self) -> bool {
        self.parts.last() == Some(&Part::Any)
    }

    /// How many components come before a `**` that is its end. `None` if there is another `**`.
    pub fn depth(&self) -> Option<usize> {
        let fixed = self.parts.len() - usize::from(self.is_tree());
        let stars = self.parts.iter().filter(|part| **part == Part::Any).count();
        (stars == usize::from(self.is_tree())).then_some(fixed)
    }

    /// The components before the first with a wildcard, and, unless there is none, what that one begins with.
    pub fn beginning(&self) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        let mut folders = Vec::new();
        for part in &self.parts {
            match part.literal() {
                (name, true) => folders.push(name),
                (begins, false) => return (folders, Some(begins)),
            }
        }
        (folders, None)
    }

    /// What the last component begins with, and whether that is all of it.
    pub fn last(&self) -> (Vec<u8>, bool) {
        self.parts.last().map_or((Vec::new(), false), Part::literal)
    }

    /// Whether all that `other` matches is surely matched by this one too. May say no where the answer is yes.
    pub fn covers(&self, other: &Glob) -> bool {
        if self.is_abstract() != other.is_abstract() {
            return false;
        }
        // `reach[j]`: the first components of both, up to here and up to `j`, can stand for the same.
        let mut reach = vec![false; other.parts.len() + 1];
        if let Some(first) = reach.first_mut() {
            *first = true;
        }
        for mine in &self.parts {
            let mut next = vec![false; reach.len()];
            let mut seen = false;
            for (j, slot) in next.iter_mut().enumerate() {
                *slot = match mine {
                    Part::Any => {
                        seen |= reach.get(j).copied().unwrap_or(false);
                        seen
                    }
                    Part::One(pieces) => {
                        match j.checked_sub(1).map(|before| (reach.get(before), other.parts.get(before))) {
                            Some((Some(true), Some(Part::One(theirs)))) => pieces_cover(pieces, theirs),
                            _ => false,
                        }
                    }
                };
            }
            reach = next;
        }
        reach.last().copied().unwrap_or(false)
    }
}

impl NameGlob {
    /// A pattern from its text, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        let lower = text.trim_end_matches('.').to_ascii_lowercase();
        if lower.contains('/') || lower.contains(':') {
            return Err(format!("{text:?} is not a host's name; a port has its own key `port`"));
        }
        Ok(Self { text: text.to_owned(), pieces: parse_pieces(&lower)? })
    }

    /// Whether it matches a name.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match_pieces(&self.pieces, name.as_bytes())
    }

    /// Whether all that `other` matches is surely matched by this one too.
    pub fn covers(&self, other: &NameGlob) -> bool {
        pieces_cover(&self.pieces, &other.pieces)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for NameGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an empty pattern matches nothing; leave it out".to_owned());
    }
    if text.len() > MAX {
        return Err(format!("a pattern of {} bytes; {MAX} is the most", text.len()));
    }
    if text.contains('\0') {
        return Err("a pattern with a zero byte, which no name has".to_owned());
    }
    Ok(())
}

/// What lies between the slashes of a path.
pub fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).collect()
}

fn parse_pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut chars = text.chars();
    let literal = |c: char, pieces: &mut Vec<Piece>| {
        let mut bytes = [0; 4];
        pieces.extend(c.encode_utf8(&mut bytes).bytes().map(Piece::Byte));
    };
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                if pieces.last() != Some(&Piece::Star) {
                    pieces.push(Piece::Star);
                }
            }
            '?' => pieces.push(Piece::Char),
            '[' => pieces.push(
                class(&mut chars)
                    .ok_or_else(|| format!("{text:?} has a [ without its ]; write \\[ for the character"))?,
            ),
            '\\' => match chars.next() {
                Some(c) => literal(c, &mut pieces),
                None => return Err(format!("{text:?} ends with a single \\; write \\\\ for the character")),
            },
            c => literal(c, &mut pieces),
        }
    }
    Ok(pieces)
}

/// What stands behind a `[`, up to its `]`, which is a character like others in the first place.
fn class(chars: &mut std::str::Chars<'_>) -> Option<Piece> {
    let mut rest = chars.clone();
    let negated = matches!(rest.clone().next(), Some('!' | '^'));
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let low = match rest.next()? {
            ']' if !ranges.is_empty() => break,
            '\\' => rest.next()?,
            c => c,
        };
        let mut ahead = rest.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                rest = ahead;
                if high == '\\' { rest.next()? } else { high }
            }
            _ => low,
        };
        ranges.push((low, high));
    }
    *chars = rest;
    Some(Piece::Class { negated, ranges })
}

/// The first character of a text that need not be UTF-8, and its length; a wrong byte is a character that no class has.
fn first_char(text: &[u8]) -> (Option<char>, usize) {
    let head = text.get(..text.len().min(4)).unwrap_or_default();
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => {
            head.get(..error.valid_up_to()).and_then(|head| std::str::from_utf8(head).ok()).unwrap_or_default()
        }
    };
    match valid.chars().next() {
        Some(c) => (Some(c), c.len_utf8()),
        None => (None, 1),
    }
}

/// How many bytes of `text` a piece that is no star takes; `None`: it does not match.
fn take(piece: &Piece, text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    match piece {
        Piece::Byte(byte) => (*byte == first).then_some(1),
        Piece::Char => Some(first_char(text).1),
        Piece::Class { negated, ranges } => {
            let (c, len) = first_char(text);
            let within = c.is_some_and(|c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)));
            (within != *negated).then_some(len)
        }
        Piece::Star => None,
    }
}

fn match_pieces(pieces: &[Piece], text: &[u8]) -> bool {
    let (mut piece, mut at) = (0, 0);
    // Behind the last star, and where its text ends.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        match pieces.get(piece) {
            Some(Piece::Star) => {
                piece += 1;
                star = Some((piece, at));
                continue;
            }
            Some(other) => {
                if let Some(len) = take(other, rest) {
                    (piece, at) = (piece + 1, at + len);
                    continue;
                }
            }
            None if rest.is_empty() => return true,
            None => {}
        }
        match star {
            Some((behind, from)) if from < text.len() => {
                let len = first_char(text.get(from..).unwrap_or_default()).1;
                star = Some((behind, from + len));
                (piece, at) = (behind, from + len);
            }
            _ => return false,
        }
    }
}

fn match_parts(parts: &[Part], path: &[&[u8]]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (parts.get(part), path.get(at)) {
            (Some(Part::Any), _) => {
                part += 1;
                star = Some((part, at));
                continue;
            }
            (Some(Part::One(pieces)), Some(component)) if match_pieces(pieces, component) => {
                (part, at) = (part + 1, at + 1);
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        match star {
            Some((behind, from)) if from < path.len() => {
                star = Some((behind, from + 1));
                (part, at) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

/// Whether all that `theirs` matches is surely matched by `mine`.
fn pieces_cover(mine: &[Piece], theirs: &[Piece]) -> bool {
    if mine == theirs || mine == [Piece::Star] {
        return true;
    }
    let literal: Option<Vec<u8>> =
        theirs.iter().map(|piece| if let Piece::Byte(byte) = piece { Some(*byte) } else { None }).collect();
    literal.is_some_and(|text| match_pieces(mine, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_parts() {
        let of = |text: &str| {
            let glob = Glob::parse(text).unwrap();
            let (folders, begins) = glob.beginning();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let (last, whole) = glob.last();
            (folders.into_iter().map(text).collect::<Vec<_>>().join("/"), begins.map(text), text(last), whole)
        };
        let is = |folders: &str, begins: Option<&str>, last: &str, whole| {
            (folders.to_owned(), begins.map(str::to_owned), last.to_owned(), whole)
        };
        assert_eq!(of("/usr/bin/git"), is("usr/bin/git", None, "git", true));
        assert_eq!(of("/usr/bin/py*3"), is("usr/bin", Some("py"), "py", false));
        assert_eq!(of("/srv/data/**"), is("srv/data", Some(""), "", false));
        assert_eq!(of("/opt/*/bin/a\\*"), is("opt", Some(""), "a*", true));
        assert_eq!(of("/"), is("", None, "", false));
    }
    use proptest::prelude::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn paths() {
        for (pattern, yes, no) in [
            ("/etc/passwd", &["/etc/passwd"][..], &["/etc/passwd2", "/etc", "/x/etc/passwd"][..]),
            ("/srv/data/**", &["/srv/data", "/srv/data/a", "/srv/data/a/b"], &["/srv/database", "/srv"]),
            ("/**", &["/", "/a", "/a/b"], &["@a"]),
            ("/**/*.so", &["/a.so", "/l/a.so", "/l/m/.so"], &["/l/a.so/b", "/l/aso"]),
            ("/a/**/b/**/c", &["/a/b/c", "/a/b/b/c", "/a/x/b/y/z/c"], &["/a/c", "/a/x/c/b"]),
            ("/lib*/ld-*.so*", &["/lib64/ld-linux-x86-64.so.2", "/lib/ld-.so"], &["/lib/x/ld-a.so"]),
            ("/a/?", &["/a/b", "/a/ä", "/a/]"], &["/a/bc", "/a"]),
            ("/a/[a-c]x", &["/a/ax", "/a/cx"], &["/a/dx", "/a/x"]),
            ("/a/[!a-c]", &["/a/d", "/a/é"], &["/a/a", "/a/"]),
            ("/a/[]x]", &["/a/]", "/a/x"], &["/a/[", "/a/]x]"]),
            ("/a/[a-]", &["/a/a", "/a/-"], &["/a/b"]),
            ("/a/\\*", &["/a/*"], &["/a/b"]),
            ("//a//b/", &["/a/b"], &["/a"]),
            ("/", &["/"], &["/a"]),
            ("@/tmp/.X11-unix/X*", &["@/tmp/.X11-unix/X0"], &["/tmp/.X11-unix/X0", "@/tmp"]),
        ] {
            for path in yes {
                assert!(matches(pattern, path), "{pattern} should match {path}");
            }
            for path in no {
                assert!(!matches(pattern, path), "{pattern} should not match {path}");
            }
        }
        assert!(Glob::parse("/a/?").unwrap().matches(b"/a/\xff"), "a name need not be UTF-8");
        assert!(!Glob::parse("/a/[a-z]").unwrap().matches(b"/a/\xff"));
    }

    #[test]
    fn wrong_ones() {
        for (pattern, word) in [
            ("", "empty"),
            ("etc/x", "absolute"),
            ("/a/../b", "resolved"),
            ("/a/b**", "whole components"),
            ("/a/[b", "without its ]"),
            ("/a/b\\", "single"),
            ("/\0", "zero"),
        ] {
            assert!(Glob::parse(pattern).unwrap_err().contains(word), "{pattern}");
        }
        assert!(Glob::parse(&"/a".repeat(MAX)).is_err());
        assert!(NameGlob::parse("a:80").is_err());
    }

    #[test]
    fn names() {
        let pattern = NameGlob::parse("*.Example.org").unwrap();
        assert!(
            pattern.matches("a.b.example.ORG.") && !pattern.matches("example.org") && !pattern.matches("x.example.com")
        );
        assert!(NameGlob::parse("*").unwrap().covers(&pattern));
        assert!(pattern.covers(&NameGlob::parse("db.example.org").unwrap()));
    }

    #[test]
    fn covering() {
        let covers = |a: &str, b: &str| Glob::parse(a).unwrap().covers(&Glob::parse(b).unwrap());
        for (a, b) in [
            ("/**", "/a/*/**/b"),
            ("/srv/**", "/srv"),
            ("/srv/**", "/srv/data/**"),
            ("/srv/*", "/srv/a[bc]"),
            ("/srv/*.c", "/srv/x.c"),
            ("/**/x", "/a/b/x"),
            ("/a/**/c", "/a/**/b/c"),
        ] {
            assert!(covers(a, b), "{a} covers {b}");
        }
        for (a, b) in
            [("/srv/*", "/srv/**"), ("/srv/data/**", "/srv/**"), ("/a", "/b"), ("/**", "@a"), ("/**/x", "/**")]
        {
            assert!(!covers(a, b), "{a} does not cover {b}");
        }
    }

    #[test]
    fn depths() {
        let depth = |text: &str| Glob::parse(text).unwrap().depth();
        assert_eq!(
            (depth("/a/b/**"), depth("/a/*"), depth("/a/**/b"), depth("/**")),
            (Some(2), Some(2), None, Some(0))
        );
    }

    /// Plainly recursive, as the definition has it.
    fn slow(parts: &[Part], path: &[&[u8]]) -> bool {
        match (parts.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((Part::Any, rest)), first) => slow(rest, path) || first.is_some_and(|(_, path)| slow(parts, path)),
            (Some((Part::One(pieces), rest)), Some((component, path))) => {
                match_pieces(pieces, component) && slow(rest, path)
            }
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn as_defined(pattern in "(/(\\*\\*|a|b|\\*|a\\*|\\?)){1,5}", path in "(/[ab]{1,2}){0,6}") {
            let glob = Glob::parse(&pattern).unwrap();
            prop_assert_eq!(glob.matches(path.as_bytes()), slow(&glob.parts, &components(path.as_bytes())));
        }

        #[test]
        fn covering_is_sound(a in "(/(\\*\\*|a|b|\\*|a\\*|\\?)){1,4}", b in "(/(\\*\\*|a|b|\\*|a\\*|\\?)){1,4}", path in "(/[ab]{1,2}){0,5}") {
            let (a, b) = (Glob::parse(&a).unwrap(), Glob::parse(&b).unwrap());
            if a.covers(&b) && b.matches(path.as_bytes()) {
                prop_assert!(a.matches(path.as_bytes()));
            }
        }

        #[test]
        fn never_panics(pattern in ".{0,40}", path in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.matches(&path);
                prop_assert!(glob.covers(&glob));
            }
            if let Ok(glob) = NameGlob::parse(&pattern) {
                glob.matches(&String::from_utf8_lossy(&path));
            }
        }
    }

    #[test]
    fn time_is_bounded() {
        let glob = Glob::parse(&format!("/{}b", "*a".repeat(300))).unwrap();
        assert!(!glob.matches(format!("/{}", "a".repeat(4000)).as_bytes()));
        let glob = Glob::parse(&format!("{}/b", "/**/a".repeat(150))).unwrap();
        assert!(!glob.matches("/a".repeat(2000).as_bytes()));
    }
}
