//! A kernel of a few calls: captured output, host files, one pipe (3 to read, 4 to write), and `Native` where the table permits.

use crate::Setup;
use rsc_proto::{
    abi::elf::Elf,
    table,
    v1::{self, answer::Outcome, task_event::What, up},
};
use rsc_runtime::{
    engine::{Counters, Engine, FileSources, Observer, Options, Upstream, drive},
    jail::{self, JailConfig, Mounted, Part, Shown},
    platform::{self, filter::Filter},
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::CString,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::PathBuf,
    rc::Rc,
};
use tokio::sync::Notify;

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) output: String,
    pub(crate) status: i32,
    pub(crate) events: Vec<v1::TaskEvent>,
    pub(crate) calls: Vec<(u32, u32)>,
    pub(crate) refused: Vec<String>,
    pub(crate) start_failed: Option<i32>,
    pub(crate) counters: Counters,
}

#[derive(Clone, Default)]
struct Queue {
    frames: Rc<RefCell<VecDeque<up::Body>>>,
    wake: Rc<Notify>,
}

impl Upstream for Queue {
    fn send(&mut self, body: up::Body) {
        self.frames.borrow_mut().push_back(body);
        self.wake.notify_one();
    }
}

#[derive(Clone, Default)]
struct Files(Rc<RefCell<Vec<PathBuf>>>);

impl FileSources for Files {
    fn open(&mut self, source: &v1::FileSource, writable: bool) -> io::Result<OwnedFd> {
        let files = self.0.borrow();
        let path = files.get(source.file as usize).ok_or(io::ErrorKind::NotFound)?;
        Ok(File::options().read(true).write(writable).open(path)?.into())
    }
}

#[derive(Clone, Default)]
struct Watcher(Rc<RefCell<(Vec<String>, Option<i32>)>>);

impl Observer for Watcher {
    fn refused(&mut self, what: &str) {
        self.0.borrow_mut().0.push(what.into());
    }
    fn start_failed(&mut self, _: i32, errno: i32) {
        self.0.borrow_mut().1 = Some(errno);
    }
}

/// An answer of a case's own to a call.
pub(crate) type Hook = fn(&v1::Syscall) -> Option<v1::Answer>;

struct Kernel {
    files: Files,
    open: BTreeMap<u64, PathBuf>,
    offsets: BTreeMap<u64, u64>,
    pipe: VecDeque<u8>,
    /// Calls that wait for the pipe.
    waiting: Vec<v1::Syscall>,
    hook: Option<Hook>,
    report: Report,
    answers: Vec<v1::Answer>,
    done: Vec<u64>,
}

pub(crate) fn answer(call: u64, outcome: Outcome) -> v1::Answer {
    v1::Answer { call, outcome: Some(outcome), ..v1::Answer::default() }
}

fn text(call: &v1::Syscall, addr: u64) -> Option<String> {
    let bytes = table::marshal::find(&call.segments, addr)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

impl Kernel {
    fn error(&mut self, call: &v1::Syscall, errno: i32) {
        self.answers.push(answer(call.call, Outcome::Result(-i64::from(errno))));
    }

    fn value(&mut self, call: &v1::Syscall, value: i64) {
        self.answers.push(answer(call.call, Outcome::Result(value)));
    }

    fn output(&mut self, call: &v1::Syscall, value: i64, addr: u64, data: Vec<u8>) {
        let mut answer = answer(call.call, Outcome::Result(value));
        answer.out.push(v1::Segment { addr, data: data.into() });
        self.answers.push(answer);
    }

    fn source(&self, path: &str) -> v1::FileSource {
        let mut files = self.files.0.borrow_mut();
        files.push(path.into());
        v1::FileSource { file: files.len() as u64 - 1, size: 0, from: None }
    }

    fn take(&mut self, body: up::Body) {
        match body {
            up::Body::Syscall(call) => {
                self.report.calls.push((call.tid, call.nr));
                if std::env::var_os("RSC_TEST_TRACE").is_some() {
                    let args: [u64; 6] = call.args.clone().try_into().unwrap();
                    eprintln!("[{}] {} {args:x?}", call.tid, table::name(call.nr));
                }
                match self.hook.and_then(|hook| hook(&call)) {
                    Some(answer) => self.answers.push(answer),
                    None => self.syscall(call),
                }
            }
            up::Body::Interrupt(interrupt) => {
                if let Some(at) = self.waiting.iter().position(|call| call.call == interrupt.call) {
                    let call = self.waiting.remove(at);
                    let code = table::lookup(call.nr).and_then(|entry| entry.interrupt.to_result());
                    // What goes on with a poll is interrupted as a poll.
                    let result = if call.nr == 219 { -516 } else { code.unwrap_or(-4) };
                    self.value(&call, result);
                }
            }
            up::Body::Event(event) => {
                if event.id != 0 {
                    self.done.push(event.id);
                }
                self.report.events.push(event);
            }
            _ => {}
        }
    }

    fn syscall(&mut self, call: v1::Syscall) {
        let args: [u64; 6] = call.args.clone().try_into().unwrap();
        match call.nr {
            0 if args[0] == 3 => {
                self.waiting.push(call);
                self.serve();
            }
            0 | 17 => {
                let Some(path) = self.open.get(&args[0]) else { return self.error(&call, libc::EBADF) };
                let mut data = vec![0; args[2] as usize];
                let offset = if call.nr == 17 { args[3] } else { self.offsets.get(&args[0]).copied().unwrap_or(0) };
                let got = File::open(path).unwrap().read_at(&mut data, offset).unwrap();
                data.truncate(got);
                if call.nr == 0 {
                    *self.offsets.entry(args[0]).or_default() += got as u64;
                }
                self.output(&call, got as i64, args[1], data);
            }
            1 => {
                let data = table::marshal::find(&call.segments, args[1]).unwrap_or_default();
                let data = data[..data.len().min(args[2] as usize)].to_vec();
                match args[0] {
                    1 | 2 => self.report.output.push_str(&String::from_utf8_lossy(&data)),
                    4 => self.pipe.extend(&data),
                    _ => return self.error(&call, libc::EBADF),
                }
                self.value(&call, data.len() as i64);
                self.serve();
            }
            3 => {
                self.open.remove(&args[0]);
                self.value(&call, 0);
            }
            // fstat, and newfstatat of a descriptor.
            5 | 262 => {
                let buffer = if call.nr == 5 { args[1] } else { args[2] };
                let Some(path) = self.open.get(&args[0]) else { return self.error(&call, libc::EBADF) };
                let mut stat = vec![0u8; 144];
                let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
                stat[8..16].copy_from_slice(&inode.to_ne_bytes());
                stat[24..28].copy_from_slice(&0o100_755u32.to_ne_bytes());
                stat[48..56].copy_from_slice(&std::fs::metadata(path).unwrap().len().to_ne_bytes());
                self.output(&call, 0, buffer, stat);
            }
            9 if args[3] & libc::MAP_ANONYMOUS as u64 == 0 => {
                let Some(path) = self.open.get(&args[4]) else { return self.error(&call, libc::EBADF) };
                let source = self.source(path.to_str().unwrap());
                let map = v1::MapFile { source: Some(source), writable: false };
                self.answers.push(answer(call.call, Outcome::Map(map)));
            }
            59 => self.exec(&call, args[0]),
            7 | 232 | 270 | 271 | 281 => {
                self.waiting.push(call);
                self.serve();
            }
            219 => {
                self.waiting.push(call);
                self.serve();
            }
            257 => {
                let path = text(&call, args[1]).unwrap_or_default();
                if !std::path::Path::new(&path).is_file() {
                    return self.error(&call, libc::ENOENT);
                }
                let fd = (10..).find(|fd| !self.open.contains_key(fd)).unwrap();
                self.open.insert(fd, path.into());
                self.offsets.remove(&fd);
                self.value(&call, fd as i64);
            }
            _ if table::native_permitted(call.nr, &args, false) => {
                let report = matches!(call.nr, 56..=58);
                self.answers.push(answer(call.call, Outcome::Native(v1::Native { report })));
            }
            _ => self.error(&call, libc::ENOSYS),
        }
    }

    /// Gives the pipe's bytes to whoever waits for them.
    fn serve(&mut self) {
        while !self.pipe.is_empty()
            && let Some(at) = self.waiting.iter().position(|call| matches!(call.nr, 0 | 7 | 219 | 270 | 271))
        {
            let call = self.waiting.remove(at);
            if call.nr != 0 {
                self.value(&call, 1);
                continue;
            }
            let count = self.pipe.len().min(call.args[2] as usize);
            let data: Vec<u8> = self.pipe.drain(..count).collect();
            self.output(&call, count as i64, call.args[1], data);
        }
    }

    fn exec(&mut self, call: &v1::Syscall, path: u64) {
        let path = text(call, path).unwrap_or_default();
        let Ok(bytes) = std::fs::read(&path) else { return self.error(call, libc::ENOENT) };
        let (program, prefix) = match bytes.strip_prefix(b"#!") {
            Some(rest) => {
                let line = rest.split(|byte| *byte == b'\n').next().unwrap();
                let interpreter = String::from_utf8_lossy(line).trim().to_owned();
                (interpreter.clone(), vec![interpreter.into_bytes().into(), path.clone().into_bytes().into()])
            }
            None => (path.clone(), Vec::new()),
        };
        let Ok(elf) = Elf::parse(&std::fs::read(&program).unwrap()) else { return self.error(call, libc::ENOEXEC) };
        let interpreter = elf.interp.map(|path| self.source(&String::from_utf8(path).unwrap()));
        let exec = v1::Exec {
            program: Some(self.source(&program)),
            interpreter,
            argv_prefix: prefix,
            execfn: path.clone().into_bytes().into(),
            comm: path.rsplit('/').next().unwrap().as_bytes().to_vec().into(),
            uid: 7,
            euid: 7,
            gid: 8,
            egid: 8,
            secure: false,
        };
        self.answers.push(answer(call.call, Outcome::Exec(exec)));
    }
}

/// Runs a program to its end.
pub(crate) fn run(setup: Setup, args: &[&str], hook: Option<Hook>) -> Result<Report, String> {
    run_with(setup, args, hook, |_, _| ())
}

/// The same; `tick` is called with init's host pid now and then, from a task beside the engine.
pub(crate) fn run_with(
    setup: Setup,
    args: &[&str],
    hook: Option<Hook>,
    tick: fn(i32, &Report),
) -> Result<Report, String> {
    let (host_uid, host_gid) = JailConfig::host_ids();
    let env = [CString::new("PATH=/nowhere:/bin").unwrap(), CString::new("A=b").unwrap()];
    let config = JailConfig {
        uid: 1000,
        gid: 1000,
        host_uid,
        host_gid,
        joined: Vec::new(),
        way_in: None,
        shown: None,
        hostname: String::new(),
        rlimits: Vec::new(),
        args: args.iter().map(|arg| CString::new(*arg).unwrap()).collect(),
        env: env.to_vec(),
        anchor: false,
    };
    let jail = jail::spawn(&config).map_err(|error| error.to_string())?;
    let native: BTreeSet<u32> =
        if setup.strict { BTreeSet::new() } else { table::filter_rules().map(|(nr, _)| nr).collect() };
    let attached =
        platform::attach(&jail, &Filter { platform: setup.platform, native }).map_err(|error| error.to_string())?;
    let init = attached.init;
    let env: Vec<&[u8]> = env.iter().map(|entry| entry.to_bytes()).collect();
    let options = Options::new(args[0].as_bytes(), &env);
    let (queue, files, watcher) = (Queue::default(), Files::default(), Watcher::default());
    let engine =
        Engine::new(attached, options, Box::new(queue.clone()), Box::new(files.clone()), Box::new(watcher.clone()));
    let engine = Rc::new(RefCell::new(engine));
    let mut kernel = Kernel {
        files,
        open: BTreeMap::new(),
        offsets: BTreeMap::new(),
        pipe: VecDeque::new(),
        waiting: Vec::new(),
        hook,
        report: Report::default(),
        answers: Vec::new(),
        done: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let finished = Rc::new(Cell::new(false));
    let wake = queue.wake.clone();
    let report = local.block_on(&runtime, async {
        let server = tokio::task::spawn_local({
            let (engine, finished) = (engine.clone(), finished.clone());
            async move {
                loop {
                    let next = queue.frames.borrow_mut().pop_front();
                    match next {
                        Some(body) => kernel.take(body),
                        None if finished.get() => return kernel.report,
                        None => queue.wake.notified().await,
                    }
                    for answer in std::mem::take(&mut kernel.answers) {
                        engine.borrow_mut().on_answer(answer);
                    }
                    for id in std::mem::take(&mut kernel.done) {
                        engine.borrow_mut().on_event_done(id);
                    }
                    tick(init, &kernel.report);
                }
            }
        });
        engine.borrow_mut().start();
        let status = drive(&engine).await.map_err(|error| error.to_string())?;
        finished.set(true);
        engine.borrow_mut().release_exits();
        wake.notify_one();
        let mut report = server.await.map_err(|error| error.to_string())?;
        report.status = status;
        Ok::<_, String>(report)
    });
    let mut report = report?;
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(init), None);
    report.counters = engine.borrow().counters().clone();
    let seen = watcher.0.borrow();
    report.refused = seen.0.clone();
    report.start_failed = seen.1;
    Ok(report)
}

/// The events' kinds, for comparison.
pub(crate) fn kinds(report: &Report) -> Vec<&'static str> {
    let kind = |event: &v1::TaskEvent| match event.what {
        Some(What::Cloned(_)) => "cloned",
        Some(What::Execed(_)) => "execed",
        Some(What::Exited(_)) => "exited",
        Some(What::NativeResult(_)) => "result",
        Some(What::ExecFailed(_)) => "exec failed",
        None => "none",
    };
    report.events.iter().map(kind).collect()
}

/// What a jail is seen to have from outside before its supervisor comes.
pub(crate) fn look_at_jail(_setup: Setup) -> Result<(), String> {
    let mounted = |destination: &str, what| Mounted { destination: destination.into(), what };
    let bind = Part::Bind { source: "/usr".into(), read_only: true };
    let mounts = vec![mounted("/proc", Part::Proc), mounted("/opt", bind), mounted("/dev", Part::Unseen)];
    look_at(None)?;
    look_at(Some(Shown { root: "/".into(), read_only: true, mounts }))
}

/// It has nothing, whatever its mount namespace shows to others.
fn look_at(shown: Option<Shown>) -> Result<(), String> {
    let (host_uid, host_gid) = JailConfig::host_ids();
    let config = JailConfig {
        uid: 1000,
        gid: 100,
        host_uid,
        host_gid,
        joined: Vec::new(),
        way_in: None,
        shown,
        hostname: String::new(),
        rlimits: Vec::new(),
        args: vec![c"true".into()],
        env: Vec::new(),
        anchor: false,
    };
    let jail = jail::spawn(&config).map_err(|error| error.to_string())?;
    let proc_file = |name: &str| format!("/proc/{}/{name}", jail.pid);
    let status = std::fs::read_to_string(proc_file("status")).unwrap();
    let mut wrong = Vec::new();
    let ids = format!("Uid:\t{host_uid}\t{host_uid}\t{host_uid}\t{host_uid}");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", &ids] {
        if !status.contains(line) {
            wrong.push(line.to_owned());
        }
    }
    let mut open: Vec<_> = std::fs::read_dir(proc_file("fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    if open != ["59", "60"] {
        wrong.push(format!("open: {open:?}"));
    }
    if std::fs::read_dir(proc_file("root")).unwrap().count() != 0 {
        wrong.push("a root that is not empty".into());
    }
    let root = nix::sys::statvfs::statvfs(proc_file("root").as_str()).unwrap();
    if !root.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        wrong.push("a root that can be written to".into());
    }
    let mounts = std::fs::read_to_string(proc_file("mounts")).unwrap();
    if !mounts.is_empty() {
        wrong.push(format!("mounts: {mounts}"));
    }
    if std::fs::read_dir(proc_file("cwd")).unwrap().count() != 0 {
        wrong.push("a working directory that is not empty".into());
    }
    jail.abort();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
