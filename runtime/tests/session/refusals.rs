//! What the sentry refuses: other builds, broken frames, stolen sessions.

use crate::support::*;
use futures_util::StreamExt as _;
use rsc_proto::table;
use rsc_proto::transport::{PROTOCOL_VERSION, SentryUrl};
use rsc_proto::v1::{Down, Hello, Sandbox, Up, Welcome, down, up};
use rsc_runtime::session::SessionClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        table_digest: table::digest().to_vec().into(),
        build: "test".into(),
        sandbox: Some(Sandbox::default()),
        ..Hello::default()
    }
}

/// A client which sends whatever it is told to.
struct Raw {
    up: mpsc::UnboundedSender<Up>,
    down: Streaming<Down>,
    welcome: Welcome,
}

async fn raw(url: SentryUrl, hello: Hello) -> Result<Raw, Status> {
    // Not the client's own constructor: it would refuse to send what is too long.
    let channel = dialer(url).channel().await.unwrap();
    let mut client = rsc_proto::v1::session_client::SessionClient::new(channel);
    let (up, frames) = mpsc::unbounded_channel();
    up.send(Up { seq: 0, ack: 0, body: Some(up::Body::Hello(hello)) }).unwrap();
    let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(frames);
    let mut down = client.attach(frames).await?.into_inner();
    let Some(Down { body: Some(down::Body::Welcome(welcome)), .. }) = down.message().await? else { panic!() };
    Ok(Raw { up, down, welcome })
}

impl Raw {
    fn send(&self, seq: u64, ack: u64, body: Option<up::Body>) {
        self.up.send(Up { seq, ack, body }).unwrap();
    }

    async fn goodbye(&mut self) -> String {
        loop {
            match self.down.message().await.unwrap() {
                Some(Down { body: Some(down::Body::Goodbye(goodbye)), .. }) => return goodbye.reason,
                Some(_) => {}
                None => panic!("no goodbye"),
            }
        }
    }
}

#[test]
fn wrong_numbers_end_a_session_with_a_reason_and_disturb_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let mut good = open(dialer(server.url())).await;
        let cases: [(&[(u64, u64)], &str); 5] = [
            (&[(2, 0)], "frame 2 came where 1 was due: out of order"),
            (&[(1, 0), (1, 0)], "frame 1 came where 2 was due: replayed"),
            (&[(1, 7)], "frame 7 was acknowledged, but only 0 were sent"),
            (&[(0, 0)], "a frame without a sequence number"),
            (&[(u64::MAX, u64::MAX)], "out of order"),
        ];
        for (frames, reason) in cases {
            let mut bad = raw(server.url(), hello()).await.unwrap();
            for (seq, ack) in frames {
                bad.send(*seq, *ack, Some(call(1, 1)));
            }
            let goodbye = bad.goodbye().await;
            assert!(goodbye.contains(reason), "{goodbye}");
        }
        let mut bad = raw(server.url(), hello()).await.unwrap();
        bad.send(1, 0, Some(up::Body::Hello(hello())));
        assert!(bad.goodbye().await.contains("its kind does not have"));
        round_trip(&mut good, 1).await;
    });
}

#[test]
fn another_build_is_refused_naming_both() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        for wrong in [
            Hello { protocol: PROTOCOL_VERSION + 1, ..hello() },
            Hello { table_digest: vec![1; 32].into(), ..hello() },
            Hello { table_digest: Default::default(), ..hello() },
        ] {
            let status = raw(server.url(), wrong).await.err().unwrap();
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.message().contains("the sentry is rsc 0."), "{}", status.message());
            assert!(status.message().contains("the supervisor is \"test\""), "{}", status.message());
        }
    });
}

#[test]
fn a_session_is_resumed_with_its_secret_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let first = raw(server.url(), hello()).await.unwrap();
        let id = first.welcome.session_id.clone();
        let secret = first.welcome.secret.clone();
        assert_eq!(secret.len(), 32);
        let wrong = Hello { session_id: id.clone(), secret: vec![0; 32].into(), ..hello() };
        assert_eq!(raw(server.url(), wrong).await.err().unwrap().code(), Code::NotFound);
        let empty = Hello { session_id: id.clone(), ..hello() };
        assert_eq!(raw(server.url(), empty).await.err().unwrap().code(), Code::NotFound);
        let other = Hello { session_id: vec![9; 16].into(), secret: secret.clone(), ..hello() };
        assert_eq!(raw(server.url(), other).await.err().unwrap().code(), Code::NotFound);
        let right = Hello { session_id: id.clone(), secret, ..hello() };
        let second = raw(server.url(), right).await.unwrap();
        assert!(second.welcome.resumed && second.welcome.session_id == id && second.welcome.secret.is_empty());
        // The old connection has been replaced: its stream ends.
        let mut old = first.down;
        while let Ok(Some(_)) = old.message().await {}
    });
}

#[test]
fn an_oversized_frame_ends_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let mut bad = raw(server.url(), hello()).await.unwrap();
        let data = vec![0; 9 << 20].into();
        let reply = rsc_proto::v1::ReverseReply { id: 1, value: 0, data };
        bad.send(1, 0, Some(up::Body::Reply(reply)));
        match bad.down.message().await {
            Ok(Some(Down { body: Some(down::Body::Goodbye(goodbye)), .. })) => {
                assert!(goodbye.reason.contains("too large"), "{}", goodbye.reason);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_first_frame_that_is_not_hello_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let mut client = dialer(server.url()).session().await.unwrap();
        let frames = futures_util::stream::iter([Up { seq: 1, ack: 0, body: Some(call(1, 1)) }]);
        let status = client.attach(frames.chain(futures_util::stream::pending())).await.err().unwrap();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "the first frame is not Hello"));
        let status = client.attach(futures_util::stream::empty()).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
    });
}

#[test]
fn the_kernels_refusal_reaches_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let config = config_of(dialer(server.url()), Sandbox { id: "invalid".into(), ..Sandbox::default() });
        let error = SessionClient::connect(config).await.err().unwrap().to_string();
        assert!(error.ends_with("refuses the session: the sandbox is not to my liking"), "{error}");
    });
}

#[test]
fn garbage_instead_of_http2_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let server = Server::unix(&path);
    run(async {
        let mut good = open(dialer(server.url())).await;
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4096], &[255; 4096]] {
            let mut socket = tokio::net::UnixStream::connect(&path).await.unwrap();
            let _ = socket.write_all(garbage).await;
            let _ = socket.shutdown().await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
        round_trip(&mut good, 1).await;
    });
}

#[test]
fn nobody_there_is_one_line_with_advice() {
    run(async {
        let error = refusal(dialer("unix:///nonexistent/sentry.sock".parse().unwrap())).await;
        assert!(error.starts_with("cannot reach the sentry at unix:///nonexistent/sentry.sock: "), "{error}");
        assert!(error.ends_with("is `sentry serve` running there?"), "{error}");
    });
}
