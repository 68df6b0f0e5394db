//! devpts: the directory of pseudo-terminals, one instance a mount. Linux: fs/devpts/inode.c.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use rsc_proto::abi::{Errno, makedev, mode};

use super::pty::open_master;
use super::{NODE_MODE, Terminal};
use crate::fs::pseudo::{Node, PseudoFs, dots};
use crate::kernel::file::{DirEntry, File, FileOps, Fut, ready};
use crate::vfs::inode::{Attr, OpenContext, SetAttr, d_type};
use crate::vfs::{Asker, FileSystem, Inode};

const MAGIC: i64 = 0x1cd1;
/// Number of `ptmx`.
const PTMX: u64 = makedev(5, 2);
/// Inode numbers: the root's is 1.
const FIRST_INO: u64 = 3;
/// Terminals of one instance. Linux: `NR_UNIX98_PTY_MAX` is 2^20; a sandbox needs fewer.
const MAX: u32 = 4096;

/// What the mount's options say of new nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Group; none: the opener's.
    pub gid: Option<u32>,
    /// Permissions.
    pub mode: u32,
    /// Permissions of `ptmx`.
    pub ptmx_mode: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { gid: None, mode: 0o600, ptmx_mode: 0 }
    }
}

fn permissions(text: &str, before: u32) -> u32 {
    u32::from_str_radix(text, 8).map_or(before, |mode| mode & 0o777)
}

impl Options {
    /// From `gid=` and `mode=`; other options mean nothing here, and wrong ones were refused before.
    pub fn parse<'a>(options: impl Iterator<Item = &'a str>) -> Self {
        let mut parsed = Self::default();
        for (name, value) in options.filter_map(|option| option.split_once('=')) {
            match name {
                "gid" => parsed.gid = value.parse().ok(),
                "mode" => parsed.mode = permissions(value, parsed.mode),
                "ptmxmode" => parsed.ptmx_mode = permissions(value, parsed.ptmx_mode),
                _ => {}
            }
        }
        parsed
    }
}

/// The root directory of an instance, which is all of it.
pub struct DevPts {
    node: Node,
    ptmx: Rc<Ptmx>,
    options: Options,
    terminals: RefCell<BTreeMap<u32, Rc<Slave>>>,
    this: Weak<Self>,
}

/// Makes an instance.
pub fn mount(dev: u64, options: Options) -> Rc<dyn FileSystem> {
    let root = Rc::new_cyclic(|this| DevPts {
        node: Node::new(dev, 1, mode::S_IFDIR | 0o755),
        ptmx: Rc::new(Ptmx {
            node: Node::new(dev, 2, mode::S_IFCHR | options.ptmx_mode).device(PTMX),
            devpts: this.clone(),
        }),
        options,
        terminals: RefCell::default(),
        this: this.clone(),
    });
    PseudoFs::new("devpts", MAGIC, root)
}

impl DevPts {
    /// The instance that is mounted at this inode.
    pub fn of(inode: &dyn Inode) -> Option<Rc<Self>> {
        inode.as_any().downcast_ref::<Self>()?.this.upgrade()
    }

    /// Enters a terminal under the lowest free number, owned by `uid` (and `gid`, if the mount has no group for all).
    pub fn add(&self, uid: u32, gid: u32, make: impl FnOnce(u32, Node) -> Rc<Terminal>) -> Result<Rc<Terminal>, Errno> {
        self.forget_dead();
        let taken = self.terminals.borrow().keys().copied().collect::<Vec<_>>();
        let number = (0..MAX).find(|number| !taken.contains(number)).ok_or(Errno::ENOSPC)?;
        let mode = NODE_MODE & mode::S_IFMT | self.options.mode;
        let node = Node::new(self.node.attr().dev, FIRST_INO + u64::from(number), mode);
        let terminal = make(number, node.owned(uid, self.options.gid.unwrap_or(gid)));
        self.terminals.borrow_mut().insert(number, Rc::new(Slave { terminal: terminal.clone() }));
        Ok(terminal)
    }

    /// The node of a terminal.
    pub fn slave(&self, number: u32) -> Result<Rc<dyn Inode>, Errno> {
        let slave = self.terminals.borrow().get(&number).cloned();
        slave.map(|slave| -> Rc<dyn Inode> { slave }).ok_or(Errno::ENOENT)
    }

    /// A node for a terminal that is in no directory.
    pub fn nameless(terminal: &Rc<Terminal>) -> Rc<dyn Inode> {
        Rc::new(Slave { terminal: terminal.clone() })
    }

    /// Terminals that nobody has at either end give up their numbers.
    fn forget_dead(&self) {
        self.terminals.borrow_mut().retain(|_, slave| slave.terminal.line().is_used());
    }
}

impl Inode for DevPts {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        self.node.attr()
    }

    fn lookup(&self, name: &[u8], _: Asker<'_>) -> Result<Rc<dyn Inode>, Errno> {
        self.forget_dead();
        if name == b"ptmx" {
            return Ok(self.ptmx.clone());
        }
        let number = std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok()).ok_or(Errno::ENOENT)?;
        let slave = self.terminals.borrow().get(&number).cloned();
        let slave = slave.filter(|slave| slave.terminal.line().is_alive()).ok_or(Errno::ENOENT)?;
        // 01 is no name of 1.
        if number.to_string().as_bytes() == name { Ok(slave) } else { Err(Errno::ENOENT) }
    }

    fn open<'a>(self: Rc<Self>, _: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        ready(Ok(Box::new(Listing(self))))
    }

    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        ready(self.node.set(&set))
    }
}

/// The open directory.
struct Listing(Rc<DevPts>);

impl FileOps for Listing {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, _: usize) -> Fut<'a, Result<bytes::Bytes, Errno>> {
        ready(Err(Errno::EISDIR))
    }

    fn stat(&self) -> Fut<'_, Result<rsc_proto::abi::Stat, Errno>> {
        ready(Ok(self.0.attr().to_stat()))
    }

    fn seek<'a>(&'a self, file: &'a File, offset: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        ready(if whence > 1 { Err(Errno::EINVAL) } else { crate::fs::pseudo::seek_in(file, offset, whence, 0) })
    }

    fn readdir<'a>(&'a self, from: u64, _: usize) -> Fut<'a, Result<Vec<DirEntry>, Errno>> {
        self.0.forget_dead();
        let mut entries = dots(from, 1, 1);
        let terminals = self.0.terminals.borrow();
        let named = terminals.iter().filter(|(_, slave)| slave.terminal.line().is_alive());
        let all = named.map(|(number, slave)| DirEntry {
            ino: slave.attr().ino,
            next: u64::from(*number) + FIRST_INO,
            kind: d_type(mode::S_IFCHR),
            name: number.to_string().into_bytes(),
        });
        let ptmx =
            DirEntry { ino: 2, next: u64::from(MAX) + FIRST_INO, kind: d_type(mode::S_IFCHR), name: b"ptmx".to_vec() };
        entries.extend(all.chain([ptmx]).filter(|entry| entry.next > from.max(2)));
        ready(Ok(entries))
    }
}

/// What makes a new pair when it is opened.
struct Ptmx {
    node: Node,
    devpts: Weak<DevPts>,
}

impl Inode for Ptmx {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        self.node.attr()
    }

    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        let Some(devpts) = self.devpts.upgrade() else { return ready(Err(Errno::ENODEV)) };
        let kernel = cx.kernel.map(|kernel| kernel.this()).unwrap_or_default();
        let ids = (cx.creds.fsuid, cx.creds.fsgid);
        ready(open_master(&devpts, self.clone(), ids, kernel))
    }

    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        ready(self.node.set(&set))
    }
}

/// A terminal's node.
struct Slave {
    terminal: Rc<Terminal>,
}

impl Inode for Slave {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Attr {
        self.terminal.node().attr()
    }

    fn open<'a>(self: Rc<Self>, cx: OpenContext<'a>) -> Fut<'a, Result<Box<dyn FileOps>, Errno>> {
        ready(self.terminal.open(self.clone(), cx.task, cx.flags))
    }

    fn set_attr<'a>(&'a self, set: SetAttr) -> Fut<'a, Result<(), Errno>> {
        ready(self.terminal.node().set(&set))
    }
}
