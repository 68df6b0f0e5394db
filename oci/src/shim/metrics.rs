//! What a container uses, as containerd's `Metrics` of cgroup version 1 or 2. Made from the one reader of cgroups that there is.

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::{MessageDyn, MessageField, well_known_types::any::Any};
use serde_json::Value;

use crate::cgroups::{Leaf, stats};

/// One number of a tree of JSON; what is not there is 0.
fn number(data: &Value, path: &str) -> u64 {
    data.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn list<'a>(data: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    data.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn numbers(data: &Value, path: &str) -> Vec<u64> {
    list(data, path).filter_map(Value::as_u64).collect()
}

fn text(data: &Value, path: &str) -> String {
    data.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Use and limits of the container with these cgroups.
pub(super) fn metrics(leaves: &[Leaf]) -> Any {
    let data = stats(leaves);
    // A machine with both has version 2 for next to nothing.
    let unified = !leaves.is_empty() && leaves.iter().all(|leaf| leaf.unified);
    if unified { any(&version_2(&data)) } else { any(&version_1(&data)) }
}

fn any(message: &dyn MessageDyn) -> Any {
    let type_url = message.descriptor_dyn().full_name().to_owned();
    Any { type_url, value: message.write_to_bytes_dyn().unwrap_or_default(), ..Any::default() }
}

fn version_1(data: &Value) -> v1::Metrics {
    let mut metrics = v1::Metrics {
        pids: MessageField::some(v1::PidsStat {
            current: number(data, "/pids/current"),
            limit: number(data, "/pids/limit"),
            ..Default::default()
        }),
        cpu: MessageField::some(v1::CPUStat {
            usage: MessageField::some(v1::CPUUsage {
                total: number(data, "/cpu/usage/total"),
                kernel: number(data, "/cpu/usage/kernel"),
                user: number(data, "/cpu/usage/user"),
                per_cpu: numbers(data, "/cpu/usage/percpu"),
                ..Default::default()
            }),
            throttling: MessageField::some(v1::Throttle {
                periods: number(data, "/cpu/throttling/periods"),
                throttled_periods: number(data, "/cpu/throttling/throttledPeriods"),
                throttled_time: number(data, "/cpu/throttling/throttledTime"),
                ..Default::default()
            }),
            ..Default::default()
        }),
        memory: MessageField::some(memory_1(data)),
        blkio: MessageField::some(v1::BlkIOStat {
            io_service_bytes_recursive: block(data, "/blkio/ioServiceBytesRecursive"),
            io_serviced_recursive: block(data, "/blkio/ioServicedRecursive"),
            ..Default::default()
        }),
        ..Default::default()
    };
    for (pagesize, of_size) in data.get("hugetlb").and_then(Value::as_object).into_iter().flatten() {
        metrics.hugetlb.push(v1::HugetlbStat {
            usage: number(of_size, "/usage"),
            max: number(of_size, "/max"),
            failcnt: number(of_size, "/failcnt"),
            pagesize: pagesize.clone(),
            ..Default::default()
        });
    }
    metrics
}

fn block(data: &Value, path: &str) -> Vec<v1::BlkIOEntry> {
    let entry = |entry: &Value| v1::BlkIOEntry {
        op: text(entry, "/op"),
        major: number(entry, "/major"),
        minor: number(entry, "/minor"),
        value: number(entry, "/value"),
        ..Default::default()
    };
    list(data, path).map(entry).collect()
}

fn memory_1(data: &Value) -> v1::MemoryStat {
    let raw = |name: &str| data.pointer("/memory/raw").and_then(|raw| raw.get(name)?.as_u64()).unwrap_or(0);
    let entry = |name: &str| {
        let of = |what: &str| number(data, &format!("/memory/{name}/{what}"));
        MessageField::some(v1::MemoryEntry {
            limit: of("limit"),
            usage: of("usage"),
            max: of("max"),
            failcnt: of("failcnt"),
            ..Default::default()
        })
    };
    v1::MemoryStat {
        cache: raw("cache"),
        rss: raw("rss"),
        rss_huge: raw("rss_huge"),
        mapped_file: raw("mapped_file"),
        dirty: raw("dirty"),
        writeback: raw("writeback"),
        pg_pg_in: raw("pgpgin"),
        pg_pg_out: raw("pgpgout"),
        pg_fault: raw("pgfault"),
        pg_maj_fault: raw("pgmajfault"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        hierarchical_memory_limit: raw("hierarchical_memory_limit"),
        hierarchical_swap_limit: raw("hierarchical_memsw_limit"),
        total_cache: raw("total_cache"),
        total_rss: raw("total_rss"),
        total_rss_huge: raw("total_rss_huge"),
        total_mapped_file: raw("total_mapped_file"),
        total_dirty: raw("total_dirty"),
        total_writeback: raw("total_writeback"),
        total_pg_pg_in: raw("total_pgpgin"),
        total_pg_pg_out: raw("total_pgpgout"),
        total_pg_fault: raw("total_pgfault"),
        total_pg_maj_fault: raw("total_pgmajfault"),
        total_inactive_anon: raw("total_inactive_anon"),
        total_active_anon: raw("total_active_anon"),
        total_inactive_file: raw("total_inactive_file"),
        total_active_file: raw("total_active_file"),
        total_unevictable: raw("total_unevictable"),
        usage: entry("usage"),
        swap: entry("swap"),
        kernel: entry("kernel"),
        kernel_tcp: entry("kernelTCP"),
        ..Default::default()
    }
}

fn version_2(data: &Value) -> v2::Metrics {
    let mut metrics = v2::Metrics {
        pids: MessageField::some(v2::PidsStat {
            current: number(data, "/pids/current"),
            limit: number(data, "/pids/limit"),
            ..Default::default()
        }),
        cpu: MessageField::some(v2::CPUStat {
            usage_usec: number(data, "/cpu/usage/total") / 1000,
            user_usec: number(data, "/cpu/usage/user") / 1000,
            system_usec: number(data, "/cpu/usage/kernel") / 1000,
            nr_periods: number(data, "/cpu/throttling/periods"),
            nr_throttled: number(data, "/cpu/throttling/throttledPeriods"),
            throttled_usec: number(data, "/cpu/throttling/throttledTime") / 1000,
            ..Default::default()
        }),
        memory: MessageField::some(memory_2(data)),
        io: MessageField::some(v2::IOStat { usage: block_2(data), ..Default::default() }),
        ..Default::default()
    };
    for (pagesize, of_size) in data.get("hugetlb").and_then(Value::as_object).into_iter().flatten() {
        metrics.hugetlb.push(v2::HugeTlbStat {
            current: number(of_size, "/usage"),
            max: number(of_size, "/max"),
            failcnt: number(of_size, "/failcnt"),
            pagesize: pagesize.clone(),
            ..Default::default()
        });
    }
    metrics
}

fn memory_2(data: &Value) -> v2::MemoryStat {
    let raw = |name: &str| data.pointer("/memory/raw").and_then(|raw| raw.get(name)?.as_u64()).unwrap_or(0);
    let (usage, limit) = (number(data, "/memory/usage/usage"), number(data, "/memory/usage/limit"));
    let swap_limit = number(data, "/memory/swap/limit");
    v2::MemoryStat {
        anon: raw("anon"),
        file: raw("file"),
        kernel_stack: raw("kernel_stack"),
        slab: raw("slab"),
        sock: raw("sock"),
        shmem: raw("shmem"),
        file_mapped: raw("file_mapped"),
        file_dirty: raw("file_dirty"),
        file_writeback: raw("file_writeback"),
        anon_thp: raw("anon_thp"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        slab_reclaimable: raw("slab_reclaimable"),
        slab_unreclaimable: raw("slab_unreclaimable"),
        pgfault: raw("pgfault"),
        pgmajfault: raw("pgmajfault"),
        workingset_refault: raw("workingset_refault_file").saturating_add(raw("workingset_refault_anon")),
        workingset_activate: raw("workingset_activate_file").saturating_add(raw("workingset_activate_anon")),
        workingset_nodereclaim: raw("workingset_nodereclaim"),
        pgrefill: raw("pgrefill"),
        pgscan: raw("pgscan"),
        pgsteal: raw("pgsteal"),
        pgactivate: raw("pgactivate"),
        pgdeactivate: raw("pgdeactivate"),
        pglazyfree: raw("pglazyfree"),
        pglazyfreed: raw("pglazyfreed"),
        thp_fault_alloc: raw("thp_fault_alloc"),
        thp_collapse_alloc: raw("thp_collapse_alloc"),
        usage,
        usage_limit: limit,
        max_usage: number(data, "/memory/usage/max"),
        // There they are sums with memory.
        swap_usage: number(data, "/memory/swap/usage").saturating_sub(usage),
        swap_limit: if swap_limit == u64::MAX { u64::MAX } else { swap_limit.saturating_sub(limit) },
        ..Default::default()
    }
}

fn block_2(data: &Value) -> Vec<v2::IOEntry> {
    let mut entries: Vec<v2::IOEntry> = Vec::new();
    let mut add = |item: &Value, bytes: bool| {
        let (major, minor, value) = (number(item, "/major"), number(item, "/minor"), number(item, "/value"));
        let known = entries.iter().position(|entry| entry.major == major && entry.minor == minor);
        let index = known.unwrap_or_else(|| {
            entries.push(v2::IOEntry { major, minor, ..Default::default() });
            entries.len() - 1
        });
        let Some(entry) = entries.get_mut(index) else { return };
        match (bytes, text(item, "/op").as_str()) {
            (true, "Read") => entry.rbytes = value,
            (true, "Write") => entry.wbytes = value,
            (false, "Read") => entry.rios = value,
            (false, "Write") => entry.wios = value,
            _ => {}
        }
    };
    list(data, "/blkio/ioServiceBytesRecursive").for_each(|item| add(item, true));
    list(data, "/blkio/ioServicedRecursive").for_each(|item| add(item, false));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_both_versions() {
        let data = json!({"pids": {"current": 3}, "cpu": {"usage": {"total": 7000, "percpu": [4, 5]}},
            "memory": {"usage": {"usage": 9, "limit": 20}, "swap": {"usage": 11, "limit": 50}, "raw": {"rss": 1, "anon": 2}},
            "blkio": {"ioServiceBytesRecursive": [{"major": 8, "minor": 0, "op": "Read", "value": 5}],
                "ioServicedRecursive": [{"major": 8, "minor": 0, "op": "Write", "value": 6}]},
            "hugetlb": {"2MB": {"usage": 4}}});
        let first = version_1(&data);
        assert_eq!((first.cpu.usage.total, first.cpu.usage.per_cpu.as_slice()), (7000, &[4, 5][..]));
        assert_eq!((first.memory.rss, first.memory.usage.usage, first.pids.current), (1, 9, 3));
        assert_eq!((first.hugetlb[0].pagesize.as_str(), first.blkio.io_serviced_recursive[0].value), ("2MB", 6));
        let second = version_2(&data);
        assert_eq!((second.cpu.usage_usec, second.memory.anon), (7, 2));
        assert_eq!((second.memory.swap_usage, second.memory.swap_limit), (2, 30));
        assert_eq!((second.io.usage.len(), second.io.usage[0].rbytes, second.io.usage[0].wios), (1, 5, 6));
    }

    #[test]
    fn named_as_containerd_does() {
        assert_eq!(metrics(&[]).type_url, "io.containerd.cgroups.v1.Metrics");
        let leaf = Leaf { path: "/nonexistent".into(), controllers: Vec::new(), unified: true };
        assert_eq!(metrics(&[leaf]).type_url, "io.containerd.cgroups.v2.Metrics");
    }
}
