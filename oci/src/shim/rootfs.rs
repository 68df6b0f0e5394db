//! The root file system that a request describes as mounts, at `rootfs` of the container's folder.

use std::io;
use std::path::{Component, Path, PathBuf};

use containerd_shim_protos::types::mount::Mount;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::error::ShimError;
use super::loops;

/// What mount(2) takes as data, less its end.
const PAGE: usize = 4095;
/// Mounts on one place; nobody stacks as many.
const MAX_STACK: usize = 128;

/// Mounts all of `mounts` at `target`, one over the other; all or none.
pub(super) fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), ShimError> {
    if mounts.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(target).map_err(ShimError::io(format!("creating {}", target.display())))?;
    for one in mounts {
        let done = Plan::of(one, target).and_then(|plan| {
            let doing = format!("mounting {} {} on {}", one.type_, one.source, plan.target.display());
            plan.carry_out().map_err(ShimError::io(doing))
        });
        if done.is_err() {
            unmount_all(target);
        }
        done?;
    }
    Ok(())
}

/// Unmounts whatever is mounted at `target`.
pub(super) fn unmount_all(target: &Path) {
    for _ in 0..MAX_STACK {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINTR) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return,
            Err(error) => {
                tracing::warn!("unmounting {}: {error}", target.display());
                return;
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    kind: String,
    source: String,
    target: PathBuf,
    flags: MsFlags,
    propagation: MsFlags,
    data: Vec<String>,
    /// The source is a file, and a loop device to be put before it.
    looped: bool,
}

/// What an option sets and clears.
fn flag(option: &str) -> Option<(MsFlags, MsFlags)> {
    let none = MsFlags::empty();
    Some(match option {
        "defaults" | "rw" => (none, if option == "rw" { MsFlags::MS_RDONLY } else { none }),
        "ro" => (MsFlags::MS_RDONLY, none),
        "nosuid" => (MsFlags::MS_NOSUID, none),
        "suid" => (none, MsFlags::MS_NOSUID),
        "nodev" => (MsFlags::MS_NODEV, none),
        "dev" => (none, MsFlags::MS_NODEV),
        "noexec" => (MsFlags::MS_NOEXEC, none),
        "exec" => (none, MsFlags::MS_NOEXEC),
        "sync" => (MsFlags::MS_SYNCHRONOUS, none),
        "async" => (none, MsFlags::MS_SYNCHRONOUS),
        "dirsync" => (MsFlags::MS_DIRSYNC, none),
        "mand" => (MsFlags::MS_MANDLOCK, none),
        "nomand" => (none, MsFlags::MS_MANDLOCK),
        "noatime" => (MsFlags::MS_NOATIME, none),
        "atime" => (none, MsFlags::MS_NOATIME),
        "nodiratime" => (MsFlags::MS_NODIRATIME, none),
        "diratime" => (none, MsFlags::MS_NODIRATIME),
        "relatime" => (MsFlags::MS_RELATIME, none),
        "norelatime" => (none, MsFlags::MS_RELATIME),
        "strictatime" => (MsFlags::MS_STRICTATIME, none),
        "nostrictatime" => (none, MsFlags::MS_STRICTATIME),
        "bind" => (MsFlags::MS_BIND, none),
        "rbind" => (MsFlags::MS_BIND | MsFlags::MS_REC, none),
        "remount" => (MsFlags::MS_REMOUNT, none),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MsFlags> {
    Some(match option {
        "private" => MsFlags::MS_PRIVATE,
        "rprivate" => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "shared" => MsFlags::MS_SHARED,
        "rshared" => MsFlags::MS_SHARED | MsFlags::MS_REC,
        "slave" => MsFlags::MS_SLAVE,
        "rslave" => MsFlags::MS_SLAVE | MsFlags::MS_REC,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        "runbindable" => MsFlags::MS_UNBINDABLE | MsFlags::MS_REC,
        _ => return None,
    })
}

impl Plan {
    fn of(one: &Mount, target: &Path) -> Result<Self, ShimError> {
        let mut plan = Self {
            kind: one.type_.clone(),
            source: one.source.clone(),
            target: below(target, &one.target)?,
            flags: MsFlags::empty(),
            propagation: MsFlags::empty(),
            data: Vec::new(),
            looped: false,
        };
        if plan.kind == "bind" || plan.kind == "rbind" {
            plan.flags |= MsFlags::MS_BIND;
        }
        if plan.kind == "rbind" {
            plan.flags |= MsFlags::MS_REC;
        }
        for option in &one.options {
            if let Some((set, clear)) = flag(option) {
                plan.flags = (plan.flags | set) - clear;
            } else if let Some(way) = propagation(option) {
                plan.propagation |= way;
            } else if option == "loop" {
                plan.looped = true;
            } else if option.starts_with("loop=") {
                return Err(ShimError::Unsupported(format!("root: mount option {option} (use loop)")));
            } else if !option.starts_with("X-containerd.") && !option.starts_with("x-containerd.") {
                plan.data.push(option.clone());
            }
        }
        Ok(plan)
    }

    fn carry_out(self) -> io::Result<()> {
        if self.data.join(",").len() <= PAGE {
            return self.mount_from(None);
        }
        // Too many layers for one page: shorter, from the folder that all of them are in. A thread has its own working directory.
        let Some(common) = self.common_folder() else { return Err(Errno::E2BIG.into()) };
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_FS)?;
            nix::unistd::chdir(&common)?;
            self.mount_from(Some(&common))
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    }

    fn mount_from(&self, folder: Option<&Path>) -> io::Result<()> {
        let data = match folder {
            Some(folder) => self.data.iter().map(|option| shorten(option, folder)).collect::<Vec<_>>().join(","),
            None => self.data.join(","),
        };
        if data.len() > PAGE {
            return Err(Errno::E2BIG.into());
        }
        // Held until it is mounted: without a user it would be free again.
        let device = if self.looped { Some(loops::attach(&self.source, read_only(self))?) } else { None };
        let source = device.as_ref().map_or(self.source.as_str(), |device| device.name.as_str());
        let (source, kind) = (Some(source), Some(self.kind.as_str()));
        let bind = self.flags.contains(MsFlags::MS_BIND);
        let data = (!data.is_empty()).then_some(data.as_str());
        mount(source, &self.target, kind, self.flags, if bind { None } else { data })?;
        let rest = self.flags - MsFlags::MS_BIND - MsFlags::MS_REC;
        if bind && !rest.is_empty() {
            // A bind mount takes its flags only when it is there.
            let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | rest;
            mount(None::<&str>, &self.target, None::<&str>, again, None::<&str>)?;
        }
        if !self.propagation.is_empty() {
            mount(None::<&str>, &self.target, None::<&str>, self.propagation, None::<&str>)?;
        }
        Ok(())
    }

    /// The deepest folder that all layers are in.
    fn common_folder(&self) -> Option<PathBuf> {
        let layers = self.data.iter().find_map(|option| option.strip_prefix("lowerdir="))?;
        let mut layers = layers.split(':').map(Path::new);
        let mut common = layers.next()?.parent()?.to_owned();
        for layer in layers {
            while !layer.starts_with(&common) {
                common = common.parent()?.to_owned();
            }
        }
        common.is_absolute().then_some(common)
    }
}

fn shorten(option: &str, folder: &Path) -> String {
    let Some(layers) = option.strip_prefix("lowerdir=") else { return option.to_owned() };
    let short = layers.split(':').map(|layer| {
        let rest = Path::new(layer).strip_prefix(folder).ok().and_then(Path::to_str);
        rest.filter(|rest| !rest.is_empty()).unwrap_or(layer)
    });
    format!("lowerdir={}", short.collect::<Vec<_>>().join(":"))
}

fn read_only(plan: &Plan) -> bool {
    plan.flags.contains(MsFlags::MS_RDONLY)
}

/// `target`, or a place below it.
fn below(target: &Path, relative: &str) -> Result<PathBuf, ShimError> {
    let relative = Path::new(relative.trim_start_matches('/'));
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(ShimError::Invalid(format!("mount target {}", relative.display())));
    }
    // An empty one would leave a slash behind.
    if relative.as_os_str().is_empty() { Ok(target.to_owned()) } else { Ok(target.join(relative)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kind: &str, options: &[&str]) -> Plan {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let one = Mount { type_: kind.to_owned(), source: "s".to_owned(), options, ..Mount::default() };
        Plan::of(&one, Path::new("/t")).unwrap()
    }

    #[test]
    fn options_are_flags_or_data() {
        let overlay = plan("overlay", &["ro", "index=off", "lowerdir=/a:/b", "nodev", "dev", "X-containerd.x=1"]);
        assert_eq!(overlay.flags, MsFlags::MS_RDONLY);
        assert_eq!(overlay.data, ["index=off", "lowerdir=/a:/b"]);
        let bind = plan("bind", &["rbind", "rw", "rprivate"]);
        assert_eq!(bind.flags, MsFlags::MS_BIND | MsFlags::MS_REC);
        assert_eq!(bind.propagation, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
    }

    #[test]
    fn many_layers_are_named_from_their_folder() {
        let overlay = plan("overlay", &["lowerdir=/var/s/1/fs:/var/s/20/fs:/var/s/1", "upperdir=/var/s/3/fs"]);
        let common = overlay.common_folder().unwrap();
        assert_eq!(common, Path::new("/var/s"));
        assert_eq!(shorten(&overlay.data[0], &common), "lowerdir=1/fs:20/fs:1");
        assert_eq!(shorten(&overlay.data[1], &common), "upperdir=/var/s/3/fs");
    }

    #[test]
    fn stays_below() {
        assert_eq!(below(Path::new("/t"), "").unwrap(), Path::new("/t"));
        assert_eq!(below(Path::new("/t"), "/a/b").unwrap(), Path::new("/t/a/b"));
        assert!(below(Path::new("/t"), "a/../../b").is_err());
        assert!(plan("overlay", &[]).data.is_empty());
    }
}
