//! The tree of a sandbox, made from the container's description as runc makes it: root, mounts, devices, masked paths.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use rsc_proto::abi::{Errno, MountFlags, ResolveFlags, mode};
use rsc_proto::v1::{self, mount, root};

use super::inode::{Asker, FileSystem};
use super::walk::{Last, Walker};
use super::{FsContext, Location, Vfs};
use crate::fs::pseudo::{Dir, Node, PseudoFs};
use crate::fs::tmpfs::{BadValue, TmpFs, TmpfsOptions};
use crate::fs::{dev, proc, sys};
use crate::kernel::credentials::Credentials;
use crate::kernel::host::ComputeHost;
use crate::tty::devpts::{self, DevPts};

/// Mounts that one container may have.
const MOUNTS_MAX: usize = 1024;

/// Why a container's tree can't be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something that the description names was not handed over.
    #[error("the container's {what} names {name}, which this session does not have")]
    Missing {
        /// `root`, or a mount's destination.
        what: String,
        /// The gofer or the export.
        name: String,
    },
    /// A mount can't be made.
    #[error("mounting {kind} on {at}: {errno}")]
    Mount {
        /// Type.
        kind: String,
        /// Destination.
        at: String,
        /// Why.
        errno: Errno,
    },
    /// An option is malformed or not known.
    #[error("mounting on {at}: the option {option:?} is not supported")]
    Option {
        /// Destination.
        at: String,
        /// The option.
        option: String,
    },
    /// One of the mounts.
    #[error("mounts[{index}]: {problem}")]
    Nth {
        /// Which.
        index: usize,
        /// Why.
        problem: Box<BuildError>,
    },
    /// The working directory can't be entered.
    #[error("process.cwd: entering the working directory {path:?}: {errno}")]
    Cwd {
        /// The directory.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// The description has too much.
    #[error("more than {MOUNTS_MAX} mounts")]
    TooMany,
}

/// The file systems that come from outside.
pub struct Sources {
    /// In the order of `Sandbox.gofers`.
    pub gofers: Vec<Rc<dyn FileSystem>>,
    /// By name.
    pub exports: BTreeMap<String, Rc<dyn FileSystem>>,
}

impl Sources {
    fn gofer(&self, what: &str, index: u32) -> Result<Rc<dyn FileSystem>, BuildError> {
        let found = self.gofers.get(index as usize).cloned();
        found.ok_or_else(|| BuildError::Missing { what: what.into(), name: format!("gofer {index}") })
    }

    fn export(&self, what: &str, name: &str) -> Result<Rc<dyn FileSystem>, BuildError> {
        let found = self.exports.get(name).cloned();
        found.ok_or_else(|| BuildError::Missing { what: what.into(), name: format!("export {name:?}") })
    }
}

/// Names of the exports that a description asks for.
pub fn exports_wanted(sandbox: &v1::Sandbox) -> Vec<String> {
    let root = sandbox.root.as_ref().and_then(|r| r.source.as_ref()).and_then(|s| match s {
        root::Source::Export(name) => Some(name.clone()),
        root::Source::Gofer(_) => None,
    });
    let mounts = sandbox.mounts.iter().filter_map(|m| match &m.source {
        Some(mount::Source::Export(name)) => Some(name.clone()),
        _ => None,
    });
    let mut names: Vec<String> = root.into_iter().chain(mounts).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Mount options in fstab's words: flags, and what is the file system's own.
fn parse_options(m: &v1::Mount) -> Result<(MountFlags, TmpfsOptions, bool), BuildError> {
    let mut flags = MountFlags::MS_RELATIME;
    let mut tmpfs = TmpfsOptions::default();
    let mut mode_given = false;
    for option in &m.options {
        let bad = || BuildError::Option { at: m.destination.clone(), option: option.clone() };
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "ro" => flags |= MountFlags::MS_RDONLY,
            "rw" => flags -= MountFlags::MS_RDONLY,
            "nosuid" => flags |= MountFlags::MS_NOSUID,
            "suid" => flags -= MountFlags::MS_NOSUID,
            "nodev" => flags |= MountFlags::MS_NODEV,
            "dev" => flags -= MountFlags::MS_NODEV,
            "noexec" => flags |= MountFlags::MS_NOEXEC,
            "exec" => flags -= MountFlags::MS_NOEXEC,
            "noatime" => flags |= MountFlags::MS_NOATIME,
            "nodiratime" => flags |= MountFlags::MS_NODIRATIME,
            "atime" => flags -= MountFlags::MS_NOATIME,
            "diratime" => flags -= MountFlags::MS_NODIRATIME,
            "relatime" => flags |= MountFlags::MS_RELATIME,
            "norelatime" | "strictatime" => flags -= MountFlags::MS_RELATIME,
            "nosymfollow" => flags |= MountFlags::MS_NOSYMFOLLOW,
            "symfollow" => flags -= MountFlags::MS_NOSYMFOLLOW,
            "defaults" => flags = MountFlags::MS_RELATIME,
            // Propagation, recursion and the like mean nothing within one sandbox; options of devpts, proc and cgroup are theirs.
            _ if m.r#type != "tmpfs" => {}
            _ => mode_given |= tmpfs.set(name, value).map_err(|BadValue| bad())? && name == "mode",
        }
    }
    Ok((flags, tmpfs, mode_given))
}

impl Vfs {
    /// Makes the tree that `sandbox` describes.
    ///
    /// # Errors
    /// What could not be mounted, and why.
    pub async fn build(
        host: Rc<dyn ComputeHost>,
        sandbox: &v1::Sandbox,
        sources: &Sources,
    ) -> Result<Rc<Self>, BuildError> {
        let spec = sandbox.root.clone().unwrap_or_default();
        let root = match &spec.source {
            Some(root::Source::Gofer(i)) => sources.gofer("root", *i)?,
            Some(root::Source::Export(name)) => sources.export("root", name)?,
            None => sources.gofer("root", 0)?,
        };
        if sandbox.mounts.len() > MOUNTS_MAX {
            return Err(BuildError::TooMany);
        }
        let vfs = Self::new(host, root, MountFlags::MS_RELATIME);
        for (index, m) in sandbox.mounts.iter().enumerate() {
            let added = vfs.add_mount(sandbox, m, sources).await;
            added.map_err(|problem| BuildError::Nth { index, problem: Box::new(problem) })?;
        }
        vfs.add_devices().await;
        for path in &sandbox.readonly_paths {
            vfs.make_read_only(path).await;
        }
        for path in &sandbox.masked_paths {
            vfs.mask(path).await;
        }
        if spec.readonly {
            let root = vfs.root().mount;
            root.set_flags(root.flags() | MountFlags::MS_RDONLY);
        }
        vfs.mounts.lock();
        Ok(vfs)
    }

    /// Working directory, root and umask of the first task; the directory is made if it is missing, as runc does.
    ///
    /// # Errors
    /// [`BuildError::Cwd`].
    pub async fn context(&self, process: &v1::Process) -> Result<Rc<FsContext>, BuildError> {
        let path = if process.cwd.is_empty() { "/" } else { &process.cwd };
        let bad = |errno| BuildError::Cwd { path: path.into(), errno };
        let cwd = self.ensure(path.as_bytes(), true, false).await.map_err(bad)?.0;
        if !cwd.inode().attr().is_dir() {
            return Err(bad(Errno::ENOTDIR));
        }
        Ok(FsContext::new(self.root(), cwd, process.umask))
    }

    /// The same for a process that enters later: its working directory must be there, and is looked up with its own rights.
    pub async fn context_of(&self, process: &v1::Process, creds: Rc<Credentials>) -> Result<Rc<FsContext>, Errno> {
        let walker = Walker { creds, ..self.builder() };
        let cwd = walker.resolve(process.cwd.as_bytes()).await?.0;
        if !cwd.inode().attr().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(FsContext::new(self.root(), cwd, process.umask))
    }

    /// Where terminals get their names: what is mounted on `/dev/pts`, if it is such a file system.
    pub async fn devpts(&self) -> Option<Rc<DevPts>> {
        let (at, _) = self.builder().resolve(b"/dev/pts").await.ok()?;
        DevPts::of(&**at.inode())
    }

    /// The place of a terminal.
    pub async fn terminal_at(&self, number: u32) -> Option<Location> {
        let path = format!("/dev/pts/{number}");
        self.builder().resolve(path.as_bytes()).await.ok().map(|(at, _)| at)
    }

    /// Shows a terminal as `/dev/console` too, as runc does.
    ///
    /// # Errors
    /// The mount point can't be made.
    pub async fn show_console(&self, terminal: &Location) -> Result<(), BuildError> {
        let at = self.ensure(b"/dev/console", false, true).await;
        let at = at.map_err(|errno| BuildError::Mount { kind: "bind".into(), at: "/dev/console".into(), errno })?.0;
        self.bind(&at, terminal, terminal.mount.flags());
        Ok(())
    }

    fn builder(&self) -> Walker<'_> {
        Walker {
            vfs: self,
            creds: Rc::new(Credentials::all_powerful()),
            root: self.root(),
            start: self.root(),
            follow: true,
            resolve: ResolveFlags::empty(),
            asker: Asker::default(),
        }
    }

    /// The place at `path`, made if it is missing: in the tree where that can be written to (and `here_alone` does not spare it),
    /// else seen here alone. The flag tells whether it was there.
    async fn ensure(&self, path: &[u8], directory: bool, here_alone: bool) -> Result<(Location, bool), Errno> {
        let mut at = self.root();
        let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|p| !p.is_empty()).collect();
        let mut existed = true;
        for (i, part) in parts.iter().enumerate() {
            let walker = Walker { start: at.clone(), ..self.builder() };
            let found = walker.find(part).await?;
            if let Some(child) = found.child {
                at = self.mounts.cross(child);
                continue;
            }
            existed = false;
            let Last::Name(name) = found.last else { return Err(Errno::ENOENT) };
            let last = i + 1 == parts.len();
            let kind = if directory || !last { mode::S_IFDIR | 0o755 } else { mode::S_IFREG | 0o644 };
            let spared = here_alone && found.parent.mount.fs.kind() != "tmpfs";
            let walker = Walker { start: found.parent.clone(), follow: false, ..self.builder() };
            let made = if spared { Err(Errno::EROFS) } else { walker.make(&name, kind, 0, 0, b"").await };
            at = match made {
                Ok(made) => made,
                Err(Errno::EROFS | Errno::EACCES | Errno::EPERM) => {
                    let inode = Dir::new(Node::new(self.new_dev(), 1, kind)).inode();
                    found.parent.at(found.parent.dentry.add_synthetic(&name, inode))
                }
                Err(e) => return Err(e),
            };
        }
        Ok((at, existed))
    }

    async fn add_mount(&self, sandbox: &v1::Sandbox, m: &v1::Mount, sources: &Sources) -> Result<(), BuildError> {
        let failed = |errno| BuildError::Mount { kind: m.r#type.clone(), at: m.destination.clone(), errno };
        let (flags, mut tmpfs, mode_given) = parse_options(m)?;
        let from_outside = match &m.source {
            Some(mount::Source::Gofer(i)) => Some(sources.gofer(&m.destination, *i)?),
            Some(mount::Source::Export(name)) => Some(sources.export(&m.destination, name)?),
            None => None,
        };
        let directory = from_outside.as_ref().is_none_or(|fs| fs.root().attr().is_dir());
        let place = self.ensure(m.destination.as_bytes(), directory, sandbox.in_context).await;
        let (at, existed) = place.map_err(failed)?;
        if at.inode().attr().is_dir() != directory {
            return Err(failed(Errno::ENOTDIR));
        }
        let fs: Rc<dyn FileSystem> = match (from_outside, m.r#type.as_str()) {
            (Some(fs), _) => fs,
            (None, "tmpfs") => {
                let under = at.inode().attr();
                if existed && !mode_given {
                    (tmpfs.mode, tmpfs.uid, tmpfs.gid) = (under.mode & 0o7777, under.uid, under.gid);
                }
                TmpFs::new(self.new_dev(), self.host.clone(), tmpfs)
            }
            (None, "proc") => proc::mount(self.new_dev(), &sandbox.sysctls),
            (None, "devpts") => {
                let options = devpts::Options::parse(m.options.iter().map(String::as_str));
                devpts::mount(self.new_dev(), options)
            }
            (None, "cgroup") => empty("cgroup", 0x0027_e0eb, self.new_dev()),
            (None, "cgroup2") => empty("cgroup2", 0x6367_7270, self.new_dev()),
            (None, kind) => {
                self.instance(kind, sandbox.host.as_ref().map_or(1, |h| h.cpus)).ok_or(failed(Errno::ENODEV))?
            }
        };
        let source = if m.r#type == "bind" { "rsc" } else { &m.r#type };
        self.mount(&at, fs, flags, source);
        Ok(())
    }

    /// A new instance of a file system that needs no options of its own: proc, sysfs, devpts, mqueue.
    pub fn instance(&self, kind: &str, cpus: u32) -> Option<Rc<dyn FileSystem>> {
        Some(match kind {
            "proc" => proc::mount(self.new_dev(), &HashMap::new()),
            "sysfs" => sys::mount(self.new_dev(), cpus),
            "devpts" => devpts::mount(self.new_dev(), devpts::Options::default()),
            "mqueue" => empty("mqueue", 0x1980_0202, self.new_dev()),
            _ => return None,
        })
    }

    /// The devices and links of every container, where `/dev` is in memory. What is there already stays.
    async fn add_devices(&self) {
        let walker = Walker { follow: false, ..self.builder() };
        let Ok((at, _)) = self.builder().resolve(b"/dev").await else { return };
        if at.mount.fs.kind() != "tmpfs" {
            return;
        }
        for (name, rdev, permissions) in dev::NODES {
            let path = format!("/dev/{name}");
            let _ = walker.make(path.as_bytes(), mode::S_IFCHR | permissions, 0, *rdev, b"").await;
        }
        for (name, target) in dev::LINKS {
            let path = format!("/dev/{name}");
            let _ = walker.make(path.as_bytes(), mode::S_IFLNK | 0o777, 0, 0, target.as_bytes()).await;
        }
    }

    /// A read-only mount of a part of the tree over itself; nothing if it is not there.
    async fn make_read_only(&self, path: &str) {
        if let Ok((at, _)) = self.builder().resolve(path.as_bytes()).await {
            self.bind(&at, &at, at.mount.flags() | MountFlags::MS_RDONLY);
        }
    }

    /// Hides a directory behind an empty one, and a file behind `/dev/null`.
    async fn mask(&self, path: &str) {
        let Ok((at, _)) = self.builder().resolve(path.as_bytes()).await else { return };
        if at.inode().attr().is_dir() {
            let options = TmpfsOptions { mode: 0o755, ..Default::default() };
            let fs = TmpFs::new(self.new_dev(), self.host.clone(), options);
            self.mount(&at, fs, MountFlags::MS_RDONLY | MountFlags::MS_RELATIME, "tmpfs");
        } else if let Ok((null, _)) = self.builder().resolve(b"/dev/null").await {
            self.bind(&at, &null, null.mount.flags());
        }
    }
}

/// A file system of a type that shows nothing here.
fn empty(kind: &'static str, magic: i64, dev: u64) -> Rc<dyn FileSystem> {
    PseudoFs::new(kind, magic, Dir::new(Node::new(dev, 1, mode::S_IFDIR | 0o755)).inode())
}
