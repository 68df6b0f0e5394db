//! Words to the service manager (`sd_notify(3)`), over a socket that is connected while the process may still do so.

use sd_notify::NotifyState;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Whoever started the program and wants to know how it is; perhaps nobody.
pub(crate) struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// The one that NOTIFY_SOCKET names.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let connect = || {
            let addr = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&addr)?;
            std::io::Result::Ok(socket)
        };
        Self(connect().inspect_err(|error| tracing::warn!("cannot reach NOTIFY_SOCKET {name:?}: {error}")).ok())
    }

    /// Says how things are.
    pub(crate) fn tell(&self, state: NotifyState<'_>) {
        if let Some(socket) = &self.0 {
            // A manager that does not listen is its own trouble.
            let _ = socket.send(state.to_string().as_bytes());
        }
    }
}
