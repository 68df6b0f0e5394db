//! Calls about descriptors themselves, mappings, and working directories.

use super::{Caller, Core, Done, Served, Then, fd_of, written};
use crate::remote::names;
use crate::remote::placeholder::Handle;
use nix::errno::Errno;
use nix::fcntl::SealFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;
use rsc_proto::abi::{PATH_MAX, Stat, parse};
use rsc_proto::table::nr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Where the core's own calls say that their memory is.
pub(super) const BUFFER: u64 = 0x10_0000;
/// Most bytes of one of its reads.
pub(super) const CHUNK: u64 = 1 << 20;
/// The largest mapping of a remote file: all of it is copied.
const MAPPING_MAX: u64 = 1 << 30;

const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const F_DUPFD_QUERY: u32 = 1027;

impl Core {
    /// What concerns numbers and not files, and what is always this machine's but wants something done.
    pub(super) async fn numbers(
        self: &Rc<Self>,
        caller: &Caller,
        number: u32,
        args: &[u64; 6],
        fds: &[(usize, Option<Rc<Handle>>)],
    ) -> Option<Served> {
        let command = args[1] as u32;
        match number {
            nr::CLOSE => {
                caller.process.resolvers.borrow_mut().remove(&fd_of(args, 0));
                Some(Served::Here(fds.first().and_then(|fd| fd.1.clone()).map(Then::Closed)))
            }
            // What they put something else in the place of.
            nr::DUP2 | nr::DUP3 if args[0] as u32 != args[1] as u32 => {
                Some(Served::Here(fds.get(1).and_then(|fd| fd.1.clone()).map(Then::Closed)))
            }
            nr::FCNTL => {
                let numbers = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD];
                let here = numbers.contains(&(command as i32)) || command == F_DUPFD_QUERY;
                here.then_some(Served::Here(None))
            }
            nr::IOCTL if matches!(command, FIOCLEX | FIONCLEX) => Some(Served::Here(None)),
            nr::POLL | nr::PPOLL | nr::SELECT | nr::PSELECT6 | nr::EPOLL_CTL if !self.placeholders.is_empty() => {
                Some(self.before_poll(caller, number, args).await)
            }
            _ => None,
        }
    }

    /// A call has run here: what it came to, once what follows is done.
    pub async fn after(self: &Rc<Self>, caller: &Caller, then: Then, result: i64) -> i64 {
        match then {
            Then::Closed(handle) if handle.is_closed() && self.placeholders.forget(&handle) => {
                // Only close(2) tells of errors, and only this once.
                let closed = self.close_there(handle.number).await;
                if result == 0 { closed.min(0) } else { result }
            }
            Then::Closed(_) => result,
            Then::Received(buffer) => {
                self.after_receipt(caller, buffer, result);
                result
            }
            Then::ChangedDirectory => {
                if result == 0 {
                    caller.process.there.borrow_mut().take();
                }
                result
            }
        }
    }

    /// Watches a new placeholder for its end.
    pub fn adopt(self: &Rc<Self>, handle: Rc<Handle>) {
        let core = Rc::clone(self);
        tokio::task::spawn_local(async move {
            handle.closed().await;
            if core.placeholders.forget(&handle) {
                core.close_there(handle.number).await;
            }
        });
    }

    /// Closes a number at the sentry.
    pub(super) async fn close_there(&self, number: i32) -> i64 {
        self.client.own(nr::CLOSE, [number as u64, 0, 0, 0, 0, 0], &[], &[]).await.result
    }

    /// A descriptor was opened there that cannot be given to its caller.
    pub async fn discard(&self, number: i32) {
        self.close_there(number).await;
    }

    pub(super) async fn stat_there(&self, number: i32) -> Result<Stat, Errno> {
        let args = [number as u64, BUFFER, 0, 0, 0, 0];
        let answered = self.client.own(nr::FSTAT, args, &[], &[(BUFFER, Stat::SIZE as u64)]).await;
        if answered.result < 0 {
            return Err(errno(answered.result));
        }
        parse(written(&answered, BUFFER)).ok_or(Errno::EIO)
    }

    /// Reads from a file there without moving its offset.
    pub(super) async fn read_there(&self, number: i32, len: u64, offset: u64) -> Result<Vec<u8>, Errno> {
        let len = len.min(CHUNK);
        let args = [number as u64, BUFFER, len, offset, 0, 0];
        let answered = self.client.own(nr::PREAD64, args, &[], &[(BUFFER, len)]).await;
        if answered.result < 0 {
            return Err(errno(answered.result));
        }
        let data = written(&answered, BUFFER);
        Ok(data.get(..answered.result as usize).unwrap_or(data).to_vec())
    }

    /// A mapping of a remote file: a copy of what is mapped.
    pub(super) async fn map(&self, args: &[u64; 6], fds: &[(usize, Option<Rc<Handle>>)]) -> Served {
        let Some(handle) = fds.iter().find_map(|fd| fd.1.clone()) else { return Done::failed(Errno::EBADF) };
        let (length, protection, flags, offset) = (args[1], args[2], args[3], args[5]);
        let shared = flags & libc::MAP_TYPE as u64 != libc::MAP_PRIVATE as u64;
        if shared && protection & libc::PROT_WRITE as u64 != 0 {
            return Done::failed(Errno::ENODEV);
        }
        match self.copy(&handle, length, offset, shared).await {
            Ok(memfd) => Served::Map(memfd),
            Err(errno) => Done::failed(errno),
        }
    }

    async fn copy(&self, handle: &Handle, length: u64, offset: u64, shared: bool) -> Result<OwnedFd, Errno> {
        let stat = self.stat_there(handle.number).await?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::ENODEV);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let end = size.min(offset.checked_add(length).ok_or(Errno::EOVERFLOW)?);
        let bytes = end.saturating_sub(offset);
        if bytes > MAPPING_MAX {
            return Err(Errno::ENOMEM);
        }
        let memfd = memfd_create(c"rsc-copy", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        // What lies behind the end gives SIGBUS.
        ftruncate(&memfd, i64::try_from(bytes).map_err(|_| Errno::EOVERFLOW)?)?;
        let file = File::from(memfd);
        let mut done = 0;
        while done < bytes {
            let data = self.read_there(handle.number, bytes - done, offset + done).await?;
            if data.is_empty() {
                break;
            }
            file.write_all_at(&data, done).map_err(|_| Errno::ENOMEM)?;
            done += data.len() as u64;
        }
        if shared {
            // Nobody makes it writable later.
            let _ = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE));
        }
        Ok(file.into())
    }

    /// getcwd(2), where the working directory that counts is there.
    pub(super) fn working_directory(&self, caller: &Caller, args: &[u64; 6]) -> Served {
        let Some(mut path) = caller.process.there.borrow().clone() else { return Served::Here(None) };
        path.push(0);
        if args[1] < path.len() as u64 {
            return Done::failed(if args[1] == 0 { Errno::EINVAL } else { Errno::ERANGE });
        }
        let length = path.len();
        match caller.window.write(args[0], &path) {
            written if written == length => Done::value(length as i64),
            _ => Done::failed(Errno::EFAULT),
        }
    }

    /// chdir(2) to a directory there, which is called `map` there if that is given.
    pub(super) async fn change_directory(&self, caller: &Caller, path: Vec<u8>, map: Option<Vec<u8>>) -> Served {
        let named = map.clone().unwrap_or_else(|| path.clone());
        let mut name = named.clone();
        name.push(0);
        let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
        let args = [libc::AT_FDCWD as u64, BUFFER, flags, 0, 0, 0];
        let opened = self.client.own(nr::OPENAT, args, &[(BUFFER, &name)], &[]).await.result;
        let Ok(number) = i32::try_from(opened) else { return Done::failed(Errno::EIO) };
        if number < 0 {
            return Done::value(opened);
        }
        let name = self.name_of(number).await;
        self.close_there(number).await;
        // Its name there means something here only if rules lead there from another one: that is then the one to start from.
        let name = name.map(|name| if map.is_some() && name == names::normal(&named) { path } else { name });
        self.set_directory(caller, name)
    }

    /// fchdir(2) to one.
    pub(super) async fn change_to(&self, caller: &Caller, fds: &[(usize, Option<Rc<Handle>>)]) -> Served {
        let Some(handle) = fds.iter().find_map(|fd| fd.1.clone()) else { return Done::failed(Errno::EBADF) };
        match self.stat_there(handle.number).await {
            Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => {
                let name = self.name_of(handle.number).await;
                self.set_directory(caller, name)
            }
            Ok(_) => Done::failed(Errno::ENOTDIR),
            Err(errno) => Done::failed(errno),
        }
    }

    fn set_directory(&self, caller: &Caller, name: Result<Vec<u8>, Errno>) -> Served {
        match name {
            Ok(name) => {
                *caller.process.there.borrow_mut() = Some(names::normal(&name));
                Done::value(0)
            }
            Err(errno) => Done::failed(errno),
        }
    }

    /// The name of an open file there.
    async fn name_of(&self, number: i32) -> Result<Vec<u8>, Errno> {
        let link = format!("/proc/self/fd/{number}\0");
        let room = BUFFER + PATH_MAX as u64;
        let args = [BUFFER, room, PATH_MAX as u64, 0, 0, 0];
        let answered =
            self.client.own(nr::READLINK, args, &[(BUFFER, link.as_bytes())], &[(room, PATH_MAX as u64)]).await;
        let length = usize::try_from(answered.result).map_err(|_| errno(answered.result))?;
        written(&answered, room).get(..length).map(<[u8]>::to_vec).ok_or(Errno::EIO)
    }
}

/// The error in a negative result.
pub(super) fn errno(result: i64) -> Errno {
    Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EIO))
}
