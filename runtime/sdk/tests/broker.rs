//! The SDK against a broker that says what a test wants: what it gives is taken, and no more than that.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use prost::Message;
use rsc_proto::table::nr;
use rsc_proto::v1::{
    BrokerAnswer, BrokerCall, BrokerDone, BrokerHello, BrokerHere, BrokerWelcome, Segment, ToBroker, broker_answer,
    to_broker,
};
use rsc_sdk::{Config, Error, Server};

fn receive<M: Message + Default>(stream: &mut UnixStream) -> Option<M> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut bytes).unwrap();
    Some(M::decode(&bytes[..]).unwrap())
}

fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&(bytes.len() as u32).to_le_bytes()[..], &bytes].concat()
}

fn call(stream: &mut UnixStream) -> Option<BrokerCall> {
    match receive::<ToBroker>(stream)?.what? {
        to_broker::What::Call(call) => Some(call),
        other => panic!("not a call: {other:?}"),
    }
}

fn done(done: BrokerDone) -> BrokerAnswer {
    BrokerAnswer { what: Some(broker_answer::What::Done(done)) }
}

fn here() -> BrokerAnswer {
    BrokerAnswer { what: Some(broker_answer::What::Here(BrokerHere::default())) }
}

/// A broker that lets everybody in, and has `serve` do the rest of a connection.
fn fake(
    serve: impl Fn(UnixStream) + Send + 'static,
    connections: usize,
) -> (tempfile::TempDir, Config, JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let broker = std::thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            let hello: BrokerHello = receive(&mut stream).unwrap();
            assert_eq!(hello.table_digest, rsc_proto::table::digest()[..]);
            let settings = hello.settings.unwrap();
            assert!(settings.explicit && settings.rules.is_empty() && settings.sentry == "unix:///s");
            let pid = std::process::id() as i32;
            stream.write_all(&framed(&BrokerWelcome { pid, ..BrokerWelcome::default() })).unwrap();
            serve(stream);
        }
    });
    (folder, Config::new("unix:///s").broker(&path).rules("/r"), broker)
}

fn served(
    answer: impl Fn(&BrokerCall) -> BrokerAnswer + Send + 'static,
) -> (tempfile::TempDir, Server, JoinHandle<()>) {
    let serve = move |mut stream: UnixStream| {
        while let Some(call) = call(&mut stream) {
            stream.write_all(&framed(&answer(&call))).unwrap();
        }
    };
    let (folder, config, broker) = fake(serve, 1);
    (folder, config.connect().unwrap(), broker)
}

#[test]
fn refusals_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let broker = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        receive::<BrokerHello>(&mut stream).unwrap();
        let refused = "the token is wrong".to_owned();
        stream.write_all(&framed(&BrokerWelcome { refused, ..BrokerWelcome::default() })).unwrap();
    });
    let refused = Config::new("unix:///s").broker(&path).connect().err();
    assert_eq!(refused, Some(Error::Refused("the token is wrong".to_owned())));
    broker.join().unwrap();
}

#[test]
fn writes_only_where_the_call_has_room() {
    let (_folder, server, _broker) = served(|call| {
        assert_eq!(call.nr, nr::READLINK);
        assert_eq!(&call.segments[0].data[..], b"/link\0");
        let wrong = Segment { addr: call.args[0], data: b"XXXX".to_vec().into() };
        let right = Segment { addr: call.args[1], data: b"target".to_vec().into() };
        done(BrokerDone { result: 6, out: vec![wrong, right], ..BrokerDone::default() })
    });
    let name = std::ffi::CString::new("/link").unwrap();
    let mut text = [0_u8; 16];
    assert_eq!(server.read_link("/link").unwrap().to_str(), Some("target"));
    let args = [name.as_ptr() as u64, text.as_mut_ptr() as u64, text.len() as u64, 0, 0, 0];
    assert_eq!(rsc_sdk::broker::ask::there(server.terms(), nr::READLINK, args), 6);
    assert_eq!((&text[..7], name.to_bytes()), (&b"target\0"[..], &b"/link"[..]));
}

#[test]
fn what_is_this_machines_fails() {
    let (_folder, server, _broker) = served(|_| here());
    let there = |number, args| rsc_sdk::broker::ask::there(server.terms(), number, args);
    assert_eq!(there(nr::READ, [0; 6]), -i64::from(libc::EBADF));
    assert_eq!(there(nr::FORK, [0; 6]), -i64::from(libc::ENOSYS));
}

#[test]
fn errors_are_the_calls_own() {
    let (_folder, server, _broker) =
        served(|_| done(BrokerDone { result: -i64::from(libc::ENOENT), ..BrokerDone::default() }));
    assert_eq!(server.open("/none").err().map(|error| error.kind()), Some(std::io::ErrorKind::NotFound));
    assert_eq!(server.open("zero\0within").err().map(|error| error.raw_os_error()), Some(Some(libc::EINVAL)));
}

#[test]
fn descriptors_come_along_and_are_closed() {
    let serve = |mut stream: UnixStream| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let open = call(&mut stream).unwrap();
        assert_eq!((open.nr, open.args[2] as i32 & libc::O_CLOEXEC), (nr::OPENAT, libc::O_CLOEXEC));
        let bytes = framed(&done(BrokerDone { descriptor: true, cloexec: true, result: 99, ..BrokerDone::default() }));
        let fds = [theirs.as_fd().as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes)], &rights, MsgFlags::empty(), None).unwrap();
        drop(theirs);
        let write = call(&mut stream).unwrap();
        assert_eq!((write.nr, &write.segments[0].data[..]), (nr::WRITE, &b"text"[..]));
        stream.write_all(&framed(&done(BrokerDone { result: 4, ..BrokerDone::default() }))).unwrap();
        let close = call(&mut stream).unwrap();
        assert_eq!((close.nr, close.args[0]), (nr::CLOSE, write.args[0]));
        stream.write_all(&framed(&here())).unwrap();
        // Nobody has the other end any more.
        assert_eq!((&ours).read(&mut [0]).unwrap(), 0);
    };
    let (_folder, config, broker) = fake(serve, 1);
    let server = config.connect().unwrap();
    server.write("/f", "text").unwrap();
    broker.join().unwrap();
}

#[test]
fn a_broker_that_goes_or_talks_nonsense_is_an_error_of_one_call() {
    let serve = |mut stream: UnixStream| {
        // The first connection ends in a call, the second has a length beyond all bounds, the third answers.
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        call(&mut stream).unwrap();
        match COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => {}
            1 => stream.write_all(&[0xff; 64]).unwrap(),
            _ => stream.write_all(&framed(&done(BrokerDone::default()))).unwrap(),
        }
    };
    let (_folder, config, broker) = fake(serve, 3);
    let server = config.connect().unwrap();
    for _ in 0..2 {
        assert_eq!(server.create_dir("/d").err().map(|error| error.raw_os_error()), Some(Some(libc::EIO)));
    }
    server.create_dir("/d").unwrap();
    broker.join().unwrap();
}

#[test]
fn a_number_is_free_after_close_even_if_the_broker_is_gone() {
    let serve = |mut stream: UnixStream| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        call(&mut stream).unwrap();
        let bytes = framed(&done(BrokerDone { descriptor: true, cloexec: true, ..BrokerDone::default() }));
        let fds = [theirs.as_fd().as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes)], &rights, MsgFlags::empty(), None).unwrap();
        drop((stream, theirs));
        assert_eq!((&ours).read(&mut [0]).unwrap(), 0);
    };
    let (_folder, config, broker) = fake(serve, 1);
    let file = config.connect().unwrap().open("/f").unwrap();
    assert_eq!(file.close().err().map(|error| error.raw_os_error()), Some(Some(libc::EIO)));
    broker.join().unwrap();
}
