//! The client with a real server, and with one that lies.

use super::*;
use crate::server::sandbox::GoferStream;
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{self as wire, AttachReply, Op, Outcome, Reply, Request, Stop, WalkReply};
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Runs `test` on a runtime as the kernel has it.
fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("in time") });
}

fn local(socket: UnixStream) -> GoferStream {
    GoferStream::Local(socket)
}

fn relayed(socket: UnixStream) -> GoferStream {
    socket.set_nonblocking(true).unwrap();
    GoferStream::Relayed(Box::new(tokio::net::UnixStream::from_std(socket).unwrap()))
}

/// A client of a gofer on a thread, and the root.
async fn serve(root: &Path, max: usize, stream: impl FnOnce(UnixStream) -> GoferStream) -> (GoferClient, Handle) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let path = root.to_owned();
    std::thread::spawn(move || rsc_gofer::serve_unjailed(&path, false, max, theirs, None).unwrap());
    let client = GoferClient::new(stream(ours)).unwrap();
    let attached = client.attach().await.unwrap();
    assert_eq!(attached.attr.mode & libc::S_IFMT, libc::S_IFDIR);
    (client, attached.root)
}

const ROOT: Owner = Owner { uid: 0, gid: 0 };
const RW: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE);

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
    std::fs::write(dir.path().join("usr/lib/libc"), b"0123456789").unwrap();
    std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
    dir
}

/// What a file system does all day, over one kind of stream.
async fn a_day(stream: fn(UnixStream) -> GoferStream) {
    let dir = tree();
    let (client, root) = serve(dir.path(), 1000, stream).await;
    let walked = client.walk(&root, &["usr", "lib", "libc"], Keep::Each).await.unwrap();
    assert_eq!((walked.steps.len(), &walked.end), (3, &WalkEnd::Complete));
    assert!(walked.steps.iter().all(|s| s.handle.is_some()));
    let libc = walked.steps[2].handle.clone().unwrap();
    assert_eq!(client.getattr(&libc).await.unwrap(), walked.steps[2].attr);
    let last = client.walk(&root, &["usr", "none"], Keep::Last).await.unwrap();
    assert_eq!((last.steps.len(), &last.end), (1, &WalkEnd::Failed(Errno::ENOENT)));
    assert!(last.steps[0].handle.is_some());
    let link = client.walk(&root, &["lib", "libc"], Keep::Each).await.unwrap();
    assert_eq!(link.end, WalkEnd::Symlink(b"usr/lib".to_vec()));
    assert_eq!(client.readlink(link.steps[0].handle.as_ref().unwrap()).await.unwrap(), "usr/lib");
    assert_eq!(client.walk(&root, &[".."], Keep::Last).await.unwrap_err(), Errno::EINVAL);

    let opened = client.open(&libc, OpenFlags::READ, 4).await.unwrap();
    assert_eq!((&opened.data[..], opened.attr.size), (&b"0123"[..], 10));
    assert_eq!(client.read(&opened.file, Some(4), 100).await.unwrap(), "456789");
    assert_eq!(client.write(&opened.file, Some(0), b"x", WriteFlags::empty()).await.unwrap_err(), Errno::EBADF);

    let new = client.create(&root, b"new", RW, 0o640, ROOT).await.unwrap();
    let big: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    let written = client.write(&new.file, Some(0), &big, WriteFlags::ATTR).await.unwrap();
    assert_eq!((written.count, written.end, written.attr.unwrap().size), (1 << 20, 1 << 20, 1 << 20));
    assert!(client.read(&new.file, Some(0), usize::MAX).await.unwrap() == big);
    client.fsync(&new.file, true).await.unwrap();
    client.flush(&new.file).await.unwrap();
    let change =
        AttrChange { mode: Some(0o600), mtime: Some(TimeChange::At { sec: 1, nsec: 2 }), ..Default::default() };
    let attr = client.setattr(&new.node, &change).await.unwrap();
    assert_eq!((attr.mode & 0o7777, attr.mtime, attr.mtime_ns), (0o600, 1, 2));
    assert_eq!(client.create(&root, b"new", RW, 0o640, ROOT).await.unwrap_err(), Errno::EEXIST);

    client.make(&root, b"dir", MakeKind::Directory, 0o755, ROOT).await.unwrap();
    client.make(&root, b"link", MakeKind::Symlink(b"target"), 0o777, ROOT).await.unwrap();
    client.link(&new.node, &root, b"hard").await.unwrap();
    client.rename(&root, b"hard", &root, b"moved", RenameFlags::NOREPLACE).await.unwrap();
    let top = client.open(&root, OpenFlags::READ | OpenFlags::DIRECTORY, 0).await.unwrap().file;
    let listed = client.readdir(&top, 0, 100, true).await.unwrap();
    let mut names: Vec<_> = listed.entries.iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()).collect();
    names.sort();
    assert_eq!(names, [".", "..", "dir", "lib", "link", "moved", "new", "usr"]);
    client.unlink(&root, b"moved").await.unwrap();
    client.rmdir(&root, b"dir").await.unwrap();
    assert_eq!(client.seek(&new.file, 0, true).await.unwrap(), 1 << 20);
    assert_eq!(client.seek(&new.file, 0, false).await.unwrap(), 0);
    assert_eq!(client.copy_range((&new.file, 0), (&new.file, 1 << 20), 4096).await.unwrap(), 4096);
    assert!(client.statfs(&root).await.unwrap().blocks > 0);
    client.setxattr(&new.node, b"user.a", b"b", XattrFlags::empty()).await.unwrap();
    assert_eq!(client.getxattr(&new.node, b"user.a").await.unwrap(), "b");
    assert_eq!(client.donate(&new.file, 1, false).await.unwrap_err(), Errno::EOPNOTSUPP);
}

#[test]
fn everything_over_a_socket() {
    run(a_day(local));
}

#[test]
fn everything_over_a_relayed_stream() {
    run(a_day(relayed));
}

#[test]
fn requests_are_pipelined_and_data_is_not_mixed_up() {
    run(async {
        let dir = tree();
        let (client, root) = serve(dir.path(), 1000, local).await;
        // More than the stream takes at once, both ways.
        let work = (0..24u8).map(|i| {
            let (client, root) = (client.clone(), root.clone());
            async move {
                let name = format!("file{i}");
                let created = client.create(&root, name.as_bytes(), RW, 0o600, ROOT).await.unwrap();
                let data = vec![i; 700_000];
                client.write(&created.file, Some(0), &data, WriteFlags::empty()).await.unwrap();
                client.fsync(&created.file, false).await.unwrap();
                assert!(client.read(&created.file, Some(0), 1 << 20).await.unwrap() == data);
            }
        });
        futures_util::future::join_all(work).await;
    });
}

#[test]
fn dropped_futures_and_handles_leave_nothing_behind() {
    run(async {
        let dir = tree();
        // 16 handles: a leak would be seen at once.
        let (client, root) = serve(dir.path(), 16, local).await;
        for _ in 0..200 {
            let mut walk = Box::pin(client.walk(&root, &["usr", "lib", "libc"], Keep::Each));
            // Sent, and dropped before the reply.
            assert!(futures_util::poll!(walk.as_mut()).is_pending());
            drop(walk);
            client.getattr(&root).await.unwrap();
            // Unreached steps give their numbers back as well.
            let walked = client.walk(&root, &["usr", "none", "x", "y"], Keep::Each).await.unwrap();
            assert_eq!(walked.steps.len(), 1);
            assert_eq!(client.unlink(&root, b"none").await.unwrap_err(), Errno::ENOENT);
        }
        let held: Vec<_> =
            futures_util::future::join_all((0..15).map(|_| client.walk(&root, &["usr"], Keep::Last))).await;
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(client.walk(&root, &["usr"], Keep::Last).await.unwrap_err(), Errno::ENFILE);
        drop(held);
        client.walk(&root, &["usr"], Keep::Last).await.unwrap();
    });
}

#[test]
fn locks_wait_and_are_given_back_when_nobody_waits_any_more() {
    run(async {
        let dir = tree();
        let mut files = vec![];
        for _ in 0..3 {
            let (client, root) = serve(dir.path(), 16, local).await;
            let node = client.walk(&root, &["usr", "lib", "libc"], Keep::Last).await.unwrap();
            let node = node.steps.into_iter().next_back().unwrap().handle.unwrap();
            let file = client.open(&node, RW, 0).await.unwrap().file;
            files.push((client, file));
        }
        let lock = |i: usize, kind, wait| {
            let (client, file) = files[i].clone();
            async move { client.record_lock(&file, kind, 0, 0, wait).await }
        };
        lock(0, LockKind::Write, false).await.unwrap();
        assert_eq!(lock(1, LockKind::Write, false).await, Err(Errno::EAGAIN));
        assert_eq!(
            files[1].0.test_lock(&files[1].1, LockKind::Read, 0, 1).await.unwrap().unwrap().kind(),
            LockKind::Write
        );
        let mut waits = Box::pin(lock(1, LockKind::Write, true));
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        // The second request of the same connection goes through meanwhile.
        files[1].0.getattr(&files[1].1).await.unwrap();
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        drop(waits);
        lock(0, LockKind::Unlock, false).await.unwrap();
        // Cancelled, or granted and undone: either way it is free in the end, and the next one gets it.
        lock(2, LockKind::Write, true).await.unwrap();
        lock(2, LockKind::Unlock, false).await.unwrap();
        lock(1, LockKind::Write, true).await.unwrap();
    });
}

#[test]
fn a_lost_connection_is_eio_for_all() {
    run(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let client = GoferClient::new(GoferStream::Local(ours)).unwrap();
        let attach = client.attach();
        let closed = async {
            tokio::task::yield_now().await;
            drop(theirs);
        };
        let (attached, ()) = futures_util::join!(attach, closed);
        assert_eq!(attached.unwrap_err(), Errno::EIO);
        assert!(client.is_lost());
        assert_eq!(client.attach().await.unwrap_err(), Errno::EIO);
    });
}

/// A gofer that answers an attach well and then one request with what `lie` makes of it.
fn liar(lie: impl FnOnce(Request) -> Vec<u8> + Send + 'static) -> UnixStream {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        let attach = receive(&mut theirs);
        let attr = Some(Attr::default());
        let outcome = Outcome::Attach(AttachReply { attr, max_handles: 100, features: 0 });
        theirs.write_all(&frame(attach.id, outcome, b"")).unwrap();
        let request = receive(&mut theirs);
        theirs.write_all(&lie(request)).unwrap();
        // Until the client is gone.
        let _ = theirs.read(&mut [0]);
    });
    ours
}

fn receive(socket: &mut UnixStream) -> Request {
    let mut bytes = vec![0; wire::PREFIX];
    socket.read_exact(&mut bytes).unwrap();
    let len = wire::split_frame(&bytes).unwrap().map_or_else(|n| n, |f| f.len);
    bytes.resize(len, 0);
    socket.read_exact(&mut bytes[wire::PREFIX..]).unwrap();
    wire::split_frame(&bytes).unwrap().unwrap().decode().unwrap()
}

fn frame(id: u64, outcome: Outcome, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    wire::encode_frame(&mut out, &Reply { id, errno: 0, outcome: Some(outcome) }, payload);
    out
}

#[test]
fn replies_that_cannot_be_right_end_the_connection() {
    let walk = |steps: usize, stop: Option<Stop>| {
        move |r: Request| frame(r.id, Outcome::Walk(WalkReply { steps: vec![Attr::default(); steps], stop }), b"")
    };
    let lies: Vec<Box<dyn FnOnce(Request) -> Vec<u8> + Send>> = vec![
        Box::new(walk(3, None)),
        Box::new(walk(1, None)),
        Box::new(walk(0, Some(Stop::Symlink(b"x".to_vec())))),
        Box::new(walk(2, Some(Stop::NotDirectory(true)))),
        Box::new(walk(2, Some(Stop::Failed(2)))),
        Box::new(walk(1, Some(Stop::Symlink(vec![])))),
        Box::new(|r| frame(r.id, Outcome::Value(1), b"")),
        Box::new(|r| frame(r.id + 1, Outcome::Value(1), b"")),
        Box::new(|_| vec![255; 64]),
        Box::new(|_| vec![4, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]),
    ];
    for lie in lies {
        run(async move {
            let client = GoferClient::new(GoferStream::Local(liar(lie))).unwrap();
            let root = client.attach().await.unwrap().root;
            assert_eq!(client.walk(&root, &["a", "b"], Keep::Each).await.unwrap_err(), Errno::EIO);
            assert!(client.is_lost());
        });
    }
}

#[test]
fn more_data_than_asked_for_is_a_lie() {
    run(async {
        let lie = |r: Request| match r.op {
            Some(Op::ReadLink(_)) => frame(r.id, Outcome::Value(0), &[b'x'; 5000]),
            _ => vec![],
        };
        let client = GoferClient::new(GoferStream::Local(liar(lie))).unwrap();
        let root = client.attach().await.unwrap().root;
        assert_eq!(client.readlink(&root).await.unwrap_err(), Errno::EIO);
        assert!(client.is_lost());
    });
}

#[test]
fn handles_of_another_connection_are_refused() {
    run(async {
        let dir = tree();
        let (one, root) = serve(dir.path(), 16, local).await;
        let (other, _) = serve(dir.path(), 16, local).await;
        assert_eq!(other.getattr(&root).await.unwrap_err(), Errno::EBADF);
        one.getattr(&root).await.unwrap();
    });
}
