//! Character devices that exist without a driver: null, zero, full, random, urandom (null(4), random(4)).

use std::any::Any;

use bytes::Bytes;
use rsc_proto::abi::{Errno, Stat, makedev};
use rsc_proto::v1::FileSource;

use crate::kernel::file::{File, FileOps, Fut, MapRequest, Written, ready};
use crate::vfs::Inode;
use crate::vfs::inode::OpenContext;
use std::rc::Rc;

/// The nodes that every `/dev` has: name, device number, permissions (runtime-spec, "Default Devices").
pub const NODES: &[(&str, u64, u32)] = &[
    ("null", makedev(1, 3), 0o666),
    ("zero", makedev(1, 5), 0o666),
    ("full", makedev(1, 7), 0o666),
    ("random", makedev(1, 8), 0o666),
    ("urandom", makedev(1, 9), 0o666),
    ("tty", makedev(5, 0), 0o666),
];

/// The caller's controlling terminal. tty(4).
const TTY: u64 = makedev(5, 0);

/// The links that every `/dev` has (runtime-spec, "Dev symbolic links").
pub const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Opens the device with this number; `None`: not known here.
pub fn open(rdev: u64, cx: &OpenContext<'_>) -> Option<Result<Box<dyn FileOps>, Errno>> {
    let inode = cx.location.inode().clone();
    if rdev == TTY {
        let terminal = cx.task.and_then(|task| task.group().terminal.borrow().clone());
        return Some(match terminal {
            // It controls the caller's session already.
            Some(terminal) => terminal.open(inode, None, cx.flags),
            None => Err(Errno::ENXIO),
        });
    }
    let device = [Device::Null, Device::Zero, Device::Full, Device::Random, Device::Urandom]
        .into_iter()
        .find(|d| d.number() == rdev)?;
    Some(Ok(Box::new(MemDevice { device, inode })))
}

/// A device of major number 1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    Null,
    Zero,
    Full,
    Random,
    Urandom,
}

impl Device {
    const fn number(self) -> u64 {
        makedev(
            1,
            match self {
                Self::Null => 3,
                Self::Zero => 5,
                Self::Full => 7,
                Self::Random => 8,
                Self::Urandom => 9,
            },
        )
    }
}

struct MemDevice {
    device: Device,
    inode: Rc<dyn Inode>,
}

impl FileOps for MemDevice {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        ready(match self.device {
            Device::Null => Ok(Bytes::new()),
            Device::Zero | Device::Full => Ok(vec![0; len].into()),
            Device::Random | Device::Urandom => {
                let mut data = vec![0; len];
                getrandom::fill(&mut data).map(|()| data.into()).map_err(|_| Errno::EIO)
            }
        })
    }

    fn write<'a>(&'a self, _: &'a File, offset: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        ready(if self.device == Device::Full {
            Err(Errno::ENOSPC)
        } else {
            Ok(Written { bytes: data.len(), end: offset })
        })
    }

    fn map<'a>(&'a self, _: &'a Rc<File>, request: MapRequest) -> Fut<'a, Result<FileSource, Errno>> {
        ready(match self.device {
            // Linux: mmap_zero(): zeros of the mapping's own, shared with children at most.
            Device::Zero => Ok(FileSource { file: 0, size: request.offset.saturating_add(request.len), from: None }),
            _ => Err(Errno::ENODEV),
        })
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        Box::pin(async move { Ok(self.inode.refresh().await?.to_stat()) })
    }

    fn seek<'a>(&'a self, _: &'a File, _: i64, whence: u32) -> Fut<'a, Result<u64, Errno>> {
        // Linux: null_lseek(), and random has no position either.
        ready(if whence <= 4 { Ok(0) } else { Err(Errno::EINVAL) })
    }
}
