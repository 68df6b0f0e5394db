//! `update`: other limits for a container that exists.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rsc_oci::cgroups::Cgroups;
use rsc_oci::spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use rsc_oci::{Status, Store};

use super::LifecycleError;

/// The resources of a file may have this many bytes.
const MAX_RESOURCES: u64 = 1 << 20;

/// What the command line asks for, one by one; zero and the empty text change nothing.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Weight for block devices.
    pub blkio_weight: u16,
    /// Period of the quota, µs.
    pub cpu_period: u64,
    /// Processor time in a period, µs.
    pub cpu_quota: i64,
    /// Relative weight.
    pub cpu_share: u64,
    /// Period of real-time tasks, µs.
    pub cpu_rt_period: u64,
    /// Processor time of real-time tasks in a period, µs.
    pub cpu_rt_runtime: i64,
    /// Processors.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Bytes of memory.
    pub memory: i64,
    /// Soft limit.
    pub memory_reservation: i64,
    /// Bytes of memory and swap.
    pub memory_swap: i64,
    /// Processes and threads.
    pub pids_limit: i64,
}

impl Limits {
    /// As the specification has them.
    pub fn resources(&self) -> LinuxResources {
        let number = |value: i64| Some(value).filter(|value| *value != 0);
        let count = |value: u64| Some(value).filter(|value| *value != 0);
        let text = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
        let mut memory = LinuxMemory::default();
        memory.set_limit(number(self.memory));
        memory.set_reservation(number(self.memory_reservation));
        memory.set_swap(number(self.memory_swap));
        let mut cpu = LinuxCpu::default();
        cpu.set_shares(count(self.cpu_share));
        cpu.set_quota(number(self.cpu_quota));
        cpu.set_period(count(self.cpu_period));
        cpu.set_realtime_runtime(number(self.cpu_rt_runtime));
        cpu.set_realtime_period(count(self.cpu_rt_period));
        cpu.set_cpus(text(&self.cpuset_cpus));
        cpu.set_mems(text(&self.cpuset_mems));
        let mut resources = LinuxResources::default();
        resources.set_devices(None);
        resources.set_memory(Some(memory));
        resources.set_cpu(Some(cpu));
        if self.pids_limit != 0 {
            let mut pids = LinuxPids::default();
            pids.set_limit(self.pids_limit);
            resources.set_pids(Some(pids));
        }
        if self.blkio_weight != 0 {
            let mut io = LinuxBlockIo::default();
            io.set_weight(Some(self.blkio_weight));
            resources.set_block_io(Some(io));
        }
        resources
    }
}

/// The resources in the file at `path`; `-`: on standard input.
pub fn read(path: &Path) -> Result<LinuxResources, LifecycleError> {
    let failed = || LifecycleError::io("reading resources from", path.display().to_string());
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().take(MAX_RESOURCES).read_to_end(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_RESOURCES).read_to_end(&mut text))
    };
    read.map_err(failed())?;
    let resources = serde_json::from_slice(&text).map_err(|error| failed()(io::Error::other(error.to_string())))?;
    rsc_oci::exec::check_resources(&resources)?;
    Ok(resources)
}

/// Gives the container `id` these limits.
pub fn update(store: &Store, id: &str, resources: &LinuxResources) -> Result<(), LifecycleError> {
    let locked = store.entry(id)?.lock()?;
    let lives = [Status::Created, Status::Running, Status::Paused];
    let Some(record) = locked.load()?.filter(|record| lives.contains(&record.status())) else {
        return Err(LifecycleError::NotRunning);
    };
    if let Some(unit) = &record.unit {
        unit.limit(resources, record.leaves.iter().all(|leaf| leaf.unified))?;
    }
    Ok(Cgroups::existing(&record.leaves).limit(resources)?)
}

/// A size in bytes as people write it: `100`, `100m`, `1.5GiB`; a negative one means without limit.
pub fn parse_size(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: {text:?}");
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift).ok_or_else(invalid);
    }
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let bytes = number * (1i64 << shift) as f64;
    if bytes.is_finite() && (0.0..9e18).contains(&bytes) { Ok(bytes as i64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("-1", -1), ("100m", 100 << 20), ("1.5GiB", 3 << 29), ("2kb", 2048), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "1x", "m", "9999999999999p", "1.2.3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_there() {
        let resources = Limits { pids_limit: 7, ..Limits::default() }.resources();
        assert_eq!(resources.pids().as_ref().map(|pids| pids.limit()), Some(7));
        assert_eq!(resources.memory().as_ref().and_then(|memory| memory.limit()), None);
        assert_eq!(resources.block_io(), &None);
    }
}
