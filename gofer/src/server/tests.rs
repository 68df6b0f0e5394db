//! The server without its jail, on a thread of this process; requests are made by hand, as a hostile client would.

use super::*;
use rsc_proto::gofer::*;
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

type Got = (std::result::Result<Option<Outcome>, Errno>, Vec<u8>);

struct Client {
    socket: UnixStream,
    donations: OwnedFd,
    next: u64,
    early: HashMap<u64, Got>,
    server: Option<std::thread::JoinHandle<std::result::Result<(), ServeError>>>,
}

/// A client that has the root under handle 0.
fn client(root: &Path, read_only: bool) -> Client {
    let mut client = raw(root, read_only, 64);
    client.must(Op::Attach(Attach { version: VERSION, root: 0 }));
    client
}

fn raw(root: &Path, read_only: bool, max_handles: usize) -> Client {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (donations, their_donations) = ipc::socket_pair(libc::SOCK_SEQPACKET).unwrap();
    let root = root.to_owned();
    let server =
        std::thread::spawn(move || crate::serve_unjailed(&root, read_only, max_handles, theirs, Some(their_donations)));
    ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Client { socket: ours, donations, next: 1, early: HashMap::new(), server: Some(server) }
}

impl Client {
    fn send(&mut self, close: Vec<u32>, op: Option<Op>, payload: &[u8]) -> u64 {
        let id = self.next;
        self.next += 1;
        let mut out = vec![];
        encode_frame(&mut out, &Request { id, close, op }, payload);
        self.socket.write_all(&out).unwrap();
        id
    }

    fn receive(&mut self, id: u64) -> Got {
        loop {
            if let Some(got) = self.early.remove(&id) {
                return got;
            }
            let mut bytes = vec![0; PREFIX];
            self.socket.read_exact(&mut bytes).unwrap();
            let len = split_frame(&bytes).unwrap().map_or_else(|n| n, |f| f.len);
            bytes.resize(len, 0);
            self.socket.read_exact(&mut bytes[PREFIX..]).unwrap();
            let frame = split_frame(&bytes).unwrap().unwrap();
            let reply: Reply = frame.decode().unwrap();
            let result = if reply.errno == 0 { Ok(reply.outcome) } else { Err(Errno::new(reply.errno)) };
            self.early.insert(reply.id, (result, frame.payload.to_vec()));
        }
    }

    fn call(&mut self, op: Op, payload: &[u8]) -> Got {
        let id = self.send(vec![], Some(op), payload);
        self.receive(id)
    }

    fn must(&mut self, op: Op) -> Option<Outcome> {
        let what = format!("{op:?}");
        self.call(op, &[]).0.unwrap_or_else(|e| panic!("{what}: {e:?}"))
    }

    fn errno(&mut self, op: Op) -> Errno {
        let what = format!("{op:?}");
        match self.call(op, &[]).0 {
            Err(e) => e,
            Ok(got) => panic!("{what} succeeded: {got:?}"),
        }
    }

    fn walk(&mut self, dir: u32, names: &[&str], handles: &[u32]) -> WalkReply {
        match self.must(walk(dir, names, handles)) {
            Some(Outcome::Walk(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self, node: u32, file: u32, flags: OpenFlags) {
        self.must(Op::Open(Open { node, file, flags: flags.bits(), prefetch: 0 }));
    }

    fn value(&mut self, op: Op) -> u64 {
        match self.must(op) {
            Some(Outcome::Value(v)) => v,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let ended = self.server.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(_))), "the server panicked");
        }
    }
}

fn walk(dir: u32, names: &[&str], handles: &[u32]) -> Op {
    Op::Walk(Walk { dir, names: names.iter().map(|n| n.as_bytes().to_vec()).collect(), handles: handles.to_vec() })
}

fn create(name: &str, node: u32, file: u32, mode: u32, uid: u32, gid: u32) -> Op {
    let flags = (OpenFlags::READ | OpenFlags::WRITE).bits();
    Op::Create(Create { dir: 0, name: name.into(), flags, mode, uid, gid, node, file })
}

fn make(name: &str, node: u32, mode: u32, target: &str) -> Op {
    Op::Make(Make { dir: 0, name: name.into(), mode, uid: 0, gid: 0, node, target: target.into() })
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
    std::fs::write(dir.path().join("usr/lib/libc"), b"0123456789").unwrap();
    symlink("/etc/passwd", dir.path().join("absolute")).unwrap();
    symlink("../../../../etc", dir.path().join("usr/escape")).unwrap();
    dir
}

#[test]
fn a_walk_brings_each_steps_attributes_and_stops_where_it_must() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    let reply = c.walk(0, &["usr", "lib", "libc"], &[1, 2, 3]);
    assert_eq!((reply.steps.len(), reply.stop), (3, None));
    let meta = std::fs::metadata(dir.path().join("usr/lib/libc")).unwrap();
    assert_eq!((reply.steps[2].ino, reply.steps[2].size, reply.steps[2].mode), (meta.ino(), 10, meta.mode()));
    assert_eq!(reply.steps[2].dev, meta.dev());
    // One handle: the last step's.
    assert_eq!(c.walk(0, &["usr", "lib"], &[4]).steps.len(), 2);
    assert_eq!(c.walk(4, &["libc"], &[5]).steps[0].ino, meta.ino());
    let reply = c.walk(0, &["usr", "none", "x"], &[6, 7, 8]);
    assert_eq!((reply.steps.len(), reply.stop), (1, Some(Stop::Failed(libc::ENOENT))));
    let reply = c.walk(0, &["usr", "lib", "libc", "x"], &[9]);
    assert_eq!((reply.steps.len(), reply.stop), (3, Some(Stop::NotDirectory(true))));
    assert_eq!(c.walk(3, &["x"], &[10]).stop, Some(Stop::Failed(libc::ENOTDIR)));
    // 7 was not reached, so it is free, and 6 is not.
    assert_eq!(c.errno(walk(0, &["usr"], &[6])), Errno::EBADF);
    c.walk(0, &["usr"], &[7]);
}

#[test]
fn symbolic_links_are_told_and_never_followed() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    let reply = c.walk(0, &["absolute"], &[1]);
    assert_eq!(reply.stop, Some(Stop::Symlink(b"/etc/passwd".to_vec())));
    let reply = c.walk(0, &["usr", "escape", "passwd"], &[2, 3, 4]);
    assert_eq!((reply.steps.len(), reply.stop), (2, Some(Stop::Symlink(b"../../../../etc".to_vec()))));
    assert_eq!(c.call(Op::ReadLink(Node { handle: 1 }), &[]).1, b"/etc/passwd");
    for flags in [OpenFlags::READ, OpenFlags::WRITE] {
        assert_eq!(c.errno(Op::Open(Open { node: 1, file: 9, flags: flags.bits(), prefetch: 0 })), Errno::ELOOP);
    }
    assert_eq!(c.walk(1, &["x"], &[9]).stop, Some(Stop::Failed(libc::ENOTDIR)));
    let truncate = SetAttr { handle: 1, size: Some(0), ..SetAttr::default() };
    assert_eq!(c.errno(Op::SetAttr(truncate)), Errno::EINVAL);
    // Owner and times are the link's own.
    let chown =
        SetAttr { handle: 1, uid: Some(7), mtime: Some(SetTime { now: false, sec: 5, nsec: 6 }), ..SetAttr::default() };
    c.must(Op::SetAttr(chown));
    let meta = std::fs::symlink_metadata(dir.path().join("absolute")).unwrap();
    assert_eq!((meta.uid(), meta.mtime(), meta.mtime_nsec()), (7, 5, 6));
    assert_ne!(std::fs::metadata("/etc/passwd").unwrap().uid(), 7);
    // A hard link to a link is a link.
    c.must(Op::Link(Link { node: 1, dir: 0, name: b"again".to_vec() }));
    assert!(std::fs::symlink_metadata(dir.path().join("again")).unwrap().is_symlink());
}

#[test]
fn malformed_names_are_refused_everywhere() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    let long = "x".repeat(256);
    for name in ["", ".", "..", "a/b", "/", "usr/lib", "a\0b", &long] {
        let expected = if name.len() > 255 { Errno::ENAMETOOLONG } else { Errno::EINVAL };
        let bytes = name.as_bytes().to_vec();
        let ops = [
            walk(0, &["usr", name], &[1, 2]),
            create(name, 1, 2, 0o644, 0, 0),
            make(name, 1, libc::S_IFDIR | 0o755, ""),
            Op::Unlink(Unlink { dir: 0, name: bytes.clone(), directory: true }),
            Op::Rename(Rename { from_dir: 0, from: bytes.clone(), to_dir: 0, to: b"y".to_vec(), flags: 0 }),
            Op::Rename(Rename { from_dir: 0, from: b"usr".to_vec(), to_dir: 0, to: bytes, flags: 0 }),
        ];
        for op in ops {
            assert_eq!(c.errno(op), expected, "{name:?}");
        }
    }
}

#[test]
fn files_are_born_with_their_owner() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    c.must(create("mine", 1, 2, 0o4755, 1000, 1001));
    let meta = std::fs::metadata(dir.path().join("mine")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1000, 1001, 0o4755));
    assert_eq!(c.errno(create("mine", 3, 4, 0o644, 0, 0)), Errno::EEXIST);
    let op =
        Make { dir: 0, name: b"dir".to_vec(), mode: libc::S_IFDIR | 0o700, uid: 5, gid: 6, node: 3, target: vec![] };
    c.must(Op::Make(op));
    // Root's rights are kept with another's ids: a directory that 1000 cannot write.
    c.must(Op::Create(Create {
        dir: 3,
        name: b"x".to_vec(),
        flags: 2,
        mode: 0o600,
        uid: 1000,
        gid: 1000,
        node: 4,
        file: 5,
    }));
    assert_eq!(std::fs::metadata(dir.path().join("dir/x")).unwrap().uid(), 1000);
    c.must(make("later", 6, libc::S_IFDIR | 0o777, ""));
    assert_eq!(std::fs::metadata(dir.path().join("later")).unwrap().uid(), 0);
    let op = SetAttr { handle: 1, uid: Some(0), gid: Some(0), mode: Some(0o640), size: Some(3), ..SetAttr::default() };
    c.must(Op::SetAttr(op));
    let meta = std::fs::metadata(dir.path().join("mine")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777, meta.len()), (0, 0o640, 3));
}

#[test]
fn data_goes_in_and_out() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    c.must(create("data", 1, 2, 0o6755, 0, 0));
    let big: Vec<u8> = (0..MAX_PAYLOAD).map(|i| (i % 251) as u8).collect();
    let write = |offset, flags: WriteFlags| Op::Write(Write { file: 2, offset, flags: flags.bits() });
    match c.call(write(Some(0), WriteFlags::empty()), &big).0.unwrap() {
        Some(Outcome::Written(w)) => assert_eq!((w.count as usize, w.end as usize), (big.len(), big.len())),
        other => panic!("{other:?}"),
    }
    let got = c.call(Op::Read(Read { file: 2, offset: Some(0), len: u32::MAX }), &[]);
    assert!(got.1 == big);
    match c.call(write(Some(0), WriteFlags::APPEND | WriteFlags::ATTR | WriteFlags::KILL_PRIV), b"end").0.unwrap() {
        Some(Outcome::Written(w)) => {
            let attr = w.attr.unwrap();
            assert_eq!((w.count, w.end, attr.size), (3, big.len() as u64 + 3, big.len() as u64 + 3));
            assert_eq!(attr.mode & 0o7777, 0o755);
        }
        other => panic!("{other:?}"),
    }
    let got = c.call(Op::Read(Read { file: 2, offset: Some(big.len() as u64), len: 100 }), &[]);
    assert_eq!(got.1, b"end");
    assert_eq!(c.errno(Op::Read(Read { file: 2, offset: None, len: 1 })), Errno::EINVAL);
    assert_eq!(c.errno(Op::Read(Read { file: 2, offset: Some(u64::MAX), len: 1 })), Errno::EINVAL);
    assert_eq!(c.errno(Op::Read(Read { file: 1, offset: Some(0), len: 1 })), Errno::EBADF);
    c.walk(0, &["data"], &[3]);
    let (got, first) = c.call(Op::Open(Open { node: 3, file: 4, flags: 1, prefetch: 5 }), &[]);
    assert!(matches!(got, Ok(Some(Outcome::Attr(_)))));
    assert_eq!(first, big[..5]);
    // 4 is open for reading only.
    assert_eq!(c.call(Op::Write(Write { file: 4, offset: Some(0), flags: 0 }), b"x").0, Err(Errno::EBADF));
    c.must(Op::Sync(Sync { file: 2, data_only: false }));
    c.must(Op::Flush(Node { handle: 2 }));
    c.must(Op::Allocate(Allocate { file: 2, flags: 3, offset: 0, len: 8192 }));
    assert_eq!(c.value(Op::Seek(Seek { file: 2, offset: 0, hole: false })), 8192);
    assert_eq!(c.value(Op::Seek(Seek { file: 2, offset: 0, hole: true })), 0);
    c.must(create("copy", 5, 6, 0o644, 0, 0));
    let copy = CopyRange { from: 2, from_offset: 8192, to: 6, to_offset: 0, len: 1000 };
    assert_eq!(c.value(Op::CopyRange(copy)), 1000);
    assert_eq!(std::fs::read(dir.path().join("copy")).unwrap(), big[8192..9192]);
}

#[test]
fn directories_are_read_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let names: std::collections::BTreeSet<String> =
        (0..3000).map(|i| format!("file-with-a-long-name-{i:08}")).collect();
    names.iter().for_each(|n| std::fs::write(dir.path().join(n), n).unwrap());
    let mut c = client(dir.path(), false);
    c.open(0, 1, OpenFlags::READ | OpenFlags::DIRECTORY);
    for count in [7, 500, u32::MAX] {
        let (mut seen, mut cookie, mut requests) = (vec![], 0, 0);
        loop {
            let Some(Outcome::Dir(reply)) = c.must(Op::ReadDir(ReadDir { file: 1, cookie, count, attr: true })) else {
                panic!()
            };
            requests += 1;
            for e in &reply.entries {
                let dots = e.name.starts_with(b".");
                assert_eq!(e.attr.is_none(), dots);
                assert!(dots || e.attr.unwrap().size == e.name.len() as u64);
            }
            cookie = reply.entries.last().map_or(cookie, |e| e.cookie);
            seen.extend(reply.entries.into_iter().map(|e| String::from_utf8(e.name).unwrap()));
            if reply.end {
                break;
            }
        }
        assert!(count != u32::MAX || requests < 10, "{requests}");
        assert_eq!(seen.len(), 3002);
        seen.retain(|n| !n.starts_with('.'));
        assert_eq!(seen.into_iter().collect::<std::collections::BTreeSet<_>>(), names);
    }
    assert_eq!(c.errno(Op::ReadDir(ReadDir { file: 0, cookie: 0, count: 1, attr: false })), Errno::EBADF);
}

#[test]
fn fifos_never_block_and_can_be_waited_for() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    c.must(make("fifo", 1, libc::S_IFIFO | 0o600, ""));
    let write_only = Op::Open(Open { node: 1, file: 2, flags: OpenFlags::WRITE.bits(), prefetch: 0 });
    assert_eq!(c.errno(write_only.clone()), Errno::ENXIO);
    c.open(1, 3, OpenFlags::READ);
    c.must(write_only);
    assert_eq!(c.errno(Op::Read(Read { file: 3, offset: None, len: 10 })), Errno::EAGAIN);
    let poll = |events: i16| Op::Poll(Poll { file: 3, events: events as u32 });
    let waiting = c.send(vec![], Some(poll(libc::POLLIN)), &[]);
    let cancelled = c.send(vec![], Some(poll(libc::POLLIN)), &[]);
    c.must(Op::Cancel(Cancel { id: cancelled }));
    assert_eq!(c.receive(cancelled).0, Err(Errno::EINTR));
    assert!(!c.early.contains_key(&waiting));
    c.call(Op::Write(Write { file: 2, offset: None, flags: 0 }), b"hello").0.unwrap();
    assert_eq!(c.receive(waiting).0, Ok(Some(Outcome::Value(libc::POLLIN as u64))));
    assert_eq!(c.call(Op::Read(Read { file: 3, offset: None, len: 10 }), &[]).1, b"hello");
}

#[test]
fn devices_are_neither_made_nor_opened() {
    let dir = tree();
    // A bind mount of a device's directory would do; the root may be any path.
    let mut c = client(Path::new("/dev"), false);
    c.walk(0, &["null"], &[1]);
    assert_eq!(c.errno(Op::Open(Open { node: 1, file: 2, flags: 1, prefetch: 0 })), Errno::EACCES);
    drop(c);
    let mut c = client(dir.path(), false);
    for kind in [libc::S_IFCHR, libc::S_IFBLK] {
        assert_eq!(c.errno(make("device", 1, kind | 0o666, "")), Errno::EPERM);
    }
    c.must(make("socket", 1, libc::S_IFSOCK | 0o666, ""));
    assert_eq!(c.errno(Op::Open(Open { node: 1, file: 2, flags: 1, prefetch: 0 })), Errno::ENXIO);
}

#[test]
fn a_read_only_export_refuses_every_change() {
    let dir = tree();
    let mut c = client(dir.path(), true);
    c.walk(0, &["usr", "lib", "libc"], &[1, 2, 3]);
    let flags = (OpenFlags::READ | OpenFlags::WRITE).bits();
    let ops = [
        Op::Open(Open { node: 3, file: 9, flags, prefetch: 0 }),
        create("new", 8, 9, 0o644, 0, 0),
        make("new", 9, libc::S_IFDIR | 0o755, ""),
        make("new", 9, libc::S_IFLNK, "x"),
        Op::Unlink(Unlink { dir: 2, name: b"libc".to_vec(), directory: false }),
        Op::Unlink(Unlink { dir: 2, name: b"none".to_vec(), directory: false }),
        Op::Rename(Rename { from_dir: 2, from: b"libc".to_vec(), to_dir: 0, to: b"y".to_vec(), flags: 0 }),
        Op::Link(Link { node: 3, dir: 0, name: b"new".to_vec() }),
        Op::SetAttr(SetAttr { handle: 3, mode: Some(0o600), ..SetAttr::default() }),
        Op::SetXattr(SetXattr { handle: 3, name: b"user.x".to_vec(), flags: 0 }),
        Op::RemoveXattr(XattrName { handle: 3, name: b"user.x".to_vec() }),
        Op::TempFile(Create { dir: 0, name: vec![], flags, mode: 0o600, uid: 0, gid: 0, node: 8, file: 9 }),
    ];
    for op in ops {
        assert_eq!(c.errno(op), Errno::EROFS);
    }
    assert_eq!(c.errno(make("usr", 9, libc::S_IFDIR | 0o755, "")), Errno::EEXIST);
    c.open(3, 4, OpenFlags::READ);
    assert_eq!(c.call(Op::Read(Read { file: 4, offset: Some(0), len: 3 }), &[]).1, b"012");
}

#[test]
fn names_come_and_go() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    c.must(create("a", 1, 2, 0o644, 0, 0));
    c.must(create("b", 3, 4, 0o644, 0, 0));
    let rename = |from: &str, to: &str, flags: RenameFlags| {
        Op::Rename(Rename { from_dir: 0, from: from.into(), to_dir: 0, to: to.into(), flags: flags.bits() })
    };
    assert_eq!(c.errno(rename("a", "b", RenameFlags::NOREPLACE)), Errno::EEXIST);
    c.must(rename("a", "b", RenameFlags::EXCHANGE));
    assert_eq!(c.errno(rename("a", "b", RenameFlags::all())), Errno::EINVAL);
    assert_eq!(
        c.errno(Op::Rename(Rename { flags: 4, from_dir: 0, to_dir: 0, from: b"a".to_vec(), to: b"b".to_vec() })),
        Errno::EINVAL
    );
    c.must(rename("a", "b", RenameFlags::empty()));
    // "a" was the second file, which now has the name "b"; the first has none, and its handles go on.
    c.call(Op::Write(Write { file: 2, offset: Some(0), flags: 0 }), b"gone").0.unwrap();
    c.open(1, 5, OpenFlags::READ);
    assert_eq!(c.call(Op::Read(Read { file: 5, offset: Some(0), len: 9 }), &[]).1, b"gone");
    assert_eq!(c.errno(Op::Unlink(Unlink { dir: 0, name: b"usr".to_vec(), directory: false })), Errno::EISDIR);
    assert_eq!(c.errno(Op::Unlink(Unlink { dir: 0, name: b"usr".to_vec(), directory: true })), Errno::ENOTEMPTY);
    assert_eq!(c.errno(Op::Unlink(Unlink { dir: 0, name: b"b".to_vec(), directory: true })), Errno::ENOTDIR);
    c.must(Op::Unlink(Unlink { dir: 0, name: b"b".to_vec(), directory: false }));
    let flags = (OpenFlags::READ | OpenFlags::WRITE).bits();
    c.must(Op::TempFile(Create { dir: 0, name: vec![], flags, mode: 0o600, uid: 3, gid: 4, node: 6, file: 7 }));
    c.must(Op::Link(Link { node: 7, dir: 0, name: b"named".to_vec() }));
    assert_eq!(std::fs::metadata(dir.path().join("named")).unwrap().uid(), 3);
}

#[test]
fn a_handle_outlives_renames_of_its_path() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    c.walk(0, &["usr", "lib"], &[1, 2]);
    // Between two requests the path becomes a link to elsewhere: the handle is still the old directory.
    std::fs::rename(dir.path().join("usr/lib"), dir.path().join("moved")).unwrap();
    symlink("/etc", dir.path().join("usr/lib")).unwrap();
    assert_eq!(c.walk(2, &["libc"], &[3]).steps.len(), 1);
    assert_eq!(c.walk(2, &["passwd"], &[4]).stop, Some(Stop::Failed(libc::ENOENT)));
    assert_eq!(c.walk(0, &["usr", "lib", "passwd"], &[5, 6, 7]).stop, Some(Stop::Symlink(b"/etc".to_vec())));
}

#[test]
fn extended_attributes() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    c.must(create("x", 1, 2, 0o644, 0, 0));
    let name = |n: &str| XattrName { handle: 1, name: n.into() };
    let set = |n: &str, flags: XattrFlags| Op::SetXattr(SetXattr { handle: 1, name: n.into(), flags: flags.bits() });
    c.call(set("user.a", XattrFlags::CREATE), b"value").0.unwrap();
    assert_eq!(c.call(set("user.a", XattrFlags::CREATE), b"v").0, Err(Errno::EEXIST));
    assert_eq!(c.call(set("user.b", XattrFlags::REPLACE), b"v").0, Err(Errno::ENODATA));
    assert_eq!(c.call(Op::GetXattr(name("user.a")), &[]).1, b"value");
    assert_eq!(c.call(Op::ListXattr(Node { handle: 1 }), &[]).1, b"user.a\0");
    c.must(Op::RemoveXattr(name("user.a")));
    assert_eq!(c.errno(Op::GetXattr(name("user.a"))), Errno::ENODATA);
    assert_eq!(c.errno(Op::GetXattr(name("trusted.a"))), Errno::ENODATA);
    assert_eq!(c.call(set("trusted.a", XattrFlags::empty()), b"v").0, Err(Errno::EPERM));
    assert_eq!(c.call(set("security.capability", XattrFlags::empty()), b"v").0, Err(Errno::EPERM));
    assert_eq!(c.call(set("system.posix_acl_access", XattrFlags::empty()), b"v").0, Err(Errno::EOPNOTSUPP));
    assert_eq!(c.errno(Op::GetXattr(name("user.a\0b"))), Errno::EINVAL);
}

#[test]
fn locks_meet_those_of_other_gofers() {
    let dir = tree();
    let (mut a, mut b) = (client(dir.path(), false), client(dir.path(), false));
    for c in [&mut a, &mut b] {
        c.walk(0, &["usr", "lib", "libc"], &[1]);
        c.open(1, 2, OpenFlags::READ | OpenFlags::WRITE);
    }
    for style in [LockStyle::Flock, LockStyle::Record] {
        let lock = |kind: LockKind, wait| {
            Op::Lock(Lock { file: 2, style: style.into(), kind: kind.into(), start: 0, len: 5, wait })
        };
        a.must(lock(LockKind::Write, false));
        assert_eq!(b.errno(lock(LockKind::Read, false)), Errno::EAGAIN);
        let waiting = b.send(vec![], Some(lock(LockKind::Write, true)), &[]);
        // Others go on meanwhile.
        b.must(Op::GetAttr(Node { handle: 2 }));
        let cancelled = b.send(vec![], Some(lock(LockKind::Read, true)), &[]);
        b.must(Op::Cancel(Cancel { id: cancelled }));
        assert_eq!(b.receive(cancelled).0, Err(Errno::EINTR));
        if style == LockStyle::Record {
            let test = Lock { file: 2, style: 1, kind: LockKind::Read.into(), start: 2, len: 0, wait: false };
            match b.must(Op::TestLock(test)) {
                Some(Outcome::Lock(info)) => assert_eq!((info.kind(), info.start, info.len), (LockKind::Write, 0, 5)),
                other => panic!("{other:?}"),
            }
            let test = Lock { start: 5, ..test };
            assert_eq!(b.must(Op::TestLock(test)), None);
        }
        assert!(!b.early.contains_key(&waiting));
        a.must(lock(LockKind::Unlock, false));
        assert_eq!(b.receive(waiting).0, Ok(None));
        assert_eq!(a.errno(lock(LockKind::Write, false)), Errno::EAGAIN);
        b.must(lock(LockKind::Unlock, false));
    }
    // A lock ends with its handle.
    let lock = Op::Lock(Lock { file: 2, style: 0, kind: LockKind::Write.into(), start: 0, len: 0, wait: false });
    a.must(lock.clone());
    a.send(vec![2], None, &[]);
    a.must(Op::GetAttr(Node { handle: 0 }));
    b.must(lock);
}

#[test]
fn donated_descriptors_are_fresh_and_limited() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    c.walk(0, &["usr", "lib", "libc"], &[1]);
    c.open(1, 2, OpenFlags::READ);
    c.open(1, 3, OpenFlags::READ | OpenFlags::WRITE);
    let donate = |file, writable| Op::Donate(Donate { file, token: 0xfeed_0000_0000_0001, writable });
    assert_eq!(c.errno(donate(1, false)), Errno::EBADF);
    assert_eq!(c.errno(donate(2, true)), Errno::EACCES);
    c.must(donate(2, false));
    let (token, file) = ipc::receive_descriptor(c.donations.as_fd(), false).unwrap().unwrap();
    assert_eq!(token, 0xfeed_0000_0000_0001);
    let mut file = std::fs::File::from(file);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "0123456789");
    assert!(file.write_all(b"x").is_err());
    c.must(donate(3, true));
    let (_, file) = ipc::receive_descriptor(c.donations.as_fd(), false).unwrap().unwrap();
    std::fs::File::from(file).write_all(b"x").unwrap();
    // A directory is nothing to map.
    c.open(0, 4, OpenFlags::READ);
    assert_eq!(c.errno(donate(4, false)), Errno::EINVAL);
    // A supervisor that does not take them off holds nobody up.
    let full = (0..10_000).find_map(|_| c.call(donate(2, false), &[]).0.err());
    assert_eq!(full, Some(Errno::EAGAIN));
}

#[test]
fn handles_are_bounded_and_checked() {
    let dir = tree();
    let mut c = raw(dir.path(), false, 16);
    assert_eq!(c.errno(Op::Attach(Attach { version: 99, root: 0 })), Errno::EPROTONOSUPPORT);
    assert_eq!(c.errno(Op::GetAttr(Node { handle: 0 })), Errno::EBADF);
    c.must(Op::Attach(Attach { version: VERSION, root: 0 }));
    for handle in [16, u32::MAX] {
        assert_eq!(c.errno(walk(0, &["usr"], &[handle])), Errno::EBADF);
        assert_eq!(c.errno(Op::GetAttr(Node { handle })), Errno::EBADF);
    }
    assert_eq!(c.errno(walk(0, &["usr", "lib"], &[1, 1])), Errno::EBADF);
    assert_eq!(c.errno(walk(0, &["usr", "lib", "libc"], &[1, 2])), Errno::EINVAL);
    assert_eq!(c.errno(walk(0, &[], &[1])), Errno::EINVAL);
    assert_eq!(c.errno(walk(0, &["a"; MAX_WALK + 1], &[1])), Errno::EINVAL);
    assert_eq!(c.errno(Op::Open(Open { node: 0, file: 1, flags: 1 << 20, prefetch: 0 })), Errno::EINVAL);
    for handle in 1..16 {
        c.walk(0, &["usr"], &[handle]);
    }
    // A close and the next binding of the same number in one request.
    let id = c.send(vec![5, 7, 4_000_000], Some(walk(0, &["usr"], &[5])), &[]);
    c.receive(id).0.unwrap();
    assert_eq!(c.errno(Op::GetAttr(Node { handle: 7 })), Errno::EBADF);
}

#[test]
fn pipelined_requests_use_what_earlier_ones_bind() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    let open = |node| Op::Open(Open { node, file: node + 1, flags: 1, prefetch: 0 });
    let read = |file| Op::Read(Read { file, offset: Some(0), len: 4 });
    let ids = [
        c.send(vec![], Some(walk(0, &["usr", "lib", "libc"], &[1])), &[]),
        c.send(vec![], Some(open(1)), &[]),
        c.send(vec![], Some(read(2)), &[]),
        c.send(vec![], Some(open(3)), &[]),
        c.send(vec![], Some(read(4)), &[]),
    ];
    let got: Vec<Got> = ids.into_iter().map(|id| c.receive(id)).collect();
    assert_eq!(got[2].1, b"0123");
    assert_eq!((&got[3].0, &got[4].0), (&Err(Errno::EBADF), &Err(Errno::EBADF)));
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let dir = tree();
    let prefix = |header: u32, payload: u32| [header.to_le_bytes(), payload.to_le_bytes()].concat();
    let mut unknown = prefix(2, 0);
    unknown.extend([0x08, 0x01]);
    for bytes in [prefix(u32::MAX, 0), prefix(0, u32::MAX), [prefix(4, 0), vec![0xff; 4]].concat(), unknown] {
        let mut c = client(dir.path(), false);
        c.socket.write_all(&bytes).unwrap();
        let ended = c.server.take().unwrap().join().unwrap();
        assert!(matches!(ended, Err(ServeError::Frame(_) | ServeError::Operation(_))), "{ended:?}");
        c.server = Some(std::thread::spawn(|| Ok(())));
    }
}

#[test]
fn statfs_is_the_hosts() {
    let dir = tree();
    let mut c = client(dir.path(), false);
    let Some(Outcome::StatFs(got)) = c.must(Op::StatFs(Node { handle: 0 })) else { panic!() };
    let host = nix::sys::statvfs::statvfs(dir.path()).unwrap();
    assert_eq!((got.bsize, got.blocks, got.namelen), (host.block_size(), host.blocks(), host.name_max()));
    assert_eq!(got.fsid, host.filesystem_id());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let Some(Outcome::Attr(attr)) = c.must(Op::GetAttr(Node { handle: 0 })) else { panic!() };
    assert_eq!(attr.mode & 0o7777, 0o711);
}

#[test]
fn a_path_that_is_exchanged_all_the_time_never_leads_outside() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let dir = tree();
    let (inside, link) = (dir.path().join("usr/lib"), dir.path().join("usr/link"));
    symlink(outside.path(), &link).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                renameat2(AT_FDCWD, &inside, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        let mut c = client(dir.path(), false);
        for _ in 0..2000 {
            let reply = c.walk(0, &["usr", "lib", "secret"], &[1, 2, 3]);
            assert_eq!(reply.steps.len(), 2);
            match reply.stop {
                Some(Stop::Symlink(_)) => assert_eq!(reply.steps[1].mode & libc::S_IFMT, libc::S_IFLNK),
                stop => assert_eq!(stop, Some(Stop::Failed(libc::ENOENT))),
            }
            // Whatever it was then: a name is made in the directory that was looked up, or nowhere.
            let made = Op::Make(Make {
                dir: 2,
                name: b"x".to_vec(),
                mode: libc::S_IFDIR | 0o755,
                uid: 0,
                gid: 0,
                node: 3,
                target: vec![],
            });
            let _ = c.call(made, &[]);
            c.send(vec![1, 2, 3], None, &[]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let left: Vec<_> = std::fs::read_dir(outside.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["secret"]);
}

mod any_requests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => proptest::sample::select(vec!["usr", "lib", "libc", "absolute", "a", "b", "..", ".", "", "a/b"])
                .prop_map(|n| n.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..300),
        ]
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..9000u64, 1 => any::<u64>(), 1 => Just(i64::MAX as u64)]
    }

    fn op() -> impl Strategy<Value = Op> {
        let handle = || prop_oneof![9 => 0..12u32, 1 => any::<u32>()];
        let mode = prop_oneof![
            0..0o10000u32,
            any::<u32>(),
            Just(libc::S_IFDIR | 0o755),
            Just(libc::S_IFLNK),
            Just(libc::S_IFIFO)
        ];
        let flags = prop_oneof![4 => 0..16u32, 1 => any::<u32>()];
        let handles = (handle(), handle(), handle());
        (0..29u32, handles, (name(), name()), (mode, flags), (number(), number())).prop_map(
            |(which, (h, i, j), (n, m), (mode, flags), (x, y))| match which {
                0 | 1 => Op::Walk(Walk { dir: h, names: vec![n, m], handles: vec![i, j] }),
                2 | 3 => Op::Open(Open { node: h, file: i, flags, prefetch: x as u32 }),
                4 => Op::Read(Read { file: h, offset: Some(x), len: y as u32 }),
                5 => Op::Read(Read { file: h, offset: None, len: y as u32 }),
                6 => Op::Write(Write { file: h, offset: Some(x), flags }),
                7 => Op::GetAttr(Node { handle: h }),
                8 => Op::ReadDir(ReadDir { file: h, cookie: x, count: y as u32, attr: true }),
                9 => Op::ReadLink(Node { handle: h }),
                10 => Op::Create(Create { dir: h, name: n, flags, mode, uid: 0, gid: y as u32, node: i, file: j }),
                11 => Op::TempFile(Create { dir: h, name: vec![], flags, mode, uid: 0, gid: 0, node: i, file: j }),
                12 => {
                    let size = Some(x % (1 << 30));
                    Op::SetAttr(SetAttr {
                        handle: h,
                        mode: Some(mode),
                        uid: Some(y as u32),
                        size,
                        ..SetAttr::default()
                    })
                }
                13 => Op::Unlink(Unlink { dir: h, name: n, directory: flags & 1 == 1 }),
                14 => Op::Rename(Rename { from_dir: h, from: n, to_dir: i, to: m, flags }),
                15 | 16 => Op::Make(Make { dir: h, name: n, mode, uid: 1, gid: y as u32, node: i, target: m }),
                17 => Op::Link(Link { node: h, dir: i, name: n }),
                18 => Op::Attach(Attach { version: flags, root: h }),
                19 => Op::Sync(Sync { file: h, data_only: true }),
                20 => Op::Allocate(Allocate { file: h, flags, offset: x % (1 << 20), len: y % (1 << 20) }),
                21 => Op::StatFs(Node { handle: h }),
                22 => Op::GetXattr(XattrName { handle: h, name: n }),
                23 => Op::SetXattr(SetXattr { handle: h, name: [b"user.", &m[..]].concat(), flags }),
                24 => Op::Lock(Lock {
                    file: h,
                    style: flags as i32,
                    kind: mode as i32 % 4,
                    start: x,
                    len: y,
                    wait: false,
                }),
                25 => Op::TestLock(Lock { file: h, style: 1, kind: flags as i32 % 4, start: x, len: y, wait: true }),
                26 => Op::Donate(Donate { file: h, token: x, writable: flags & 1 == 1 }),
                27 => Op::CopyRange(CopyRange { from: h, from_offset: x, to: i, to_offset: y % (1 << 20), len: y }),
                _ => Op::Seek(Seek { file: h, offset: x, hole: flags & 1 == 1 }),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is asked for, there is one answer, and the server goes on.
        #[test]
        fn are_each_answered_once(ops in proptest::collection::vec((op(), proptest::collection::vec(0..12u32, 0..2)), 1..40)) {
            let dir = tree();
            let mut c = client(dir.path(), false);
            for (op, close) in ops {
                let id = c.send(close, Some(op), b"payload");
                let _ = c.receive(id);
                prop_assert!(c.early.is_empty());
            }
        }
    }
}
