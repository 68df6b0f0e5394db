//! What a container uses, in the shape of runc's `events --stats`, from both versions' files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Leaf;

/// Reads files of one folder; what is not there counts as nothing.
struct Reader<'a>(&'a Path);

impl Reader<'_> {
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    fn number(&self, file: &str) -> u64 {
        let text = self.text(file);
        match text.trim() {
            "max" => u64::MAX,
            // `-1` is how version 1 writes "without limit".
            text => text.parse().or_else(|_| text.parse::<i64>().map(|it| it as u64)).unwrap_or(0),
        }
    }

    fn numbers(&self, file: &str) -> Vec<u64> {
        self.text(file).split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    }

    /// `KEY NUMBER` lines.
    fn table(&self, file: &str) -> Map<String, Value> {
        let text = self.text(file);
        let line = |line: &str| {
            line.split_once(' ').and_then(|(key, value)| Some((key.to_owned(), value.trim().parse::<u64>().ok()?)))
        };
        text.lines().filter_map(line).map(|(key, value)| (key, json!(value))).collect()
    }

    /// A list like `0-2,5`.
    fn list(&self, file: &str) -> Vec<u64> {
        let text = self.text(file);
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse::<u64>().ok()?..=last.trim().parse::<u64>().ok()?.min(1 << 16))
        };
        text.trim().split(',').filter_map(range).flatten().collect()
    }

    fn exists(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }
}

fn entry(table: &Map<String, Value>, key: &str) -> u64 {
    table.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// Use and limits of the container with these folders.
pub fn stats(leaves: &[Leaf]) -> Value {
    let mut cpu = json!({});
    let mut throttling = json!({});
    let mut data = json!({"cpuset": {}, "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}});
    for leaf in leaves {
        let reader = Reader(&leaf.path);
        if leaf.unified {
            if reader.exists("cpu.stat") && leaf.has("cpu") {
                let stat = reader.table("cpu.stat");
                let ns = |key: &str| entry(&stat, key).saturating_mul(1000);
                cpu = json!({"total": ns("usage_usec"), "kernel": ns("system_usec"), "user": ns("user_usec")});
                throttling = json!({"periods": entry(&stat, "nr_periods"), "throttledPeriods": entry(&stat, "nr_throttled"),
                    "throttledTime": ns("throttled_usec")});
            }
            if leaf.has("memory") {
                put(&mut data, "memory", memory_v2(&reader));
            }
            if leaf.has("io") {
                put(&mut data, "blkio", io_v2(&reader));
            }
        } else {
            if leaf.has("cpuacct") {
                cpu = cpuacct(&reader);
            }
            if leaf.has("cpu") {
                let stat = reader.table("cpu.stat");
                throttling = json!({"periods": entry(&stat, "nr_periods"), "throttledPeriods": entry(&stat, "nr_throttled"),
                    "throttledTime": entry(&stat, "throttled_time")});
            }
            if leaf.has("memory") {
                put(&mut data, "memory", memory_v1(&reader));
            }
            if leaf.has("blkio") {
                put(&mut data, "blkio", blkio_v1(&reader));
            }
        }
        if leaf.has("cpuset") {
            put(&mut data, "cpuset", json!({"cpus": reader.list("cpuset.cpus"), "mems": reader.list("cpuset.mems")}));
        }
        if leaf.has("pids") {
            let limit = match reader.number("pids.max") {
                u64::MAX => 0,
                limit => limit,
            };
            put(&mut data, "pids", json!({"current": reader.number("pids.current"), "limit": limit}));
        }
        if leaf.has("hugetlb") {
            put(&mut data, "hugetlb", hugetlb(&reader, leaf.unified));
        }
    }
    put(&mut data, "cpu", json!({"usage": cpu, "throttling": throttling}));
    put(&mut data, "network_interfaces", Value::Null);
    data
}

fn put(data: &mut Value, key: &str, value: Value) {
    if let Some(map) = data.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

fn cpuacct(reader: &Reader<'_>) -> Value {
    // In ticks of 10 ms, all that this interface ever has.
    const TICK: u64 = 10_000_000;
    let stat = reader.table("cpuacct.stat");
    let of_all = |column: usize| -> Vec<u64> {
        let text = reader.text("cpuacct.usage_all");
        text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(column)?.parse().ok()).collect()
    };
    json!({
        "total": reader.number("cpuacct.usage"),
        "percpu": reader.numbers("cpuacct.usage_percpu"),
        "percpu_kernel": of_all(2),
        "percpu_user": of_all(1),
        "kernel": entry(&stat, "system").saturating_mul(TICK),
        "user": entry(&stat, "user").saturating_mul(TICK),
    })
}

fn memory_v1(reader: &Reader<'_>) -> Value {
    let part = |name: &str| {
        let number = |what: &str| reader.number(&format!("memory.{name}{what}"));
        json!({"limit": number("limit_in_bytes"), "usage": number("usage_in_bytes"), "max": number("max_usage_in_bytes"),
            "failcnt": number("failcnt")})
    };
    let raw = reader.table("memory.stat");
    json!({"cache": entry(&raw, "cache"), "usage": part(""), "swap": part("memsw."), "kernel": part("kmem."),
        "kernelTCP": part("kmem.tcp."), "raw": raw})
}

fn memory_v2(reader: &Reader<'_>) -> Value {
    let raw = reader.table("memory.stat");
    let failed = entry(&reader.table("memory.events"), "max");
    let (usage, limit) = (reader.number("memory.current"), reader.number("memory.max"));
    let swap = reader.number("memory.swap.current").saturating_add(usage);
    let swap_limit = reader.number("memory.swap.max").saturating_add(limit);
    json!({"cache": entry(&raw, "file"),
        "usage": {"limit": limit, "usage": usage, "max": reader.number("memory.peak"), "failcnt": failed},
        "swap": {"limit": swap_limit, "usage": swap, "failcnt": 0},
        "kernel": {"failcnt": 0}, "kernelTCP": {"failcnt": 0}, "raw": raw})
}

/// A line `MAJOR:MINOR …`.
fn device(word: &str) -> Option<(u64, u64)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn blkio_v1(reader: &Reader<'_>) -> Value {
    let entries = |file: &str| -> Vec<Value> {
        let line = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let (major, minor) = device(words.next()?)?;
            let (op, value) = (words.next()?, words.next()?.parse::<u64>().ok()?);
            Some(json!({"major": major, "minor": minor, "op": op, "value": value}))
        };
        reader.text(file).lines().filter_map(line).collect()
    };
    let first = |files: [&str; 2]| files.into_iter().map(&entries).find(|list| !list.is_empty()).unwrap_or_default();
    let mut result = Map::new();
    for (key, files) in [
        (
            "ioServiceBytesRecursive",
            ["blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"],
        ),
        ("ioServicedRecursive", ["blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"]),
    ] {
        let list = first(files);
        if !list.is_empty() {
            result.insert(key.to_owned(), Value::Array(list));
        }
    }
    Value::Object(result)
}

fn io_v2(reader: &Reader<'_>) -> Value {
    let (mut bytes, mut count) = (Vec::new(), Vec::new());
    for line in reader.text("io.stat").lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut count, "Read"),
                "wios" => (&mut count, "Write"),
                _ => continue,
            };
            let value = value.parse::<u64>().unwrap_or(0);
            list.push(json!({"major": major, "minor": minor, "op": op, "value": value}));
        }
    }
    json!({"ioServiceBytesRecursive": bytes, "ioServicedRecursive": count})
}

fn hugetlb(reader: &Reader<'_>, unified: bool) -> Value {
    let mut result = Map::new();
    let names = fs::read_dir(reader.0).into_iter().flatten().flatten().map(|item| item.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        let suffix = if unified { ".current" } else { ".usage_in_bytes" };
        let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(suffix));
        let Some(size) = size.filter(|size| !size.contains('.')) else { continue };
        let number = |what: &str| reader.number(&format!("hugetlb.{size}.{what}"));
        let failed =
            if unified { entry(&reader.table(&format!("hugetlb.{size}.events")), "max") } else { number("failcnt") };
        let usage = reader.number(&name);
        result.insert(size.to_owned(), json!({"usage": usage, "max": number("max_usage_in_bytes"), "failcnt": failed}));
    }
    Value::Object(result)
}

/// Where it is told that the container is out of memory.
#[derive(Debug)]
pub struct OomSource {
    file: PathBuf,
    /// The line's first word.
    key: &'static str,
    /// To be polled for what poll(2) calls priority; told whenever something changes.
    pub watched: File,
}

/// The file of the container's memory cgroup that counts the processes killed for want of memory.
pub fn oom_source(leaves: &[Leaf]) -> io::Result<Option<OomSource>> {
    let Some(leaf) = leaves.iter().find(|leaf| leaf.has("memory")) else { return Ok(None) };
    let name = if leaf.unified { "memory.events" } else { "memory.oom_control" };
    let file = leaf.path.join(name);
    Ok(Some(OomSource { key: "oom_kill", watched: File::open(&file)?, file }))
}

impl OomSource {
    /// How many there were so far.
    pub fn count(&self) -> u64 {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let value = |line: &str| line.split_once(' ').filter(|(key, _)| *key == self.key)?.1.trim().parse().ok();
        text.lines().find_map(value).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_give_one_shape() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\n"),
            ("memory.current", "100\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "file 5\nanon 6\n"),
            ("pids.current", "3"),
            ("pids.max", "max"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
            ("cpuset.cpus", "0-1,3\n"),
            ("cpuacct.usage", "9000\n"),
            ("cpuacct.usage_all", "cpu user system\n0 1 2\n1 3 4\n"),
            ("memory.usage_in_bytes", "77\n"),
            ("memory.oom_control", "under_oom 0\noom_kill 2\n"),
            ("hugetlb.2MB.current", "4096\n"),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let path = || dir.path().to_owned();
        let unified = [Leaf { path: path(), controllers: Vec::new(), unified: true }];
        let v2 = stats(&unified);
        assert_eq!(v2["cpu"]["usage"]["total"], 7000);
        assert_eq!(v2["memory"]["usage"]["limit"], u64::MAX);
        assert_eq!(v2["memory"]["cache"], 5);
        assert_eq!(v2["pids"], json!({"current": 3, "limit": 0}));
        assert_eq!(v2["cpuset"]["cpus"], json!([0, 1, 3]));
        assert_eq!(v2["blkio"]["ioServiceBytesRecursive"][1]["value"], 2);
        assert_eq!(v2["hugetlb"]["2MB"]["usage"], 4096);
        let controllers = ["cpu", "cpuacct", "memory"].map(str::to_owned).to_vec();
        let v1 = [Leaf { path: path(), controllers, unified: false }];
        assert_eq!(stats(&v1)["cpu"]["usage"]["percpu_kernel"], json!([2, 4]));
        assert_eq!(stats(&v1)["memory"]["usage"]["usage"], 77);
        assert_eq!(oom_source(&v1).unwrap().unwrap().count(), 2);
        assert_eq!(stats(&[])["pids"], json!({}));
    }
}
