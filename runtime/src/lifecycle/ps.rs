//! `ps`: the container's processes as the compute host sees them.

use std::process::{Command, Stdio};

use rsc_oci::state::StateError;
use rsc_oci::{Store, cgroups};

use super::LifecycleError;

/// Their pids, in order.
pub fn pids(store: &Store, id: &str) -> Result<Vec<i32>, LifecycleError> {
    let record = store.entry(id)?.load()?.ok_or_else(|| StateError::NotFound(id.to_owned()))?;
    let mut pids: Vec<i32> = cgroups::processes(&record.leaves).into_iter().map(|process| process.pid).collect();
    if record.leaves.is_empty() {
        pids.extend(record.init.filter(|init| init.is_alive()).map(|init| init.pid));
    }
    Ok(pids)
}

/// The lines that ps(1) with `options` has for them.
pub fn table(pids: &[i32], options: &[String]) -> Result<String, LifecycleError> {
    let failed = || LifecycleError::io("running", "ps");
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { default.as_slice() } else { options };
    let output = Command::new("ps").args(options).stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(failed())?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed").trim().to_owned();
        return Err(failed()(std::io::Error::other(said)));
    }
    select(&text, pids).ok_or_else(|| failed()(std::io::Error::other("its output has no column PID")))
}

/// The header and the lines whose PID is one of these.
fn select(text: &str, pids: &[i32]) -> Option<String> {
    let mut lines = text.lines();
    let header = lines.next()?;
    let column = header.split_whitespace().position(|name| name == "PID")?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Some(std::iter::once(header).chain(lines.filter(ours)).flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_their_lines() {
        let text = "UID PID CMD\nroot 1 init\nroot 12 a b\nroot 112 c\n";
        assert_eq!(select(text, &[12]).unwrap(), "UID PID CMD\nroot 12 a b\n");
        assert_eq!(select(text, &[]).unwrap(), "UID PID CMD\n");
        assert_eq!(select("UID CMD\n", &[1]), None);
        assert_eq!(select("", &[1]), None);
    }
}
