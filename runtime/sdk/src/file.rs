//! Files of the server's.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rsc_proto::table::nr;

use crate::{RemoteFd, Server};

/// How a file is opened, as [`std::fs::OpenOptions`].
#[derive(Clone, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    flags: i32,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Nothing is asked for yet.
    pub fn new() -> Self {
        OpenOptions { read: false, write: false, flags: 0, mode: 0o666 }
    }

    fn flag(&mut self, flag: i32, on: bool) -> &mut Self {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }

    /// For reading.
    pub fn read(&mut self, on: bool) -> &mut Self {
        self.read = on;
        self
    }

    /// For writing.
    pub fn write(&mut self, on: bool) -> &mut Self {
        self.write = on;
        self
    }

    /// For writing at its end.
    pub fn append(&mut self, on: bool) -> &mut Self {
        self.write |= on;
        self.flag(libc::O_APPEND, on)
    }

    /// It is made if it is not there.
    pub fn create(&mut self, on: bool) -> &mut Self {
        self.flag(libc::O_CREAT, on)
    }

    /// It must not be there, and is made.
    pub fn create_new(&mut self, on: bool) -> &mut Self {
        self.flag(libc::O_CREAT | libc::O_EXCL, on)
    }

    /// It is emptied.
    pub fn truncate(&mut self, on: bool) -> &mut Self {
        self.flag(libc::O_TRUNC, on)
    }

    /// Its mode if it is made, which the umask of this process applies to.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// More flags of open(2).
    pub fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.flag(flags, true)
    }

    /// Opens it.
    pub fn open(&self, server: &Server, path: impl AsRef<Path>) -> io::Result<RemoteFile> {
        let way = match (self.read, self.write) {
            (true, true) => libc::O_RDWR,
            (false, true) => libc::O_WRONLY,
            (true, false) => libc::O_RDONLY,
            (false, false) => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        Ok(RemoteFile { fd: server.open_raw(path.as_ref(), self.flags | way, self.mode)? })
    }
}

/// An open file of the server's.
#[derive(Debug)]
pub struct RemoteFile {
    fd: RemoteFd,
}

impl RemoteFile {
    /// What it is.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let mut metadata = Metadata::default();
        self.fd.call(nr::FSTAT, &[metadata.address()])?;
        Ok(metadata)
    }

    /// Sets its size.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.fd.call(nr::FTRUNCATE, &[size]).map(drop)
    }

    /// Waits until its bytes and metadata are on disk there.
    pub fn sync_all(&self) -> io::Result<()> {
        self.fd.call(nr::FSYNC, &[]).map(drop)
    }

    /// Waits until its bytes are on disk there.
    pub fn sync_data(&self) -> io::Result<()> {
        self.fd.call(nr::FDATASYNC, &[]).map(drop)
    }

    /// Reads at an offset, without moving its own.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.fd.call(nr::PREAD64, &[buf.as_mut_ptr() as u64, buf.len() as u64, offset])? as usize)
    }

    /// Writes at an offset, without moving its own.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        Ok(self.fd.call(nr::PWRITE64, &[buf.as_ptr() as u64, buf.len() as u64, offset])? as usize)
    }

    /// Another handle for the same open file.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(RemoteFile { fd: self.fd.try_clone()? })
    }

    /// Closes it, and says what came of that.
    pub fn close(self) -> io::Result<()> {
        self.fd.close()
    }
}

impl Read for &RemoteFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fd.read(buf)
    }
}

impl Write for &RemoteFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.fd.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &RemoteFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (offset, whence) = match to {
            SeekFrom::Start(offset) => (offset, libc::SEEK_SET),
            SeekFrom::Current(offset) => (offset as u64, libc::SEEK_CUR),
            SeekFrom::End(offset) => (offset as u64, libc::SEEK_END),
        };
        self.fd.call(nr::LSEEK, &[offset, whence as u64])
    }
}

impl Read for RemoteFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for RemoteFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for RemoteFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl AsFd for RemoteFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for RemoteFile {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Words of the kernel's `struct stat` on x86-64.
const STAT_WORDS: usize = 18;

/// What a file is. stat(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata([u64; STAT_WORDS]);

impl Metadata {
    pub(crate) fn address(&mut self) -> u64 {
        self.0.as_mut_ptr() as u64
    }

    fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// The device it is on.
    pub fn dev(&self) -> u64 {
        self.word(0)
    }

    /// Its inode's number.
    pub fn ino(&self) -> u64 {
        self.word(1)
    }

    /// How many names it has.
    pub fn nlink(&self) -> u64 {
        self.word(2)
    }

    /// Its kind and permissions, as st_mode.
    pub fn mode(&self) -> u32 {
        self.word(3) as u32
    }

    /// Its owner.
    pub fn uid(&self) -> u32 {
        (self.word(3) >> 32) as u32
    }

    /// Its group.
    pub fn gid(&self) -> u32 {
        self.word(4) as u32
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.word(6)
    }

    /// When its bytes were last changed.
    pub fn modified(&self) -> SystemTime {
        let seconds = self.word(11) as i64;
        let base = SystemTime::UNIX_EPOCH;
        let whole = if seconds >= 0 {
            base.checked_add(Duration::from_secs(seconds.unsigned_abs()))
        } else {
            base.checked_sub(Duration::from_secs(seconds.unsigned_abs()))
        };
        whole.and_then(|time| time.checked_add(Duration::from_nanos(self.word(12)))).unwrap_or(base)
    }

    fn is(&self, kind: u32) -> bool {
        self.mode() & libc::S_IFMT == kind
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.is(libc::S_IFDIR)
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.is(libc::S_IFREG)
    }

    /// A symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.is(libc::S_IFLNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn words_are_where_the_kernel_has_them() {
        let path = std::env::current_exe().unwrap();
        let known = std::fs::metadata(&path).unwrap();
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let mut ours = Metadata::default();
        let args = [libc::AT_FDCWD as u64, name.as_ptr() as u64, ours.address(), 0, 0, 0];
        assert_eq!(crate::sys::raw::program(nr::NEWFSTATAT, &args), 0);
        assert_eq!((ours.dev(), ours.ino(), ours.nlink()), (known.dev(), known.ino(), known.nlink()));
        assert_eq!((ours.mode(), ours.uid(), ours.gid()), (known.mode(), known.uid(), known.gid()));
        assert_eq!((ours.size(), ours.modified()), (known.len(), known.modified().unwrap()));
        assert!(ours.is_file() && !ours.is_dir() && !ours.is_symlink());
    }
}
