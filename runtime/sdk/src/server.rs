//! A server, and the calls that it carries out.

use std::ffi::CString;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rsc_proto::table::nr;
use rsc_proto::v1::BrokerSettings;

use crate::broker::ask;
use crate::broker::terms::Terms;
use crate::dir::{self, DirEntry};
use crate::file::{Metadata, OpenOptions, RemoteFile};
use crate::net::{RemoteListener, RemoteTcpStream};
use crate::region::{self, Region};
use crate::{Error, RemoteFd};

const AT_FDCWD: u64 = libc::AT_FDCWD as u64;

/// A server. Cheap to clone; all clones, threads and children of a fork share its session.
#[derive(Clone, Debug)]
pub struct Server {
    terms: &'static Terms,
    settings: BrokerSettings,
}

/// A name as calls take it.
fn name(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

impl Server {
    pub(crate) fn new(terms: &'static Terms, settings: BrokerSettings) -> Self {
        Server { terms, settings }
    }

    /// What the broker is told with its calls.
    #[doc(hidden)]
    pub fn terms(&self) -> &'static Terms {
        self.terms
    }

    pub(crate) fn settings(&self) -> &BrokerSettings {
        &self.settings
    }

    /// Makes a call; its result.
    pub(crate) fn call(&self, number: u32, args: &[u64]) -> io::Result<u64> {
        let mut all = [0; 6];
        all.iter_mut().zip(args).for_each(|(slot, arg)| *slot = *arg);
        let result = ask::there(self.terms, number, all);
        u64::try_from(result).map_err(|_| io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO)))
    }

    /// The same again when a signal's handler has run.
    pub(crate) fn call_through(&self, number: u32, args: &[u64]) -> io::Result<u64> {
        loop {
            match self.call(number, args) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// A call that makes a descriptor.
    pub(crate) fn make(&self, number: u32, args: &[u64]) -> io::Result<RemoteFd> {
        let fd = self.call_through(number, args)?;
        Ok(RemoteFd::of(self.clone(), fd as i32))
    }

    /// Opens a file for reading.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<RemoteFile> {
        OpenOptions::new().read(true).open(self, path)
    }

    /// Makes a file, or empties it, for writing.
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<RemoteFile> {
        OpenOptions::new().write(true).create(true).truncate(true).open(self, path)
    }

    /// Reads a file to its end.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.open(path)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Makes a file of these bytes.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        io::Write::write_all(&mut self.create(path)?, bytes.as_ref())
    }

    pub(crate) fn open_raw(&self, path: &Path, flags: i32, mode: u32) -> io::Result<RemoteFd> {
        let name = name(path)?;
        let flags = (flags | libc::O_CLOEXEC) as u64;
        self.make(nr::OPENAT, &[AT_FDCWD, name.as_ptr() as u64, flags, mode.into()])
    }

    /// What is in a directory, without `.` and `..`.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
        dir::read(self, path.as_ref())
    }

    /// What a file is; links are followed.
    pub fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        self.stat(path.as_ref(), 0)
    }

    /// What a file or link is.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        self.stat(path.as_ref(), libc::AT_SYMLINK_NOFOLLOW)
    }

    fn stat(&self, path: &Path, flags: i32) -> io::Result<Metadata> {
        let (name, mut metadata) = (name(path)?, Metadata::default());
        self.call_through(nr::NEWFSTATAT, &[AT_FDCWD, name.as_ptr() as u64, metadata.address(), flags as u64])?;
        Ok(metadata)
    }

    fn named(&self, number: u32, path: &Path, rest: &[u64]) -> io::Result<()> {
        let name = name(path)?;
        self.call_through(number, &[&[name.as_ptr() as u64], rest].concat()).map(drop)
    }

    fn two_names(&self, number: u32, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (name(from)?, name(to)?);
        self.call_through(number, &[from.as_ptr() as u64, to.as_ptr() as u64]).map(drop)
    }

    /// Removes a file.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.named(nr::UNLINK, path.as_ref(), &[])
    }

    /// Makes a directory.
    pub fn create_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.named(nr::MKDIR, path.as_ref(), &[0o777])
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.named(nr::RMDIR, path.as_ref(), &[])
    }

    /// Sets a file's mode.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        self.named(nr::CHMOD, path.as_ref(), &[mode.into()])
    }

    /// Renames; what has the new name is replaced.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        self.two_names(nr::RENAME, from.as_ref(), to.as_ref())
    }

    /// Makes a second name for a file.
    pub fn hard_link(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
        self.two_names(nr::LINK, original.as_ref(), link.as_ref())
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, to: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
        self.two_names(nr::SYMLINK, to.as_ref(), link.as_ref())
    }

    /// What a symbolic link says.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let name = name(path.as_ref())?;
        let mut text = vec![0_u8; 4096];
        let args = [name.as_ptr() as u64, text.as_mut_ptr() as u64, text.len() as u64];
        let len = self.call_through(nr::READLINK, &args)?;
        text.truncate(len as usize);
        Ok(std::os::unix::ffi::OsStringExt::from_vec(text)).map(|text: std::ffi::OsString| text.into())
    }

    /// The server's name for itself.
    pub fn hostname(&self) -> io::Result<String> {
        // Six names of 65 bytes; the second is the host's.
        let mut names = [0_u8; 6 * 65];
        self.call_through(nr::UNAME, &[names.as_mut_ptr() as u64])?;
        let name = names.get(65..130).unwrap_or_default();
        Ok(String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned())
    }

    /// Connects from there. Names are looked up here.
    pub fn connect_tcp(&self, address: impl ToSocketAddrs) -> io::Result<RemoteTcpStream> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in address.to_socket_addrs()? {
            match RemoteTcpStream::connect(self, &address) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Listens there.
    pub fn listen_tcp(&self, address: SocketAddr) -> io::Result<RemoteListener> {
        RemoteListener::bind(self, &address)
    }

    /// Begins a region in this thread, until what is returned is dropped: calls of the C library go to this server, those of `syscalls`
    /// or with `None` those that the settings say. `librsc.so` must be linked or preloaded.
    pub fn region(&self, syscalls: Option<&str>) -> Result<Region, Error> {
        region::begin(Some(self), syscalls)
    }

    /// A call by its number; its result, or minus an error number. `EBADF` where a descriptor is this machine's, `ENOSYS` where the
    /// call always is.
    ///
    /// Addresses among the arguments must be what the call takes: it reads and writes the memory there, as far as the process may.
    pub(crate) fn raw(&self, number: u32, args: [u64; 6]) -> i64 {
        ask::there(self.terms, number, args)
    }
}
