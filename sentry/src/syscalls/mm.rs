//! mmap(2) of files, msync(2). Everything else about memory is the host kernel's. Linux: mm/mmap.c, mm/msync.c.

use rsc_proto::abi::{Errno, MmapFlags, MmapProt, MountFlags, MsyncFlags, PAGE_SIZE};
use rsc_proto::v1::MapFile;

use super::Outcome;
use crate::error::SysResult;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::MapRequest;

/// `MAP_TYPE`.
const MAP_TYPE: u64 = 0xf;
/// `MADV_REMOVE`.
const MADV_REMOVE: u32 = 9;
/// Flags that `MAP_SHARED_VALIDATE` knows. Linux: `LEGACY_MAP_MASK` and `mmap_supported_flags`.
const VALIDATED: MmapFlags = MmapFlags::MAP_SHARED
    .union(MmapFlags::MAP_PRIVATE)
    .union(MmapFlags::MAP_FIXED)
    .union(MmapFlags::MAP_ANONYMOUS)
    .union(MmapFlags::MAP_DENYWRITE)
    .union(MmapFlags::MAP_EXECUTABLE)
    .union(MmapFlags::MAP_GROWSDOWN)
    .union(MmapFlags::MAP_LOCKED)
    .union(MmapFlags::MAP_NORESERVE)
    .union(MmapFlags::MAP_POPULATE)
    .union(MmapFlags::MAP_NONBLOCK)
    .union(MmapFlags::MAP_STACK)
    .union(MmapFlags::MAP_HUGETLB)
    .union(MmapFlags::MAP_32BIT)
    .union(MmapFlags::MAP_ABOVE4G)
    .union(MmapFlags::MAP_FIXED_NOREPLACE);

/// mmap(2). Anonymous memory is the task's own; files are mapped by the supervisor from where this answer says.
pub async fn mmap(cx: &Cx, _addr: u64, len: u64, prot: u64, flags: u64, fd: Fd, offset: u64) -> SysResult<Outcome> {
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let bits = MmapFlags::from_bits_truncate(flags as u32);
    let huge = bits.contains(MmapFlags::MAP_HUGETLB);
    if bits.contains(MmapFlags::MAP_ANONYMOUS) {
        // As on a machine without huge pages.
        return if huge { Err(Errno::ENOMEM.into()) } else { Ok(Outcome::Native { report: false }) };
    }
    let file = cx.file(fd)?;
    if huge || len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let len =
        len.checked_next_multiple_of(PAGE_SIZE).filter(|l| *l <= rsc_proto::abi::TASK_SIZE).ok_or(Errno::ENOMEM)?;
    let end = offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
    if i64::try_from(end).is_err() {
        return Err(Errno::EOVERFLOW.into());
    }
    let prot = MmapProt::from_bits_truncate(prot as u32);
    let shared = match flags & MAP_TYPE {
        1 => true,
        2 => false,
        3 if flags & !u64::from(VALIDATED.bits()) != 0 => return Err(Errno::EOPNOTSUPP.into()),
        3 => true,
        _ => return Err(Errno::EINVAL.into()),
    };
    if shared && prot.contains(MmapProt::PROT_WRITE) && !file.writable() {
        return Err(Errno::EACCES.into());
    }
    if !file.readable() {
        return Err(Errno::EACCES.into());
    }
    if let Some(at) = file.location()
        && at.mount.flags().contains(MountFlags::MS_NOEXEC)
        && prot.contains(MmapProt::PROT_EXEC)
    {
        return Err(Errno::EPERM.into());
    }
    // A shared mapping of a writable descriptor can be made writable at any time.
    let request = MapRequest { offset, len, shared_writable: shared && file.writable() };
    let source = file.ops().map(&file, request).await?;
    Ok(Outcome::Map(Box::new(MapFile { source: Some(source), writable: request.shared_writable })))
}

/// mremap(2): a mapped file is a descriptor of its own length, and wholly present or beyond what was asked for.
pub async fn mremap(_: &Cx) -> SysResult<Outcome> {
    Ok(Outcome::Native { report: false })
}

/// madvise(2): the table says which advice changes no file; the rest is answered as by a kernel, or a file system, without it.
pub async fn madvise(cx: &Cx, _addr: u64, _len: u64, advice: u32) -> SysResult<Outcome> {
    if rsc_proto::table::native_permitted(cx.nr, &cx.args, false) {
        return Ok(Outcome::Native { report: false });
    }
    Err(if advice == MADV_REMOVE { Errno::EOPNOTSUPP } else { Errno::EINVAL }.into())
}

/// msync(2): what was written through mappings goes to the files before this returns.
pub async fn msync(cx: &Cx, addr: u64, len: u64, flags: u32) -> SysResult<()> {
    let flags = MsyncFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !addr.is_multiple_of(PAGE_SIZE) || flags.contains(MsyncFlags::MS_ASYNC | MsyncFlags::MS_SYNC) {
        return Err(Errno::EINVAL.into());
    }
    let end = len.checked_next_multiple_of(PAGE_SIZE).and_then(|l| addr.checked_add(l)).ok_or(Errno::ENOMEM)?;
    if end > addr && addr < PAGE_SIZE || end > rsc_proto::abi::TASK_SIZE {
        return Err(Errno::ENOMEM.into());
    }
    if flags.contains(MsyncFlags::MS_SYNC) {
        cx.kernel.vfs.sync().await?;
    }
    Ok(())
}
