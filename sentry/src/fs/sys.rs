//! The parts of sysfs(5) that programs read to learn of processors and of memory. Nothing in it can be changed.

use std::rc::Rc;

use rsc_proto::abi::mode;

use super::pseudo::{Dir, GenFile, Node, Opener, PseudoFs};
use crate::vfs::{FileSystem, Inode};

/// f_type of sysfs. statfs(2).
const SYSFS_MAGIC: i64 = 0x6265_6572;

struct Maker {
    dev: u64,
    next: u64,
}

impl Maker {
    fn dir(&mut self) -> Dir {
        self.next += 1;
        Dir::new(Node::new(self.dev, self.next, mode::S_IFDIR | 0o555))
    }

    /// A directory with these entries.
    fn with(&mut self, entries: Vec<(&str, Rc<dyn Inode>)>) -> Rc<dyn Inode> {
        let dir = self.dir();
        for (name, inode) in entries {
            dir.add(name, inode);
        }
        dir.inode()
    }

    fn file(&mut self, text: String) -> Rc<dyn Inode> {
        self.next += 1;
        let node = Node::new(self.dev, self.next, mode::S_IFREG | 0o444);
        GenFile::new(node, move |_: &Opener| Ok(text.clone().into_bytes()))
    }
}

/// A new sysfs that shows `cpus` processors.
pub fn mount(dev: u64, cpus: u32) -> Rc<dyn FileSystem> {
    let mut m = Maker { dev, next: 0 };
    let cpus = cpus.clamp(1, 1024);
    let range = if cpus == 1 { "0\n".to_owned() } else { format!("0-{}\n", cpus - 1) };
    let cpu = m.dir();
    for name in ["online", "possible", "present"] {
        cpu.add(name, m.file(range.clone()));
    }
    cpu.add("kernel_max", m.file("8191\n".into()));
    for i in 0..cpus {
        let topology = vec![("core_id", m.file(format!("{i}\n"))), ("physical_package_id", m.file("0\n".into()))];
        let topology = m.with(topology);
        cpu.add(&format!("cpu{i}"), m.with(vec![("topology", topology)]));
    }
    let node0 = vec![("cpulist", m.file(range.clone()))];
    let node0 = m.with(node0);
    let nodes = vec![("online", m.file("0\n".into())), ("possible", m.file("0\n".into())), ("node0", node0)];
    let node = m.with(nodes);
    let system = m.with(vec![("cpu", cpu.inode()), ("node", node)]);
    let devices = m.with(vec![("system", system)]);
    let thp =
        vec![("enabled", m.file("always [madvise] never\n".into())), ("hpage_pmd_size", m.file("2097152\n".into()))];
    let thp = m.with(thp);
    let mm = m.with(vec![("transparent_hugepage", thp)]);
    let kernel = m.with(vec![("mm", mm)]);
    let cgroup = m.with(Vec::new());
    let fs = m.with(vec![("cgroup", cgroup)]);
    let mut top = vec![("devices", devices), ("fs", fs), ("kernel", kernel)];
    for name in ["block", "bus", "class", "dev", "firmware", "hypervisor", "module", "power"] {
        top.push((name, m.with(Vec::new())));
    }
    top.sort_by_key(|(n, _)| *n);
    let root = m.with(top);
    PseudoFs::new("sysfs", SYSFS_MAGIC, root)
}
