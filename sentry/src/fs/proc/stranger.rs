//! Processes of the compute host in a sandbox's `/proc`, where its pid namespace is the host's: what every user of the host sees of
//! them, as the host says it.

use std::rc::Rc;

use rsc_proto::abi::Errno;

use super::{DIR, FILE, pid};
use crate::fs::pseudo::{Content, Dir, GenFile, Node, Opener};
use crate::kernel::Kernel;
use crate::kernel::file::{DirEntry, Fut, ready};
use crate::vfs::Inode;
use crate::vfs::inode::d_type;

const FILES: [&str; 5] = ["cmdline", "comm", "stat", "statm", "status"];
/// Positions in the listing, behind those of all that the sandbox knows.
const FIRST: u64 = 1 << 40;
/// Linux's overflowuid: whoever it is has no id here.
const NOBODY: u32 = 65534;

struct Text {
    tid: u32,
    what: &'static str,
}

impl Content for Text {
    fn read<'a>(&'a self, opener: &'a Opener) -> Fut<'a, Result<Vec<u8>, Errno>> {
        Box::pin(async move { Ok(opener.kernel()?.host.proc_info(self.tid, self.what).await?.to_vec()) })
    }

    fn write<'a>(&'a self, _: &'a Opener, _: u64, _: bytes::Bytes) -> Fut<'a, Result<usize, Errno>> {
        ready(Err(Errno::EACCES))
    }
}

/// The directory of one of them.
pub(super) async fn directory(dev: u64, kernel: Rc<Kernel>, tid: u32) -> Result<Rc<dyn Inode>, Errno> {
    kernel.host.proc_info(tid, "comm").await.map_err(|_| Errno::ENOENT)?;
    let dir = Dir::new(Node::new(dev, pid::ino(tid, 0), DIR).owned(NOBODY, NOBODY));
    for (index, what) in (1..).zip(FILES) {
        let node = Node::new(dev, pid::ino(tid, index), FILE).owned(NOBODY, NOBODY);
        dir.add(what, GenFile::new(node, Text { tid, what }));
    }
    Ok(dir.inode())
}

/// Those that no sandbox of the same namespace knows, behind position `from`.
pub(super) async fn list(kernel: Rc<Kernel>, from: u64) -> Vec<DirEntry> {
    let text = kernel.host.proc_info(0, "pids").await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut numbers: Vec<u32> = text.lines().filter_map(|line| pid::parse(line.as_bytes())).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let strange =
        numbers.into_iter().filter(|tid| FIRST + u64::from(*tid) > from && kernel.tasks.group(*tid).is_none());
    strange
        .map(|tid| DirEntry {
            ino: pid::ino(tid, 0),
            next: FIRST + u64::from(tid),
            kind: d_type(DIR),
            name: tid.to_string().into_bytes(),
        })
        .collect()
}
