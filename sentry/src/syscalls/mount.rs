//! mount(2) and umount2(2), for a workload that has CAP_SYS_ADMIN in its sandbox. Linux: fs/namespace.c.
//!
//! Only the sandbox sees these mounts, and nothing of the host can be had by them. What the container's description mounts stays
//! where it is, with its restrictions, as mounts that a user namespace was given do in Linux (mount_namespaces(7)).

use std::rc::Rc;

use rsc_proto::abi::{Errno, MountFlags, UmountFlags};

use super::lookup::resolve;
use crate::error::SysResult;
use crate::fs::tmpfs::{BadValue, TmpFs, TmpfsOptions};
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;
use crate::vfs::{FileSystem, Location, Mount};

/// What mount(2) takes of a type or of data, and the end of it: a page.
const TEXT_MAX: usize = 4096;
/// Mounts of a sandbox. Linux: fs.mount-max, which is larger.
const MOUNTS_MAX: usize = 4096;
/// Once the upper half of the flags of every mount(2), and still taken.
const MAGIC: u64 = 0xc0ed_0000;
const MAGIC_MASK: u64 = 0xffff_0000;

/// What a mount has of its own, apart from the times of access.
const OWN: MountFlags = MountFlags::MS_RDONLY
    .union(MountFlags::MS_NOSUID)
    .union(MountFlags::MS_NODEV)
    .union(MountFlags::MS_NOEXEC)
    .union(MountFlags::MS_NOSYMFOLLOW);
const ATIME: MountFlags = MountFlags::MS_NOATIME.union(MountFlags::MS_NODIRATIME).union(MountFlags::MS_RELATIME);
const PROPAGATION: MountFlags =
    MountFlags::MS_SHARED.union(MountFlags::MS_PRIVATE).union(MountFlags::MS_SLAVE).union(MountFlags::MS_UNBINDABLE);

async fn text(cx: &Cx, ptr: UserPtr<u8>) -> Result<Option<String>, Errno> {
    let Some(ptr) = ptr.non_null() else { return Ok(None) };
    let text = cx.mem.read_cstr(ptr.addr(), TEXT_MAX).await?.ok_or(Errno::EINVAL)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

fn admin(cx: &Cx) -> Result<(), Errno> {
    if cx.task.creds().has(cap::SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
}

/// `EINVAL` of a place that is not in the tree: in a mount that was taken away, or a file without a path.
fn in_tree(cx: &Cx, at: &Location) -> Result<(), Errno> {
    if cx.kernel.vfs.mounts.has(&at.mount) { Ok(()) } else { Err(Errno::EINVAL) }
}

/// The mount whose root is here. `EINVAL` in the middle of one. Linux: path_mounted().
fn mounted<'a>(cx: &Cx, at: &'a Location) -> Result<&'a Rc<Mount>, Errno> {
    in_tree(cx, at)?;
    if Rc::ptr_eq(&at.dentry, &at.mount.root) { Ok(&at.mount) } else { Err(Errno::EINVAL) }
}

/// What to bind or to move. Linux: `EINVAL` if it is not said.
async fn origin(cx: &Cx, source: UserPtr<u8>, name: Option<&str>) -> Result<Location, Errno> {
    match name {
        None | Some("") => Err(Errno::EINVAL),
        Some(_) => resolve(cx, source, true).await,
    }
}

/// The flags of a mount. Linux: path_mount().
fn own(flags: MountFlags) -> MountFlags {
    let mut own = flags & (OWN | ATIME);
    if !flags.contains(MountFlags::MS_NOATIME) {
        own |= MountFlags::MS_RELATIME;
    }
    if flags.contains(MountFlags::MS_STRICTATIME) {
        own -= MountFlags::MS_RELATIME | MountFlags::MS_NOATIME;
    }
    own
}

/// mount(2).
pub async fn mount(
    cx: &Cx,
    source: UserPtr<u8>,
    target: UserPtr<u8>,
    kind: UserPtr<u8>,
    flags: u64,
    data: UserPtr<u8>,
) -> SysResult<()> {
    let kind = text(cx, kind).await?;
    let name = text(cx, source).await?;
    let data = text(cx, data).await?.unwrap_or_default();
    let at = resolve(cx, target, true).await?;
    admin(cx)?;
    let flags = if flags & MAGIC_MASK == MAGIC { flags & !MAGIC_MASK } else { flags };
    let flags = MountFlags::from_bits_truncate(flags);
    if flags.contains(MountFlags::MS_REMOUNT) {
        return remount(cx, &at, flags, &data);
    }
    if flags.contains(MountFlags::MS_BIND) {
        let from = origin(cx, source, name.as_deref()).await?;
        return bind(cx, &at, &from, flags.contains(MountFlags::MS_REC));
    }
    if flags.intersects(PROPAGATION) {
        return propagation(cx, &at, flags);
    }
    if flags.contains(MountFlags::MS_MOVE) {
        let from = origin(cx, source, name.as_deref()).await?;
        return relocate(cx, &at, &from);
    }
    let fs = instance(cx, &kind.ok_or(Errno::EINVAL)?, &data)?;
    in_tree(cx, &at)?;
    room(cx, 1)?;
    if !at.inode().attr().is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    cx.kernel.vfs.mount(&at, fs, own(flags), name.as_deref().unwrap_or("none"));
    Ok(())
}

fn room(cx: &Cx, more: usize) -> Result<(), Errno> {
    if cx.kernel.vfs.mounts.count() + more > MOUNTS_MAX { Err(Errno::ENOSPC) } else { Ok(()) }
}

/// A new file system of those that need no device.
fn instance(cx: &Cx, kind: &str, data: &str) -> Result<Rc<dyn FileSystem>, Errno> {
    let options = || data.split(',').filter(|option| !option.is_empty());
    if kind == "tmpfs" {
        let creds = cx.task.creds();
        let mut own = TmpfsOptions { uid: creds.fsuid, gid: creds.fsgid, ..Default::default() };
        for option in options() {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !own.set(name, value).map_err(|BadValue| Errno::EINVAL)? {
                return Err(Errno::EINVAL);
            }
        }
        let vfs = &cx.kernel.vfs;
        return Ok(TmpFs::new(vfs.new_dev(), vfs.host.clone(), own));
    }
    let fs = cx.kernel.vfs.instance(kind, cx.kernel.facts.cpus).ok_or(Errno::ENODEV)?;
    // devpts is one for the whole sandbox, whatever it is asked to be; the others have no options that could be honoured.
    if kind != "devpts" && options().next().is_some() {
        return Err(cx.kernel.unlisted(cx));
    }
    Ok(fs)
}

/// Linux: do_reconfigure_mnt() with MS_BIND, else do_remount(), of which only the flags can be changed.
fn remount(cx: &Cx, at: &Location, flags: MountFlags, data: &str) -> SysResult<()> {
    let mount = mounted(cx, at)?;
    let mut wanted = own(flags);
    if !flags.intersects(ATIME | MountFlags::MS_STRICTATIME) {
        wanted = (wanted - ATIME) | (mount.flags() & ATIME);
    }
    if !mount.may_have(wanted) {
        return Err(Errno::EPERM.into());
    }
    if !flags.contains(MountFlags::MS_BIND) && !data.is_empty() {
        return Err(cx.kernel.unlisted(cx).into());
    }
    mount.set_flags(wanted);
    Ok(())
}

/// Linux: do_loopback().
fn bind(cx: &Cx, at: &Location, from: &Location, deep: bool) -> SysResult<()> {
    in_tree(cx, from)?;
    in_tree(cx, at)?;
    let within = cx.kernel.vfs.mounts.within(from);
    // Without them what they hide would be seen.
    if !deep && within.iter().any(|mount| mount.is_fixed()) {
        return Err(Errno::EINVAL.into());
    }
    room(cx, if deep { within.len() + 1 } else { 1 })?;
    if at.inode().attr().is_dir() != from.inode().attr().is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    cx.kernel.vfs.mounts.copy(at, from, deep);
    Ok(())
}

/// There is one mount namespace, in which every mount is private. Linux: do_change_type().
fn propagation(cx: &Cx, at: &Location, flags: MountFlags) -> SysResult<()> {
    let kind = flags - MountFlags::MS_REC - MountFlags::MS_SILENT;
    if kind.bits().count_ones() != 1 {
        return Err(Errno::EINVAL.into());
    }
    mounted(cx, at)?;
    if kind.intersects(MountFlags::MS_SHARED | MountFlags::MS_UNBINDABLE) {
        return Err(cx.kernel.unlisted(cx).into());
    }
    Ok(())
}

/// Linux: do_move_mount().
fn relocate(cx: &Cx, at: &Location, from: &Location) -> SysResult<()> {
    let mount = mounted(cx, from)?;
    if mount.is_fixed() || mount.parent().is_none() {
        return Err(Errno::EINVAL.into());
    }
    if at.inode().attr().is_dir() != from.inode().attr().is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    in_tree(cx, at)?;
    let mounts = &cx.kernel.vfs.mounts;
    if at.mount.id == mount.id || mounts.within(from).iter().any(|m| m.id == at.mount.id) {
        return Err(Errno::ELOOP.into());
    }
    mounts.relocate(mount, at);
    Ok(())
}

/// umount2(2).
pub async fn umount2(cx: &Cx, target: UserPtr<u8>, flags: u32) -> SysResult<()> {
    let flags = UmountFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let at = resolve(cx, target, !flags.contains(UmountFlags::UMOUNT_NOFOLLOW)).await?;
    admin(cx)?;
    let mount = mounted(cx, &at)?.clone();
    if mount.is_fixed() || mount.parent().is_none() {
        return Err(Errno::EINVAL.into());
    }
    let at_once = flags.contains(UmountFlags::MNT_DETACH);
    if flags.contains(UmountFlags::MNT_EXPIRE) {
        if at_once || flags.contains(UmountFlags::MNT_FORCE) {
            return Err(Errno::EINVAL.into());
        }
        // There are no marks of what was not used since.
        return Err(cx.kernel.unlisted(cx).into());
    }
    let mounts = &cx.kernel.vfs.mounts;
    let within = mounts.within(&at);
    drop(at);
    if !at_once && (!within.is_empty() || is_busy(&mount)) {
        return Err(Errno::EBUSY.into());
    }
    for inner in within.iter().rev().chain([&mount]) {
        mounts.unmount(inner);
    }
    Ok(())
}

/// Whether something is open there, or is somebody's working directory.
fn is_busy(mount: &Rc<Mount>) -> bool {
    // The table has it twice, in its list and by its place, and we once.
    Rc::strong_count(mount) > 3
}
