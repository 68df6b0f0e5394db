//! From tables `[[watch]]` to what the kernel's side looks for: names by how they begin, folders by their inode numbers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rsc_bpf::selection::{File, Literal, MAX_TARGETS, Selection, Shape, Target};

use crate::remote::rules::glob::Glob;
use crate::remote::rules::{Watched, address_arg, path_args};

/// An inode number that no folder has.
const NOWHERE: u64 = 0;

/// What is looked for, and by which tables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) selection: Selection,
    /// Of each target, the index of its table.
    pub(super) tables: Vec<usize>,
    /// Folders that a pattern names and that are not there.
    pub(super) absent: Vec<PathBuf>,
}

impl Plan {
    /// What is looked for to find these.
    pub(super) fn new(watched: &[Watched]) -> Plan {
        let mut plan = Plan::default();
        for (table, watched) in watched.iter().enumerate() {
            plan.add(table, watched);
        }
        plan.absent.dedup();
        plan
    }

    fn add(&mut self, table: usize, watched: &Watched) {
        let basis = Target {
            uids: watched.uids.clone(),
            cgroup: !(watched.cgroups.is_empty() && watched.containers.is_empty()),
            calls: watched.calls.iter().collect(),
            ports: watched.ports.clone(),
            file: (!watched.paths.is_empty()).then(|| file(&watched.paths)),
            ..Target::default()
        };
        for nr in watched.calls.iter() {
            let index = |at: usize| u8::try_from(at).ok();
            let path = path_args(nr).0;
            let shape = Shape {
                path: path.and_then(|path| index(path.path)),
                dirfd: path.and_then(|path| path.dirfd).and_then(index),
                address: address_arg(nr).and_then(index),
            };
            self.selection.shapes.insert(nr, shape);
        }
        if watched.executables.is_empty() {
            self.push(table, basis.clone());
        }
        // Whole names are compared as they are; of a pattern, where it begins, which each has for itself.
        let mut names = Vec::new();
        for glob in &watched.executables {
            match glob.last() {
                (bytes, true) => names.push(Literal { bytes, whole: true }),
                (bytes, false) => {
                    let (folders, _) = glob.beginning();
                    let below = if folders.is_empty() { Vec::new() } else { vec![self.inode(&join(&folders))] };
                    let names = if bytes.is_empty() { Vec::new() } else { vec![Literal { bytes, whole: false }] };
                    self.push(table, Target { names, below, ..basis.clone() });
                }
            }
        }
        if !names.is_empty() {
            self.push(table, Target { names, ..basis });
        }
    }

    fn push(&mut self, table: usize, target: Target) {
        self.selection.targets.push(target);
        self.tables.push(table);
    }

    fn inode(&mut self, folder: &Path) -> u64 {
        match folder.metadata() {
            Ok(metadata) => metadata.ino(),
            Err(_) => {
                self.absent.push(folder.to_owned());
                NOWHERE
            }
        }
    }

    /// The tables behind a mask.
    pub(super) fn tables_of(&self, mask: u64) -> impl Iterator<Item = usize> + '_ {
        let bits = self.tables.iter().take(MAX_TARGETS).enumerate();
        bits.filter(move |(bit, _)| mask >> bit & 1 == 1).map(|(_, table)| *table)
    }

    /// The targets of the tables for which this holds.
    pub(super) fn mask_of(&self, holds: impl Fn(usize) -> bool) -> u64 {
        let bits = self.tables.iter().take(MAX_TARGETS).enumerate();
        bits.filter(|(_, table)| holds(**table)).fold(0, |mask, (bit, _)| mask | 1 << bit)
    }
}

/// How files that match one of these patterns may be named.
fn file(globs: &[Glob]) -> File {
    let mut file = File::default();
    for glob in globs {
        let (folders, begins) = glob.beginning();
        let lead = join(&folders);
        let lead_bytes = lead.as_os_str().as_bytes();
        let mut names = Vec::new();
        if let Some(begins) = &begins {
            let slash = if folders.is_empty() { &b""[..] } else { b"/" };
            names.push(Literal { bytes: [lead_bytes, slash, begins].concat(), whole: false });
            // From a folder that is not there no relative name begins.
            file.below.extend(lead.metadata().map(|metadata| metadata.ino()));
        }
        // `/**` means the folder too.
        if begins.is_none_or(|begins| begins.is_empty()) {
            names.push(Literal { bytes: lead_bytes.to_vec(), whole: true });
        }
        for folder in lead.ancestors().skip(1) {
            let Ok(metadata) = folder.metadata() else { continue };
            for name in &names {
                let rest = name.bytes.get(folder.as_os_str().len()..).unwrap_or_default();
                let rest = rest.strip_prefix(b"/").unwrap_or(rest);
                for before in [&b""[..], b"./"] {
                    let name = Literal { bytes: [before, rest].concat(), whole: name.whole };
                    file.from.push((metadata.ino(), name));
                }
            }
        }
        file.names.extend(names);
    }
    file
}

fn join(folders: &[Vec<u8>]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(folders.iter().map(|folder| OsStr::from_bytes(folder)));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::rules::Rules;

    fn plan(text: &str) -> Plan {
        Plan::new(Rules::parse(text, "r").unwrap().watched())
    }

    fn whole(name: &str) -> Literal {
        Literal { bytes: name.into(), whole: true }
    }

    fn begins(name: &str) -> Literal {
        Literal { bytes: name.into(), whole: false }
    }

    #[test]
    fn programs() {
        let plan = plan(
            "[[watch]]\nuid = 7\nexecutable = [\"/usr/bin/git\", \"/usr/bin/py*\", \"/usr/**\", \"/opt/*/run\", \"/*x\"]",
        );
        let ino = |path: &str| std::fs::metadata(path).unwrap().ino();
        let [python, below, slash, named] = plan.selection.targets.as_slice() else { panic!("{plan:?}") };
        assert_eq!((&python.names, &python.below), (&vec![begins("py")], &vec![ino("/usr/bin")]));
        assert_eq!((&below.names, &below.below), (&vec![], &vec![ino("/usr")]));
        assert_eq!((&slash.names, &slash.below), (&vec![], &vec![]));
        assert_eq!((&named.names, &named.below), (&vec![whole("git"), whole("run")], &vec![]));
        assert!(plan.selection.targets.iter().all(|target| target.uids == [7] && target.calls.is_empty()));
        assert_eq!(plan.tables, [0; 4]);
    }

    #[test]
    fn files() {
        let plan = plan("[[watch]]\nuid = 1\n[[watch]]\nsyscalls = \"openat\"\npath = [\"/usr/share/**\", \"/usr/x\"]");
        let ino = |path: &str| std::fs::metadata(path).unwrap().ino();
        let target = &plan.selection.targets[1];
        let file = target.file.as_ref().unwrap();
        assert_eq!(file.names, [begins("/usr/share/"), whole("/usr/share"), whole("/usr/x")]);
        assert_eq!(file.below, [ino("/usr/share")]);
        let from: Vec<_> = file.from.iter().filter(|(_, name)| !name.bytes.starts_with(b"./")).cloned().collect();
        let share = |folder, rest: &str| [(ino(folder), begins(&format!("{rest}/"))), (ino(folder), whole(rest))];
        let x = [(ino("/usr"), whole("x")), (ino("/"), whole("usr/x"))];
        assert_eq!(from, [&share("/usr", "share")[..], &share("/", "usr/share"), &x].concat());
        assert_eq!(file.from.len(), 2 * from.len());
        let openat = rsc_proto::table::nr::OPENAT;
        assert_eq!(target.calls, [openat]);
        assert_eq!(plan.selection.shapes[&openat], Shape { path: Some(1), dirfd: Some(0), address: None });
        assert_eq!(plan.tables_of(3).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(plan.mask_of(|table| table == 1), 2);
    }

    #[test]
    fn a_folder_that_is_not_there_matches_nothing() {
        let plan = plan("[[watch]]\nexecutable = \"/no/such/folder/**\"");
        assert_eq!(plan.selection.targets[0].below, [NOWHERE]);
        assert_eq!(plan.absent, [Path::new("/no/such/folder")]);
    }
}
