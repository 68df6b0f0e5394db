//! What a running gofer really holds: namespaces, capabilities, filter, mounts, descriptors. Needs root.

use rsc_gofer::{GoferConfig, Program, SpawnedGofer, receive_donation, spawn};
use rsc_proto::gofer::*;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn config(root: &Path) -> GoferConfig {
    let program = Program::Command(PathBuf::from(env!("CARGO_BIN_EXE_gofer")), vec![]);
    GoferConfig { root: root.to_owned(), donations: true, program, ..GoferConfig::default() }
}

struct Gofer {
    spawned: SpawnedGofer,
    next: u64,
}

impl Gofer {
    fn start(config: &GoferConfig) -> (Gofer, AttachReply) {
        let spawned = spawn(config).unwrap();
        spawned.socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut gofer = Gofer { spawned, next: 1 };
        match gofer.call(Op::Attach(Attach { version: VERSION, root: 0 }), &[]) {
            (Ok(Some(Outcome::Attach(reply))), _) => (gofer, reply),
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, op: Op, payload: &[u8]) -> (Result<Option<Outcome>, i32>, Vec<u8>) {
        self.call_closing(vec![], op, payload)
    }

    fn call_closing(&mut self, close: Vec<u32>, op: Op, payload: &[u8]) -> (Result<Option<Outcome>, i32>, Vec<u8>) {
        let id = self.next;
        self.next += 1;
        let mut out = vec![];
        encode_frame(&mut out, &Request { id, close, op: Some(op) }, payload);
        self.spawned.socket.write_all(&out).unwrap();
        let mut bytes = vec![0; PREFIX];
        self.spawned.socket.read_exact(&mut bytes).unwrap();
        let len = split_frame(&bytes).unwrap().map_or_else(|n| n, |f| f.len);
        bytes.resize(len, 0);
        self.spawned.socket.read_exact(&mut bytes[PREFIX..]).unwrap();
        let frame = split_frame(&bytes).unwrap().unwrap();
        let reply: Reply = frame.decode().unwrap();
        assert_eq!(reply.id, id);
        (if reply.errno == 0 { Ok(reply.outcome) } else { Err(reply.errno) }, frame.payload.to_vec())
    }

    fn must(&mut self, op: Op, payload: &[u8]) -> Option<Outcome> {
        let what = format!("{op:?}");
        self.call(op, payload).0.unwrap_or_else(|e| panic!("{what}: errno {e}"))
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.spawned.child.id()))
    }

    fn status(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.proc("status")).unwrap();
        text.lines().filter_map(|l| l.split_once(":\t")).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
    }

    /// Closes the socket and returns how the process ended.
    fn end(mut self) -> std::process::ExitStatus {
        self.spawned.socket.shutdown(std::net::Shutdown::Both).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match self.spawned.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() > until => {
                    self.spawned.child.kill().unwrap();
                    self.spawned.child.wait().unwrap();
                    panic!("the gofer outlives its socket");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

fn create(name: &str, node: u32, uid: u32) -> Op {
    Op::Create(Create { dir: 0, name: name.into(), flags: 3, mode: 0o640, uid, gid: uid, node, file: node + 1 })
}

/// Every operation once: the filter has to let all of it through.
fn exercise(gofer: &mut Gofer) {
    gofer.must(create("file", 1, 0), &[]);
    gofer.must(Op::Write(Write { file: 2, offset: Some(0), flags: WriteFlags::all().bits() }), b"hello");
    assert_eq!(gofer.call(Op::Read(Read { file: 2, offset: Some(0), len: 9 }), &[]).1, b"hello");
    gofer.must(Op::Open(Open { node: 1, file: 3, flags: 1, prefetch: 4096 }), &[]);
    gofer.must(Op::Open(Open { node: 0, file: 4, flags: 9, prefetch: 0 }), &[]);
    match gofer.must(Op::ReadDir(ReadDir { file: 4, cookie: 0, count: 100, attr: true }), &[]) {
        Some(Outcome::Dir(reply)) => assert!(reply.end && reply.entries.len() == 3),
        other => panic!("{other:?}"),
    }
    let make = |node, mode: u32, target: &str| {
        let name = format!("made{node}").into_bytes();
        Op::Make(Make { dir: 0, name, mode, uid: 0, gid: 0, node, target: target.into() })
    };
    gofer.must(make(5, libc::S_IFDIR | 0o755, ""), &[]);
    gofer.must(make(6, libc::S_IFLNK, "target"), &[]);
    gofer.must(make(7, libc::S_IFIFO | 0o600, ""), &[]);
    gofer.must(make(8, libc::S_IFSOCK | 0o600, ""), &[]);
    gofer.must(make(9, libc::S_IFREG | 0o600, ""), &[]);
    assert_eq!(gofer.call(make(10, libc::S_IFCHR | 0o600, ""), &[]).0, Err(libc::EPERM));
    assert_eq!(gofer.call(Op::ReadLink(Node { handle: 6 }), &[]).1, b"target");
    let time = Some(SetTime { now: true, sec: 0, nsec: 0 });
    let change =
        SetAttr { handle: 1, mode: Some(0o600), uid: Some(0), gid: Some(0), size: Some(4), atime: time, mtime: time };
    gofer.must(Op::SetAttr(change), &[]);
    gofer.must(Op::Link(Link { node: 1, dir: 5, name: b"hard".to_vec() }), &[]);
    let rename = Rename { from_dir: 5, from: b"hard".to_vec(), to_dir: 0, to: b"moved".to_vec(), flags: 1 };
    gofer.must(Op::Rename(rename), &[]);
    gofer.must(Op::Unlink(Unlink { dir: 0, name: b"moved".to_vec(), directory: false }), &[]);
    gofer.must(Op::Unlink(Unlink { dir: 0, name: b"made5".to_vec(), directory: true }), &[]);
    gofer.must(Op::Walk(Walk { dir: 0, names: vec![b"file".to_vec()], handles: vec![11] }), &[]);
    gofer.must(Op::GetAttr(Node { handle: 11 }), &[]);
    gofer.must(Op::StatFs(Node { handle: 11 }), &[]);
    gofer.must(Op::Sync(Sync { file: 2, data_only: false }), &[]);
    gofer.must(Op::Sync(Sync { file: 2, data_only: true }), &[]);
    gofer.must(Op::Allocate(Allocate { file: 2, flags: 0, offset: 0, len: 8192 }), &[]);
    gofer.must(Op::CopyRange(CopyRange { from: 3, from_offset: 0, to: 2, to_offset: 4096, len: 100 }), &[]);
    gofer.must(Op::Seek(Seek { file: 2, offset: 0, hole: true }), &[]);
    gofer.must(Op::Flush(Node { handle: 2 }), &[]);
    gofer.must(Op::SetXattr(SetXattr { handle: 1, name: b"user.x".to_vec(), flags: 0 }), b"y");
    let name = || XattrName { handle: 1, name: b"user.x".to_vec() };
    assert_eq!(gofer.call(Op::GetXattr(name()), &[]).1, b"y");
    assert_eq!(gofer.call(Op::ListXattr(Node { handle: 1 }), &[]).1, b"user.x\0");
    gofer.must(Op::RemoveXattr(name()), &[]);
    for style in 0..2 {
        let lock = Lock { file: 2, style, kind: 2, start: 0, len: 0, wait: true };
        gofer.must(Op::Lock(lock), &[]);
        gofer.must(Op::Lock(Lock { kind: 0, ..lock }), &[]);
    }
    gofer.must(Op::TestLock(Lock { file: 2, style: 1, kind: 2, start: 0, len: 0, wait: false }), &[]);
    gofer.must(Op::Open(Open { node: 7, file: 12, flags: 3, prefetch: 0 }), &[]);
    gofer.must(Op::Poll(Poll { file: 12, events: libc::POLLOUT as u32 }), &[]);
    gofer.must(Op::Donate(Donate { file: 3, token: 77, writable: false }), &[]);
    let donations = gofer.spawned.donations.as_ref().unwrap();
    let (token, file) = receive_donation(donations.as_fd(), false).unwrap().unwrap();
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).unwrap();
    assert_eq!((token, &text[..4]), (77, "hell"));
    gofer.must(
        Op::TempFile(Create { dir: 0, name: vec![], flags: 3, mode: 0o600, uid: 0, gid: 0, node: 13, file: 14 }),
        &[],
    );
}

#[test]
fn a_running_gofer_holds_nothing_but_its_tree() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut gofer, attached) = Gofer::start(&config(dir.path()));
    assert_eq!(attached.features, (Features::DONATE | Features::CHOWN).bits());
    exercise(&mut gofer);
    gofer.must(create("other", 20, 4321), &[]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(dir.path().join("other")).unwrap().uid(), 4321);

    for space in ["user", "mnt", "net", "ipc", "uts"] {
        let link = |p: PathBuf| std::fs::read_link(p).unwrap();
        assert_ne!(link(gofer.proc(&format!("ns/{space}"))), link(format!("/proc/self/ns/{space}").into()), "{space}");
    }
    let status = gofer.status();
    let kept: u64 = [0u64, 1, 2, 3, 4, 6, 7].iter().map(|n| 1 << n).sum();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(u64::from_str_radix(&status[set], 16), Ok(kept), "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status[set], 16), Ok(0), "{set}");
    }
    assert_eq!((&status["NoNewPrivs"][..], &status["Seccomp"][..]), ("1", "2"));
    // The helper threads have the filter as well.
    let threads: Vec<_> = std::fs::read_dir(gofer.proc("task")).unwrap().map(|t| t.unwrap().path()).collect();
    assert_eq!(threads.len(), 3);
    for thread in threads {
        assert!(std::fs::read_to_string(thread.join("status")).unwrap().contains("Seccomp:\t2"));
    }
    // One mount: the empty root. The tree is not among them.
    let mounts = std::fs::read_to_string(gofer.proc("mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" / / ro,") && mounts.contains(" tmpfs "), "{mounts}");
    assert_eq!(std::fs::read_dir(gofer.proc("root")).unwrap().count(), 0);
    // Two lines of headings and the loopback.
    let devices = std::fs::read_to_string(gofer.proc("net/dev")).unwrap();
    assert_eq!(devices.lines().count(), 3, "{devices}");
    assert!(gofer.end().success());
}

#[test]
fn a_read_only_export_is_a_read_only_mount() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let (mut gofer, attached) = Gofer::start(&GoferConfig { read_only: true, ..config(dir.path()) });
    assert_eq!(attached.features, Features::all().bits());
    assert_eq!(gofer.call(create("new", 1, 0), &[]).0, Err(libc::EROFS));
    assert_eq!(gofer.call(create("file", 1, 0), &[]).0, Err(libc::EEXIST));
    match gofer.must(Op::StatFs(Node { handle: 0 }), &[]) {
        Some(Outcome::StatFs(s)) => assert_eq!(s.flags & libc::ST_RDONLY, libc::ST_RDONLY),
        other => panic!("{other:?}"),
    }
    assert!(gofer.end().success());
}

#[test]
fn an_export_may_be_one_file() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let (mut gofer, attached) = Gofer::start(&config(&dir.path().join("file")));
    assert_eq!(attached.attr.unwrap().size, 1);
    gofer.must(Op::Open(Open { node: 0, file: 1, flags: 3, prefetch: 0 }), &[]);
    gofer.must(Op::Write(Write { file: 1, offset: Some(1), flags: 0 }), b"y");
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"xy");
    assert!(gofer.end().success());
}

#[test]
fn without_privileges_files_are_the_callers_own() {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !is_root() || !setpriv.exists() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    nix::unistd::chown(dir.path(), Some(12345.into()), Some(12346.into())).unwrap();
    // The program, where that user can reach it.
    let program = dir.path().join("gofer");
    std::fs::copy(env!("CARGO_BIN_EXE_gofer"), &program).unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    nix::unistd::chown(&tree, Some(12345.into()), Some(12346.into())).unwrap();
    let args = ["--reuid=12345", "--regid=12346", "--clear-groups", "--inh-caps=-all"];
    let mut args: Vec<std::ffi::OsString> = args.into_iter().map(Into::into).collect();
    args.push(program.into());
    let (mut gofer, attached) =
        Gofer::start(&GoferConfig { program: Program::Command(setpriv.into(), args), ..config(&tree) });
    assert_eq!(attached.features, Features::DONATE.bits());
    assert_eq!(attached.attr.map(|a| (a.uid, a.gid)), Some((0, 0)));
    exercise(&mut gofer);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(tree.join("file")).unwrap().uid(), 12345);
    assert_eq!(gofer.call(create("other", 30, 1000), &[]).0, Err(libc::EPERM));
    let change = SetAttr { handle: 1, uid: Some(1000), ..SetAttr::default() };
    assert_eq!(gofer.call(Op::SetAttr(change), &[]).0, Err(libc::EPERM));
    assert!(gofer.end().success());
}

#[test]
fn what_cannot_be_served_ends_the_gofer() {
    let mut spawned = spawn(&config(Path::new("/nonexistent/tree"))).unwrap();
    assert_eq!(spawned.socket.read(&mut [0; 8]).unwrap(), 0);
    assert!(!spawned.child.wait().unwrap().success());
}

/// Round trips of a jailed gofer. Run alone, with `--release -- --ignored --nocapture`, on one core (`taskset -c 1`).
#[test]
#[ignore = "a measurement"]
fn round_trip() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("usr/lib/x86_64")).unwrap();
    std::fs::write(dir.path().join("usr/lib/x86_64/libc"), vec![7; 1 << 20]).unwrap();
    let started = Instant::now();
    let (mut gofer, _) = Gofer::start(&config(dir.path()));
    println!("start to attach: {:?}", started.elapsed());
    let names = ["usr", "lib", "x86_64", "libc"].map(|n| n.as_bytes().to_vec()).to_vec();
    gofer.must(Op::Walk(Walk { dir: 0, names: names.clone(), handles: vec![1] }), &[]);
    gofer.must(Op::Open(Open { node: 1, file: 2, flags: 1, prefetch: 0 }), &[]);
    let mut measure = |name: &str, op: &dyn Fn(u32) -> Op| {
        const N: u32 = 20_000;
        let started = Instant::now();
        for i in 0..N {
            gofer.call_closing(vec![3], op(i), &[]).0.unwrap();
        }
        println!("{name}: {:.1} µs", started.elapsed().as_secs_f64() * 1e6 / f64::from(N));
    };
    measure("getattr", &|_| Op::GetAttr(Node { handle: 1 }));
    measure("pread 4 KiB", &|i| Op::Read(Read { file: 2, offset: Some(u64::from(i % 256) * 4096), len: 4096 }));
    measure("pread 64 KiB", &|i| Op::Read(Read { file: 2, offset: Some(u64::from(i % 16) * 65536), len: 65536 }));
    measure("walk 4 names", &|_| Op::Walk(Walk { dir: 0, names: names.clone(), handles: vec![3] }));
    assert!(gofer.end().success());
}
