//! A hostile workload on a hostile compute host, against the kernel as a library.
//!
//! Each round makes a sandbox and issues hundreds of calls whose arguments the syscall table makes plausible: descriptors, paths,
//! vectors, addresses that hold garbage, while other calls wait, tasks come and go, and the host lies. What must hold: no panic;
//! every call ends after its interruption, with an answer that Linux could give; it writes only where the supervisor would let
//! it; and when the sandbox is closed, all of it is released. `RSC_FUZZ_ITERS` and `RSC_FUZZ_SEED` are as for the other targets.

use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use rsc_proto::abi::{CloneFlags, Errno, Rlimit64};
use rsc_proto::table::{self, marshal, nr};
use rsc_proto::v1::{self, answer::Outcome, task_event::What};
use tokio::task::JoinHandle;

use super::credentials::Credentials;
use super::lifecycle::Init;
use super::memory::OUT_LIMIT;
use super::stdio::StdioFile;
use super::task::rlimit;
use super::{Kernel, KernelParts, UtsNames};
use crate::fs::tmpfs::{TmpFs, TmpfsOptions};
use crate::net::{NetConfig, NetStack};
use crate::syscalls::IMPLEMENTED;
use crate::vfs::Vfs;
use crate::vfs::build::Sources;
use host::HostileHost;

mod call;
mod host;

/// Calls of one round.
const CALLS: usize = 400;
/// Tasks and waiting calls at a time.
const TASKS: usize = 8;
/// Descriptors of a table.
const NOFILE: u64 = 64;

/// Calls that make things or wait for them, which come more often.
const BUSY: &[u32] = &[
    nr::READ,
    nr::WRITE,
    nr::READV,
    nr::POLL,
    nr::SELECT,
    nr::EPOLL_CTL,
    nr::EPOLL_WAIT,
    nr::OPENAT,
    nr::OPEN,
    nr::SENDMSG,
    nr::RECVMSG,
    nr::RECVFROM,
    nr::ACCEPT4,
    nr::SOCKETPAIR,
    nr::PIPE,
    nr::DUP,
    nr::EXECVE,
    nr::MMAP,
    nr::CLONE,
];

/// xorshift64*.
struct Random(std::cell::Cell<u64>);

impl Random {
    fn new(seed: u64) -> Self {
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(std::cell::Cell::new(mixed ^ (mixed >> 29) | 1))
    }

    fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&self, n: usize) -> usize {
        ((self.next() >> 8) % n as u64) as usize
    }

    fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Small mostly, now and then a corner or anything.
    fn number(&self) -> u64 {
        const CORNERS: &[u64] = &[
            0,
            1,
            7,
            8,
            511,
            4095,
            4096,
            4097,
            65536,
            0x7fff_f000,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            0x7fff_ffff_f000,
            i64::MAX as u64,
            1 << 63,
            u64::MAX - 4095,
            u64::MAX,
        ];
        match self.below(10) {
            0..=5 => self.next() % 24,
            6 => *self.pick(CORNERS),
            7 => self.pick(CORNERS).wrapping_add(self.next() % 16).wrapping_sub(8),
            8 => self.next() >> self.below(64),
            _ => self.next() % 70_000,
        }
    }
}

/// A call that has not been answered.
struct Waiting {
    id: u64,
    tid: u32,
    nr: u32,
    args: [u64; 6],
    /// What the supervisor lets its answer write, and whether that is all.
    out: marshal::OutRanges,
    partial: bool,
    interrupted: bool,
    answer: JoinHandle<v1::Answer>,
}

struct Round {
    r: Rc<Random>,
    host: Rc<HostileHost>,
    kernel: Rc<Kernel>,
    /// The calls that wait, by task.
    waiting: BTreeMap<u32, Waiting>,
    next_call: u64,
    next_tid: u32,
    /// What was done, for the message of a failure.
    last: String,
    /// Print everything (`RSC_FUZZ_TRACE`).
    trace: bool,
}

/// A tree with everything that a container has, over a small tmpfs in the place of the bundle's root.
async fn kernel(r: &Rc<Random>, host: &Rc<HostileHost>) -> Rc<Kernel> {
    let root =
        TmpFs::new(9, host.clone(), TmpfsOptions { size: 1 << 20, inodes: 500, mode: 0o755, ..Default::default() });
    let mount = |destination: &str, kind: &str| v1::Mount {
        destination: destination.into(),
        r#type: kind.into(),
        ..Default::default()
    };
    let process = v1::Process { args: vec!["sh".into()], cwd: "/".into(), ..Default::default() };
    let sandbox = v1::Sandbox {
        id: "fuzz".into(),
        process: Some(process.clone()),
        root: Some(v1::Root { source: Some(v1::root::Source::Gofer(0)), readonly: false }),
        mounts: vec![
            mount("/proc", "proc"),
            mount("/dev", "tmpfs"),
            mount("/dev/shm", "tmpfs"),
            mount("/sys", "sysfs"),
            v1::Mount { options: vec!["size=64k".into(), "ro".into()], ..mount("/ro", "tmpfs") },
        ],
        ..Default::default()
    };
    let sources = Sources { gofers: vec![root], exports: BTreeMap::new() };
    let vfs = Vfs::build(host.clone(), &sandbox, &sources).await.unwrap();
    let kernel = Kernel::new(KernelParts {
        id: "fuzz".into(),
        host: host.clone(),
        facts: v1::HostFacts::default(),
        tasks: Rc::default(),
        uts: UtsNames::shared("fuzz", "(none)"),
        vfs,
        // No broker: internet sockets can't be made, all others can.
        net: NetStack::with_start(NetConfig::None, Rc::new(|_, _| Err(std::io::ErrorKind::NotFound.into()))),
        seccomp: None,
        host_pids: false,
    });
    let mut creds = Credentials::all_powerful();
    if r.one_in(3) {
        (creds.uid, creds.euid, creds.suid, creds.fsuid) = (1000, 1000, 1000, 1000);
        (creds.effective, creds.permitted) = (0, 0);
    }
    let mut rlimits = [Rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX }; rlimit::COUNT];
    rlimits[rlimit::NOFILE] = Rlimit64 { rlim_cur: NOFILE, rlim_max: NOFILE };
    let stdio = [0, 1, 2].map(|index| {
        let mode = *r.pick(&[0o010_600, 0o020_620, 0o100_644, 0o140_777]);
        let about = v1::Stdio { mode, flags: 2, tty: mode == 0o020_620, closed: false, server: false };
        Some(StdioFile::open(host.clone(), index, about, kernel.new_ino()))
    });
    let fs = kernel.vfs.context(&process).await.unwrap();
    kernel.add_init(Init { creds, fs, rlimits, stdio: stdio.into(), no_new_privs: false, terminal: None });
    kernel
}

impl Round {
    /// Lets every other future run until it waits.
    async fn settle(&self) {
        for _ in 0..60 {
            tokio::task::yield_now().await;
        }
    }

    /// One call of the first task, as it must be answered.
    async fn call(&mut self, nr: u32, args: [u64; 6]) -> Option<Outcome> {
        let call = v1::Syscall { call: self.next_call, tid: 1, nr, args: args.to_vec(), segments: Vec::new() };
        self.next_call += 1;
        let answer = self.kernel.syscall(call).await;
        for segment in &answer.out {
            self.host.store(segment.addr, &segment.data);
        }
        answer.outcome
    }

    /// Gives the workload things to work with: a program, a script, a FIFO, a pipe, sockets, an epoll.
    async fn furnish(&mut self) {
        let (path, text) = (host::BASE, host::BASE + 512);
        for (name, content, mode) in [("/a", call::program(), 0o755), ("/l", b"#!/a x\n".to_vec(), 0o777)] {
            self.host.store(path, format!("{name}\0").as_bytes());
            self.host.store(text, &content);
            let Some(Outcome::Result(fd)) = self.call(nr::OPEN, [path, 0o102, mode, 0, 0, 0]).await else { continue };
            self.call(nr::WRITE, [fd as u64, text, content.len() as u64, 0, 0, 0]).await;
            self.call(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0]).await;
        }
        self.host.store(path, b"/fifo\0");
        self.call(nr::MKNOD, [path, 0o010_666, 0, 0, 0, 0]).await;
        self.host.store(path, b"/b\0");
        self.call(nr::MKDIR, [path, 0o777, 0, 0, 0, 0]).await;
        self.call(nr::PIPE2, [text, 0, 0, 0, 0, 0]).await;
        self.call(nr::SOCKETPAIR, [1, 1 + self.r.next() % 2, 0, text, 0, 0]).await;
        self.call(nr::EPOLL_CREATE1, [0; 6]).await;
        self.call(nr::EVENTFD2, [0; 6]).await;
    }

    fn start(&mut self) {
        let idle: Vec<u32> =
            self.kernel.tasks.ids().into_iter().filter(|tid| !self.waiting.contains_key(tid)).collect();
        if idle.is_empty() {
            return;
        }
        let tid = *self.r.pick(&idle);
        let mut number = *self.r.pick(if self.r.one_in(3) { BUSY } else { IMPLEMENTED });
        if self.r.one_in(50) {
            number = self.r.number() as u32;
        }
        call::scatter(&self.r, &self.host);
        let args = call::arguments(&self.r, number);
        let mut gathered = marshal::gather(number, &args, &mut &*self.host);
        let call = v1::Syscall {
            call: self.next_call,
            tid,
            nr: number,
            args: args.to_vec(),
            segments: if self.r.one_in(4) { Vec::new() } else { std::mem::take(&mut gathered.segments) },
        };
        self.next_call += 1;
        self.last =
            format!("{} of task {tid}: {}", call.call, table::strace::render(number, &args, &call.segments, None, &[]));
        if self.trace {
            println!("{}", self.last);
        }
        let id = call.call;
        let future = self.kernel.syscall(call);
        let waiting = Waiting {
            id,
            tid,
            nr: number,
            args,
            out: gathered.out,
            partial: gathered.partial,
            interrupted: false,
            answer: tokio::task::spawn_local(future),
        };
        self.waiting.insert(tid, waiting);
    }

    fn interrupt(&mut self, tid: u32) {
        if let Some(waiting) = self.waiting.get_mut(&tid) {
            waiting.interrupted = true;
            self.kernel.interrupt(waiting.id);
        }
    }

    /// Takes the answers that are there.
    async fn harvest(&mut self) {
        self.settle().await;
        let done: Vec<u32> = self.waiting.values().filter(|w| w.answer.is_finished()).map(|w| w.tid).collect();
        for tid in done {
            if let Some(mut waiting) = self.waiting.remove(&tid) {
                let answer = (&mut waiting.answer).await.unwrap_or_else(|e| panic!("{e}; {}", self.last));
                self.check(&waiting, &answer).await;
            }
        }
        for waiting in self.waiting.values() {
            assert!(!waiting.interrupted, "{} {:x?} does not end", table::name(waiting.nr), waiting.args);
        }
    }

    async fn check(&mut self, call: &Waiting, answer: &v1::Answer) {
        let name = table::name(call.nr);
        let what = || format!("{name} {:x?} -> {:?}", call.args, answer.outcome);
        if self.trace {
            println!("{} of {} ends: {}", call.id, call.tid, what());
        }
        assert_eq!(answer.call, call.id);
        assert!(answer.out.iter().map(|s| s.data.len()).sum::<usize>() <= OUT_LIMIT, "{}", what());
        for segment in &answer.out {
            let len = segment.data.len() as u64;
            // What a restarted call may write is what the first one might.
            assert!(
                call.nr == nr::RESTART_SYSCALL || call.partial || call.out.allows(segment.addr, len),
                "{} writes {len} bytes at {:#x}, outside what the table says",
                what(),
                segment.addr
            );
            self.host.store(segment.addr, &segment.data);
        }
        assert!(answer.signal == 0 || (1..=64).contains(&answer.signal), "{}", what());
        match answer.outcome.as_ref().unwrap_or_else(|| panic!("no outcome of {name}")) {
            Outcome::Result(n @ (-512 | -513 | -514 | -516)) => {
                assert!(call.interrupted, "restart {n} without an interruption: {}", what());
            }
            Outcome::Result(n) => {
                // What Linux keeps to itself never reaches a task.
                assert!(*n >= -511 && !Errno::of_result(*n).is_some_and(|e| e.name().is_empty()), "{}", what());
            }
            Outcome::Native(_) => {
                assert!(table::native_permitted(call.nr, &call.args, false), "{}", what());
                self.native(call).await;
            }
            Outcome::Exec(exec) => {
                assert!(exec.program.is_some() && exec.comm.len() <= 15, "{}", what());
                let event = if self.r.one_in(2) {
                    What::Execed(v1::Execed { former_tid: call.tid })
                } else {
                    What::ExecFailed(v1::ExecFailed { errno: 8 })
                };
                let leader = self.kernel.tasks.get(call.tid).map_or(call.tid, |task| task.group().tgid);
                let tid = if matches!(event, What::Execed(_)) { leader } else { call.tid };
                self.event(tid, event).await;
            }
            Outcome::Sigsys(_) => panic!("{}: forbidden without a profile", what()),
            Outcome::Map(map) => assert!(map.source.is_some(), "{}", what()),
        }
    }

    /// The host's kernel has done it: what the supervisor tells then.
    async fn native(&mut self, call: &Waiting) {
        let Some(task) = self.kernel.tasks.get(call.tid) else { return };
        match call.nr {
            nr::CLONE | nr::FORK | nr::VFORK if self.kernel.tasks.len() < TASKS => {
                let flags = if call.nr == nr::CLONE { call.args[0] } else { 17 };
                let child = self.next_tid;
                self.next_tid += 1;
                let thread = CloneFlags::from_bits_truncate(flags).contains(CloneFlags::CLONE_THREAD);
                let child_tgid = if thread { task.group().tgid } else { child };
                self.event(call.tid, What::Cloned(v1::Cloned { child, flags, child_tgid })).await;
            }
            nr::EXIT | nr::EXIT_GROUP => {
                self.event(call.tid, What::Exited(v1::Exited { status: 0, last: true })).await;
            }
            number => {
                let result = v1::NativeResult { nr: number, result: 0, args: call.args.to_vec() };
                self.event(call.tid, What::NativeResult(result)).await;
            }
        }
    }

    async fn event(&mut self, tid: u32, what: What) {
        self.last = format!("event of {tid}: {what:?}");
        if self.trace {
            println!("{}", self.last);
        }
        // A refusal ends the session in earnest; here it goes on.
        if let Ok(closed) = self.kernel.event(v1::TaskEvent { tid, id: 1, what: Some(what) }) {
            closed.flush().await;
        }
    }

    /// Something happens besides calls: a task dies, or the supervisor tells nonsense.
    async fn disturb(&mut self) {
        let ids = self.kernel.tasks.ids();
        let some = |r: &Random| if ids.is_empty() || r.one_in(5) { r.number() as u32 } else { *r.pick(&ids) };
        let tid = some(&self.r);
        match self.r.below(6) {
            0 if ids.len() > 1 && tid != 1 => {
                // Killed in the middle of a call, in either order.
                if self.r.one_in(2) {
                    self.interrupt(tid);
                    self.harvest().await;
                }
                self.event(tid, What::Exited(v1::Exited { status: 9, last: self.r.one_in(2) })).await;
                self.interrupt(tid);
            }
            1 if ids.len() < TASKS => {
                let child = if self.r.one_in(4) { some(&self.r) } else { self.next_tid };
                self.next_tid += 1;
                let flags = *self.r.pick(&[17, 0x003d_0f00, 0x4111, 0x400, 0x200, 0x8000, self.r.next()]);
                self.event(tid, What::Cloned(v1::Cloned { child, flags, child_tgid: some(&self.r) })).await;
            }
            2 if self.r.one_in(8) => {
                self.event(tid, What::Execed(v1::Execed { former_tid: some(&self.r) })).await;
                // Threads that the exec ended are not heard of again.
                for tid in ids {
                    if self.kernel.tasks.get(tid).is_none() {
                        self.interrupt(tid);
                    }
                }
            }
            3 => {
                let args = (0..self.r.below(8)).map(|_| self.r.number()).collect();
                let number = *self.r.pick(&[nr::SETSID, nr::SETPGID, nr::CLONE, self.r.number() as u32]);
                let result = v1::NativeResult { nr: number, result: self.r.number() as i64, args };
                self.event(tid, What::NativeResult(result)).await;
            }
            4 => self.kernel.interrupt(self.r.number()),
            _ => {
                let _ = self.kernel.event(v1::TaskEvent { tid, id: 1, what: None });
            }
        }
    }

    fn bounds(&self) {
        assert!(self.kernel.in_flight() <= self.waiting.len());
        for tid in self.kernel.tasks.ids() {
            let Some(task) = self.kernel.tasks.get(tid) else { continue };
            assert!(task.fds.borrow().list().len() as u64 <= NOFILE, "more descriptors than RLIMIT_NOFILE");
            assert!(task.comm.borrow().len() <= 15);
        }
    }

    /// Tasks, descriptor tables and open files, each with a count of who refers to it.
    fn held(&self) -> Vec<(String, Box<dyn Fn() -> usize>)> {
        let mut all: Vec<(String, Box<dyn Fn() -> usize>)> = Vec::new();
        for task in self.kernel.tasks.ids().into_iter().filter_map(|tid| self.kernel.tasks.get(tid)) {
            let (weak, tid) = (Rc::downgrade(&task), task.tid);
            all.push((format!("task {tid}"), Box::new(move || weak.strong_count())));
            let weak = Rc::downgrade(&task.fds.borrow());
            all.push((format!("the descriptors of {tid}"), Box::new(move || weak.strong_count())));
            for (fd, file) in task.fds.borrow().list() {
                let weak = Rc::downgrade(&file);
                let what = format!("descriptor {} of {tid}, {}", fd.0, file.ops().describe());
                all.push((what, Box::new(move || weak.strong_count())));
            }
        }
        all
    }

    async fn run(mut self) -> (Weak<Kernel>, Rc<HostileHost>) {
        self.furnish().await;
        for _ in 0..CALLS {
            match self.r.below(12) {
                0 => self.disturb().await,
                1 | 2 => {
                    let tids: Vec<u32> = self.waiting.keys().copied().collect();
                    for tid in tids {
                        if self.r.one_in(2) {
                            self.interrupt(tid);
                        }
                    }
                }
                _ => self.start(),
            }
            self.harvest().await;
            self.bounds();
            if self.kernel.tasks.is_empty() {
                break;
            }
        }
        if self.r.one_in(2) {
            for tid in self.waiting.keys().copied().collect::<Vec<_>>() {
                self.interrupt(tid);
            }
            self.harvest().await;
            assert!(self.waiting.is_empty());
            assert_eq!(self.kernel.in_flight(), 0);
        }
        // As a session ends: calls in flight are dropped, then the kernel is closed.
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            waiting.answer.abort();
        }
        self.settle().await;
        let held = self.held();
        self.kernel.close();
        self.settle().await;
        if self.trace {
            for (what, count) in &held {
                println!("{} references to {what}", count());
            }
        }
        for (what, count) in held {
            assert_eq!(count(), 0, "references to {what} after the end; last was {}", self.last);
        }
        let limits = &self.kernel.limits;
        for (name, quota) in [
            ("pipe pages", &limits.pipe_pages),
            ("sockets", &limits.sockets),
            ("socket bytes", &limits.socket_bytes),
            ("descriptors in flight", &limits.fds_in_flight),
            ("anonymous files", &limits.anonymous),
            ("epoll watches", &limits.epoll_watches),
        ] {
            assert_eq!(quota.used(), 0, "{name} are held after the end; last was {}", self.last);
        }
        (Rc::downgrade(&self.kernel), self.host)
    }
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Says how to repeat a round that panics.
struct Guard(u64);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat this round alone with RSC_FUZZ_SEED={:#x} RSC_FUZZ_ITERS=1", self.0);
        }
    }
}

#[test]
fn hostile_workload() {
    let start = from_env("RSC_FUZZ_SEED").unwrap_or(0x5eed);
    for seed in (0..from_env("RSC_FUZZ_ITERS").unwrap_or(20)).map(|n| start.wrapping_add(n)) {
        let guard = Guard(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let (kernel, host) = local.block_on(&runtime, async {
            let r = Rc::new(Random::new(seed));
            let host = HostileHost::new(r.clone());
            let kernel = kernel(&r, &host).await;
            let trace = std::env::var_os("RSC_FUZZ_TRACE").is_some();
            let round = Round {
                trace,
                r,
                host,
                kernel,
                waiting: BTreeMap::new(),
                next_call: 1,
                next_tid: 2,
                last: String::new(),
            };
            round.run().await
        });
        drop(local);
        assert!(kernel.upgrade().is_none(), "{} references to the kernel are left", kernel.strong_count());
        assert!(host.arena.borrow().is_empty(), "arena files are left: {:?}", host.arena.borrow());
        drop(guard);
    }
}
