//! The state directory: one folder per container under the root, holding `state.json` (written by rename, read without a
//! lock), `lock` (flock: commands that change a container take it) and the supervisor's socket.
//!
//! A container exists from `mkdir` of its folder to its removal; so a half-made one can be seen and deleted.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use oci_spec::runtime::Hooks;
use serde::{Deserialize, Serialize};

use crate::annotations::{Loss, Placement, Platform};
use crate::cgroups::{Beside, Leaf, is_frozen};
use crate::id::ContainerId;
use crate::json::one_line;
use crate::process::ProcessId;
use crate::systemd::Unit;

/// A state.json is never larger; what it holds comes from config.json, which is bounded too.
const MAX_STATE: u64 = 16 << 20;
/// A command waits this long for another that works on the same container.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How far a container has come, as far as it can't be seen from its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// `create` is at work.
    Creating,
    /// Held ready for `start`.
    Created,
    /// The workload's program was let run.
    Started,
}

/// The status of the runtime specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Ready for `start`.
    Created,
    /// Its init runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its init has ended, or it was never completed.
    Stopped,
}

impl Status {
    /// The word of the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Settings as `create` resolved them from flags, environment and annotations. Later commands use these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Address of the sentry; none: a private one.
    pub sentry: Option<String>,
    /// File with the token for it.
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities that may vouch for it.
    pub tls_ca: Option<PathBuf>,
    /// Our certificate.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// How to trap.
    pub platform: Platform,
    /// Where calls are carried out.
    pub placement: Placement,
    /// What a lost session does.
    pub on_loss: Loss,
    /// Seconds until a broken session is lost.
    pub loss_grace: u64,
    /// Where to write the calls, `-` is stderr; none: nowhere.
    pub strace: Option<PathBuf>,
}

/// What state.json holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `ociVersion` of the config.json.
    pub oci_version: String,
    /// The container's id.
    pub id: ContainerId,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The root's directory, or `sentry:NAME`.
    pub rootfs: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Who made it.
    pub owner: u32,
    /// The config.json's annotations.
    pub annotations: BTreeMap<String, String>,
    /// How far it has come.
    pub stage: Stage,
    /// The `create` that is or was at work.
    pub creator: Option<ProcessId>,
    /// The workload's init.
    pub init: Option<ProcessId>,
    /// The supervisor.
    pub supervisor: Option<ProcessId>,
    /// The gofers, and brokers of internet sockets.
    pub helpers: Vec<ProcessId>,
    /// The private sentry, its own or that of a container whose namespaces it joined.
    #[serde(default)]
    pub sentry: Option<ProcessId>,
    /// Secret keys of its namespaces, by their names in `/proc/PID/ns`: those who say the same share them in the sentry.
    #[serde(default)]
    pub namespaces: BTreeMap<String, String>,
    /// Folders of cgroups that were made for it, deepest first in each hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Its own folder in each hierarchy, made for it or not.
    #[serde(default)]
    pub leaves: Vec<Leaf>,
    /// The scope that systemd has made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// The cgroups of its supervisor, private sentry and gofers.
    #[serde(default)]
    pub beside: Beside,
    /// Its init is not the first process of its pid namespace, and does not take all others along.
    #[serde(default)]
    pub joins_pids: bool,
    /// Hooks that are still to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// What `create` resolved.
    pub settings: Settings,
}

impl Record {
    /// The status, from the processes as they are now.
    pub fn status(&self) -> Status {
        let alive = |process: Option<ProcessId>| process.is_some_and(ProcessId::is_alive);
        match self.stage {
            Stage::Creating if alive(self.creator) => Status::Creating,
            Stage::Creating => Status::Stopped,
            Stage::Created | Stage::Started if alive(self.init) && is_frozen(&self.leaves) => Status::Paused,
            Stage::Created if alive(self.init) => Status::Created,
            Stage::Started if alive(self.init) => Status::Running,
            Stage::Created | Stage::Started => Status::Stopped,
        }
    }
}

/// Why the state of a container can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No such container.
    #[error("container does not exist: {0:?}")]
    NotFound(String),
    /// The id is taken.
    #[error("container with id exists: {0}")]
    Exists(ContainerId),
    /// Another command holds it.
    #[error("container {0} is in use by another command; try again when that has ended")]
    Busy(ContainerId),
    /// The file system.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// state.json is not what was written.
    #[error("{path} is damaged: {}; delete --force removes the container", one_line(&.source.to_string()))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { doing, path, source }
}

/// All containers under one root.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// One container's folder; it may be gone at any time unless [`Locked`].
#[derive(Clone, Debug)]
pub struct Entry {
    id: ContainerId,
    dir: PathBuf,
}

/// One container's folder, held against other commands.
#[derive(Debug)]
pub struct Locked {
    entry: Entry,
    _lock: Flock<File>,
}

impl Store {
    /// The state directory at `root`, which is made when a container is.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder for a new container.
    pub fn create(&self, id: &ContainerId) -> Result<Locked, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(io("creating the state directory", &self.root))?;
        // The supervisor and its children run elsewhere: no relative path may be remembered.
        let root = self.root.canonicalize().map_err(io("resolving", &self.root))?;
        let entry = Entry { id: id.clone(), dir: root.join(id.as_str()) };
        match DirBuilder::new().mode(0o700).create(&entry.dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(StateError::Exists(id.clone())),
            Err(error) => return Err(io("creating", &entry.dir)(error)),
        }
        entry.lock()
    }

    /// The container `id`.
    pub fn entry(&self, id: &str) -> Result<Entry, StateError> {
        // An id that could not have been given was never created.
        let parsed = ContainerId::parse(id).map_err(|_| StateError::NotFound(id.to_owned()))?;
        let dir = self.root.join(parsed.as_str());
        match dir.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(Entry { id: parsed, dir }),
            Ok(_) => Err(StateError::NotFound(id.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StateError::NotFound(id.to_owned())),
            Err(error) => Err(io("looking at", &dir)(error)),
        }
    }

    /// All containers, by id.
    pub fn list(&self) -> Result<Vec<Entry>, StateError> {
        let folder = match fs::read_dir(&self.root) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("reading", &self.root)(error)),
        };
        let mut entries = Vec::new();
        for item in folder {
            let item = item.map_err(io("reading", &self.root))?;
            let Some(id) = item.file_name().to_str().and_then(|name| ContainerId::parse(name).ok()) else { continue };
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                entries.push(Entry { id, dir: item.path() });
            }
        }
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }
}

impl Entry {
    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads state.json; none when `create` has not come that far.
    pub fn load(&self) -> Result<Option<Record>, StateError> {
        let path = self.dir.join("state.json");
        let text = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_STATE => {
                return Err(io("reading", &path)(io::Error::from(Errno::EFBIG)));
            }
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(record) => Ok(Some(record)),
                Err(source) => Err(StateError::Damaged { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.dir.exists() {
                    Ok(None)
                } else {
                    Err(StateError::NotFound(self.id.to_string()))
                }
            }
            Err(error) => Err(io("reading", &path)(error)),
        }
    }

    /// Waits for other commands on this container to end, a bounded time.
    pub fn lock(self) -> Result<Locked, StateError> {
        let path = self.dir.join("lock");
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(StateError::NotFound(self.id.to_string()));
                }
                Err(error) => return Err(io("opening", &path)(error)),
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    // Whoever held it may have deleted the container, and somebody have made a new one.
                    let same = lock.metadata().and_then(|held| {
                        let named = fs::metadata(&path)?;
                        Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
                    });
                    if same.unwrap_or(false) {
                        return Ok(Locked { entry: self, _lock: lock });
                    }
                }
                Err((_, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err((_, Errno::EWOULDBLOCK)) => return Err(StateError::Busy(self.id)),
                Err((_, error)) => return Err(io("locking", &path)(error.into())),
            }
        }
    }
}

impl std::ops::Deref for Locked {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        &self.entry
    }
}

/// How often a folder's removal is tried again.
const REMOVALS: usize = 100;

impl Locked {
    /// Writes state.json, whole or not at all.
    pub fn save(&self, record: &Record) -> Result<(), StateError> {
        let path = self.entry.dir.join("state.json");
        let text = serde_json::to_vec(record).map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        write_atomically(&path, &text).map_err(io("writing", &path))
    }

    /// Removes the folder and all that is in it. The container no longer exists.
    pub fn remove(self) -> Result<(), StateError> {
        let dir = &self.entry.dir;
        // The record goes last but for the lock: until then a second attempt knows what to clean up.
        for item in fs::read_dir(dir).map_err(io("reading", dir))?.flatten() {
            if item.file_name() != "lock" && item.file_name() != "state.json" {
                fs::remove_file(item.path()).map_err(io("removing", &item.path()))?;
            }
        }
        // Somebody who is just about to wait for the lock makes its file anew in between.
        let mut removed = fs::remove_dir_all(dir);
        for _ in 0..REMOVALS {
            if !removed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::DirectoryNotEmpty) {
                break;
            }
            removed = fs::remove_dir_all(dir);
        }
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("removing", dir)(error)),
            _ => Ok(()),
        }
    }
}

/// Writes `text` to a file beside `path` and renames it.
pub fn write_atomically(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
    let written =
        options.open(&temporary).and_then(|mut file| file.write_all(text)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Nothing of a failed attempt is left.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &ContainerId) -> Record {
        Record {
            oci_version: "1.2.0".to_owned(),
            id: id.clone(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".to_owned(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            owner: 0,
            annotations: BTreeMap::new(),
            stage: Stage::Created,
            creator: None,
            init: ProcessId::myself(),
            supervisor: None,
            helpers: Vec::new(),
            sentry: None,
            namespaces: BTreeMap::new(),
            cgroups: Vec::new(),
            leaves: Vec::new(),
            unit: None,
            beside: Beside::default(),
            joins_pids: false,
            hooks: None,
            settings: Settings {
                sentry: None,
                token_file: None,
                tls_ca: None,
                tls_cert: None,
                tls_key: None,
                platform: Platform::Auto,
                placement: Placement::Auto,
                on_loss: Loss::Kill,
                loss_grace: 30,
                strace: None,
            },
        }
    }

    #[test]
    fn life_of_an_entry() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().join("a/b"));
        let id = ContainerId::parse("c1").unwrap();
        assert!(store.list().unwrap().is_empty());
        assert!(matches!(store.entry("c1"), Err(StateError::NotFound(_))));
        let locked = store.create(&id).unwrap();
        assert!(matches!(store.create(&id), Err(StateError::Exists(_))));
        assert_eq!(locked.load().unwrap(), None);
        locked.save(&record(&id)).unwrap();
        assert_eq!(store.entry("c1").unwrap().load().unwrap(), Some(record(&id)));
        assert_eq!(store.list().unwrap().len(), 1);
        locked.remove().unwrap();
        assert!(matches!(store.entry("c1"), Err(StateError::NotFound(_))));
        assert!(matches!(store.entry("../x"), Err(StateError::NotFound(_))));
    }

    #[test]
    fn status_follows_the_process() {
        let id = ContainerId::parse("c").unwrap();
        let mut it = record(&id);
        assert_eq!(it.status(), Status::Created);
        it.stage = Stage::Started;
        assert_eq!(it.status(), Status::Running);
        it.init = it.init.map(|init| ProcessId { start_time: init.start_time + 1, ..init });
        assert_eq!(it.status(), Status::Stopped);
        it.stage = Stage::Creating;
        assert_eq!(it.status(), Status::Stopped);
        it.creator = ProcessId::myself();
        assert_eq!(it.status(), Status::Creating);
    }

    #[test]
    fn a_damaged_record_is_an_error_not_a_panic() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let locked = store.create(&ContainerId::parse("c").unwrap()).unwrap();
        fs::write(locked.dir().join("state.json"), "{\"id\": 5").unwrap();
        assert!(matches!(locked.load(), Err(StateError::Damaged { .. })));
        locked.remove().unwrap();
    }

    #[test]
    fn a_lock_on_a_removed_container_is_not_taken_for_one_on_its_successor() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let id = ContainerId::parse("c").unwrap();
        let first = store.create(&id).unwrap();
        let waiting = store.entry("c").unwrap();
        let thread = std::thread::spawn(move || waiting.lock());
        first.remove().unwrap();
        assert!(matches!(thread.join().unwrap(), Err(StateError::NotFound(_))));
    }
}
