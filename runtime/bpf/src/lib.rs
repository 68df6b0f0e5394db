//! Finds processes in the kernel: programs for it are made from conditions, instruction by instruction, and loaded by bpf(2).
//!
//! A process that passes is stopped and told of; see [`selection`] for how exact that is. Only raw tracepoints are used, which work
//! wherever eBPF is allowed at all.
#![deny(unsafe_code)]

pub mod asm;
mod btf;
mod event;
mod matcher;
pub mod missing;
pub mod selection;
#[allow(unsafe_code)]
mod sys;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use btf::Offsets;
use matcher::Maps;
use missing::{Missing, Step};
use selection::{Event, MAX_TARGETS, Selection};
use sys::{MapKind, Ring};

/// How many processes are remembered; beyond that the ones that were not heard of for longest are forgotten.
const PROCESSES: u32 = 32_768;
const CGROUPS: u32 = 65_536;
const CALLS: u32 = 1024;
const DIRECTORIES: u32 = 4096;
/// Room for some 800 records.
const RING: u32 = 256 * 1024;

/// Why nothing is looked for.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// More targets than a mask has bits.
    #[error("{0} kinds of processes are watched for; at most {MAX_TARGETS} can be")]
    TooMany(usize),
    /// The programs can't be made.
    #[error("making the eBPF program: {0}")]
    Asm(#[from] asm::AsmError),
    /// A directory has to be recognised, and the kernel does not describe its structures.
    #[error(
        "the rules have a path with a wildcard, which needs a kernel that describes itself (CONFIG_DEBUG_INFO_BTF, /sys/kernel/btf/vmlinux); name programs without wildcards"
    )]
    NoBtf,
    /// The kernel has refused something.
    #[error("{0}")]
    Refused(#[from] Missing),
    /// The kernel has found the program at fault.
    #[error("the kernel refuses the eBPF program ({errno}): {log}")]
    Rejected {
        /// What it said.
        errno: Errno,
        /// The end of its explanation.
        log: String,
    },
}

/// The loaded programs. They are gone when this is dropped.
#[derive(Debug)]
pub struct Sieve {
    seen: OwnedFd,
    stopped: OwnedFd,
    cgroups: OwnedFd,
    lost: OwnedFd,
    ring_map: OwnedFd,
    ring: Ring,
    links: Vec<OwnedFd>,
}

/// How a process was held until it was answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the kernel, where nobody could see it: it is on its way.
    InKernel,
    /// By SIGSTOP, which it has or is about to get; or by nothing, if the kernel could not send it, or if a sibling thread was answered
    /// for. It needs SIGCONT once it is stopped.
    BySignal,
}

fn map(kind: MapKind, key: u32, value: u32, entries: u32) -> Result<OwnedFd, LoadError> {
    sys::map_create(kind, key, value, entries).map_err(|errno| missing::explain(Step::Map, errno).into())
}

fn put(map: &OwnedFd, key: &[u8], value: u64) -> Result<(), LoadError> {
    sys::map_update(map.as_fd(), key, value).map_err(|errno| missing::explain(Step::Map, errno).into())
}

/// Loads a program; a second time for the verifier's words if it is refused.
fn load(code: &[u8]) -> Result<OwnedFd, LoadError> {
    let errno = match sys::program_load(code, None) {
        Ok(program) => return Ok(program),
        Err(errno) => errno,
    };
    let mut log = vec![0; 1 << 20];
    let _ = sys::program_load(code, Some(&mut log));
    let log = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default());
    if log.is_empty() {
        return Err(missing::explain(Step::Program, errno).into());
    }
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    Err(LoadError::Rejected { errno, log: lines.into_iter().rev().collect::<Vec<_>>().join("; ") })
}

fn attach(name: &'static CStr, code: &[u8]) -> Result<OwnedFd, LoadError> {
    let program = load(code)?;
    let opened = sys::raw_tracepoint_open(name, program.as_fd());
    opened.map_err(|errno| missing::explain(Step::Tracepoint(name.to_str().unwrap_or("?")), errno).into())
}

impl Sieve {
    /// Whether directories can be recognised on this kernel: it describes its structures.
    pub fn can_walk() -> bool {
        Offsets::of_kernel().is_some()
    }

    /// Begins to look for the selection. The calling process itself is never found.
    pub fn load(selection: &Selection) -> Result<Sieve, LoadError> {
        if selection.targets.len() > MAX_TARGETS {
            return Err(LoadError::TooMany(selection.targets.len()));
        }
        let offsets = Offsets::of_kernel();
        if offsets.is_none() && selection.targets.iter().any(|target| !target.below.is_empty()) {
            return Err(LoadError::NoBtf);
        }
        let seen = map(MapKind::LruHash, 4, 8, PROCESSES)?;
        let stopped = map(MapKind::LruHash, 4, 8, PROCESSES)?;
        let cgroups = map(MapKind::Hash, 8, 8, CGROUPS)?;
        let programs = map(MapKind::Hash, 8, 8, DIRECTORIES)?;
        let below = map(MapKind::Hash, 8, 8, DIRECTORIES)?;
        for (bit, target) in selection.targets.iter().enumerate() {
            let file = target.file.as_ref();
            let lists = [
                (&programs, target.below.as_slice()),
                (&below, file.map(|file| file.below.as_slice()).unwrap_or_default()),
            ];
            for (map, directories) in lists {
                for inode in directories {
                    let key = inode.to_ne_bytes();
                    let mask = sys::map_lookup(map.as_fd(), &key).unwrap_or(0) | 1 << bit;
                    put(map, &key, mask)?;
                }
            }
        }
        let targets = map(MapKind::Hash, 4, 8, CALLS)?;
        for nr in selection.numbers() {
            let wanted = selection.mask(|target| target.calls.contains(&nr));
            put(&targets, &nr.to_ne_bytes(), wanted)?;
        }
        put(&targets, &event::EXEC.to_ne_bytes(), selection.mask(|target| target.calls.is_empty()))?;
        let mask = map(MapKind::PerCpuArray, 4, 8, 1)?;
        let lost = map(MapKind::Hash, 4, 8, 1)?;
        put(&lost, &[0; 4], 0)?;
        let ring_map = map(MapKind::Ring, 0, 0, RING)?;
        let size = usize::try_from(RING).unwrap_or(0);
        let ring = Ring::map(ring_map.as_fd(), size).map_err(|errno| missing::explain(Step::Ring, errno))?;
        let maps = Maps {
            targets: targets.as_raw_fd(),
            mask: mask.as_raw_fd(),
            seen: seen.as_raw_fd(),
            stopped: stopped.as_raw_fd(),
            cgroups: cgroups.as_raw_fd(),
            programs: programs.as_raw_fd(),
            below: below.as_raw_fd(),
            lost: lost.as_raw_fd(),
            ring: ring_map.as_raw_fd(),
        };
        // The one that forgets first, so that nothing is remembered for ever.
        let mut links = vec![attach(c"sched_process_exit", &matcher::exit_program(maps)?)?];
        if let Some(code) = matcher::exec_program(selection, offsets.as_ref(), maps)? {
            links.push(attach(c"sched_process_exec", &code)?);
        }
        if let Some(code) = matcher::call_program(selection, offsets.as_ref(), maps)? {
            links.push(attach(c"sys_exit", &code)?);
        }
        Ok(Sieve { seen, stopped, cgroups, lost, ring_map, ring, links })
    }

    /// The next process that was found, if there is one now. Wait by polling the sieve's descriptor.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ring.next(event::parse)? {
                return Some(event);
            }
        }
    }

    /// Which targets want this cgroup. One that was not told of passes.
    pub fn learn_cgroup(&self, id: u64, targets: u64) {
        // A full map costs stops that were needless, nothing else.
        let _ = sys::map_update(self.cgroups.as_fd(), &id.to_ne_bytes(), targets);
    }

    /// This process is ours: nothing that it does is looked at, execve(2) included, until it ends. To be called when it is traced:
    /// then it goes on as far as its tracer lets it. See [`Held`] for what is left to do.
    pub fn keep(&self, pid: i32) -> Held {
        self.answer(pid, u64::MAX)
    }

    /// A process that was found goes on. These targets were not meant by this call of it, but may be by another one.
    pub fn pass(&self, pid: i32, retry: u64) -> Held {
        // Between these two another thread may be found by a target: then the process is told of once more.
        let done = sys::map_lookup(self.seen.as_fd(), &pid.to_ne_bytes()).unwrap_or(0);
        self.answer(pid, done & !retry | 1 << 63)
    }

    fn answer(&self, pid: i32, value: u64) -> Held {
        let key = pid.to_ne_bytes();
        let _ = sys::map_update(self.seen.as_fd(), &key, value);
        // Only now: see the program's end.
        match sys::map_delete(self.stopped.as_fd(), &key) {
            Ok(()) => Held::BySignal,
            Err(_) => Held::InKernel,
        }
    }

    /// Looks for nobody any more. Events that were not taken yet can still be.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// How many processes passed that could not be told of, and were not stopped.
    pub fn lost(&self) -> u64 {
        sys::map_lookup(self.lost.as_fd(), &[0; 4]).unwrap_or(0)
    }
}

impl AsFd for Sieve {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring_map.as_fd()
    }
}
