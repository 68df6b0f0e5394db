//! Docker's daemon.json: an entry of `runtimes`.

use serde_json::Value;

use super::Change;

fn parse(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is no valid JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("is no JSON object".to_owned()) }
}

/// What may be put in: into the top, with a comma behind it or alone; into `runtimes`, the same.
fn pieces(name: &str, path: &str) -> [String; 4] {
    let entry = format!("\"{name}\": {{\"path\": \"{path}\"}}");
    let runtimes = format!("\n  \"runtimes\": {{{entry}}}");
    [format!("{runtimes},"), format!("{runtimes}\n"), format!("{entry}, "), entry]
}

/// A whole file.
fn new(name: &str, path: &str) -> String {
    let [_, alone, ..] = pieces(name, path);
    format!("{{{alone}}}\n")
}

pub(super) fn install(text: Option<&str>, name: &str, path: &str) -> Result<Change, String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        let text = new(name, path);
        return Ok(Change::Text { piece: text.clone(), text });
    };
    let value = parse(text)?;
    let runtimes = value.get("runtimes");
    if let Some(there) = runtimes.and_then(|runtimes| runtimes.get(name)) {
        return match there.get("path").and_then(Value::as_str) == Some(path) {
            true => Ok(Change::None),
            false => Err(format!("has another runtime {name:?}; remove that, or give another --name")),
        };
    }
    let [top, top_alone, inner, inner_alone] = pieces(name, path);
    let (place, piece) = match runtimes {
        None => {
            let place = text.find('{').map(|at| at + 1);
            (place, if value.as_object().is_some_and(serde_json::Map::is_empty) { top_alone } else { top })
        }
        Some(Value::Object(map)) => (object_of(text, "runtimes"), if map.is_empty() { inner_alone } else { inner }),
        Some(_) => return Err("has \"runtimes\" that is no object".to_owned()),
    };
    let (before, after) = place.and_then(|at| text.split_at_checked(at)).ok_or("can't be changed; do it by hand")?;
    let text = format!("{before}{piece}{after}");
    match parse(&text)?.pointer(&format!("/runtimes/{name}/path")).and_then(Value::as_str) == Some(path) {
        true => Ok(Change::Text { text, piece }),
        false => Err("names \"runtimes\" more than once; clean that up first".to_owned()),
    }
}

pub(super) fn uninstall(text: Option<&str>, name: &str) -> Result<Change, String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(Change::None) };
    let value = parse(text)?;
    let Some(there) = value.get("runtimes").and_then(|runtimes| runtimes.get(name)) else { return Ok(Change::None) };
    let path = there.get("path").and_then(Value::as_str).unwrap_or_default();
    if text == new(name, path) {
        return Ok(Change::Remove);
    }
    let ours = path.ends_with("/rsc-runtime");
    for piece in pieces(name, path).into_iter().filter(|_| ours) {
        let Some((before, after)) = text.split_once(&piece) else { continue };
        let rest = format!("{before}{after}");
        if parse(&rest).is_ok_and(|value| value.pointer(&format!("/runtimes/{name}")).is_none()) {
            return Ok(Change::Text { text: rest, piece });
        }
    }
    Err(format!("has a runtime {name:?} that is not as rsc-runtime writes it; remove it by hand"))
}

/// Behind the `{` of the object that is the value of `key` at the top.
fn object_of(text: &str, key: &str) -> Option<usize> {
    let (mut depth, mut last, mut string) = (0usize, None::<&str>, None::<usize>);
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if let Some(start) = string {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    last = text.get(start..at);
                    string = None;
                }
                _ => {}
            }
            continue;
        }
        match c {
            '"' => string = Some(at + 1),
            '{' if depth == 1 && last == Some(key) => return Some(at + 1),
            '{' | '[' => (depth, last) = (depth + 1, None),
            '}' | ']' => (depth, last) = (depth.checked_sub(1)?, None),
            ',' => last = None,
            _ => {}
        }
    }
    None
}
