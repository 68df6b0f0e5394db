//! Opening, making and removing: open, create, mkdir and its kin, link, unlink, rename, donate.

use super::attr::{attr, open_flags};
use super::handles::Bound;
use super::{Answer, Server};
use crate::sys::{Name, Result, fs, ipc};
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{
    self as wire, Create, Donate, Link, MAX_PAYLOAD, Make, Open, OpenFlags, Outcome, Rename, RenameFlags, Reply,
    TARGET_MAX, Unlink,
};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

impl Server {
    pub(super) fn open(&mut self, id: u64, op: Open) -> Result<Answer> {
        self.handles.free(&[op.file])?;
        let node = self.handles.get(op.node)?;
        let flags = OpenFlags::from_bits(op.flags).ok_or(Errno::EINVAL)?;
        let mut host = open_flags(flags)?;
        if flags.contains(OpenFlags::DIRECTORY) && node.kind != libc::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        match node.kind {
            libc::S_IFREG if flags.contains(OpenFlags::WRITE) => self.change()?,
            libc::S_IFDIR if flags.contains(OpenFlags::WRITE) => return Err(Errno::EISDIR),
            libc::S_IFREG | libc::S_IFDIR => {}
            // Opening one must not wait for the other end, whoever that is.
            libc::S_IFIFO => host |= libc::O_NONBLOCK,
            libc::S_IFLNK => return Err(Errno::ELOOP),
            libc::S_IFSOCK => return Err(Errno::ENXIO),
            _ => return Err(Errno::EACCES),
        }
        let name = Name::of_fd(node.fd().as_raw_fd());
        let file = fs::open_at(self.own.as_fd(), name.as_c(), host | libc::O_NOCTTY).map_err(too_many)?;
        let attr = attr(&fs::statx(file.as_fd(), c"")?);
        let bound = Bound::opened(file, attr.mode, flags);
        let start = wire::begin_frame(&mut self.out, &Reply { id, errno: 0, outcome: Some(Outcome::Attr(attr)) });
        let readable = bound.kind == libc::S_IFREG && flags.contains(OpenFlags::READ);
        if op.prefetch > 0 && readable {
            let len = (op.prefetch as usize).min(MAX_PAYLOAD).min(usize::try_from(attr.size).unwrap_or(MAX_PAYLOAD));
            // The open has succeeded; whoever reads meets the error again.
            let _ = fs::read_into(bound.fd(), Some(0), len, &mut self.out);
        }
        wire::finish_frame(&mut self.out, start);
        self.handles.bind(op.file, bound);
        Ok(Answer::Sent)
    }

    pub(super) fn create(&mut self, op: &Create, temporary: bool) -> Result<Answer> {
        self.handles.free(&[op.node, op.file])?;
        let flags = OpenFlags::from_bits(op.flags).ok_or(Errno::EINVAL)?;
        let host = open_flags(flags - OpenFlags::TRUNC)?;
        if op.mode & !0o7777 != 0 || flags.contains(OpenFlags::DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        let dir = self.directory(op.dir)?;
        let file = if temporary {
            if !op.name.is_empty() || !flags.contains(OpenFlags::WRITE) {
                return Err(Errno::EINVAL);
            }
            self.change()?;
            self.as_owner(op.uid, op.gid, || fs::open_temp(dir, host, op.mode))
        } else {
            let name = Name::component(&op.name)?;
            self.new_name(dir, &name)?;
            let host = host | libc::O_CREAT | libc::O_EXCL;
            self.as_owner(op.uid, op.gid, || fs::open_beneath(dir, name.as_c(), host, op.mode))
        }
        .map_err(too_many)?;
        let attr = attr(&fs::statx(file.as_fd(), c"")?);
        let own = Name::of_fd(file.as_raw_fd());
        let node = match fs::open_at(self.own.as_fd(), own.as_c(), libc::O_PATH) {
            Ok(node) => node,
            Err(e) => {
                if let Ok(name) = Name::component(&op.name) {
                    let _ = fs::unlink(dir, name.as_c(), false);
                }
                return Err(too_many(e));
            }
        };
        self.handles.bind(op.node, Bound::node(node, attr.mode));
        self.handles.bind(op.file, Bound::opened(file, attr.mode, flags));
        Ok(Answer::With(Outcome::Attr(attr)))
    }

    pub(super) fn make(&mut self, op: &Make) -> Result<Answer> {
        self.handles.free(&[op.node])?;
        let name = Name::component(&op.name)?;
        let (kind, mode) = (op.mode & libc::S_IFMT, op.mode & !libc::S_IFMT);
        if mode & !0o7777 != 0 {
            return Err(Errno::EINVAL);
        }
        let target = CString::new(&op.target[..]).map_err(|_| Errno::EINVAL)?;
        match kind {
            libc::S_IFLNK if op.target.is_empty() => return Err(Errno::ENOENT),
            libc::S_IFLNK if op.target.len() > TARGET_MAX => return Err(Errno::ENAMETOOLONG),
            libc::S_IFDIR | libc::S_IFLNK | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK => {}
            libc::S_IFCHR | libc::S_IFBLK => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        }
        let dir = self.directory(op.dir)?;
        self.new_name(dir, &name)?;
        self.as_owner(op.uid, op.gid, || match kind {
            libc::S_IFDIR => fs::mkdir(dir, name.as_c(), mode),
            libc::S_IFLNK => fs::symlink(&target, dir, name.as_c()),
            _ => fs::mknod(dir, name.as_c(), kind | mode),
        })?;
        let node = fs::open_beneath(dir, name.as_c(), libc::O_PATH, 0).map_err(too_many)?;
        let attr = attr(&fs::statx(node.as_fd(), c"")?);
        self.handles.bind(op.node, Bound::node(node, attr.mode));
        Ok(Answer::With(Outcome::Attr(attr)))
    }

    pub(super) fn link(&mut self, op: &Link) -> Result<Answer> {
        let name = Name::component(&op.name)?;
        let node = self.handles.get(op.node)?;
        let dir = self.directory(op.dir)?;
        if node.kind == libc::S_IFDIR {
            return Err(Errno::EPERM);
        }
        self.new_name(dir, &name)?;
        fs::link(self.own.as_fd(), Name::of_fd(node.fd().as_raw_fd()).as_c(), dir, name.as_c())?;
        self.attr_of(node)
    }

    pub(super) fn unlink(&mut self, op: &Unlink) -> Result<Answer> {
        let name = Name::component(&op.name)?;
        let dir = self.directory(op.dir)?;
        self.change()?;
        fs::unlink(dir, name.as_c(), op.directory)?;
        Ok(Answer::Done)
    }

    pub(super) fn rename(&mut self, op: &Rename) -> Result<Answer> {
        let (from, to) = (Name::component(&op.from)?, Name::component(&op.to)?);
        let flags = RenameFlags::from_bits(op.flags).ok_or(Errno::EINVAL)?;
        if flags == RenameFlags::all() {
            return Err(Errno::EINVAL);
        }
        let (from_dir, to_dir) = (self.directory(op.from_dir)?, self.directory(op.to_dir)?);
        self.change()?;
        fs::rename((from_dir, from.as_c()), (to_dir, to.as_c()), flags.bits())?;
        Ok(Answer::Done)
    }

    pub(super) fn donate(&mut self, op: Donate) -> Result<Answer> {
        let file = self.handles.get(op.file)?;
        file.file()?;
        let donations = self.donations.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        if file.kind != libc::S_IFREG {
            return Err(Errno::EINVAL);
        }
        let flags = if op.writable {
            file.writable().map_err(|_| Errno::EACCES)?;
            libc::O_RDWR
        } else {
            libc::O_RDONLY
        };
        // A description of its own: the supervisor shares neither position nor locks with the handle.
        let name = Name::of_fd(file.fd().as_raw_fd());
        let fresh = fs::open_at(self.own.as_fd(), name.as_c(), flags).map_err(too_many)?;
        ipc::send_descriptor(donations.as_fd(), op.token, fresh.as_fd())?;
        Ok(Answer::Done)
    }

    fn directory(&self, handle: u32) -> Result<BorrowedFd<'_>> {
        let dir = self.handles.get(handle)?;
        if dir.kind == libc::S_IFDIR { Ok(dir.fd()) } else { Err(Errno::ENOTDIR) }
    }

    /// Whether a name may be made, in Linux's order: one that exists is EEXIST even where nothing can be made.
    fn new_name(&self, dir: BorrowedFd<'_>, name: &Name) -> Result<()> {
        if self.read_only && fs::statx(dir, name.as_c()).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.change()
    }

    /// Runs `make` with these file system ids, so that the file is born with them.
    fn as_owner<T>(&self, uid: u32, gid: u32, make: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.ids.has_uid(uid) || !self.ids.has_gid(gid) {
            return Err(Errno::EPERM);
        }
        if (uid, gid) == (0, 0) {
            return make();
        }
        fs::set_fs_ids(uid, gid);
        let made = make();
        fs::set_fs_ids(0, 0);
        made
    }
}

/// The gofer's own limit is the client's ENFILE: it can drop handles.
fn too_many(errno: Errno) -> Errno {
    if errno == Errno::EMFILE { Errno::ENFILE } else { errno }
}
