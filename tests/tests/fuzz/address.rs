//! What a person or a file says of a sentry: addresses and token files.

use crate::{fuzz, within};
use rsc_proto::transport::{SentryUrl, Tokens, client_token};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn urls() {
    let valid = [
        "tcp://localhost:1",
        "tcp://[::1]:80",
        "vsock://2:9999",
        "unix:///run/x.sock",
        "tcp://10.0.0.1:65535",
        "unix:///",
    ];
    fuzz("address::urls", 20_000, |r| {
        let base = *r.pick(&valid);
        let text = if r.one_in(4) { r.text("tcpvsock:/[]0123456789.-", 30) } else { r.damage_text(base) };
        match within(16_384 + 4 * text.len(), || text.parse::<SentryUrl>()) {
            Ok(url) => {
                let again = url.to_string();
                assert_eq!(again.parse::<SentryUrl>().unwrap(), url, "{text:?} became {again:?}");
                match url {
                    SentryUrl::Tcp { host, port } => assert!(!host.is_empty() && port > 0 && !host.contains('\0')),
                    SentryUrl::Vsock { cid, port } => assert!(cid != u32::MAX && port != u32::MAX),
                    SentryUrl::Unix { path } => {
                        assert!(path.is_absolute() && path.as_os_str().len() < 108);
                        assert!(!path.to_string_lossy().contains('\0'));
                    }
                }
            }
            // One line, whatever was given.
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    });
}

#[test]
fn token_files() {
    let valid = "# who\nsecret-1 alice debian busybox\nsecret-2\n- bob export # all\n\n\tsecret#3  carol\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    fuzz("address::token_files", 2000, |r| {
        let mut bytes = valid.as_bytes().to_vec();
        r.damage(&mut bytes);
        if r.one_in(10) {
            let long = 4090 + r.below(10);
            bytes.splice(0..0, vec![b'x'; long]);
        }
        std::fs::write(&path, &bytes).unwrap();
        let loaded = within(64 << 10, || Tokens::load(&path));
        if let Err(error) = &loaded {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        match client_token(&path) {
            Ok(token) => {
                // It travels in a header.
                assert!(!token.is_empty() && token.len() <= 4096 && token.bytes().all(|b| b.is_ascii_graphic()));
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    });
}
