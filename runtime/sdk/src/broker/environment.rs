//! Settings from the environment.

use std::ffi::{CStr, CString};

use rsc_proto::v1::BrokerSettings;

use crate::sys::local;

/// What the variables say: `RSC_SENTRY`, `RSC_RULES`, `RSC_SYSCALLS`, `RSC_EXPORT`, `RSC_CWD`, `RSC_TOKEN_FILE`, `RSC_TLS_…`.
pub fn settings() -> BrokerSettings {
    let text = |name: &CStr| local::setting(name).and_then(|value| String::from_utf8(value).ok()).unwrap_or_default();
    BrokerSettings {
        sentry: text(c"RSC_SENTRY"),
        rules: absolute(text(c"RSC_RULES")),
        syscalls: text(c"RSC_SYSCALLS"),
        export: text(c"RSC_EXPORT"),
        cwd: text(c"RSC_CWD"),
        token_file: absolute(text(c"RSC_TOKEN_FILE")),
        tls_ca: absolute(text(c"RSC_TLS_CA")),
        tls_cert: absolute(text(c"RSC_TLS_CERT")),
        tls_key: absolute(text(c"RSC_TLS_KEY")),
        ..BrokerSettings::default()
    }
}

/// The broker has a working directory of its own.
pub fn absolute(path: String) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path;
    }
    local::working_directory().map_or(path.clone(), |cwd| format!("{cwd}/{path}"))
}

/// Where the broker listens: `RSC_BROKER`, or where the runtime keeps the state of this user's containers.
pub fn socket() -> CString {
    let own = || {
        let uid = local::getuid();
        let session = local::setting(c"XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        match (session, uid) {
            (_, 0) => b"/run/rsc/broker.sock".to_vec(),
            (Some(dir), _) => [&dir[..], b"/rsc/broker.sock"].concat(),
            (None, _) => {
                let session = format!("/run/user/{uid}");
                let there = CString::new(session.clone()).is_ok_and(|path| local::is_there(&path));
                let folder = if there { format!("{session}/rsc") } else { format!("/tmp/rsc-{uid}") };
                format!("{folder}/broker.sock").into_bytes()
            }
        }
    };
    CString::new(local::setting(c"RSC_BROKER").unwrap_or_else(own)).unwrap_or_default()
}
