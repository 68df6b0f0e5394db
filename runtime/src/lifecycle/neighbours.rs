//! Containers whose namespaces another one joins: with them it shares these in the sentry too, hence the sentry.
//!
//! Each namespace of a container has a key, random, that stands in its record and is told to the sentry. Who joins one says the same
//! key. Which container a namespace belongs to is seen from its init: it is in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rsc_oci::publish::{self, Publication};
use rsc_oci::state::{Entry, Locked};
use rsc_oci::{ContainerId, ProcessId, Record, Store};

use super::LifecycleError;
use super::control::{Conversation, Reply, Request};
use crate::jail::namespaces::Identity;
use crate::jail::{Joined, Kind};

/// Kinds that the sentry has a part in.
pub const SHARED: [Kind; 4] = [Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts];
/// A container that comes first into a namespace is made within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether it is.
const PAUSE: Duration = Duration::from_millis(10);
/// Empty file in the folder of a container that shares its private sentry, or did.
const MARK: &str = "shared";

/// What a new container has to do with others.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// Keys of its namespaces, by their names in `/proc/PID/ns`.
    pub keys: BTreeMap<String, String>,
    /// Kinds of namespaces that it shares with another container.
    pub shared: Vec<Kind>,
    /// One that it shares a sentry with.
    pub host: Option<Host>,
    /// What those in its network namespace publish already: the annotations of a pod are those of all its containers.
    pub published: Vec<Publication>,
}

/// A container whose sentry another one uses.
#[derive(Debug)]
pub struct Host {
    /// Its folder.
    pub dir: PathBuf,
    /// Its record.
    pub record: Record,
}

/// The right to be the first container in namespaces that are no container's yet. Others who join them wait, and then find that one.
#[derive(Debug)]
pub struct Turn(Vec<Flock<File>>);

impl Turn {
    /// Waits for it, a bounded time: anybody who can see a namespace could hold its lock. Without it two who come at the same moment
    /// have a sentry each.
    pub fn wait(joined: &[Joined]) -> Result<Self, LifecycleError> {
        let mut files = BTreeMap::new();
        for it in joined {
            let failed = || LifecycleError::io("looking at the namespace", it.path.display().to_string());
            let identity = Identity::at(&it.path).map_err(failed())?;
            if !is_own(it.kind, identity) {
                // The lock is on the namespace itself: no file is left behind, and none need be found.
                files.insert(identity.inode(), File::open(&it.path).map_err(failed())?);
            }
        }
        let (mut held, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        // By number, so that no two wait for each other.
        for (_, mut file) in files {
            loop {
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(lock) => {
                        held.push(lock);
                        break;
                    }
                    Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = again,
                    Err((_, errno)) => {
                        tracing::warn!("a namespace that is joined is locked by another process: {errno}");
                        break;
                    }
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(Self(held))
    }

    /// Gives it back if as many namespaces as it is about turned out to be containers'.
    pub fn still_needed(self, shared: usize) -> Option<Self> {
        (self.0.len() > shared).then_some(self)
    }
}

/// Whether it is what everything on the host shares, which makes nobody neighbours.
fn is_own(kind: Kind, identity: Identity) -> bool {
    Identity::at(Path::new(&format!("/proc/self/ns/{}", kind.file()))).ok() == Some(identity)
}

impl Neighbours {
    /// Looks for those whose namespaces are joined, and makes keys for the namespaces that are new.
    pub fn find(store: &Store, own: &ContainerId, joined: &[Joined]) -> Result<Self, LifecycleError> {
        let mut found = Self::default();
        let mut others = None;
        for kind in SHARED {
            let it = joined.iter().find(|it| it.kind == kind);
            let key = match it {
                Some(it) => {
                    let others = match &mut others {
                        Some(others) => others,
                        none => none.insert(alive(store, own)?),
                    };
                    found.key_of(it, others)?
                }
                None => None,
            };
            if let (Kind::Network, Some(key)) = (kind, &key) {
                found.published = published(key, others.as_deref().unwrap_or_default());
            }
            found.keys.insert(kind.file().to_owned(), key.map_or_else(random_key, Ok)?);
        }
        Ok(found)
    }

    /// The key of a namespace that is joined, if it is a container's.
    fn key_of(&mut self, joined: &Joined, others: &[Host]) -> Result<Option<String>, LifecycleError> {
        let failed = || LifecycleError::io("looking at the namespace", joined.path.display().to_string());
        let identity = Identity::at(&joined.path).map_err(failed())?;
        if is_own(joined.kind, identity) {
            return Ok(None);
        }
        let within = |it: &&Host| it.record.init.is_some_and(|init| joined.kind.of(init.pid) == Some(identity));
        let Some(owner) = others.iter().find(within) else { return Ok(None) };
        match &self.host {
            Some(host) if !same_sentry(&host.record, &owner.record) => {
                return Err(LifecycleError::Refused(format!(
                    "linux.namespaces: the {} namespace {} is container {}'s, whose sentry is not that of container {}, \
                     whose namespaces are joined too; give both containers one sentry",
                    joined.kind.file(),
                    joined.path.display(),
                    owner.record.id,
                    host.record.id
                )));
            }
            Some(_) => {}
            None => self.host = Some(Host { dir: owner.dir.clone(), record: owner.record.clone() }),
        }
        self.shared.push(joined.kind);
        Ok(owner.record.namespaces.get(joined.kind.file()).cloned())
    }
}

/// All containers whose init is there, and which have come so far that they can be joined.
fn alive(store: &Store, own: &ContainerId) -> Result<Vec<Host>, LifecycleError> {
    let look = |entry: Entry| {
        let record = entry.load().ok().flatten()?;
        let joinable = entry.id() != own && record.init.is_some_and(ProcessId::is_alive);
        joinable.then(|| Host { dir: entry.dir().to_owned(), record })
    };
    Ok(store.list()?.into_iter().filter_map(look).collect())
}

/// What is published of the network namespace with this key.
fn published(key: &str, others: &[Host]) -> Vec<Publication> {
    let file = Kind::Network.file();
    let within = others.iter().filter(|it| it.record.namespaces.get(file).is_some_and(|its| its == key));
    let lists = within.filter_map(|it| publish::parse_list(it.record.annotations.get(publish::ANNOTATION)?).ok());
    lists.flatten().collect()
}

fn same_sentry(a: &Record, b: &Record) -> bool {
    a.settings.sentry == b.settings.sentry && a.sentry == b.sentry
}

fn random_key() -> Result<String, LifecycleError> {
    let mut key = [0u8; 16];
    getrandom::fill(&mut key)
        .map_err(|error| LifecycleError::Supervisor(format!("no randomness for keys of namespaces: {error}")))?;
    Ok(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The bytes of a key in a record.
pub fn key_bytes(key: &str) -> Vec<u8> {
    let digits: Vec<u8> = key.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).filter_map(|pair| Some(pair.first()? << 4 | pair.last()?)).collect()
}

impl Host {
    /// Marks both as sharing a sentry: whoever deletes one of them then looks for others before it ends the sentry.
    pub fn mark(&self, own: &Path) -> Result<(), LifecycleError> {
        for dir in [self.dir.as_path(), own] {
            fs::write(dir.join(MARK), "").map_err(LifecycleError::io("marking", dir.display().to_string()))?;
        }
        Ok(())
    }
}

/// Has the supervisor of the container in `dir` pass a socket to its private sentry: the other end is a door of our own.
pub fn knock(dir: &Path, door: &OwnedFd) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    match Conversation::begin(dir)?.ask(&Request::Share, &[door.as_raw_fd()])? {
        Reply::Done => Ok(()),
        Reply::ProgramMissing(problem) | Reply::ProgramUnusable(problem) | Reply::Failed(problem) => {
            Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, problem))
        }
    }
}

/// The other containers that use the private sentry of the one that is being deleted.
pub fn others_at(locked: &Locked, record: &Record) -> Vec<Record> {
    let Some(sentry) = record.sentry.filter(|_| locked.dir().join(MARK).exists()) else { return Vec::new() };
    let Some(root) = locked.dir().parent() else { return Vec::new() };
    let uses = |other: &Record| {
        let busy = [other.supervisor, other.creator].into_iter().flatten().any(ProcessId::is_alive);
        other.id != record.id && other.sentry == Some(sentry) && busy
    };
    let entries = Store::new(root).list().unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.load().ok().flatten()).filter(uses).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_random_bytes() {
        let key = random_key().unwrap();
        assert_eq!(key_bytes(&key).len(), 16);
        assert_ne!(key, random_key().unwrap());
        assert_eq!(key_bytes("00ff1x"), [0, 255]);
    }

    #[test]
    fn one_at_a_time() {
        let joined = [Joined { kind: Kind::Uts, path: "/proc/self/ns/uts".into() }];
        // One's own needs no turn.
        assert!(Turn::wait(&joined).unwrap().0.is_empty());
        let other = [Joined { kind: Kind::Uts, path: "/proc/self/ns/ipc".into() }];
        let turn = Turn::wait(&other).unwrap();
        assert_eq!(turn.0.len(), 1);
        let file = File::open("/proc/self/ns/ipc").unwrap();
        let (file, errno) = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap_err();
        assert_eq!(errno, Errno::EWOULDBLOCK);
        drop(turn);
        assert!(Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok());
    }

    #[test]
    fn a_container_without_neighbours_has_keys_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let id = ContainerId::parse("c").unwrap();
        let joined = [Joined { kind: Kind::Uts, path: "/proc/self/ns/uts".into() }];
        let found = Neighbours::find(&store, &id, &joined).unwrap();
        assert!(found.host.is_none());
        assert_eq!(found.keys.keys().collect::<Vec<_>>(), ["ipc", "net", "pid", "uts"]);
        let missing = [Joined { kind: Kind::Uts, path: "/nonexistent".into() }];
        assert!(Neighbours::find(&store, &id, &missing).unwrap_err().to_string().contains("/nonexistent"));
    }
}
