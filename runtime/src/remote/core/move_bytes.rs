//! Calls with descriptors of both sides: what Linux does within one kernel by itself is carried by hand.

use super::descriptors::{BUFFER, CHUNK, errno};
use super::{Caller, Core, Done, Served, fd_of};
use crate::remote::placeholder::Handle;
use crate::sys::{host, process};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::fstat;
use rsc_proto::table::nr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use tokio::io::Interest;

/// Bytes that one call moves at most; whoever wants more asks again.
const MOVED_MAX: u64 = 256 << 10;

/// One end of a transfer.
enum End {
    Here(OwnedFd),
    There(i32),
}

impl Core {
    /// A call some of whose descriptors are remote.
    pub(super) async fn mixed(
        &self,
        caller: &Caller,
        number: u32,
        args: &[u64; 6],
        fds: &[(usize, Option<Rc<Handle>>)],
    ) -> Served {
        let (from, to, offsets, count) = match number {
            nr::SENDFILE => (1, 0, [args[2], 0], args[3]),
            nr::COPY_FILE_RANGE => (0, 2, [args[1], args[3]], args[4]),
            // As of files that cannot: programs then copy by hand.
            _ => return Done::failed(Errno::EINVAL),
        };
        let end = |at: usize| -> Result<End, Errno> {
            match fds.iter().find(|fd| fd.0 == at).and_then(|fd| fd.1.as_ref()) {
                Some(handle) => Ok(End::There(handle.number)),
                None => {
                    let pidfd = process::pidfd_open(caller.process.tgid)?;
                    Ok(End::Here(process::pidfd_getfd(pidfd.as_fd(), fd_of(args, at))?))
                }
            }
        };
        let moved = match (end(from), end(to)) {
            (Ok(from), Ok(to)) => self.transfer(caller, &from, &to, offsets, count.min(MOVED_MAX)).await,
            (Err(errno), _) | (_, Err(errno)) => Err(errno),
        };
        match moved {
            Ok(moved) => Done::value(moved as i64),
            Err(errno) => Done::failed(errno),
        }
    }

    async fn transfer(
        &self,
        caller: &Caller,
        from: &End,
        to: &End,
        offsets: [u64; 2],
        count: u64,
    ) -> Result<u64, Errno> {
        let given = |addr: u64| -> Result<Option<u64>, Errno> {
            let mut word = [0; 8];
            match addr {
                0 => Ok(None),
                _ if caller.window.read(addr, &mut word) == 8 => Ok(Some(u64::from_ne_bytes(word))),
                _ => Err(Errno::EFAULT),
            }
        };
        let (from_given, to_given) = (given(offsets[0])?, given(offsets[1])?);
        let start = match from_given {
            Some(offset) => offset,
            None => self.position(from).await?,
        };
        let data = match from {
            End::There(number) => self.read_there(*number, count, start).await?,
            End::Here(fd) => {
                let mut buffer = vec![0; count as usize];
                let offset = i64::try_from(start).map_err(|_| Errno::EINVAL)?;
                let got = nix::sys::uio::pread(fd, &mut buffer, offset)?;
                buffer.truncate(got);
                buffer
            }
        };
        if data.is_empty() {
            return Ok(0);
        }
        let moved = match to {
            End::There(number) => self.write_there(*number, &data, to_given).await?,
            End::Here(fd) => match to_given {
                Some(offset) => {
                    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
                    nix::sys::uio::pwrite(fd, &data, offset)? as u64
                }
                None => write_here(fd, &data).await?,
            },
        };
        match from_given {
            Some(offset) => write_word(caller, offsets[0], offset + moved)?,
            None => self.set_position(from, start + moved).await?,
        }
        if let Some(offset) = to_given {
            write_word(caller, offsets[1], offset + moved)?;
        }
        Ok(moved)
    }

    async fn position(&self, end: &End) -> Result<u64, Errno> {
        match end {
            End::Here(fd) => {
                let position = nix::unistd::lseek(fd, 0, nix::unistd::Whence::SeekCur)?;
                u64::try_from(position).map_err(|_| Errno::EINVAL)
            }
            End::There(number) => {
                let args = [*number as u64, 0, libc::SEEK_CUR as u64, 0, 0, 0];
                let result = self.client.own(nr::LSEEK, args, &[], &[]).await.result;
                u64::try_from(result).map_err(|_| errno(result))
            }
        }
    }

    async fn set_position(&self, end: &End, position: u64) -> Result<(), Errno> {
        match end {
            End::Here(fd) => {
                let position = i64::try_from(position).map_err(|_| Errno::EOVERFLOW)?;
                nix::unistd::lseek(fd, position, nix::unistd::Whence::SeekSet).map(drop)
            }
            End::There(number) => {
                let args = [*number as u64, position, libc::SEEK_SET as u64, 0, 0, 0];
                let result = self.client.own(nr::LSEEK, args, &[], &[]).await.result;
                if result < 0 { Err(errno(result)) } else { Ok(()) }
            }
        }
    }

    async fn write_there(&self, number: i32, data: &[u8], offset: Option<u64>) -> Result<u64, Errno> {
        let data = data.get(..CHUNK as usize).unwrap_or(data);
        let (call, at) = offset.map_or((nr::WRITE, 0), |offset| (nr::PWRITE64, offset));
        let args = [number as u64, BUFFER, data.len() as u64, at, 0, 0];
        let result = self.client.own(call, args, &[(BUFFER, data)], &[]).await.result;
        u64::try_from(result).map_err(|_| errno(result))
    }
}

fn write_word(caller: &Caller, addr: u64, value: u64) -> Result<(), Errno> {
    if caller.window.write(addr, &value.to_ne_bytes()) == 8 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Writes to a descriptor of the caller's, as patiently as its owner wants, without holding up anybody else.
async fn write_here(fd: &OwnedFd, data: &[u8]) -> Result<u64, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    loop {
        let written = match send(fd.as_raw_fd(), data, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::ENOTSOCK) => write_if_ready(fd, data),
            sent => sent,
        };
        match written {
            Err(Errno::EAGAIN) if !flags.contains(OFlag::O_NONBLOCK) => {
                let watched = host::watch(fd.try_clone().map_err(|_| Errno::EMFILE)?, Interest::WRITABLE);
                let Ok(watched) = watched else { return Err(Errno::EINVAL) };
                if let Ok(mut ready) = watched.writable().await {
                    ready.clear_ready();
                }
            }
            written => return written.map(|count| count as u64),
        }
    }
}

/// A pipe or terminal that is ready takes at least so many bytes at once; a file never makes anybody wait long.
fn write_if_ready(fd: &OwnedFd, data: &[u8]) -> nix::Result<usize> {
    let plain = fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFREG;
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    if !plain && poll(&mut fds, PollTimeout::ZERO)? == 0 {
        return Err(Errno::EAGAIN);
    }
    let most = if plain { data.len() } else { data.len().min(libc::PIPE_BUF) };
    nix::unistd::write(fd, data.get(..most).unwrap_or(data))
}
