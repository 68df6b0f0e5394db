//! proc(5): what tasks and the system tell of themselves. Files are made when they are opened; nothing is kept.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, mode};

use super::pseudo::{Content, Dir, GenDir, GenFile, GenLink, Listing, Node, Opener, PseudoFs, Target};
use crate::kernel::Kernel;
use crate::kernel::file::{DirEntry, Fut, ready};
use crate::vfs::inode::d_type;
use crate::vfs::{Asker, FileSystem, Inode};

mod mounts;
mod pid;
mod process;
mod stranger;
mod system;

/// f_type of proc. statfs(2).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const FILE: u32 = mode::S_IFREG | 0o444;
const DIR: u32 = mode::S_IFDIR | 0o555;
const LINK: u32 = mode::S_IFLNK | 0o777;
/// Numbers below are those of files of the whole system.
const FIRST_PID_INO: u64 = 1 << 20;

/// A file made by a function of the kernel.
struct Made(fn(&Kernel) -> String);

impl Content for Made {
    fn read<'a>(&'a self, opener: &'a Opener) -> Fut<'a, Result<Vec<u8>, Errno>> {
        ready(opener.kernel().map(|k| (self.0)(&k).into_bytes()))
    }

    fn write<'a>(&'a self, _: &'a Opener, _: u64, _: Bytes) -> Fut<'a, Result<usize, Errno>> {
        ready(Err(Errno::EACCES))
    }
}

/// The root's entries: fixed ones, `self`, and a directory for each thread group.
struct Root {
    dev: u64,
    fixed: Dir,
}

impl Root {
    fn pid_dir(&self, name: &[u8], asker: Asker<'_>) -> Option<Rc<dyn Inode>> {
        let tid = pid::parse(name)?;
        let task = asker.kernel?.tasks.get(tid)?;
        Some(pid::directory(self.dev, &task, false))
    }
}

impl Listing for Root {
    fn lookup(&self, name: &[u8], asker: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        match self.fixed.inode().lookup(name, asker) {
            Err(Errno::ENOENT) => self.pid_dir(name, asker).ok_or(Errno::ENOENT),
            r => r,
        }
    }

    fn list(&self, opener: &Opener, from: u64) -> Vec<DirEntry> {
        let mut entries = self.fixed.list(opener, from);
        let Ok(kernel) = opener.kernel() else { return entries };
        for group in kernel.tasks.groups() {
            let next = FIRST_PID_INO + u64::from(group.tgid);
            if next > from {
                entries.push(DirEntry {
                    ino: pid::ino(group.tgid, 0),
                    next,
                    kind: d_type(DIR),
                    name: group.tgid.to_string().into_bytes(),
                });
            }
        }
        entries
    }

    fn lookup_more<'a>(&'a self, name: &'a [u8], asker: Asker<'a>) -> Fut<'a, Result<Rc<dyn Inode>, Errno>> {
        let kernel = asker.kernel.filter(|kernel| kernel.host_pids).cloned();
        match kernel.zip(pid::parse(name)) {
            Some((kernel, tid)) => Box::pin(stranger::directory(self.dev, kernel, tid)),
            None => ready(Err(Errno::ENOENT)),
        }
    }

    fn list_more<'a>(&'a self, opener: &'a Opener, from: u64) -> Fut<'a, Vec<DirEntry>> {
        match opener.kernel() {
            Ok(kernel) if kernel.host_pids => Box::pin(stranger::list(kernel, from)),
            _ => ready(Vec::new()),
        }
    }
}

/// Makes the fixed part of the tree: files at paths, their directories as they are needed.
struct Maker {
    dev: u64,
    ino: u64,
    dirs: Vec<(String, Dir)>,
}

impl Maker {
    fn node(&mut self, mode: u32) -> Node {
        self.ino += 1;
        Node::new(self.dev, self.ino, mode)
    }

    fn put(&mut self, path: &str, inode: Rc<dyn Inode>) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !self.dirs.iter().any(|(p, _)| p == parent) {
            let dir = Dir::new(self.node(DIR));
            let inode = dir.inode();
            self.dirs.push((parent.to_owned(), dir));
            self.put(parent, inode);
        }
        if let Some((_, dir)) = self.dirs.iter().find(|(p, _)| p == parent) {
            dir.add(name, inode);
        }
    }

    fn file(&mut self, path: &str, make: fn(&Kernel) -> String) {
        let inode = GenFile::new(self.node(FILE), Made(make));
        self.put(path, inode);
    }

    fn link(&mut self, path: &str, target: impl Target) {
        let inode = GenLink::new(self.node(LINK), target);
        self.put(path, inode);
    }
}

/// The path below `/proc/sys` of a sysctl. Its first separator says what it separates with: dots in names of interfaces are slashes
/// in the dotted form. sysctl(8).
fn sysctl_path(name: &str) -> String {
    match name.find(['.', '/']).and_then(|at| name.as_bytes().get(at)) {
        Some(b'.') => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// A new proc for a sandbox, with device number `dev`. `sysctls` are the description's: name, value.
pub fn mount(dev: u64, sysctls: &HashMap<String, String>) -> Rc<dyn FileSystem> {
    let mut m = Maker { dev, ino: 1, dirs: vec![(String::new(), Dir::new(Node::new(dev, 1, DIR)))] };
    for (name, make) in system::FILES {
        m.file(name, *make);
    }
    let given: HashMap<_, _> = sysctls.iter().map(|(name, value)| (sysctl_path(name), value)).collect();
    for (path, value) in &given {
        let text = format!("{value}\n").into_bytes();
        let file = GenFile::new(m.node(FILE), move |_: &Opener| Ok(text.clone()));
        m.put(&format!("sys/{path}"), file);
    }
    for (name, make) in system::SYSCTLS.iter().filter(|(name, _)| !given.contains_key(*name)) {
        m.file(&format!("sys/{name}"), *make);
    }
    m.link("mounts", "self/mounts");
    m.link("net", "self/net");
    m.link("self", pid::SelfLink { thread: false });
    m.link("thread-self", pid::SelfLink { thread: true });
    let fixed = m.dirs.swap_remove(0).1;
    let root = GenDir::new(Node::new(dev, 1, DIR), Root { dev, fixed });
    PseudoFs::new("proc", PROC_SUPER_MAGIC, root)
}
