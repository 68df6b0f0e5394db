//! File contents that the compute host can map: the arena, one memfd for each file of the sentry's, and descriptors that a gofer
//! on this machine has donated.
//!
//! A workload is given a read-only descriptor unless the sentry granted a shared writable mapping: what a writable descriptor
//! was mapped from can always be made writable. All numbers come from the sentry and are checked here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::ftruncate;
use rsc_proto::v1;

use crate::engine::FileSources;
use crate::sys::host;

/// Files in the arena at most.
const MAX_FILES: usize = 8192;
/// Their lengths together at most.
const MAX_BYTES: u64 = 16 << 30;
/// One read or write moves at most this much.
const MAX_TRANSFER: usize = 1 << 20;
/// Donated descriptors that nobody has asked for yet, at most.
const MAX_DONATED: usize = 1024;

/// All that can be mapped.
#[derive(Debug, Default)]
pub struct Arena {
    files: HashMap<u64, ArenaFile>,
    bytes: u64,
    donors: Vec<OwnedFd>,
    donated: HashMap<u64, OwnedFd>,
}

#[derive(Debug)]
struct ArenaFile {
    memfd: File,
    size: u64,
}

impl Arena {
    /// An empty arena. `donors` are the sockets on which gofers donate descriptors.
    pub fn new(donors: Vec<OwnedFd>) -> Self {
        Self { donors, ..Self::default() }
    }

    /// Makes the memfd of `file`, or sets its length.
    pub fn open(&mut self, file: u64, size: u64) -> nix::Result<()> {
        let old = self.files.get(&file).map_or(0, |file| file.size);
        let total = (self.bytes - old).checked_add(size).filter(|total| *total <= MAX_BYTES).ok_or(Errno::ENOMEM)?;
        if !self.files.contains_key(&file) {
            if self.files.len() >= MAX_FILES {
                return Err(Errno::ENOMEM);
            }
            let memfd = memfd_create(c"rsc-arena", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
            self.files.insert(file, ArenaFile { memfd: memfd.into(), size: 0 });
        }
        let entry = self.files.get_mut(&file).ok_or(Errno::ENOENT)?;
        entry.memfd.set_len(size).map_err(errno)?;
        entry.size = size;
        self.bytes = total;
        Ok(())
    }

    /// Puts bytes into the copy of `file`, within its length.
    pub fn write(&mut self, file: u64, offset: u64, data: &[u8]) -> nix::Result<()> {
        let entry = self.files.get(&file).ok_or(Errno::ENOENT)?;
        let end = offset.checked_add(data.len() as u64).ok_or(Errno::EINVAL)?;
        if data.len() > MAX_TRANSFER || end > entry.size {
            return Err(Errno::EINVAL);
        }
        entry.memfd.write_all_at(data, offset).map_err(errno)
    }

    /// Reads from the copy of `file`; short at its end.
    pub fn read(&self, file: u64, offset: u64, len: u32) -> nix::Result<Bytes> {
        let entry = self.files.get(&file).ok_or(Errno::ENOENT)?;
        let mut buffer = vec![0; (len as usize).min(MAX_TRANSFER)];
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match entry.memfd.read_at(rest, offset.saturating_add(filled as u64)).map_err(errno)? {
                0 => break,
                count => filled += count,
            }
        }
        buffer.truncate(filled);
        Ok(buffer.into())
    }

    /// Forgets `file`; what is mapped stays.
    pub fn close(&mut self, file: u64) {
        if let Some(old) = self.files.remove(&file) {
            self.bytes -= old.size;
        }
    }

    /// A descriptor to map or execute. A donated one can be had once.
    pub fn source(&mut self, source: &v1::FileSource, writable: bool) -> nix::Result<OwnedFd> {
        match source.from {
            Some(v1::file_source::From::Arena(_)) => {
                let entry = self.files.get(&source.file).ok_or(Errno::ENOENT)?;
                let access = if writable { OFlag::O_RDWR } else { OFlag::O_RDONLY };
                let path = format!("/proc/self/fd/{}", entry.memfd.as_raw_fd());
                open(path.as_str(), access | OFlag::O_CLOEXEC, Mode::empty())
            }
            Some(v1::file_source::From::Donated(token)) => {
                self.collect();
                let fd = self.donated.remove(&token).ok_or(Errno::ENOENT)?;
                check_donated(&fd, writable)?;
                Ok(fd)
            }
            None if source.size <= MAX_BYTES => {
                let zeros = memfd_create(c"rsc-zero", MFdFlags::MFD_CLOEXEC)?;
                ftruncate(&zeros, source.size.cast_signed())?;
                Ok(zeros)
            }
            None => Err(Errno::ENOMEM),
        }
    }

    /// Takes in what gofers have sent.
    fn collect(&mut self) {
        for donor in &self.donors {
            while let Ok(Some((token, fd))) = receive(donor.as_raw_fd()) {
                if self.donated.len() < MAX_DONATED || self.donated.contains_key(&token) {
                    self.donated.insert(token, fd);
                } else {
                    tracing::warn!("a gofer donates descriptors that nobody asks for; one is dropped");
                }
            }
        }
    }
}

impl FileSources for Rc<RefCell<Arena>> {
    fn open(&mut self, source: &v1::FileSource, writable: bool) -> io::Result<OwnedFd> {
        Ok(self.borrow_mut().source(source, writable)?)
    }
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A regular file, open for no more than it is to be used for.
fn check_donated(fd: &OwnedFd, writable: bool) -> nix::Result<()> {
    let kind = fstat(fd)?.st_mode & SFlag::S_IFMT.bits();
    let access = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    let wanted = if writable { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    if kind == SFlag::S_IFREG.bits() && access == wanted { Ok(()) } else { Err(Errno::EACCES) }
}

/// One donation: eight bytes of token and one descriptor. Others are dropped.
fn receive(socket: RawFd) -> nix::Result<Option<(u64, OwnedFd)>> {
    let mut token = [0; 8];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut slices = [IoSliceMut::new(&mut token)];
    let message = recvmsg::<()>(socket, &mut slices, Some(&mut space), flags)?;
    let length = message.bytes;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received.into_iter().map(host::adopt));
        }
    }
    match (length, fds.pop()) {
        (8, Some(fd)) if fds.is_empty() => Ok(Some((u64::from_le_bytes(token), fd))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, ControlMessage, SockFlag, SockType, sendmsg, socketpair};

    fn from_arena(file: u64) -> v1::FileSource {
        v1::FileSource { file, size: 0, from: Some(v1::file_source::From::Arena(true)) }
    }

    #[test]
    fn contents_and_lengths() {
        let mut arena = Arena::default();
        arena.open(1, 10).unwrap();
        arena.write(1, 2, b"abc").unwrap();
        assert_eq!(arena.read(1, 0, 100).unwrap(), &b"\0\0abc\0\0\0\0\0"[..]);
        assert_eq!(arena.write(1, 8, b"abc"), Err(Errno::EINVAL));
        assert_eq!(arena.write(1, u64::MAX, b"abc"), Err(Errno::EINVAL));
        assert_eq!(arena.write(2, 0, b""), Err(Errno::ENOENT));
        arena.open(1, 3).unwrap();
        assert_eq!(arena.read(1, 0, 100).unwrap(), &b"\0\0a"[..]);
        assert_eq!(arena.open(2, u64::MAX), Err(Errno::ENOMEM));
        arena.close(1);
        assert_eq!(arena.bytes, 0);
        assert_eq!(arena.read(1, 0, 1), Err(Errno::ENOENT));
    }

    #[test]
    fn read_only_unless_granted() {
        let mut arena = Arena::default();
        arena.open(1, 4096).unwrap();
        let flags = |fd: &OwnedFd| OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).unwrap()) & OFlag::O_ACCMODE;
        assert_eq!(flags(&arena.source(&from_arena(1), false).unwrap()), OFlag::O_RDONLY);
        assert_eq!(flags(&arena.source(&from_arena(1), true).unwrap()), OFlag::O_RDWR);
        assert_eq!(arena.source(&from_arena(2), false).map(drop), Err(Errno::ENOENT));
        let zeros = |size| v1::FileSource { size, ..Default::default() };
        assert!(arena.source(&zeros(4096), false).is_ok());
        assert_eq!(arena.source(&zeros(MAX_BYTES + 1), false).map(drop), Err(Errno::ENOMEM));
    }

    #[test]
    fn donations_are_taken_once_and_checked() {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let mut arena = Arena::new(vec![ours]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "x").unwrap();
        let file = File::open(dir.path().join("f")).unwrap();
        let give = |token: &[u8], fds: &[RawFd]| {
            let rights = [ControlMessage::ScmRights(fds)];
            sendmsg::<()>(theirs.as_raw_fd(), &[std::io::IoSlice::new(token)], &rights, MsgFlags::empty(), None)
                .unwrap();
        };
        let source = |token| v1::FileSource { file: 0, size: 1, from: Some(v1::file_source::From::Donated(token)) };
        assert_eq!(arena.source(&source(5), false).map(drop), Err(Errno::ENOENT));
        give(&5_u64.to_le_bytes(), &[file.as_raw_fd()]);
        give(&6_u64.to_le_bytes(), &[file.as_raw_fd()]);
        give(&7_u64.to_le_bytes(), &[theirs.as_raw_fd()]);
        assert!(arena.source(&source(5), false).is_ok());
        assert_eq!(arena.source(&source(5), false).map(drop), Err(Errno::ENOENT));
        assert_eq!(arena.source(&source(6), true).map(drop), Err(Errno::EACCES));
        assert_eq!(arena.source(&source(7), false).map(drop), Err(Errno::EACCES));
    }
}
