//! JSON that somebody else wrote: how deep it nests, checked before anything is built from it, and which property an
//! offset belongs to, so that an error can name it.

/// One step of a property's path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Inside an object, at this key (empty before the first).
    Key(String),
    /// Inside an array, at this index.
    Index(usize),
}

/// Objects and arrays within each other at most.
const MAX_DEPTH: usize = 64;

/// The text nests deeper than anything of use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooDeep;

/// Text of somebody else's for a message that is one line: what would break the line or speak to the terminal is escaped.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = if escaped.is_none() { Some(c) } else { None };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Refuses texts that nest too deeply.
pub(crate) fn check_depth(text: &str) -> Result<(), TooDeep> {
    walk(text, text.len()).map(|_| ())
}

/// The property that the byte at `line` and `column` (both from 1, as serde_json counts) belongs to; empty at the top.
pub(crate) fn property_at(text: &str, line: usize, column: usize) -> String {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    // The path of the value that ends there, not of what follows it.
    let offset = (start + column).saturating_sub(1).min(text.len());
    let mut path = String::new();
    for step in walk(text, offset).unwrap_or_default() {
        match step {
            Step::Key(key) if key.is_empty() => {}
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Where one stands after the first `end` bytes of `text`. Tolerates any text: what is no JSON is reported by the parser.
fn walk(text: &str, end: usize) -> Result<Vec<Step>, TooDeep> {
    let mut steps: Vec<Step> = Vec::new();
    let mut expects_key = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if at >= end {
            break;
        }
        match c {
            '{' | '[' => {
                if steps.len() == MAX_DEPTH {
                    return Err(TooDeep);
                }
                expects_key = c == '{';
                steps.push(if c == '{' { Step::Key(String::new()) } else { Step::Index(0) });
            }
            '}' | ']' => {
                steps.pop();
                expects_key = false;
            }
            ',' => match steps.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(key)) => {
                    key.clear();
                    expects_key = true;
                }
                None => {}
            },
            '"' => {
                let mut content = String::new();
                while let Some((_, c)) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => content.extend(chars.next().map(|(_, c)| c)),
                        c => content.push(c),
                    }
                }
                if expects_key && let Some(Step::Key(key)) = steps.last_mut() {
                    *key = content;
                    expects_key = false;
                }
            }
            _ => {}
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, marker: &str) -> String {
        let offset = text.find(marker).unwrap();
        let line = text[..offset].matches('\n').count() + 1;
        let column = offset - text[..offset].rfind('\n').map_or(0, |n| n + 1) + 1;
        property_at(text, line, column)
    }

    #[test]
    fn names_properties() {
        let text = "{\"a\": 1,\n \"b\": {\"c\": [1, {\"d\\\"\": MARK}]},\n \"e\": END}";
        assert_eq!(at(text, "MARK"), "b.c[1].d\"");
        assert_eq!(at(text, "END"), "e");
        assert_eq!(property_at("", 1, 1), "");
        assert_eq!(property_at("]]}}\"", 9, 9), "");
    }

    #[test]
    fn messages_stay_one_line() {
        assert_eq!(one_line("a\n\x1b[2Jä\u{9b}\"b"), "a\\n\\u{1b}[2Jä\\u{9b}\"b");
    }

    #[test]
    fn bounds_depth() {
        assert_eq!(check_depth(&"[".repeat(MAX_DEPTH)), Ok(()));
        assert_eq!(check_depth(&"[".repeat(MAX_DEPTH + 1)), Err(TooDeep));
        assert_eq!(check_depth(&"{\"a\":".repeat(1 << 16)), Err(TooDeep));
        assert_eq!(check_depth("\"[[[[\\\"[[[\""), Ok(()));
    }
}
