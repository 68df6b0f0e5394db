//! containerd's config.toml, versions 2 and 3: a block at its end, between two comments.

use super::Change;

/// How a file begins that was not there before.
const NEW: &str = "# Written by rsc-runtime install; rsc-runtime uninstall removes it.\nversion = 2\n";

fn begin(name: &str) -> String {
    format!("# Begin of what rsc-runtime install has added for {name}; rsc-runtime uninstall removes it.\n")
}

fn end(name: &str) -> String {
    format!("# End of {name}.\n")
}

fn parse(text: &str) -> Result<::toml::Table, String> {
    text.parse::<::toml::Table>().map_err(|error| format!("is no valid TOML: {}", error.to_string().trim()))
}

/// The plugin that has the runtimes, of this version of the file.
fn plugin(table: &::toml::Table) -> Result<&'static str, String> {
    match table.get("version").and_then(::toml::Value::as_integer) {
        Some(2) => Ok("io.containerd.grpc.v1.cri"),
        Some(3) => Ok("io.containerd.cri.v1.runtime"),
        Some(other) => Err(format!("has version {other}; known are 2 and 3")),
        None => Err("names no version; that was containerd 1.2's. Write `version = 2` into it".to_owned()),
    }
}

/// containerd's own runtime, for a file that names none: one that names any, ours alone, would leave the default without.
fn default_runtime(table: &::toml::Table, plugin: &str) -> String {
    const NAME: &str = "runc";
    let containerd = table.get("plugins").and_then(|all| all.get(plugin)?.get("containerd"));
    let default = containerd.and_then(|it| it.get("default_runtime_name")).and_then(::toml::Value::as_str);
    if runtime(table, plugin, NAME).is_some() || default.is_some_and(|default| default != NAME) {
        return String::new();
    }
    format!("[plugins.\"{plugin}\".containerd.runtimes.{NAME}]\n  runtime_type = \"io.containerd.runc.v2\"\n")
}

fn runtime<'a>(table: &'a ::toml::Table, plugin: &str, name: &str) -> Option<&'a ::toml::Value> {
    table.get("plugins")?.get(plugin)?.get("containerd")?.get("runtimes")?.get(name)
}

/// The place of the block in the text.
fn block(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let mut start = text.find(&begin(name))?;
    let (last, stop) = (end(name), text.get(start..)?.find(&end(name))?);
    let stop = start + stop + last.len();
    // The line that was put between belongs to it.
    let before = text.get(..start)?;
    if before.ends_with("\n\n") {
        start -= 1;
    }
    Some(start..stop)
}

pub(super) fn install(text: Option<&str>, name: &str, shim: &str) -> Result<Change, String> {
    let before = text.filter(|text| !text.trim().is_empty()).unwrap_or(NEW);
    let table = parse(before)?;
    let plugin = plugin(&table)?;
    if let Some(there) = runtime(&table, plugin, name) {
        let ours = there.get("runtime_path").and_then(::toml::Value::as_str) == Some(shim);
        return match ours && block(before, name).is_some() {
            true => Ok(Change::None),
            false => Err(format!("has another runtime {name}; remove that, or give another --name")),
        };
    }
    let piece = format!(
        "{begin}[plugins.\"{plugin}\".containerd.runtimes.{name}]\n  runtime_type = \"io.containerd.rsc.v1\"\n  \
         runtime_path = \"{shim}\"\n  pod_annotations = [\"dev.rsc.*\"]\n  container_annotations = [\"dev.rsc.*\"]\n{default}{end}",
        begin = begin(name),
        default = default_runtime(&table, plugin),
        end = end(name)
    );
    // An empty line between; or the end of a last line that has none.
    let after = format!("{before}\n{piece}");
    let table =
        parse(&after).map_err(|_| format!("can't take a table for the runtime {name}: its `plugins` is no table"))?;
    if runtime(&table, plugin, name).is_none() {
        return Err(format!("can't take a table for the runtime {name}"));
    }
    Ok(Change::Text { text: after, piece })
}

pub(super) fn uninstall(text: Option<&str>, name: &str) -> Result<Change, String> {
    let Some(text) = text else { return Ok(Change::None) };
    let Some(place) = block(text, name) else {
        let table = parse(text)?;
        return match plugin(&table).ok().and_then(|plugin| runtime(&table, plugin, name)) {
            Some(_) => Err(format!("has a runtime {name} that rsc-runtime has not added; remove it by hand")),
            None => Ok(Change::None),
        };
    };
    let (before, after) = (text.get(..place.start).unwrap_or_default(), text.get(place.end..).unwrap_or_default());
    let piece = text.get(place.clone()).unwrap_or_default().to_owned();
    // Without an empty line before it, the end of the line before it is ours.
    let ours = !piece.starts_with('\n') && after.is_empty();
    let before = if ours { before.strip_suffix('\n').unwrap_or(before) } else { before };
    let rest = format!("{before}{after}");
    if rest == NEW { Ok(Change::Remove) } else { Ok(Change::Text { text: rest, piece }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(text: &str) -> String {
        match install(Some(text), "rsc", "/s").unwrap() {
            Change::Text { text, .. } => text,
            _ => panic!("no change"),
        }
    }

    #[test]
    fn the_default_runtime_stays() {
        let runc = "runtimes.runc]";
        assert!(installed("version = 2\n").contains(runc));
        assert!(installed("version = 3\n").contains("cri.v1.runtime\".containerd.runtimes.runc]"));
        let there =
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"x\"\n";
        assert_eq!(installed(there).matches(runc).count(), 1);
        let other = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"x\"\n";
        assert!(!installed(other).contains(runc));
    }
}
