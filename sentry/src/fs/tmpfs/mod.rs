//! tmpfs(5): a tree in the sentry's memory, also behind memfd_create(2).
//!
//! Inodes share the file system's account; directories hold their entries, so the tree hangs on its root and on open files.

mod data;
mod dir;
mod file;
mod inode;

use std::cell::Cell;
use std::rc::Rc;

use rsc_proto::abi::{Errno, Statfs, mode};

use crate::kernel::file::{Fut, ready};
use crate::kernel::host::ComputeHost;
use crate::vfs::{FileSystem, Inode};

pub use data::PAGE;
pub use file::{TmpFile, memfd};
pub use inode::TmpInode;

/// Linux: `TMPFS_MAGIC`.
const MAGIC: i64 = 0x0102_1994;

/// How a tmpfs is mounted.
#[derive(Clone, Copy, Debug)]
pub struct TmpfsOptions {
    /// Bytes that it may hold; 0: no limit of its own.
    pub size: u64,
    /// Inodes that it may hold; 0: no limit of its own.
    pub inodes: u64,
    /// Permissions of the root.
    pub mode: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
}

impl Default for TmpfsOptions {
    fn default() -> Self {
        Self { size: 0, inodes: 0, mode: 0o1777, uid: 0, gid: 0 }
    }
}

impl TmpfsOptions {
    /// Takes an option `name=value` of tmpfs(5): whether it is one of ours.
    ///
    /// # Errors
    /// A value that does not parse.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, BadValue> {
        match name {
            "size" => self.size = size(value).ok_or(BadValue)?,
            "nr_inodes" => self.inodes = size(value).ok_or(BadValue)?,
            "uid" => self.uid = value.parse().map_err(|_| BadValue)?,
            "gid" => self.gid = value.parse().map_err(|_| BadValue)?,
            "mode" => self.mode = u32::from_str_radix(value, 8).map_err(|_| BadValue)? & 0o7777,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The value of an option does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadValue;

/// A size with a binary suffix.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Inodes of a tmpfs without a limit of its own: the sentry's memory is not the workload's to fill with names.
const INODES_MAX: u64 = 1 << 20;
/// Bytes of a tmpfs without a limit of its own.
const SIZE_MAX: u64 = 1 << 30;

/// What the inodes of one tmpfs share.
pub(crate) struct Account {
    pub(crate) dev: u64,
    pub(crate) host: Rc<dyn ComputeHost>,
    next_ino: Cell<u64>,
    pages: Cell<u64>,
    pages_max: u64,
    inodes: Cell<u64>,
    inodes_max: u64,
}

impl Account {
    fn new(dev: u64, host: Rc<dyn ComputeHost>, size: u64, inodes: u64) -> Rc<Self> {
        let size = if size == 0 { SIZE_MAX } else { size };
        Rc::new(Self {
            dev,
            host,
            next_ino: Cell::new(1),
            pages: Cell::new(0),
            pages_max: size.div_ceil(PAGE as u64),
            inodes: Cell::new(0),
            inodes_max: if inodes == 0 { INODES_MAX } else { inodes },
        })
    }

    fn take_page(&self) -> Result<(), Errno> {
        if self.pages.get() >= self.pages_max {
            return Err(Errno::ENOSPC);
        }
        self.pages.set(self.pages.get() + 1);
        Ok(())
    }

    fn give_pages(&self, n: u64) {
        self.pages.set(self.pages.get().saturating_sub(n));
    }

    fn take_inode(&self) -> Result<u64, Errno> {
        if self.inodes.get() >= self.inodes_max {
            return Err(Errno::ENOSPC);
        }
        self.inodes.set(self.inodes.get() + 1);
        Ok(self.next_ino.replace(self.next_ino.get() + 1))
    }

    fn give_inode(&self) {
        self.inodes.set(self.inodes.get().saturating_sub(1));
    }
}

/// See the module's text.
pub struct TmpFs {
    account: Rc<Account>,
    root: Rc<TmpInode>,
    options: TmpfsOptions,
}

impl TmpFs {
    /// An empty file system.
    pub fn new(dev: u64, host: Rc<dyn ComputeHost>, options: TmpfsOptions) -> Rc<Self> {
        let account = Account::new(dev, host, options.size, options.inodes);
        let root = TmpInode::root(&account, mode::S_IFDIR | options.mode & 0o7777, options.uid, options.gid);
        Rc::new(Self { account, root, options })
    }
}

impl FileSystem for TmpFs {
    fn kind(&self) -> &'static str {
        "tmpfs"
    }

    fn root(&self) -> Rc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Fut<'_, Result<Statfs, Errno>> {
        let a = &self.account;
        let free = a.pages_max.saturating_sub(a.pages.get());
        ready(Ok(Statfs {
            f_type: MAGIC,
            f_bsize: PAGE as i64,
            f_blocks: a.pages_max,
            f_bfree: free,
            f_bavail: free,
            f_files: a.inodes_max,
            f_ffree: a.inodes_max.saturating_sub(a.inodes.get()),
            f_namelen: 255,
            f_frsize: PAGE as i64,
            ..Default::default()
        }))
    }

    fn options(&self) -> String {
        let mut o = String::new();
        if self.options.size != 0 {
            o = format!("size={}k", self.options.size / 1024);
        }
        if self.options.mode != 0o1777 {
            o.push_str(&format!("{}mode={:o}", if o.is_empty() { "" } else { "," }, self.options.mode));
        }
        o
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("65536k"), Some(64 << 20));
        assert_eq!(size("1G"), Some(1 << 30));
        assert_eq!(size("12"), Some(12));
        assert_eq!(size("x"), None);
        assert_eq!(size("99999999999999999g"), None);
    }
}
