//! `/proc/PID/mounts` and `/proc/PID/mountinfo` (proc(5)).

use std::rc::Rc;

use rsc_proto::abi::{MountFlags, major, minor};

use crate::kernel::Kernel;
use crate::vfs::{Location, Mount};

/// A field, with blanks, tabs, newlines and backslashes as octal escapes. Linux: mangle_path().
fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &b in text {
        match b {
            b' ' | b'\t' | b'\n' | b'\\' => out.extend_from_slice(format!("\\{b:03o}").as_bytes()),
            b => out.push(b),
        }
    }
    out
}

fn options(flags: MountFlags, read_only: bool) -> String {
    let mut s = String::from(if read_only || flags.contains(MountFlags::MS_RDONLY) { "ro" } else { "rw" });
    for (flag, name) in [
        (MountFlags::MS_NOSUID, ",nosuid"),
        (MountFlags::MS_NODEV, ",nodev"),
        (MountFlags::MS_NOEXEC, ",noexec"),
        (MountFlags::MS_NOATIME, ",noatime"),
        (MountFlags::MS_NODIRATIME, ",nodiratime"),
        (MountFlags::MS_RELATIME, ",relatime"),
    ] {
        if flags.contains(flag) {
            s.push_str(name);
        }
    }
    s
}

/// The mounts that are visible from `root`, each with the path of its mount point.
fn visible(kernel: &Kernel, root: &Location) -> Vec<(Rc<Mount>, Vec<u8>)> {
    let mut all = Vec::new();
    for mount in kernel.vfs.mounts.list() {
        let (path, reachable) = kernel.vfs.path_of(&mount.root_location(), root);
        if reachable {
            all.push((mount, escape(&path)));
        }
    }
    all
}

fn super_options(mount: &Mount) -> String {
    let mut s = options(MountFlags::empty(), mount.fs.read_only());
    let own = mount.fs.options();
    if !own.is_empty() {
        s.push(',');
        s.push_str(&own);
    }
    s
}

/// `mounts`.
pub(super) fn mounts(kernel: &Kernel, root: &Location) -> Vec<u8> {
    let mut out = Vec::new();
    for (mount, path) in visible(kernel, root) {
        out.extend_from_slice(&escape(mount.source.as_bytes()));
        out.push(b' ');
        out.extend_from_slice(&path);
        let mut flags = options(mount.flags(), mount.fs.read_only());
        let own = mount.fs.options();
        if !own.is_empty() {
            flags = format!("{flags},{own}");
        }
        out.extend_from_slice(format!(" {} {flags} 0 0\n", mount.fs.kind()).as_bytes());
    }
    out
}

/// `mountinfo`.
pub(super) fn mountinfo(kernel: &Kernel, root: &Location) -> Vec<u8> {
    let mut out = Vec::new();
    for (mount, path) in visible(kernel, root) {
        let dev = mount.root.inode().attr().dev;
        let parent = mount.parent().map_or(mount.id, |p| p.mount.id);
        out.extend_from_slice(format!("{} {parent} {}:{} / ", mount.id, major(dev), minor(dev)).as_bytes());
        out.extend_from_slice(&path);
        out.extend_from_slice(format!(" {} - {} ", options(mount.flags(), false), mount.fs.kind()).as_bytes());
        out.extend_from_slice(&escape(mount.source.as_bytes()));
        out.extend_from_slice(format!(" {}\n", super_options(&mount)).as_bytes());
    }
    out
}
