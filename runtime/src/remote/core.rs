//! The client core: where a call goes, and what it comes to where it goes there. The same for every way in.

mod descriptors;
pub mod lookups;
mod move_bytes;
mod readiness;
mod sockets;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use nix::errno::Errno;
use rsc_proto::table::marshal::{self, Gathered, MemoryReader, gather};
use rsc_proto::table::nr;
use rsc_proto::v1::Segment;

use lookups::Lookups;

use super::calls::Calls;
use super::client::{Answered, Client, Pending, Request, Window};
use super::names;
use super::placeholder::{Handle, Placeholders};
use super::rules::{self, Access, By, Class, PathArg, Rules, Subject, Verdict};
use super::shape;

/// Where strings of the core's own are said to be: below what any process can map (vm.mmap_min_addr), 4096 bytes each.
const STRINGS: u64 = 0x1000;

/// What the core knows of a process.
#[derive(Debug, Default)]
pub struct Process {
    /// Its pid.
    pub tgid: i32,
    /// Its working directory there, if that is the one that counts.
    pub there: RefCell<Option<Vec<u8>>>,
    /// What became of its calls.
    pub calls: Calls,
    exe: RefCell<Option<PathBuf>>,
    /// Its sockets to name servers.
    resolvers: RefCell<HashSet<i32>>,
}

impl Process {
    /// One that is first seen.
    pub fn new(tgid: i32, there: Option<Vec<u8>>) -> Rc<Self> {
        Rc::new(Process {
            tgid,
            there: RefCell::new(there),
            calls: Calls::default(),
            exe: RefCell::default(),
            resolvers: RefCell::default(),
        })
    }

    /// Its child begins as it is now.
    pub fn fork(&self, tgid: i32) -> Rc<Self> {
        Self::new(tgid, self.there.borrow().clone())
    }

    /// It executes another program.
    pub fn execed(&self) {
        self.exe.borrow_mut().take();
        // While it can still be asked.
        self.executable();
    }

    /// Its program.
    pub fn executable(&self) -> PathBuf {
        let read = || std::fs::read_link(format!("/proc/{}/exe", self.tgid)).unwrap_or_default();
        self.exe.borrow_mut().get_or_insert_with(read).clone()
    }
}

/// A thread that makes calls.
pub struct Caller {
    /// Its tid here.
    pub tid: i32,
    /// Its process.
    pub process: Rc<Process>,
    /// Its memory.
    pub window: Rc<dyn Window>,
    /// Its own rules; none: the core's.
    rules: Option<Rc<Rules>>,
    /// No rule is asked: what it asks for is to be carried out there, by the names that it gives.
    explicit: bool,
    /// How to interrupt the call that is being served.
    interrupt: RefCell<Option<Box<dyn Fn()>>>,
    /// The sentry was asked to carry out its call.
    asked: Cell<bool>,
}

impl Caller {
    /// A thread.
    pub fn new(tid: i32, process: Rc<Process>, window: Rc<dyn Window>) -> Self {
        let (interrupt, asked) = (RefCell::default(), Cell::new(false));
        Caller { tid, process, window, rules: None, explicit: false, interrupt, asked }
    }

    /// One with rules of its own. `explicit`: nobody but the caller decides.
    pub fn with_rules(self, rules: Rc<Rules>, explicit: bool) -> Self {
        Caller { rules: Some(rules), explicit, ..self }
    }

    /// Counts a call by what it came to; `None`: it came to that while its thread was parked.
    pub fn count(&self, number: u32, served: Option<&Served>) {
        let closed = matches!(served, Some(Served::Here(Some(Then::Closed(_)))));
        if self.asked.take() || closed {
            self.process.calls.ran_there(number);
        } else if !matches!(served, Some(Served::Done(_)) | None) {
            self.process.calls.ran_here(number);
        }
    }

    /// Asks whoever carries out its call to end it now. Without effect if nobody does.
    pub fn interrupt(&self) {
        if let Some(interrupt) = &*self.interrupt.borrow() {
            interrupt();
        }
    }
}

/// What is to be done after a call has run here.
#[derive(Debug)]
pub enum Then {
    /// A placeholder was perhaps closed.
    Closed(Rc<Handle>),
    /// The working directory is one here again, if it succeeded.
    ChangedDirectory,
    /// A name server's answer was perhaps received at this address.
    Received(u64),
}

/// What a call comes to.
#[derive(Debug)]
pub enum Served {
    /// It is this machine's.
    Here(Option<Then>),
    /// It is this machine's, with other strings for some arguments.
    HereWith(Vec<(usize, Vec<u8>)>),
    /// It was carried out.
    Done(Done),
    /// Its first argument becomes this remote descriptor; then it is made again.
    Replace(Made),
    /// A mapping of these bytes, which are a remote file's from the call's offset on.
    Map(std::os::fd::OwnedFd),
}

/// A call that was carried out.
#[derive(Debug, Default)]
pub struct Done {
    /// What the register gets.
    pub result: i64,
    /// What is written to the caller's memory.
    pub out: Vec<Segment>,
    /// A signal for the caller, or 0.
    pub signal: i32,
    /// The result is a descriptor of the sentry's, for which a placeholder is to be made.
    pub made: Option<Made>,
}

/// A new remote descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Its number at the sentry.
    pub number: i32,
    /// Close-on-exec.
    pub cloexec: bool,
}

impl Done {
    fn value(result: i64) -> Served {
        Served::Done(Done { result, ..Done::default() })
    }

    fn failed(errno: Errno) -> Served {
        Self::value(-i64::from(errno as i32))
    }
}

/// See the module.
pub struct Core {
    client: Client,
    rules: Rules,
    /// The remote descriptors.
    pub placeholders: Placeholders,
    /// Names of addresses.
    pub lookups: Lookups,
    epoll: Cell<Option<i32>>,
}

struct Reader<'a>(&'a dyn Window);

impl MemoryReader for Reader<'_> {
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        self.0.read(addr, buf)
    }
}

impl Core {
    /// A core whose calls go to `client`'s sentry.
    pub fn new(client: Client, rules: Rules) -> std::io::Result<Rc<Self>> {
        let core = Rc::new(Core {
            client,
            rules,
            placeholders: Placeholders::new()?,
            lookups: Lookups::default(),
            epoll: Cell::new(None),
        });
        let weak = Rc::downgrade(&core);
        core.client.on_orphan(move |number, result| {
            // Its caller is gone: nobody will ever close what it has opened.
            if let (true, Ok(fd), Some(core)) = (shape::makes_descriptor(number), i32::try_from(result), weak.upgrade())
                && fd >= 0
            {
                tokio::task::spawn_local(async move { core.close_there(fd).await });
            }
        });
        Ok(core)
    }

    /// Its session.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether any call with this number may be anything else than this machine's, as things are.
    pub fn concerns(&self, number: u32) -> bool {
        self.rules.concerns(number)
            || !self.placeholders.is_empty()
            || matches!(number, nr::IO_URING_SETUP | nr::GETCWD | nr::CHDIR | nr::FCHDIR)
            || matches!(number, nr::READ | nr::RECVFROM | nr::RECVMSG) && self.rules.needs_address(nr::CONNECT)
    }

    /// The rules about a thread's calls.
    fn rules<'a>(&'a self, caller: &'a Caller) -> &'a Rules {
        caller.rules.as_deref().unwrap_or(&self.rules)
    }

    /// Serves a call.
    pub async fn serve(self: &Rc<Self>, caller: &Caller, number: u32, args: [u64; 6]) -> Served {
        if number == nr::IO_URING_SETUP {
            // Its calls would be seen by nobody.
            return Done::failed(Errno::ENOSYS);
        }
        let handle = |at: &usize| self.placeholders.find(caller.tid, caller.process.tgid, fd_of(&args, *at));
        let anonymous = number == nr::MMAP && args[3] & libc::MAP_ANONYMOUS as u64 != 0;
        let fds: Vec<(usize, Option<Rc<Handle>>)> = if self.placeholders.is_empty() || anonymous {
            shape::descriptors(number).into_iter().map(|at| (at, None)).collect()
        } else {
            shape::descriptors(number).into_iter().map(|at| (at, handle(&at))).collect()
        };
        let remote = fds.iter().filter(|fd| fd.1.is_some()).count();
        if let Some(served) = self.numbers(caller, number, &args, &fds).await {
            return served;
        }
        if shape::is_of_numbers(number) {
            return Served::Here(None);
        }
        match remote {
            // A number means one thing, and this one means something here.
            0 if rules::class(number) == Class::Address && self.rules(caller).concerns(number) => {
                self.by_address(caller, number, &args).await
            }
            0 if number == nr::FCHDIR => Served::Here(Some(Then::ChangedDirectory)),
            0 if self.may_receive(caller, number) => self.received(caller, number, &args),
            0 if !fds.is_empty() => self.unless_denied(caller, number, &args),
            0 => self.by_name(caller, number, args).await,
            _ if number == nr::MMAP => self.map(&args, &fds).await,
            _ if number == nr::FCHDIR => self.change_to(caller, &fds).await,
            _ if remote < fds.len() => self.mixed(caller, number, &args, &fds).await,
            _ => {
                let mut there = args;
                for (at, handle) in &fds {
                    if let (Some(slot), Some(handle)) = (there.get_mut(*at), handle) {
                        *slot = handle.number as u64;
                    }
                }
                let served = self.carry_out(caller, number, &args, there, Vec::new()).await;
                for handle in fds.iter().filter_map(|fd| fd.1.as_ref()).filter(|handle| handle.watched.get()) {
                    self.refresh(handle).await;
                }
                served
            }
        }
    }

    /// A call whose descriptors are this machine's.
    fn unless_denied(&self, caller: &Caller, number: u32, args: &[u64; 6]) -> Served {
        match self.decide(caller, number, args, &[], None).verdict {
            Verdict::Deny(errno) => Done::failed(Errno::from_raw(errno.number())),
            _ => Served::Here(None),
        }
    }

    fn decide(
        &self,
        caller: &Caller,
        number: u32,
        args: &[u64; 6],
        names: &[Name],
        how: Option<u64>,
    ) -> rules::Decision {
        let executable = caller.process.executable();
        let path = |at: usize| names.get(at).map(|name| name.absolute.as_slice());
        let rules = self.rules(caller);
        let access = if rules.needs_paths(number) { rules::access_of(number, args, how) } else { Access::Neither };
        rules.decide(&Subject {
            nr: number,
            path: path(0),
            second: path(1),
            address: None,
            hosts: &[],
            executable: &executable,
            access,
        })
    }

    /// A call without remote descriptors, unless it starts from a remote directory.
    async fn by_name(self: &Rc<Self>, caller: &Caller, number: u32, args: [u64; 6]) -> Served {
        if number == nr::GETCWD {
            return self.working_directory(caller, &args);
        }
        let paths = rules::path_args(number);
        let paths: Vec<PathArg> = paths.0.into_iter().chain(paths.1).collect();
        let is_there = |at: usize| self.placeholders.find(caller.tid, caller.process.tgid, fd_of(&args, at)).is_some();
        let from_there = paths.iter().any(|path| path.dirfd.is_some_and(is_there));
        let asked_for = caller.explicit && rules::calls::is_remotable(number);
        if !from_there && !asked_for && !self.rules(caller).concerns(number) {
            return Served::Here((number == nr::CHDIR).then_some(Then::ChangedDirectory));
        }
        // The kernel says what is wrong with a name that cannot be read.
        let Some(names) = self.names(caller, number, &args, &paths) else { return Served::Here(None) };
        if from_there && names.is_empty() {
            // No name at all is the descriptor itself (futimens(3)).
            let mut there = args;
            for at in paths.iter().filter_map(|path| path.dirfd) {
                let handle = self.placeholders.find(caller.tid, caller.process.tgid, fd_of(&args, at));
                if let (Some(slot), Some(handle)) = (there.get_mut(at), handle) {
                    *slot = handle.number as u64;
                }
            }
            return self.carry_out(caller, number, &args, there, Vec::new()).await;
        }
        let how = (number == nr::OPENAT2).then(|| read_word(&*caller.window, args[2])).flatten();
        // An empty name is the descriptor itself (AT_EMPTY_PATH), and that is this machine's.
        let by_number = |name: &Name| {
            let path = paths.iter().find(|path| path.path == name.at);
            name.given.is_empty()
                && !name.handle
                && path.and_then(|path| path.dirfd).is_some_and(|at| fd_of(&args, at) >= 0)
        };
        if names.iter().any(by_number) {
            return self.unless_denied(caller, number, &args);
        }
        let mut decision = if caller.explicit {
            rules::Decision { verdict: Verdict::Remote, map: None, second: None, by: By::Nothing }
        } else {
            self.decide(caller, number, &args, &names, how)
        };
        // A name from there is there, whatever it is, unless a rule says of the absolute one that it is not.
        let unruled = decision.by == By::Nothing;
        let relative = names.iter().any(|name| name.handle || unruled && name.there);
        if relative && decision.verdict == Verdict::Local {
            decision = rules::Decision { verdict: Verdict::Remote, map: None, second: None, by: decision.by };
        }
        let mapped = [decision.map, decision.second];
        match decision.verdict {
            Verdict::Deny(errno) => Done::failed(Errno::from_raw(errno.number())),
            Verdict::Local => {
                let string = |name: &Name, map: Option<Vec<u8>>| {
                    // The kernel's working directory is another one.
                    Some((name.at, map.or_else(|| name.there.then(|| name.absolute.clone()))?))
                };
                let strings = names.iter().zip(mapped).filter_map(|(name, map)| string(name, map));
                let strings: Vec<_> = strings.collect();
                match (number, strings.is_empty()) {
                    (nr::CHDIR, true) => Served::Here(Some(Then::ChangedDirectory)),
                    (_, true) => Served::Here(None),
                    (_, false) => Served::HereWith(strings),
                }
            }
            Verdict::Remote if number == nr::CHDIR => {
                let Some(name) = names.into_iter().next() else { return Served::Here(None) };
                let path = if name.given.is_empty() { name.given } else { name.absolute };
                self.change_directory(caller, path, mapped.into_iter().next().flatten()).await
            }
            Verdict::Remote => {
                let strings = names.into_iter().zip(mapped).map(|(name, map)| {
                    // Of an empty name the error is the sentry's to give.
                    let path = if name.given.is_empty() { name.given } else { map.unwrap_or(name.absolute) };
                    (name.at, path)
                });
                let strings = strings.collect();
                self.go(caller, number, args, &paths, strings).await
            }
        }
    }

    /// A call with names goes there, with these in their place.
    async fn go(
        self: &Rc<Self>,
        caller: &Caller,
        number: u32,
        args: [u64; 6],
        paths: &[PathArg],
        strings: Vec<(usize, Vec<u8>)>,
    ) -> Served {
        let mut there = args;
        for path in paths {
            if let Some(slot) = path.dirfd.and_then(|at| there.get_mut(at)) {
                *slot = libc::AT_FDCWD as u64;
            }
        }
        // An empty name is the descriptor itself (AT_EMPTY_PATH).
        for (at, name) in &strings {
            let dirfd = paths.iter().find(|path| path.path == *at).and_then(|path| path.dirfd);
            if let (true, Some(dirfd)) = (name.is_empty(), dirfd)
                && let Some(slot) = there.get_mut(dirfd)
                && let Some(handle) = self.placeholders.find(caller.tid, caller.process.tgid, fd_of(&args, dirfd))
            {
                *slot = handle.number as u64;
            }
        }
        if let Some(mode) = shape::made_mode(number).and_then(|at| there.get_mut(at)) {
            *mode &= !umask(caller.tid);
        }
        self.carry_out(caller, number, &args, there, strings).await
    }

    /// Sends a call and waits for what it comes to. `strings` stand for the strings of arguments.
    async fn carry_out(
        self: &Rc<Self>,
        caller: &Caller,
        number: u32,
        args: &[u64; 6],
        mut there: [u64; 6],
        strings: Vec<(usize, Vec<u8>)>,
    ) -> Served {
        let Gathered { mut segments, mut out, input, .. } = gather(number, args, &mut Reader(&*caller.window));
        for ((at, mut string), addr) in strings.into_iter().zip((STRINGS..).step_by(0x1000)) {
            let given = args.get(at).copied().unwrap_or(0);
            segments.retain(|segment| segment.addr != given);
            string.push(0);
            segments.push(Segment { addr, data: string.into() });
            if let Some(slot) = there.get_mut(at) {
                *slot = addr;
            }
        }
        let how = (number == nr::OPENAT2).then(|| apply_umask(&mut segments, args[2], caller.tid)).flatten();
        out.finish();
        let tid = self.client.announce(caller.tid, caller.process.tgid);
        let window = Rc::clone(&caller.window);
        let pending = self.client.call(Request { tid, nr: number, args: there, segments, input, out, window });
        let Answered { result, out, signal, native } = self.wait(caller, pending).await;
        if native {
            caller.asked.set(false);
            return Served::Here(None);
        }
        let made = (shape::makes_descriptor(number) && result >= 0)
            .then(|| i32::try_from(result).ok())
            .flatten()
            .map(|fd| Made { number: fd, cloexec: shape::is_close_on_exec(number, args, how) });
        Served::Done(Done { result, out, signal, made })
    }

    /// Waits for an answer, and lets the caller be interrupted meanwhile.
    async fn wait(&self, caller: &Caller, pending: Pending) -> Answered {
        let mut pending = pending;
        caller.asked.set(true);
        *caller.interrupt.borrow_mut() = Some(pending.interrupter());
        let answered = pending.answer().await;
        caller.interrupt.borrow_mut().take();
        answered
    }

    /// The names of a call. `None`: one cannot be read.
    fn names(&self, caller: &Caller, number: u32, args: &[u64; 6], paths: &[PathArg]) -> Option<Vec<Name>> {
        let mut all = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let addr = args.get(path.path).copied().unwrap_or(0);
            if addr == 0 {
                // As utimensat(2) has it: the descriptor itself.
                continue;
            }
            let given = read_string(&*caller.window, addr)?;
            let directory = path.dirfd.map(|at| fd_of(args, at)).filter(|fd| *fd != libc::AT_FDCWD);
            let base = match directory {
                _ if given.starts_with(b"/") && caller.explicit => Base::There(Vec::new()),
                _ if given.starts_with(b"/") => Base::Here(Vec::new()),
                Some(fd) => match self.placeholders.find(caller.tid, caller.process.tgid, fd) {
                    Some(handle) => Base::Handle(handle),
                    None if caller.explicit => return None,
                    None => Base::Here(names::directory_of(caller.tid, fd)?),
                },
                None => match caller.process.there.borrow().clone() {
                    Some(there) => Base::There(there),
                    None if caller.explicit => Base::There(b"/".to_vec()),
                    None => Base::Here(names::working_directory(caller.tid).unwrap_or_default()),
                },
            };
            let itself = !rules::follows(number, args, index == 1, None);
            let there = matches!(base, Base::There(_));
            let (absolute, handle) = match base {
                Base::Here(directory) => {
                    let path = names::join(&directory, &given);
                    (names::resolve(&names::root_of(caller.tid), &path, itself), false)
                }
                // What `..` leads to is the sentry's knowledge; only rules want it sooner.
                Base::There(directory) if caller.explicit => (names::join(&directory, &given), false),
                Base::There(directory) => (names::normal(&names::join(&directory, &given)), false),
                // The sentry's /proc leads to the directory, whatever its name has become.
                Base::Handle(handle) => {
                    (names::join(format!("/proc/self/fd/{}", handle.number).as_bytes(), &given), true)
                }
            };
            all.push(Name { at: path.path, given, absolute, handle, there });
        }
        Some(all)
    }
}

/// A name of a call.
struct Name {
    /// Which argument.
    at: usize,
    given: Vec<u8>,
    absolute: Vec<u8>,
    /// It starts from a remote descriptor.
    handle: bool,
    /// It starts from a working directory there.
    there: bool,
}

/// What a relative name starts from.
enum Base {
    Here(Vec<u8>),
    There(Vec<u8>),
    Handle(Rc<Handle>),
}

/// An argument as a descriptor.
fn fd_of(args: &[u64; 6], at: usize) -> i32 {
    args.get(at).map_or(-1, |arg| *arg as i32)
}

/// A name from a caller's memory; longer than any path is none.
fn read_string(window: &dyn Window, addr: u64) -> Option<Vec<u8>> {
    let mut buffer = vec![0; rsc_proto::abi::PATH_MAX];
    let mut filled = 0;
    while filled < buffer.len() {
        // To the end of a page, behind which nothing need be.
        let here = addr.checked_add(filled as u64)?;
        let room = (rsc_proto::abi::PAGE_SIZE - here % rsc_proto::abi::PAGE_SIZE) as usize;
        let end = buffer.len().min(filled + room);
        let part = buffer.get_mut(filled..end)?;
        let got = window.read(here, part);
        if let Some(zero) = part.get(..got)?.iter().position(|byte| *byte == 0) {
            buffer.truncate(filled + zero);
            return Some(buffer);
        }
        if got < part.len() {
            return None;
        }
        filled += got;
    }
    None
}

/// A word from a caller's memory.
fn read_word(window: &dyn Window, addr: u64) -> Option<u64> {
    let mut word = [0; 8];
    (window.read(addr, &mut word) == 8).then(|| u64::from_ne_bytes(word))
}

/// A thread's umask. umask(2), proc_pid_status(5).
fn umask(tid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

/// The umask on a `struct open_how`, whose mode is its second word; its flags.
fn apply_umask(segments: &mut [Segment], addr: u64, tid: i32) -> Option<u64> {
    let segment = segments.iter_mut().find(|segment| segment.addr == addr)?;
    let mut bytes = segment.data.to_vec();
    let flags = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
    let mode = bytes.get_mut(8..16)?;
    let masked = u64::from_ne_bytes((&*mode).try_into().ok()?) & !umask(tid);
    mode.copy_from_slice(&masked.to_ne_bytes());
    segment.data = Bytes::from(bytes);
    Some(flags)
}

/// The bytes that an answer of the core's own call wrote at an address.
fn written(answered: &Answered, addr: u64) -> &[u8] {
    marshal::find(&answered.out, addr).unwrap_or_default()
}
