//! Connections that break: nothing is lost, nothing is done twice.

use crate::support::*;
use rsc_proto::transport::{Guard, ListenAddr};
use rsc_proto::v1;
use rsc_runtime::session::{SessionClient, SessionEvent};
use rsc_sentry::server::Config;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[test]
fn every_call_is_done_once_over_twenty_cuts() {
    const CALLS: u64 = 4000;
    let dir = tempfile::tempdir().unwrap();
    let server_path = dir.path().join("s");
    let server = Server::unix(&server_path);
    run(async {
        let relay = Relay::start(dir.path().join("relay"), server_path);
        let mut session = open(relay.dialer()).await;
        let (mut sent, mut got, mut resumed) = (0, 0, 0);
        while got < CALLS {
            // Up to 50 calls are under way, whether connected or not.
            while sent < CALLS && sent - got < 50 {
                sent += 1;
                session.send(call(sent, 1)).unwrap();
            }
            match session.recv().await {
                SessionEvent::Detached => {}
                SessionEvent::Resumed => resumed += 1,
                event => {
                    got += 1;
                    assert_eq!(answered(event), got);
                    if got % (CALLS / 20) == 137 {
                        relay.cut();
                    }
                }
            }
        }
        assert!(resumed >= 18, "{resumed}");
    });
    assert_eq!(*server.seen.calls.lock().unwrap(), (1..=CALLS).collect::<Vec<_>>());
    assert_eq!(server.seen.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_session_is_lost_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let server_path = dir.path().join("s");
    let config = Config { session_grace: Duration::from_millis(300), ..quick() };
    let server = Server::start(ListenAddr::Unix(server_path.clone()), None, Guard::default(), config);
    run(async {
        let relay = Relay::start(dir.path().join("relay"), server_path);
        let mut config = crate::support::config(relay.dialer());
        config.loss_grace = Duration::from_millis(200);
        let (mut session, _) = SessionClient::connect(config).await.unwrap();
        round_trip(&mut session, 1).await;
        relay.set_down(true);
        relay.cut();
        assert_eq!(session.recv().await, SessionEvent::Detached);
        let SessionEvent::Lost(reason) = session.recv().await else { panic!() };
        assert!(reason.starts_with("no connection for 0 s: "), "{reason}");
        until(|| server.seen.closed.load(Ordering::SeqCst) == 1).await;
    });
}

#[test]
fn a_session_that_the_sentry_does_not_know_is_lost_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server_path = dir.path().join("s");
    let config = Config { session_grace: Duration::ZERO, ..quick() };
    let server = Server::start(ListenAddr::Unix(server_path.clone()), None, Guard::default(), config);
    run(async {
        let relay = Relay::start(dir.path().join("relay"), server_path);
        let mut session = open(relay.dialer()).await;
        round_trip(&mut session, 1).await;
        relay.set_down(true);
        relay.cut();
        assert_eq!(session.recv().await, SessionEvent::Detached);
        until(|| server.seen.closed.load(Ordering::SeqCst) == 1).await;
        relay.set_down(false);
        assert!(lost(&mut session).await.contains("knows no such session"));
    });
}

#[test]
fn a_gofer_relay_loses_no_byte_over_cuts() {
    const TOTAL: usize = 3_000_000;
    let dir = tempfile::tempdir().unwrap();
    let server_path = dir.path().join("s");
    let _server = Server::unix(&server_path);
    run(async {
        let relay = Relay::start(dir.path().join("relay"), server_path);
        let (gofer, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let sandbox = v1::Sandbox { gofers: vec!["root".into()], ..v1::Sandbox::default() };
        let mut config = config_of(relay.dialer(), sandbox);
        config.gofers = vec![theirs];
        let (mut session, _) = SessionClient::connect(config).await.unwrap();
        gofer.set_nonblocking(true).unwrap();
        let (mut read, mut write) = tokio::net::UnixStream::from_std(gofer).unwrap().into_split();
        let bytes: Vec<u8> = (0..TOTAL).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let writing = tokio::task::spawn_local(async move {
            write.write_all(&bytes).await.unwrap();
            write
        });
        let reading = async {
            let mut got = Vec::new();
            let mut cut_at = 100_000;
            while got.len() < TOTAL {
                assert_ne!(read.read_buf(&mut got).await.unwrap(), 0);
                if got.len() > cut_at {
                    cut_at += 300_000;
                    relay.cut();
                }
            }
            got
        };
        let events = async {
            loop {
                if let SessionEvent::Lost(reason) = session.recv().await {
                    panic!("{reason}");
                }
            }
        };
        let got = tokio::select! {
            got = reading => got,
            () = events => unreachable!(),
        };
        assert!(got == expected);
        writing.await.unwrap();
    });
}
