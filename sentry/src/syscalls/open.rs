//! open(2), openat(2), openat2(2), creat(2), memfd_create(2). Linux: fs/open.c.

use std::rc::{Rc, Weak};

use rsc_proto::abi::{AT_FDCWD, Errno, MemfdFlags, OpenFlags, OpenHow, ResolveFlags, Seals, parse};

use super::lookup::walker;
use crate::error::SysResult;
use crate::fs::tmpfs;
use crate::ipc::pipe::{self, Pipe};
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::{File, Fut};
use crate::kernel::memory::UserPtr;
use crate::vfs::open::{Opening, check_resolve};
use crate::vfs::{Location, Walker};

/// Bits of the mode that count.
const MODE: u32 = 0o7777;
/// Flags that `O_PATH` leaves.
const PATH_FLAGS: OpenFlags =
    OpenFlags::O_DIRECTORY.union(OpenFlags::O_NOFOLLOW).union(OpenFlags::O_PATH).union(OpenFlags::O_CLOEXEC);

/// open(2).
pub async fn open(cx: &Cx, path: UserPtr<u8>, flags: u32, mode: u32) -> SysResult<Fd> {
    openat(cx, Fd(AT_FDCWD), path, flags, mode).await
}

/// creat(2).
pub async fn creat(cx: &Cx, path: UserPtr<u8>, mode: u32) -> SysResult<Fd> {
    let flags = OpenFlags::O_CREAT | OpenFlags::O_WRONLY | OpenFlags::O_TRUNC;
    openat(cx, Fd(AT_FDCWD), path, flags.bits(), mode).await
}

/// openat(2): unknown flags are ignored, as always.
pub async fn openat(cx: &Cx, dir: Fd, path: UserPtr<u8>, flags: u32, mode: u32) -> SysResult<Fd> {
    let mut flags = OpenFlags::from_bits_truncate(flags);
    if flags.contains(OpenFlags::O_PATH) {
        flags &= PATH_FLAGS;
    }
    let makes = flags.intersects(OpenFlags::O_CREAT | OpenFlags::__O_TMPFILE);
    let mode = if makes { mode & MODE } else { 0 };
    do_open(cx, dir, path, flags, mode, ResolveFlags::empty()).await
}

/// openat2(2).
pub async fn openat2(cx: &Cx, dir: Fd, path: UserPtr<u8>, how: UserPtr<u8>, size: usize) -> SysResult<Fd> {
    if size < OpenHow::SIZE {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let bytes = cx.mem.read_bytes(how.addr(), size).await?;
    if bytes.iter().skip(OpenHow::SIZE).any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let how: OpenHow = parse(&bytes).ok_or(Errno::EINVAL)?;
    let bits = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let flags = OpenFlags::from_bits(bits).ok_or(Errno::EINVAL)?;
    let resolve = check_resolve(how.resolve)?;
    let makes = flags.intersects(OpenFlags::O_CREAT | OpenFlags::__O_TMPFILE);
    if makes && how.mode & !u64::from(MODE) != 0 || !makes && how.mode != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(OpenFlags::O_PATH) && !PATH_FLAGS.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    if resolve.contains(ResolveFlags::RESOLVE_CACHED) {
        if flags.intersects(OpenFlags::O_TRUNC | OpenFlags::O_CREAT | OpenFlags::__O_TMPFILE) {
            return Err(Errno::EAGAIN.into());
        }
        // Nothing is known without asking.
        return Err(Errno::EAGAIN.into());
    }
    do_open(cx, dir, path, flags, how.mode as u32, resolve).await
}

/// Linux: build_open_flags(), do_sys_openat2().
async fn do_open(
    cx: &Cx,
    dir: Fd,
    path: UserPtr<u8>,
    flags: OpenFlags,
    mode: u32,
    resolve: ResolveFlags,
) -> SysResult<Fd> {
    if flags.contains(OpenFlags::__O_TMPFILE) {
        if !flags.contains(OpenFlags::O_TMPFILE) || flags.contains(OpenFlags::O_CREAT) || !flags.writable() {
            return Err(Errno::EINVAL.into());
        }
    } else if flags.contains(OpenFlags::O_CREAT | OpenFlags::O_DIRECTORY) {
        return Err(Errno::EINVAL.into());
    }
    let path = cx.mem.read_path(path).await?;
    if path.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    cx.room_for_fd()?;
    let exclusive = flags.contains(OpenFlags::O_CREAT | OpenFlags::O_EXCL);
    let follow = !flags.contains(OpenFlags::O_NOFOLLOW) && !exclusive;
    // Here an absolute path, too, begins at the descriptor.
    let scoped = resolve.contains(ResolveFlags::RESOLVE_IN_ROOT);
    let begins = if scoped { b"." } else { &path[..] };
    let walker = Walker { resolve, ..walker(cx, dir, begins, follow)? };
    let umask = cx.task.fs.borrow().umask.get();
    // Only the low bits and O_LARGEFILE are kept: a 64-bit task's files all have it.
    let file = match walker.open(&path, flags | large(flags), mode, umask).await? {
        Opening::Done(file) => file,
        Opening::Fifo(at) => return open_fifo(cx, at, flags).await,
    };
    Ok(cx.add_fd(file, flags.contains(OpenFlags::O_CLOEXEC))?)
}

fn large(flags: OpenFlags) -> OpenFlags {
    if flags.contains(OpenFlags::O_PATH) { OpenFlags::empty() } else { OpenFlags::O_LARGEFILE }
}

/// fifo(7): waits for the other end unless `O_NONBLOCK` says otherwise.
async fn open_fifo(cx: &Cx, at: Location, flags: OpenFlags) -> SysResult<Fd> {
    let endpoint = at.inode().endpoint().ok_or(Errno::ENXIO)?;
    let known = endpoint.borrow().clone().and_then(|e| e.downcast::<Weak<Pipe>>().ok()).and_then(|w| w.upgrade());
    let pipe = match known {
        Some(pipe) => pipe,
        None => {
            let pipe = Pipe::new(&cx.kernel.limits, at.inode().attr().ino)?;
            *endpoint.borrow_mut() = Some(Rc::new(Rc::downgrade(&pipe)));
            pipe
        }
    };
    let inode = at.inode().clone();
    let stat = Box::new(move || {
        let inode = inode.clone();
        let now: Fut<'static, _> = Box::pin(async move { Ok(inode.refresh().await?.to_stat()) });
        now
    });
    let end = pipe::open_fifo(cx, &pipe, flags, stat).await?;
    let file = File::with_location(Box::new(end), flags | large(flags), Some(at));
    Ok(cx.add_fd(file, flags.contains(OpenFlags::O_CLOEXEC))?)
}

/// memfd_create(2).
pub async fn memfd_create(cx: &Cx, name: UserPtr<u8>, flags: u32) -> SysResult<Fd> {
    let flags = MemfdFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.contains(MemfdFlags::MFD_EXEC | MemfdFlags::MFD_NOEXEC_SEAL) {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(MemfdFlags::MFD_HUGETLB) {
        // As a kernel without huge pages.
        return Err(Errno::ENOSYS.into());
    }
    // 255 less "memfd:", with its NUL.
    let name = cx.mem.read_cstr(name.addr(), 250).await?.ok_or(Errno::EINVAL)?;
    let creds = cx.task.creds();
    let noexec = flags.contains(MemfdFlags::MFD_NOEXEC_SEAL);
    let mode = if noexec { 0o666 } else { 0o777 };
    let seals = if noexec {
        Seals::F_SEAL_EXEC
    } else if flags.contains(MemfdFlags::MFD_ALLOW_SEALING) {
        Seals::empty()
    } else {
        Seals::F_SEAL_SEAL
    };
    let owner = (creds.fsuid, creds.fsgid);
    let file = tmpfs::memfd(MEMFD_DEV, cx.kernel.host.clone(), &name, mode, owner, seals)?;
    Ok(cx.add_fd(file, flags.contains(MemfdFlags::MFD_CLOEXEC))?)
}

/// Device of files that memfd_create makes.
const MEMFD_DEV: u64 = 1;
