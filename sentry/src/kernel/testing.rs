//! A compute host that is nothing but memory, and a kernel with one task, for tests of handlers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::Errno;
use rsc_proto::v1;

use super::file::{Fut, ready};
use super::host::ComputeHost;
use crate::fs::tmpfs::{TmpFs, TmpfsOptions};
use crate::vfs::{FsContext, Vfs};

/// Where the fake task's memory begins.
pub const BASE: u64 = 0x10_0000;

/// Memory from [`BASE`], and what was written to each of the standard streams.
#[derive(Default)]
pub struct FakeHost {
    /// The task's memory.
    pub memory: RefCell<Vec<u8>>,
    /// What each standard stream got.
    pub written: RefCell<BTreeMap<u32, Vec<u8>>>,
    /// What standard input will give.
    pub input: RefCell<Vec<u8>>,
    /// Arena files.
    pub arena: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// Signals sent: (tgid, tid, signal).
    pub signals: RefCell<Vec<(u32, u32, u32)>>,
}

impl FakeHost {
    /// A host with `size` bytes of memory.
    pub fn new(size: usize) -> Rc<Self> {
        Rc::new(Self { memory: RefCell::new(vec![0; size]), ..Default::default() })
    }

    /// Puts bytes at an address.
    pub fn poke(&self, addr: u64, data: &[u8]) {
        let at = (addr - BASE) as usize;
        self.memory.borrow_mut()[at..at + data.len()].copy_from_slice(data);
    }

    /// Bytes at an address.
    pub fn peek(&self, addr: u64, len: usize) -> Vec<u8> {
        let at = (addr - BASE) as usize;
        self.memory.borrow()[at..at + len].to_vec()
    }

    /// Applies an answer's output, as the supervisor does.
    pub fn apply(&self, answer: &v1::Answer) {
        for s in &answer.out {
            self.poke(s.addr, &s.data);
        }
    }
}

impl ComputeHost for FakeHost {
    fn read_memory(&self, _: u32, addr: u64, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        let memory = self.memory.borrow();
        let Some(at) = addr.checked_sub(BASE).map(|a| a as usize) else { return ready(Err(Errno::EFAULT)) };
        let end = at.saturating_add(len as usize).min(memory.len());
        ready(memory.get(at..end).map(Bytes::copy_from_slice).ok_or(Errno::EFAULT))
    }

    fn write_memory(&self, _: u32, addr: u64, data: Bytes) -> Fut<'_, Result<u64, Errno>> {
        let mut memory = self.memory.borrow_mut();
        let Some(at) = addr.checked_sub(BASE).map(|a| a as usize) else { return ready(Err(Errno::EFAULT)) };
        let n = data.len().min(memory.len().saturating_sub(at));
        memory[at..at + n].copy_from_slice(&data[..n]);
        ready(Ok(n as u64))
    }

    fn stdio_read(&self, _: u32, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        let mut input = self.input.borrow_mut();
        let n = input.len().min(len as usize);
        ready(Ok(input.drain(..n).collect::<Vec<u8>>().into()))
    }

    fn stdio_write(&self, index: u32, data: Bytes) -> Fut<'_, Result<u64, Errno>> {
        self.written.borrow_mut().entry(index).or_default().extend_from_slice(&data);
        ready(Ok(data.len() as u64))
    }

    fn stdio_poll(&self, _: u32, events: u32, _: bool) -> Fut<'_, Result<u32, Errno>> {
        ready(Ok(events & 5))
    }

    fn stdio_ioctl(&self, _: u32, _: u32, _: Bytes) -> Fut<'_, Result<Bytes, Errno>> {
        ready(Err(Errno::ENOTTY))
    }

    fn send_signal(&self, tgid: u32, tid: u32, sig: u32) -> Fut<'_, Result<(), Errno>> {
        self.signals.borrow_mut().push((tgid, tid, sig));
        ready(Ok(()))
    }

    fn proc_info(&self, _: u32, _: &str) -> Fut<'_, Result<Bytes, Errno>> {
        ready(Err(Errno::ESRCH))
    }

    fn arena_open(&self, file: u64, size: u64) -> Fut<'_, Result<(), Errno>> {
        self.arena.borrow_mut().entry(file).or_default().resize(size as usize, 0);
        ready(Ok(()))
    }

    fn arena_write(&self, file: u64, offset: u64, data: Bytes) -> Fut<'_, Result<(), Errno>> {
        let mut arena = self.arena.borrow_mut();
        let Some(f) = arena.get_mut(&file) else { return ready(Err(Errno::ENOENT)) };
        let (at, end) = (offset as usize, offset as usize + data.len());
        if end > f.len() {
            return ready(Err(Errno::EINVAL));
        }
        f[at..end].copy_from_slice(&data);
        ready(Ok(()))
    }

    fn arena_read(&self, file: u64, offset: u64, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        let arena = self.arena.borrow();
        let Some(f) = arena.get(&file) else { return ready(Err(Errno::ENOENT)) };
        let end = f.len().min(offset as usize + len as usize);
        ready(Ok(Bytes::copy_from_slice(f.get(offset as usize..end).unwrap_or_default())))
    }

    fn arena_close(&self, file: u64) {
        self.arena.borrow_mut().remove(&file);
    }
}

/// A kernel with one task (id 1) over a [`FakeHost`], and calls into it as a supervisor makes them.
pub struct TestBox {
    /// The host.
    pub host: Rc<FakeHost>,
    /// The kernel.
    pub kernel: Rc<super::Kernel>,
    next: std::cell::Cell<u64>,
}

impl TestBox {
    /// Runs a test in a runtime of its own.
    pub fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<Self>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async { test(Self::new()).await });
    }

    /// Runs a test over the tree at `root`, served by a real gofer without its jail.
    pub fn run_on_gofer<F: Future<Output = ()>>(root: &std::path::Path, test: impl FnOnce(Rc<Self>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let root = root.to_owned();
        let server = std::thread::spawn(move || rsc_gofer::serve_unjailed(&root, false, 4096, theirs, None).unwrap());
        local.block_on(&runtime, async {
            let host = FakeHost::new(256 << 10);
            let client = crate::gofer::GoferClient::new(crate::server::sandbox::GoferStream::Local(ours)).unwrap();
            let fs = crate::fs::gofer::GoferFs::attach(client, host.clone()).await.unwrap();
            let vfs = Vfs::new(host.clone(), fs, rsc_proto::abi::MountFlags::empty());
            let this = Self::over(host, vfs.clone(), None);
            test(this).await;
            vfs.shutdown();
        });
        drop((local, runtime));
        server.join().unwrap();
    }

    /// One with 256 KiB of memory, an empty tmpfs, no descriptors, root's credentials without limits.
    pub fn new() -> Rc<Self> {
        let host = FakeHost::new(256 << 10);
        let root = TmpFs::new(1, host.clone(), TmpfsOptions { mode: 0o755, ..Default::default() });
        let vfs = Vfs::new(host.clone(), root, rsc_proto::abi::MountFlags::empty());
        Self::over(host, vfs, None)
    }

    /// The same with a seccomp profile.
    pub fn filtered(profile: super::seccomp::Profile) -> Rc<Self> {
        let host = FakeHost::new(256 << 10);
        let root = TmpFs::new(1, host.clone(), TmpfsOptions { mode: 0o755, ..Default::default() });
        let vfs = Vfs::new(host.clone(), root, rsc_proto::abi::MountFlags::empty());
        Self::over(host, vfs, Some(profile))
    }

    fn over(host: Rc<FakeHost>, vfs: Rc<Vfs>, seccomp: Option<super::seccomp::Profile>) -> Rc<Self> {
        let fs = FsContext::new(vfs.root(), vfs.root(), 0o22);
        let kernel = super::Kernel::new(super::KernelParts {
            id: "test".into(),
            host: host.clone(),
            facts: v1::HostFacts::default(),
            tasks: Rc::default(),
            uts: super::UtsNames::shared("test", "(none)"),
            vfs,
            net: crate::net::NetStack::with_start(crate::net::NetConfig::Host, crate::net::broker::thread_for_tests()),
            seccomp,
            host_pids: false,
        });
        let mut rlimits =
            [rsc_proto::abi::Rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX }; super::task::rlimit::COUNT];
        rlimits[super::task::rlimit::NOFILE].rlim_cur = 1024;
        kernel.add_init(super::lifecycle::Init {
            creds: super::credentials::Credentials::all_powerful(),
            fs,
            rlimits,
            stdio: Vec::new(),
            no_new_privs: false,
            terminal: None,
        });
        Rc::new(Self { host, kernel, next: std::cell::Cell::new(1) })
    }

    /// Another sandbox in the same namespaces, whose first task has the id `tid`.
    pub fn beside(&self, tid: u32) -> Rc<super::Kernel> {
        let host = FakeHost::new(4096);
        let root = TmpFs::new(1, host.clone(), TmpfsOptions { mode: 0o755, ..Default::default() });
        let vfs = Vfs::new(host.clone(), root, rsc_proto::abi::MountFlags::empty());
        let fs = FsContext::new(vfs.root(), vfs.root(), 0o22);
        let kernel = super::Kernel::new(super::KernelParts {
            id: "beside".into(),
            host,
            facts: v1::HostFacts::default(),
            tasks: self.kernel.tasks.clone(),
            uts: self.kernel.uts.clone(),
            vfs,
            net: self.kernel.net.clone(),
            seccomp: None,
            host_pids: false,
        });
        let init = super::lifecycle::Init {
            creds: super::credentials::Credentials::all_powerful(),
            fs,
            rlimits: [rsc_proto::abi::Rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX }; super::task::rlimit::COUNT],
            stdio: Vec::new(),
            no_new_privs: false,
            terminal: None,
        };
        kernel.enter(tid, init).unwrap();
        kernel
    }

    /// Starts a call of task 1; its number, to interrupt it, and its answer, with the output applied to memory.
    pub fn start(self: &Rc<Self>, nr: u32, args: &[u64]) -> (u64, tokio::task::JoinHandle<v1::Answer>) {
        let id = self.next.replace(self.next.get() + 1);
        let mut six = args.to_vec();
        six.resize(6, 0);
        let call = v1::Syscall { call: id, tid: 1, nr, args: six, segments: Vec::new() };
        let this = self.clone();
        let handle = tokio::task::spawn_local(async move {
            let answer = this.kernel.syscall(call).await;
            this.host.apply(&answer);
            answer
        });
        (id, handle)
    }

    /// Makes a call and gives `rax`.
    pub async fn call(self: &Rc<Self>, nr: u32, args: &[u64]) -> i64 {
        Self::rax(&self.start(nr, args).1.await.unwrap())
    }

    /// `rax` of an answer.
    pub fn rax(answer: &v1::Answer) -> i64 {
        match answer.outcome {
            Some(v1::answer::Outcome::Result(n)) => n,
            ref other => panic!("no result but {other:?}"),
        }
    }

    /// Lets every other future run until it waits.
    pub async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Puts a string at `addr`; the address, for a call.
    pub fn path(&self, addr: u64, path: &str) -> u64 {
        self.host.poke(addr, path.as_bytes());
        self.host.poke(addr + path.len() as u64, &[0]);
        addr
    }

    /// Reads a value from the task's memory.
    pub fn get<T: zerocopy::FromBytes>(&self, addr: u64) -> T {
        T::read_from_bytes(&self.host.peek(addr, size_of::<T>())).unwrap()
    }

    /// Puts a value into the task's memory.
    pub fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(&self, addr: u64, value: &T) {
        self.host.poke(addr, value.as_bytes());
    }
}
