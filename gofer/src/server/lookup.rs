//! Finding things: attach, walk, readdir, readlink.

use super::attr::attr;
use super::handles::Bound;
use super::{Answer, Server};
use crate::sys::{Name, Result, fs};
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{
    Attach, AttachReply, DirEntry, DirReply, Features, MAX_HEADER, MAX_WALK, Node, Outcome, ReadDir, Stop, VERSION,
    Walk, WalkReply,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What one entry adds to a header at most, besides its name: tags, numbers, attributes.
const ENTRY: usize = 224;

impl Server {
    pub(super) fn attach(&mut self, op: Attach) -> Result<Answer> {
        if op.version != VERSION {
            return Err(Errno::EPROTONOSUPPORT);
        }
        self.handles.free(&[op.root])?;
        let attr = attr(&fs::statx(self.root.as_fd(), c"")?);
        let root = fs::duplicate(self.root.as_fd())?;
        self.handles.bind(op.root, Bound::node(root, attr.mode));
        let mut features = Features::empty();
        features.set(Features::READ_ONLY, self.read_only);
        features.set(Features::DONATE, self.donations.is_some());
        features.set(Features::CHOWN, self.ids.several());
        let max_handles = self.handles.max() as u32;
        Ok(Answer::With(Outcome::Attach(AttachReply { attr: Some(attr), max_handles, features: features.bits() })))
    }

    pub(super) fn walk(&mut self, op: &Walk) -> Result<Answer> {
        let count = op.names.len();
        if count == 0 || count > MAX_WALK || (op.handles.len() != count && op.handles.len() != 1) {
            return Err(Errno::EINVAL);
        }
        let names = op.names.iter().map(|n| Name::component(n)).collect::<Result<Vec<Name>>>()?;
        self.handles.free(&op.handles)?;
        let start = self.handles.get(op.dir)?;
        let mut kind = start.kind;
        let mut reply = WalkReply { steps: Vec::with_capacity(count), stop: None };
        let mut reached: Vec<(OwnedFd, u32)> = Vec::with_capacity(op.handles.len());
        for name in &names {
            let dir = reached.last().map_or(start.fd(), |(fd, _)| fd.as_fd());
            if kind != libc::S_IFDIR {
                reply.stop =
                    Some(if reply.steps.is_empty() { Stop::Failed(libc::ENOTDIR) } else { Stop::NotDirectory(true) });
                break;
            }
            let step = fs::open_beneath(dir, name.as_c(), libc::O_PATH, 0)
                .and_then(|fd| fs::statx(fd.as_fd(), c"").map(|stat| (fd, stat)));
            let (fd, stat) = match step {
                Ok(step) => step,
                Err(Errno::EMFILE | Errno::ENFILE) => return Err(Errno::ENFILE),
                Err(e) => {
                    reply.stop = Some(Stop::Failed(e.number()));
                    break;
                }
            };
            let attr = attr(&stat);
            kind = attr.mode & libc::S_IFMT;
            reply.steps.push(attr);
            let target = if kind == libc::S_IFLNK { Some(fs::readlink(fd.as_fd())) } else { None };
            if op.handles.len() == 1 {
                reached.clear();
            }
            reached.push((fd, attr.mode));
            if let Some(target) = target {
                reply.stop = Some(Stop::Symlink(target?));
                break;
            }
        }
        for ((fd, mode), handle) in reached.into_iter().zip(&op.handles) {
            self.handles.bind(*handle, Bound::node(fd, mode));
        }
        Ok(Answer::With(Outcome::Walk(reply)))
    }

    pub(super) fn readlink(&self, op: Node) -> Result<Answer> {
        let node = self.handles.get(op.handle)?;
        if node.kind != libc::S_IFLNK {
            return Err(Errno::EINVAL);
        }
        fs::readlink(node.fd()).map(Answer::Payload)
    }

    pub(super) fn readdir(&mut self, op: ReadDir) -> Result<Answer> {
        if op.count == 0 {
            return Err(Errno::EINVAL);
        }
        let bound = self.handles.get_mut(op.file)?;
        if bound.kind != libc::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        bound.file()?;
        if bound.position != Some(op.cookie) {
            bound.position = None;
            fs::seek(bound.fd(), i64::try_from(op.cookie).map_err(|_| Errno::EINVAL)?, libc::SEEK_SET)?;
        }
        // From here on the position is unknown until all that was read has been sent.
        bound.position = None;
        let (reply, position) = list(bound.fd(), op)?;
        bound.position = position;
        Ok(Answer::With(Outcome::Dir(reply)))
    }
}

/// Reads entries from where the descriptor stands, and where it stands afterwards, if nothing that was read is left over.
fn list(dir: BorrowedFd<'_>, op: ReadDir) -> Result<(DirReply, Option<u64>)> {
    let mut reply = DirReply::default();
    let mut room = MAX_HEADER - 64;
    let mut position = op.cookie;
    let mut buffer = vec![0u8; (op.count as usize).saturating_mul(40).clamp(1024, 32 << 10)];
    loop {
        let filled = match fs::getdents(dir, &mut buffer) {
            Ok(0) => {
                reply.end = true;
                return Ok((reply, Some(position)));
            }
            Ok(n) => n,
            // What has been read is worth something; the next request meets the error again.
            Err(_) if !reply.entries.is_empty() => return Ok((reply, None)),
            Err(e) => return Err(e),
        };
        let mut rest = buffer.get(..filled).unwrap_or_default();
        while let Some((entry, after)) = split_entry(rest) {
            let size = entry.name.len() + ENTRY;
            if reply.entries.len() >= op.count as usize || size > room {
                return Ok((reply, None));
            }
            room -= size;
            position = entry.cookie;
            let mut entry = DirEntry {
                name: entry.name.to_vec(),
                ino: entry.ino,
                kind: entry.kind.into(),
                cookie: entry.cookie,
                attr: None,
            };
            if op.attr
                && let Ok(name) = Name::component(&entry.name)
            {
                entry.attr = fs::statx(dir, name.as_c()).ok().map(|stat| attr(&stat));
            }
            reply.entries.push(entry);
            rest = after;
        }
        if reply.entries.len() >= op.count as usize {
            return Ok((reply, Some(position)));
        }
    }
}

/// A `linux_dirent64`.
struct Entry<'a> {
    ino: u64,
    cookie: u64,
    kind: u8,
    name: &'a [u8],
}

/// The first entry of what `getdents64` filled, and the rest.
fn split_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let ino = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
    let cookie = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    let len = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
    let kind = *bytes.get(18)?;
    let name = bytes.get(19..len)?.split(|b| *b == 0).next()?;
    Some((Entry { ino, cookie, kind, name }, bytes.get(len..)?))
}
