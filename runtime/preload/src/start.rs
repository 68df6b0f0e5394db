//! The library's beginning in a process: settings from the environment, the broker, which is started if it is not there.

use std::ffi::{CStr, CString};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use rsc_proto::v1::BrokerSettings;

use crate::link::Broken;
use crate::sys::{exports, local};
use crate::{ask, route};

const FRESH: u8 = 0;
const BEGINNING: u8 = 1;
const READY: u8 = 2;
const OFF: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(FRESH);
static SOCKET: OnceLock<CString> = OnceLock::new();
static SETTINGS: OnceLock<BrokerSettings> = OnceLock::new();

/// Whether calls are to be asked about at all. What is called before this is this machine's.
pub(crate) fn is_ready() -> bool {
    STATE.load(Ordering::Acquire) == READY
}

/// The broker's socket.
pub(crate) fn socket() -> Option<&'static CStr> {
    SOCKET.get().map(CString::as_c_str)
}

/// What is wanted of the broker.
pub(crate) fn settings() -> &'static BrokerSettings {
    SETTINGS.get_or_init(from_environment)
}

fn from_environment() -> BrokerSettings {
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
    }
}

/// The broker has a working directory of its own.
fn absolute(path: String) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path;
    }
    local::working_directory().map_or(path.clone(), |cwd| format!("{cwd}/{path}"))
}

/// Where the broker listens: `RSC_BROKER`, or where the runtime keeps the state of this user's containers.
fn socket_path() -> CString {
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

/// Runs before the program's own code.
pub(crate) fn begin() {
    if STATE.compare_exchange(FRESH, BEGINNING, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return;
    }
    if settings().sentry.is_empty() || (settings().rules.is_empty() && settings().syscalls.is_empty()) {
        // Its children need not say it too.
        if local::mark(c"RSC_PRELOAD_IDLE") {
            local::say(
                "librsc_preload: RSC_SENTRY and one of RSC_RULES and RSC_SYSCALLS are needed; everything runs here\n",
            );
        }
        STATE.store(OFF, Ordering::Release);
        return;
    }
    let _ = SOCKET.set(socket_path());
    let mut opened = ask::open();
    if matches!(opened, Err(Broken::Lost)) && local::start_broker() {
        opened = ask::open();
    }
    match opened {
        Ok(concerned) => {
            route::learn(&concerned);
            STATE.store(READY, Ordering::Release);
            exports::take_over_standard();
        }
        Err(why) => {
            let why = match why {
                Broken::Refused(why) => why,
                Broken::Lost => {
                    let path = socket().map(CStr::to_string_lossy).unwrap_or_default();
                    format!("no broker answers at {path}; start one by `rsc-runtime broker` to see why")
                }
            };
            local::say(&format!("librsc_preload: {why}\n"));
            local::exit(125);
        }
    }
}

/// In the child of a fork.
pub(crate) fn forked() {
    ask::forget_link();
}
