//! Properties of units, from `linux.resources` and from annotations `org.systemd.property.*`.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::SystemdError;
use super::wire::{Property, Value};

const ANNOTATION: &str = "org.systemd.property.";
/// Since this version systemd knows `CPUQuotaPeriodUSec`.
const QUOTA_PERIOD: u32 = 242;
/// Since this one `AllowedCPUs` and `AllowedMemoryNodes`.
const CPUSETS: u32 = 244;
/// The kernel's default, µs.
const PERIOD: u64 = 100_000;
/// Processors or memory nodes have lower numbers.
const MAX_NODES: usize = 1 << 14;

/// The number in `254.5-1`, `v254` and the like; 0: there is none.
pub(super) fn version(text: &str) -> u32 {
    let digits = text.trim_start_matches(['"', 'v']);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A limit; below zero: none, systemd's infinity.
fn limit(value: i64) -> Value {
    Value::U64(u64::try_from(value).unwrap_or(u64::MAX))
}

/// What systemd can be told of `resources`, in the words for cgroups of version 2 or 1. What it can't goes into the files alone.
pub(super) fn of(resources: &LinuxResources, unified: bool, version: u32) -> Result<Vec<Property>, SystemdError> {
    let mut all = Vec::new();
    if let Some(it) = resources.memory() {
        memory(it, unified, &mut all);
    }
    if let Some(it) = resources.cpu() {
        cpu(it, unified, version, &mut all)?;
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|it| *it != 0 && !unified) {
        all.push(("BlockIOWeight".to_owned(), Value::U64(weight.into())));
    }
    if let Some(pids) = resources.pids() {
        all.push(("TasksMax".to_owned(), limit(if pids.limit() <= 0 { -1 } else { pids.limit() })));
    }
    if unified {
        let mut files: Vec<_> = resources.unified().iter().flatten().collect();
        files.sort();
        for (file, value) in files {
            file_of_version_2(file, value.trim(), version, &mut all)
                .ok_or_else(|| SystemdError::Property(format!("linux.resources.unified.{file}"), value.clone()))?;
        }
    }
    Ok(all)
}

fn memory(memory: &LinuxMemory, unified: bool, all: &mut Vec<Property>) {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    let bytes = set(memory.limit());
    all.extend(bytes.map(|it| (if unified { "MemoryMax" } else { "MemoryLimit" }.to_owned(), limit(it))));
    if !unified {
        return;
    }
    all.extend(set(memory.reservation()).map(|it| ("MemoryLow".to_owned(), limit(it))));
    let swap = match (set(memory.swap()), bytes) {
        (Some(swap), _) if swap < 0 => Some(swap),
        (Some(swap), Some(bytes)) if bytes > 0 => Some(swap.saturating_sub(bytes).max(0)),
        _ => None,
    };
    all.extend(swap.map(|it| ("MemorySwapMax".to_owned(), limit(it))));
}

fn cpu(cpu: &LinuxCpu, unified: bool, version: u32, all: &mut Vec<Property>) -> Result<(), SystemdError> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        all.push(if unified {
            ("CPUWeight".to_owned(), Value::U64(1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142))
        } else {
            ("CPUShares".to_owned(), Value::U64(shares))
        });
    }
    quota(cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0), version, all);
    for (name, file, list) in [("cpus", "cpuset.cpus", cpu.cpus()), ("mems", "cpuset.mems", cpu.mems())] {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
        file_of_version_2(file, list, version, all)
            .ok_or_else(|| SystemdError::Property(format!("linux.resources.cpu.{name}"), list.clone()))?;
    }
    Ok(())
}

fn quota(quota: i64, period: u64, version: u32, all: &mut Vec<Property>) {
    if period != 0 && version >= QUOTA_PERIOD {
        all.push(("CPUQuotaPeriodUSec".to_owned(), Value::U64(period)));
    }
    if quota == 0 && period == 0 {
        return;
    }
    let mut each_second = u64::MAX;
    if let Some(quota) = u64::try_from(quota).ok().filter(|quota| *quota != 0) {
        let period = if period == 0 { PERIOD } else { period };
        // systemd has whole percents: the next one, so that those below it can have what they ask for.
        each_second = (quota.saturating_mul(1_000_000) / period).div_ceil(10_000).saturating_mul(10_000);
    }
    all.push(("CPUQuotaPerSecUSec".to_owned(), Value::U64(each_second)));
}

/// The property for a file of version 2, if there is one; none: the value is wrong.
fn file_of_version_2(file: &str, value: &str, version: u32, all: &mut Vec<Property>) -> Option<()> {
    let number = || if value == "max" { Some(u64::MAX) } else { value.parse().ok() };
    let name = match file {
        "cpu.max" => {
            let mut words = value.split_ascii_whitespace();
            let first = words.next()?;
            let period = words.next().map_or(Some(PERIOD), |word| word.parse().ok())?;
            quota(if first == "max" { 0 } else { first.parse().ok()? }, period, version, all);
            return words.next().is_none().then_some(());
        }
        "cpuset.cpus" | "cpuset.mems" => {
            let name = if file == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
            let bits = bits(value)?;
            if version >= CPUSETS {
                all.push((name.to_owned(), Value::Bytes(bits)));
            }
            return Some(());
        }
        "cpu.weight" => "CPUWeight",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        _ => return Some(()),
    };
    all.push((name.to_owned(), Value::U64(number()?)));
    Some(())
}

/// `0-2,5` as bits, the lowest byte first.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if first > last || last >= MAX_NODES {
            return None;
        }
        for number in first..=last {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            *bits.get_mut(number / 8)? |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// The properties that annotations name.
pub(super) fn annotated(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, SystemdError> {
    let mut all = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let wrong = || SystemdError::Property(format!("annotation {key}"), text.clone());
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(wrong());
        }
        let value = value(text.trim()).ok_or_else(wrong)?;
        // Documented with seconds, and sent in microseconds.
        let before = name.strip_suffix("Sec").filter(|before| before.ends_with(|c: char| c.is_ascii_lowercase()));
        all.push(match before {
            Some(before) => (format!("{before}USec"), Value::U64(seconds(&value).ok_or_else(wrong)?)),
            None => (name.to_owned(), value),
        });
    }
    Ok(all)
}

fn seconds(value: &Value) -> Option<u64> {
    let seconds = match *value {
        Value::I32(number) => u64::try_from(number).ok()?,
        Value::I64(number) => u64::try_from(number).ok()?,
        Value::U32(number) => number.into(),
        Value::U64(number) => number,
        _ => return None,
    };
    seconds.checked_mul(1_000_000)
}

/// A value as GVariant's text format writes it: flags, numbers, texts and lists of texts.
fn value(text: &str) -> Option<Value> {
    if let Some((kind, number)) = text.split_once(' ') {
        let number = number.trim();
        match kind {
            "int32" => return number.parse().ok().map(Value::I32),
            "uint32" => return number.parse().ok().map(Value::U32),
            "int64" => return number.parse().ok().map(Value::I64),
            "uint64" => return number.parse().ok().map(Value::U64),
            _ => {}
        }
    }
    match text {
        "true" => return Some(Value::Flag(true)),
        "false" => return Some(Value::Flag(false)),
        _ => {}
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.split(',').map(|item| quoted(item.trim())).collect::<Option<_>>().map(Value::Texts);
    }
    quoted(text).map(Value::Text).or_else(|| text.parse().ok().map(Value::I32))
}

fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    // Nobody needs a quote in it.
    (!inner.contains([quote, '\\', ',', '\0'])).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(json: &str, unified: bool, version: u32) -> Vec<(String, Value)> {
        of(&serde_json::from_str(json).unwrap(), unified, version).unwrap()
    }

    fn named(list: &[(&str, Value)]) -> Vec<(String, Value)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    const RESOURCES: &str = r#"{"memory": {"limit": 1000, "swap": 1500, "reservation": 7}, "pids": {"limit": -1},
        "cpu": {"shares": 262144, "quota": 12345, "period": 50000, "cpus": "0,9-10"}, "blockIO": {"weight": 100}}"#;

    #[test]
    fn limits_in_either_version() {
        let two = named(&[
            ("MemoryMax", Value::U64(1000)),
            ("MemoryLow", Value::U64(7)),
            ("MemorySwapMax", Value::U64(500)),
            ("CPUWeight", Value::U64(10_000)),
            ("CPUQuotaPeriodUSec", Value::U64(50_000)),
            ("CPUQuotaPerSecUSec", Value::U64(250_000)),
            ("AllowedCPUs", Value::Bytes(vec![1, 6])),
            ("TasksMax", Value::U64(u64::MAX)),
        ]);
        assert_eq!(made(RESOURCES, true, 250), two);
        let one = named(&[
            ("MemoryLimit", Value::U64(1000)),
            ("CPUShares", Value::U64(262_144)),
            ("CPUQuotaPerSecUSec", Value::U64(250_000)),
            ("BlockIOWeight", Value::U64(100)),
            ("TasksMax", Value::U64(u64::MAX)),
        ]);
        assert_eq!(made(RESOURCES, false, 219), one);
    }

    #[test]
    fn files_of_version_2() {
        let files =
            r#"{"unified": {"cpu.max": "max 20000", "memory.high": "5", "pids.max": "max", "io.max": "8:0 rbps=1"}}"#;
        let expected = named(&[
            ("CPUQuotaPeriodUSec", Value::U64(20_000)),
            ("CPUQuotaPerSecUSec", Value::U64(u64::MAX)),
            ("MemoryHigh", Value::U64(5)),
            ("TasksMax", Value::U64(u64::MAX)),
        ]);
        assert_eq!(made(files, true, 250), expected);
        for wrong in
            [r#"{"unified": {"pids.max": "x"}}"#, r#"{"unified": {"cpu.max": ""}}"#, r#"{"cpu": {"cpus": "3-1"}}"#]
        {
            assert!(of(&serde_json::from_str(wrong).unwrap(), true, 250).is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(["v245.4-1.fc32", "252", "\"256~rc1", "x", ""].map(version), [245, 252, 256, 0, 0]);
    }

    #[test]
    fn annotations() {
        let of = |pairs: &[(&str, &str)]| {
            annotated(&pairs.iter().map(|(name, text)| (format!("{ANNOTATION}{name}"), (*text).to_owned())).collect())
        };
        let given = [
            ("CollectMode", "'inactive-or-failed'"),
            ("TimeoutStopUSec", "uint64 5"),
            ("TimeoutStartSec", "3"),
            ("After", "['a.service', \"b.service\"]"),
            ("DefaultDependencies", "true"),
        ];
        let mut made = of(&given).unwrap();
        made.sort_by(|a, b| a.0.cmp(&b.0));
        let texts = vec!["a.service".to_owned(), "b.service".to_owned()];
        let expected = named(&[
            ("After", Value::Texts(texts)),
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("DefaultDependencies", Value::Flag(true)),
            ("TimeoutStartUSec", Value::U64(3_000_000)),
            ("TimeoutStopUSec", Value::U64(5)),
        ]);
        assert_eq!(made, expected);
        for wrong in
            [("A.b", "1"), ("Ab", "1"), ("Some", "word"), ("Some", "'a"), ("RestartSec", "'x'"), ("Some", "uint32 -1")]
        {
            assert!(of(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(annotated(&BTreeMap::from([("other".to_owned(), "x".to_owned())])).unwrap().is_empty());
    }
}
