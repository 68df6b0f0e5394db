//! Opening, calling, ending; neighbours; what an operator sees.

use crate::support::*;
use rsc_proto::transport::{Accepted, Dialer, Guard, ListenAddr};
use rsc_proto::v1::control_client::ControlClient;
use rsc_proto::v1::{self, Segment};
use rsc_runtime::session::{SessionClient, SessionEvent};
use rsc_sentry::server::Config;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn calls_are_answered_in_order_and_goodbye_closes_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let (mut session, welcome) = SessionClient::connect(config(dialer(server.url()))).await.unwrap();
        assert_eq!(welcome.native, [9, 11]);
        for n in 1..=500 {
            session.send(call(n, 1)).unwrap();
        }
        for n in 1..=500 {
            assert_eq!(answered(session.recv().await), n);
        }
        session.close("done").await;
        until(|| server.seen.closed.load(Ordering::SeqCst) == 1).await;
    });
    assert_eq!(*server.seen.calls.lock().unwrap(), (1..=500).collect::<Vec<_>>());
}

#[test]
fn large_frames_pass() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let mut session = open(dialer(server.url())).await;
        let data: bytes::Bytes = vec![7; 6 << 20].into();
        let segments = vec![Segment { addr: 4096, data: data.clone() }];
        session
            .send(v1::up::Body::Syscall(v1::Syscall { call: 1, args: vec![3; 6], segments, ..Default::default() }))
            .unwrap();
        let SessionEvent::Body(v1::down::Body::Answer(answer)) = session.recv().await else { panic!() };
        assert_eq!(answer.out.first().unwrap().data, data);
    });
}

#[test]
fn a_protocol_error_ends_one_session_and_not_another() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let mut good = open(dialer(server.url())).await;
        let mut bad = open(dialer(server.url())).await;
        round_trip(&mut good, 1).await;
        round_trip(&mut bad, 1).await;
        bad.send(call(2, BAD_CALL)).unwrap();
        let reason = lost(&mut bad).await;
        assert_eq!(reason, "the sentry ended the session: a call with a bad number");
        assert_eq!(server.seen.closed.load(Ordering::SeqCst), 1);
        round_trip(&mut good, 2).await;
    });
}

#[test]
fn sessions_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let dialer = dialer(server.url());
        let mut session = open(dialer.clone()).await;
        round_trip(&mut session, 1).await;
        let mut control = ControlClient::new(dialer.channel().await.unwrap());
        let reply = control.list_sessions(dialer.request(v1::ListSessionsRequest {})).await.unwrap().into_inner();
        let [info] = reply.sessions.as_slice() else { panic!("{reply:?}") };
        assert_eq!((info.sandbox.as_str(), info.state.as_str(), info.calls), ("box", "connected", 1));
        assert_eq!(info.peer, format!("unix uid {}", nix::unistd::getuid()));
    });
}

#[test]
fn a_drain_says_goodbye_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut server = Server::unix(&path);
    run(async {
        let mut session = open(dialer(server.url())).await;
        round_trip(&mut session, 1).await;
        server.begin_drain();
        assert_eq!(lost(&mut session).await, "the sentry ended the session: the sentry is shutting down");
    });
    server.join();
    assert!(!path.exists());
}

#[test]
fn a_drain_waits_for_sessions_that_end_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { drain_grace: Duration::from_secs(50), ..Config::default() };
    let mut server = Server::start(ListenAddr::Unix(dir.path().join("s")), None, Guard::default(), config);
    run(async {
        let mut session = open(dialer(server.url())).await;
        server.begin_drain();
        round_trip(&mut session, 1).await;
        session.close("done").await;
    });
    server.join();
}

#[test]
fn an_embedded_sentry_serves_one_session_over_a_socketpair() {
    use rsc_sentry::server::serve;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let (gofer, sentry_gofer) = std::os::unix::net::UnixStream::pair().unwrap();
    let seen = std::sync::Arc::new(Seen::default());
    run(async {
        theirs.set_nonblocking(true).unwrap();
        let (accepted, closed) = Accepted::inherited(rsc_proto::transport::UnixIo::new(theirs).unwrap());
        let incoming = tokio_stream::StreamExt::chain(
            tokio_stream::once(Ok(accepted)),
            tokio_stream::pending::<Result<Accepted, std::convert::Infallible>>(),
        );
        let config = Config { session_grace: Duration::ZERO, drain_grace: Duration::ZERO, single: true };
        let server = tokio::task::spawn_local(serve(
            incoming,
            Default::default(),
            echo_factory(&seen),
            config,
            rsc_sentry::server::guests::Guests::new(vec![sentry_gofer]),
            closed,
        ));
        let sandbox = v1::Sandbox { gofers: vec!["root".into()], ..v1::Sandbox::default() };
        let mut config = config_of(Dialer::inherited(ours), sandbox);
        config.gofers = Vec::new();
        let (mut session, _) = SessionClient::connect(config).await.unwrap();
        round_trip(&mut session, 1).await;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        gofer.set_nonblocking(true).unwrap();
        let mut gofer = tokio::net::UnixStream::from_std(gofer).unwrap();
        gofer.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        gofer.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
        session.close("done").await;
        server.await.unwrap().unwrap();
    });
    assert_eq!(seen.closed.load(Ordering::SeqCst), 1);
}
