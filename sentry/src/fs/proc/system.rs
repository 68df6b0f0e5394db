//! Files of `/proc` that tell of the whole system (proc(5)). Each is made when it is opened.

use std::fmt::Write;

use crate::kernel::Kernel;
use crate::syscalls::info;

/// A file's path and what makes its text.
type Entry = (&'static str, fn(&Kernel) -> String);

/// The files right below `/proc`, and what makes them.
pub(super) const FILES: &[Entry] = &[
    ("cgroups", |_| "#subsys_name\thierarchy\tnum_cgroups\tenabled\n".into()),
    ("cmdline", |_| "\n".into()),
    ("cpuinfo", |k| k.facts.cpuinfo.clone()),
    ("devices", |_| "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n".into()),
    ("diskstats", |_| String::new()),
    ("filesystems", |_| FILESYSTEMS.into()),
    ("interrupts", |_| String::new()),
    ("loadavg", loadavg),
    ("meminfo", meminfo),
    ("modules", |_| String::new()),
    ("partitions", |_| "major minor  #blocks  name\n\n".into()),
    ("stat", stat),
    ("swaps", |_| "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into()),
    ("uptime", uptime),
    ("version", version),
];

const FILESYSTEMS: &str = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tdevpts\nnodev\tmqueue\nnodev\tpipefs\nnodev\tsockfs\n\text4\n";

/// Sysctls below `/proc/sys` that programs read to configure themselves: path, content.
pub(super) const SYSCTLS: &[Entry] = &[
    ("fs/file-max", |_| "9223372036854775807\n".into()),
    ("fs/file-nr", |_| "64\t0\t9223372036854775807\n".into()),
    ("fs/nr_open", |_| "1048576\n".into()),
    ("fs/pipe-max-size", |_| "1048576\n".into()),
    ("fs/inotify/max_user_watches", |_| "0\n".into()),
    ("kernel/cap_last_cap", |_| "40\n".into()),
    ("kernel/core_pattern", |_| "core\n".into()),
    ("kernel/domainname", |k| format!("{}\n", k.uts.borrow().domainname)),
    ("kernel/hostname", |k| format!("{}\n", k.uts.borrow().nodename)),
    ("kernel/msgmax", |_| "8192\n".into()),
    ("kernel/ngroups_max", |_| "65536\n".into()),
    ("kernel/osrelease", |k| format!("{}\n", release(k))),
    ("kernel/ostype", |_| "Linux\n".into()),
    ("kernel/overflowgid", |_| "65534\n".into()),
    ("kernel/overflowuid", |_| "65534\n".into()),
    ("kernel/pid_max", |_| "32768\n".into()),
    ("kernel/random/boot_id", |k| uuid(&k.id)),
    ("kernel/random/entropy_avail", |_| "256\n".into()),
    ("kernel/random/uuid", |_| uuid(&format!("{:?}", std::time::Instant::now()))),
    ("kernel/sem", |_| "32000\t1024000000\t500\t32000\n".into()),
    ("kernel/shmmax", |_| "18446744073692774399\n".into()),
    ("kernel/threads-max", |_| "32768\n".into()),
    ("kernel/version", |k| format!("{}\n", build(k))),
    ("net/core/somaxconn", |_| "4096\n".into()),
    ("net/ipv4/ip_local_port_range", |_| "32768\t60999\n".into()),
    ("net/ipv4/ip_unprivileged_port_start", |_| "1024\n".into()),
    ("net/ipv4/tcp_max_syn_backlog", |_| "512\n".into()),
    ("net/ipv6/conf/all/disable_ipv6", |_| "0\n".into()),
    ("vm/max_map_count", |_| "65530\n".into()),
    ("vm/mmap_min_addr", |_| "65536\n".into()),
    ("vm/overcommit_memory", |_| "1\n".into()),
    ("vm/swappiness", |_| "60\n".into()),
];

fn release(k: &Kernel) -> &str {
    if k.facts.kernel_release.is_empty() { info::RELEASE } else { &k.facts.kernel_release }
}

fn build(k: &Kernel) -> &str {
    if k.facts.kernel_version.is_empty() { info::VERSION } else { &k.facts.kernel_version }
}

fn version(k: &Kernel) -> String {
    format!("Linux version {} (rsc) {}\n", release(k), build(k))
}

fn uptime(k: &Kernel) -> String {
    let up = k.uptime().as_secs_f64();
    format!("{up:.2} {:.2}\n", up * f64::from(k.facts.cpus.max(1)))
}

fn loadavg(k: &Kernel) -> String {
    let last = k.tasks.ids().last().copied().unwrap_or(1);
    format!("0.00 0.00 0.00 1/{} {last}\n", k.tasks.len())
}

fn meminfo(k: &Kernel) -> String {
    let kib = k.facts.memory / 1024;
    let mut s = String::new();
    for (name, value) in [
        ("MemTotal", kib),
        ("MemFree", kib / 2),
        ("MemAvailable", kib / 2),
        ("Buffers", 0),
        ("Cached", kib / 4),
        ("SwapCached", 0),
        ("Active", kib / 4),
        ("Inactive", kib / 8),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", kib / 8),
        ("Mapped", kib / 16),
        ("Shmem", 0),
        ("HugePages_Total", 0),
    ] {
        let unit = if name.starts_with("HugePages") { "" } else { " kB" };
        let _ = writeln!(s, "{:<16}{value:>8}{unit}", format!("{name}:"));
    }
    s
}

fn stat(k: &Kernel) -> String {
    let cpus = k.facts.cpus.clamp(1, 4096);
    let idle = k.uptime().as_secs() * 100;
    let mut s = format!("cpu  0 0 0 {} 0 0 0 0 0 0\n", idle * u64::from(cpus));
    for i in 0..cpus {
        let _ = writeln!(s, "cpu{i} 0 0 0 {idle} 0 0 0 0 0 0");
    }
    let _ = writeln!(
        s,
        "intr 0\nctxt 0\nbtime {}\nprocesses {}\nprocs_running 1\nprocs_blocked 0",
        k.facts.boot_time_ns / 1_000_000_000,
        k.tasks.ids().last().copied().unwrap_or(1)
    );
    s
}

/// Something of a UUID's form that is stable for `seed`.
fn uuid(seed: &str) -> String {
    // FNV-1a, twice.
    let hash = |start: u64| seed.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let (a, b) = (hash(0xcbf2_9ce4_8422_2325), hash(0x8422_2325_cbf2_9ce4));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}\n",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 48) & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}
