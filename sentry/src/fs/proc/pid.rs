//! The directories `/proc/PID` and `/proc/PID/task/TID`.

use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, mode};

use super::{DIR, FILE, LINK};
use super::{mounts, process};
use crate::fs::pseudo::{Content, GenDir, GenFile, GenLink, Listing, Node, Opener, Target};
use crate::kernel::Kernel;
use crate::kernel::fd::Fd;
use crate::kernel::file::{DirEntry, Fut, ready};
use crate::kernel::task::Task;
use crate::vfs::inode::d_type;
use crate::vfs::{Asker, Inode, Magic};

/// Number of entry `index` of a task's directory.
pub(super) fn ino(tid: u32, index: u64) -> u64 {
    u64::from(tid) << 32 | index
}

/// A decimal number as Linux reads names of processes: no sign, no leading zero.
pub(super) fn parse(name: &[u8]) -> Option<u32> {
    if name.first().is_none_or(|c| !(b'1'..=b'9').contains(c))
        || name.len() > 10
        || !name.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// `self` or `thread-self`.
pub(super) struct SelfLink {
    pub(super) thread: bool,
}

impl Target for SelfLink {
    fn read<'a>(&'a self, asker: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        ready(asker.task.ok_or(Errno::ENOENT).map(|t| {
            let tgid = t.group().tgid;
            if self.thread { format!("{tgid}/task/{}", t.tid) } else { tgid.to_string() }.into_bytes()
        }))
    }
}

/// What the files of a task's directory hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Cgroup,
    Cmdline,
    Comm,
    Environ,
    GidMap,
    Io,
    Limits,
    Loginuid,
    Maps,
    Mountinfo,
    Mounts,
    OomScore,
    OomScoreAdj,
    Setgroups,
    Stat,
    Statm,
    Status,
    UidMap,
    Wchan,
}

impl Text {
    /// Whether it takes the right to trace the task, which nobody has over another container's: that has a user namespace of its own.
    /// proc(5): `PTRACE_MODE_READ_FSCREDS`.
    fn is_private(self) -> bool {
        matches!(self, Self::Environ | Self::Io | Self::Maps)
    }
}

const FILES: &[(&str, u32, Text)] = &[
    ("cgroup", 0o444, Text::Cgroup),
    ("cmdline", 0o444, Text::Cmdline),
    ("comm", 0o644, Text::Comm),
    ("environ", 0o400, Text::Environ),
    ("gid_map", 0o644, Text::GidMap),
    ("io", 0o400, Text::Io),
    ("limits", 0o444, Text::Limits),
    ("loginuid", 0o644, Text::Loginuid),
    ("maps", 0o444, Text::Maps),
    ("mountinfo", 0o444, Text::Mountinfo),
    ("mounts", 0o444, Text::Mounts),
    ("oom_score", 0o444, Text::OomScore),
    ("oom_score_adj", 0o644, Text::OomScoreAdj),
    ("setgroups", 0o644, Text::Setgroups),
    ("stat", 0o444, Text::Stat),
    ("statm", 0o444, Text::Statm),
    ("status", 0o444, Text::Status),
    ("uid_map", 0o644, Text::UidMap),
    ("wchan", 0o444, Text::Wchan),
];

struct TaskFile {
    tid: u32,
    text: Text,
}

impl TaskFile {
    fn task(&self, kernel: &Kernel) -> Result<Rc<Task>, Errno> {
        kernel.tasks.get(self.tid).ok_or(Errno::ESRCH)
    }
}

impl Content for TaskFile {
    fn read<'a>(&'a self, opener: &'a Opener) -> Fut<'a, Result<Vec<u8>, Errno>> {
        Box::pin(async move {
            let kernel = opener.kernel()?;
            let task = self.task(&kernel)?;
            let group = task.group();
            let own = opener.tid == Some(self.tid);
            if !task.is_of(&kernel) && self.text.is_private() {
                return Err(Errno::EACCES);
            }
            Ok(match self.text {
                Text::Cgroup => b"0::/\n".to_vec(),
                Text::Cmdline => group.cmdline.borrow().clone(),
                Text::Comm => process::comm(&task).await?.into_bytes(),
                Text::Environ => group.environ.borrow().clone(),
                Text::GidMap | Text::UidMap => b"         0          0 4294967295\n".to_vec(),
                Text::Io => process::io().into_bytes(),
                Text::Limits => process::limits(&group).into_bytes(),
                Text::Loginuid => b"4294967295".to_vec(),
                Text::Maps => process::maps(&kernel, &task).await?.into_bytes(),
                Text::Mountinfo => {
                    let root = task.fs.borrow().root();
                    mounts::mountinfo(&*process::home(&task)?, &root)
                }
                Text::Mounts => {
                    let root = task.fs.borrow().root();
                    mounts::mounts(&*process::home(&task)?, &root)
                }
                Text::OomScore => b"0\n".to_vec(),
                Text::OomScoreAdj => format!("{}\n", group.oom_score_adj.get()).into_bytes(),
                Text::Setgroups => b"allow\n".to_vec(),
                Text::Stat => process::stat(&task, own).await?.into_bytes(),
                Text::Statm => process::statm(&task).await?.into_bytes(),
                Text::Status => process::status(&task, own).await?.into_bytes(),
                Text::Wchan => b"0".to_vec(),
            })
        })
    }

    fn write<'a>(&'a self, opener: &'a Opener, _: u64, data: Bytes) -> Fut<'a, Result<usize, Errno>> {
        let set = || {
            let kernel = opener.kernel()?;
            let task = self.task(&kernel)?;
            if self.text != Text::OomScoreAdj {
                return Err(Errno::EPERM);
            }
            if !task.is_of(&kernel) {
                return Err(Errno::EACCES);
            }
            let value: i32 =
                std::str::from_utf8(&data).ok().and_then(|s| s.trim().parse().ok()).ok_or(Errno::EINVAL)?;
            if !(-1000..=1000).contains(&value) {
                return Err(Errno::EINVAL);
            }
            let group = task.group();
            // Less likely to be killed than before: not for a container to say. Linux: CAP_SYS_RESOURCE.
            if value < group.oom_score_adj.get() {
                return Err(Errno::EACCES);
            }
            group.oom_score_adj.set(value);
            Ok(data.len())
        };
        ready(set())
    }
}

/// The links of a task's directory.
#[derive(Clone, Copy)]
enum Which {
    Cwd,
    Exe,
    Root,
    Fd(Fd),
    /// By its place in [`NAMESPACES`].
    Namespace(usize),
}

/// The links of `ns`.
const NAMESPACES: [&str; 10] =
    ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"];

struct TaskLink {
    tid: u32,
    which: Which,
}

impl TaskLink {
    fn place(&self, asker: Asker<'_>) -> Result<(Rc<Kernel>, Rc<Task>, Magic), Errno> {
        let kernel = asker.kernel.ok_or(Errno::ENOENT)?.clone();
        let task = kernel.tasks.get(self.tid).ok_or(Errno::ENOENT)?;
        if !task.is_of(&kernel) {
            return Err(Errno::EACCES);
        }
        let fs = task.fs.borrow().clone();
        let magic = match self.which {
            Which::Cwd => Magic::Location(fs.cwd()),
            Which::Root => Magic::Location(fs.root()),
            Which::Exe => Magic::Location(task.group().exe.borrow().clone().ok_or(Errno::ENOENT)?),
            // The namespaces are the compute host's: there is nothing here to be opened.
            Which::Namespace(_) => return Err(Errno::EACCES),
            Which::Fd(fd) => Magic::File(task.fds.borrow().get_path(fd).map_err(|_| Errno::ENOENT)?),
        };
        Ok((kernel, task, magic))
    }
}

impl Target for TaskLink {
    fn read<'a>(&'a self, asker: Asker<'a>) -> Fut<'a, Result<Vec<u8>, Errno>> {
        if let Which::Namespace(index) = self.which {
            return Box::pin(async move {
                let kernel = asker.kernel.ok_or(Errno::ENOENT)?;
                let name = NAMESPACES.get(index).ok_or(Errno::ENOENT)?;
                Ok(kernel.host.proc_info(self.tid, &format!("ns/{name}")).await?.to_vec())
            });
        }
        let text = || {
            let (kernel, _, magic) = self.place(asker)?;
            let root = match asker.task {
                Some(t) => t.fs.borrow().root(),
                None => kernel.vfs.root(),
            };
            Ok(match magic {
                Magic::Location(at) => kernel.vfs.display_path(&at, &root),
                Magic::File(file) => match file.location() {
                    Some(at) => kernel.vfs.display_path(at, &root),
                    None => file.ops().describe().into_bytes(),
                },
            })
        };
        ready(text())
    }

    fn follow<'a>(&'a self, asker: Asker<'a>) -> Option<Fut<'a, Result<Magic, Errno>>> {
        Some(ready(self.place(asker).map(|(_, _, magic)| magic)))
    }
}

/// `fd` and `fdinfo`.
struct Fds {
    dev: u64,
    tid: u32,
    info: bool,
}

struct FdInfo {
    tid: u32,
    fd: Fd,
}

impl Content for FdInfo {
    fn read<'a>(&'a self, opener: &'a Opener) -> Fut<'a, Result<Vec<u8>, Errno>> {
        let text = || {
            let task = opener.kernel()?.own_task(self.tid).ok_or(Errno::ENOENT)?;
            process::fdinfo(&task, self.fd).map(String::into_bytes)
        };
        ready(text())
    }
}

impl Listing for Fds {
    fn lookup(&self, name: &[u8], asker: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        let number = if name == b"0" { Some(0) } else { parse(name) };
        let fd = Fd(number.and_then(|n| i32::try_from(n).ok()).ok_or(Errno::ENOENT)?);
        let kernel = asker.kernel.ok_or(Errno::ENOENT)?;
        let task = kernel.tasks.get(self.tid).ok_or(Errno::ENOENT)?;
        if !task.is_of(kernel) {
            return Err(Errno::EACCES);
        }
        let file = task.fds.borrow().get_path(fd).map_err(|_| Errno::ENOENT)?;
        let number = ino(self.tid, (1 << 20) + (fd.0 as u64) * 2 + u64::from(self.info));
        if self.info {
            return Ok(GenFile::new(Node::new(self.dev, number, FILE), FdInfo { tid: self.tid, fd }));
        }
        let perm = if file.readable() { 0o500 } else { 0 } | if file.writable() { 0o300 } else { 0 };
        let node = Node::new(self.dev, number, mode::S_IFLNK | perm);
        Ok(GenLink::new(node, TaskLink { tid: self.tid, which: Which::Fd(fd) }))
    }

    fn list(&self, opener: &Opener, from: u64) -> Vec<DirEntry> {
        let Some(task) = opener.kernel().ok().and_then(|k| k.own_task(self.tid)) else { return Vec::new() };
        let fds = task.fds.borrow().list();
        let kind = d_type(if self.info { FILE } else { LINK });
        fds.into_iter()
            .map(|(fd, _)| DirEntry {
                ino: ino(self.tid, (1 << 20) + (fd.0 as u64) * 2 + u64::from(self.info)),
                next: fd.0 as u64 + 3,
                kind,
                name: fd.0.to_string().into_bytes(),
            })
            .filter(|e| e.next > from)
            .collect()
    }
}

/// `task`: the threads.
struct Threads {
    dev: u64,
    tgid: u32,
}

impl Listing for Threads {
    fn lookup(&self, name: &[u8], asker: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        let tid = parse(name).ok_or(Errno::ENOENT)?;
        let task = asker.kernel.and_then(|k| k.tasks.get(tid)).ok_or(Errno::ENOENT)?;
        if task.group().tgid != self.tgid {
            return Err(Errno::ENOENT);
        }
        Ok(directory(self.dev, &task, true))
    }

    fn list(&self, opener: &Opener, from: u64) -> Vec<DirEntry> {
        let Some(group) = opener.kernel().ok().and_then(|k| k.tasks.group(self.tgid)) else { return Vec::new() };
        let tids: Vec<u32> = group.threads.borrow().keys().copied().collect();
        tids.into_iter()
            .map(|tid| DirEntry {
                ino: ino(tid, 0),
                next: u64::from(tid) + 3,
                kind: d_type(DIR),
                name: tid.to_string().into_bytes(),
            })
            .filter(|e| e.next > from)
            .collect()
    }
}

/// `net`: tables of sockets, as far as anybody reads them.
const NET_FILES: &[(&str, &str)] = &[
    (
        "dev",
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
    ),
    ("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
    ("route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"),
    ("tcp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"),
    (
        "tcp6",
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
    ),
    (
        "udp",
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    ("unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"),
];

struct Entries {
    dev: u64,
    tid: u32,
    /// Below `task`, where there is no further `task`.
    thread: bool,
}

impl Entries {
    fn names(&self) -> Vec<(&'static str, u32)> {
        let mut all: Vec<(&str, u32)> = FILES.iter().map(|(n, m, _)| (*n, mode::S_IFREG | m)).collect();
        all.extend([
            ("cwd", LINK),
            ("exe", LINK),
            ("root", LINK),
            ("fd", DIR),
            ("fdinfo", DIR),
            ("net", DIR),
            ("ns", DIR),
        ]);
        if !self.thread {
            all.push(("task", DIR));
        }
        all
    }
}

impl Listing for Entries {
    fn lookup(&self, name: &[u8], asker: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        let task = asker.kernel.and_then(|k| k.tasks.get(self.tid)).ok_or(Errno::ENOENT)?;
        let names = self.names();
        let (i, (name, mode)) =
            names.iter().enumerate().find(|(_, (n, _))| n.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let creds = task.creds();
        let node = Node::new(self.dev, ino(self.tid, i as u64 + 1), *mode).owned(creds.euid, creds.egid);
        let (dev, tid) = (self.dev, self.tid);
        Ok(match *name {
            "cwd" => GenLink::new(node, TaskLink { tid, which: Which::Cwd }),
            "exe" => GenLink::new(node, TaskLink { tid, which: Which::Exe }),
            "root" => GenLink::new(node, TaskLink { tid, which: Which::Root }),
            "fd" => GenDir::new(node, Fds { dev, tid, info: false }),
            "fdinfo" => GenDir::new(node, Fds { dev, tid, info: true }),
            "task" => GenDir::new(node, Threads { dev, tgid: tid }),
            "ns" => {
                let dir = super::Dir::new(node);
                for (index, name) in NAMESPACES.iter().enumerate() {
                    let node = Node::new(dev, ino(tid, 200 + index as u64), LINK).owned(creds.euid, creds.egid);
                    dir.add(name, GenLink::new(node, TaskLink { tid, which: Which::Namespace(index) }));
                }
                return Ok(dir.inode());
            }
            "net" => {
                let dir = super::Dir::new(node);
                for (i, (name, text)) in NET_FILES.iter().enumerate() {
                    let text = *text;
                    let file = GenFile::new(Node::new(dev, 100 + i as u64, FILE), move |_: &Opener| Ok(text.into()));
                    dir.add(name, file);
                }
                return Ok(dir.inode());
            }
            _ => {
                let (_, _, text) = FILES.get(i).ok_or(Errno::ENOENT)?;
                GenFile::new(node, TaskFile { tid, text: *text })
            }
        })
    }

    fn list(&self, _: &Opener, from: u64) -> Vec<DirEntry> {
        let names = self.names();
        let entry = |(i, (name, mode)): (usize, &(&str, u32))| DirEntry {
            ino: ino(self.tid, i as u64 + 1),
            next: i as u64 + 3,
            kind: d_type(*mode),
            name: name.as_bytes().to_vec(),
        };
        names.iter().enumerate().map(entry).filter(|e| e.next > from).collect()
    }
}

/// The directory of a task; `thread`: below `task`.
pub(super) fn directory(dev: u64, task: &Rc<Task>, thread: bool) -> Rc<dyn Inode> {
    let creds = task.creds();
    let node = Node::new(dev, ino(task.tid, 0), DIR).owned(creds.euid, creds.egid);
    GenDir::new(node, Entries { dev, tid: task.tid, thread })
}
