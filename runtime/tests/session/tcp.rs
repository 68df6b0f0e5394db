//! TCP: tokens, mutual TLS, exports by identity.

use crate::support::*;
use rsc_proto::transport::{ClientCertificates, ClientTls, Guard, ListenAddr, SentryUrl, ServerTls, Tokens};
use rsc_proto::v1::{Root, Sandbox, root};
use rsc_runtime::session::SessionClient;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tokens(dir: &Path, text: &str) -> Tokens {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join("tokens");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Tokens::load(&path).unwrap()
}

fn any_port() -> ListenAddr {
    ListenAddr::Tcp("127.0.0.1:0".into())
}

#[test]
fn a_token_opens_and_a_wrong_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let guard = Guard { tokens: Some(tokens(dir.path(), "sesame ali data\n")), ..Guard::default() };
    let server = Server::start(any_port(), None, guard, quick());
    run(async {
        let mut session = open(dialer_with(server.url(), None, Some("sesame"))).await;
        round_trip(&mut session, 1).await;
        let wrong = refusal(dialer_with(server.url(), None, Some("simsim"))).await;
        assert!(wrong.ends_with("the token is not in the sentry's token file"), "{wrong}");
        let none = refusal(dialer_with(server.url(), None, None)).await;
        assert!(none.contains("show a token (--token-file)"), "{none}");
        let root = |name: &str| Sandbox {
            root: Some(Root { source: Some(root::Source::Export(name.into())), readonly: false }),
            ..Sandbox::default()
        };
        let dialer = dialer_with(server.url(), None, Some("sesame"));
        assert!(SessionClient::connect(config_of(dialer.clone(), root("data"))).await.is_ok());
        let denied = SessionClient::connect(config_of(dialer, root("logs"))).await.err().unwrap().to_string();
        assert!(denied.ends_with("token ali may not use the export \"logs\""), "{denied}");
    });
}

#[test]
fn a_peer_sees_its_own_sessions_only() {
    use rsc_proto::v1::{ListSessionsRequest, control_client::ControlClient};
    let dir = tempfile::tempdir().unwrap();
    let guard = Guard { tokens: Some(tokens(dir.path(), "one a\ntwo b\n")), ..Guard::default() };
    let server = Server::start(any_port(), None, guard, quick());
    run(async {
        let (one, two) = (dialer_with(server.url(), None, Some("one")), dialer_with(server.url(), None, Some("two")));
        let _a = open(one.clone()).await;
        let _b = open(two).await;
        let mut control = ControlClient::new(one.channel().await.unwrap());
        let reply = control.list_sessions(one.request(ListSessionsRequest {})).await.unwrap().into_inner();
        let peers: Vec<_> = reply.sessions.iter().map(|s| s.peer.as_str()).collect();
        assert_eq!(peers, ["token a"]);
    });
}

/// Keys and certificates, made by the `openssl` command.
struct Pki {
    dir: PathBuf,
}

impl Pki {
    fn new(dir: &Path) -> Pki {
        let pki = Pki { dir: dir.to_owned() };
        for ca in ["ca", "other-ca"] {
            pki.openssl(&[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
                "-subj",
                &format!("/CN={ca}"),
                "-keyout",
                &format!("{ca}.key"),
                "-out",
                &format!("{ca}.pem"),
            ]);
        }
        pki.leaf("server", "ca");
        pki.leaf("builder", "ca");
        pki.leaf("stranger", "other-ca");
        pki
    }

    fn leaf(&self, name: &str, ca: &str) {
        std::fs::write(self.dir.join("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &format!("{name}.key"),
            "-out",
            "req",
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            "req",
            "-CA",
            &format!("{ca}.pem"),
            "-CAkey",
            &format!("{ca}.key"),
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &format!("{name}.pem"),
        ]);
    }

    fn openssl(&self, args: &[&str]) {
        let out = Command::new("openssl").args(args).current_dir(&self.dir).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn server(&self, need: ClientCertificates) -> ServerTls {
        ServerTls::load(&self.path("server.pem"), &self.path("server.key"), Some((&self.path("ca.pem"), need))).unwrap()
    }

    fn client(&self, ca: &str, name: Option<&str>) -> ClientTls {
        let identity = name.map(|n| (self.path(&format!("{n}.pem")), self.path(&format!("{n}.key"))));
        let identity = identity.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        ClientTls::load(&self.path(&format!("{ca}.pem")), identity).unwrap()
    }
}

#[test]
fn mutual_tls_admits_certificates_of_the_ca_alone() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIP: no openssl command to make certificates with");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let server = Server::start(any_port(), Some(pki.server(ClientCertificates::Required)), Guard::default(), quick());
    run(async {
        let mut session = open(dialer_with(server.url(), Some(pki.client("ca", Some("builder"))), None)).await;
        round_trip(&mut session, 1).await;
        let none = refusal(dialer_with(server.url(), Some(pki.client("ca", None)), None)).await;
        assert!(none.contains("--tls-cert"), "{none}");
        let stranger = refusal(dialer_with(server.url(), Some(pki.client("ca", Some("stranger"))), None)).await;
        assert!(stranger.contains("--tls-cert"), "{stranger}");
        let untrusted = refusal(dialer_with(server.url(), Some(pki.client("other-ca", Some("builder"))), None)).await;
        assert!(untrusted.contains("check --tls-ca"), "{untrusted}");
        // The certificate is for the address alone, not for the name.
        let SentryUrl::Tcp { port, .. } = server.url() else { panic!() };
        let by_name = SentryUrl::Tcp { host: "localhost".into(), port };
        let misnamed = refusal(dialer_with(by_name, Some(pki.client("ca", Some("builder"))), None)).await;
        assert!(misnamed.contains("TLS with the sentry"), "{misnamed}");
        let plain = refusal(dialer_with(server.url(), None, None)).await;
        assert!(!plain.is_empty());
        round_trip(&mut session, 2).await;
    });
}

#[test]
fn certificate_or_token_where_both_are_offered() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIP: no openssl command to make certificates with");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let guard = Guard { tokens: Some(tokens(dir.path(), "sesame\n- builder data\n")), ..Guard::default() };
    let server = Server::start(any_port(), Some(pki.server(ClientCertificates::Optional)), guard, quick());
    run(async {
        round_trip(&mut open(dialer_with(server.url(), Some(pki.client("ca", Some("builder"))), None)).await, 1).await;
        round_trip(&mut open(dialer_with(server.url(), Some(pki.client("ca", None)), Some("sesame"))).await, 1).await;
        let unnamed = refusal(dialer_with(server.url(), Some(pki.client("ca", Some("server"))), None)).await;
        assert!(unnamed.contains("subject name"), "{unnamed}");
        let neither = refusal(dialer_with(server.url(), Some(pki.client("ca", None)), None)).await;
        assert!(neither.contains("show a token"), "{neither}");
    });
}
