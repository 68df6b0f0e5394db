//! From `linux.resources` to the files of cgroups, in both versions' languages.

use std::fs;
use std::io;
use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};

use super::{CgroupError, Leaf, error};

/// Values for files that are to be written in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The first of these that there is.
    files: Vec<PathBuf>,
    value: String,
}

impl Setting {
    pub(super) fn apply(&self) -> Result<(), CgroupError> {
        let mut missing = None;
        for file in &self.files {
            // Made by `write` it would be nothing but a file, were this no cgroup.
            match fs::OpenOptions::new().write(true).open(file) {
                Ok(mut opened) => {
                    let written = io::Write::write_all(&mut opened, self.value.as_bytes());
                    return written.map_err(error(file, "setting a limit"));
                }
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => missing = Some((file, problem)),
                Err(problem) => return Err(error(file, "setting a limit")(problem)),
            }
        }
        match missing {
            Some((file, _)) => {
                let problem = io::Error::new(io::ErrorKind::NotFound, "this machine has no such limit; remove it");
                Err(error(file, "setting a limit")(problem))
            }
            None => Ok(()),
        }
    }
}

/// Collects settings for one folder.
struct Writer<'a> {
    leaf: &'a Leaf,
    settings: Vec<Setting>,
}

impl Writer<'_> {
    fn put(&mut self, file: &str, value: impl ToString) {
        self.either(&[file], value);
    }

    /// Into the first of these files that there is.
    fn either(&mut self, files: &[&str], value: impl ToString) {
        let files = files.iter().map(|file| self.leaf.path.join(file)).collect();
        self.settings.push(Setting { files, value: value.to_string() });
    }

    fn read(&self, file: &str) -> Option<i64> {
        fs::read_to_string(self.leaf.path.join(file)).ok()?.trim().parse().ok()
    }
}

/// All that is to be written for `resources`. Zero is how clients write "not set".
pub(super) fn settings(resources: &LinuxResources, leaves: &[Leaf]) -> Vec<Setting> {
    let mut all = Vec::new();
    for leaf in leaves {
        let mut writer = Writer { leaf, settings: Vec::new() };
        if let Some(pids) = resources.pids().as_ref().filter(|_| leaf.has("pids")) {
            let limit = if pids.limit() <= 0 { "max".to_owned() } else { pids.limit().to_string() };
            writer.put("pids.max", limit);
        }
        if let Some(it) = resources.memory().as_ref().filter(|_| leaf.has("memory")) {
            if leaf.unified { memory_v2(it, &mut writer) } else { memory_v1(it, &mut writer) }
        }
        if let Some(it) = resources.cpu().as_ref().filter(|_| leaf.has("cpu")) {
            if leaf.unified { cpu_v2(it, &mut writer) } else { cpu_v1(it, &mut writer) }
        }
        if let Some(it) = resources.cpu().as_ref().filter(|_| leaf.has("cpuset")) {
            let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
            text(it.cpus()).into_iter().for_each(|cpus| writer.put("cpuset.cpus", cpus));
            text(it.mems()).into_iter().for_each(|mems| writer.put("cpuset.mems", mems));
        }
        if let Some(it) = resources.block_io() {
            if leaf.unified && leaf.has("io") {
                io_v2(it, &mut writer);
            } else if !leaf.unified && leaf.has("blkio") {
                blkio_v1(it, &mut writer);
            }
        }
        if leaf.has("hugetlb") {
            resources.hugepage_limits().iter().flatten().for_each(|it| hugepages(it, &mut writer));
        }
        if leaf.unified {
            let mut files: Vec<_> = resources.unified().iter().flatten().collect();
            files.sort();
            files.into_iter().for_each(|(file, value)| writer.put(file, value));
        }
        all.append(&mut writer.settings);
    }
    all
}

/// What of `resources` none of these folders can limit.
pub(super) fn missing(resources: &LinuxResources, leaves: &[Leaf]) -> Option<&'static str> {
    let any = |wanted: &dyn Fn(&Leaf) -> bool| leaves.iter().any(wanted);
    let memory = resources.memory().as_ref().is_some_and(|it| {
        [it.limit(), it.reservation(), it.swap(), it.kernel_tcp()].into_iter().any(|value| set(value).is_some())
    });
    let cpu = resources.cpu().as_ref();
    let share = cpu.is_some_and(|it| {
        [it.shares(), it.period(), it.realtime_period()].into_iter().flatten().any(|value| value != 0)
            || [it.quota(), it.realtime_runtime()].into_iter().any(|value| set(value).is_some())
    });
    let given = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    let sets = cpu.is_some_and(|it| given(it.cpus()) || given(it.mems()));
    let io = resources.block_io().as_ref().is_some_and(|it| {
        let rates = [
            it.throttle_read_bps_device(),
            it.throttle_write_bps_device(),
            it.throttle_read_iops_device(),
            it.throttle_write_iops_device(),
        ];
        weight(it.weight()).is_some()
            || it.weight_device().as_ref().is_some_and(|list| !list.is_empty())
            || rates.into_iter().flatten().any(|list| !list.is_empty())
    });
    let some = [
        (
            "linux.resources.pids",
            resources.pids().as_ref().is_some_and(|it| it.limit() > 0),
            any(&|leaf| leaf.has("pids")),
        ),
        ("linux.resources.memory", memory, any(&|leaf| leaf.has("memory"))),
        ("linux.resources.cpu", share, any(&|leaf| leaf.has("cpu"))),
        ("linux.resources.cpu.cpus", sets, any(&|leaf| leaf.has("cpuset"))),
        ("linux.resources.blockIO", io, any(&|leaf| leaf.has(if leaf.unified { "io" } else { "blkio" }))),
        (
            "linux.resources.hugepageLimits",
            resources.hugepage_limits().as_ref().is_some_and(|list| !list.is_empty()),
            any(&|leaf| leaf.has("hugetlb")),
        ),
        (
            "linux.resources.unified",
            resources.unified().as_ref().is_some_and(|files| !files.is_empty()),
            any(&|leaf| leaf.unified),
        ),
    ];
    some.into_iter().find_map(|(name, wanted, there)| (wanted && !there).then_some(name))
}

fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// The word of version 2 for "without limit".
fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn memory_v1(memory: &LinuxMemory, writer: &mut Writer<'_>) {
    let limit = set(memory.limit());
    // Without a limit of memory none of both makes sense.
    let swap = set(memory.swap()).or(limit.filter(|limit| *limit < 0 && writer.read(MEMSW).is_some()));
    let (first, second) = ((LIMIT, limit), (MEMSW, swap));
    // The limit of both must never be the lower one: where it grows, it grows first.
    let grows =
        |new: i64| new < 0 || writer.read(MEMSW).is_some_and(|now| limit.is_some_and(|limit| limit > now || limit < 0));
    let order = if swap.is_some_and(grows) { [second, first] } else { [first, second] };
    for (file, value) in order {
        value.into_iter().for_each(|value| writer.put(file, value));
    }
    set(memory.reservation()).into_iter().for_each(|value| writer.put("memory.soft_limit_in_bytes", value));
    set(memory.kernel_tcp()).into_iter().for_each(|value| writer.put("memory.kmem.tcp.limit_in_bytes", value));
    // More than a percentage is how some clients write "not set".
    let swappiness = memory.swappiness().filter(|value| *value <= 100);
    swappiness.into_iter().for_each(|value| writer.put("memory.swappiness", value));
    if memory.disable_oom_killer() == Some(true) {
        writer.put("memory.oom_control", 1);
    }
}

const LIMIT: &str = "memory.limit_in_bytes";
const MEMSW: &str = "memory.memsw.limit_in_bytes";

fn memory_v2(memory: &LinuxMemory, writer: &mut Writer<'_>) {
    let limit = set(memory.limit());
    // Version 2 limits swap alone, the specification both together.
    match (set(memory.swap()), limit) {
        (Some(swap), _) if swap < 0 => writer.put("memory.swap.max", "max"),
        (Some(swap), Some(limit)) if limit > 0 => {
            writer.put("memory.swap.max", swap.saturating_sub(limit).max(0));
        }
        _ => {}
    }
    limit.into_iter().for_each(|limit| writer.put("memory.max", or_max(limit)));
    set(memory.reservation()).into_iter().for_each(|low| writer.put("memory.low", or_max(low)));
}

fn cpu_v1(cpu: &LinuxCpu, writer: &mut Writer<'_>) {
    cpu.shares().filter(|it| *it != 0).into_iter().for_each(|it| writer.put("cpu.shares", it));
    let period = cpu.period().filter(|period| *period != 0);
    let quota = cpu.quota().filter(|quota| *quota != 0);
    // The kernel refuses a quota that is too large for the period which is there meanwhile.
    let shrinks = period.zip(writer.read("cpu.cfs_period_us")).is_some_and(|(new, now)| new < now.unsigned_abs());
    let (first, second) =
        (("cpu.cfs_period_us", period.map(|it| it.to_string())), ("cpu.cfs_quota_us", quota.map(|it| it.to_string())));
    let order = if shrinks && quota.is_some() { [second, first] } else { [first, second] };
    for (file, value) in order {
        value.into_iter().for_each(|value| writer.put(file, value));
    }
    cpu.burst().into_iter().for_each(|it| writer.put("cpu.cfs_burst_us", it));
    cpu.realtime_period().filter(|it| *it != 0).into_iter().for_each(|it| writer.put("cpu.rt_period_us", it));
    set(cpu.realtime_runtime()).into_iter().for_each(|it| writer.put("cpu.rt_runtime_us", it));
    cpu.idle().into_iter().for_each(|it| writer.put("cpu.idle", it));
}

fn cpu_v2(cpu: &LinuxCpu, writer: &mut Writer<'_>) {
    cpu.idle().into_iter().for_each(|it| writer.put("cpu.idle", it));
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        // The usual conversion of [2, 262144] to [1, 10000].
        writer.put("cpu.weight", 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142);
    }
    let period = cpu.period().filter(|period| *period != 0);
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if quota.is_some() || period.is_some() {
        writer.put("cpu.max", format!("{} {}", or_max(quota.unwrap_or(-1)), period.unwrap_or(100_000)));
    }
    cpu.burst().into_iter().for_each(|it| writer.put("cpu.max.burst", it));
}

fn weight(value: Option<u16>) -> Option<u16> {
    value.filter(|weight| *weight != 0)
}

fn blkio_v1(io: &LinuxBlockIo, writer: &mut Writer<'_>) {
    weight(io.weight()).into_iter().for_each(|it| writer.either(&["blkio.weight", "blkio.bfq.weight"], it));
    weight(io.leaf_weight()).into_iter().for_each(|it| writer.put("blkio.leaf_weight", it));
    for device in io.weight_device().iter().flatten() {
        let line = |value: u16| format!("{}:{} {value}", device.major(), device.minor());
        let files = ["blkio.weight_device", "blkio.bfq.weight_device"];
        weight(device.weight()).into_iter().for_each(|it| writer.either(&files, line(it)));
        weight(device.leaf_weight()).into_iter().for_each(|it| writer.put("blkio.leaf_weight_device", line(it)));
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            writer.put(file, format!("{}:{} {}", device.major(), device.minor(), device.rate()));
        }
    }
}

fn io_v2(io: &LinuxBlockIo, writer: &mut Writer<'_>) {
    // [10, 1000] to [1, 10000].
    let convert = |weight: u16| 1 + (u32::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
    if let Some(it) = weight(io.weight()) {
        if writer.leaf.path.join("io.bfq.weight").exists() {
            writer.put("io.bfq.weight", it);
        } else {
            writer.put("io.weight", convert(it));
        }
    }
    let line = |device: &LinuxWeightDevice, value: u16| format!("{}:{} {value}", device.major(), device.minor());
    for device in io.weight_device().iter().flatten() {
        weight(device.weight()).into_iter().for_each(|it| writer.put("io.bfq.weight", line(device, it)));
    }
    for (key, devices) in [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ] {
        let line = |it: &LinuxThrottleDevice| format!("{}:{} {key}={}", it.major(), it.minor(), it.rate());
        devices.iter().flatten().for_each(|device| writer.put("io.max", line(device)));
    }
}

fn hugepages(limit: &LinuxHugepageLimit, writer: &mut Writer<'_>) {
    let size = limit.page_size();
    let kind = if writer.leaf.unified { "max" } else { "limit_in_bytes" };
    let value = limit.limit();
    writer.put(&format!("hugetlb.{size}.{kind}"), value);
    // Reservations are charged at mmap: without a limit of theirs a process would be killed at the first access instead.
    let reserved = format!("hugetlb.{size}.rsvd.{kind}");
    if writer.leaf.path.join(&reserved).exists() {
        writer.put(&reserved, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str, leaf: &Leaf) -> Vec<(String, String)> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
        settings(&resources, std::slice::from_ref(leaf)).into_iter().map(|it| (name(&it.files[0]), it.value)).collect()
    }

    fn leaf(controllers: &[&str], unified: bool) -> Leaf {
        let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        Leaf { path: PathBuf::from("/nowhere"), controllers, unified }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    const RESOURCES: &str = r#"{"memory": {"limit": 1000, "swap": 1500}, "pids": {"limit": -1},
        "cpu": {"shares": 262144, "quota": 5, "period": 10}, "blockIO": {"weight": 1000,
        "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 7}]}, "hugepageLimits": [{"pageSize": "2MB", "limit": 9}]}"#;

    #[test]
    fn limits_of_version_2() {
        let expected = pairs(&[
            ("pids.max", "max"),
            ("memory.swap.max", "500"),
            ("memory.max", "1000"),
            ("cpu.weight", "10000"),
            ("cpu.max", "5 10"),
            ("io.weight", "10000"),
            ("io.max", "8:1 rbps=7"),
            ("hugetlb.2MB.max", "9"),
        ]);
        assert_eq!(written(RESOURCES, &leaf(&[], true)), expected);
    }

    #[test]
    fn limits_of_version_1() {
        assert_eq!(
            written(RESOURCES, &leaf(&["cpu", "cpuacct"], false)),
            pairs(&[("cpu.shares", "262144"), ("cpu.cfs_period_us", "10"), ("cpu.cfs_quota_us", "5")])
        );
        assert_eq!(
            written(RESOURCES, &leaf(&["memory"], false)),
            pairs(&[("memory.limit_in_bytes", "1000"), ("memory.memsw.limit_in_bytes", "1500")])
        );
        assert_eq!(
            written(RESOURCES, &leaf(&["blkio"], false)),
            pairs(&[("blkio.weight", "1000"), ("blkio.throttle.read_bps_device", "8:1 7")])
        );
        // In a hybrid layout.
        assert_eq!(written(RESOURCES, &leaf(&["hugetlb"], true)), pairs(&[("hugetlb.2MB.max", "9")]));
    }

    #[test]
    fn what_there_is_no_file_for_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = Leaf { path: dir.path().to_owned(), controllers: Vec::new(), unified: true };
        let resources: LinuxResources = serde_json::from_str(r#"{"pids": {"limit": 7}}"#).unwrap();
        let all = settings(&resources, std::slice::from_ref(&leaf));
        assert!(all[0].apply().unwrap_err().to_string().contains("pids.max"));
        fs::write(dir.path().join("pids.max"), "").unwrap();
        all[0].apply().unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("pids.max")).unwrap(), "7");
    }
}
