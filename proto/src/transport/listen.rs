//! The server's side: listeners of every transport, merged into one stream of admitted connections.

use super::auth::{Guard, Proof};
use super::stream::Accepted;
use super::tls::{ServerTls, subject_name};
use super::{Identity, Stream, UnixIo};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener, VsockStream};

/// Connections that a server holds at once, handshakes included.
const MAX_CONNECTIONS: usize = 8192;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A unix socket's path.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
    /// A vsock port, on every CID of this machine.
    Vsock(u32),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Unix(path) => write!(f, "unix://{}", path.display()),
            ListenAddr::Tcp(addr) => write!(f, "tcp://{addr}"),
            ListenAddr::Vsock(port) => write!(f, "vsock port {port}"),
        }
    }
}

/// Why a listener can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system refuses.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// Where.
        addr: ListenAddr,
        /// The cause.
        source: io::Error,
    },
    /// Another server answers on the path.
    #[error("cannot listen on unix://{0}: a running server answers there; stop it or choose another path")]
    Live(PathBuf),
    /// The path is something else.
    #[error("cannot listen on unix://{0}: the path exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener, Option<ServerTls>),
    Vsock(VsockListener),
}

/// A bound listener. A unix socket's path is removed when it is dropped.
pub struct Listener {
    socket: Socket,
    local: String,
    _cleanup: Option<Cleanup>,
}

/// Removes the path that was bound, if it is still the same one.
struct Cleanup {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Binds. `tls` applies to TCP alone; `shared` lets other users reach a unix socket (they are still checked by uid).
    pub async fn bind(addr: &ListenAddr, tls: Option<&ServerTls>, shared: bool) -> Result<Self, ListenError> {
        let error = |source| ListenError::Bind { addr: addr.clone(), source };
        match addr {
            ListenAddr::Unix(path) => {
                remove_stale(path).await?;
                let socket = UnixListener::bind(path).map_err(error)?;
                let mode = if shared { 0o666 } else { 0o600 };
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(error)?;
                let meta = std::fs::symlink_metadata(path).map_err(error)?;
                let cleanup = Cleanup { path: path.clone(), inode: (meta.dev(), meta.ino()) };
                Ok(Listener { socket: Socket::Unix(socket), local: addr.to_string(), _cleanup: Some(cleanup) })
            }
            ListenAddr::Tcp(text) => {
                let socket = TcpListener::bind(text).await.map_err(error)?;
                let local = format!("tcp://{}", socket.local_addr().map_err(error)?);
                Ok(Listener { socket: Socket::Tcp(socket, tls.cloned()), local, _cleanup: None })
            }
            ListenAddr::Vsock(port) => {
                let socket = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, *port)).map_err(error)?;
                Ok(Listener { socket: Socket::Vsock(socket), local: addr.to_string(), _cleanup: None })
            }
        }
    }

    /// The address in use, with the port which the system chose if 0 was asked for.
    pub fn local(&self) -> &str {
        &self.local
    }
}

async fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let error = |source| ListenError::Bind { addr: ListenAddr::Unix(path.to_owned()), source };
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(error(e)),
    };
    if !meta.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(error),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // Its backlog is full, or it is another user's: somebody is there.
        Ok(_) | Err(_) => Err(ListenError::Live(path.to_owned())),
    }
}

/// Admitted connections of all listeners. Dropping it closes them all.
pub struct Incoming {
    connections: mpsc::Receiver<Accepted>,
    _listeners: JoinSet<()>,
}

impl Incoming {
    /// Starts accepting.
    pub fn start(listeners: Vec<Listener>, guard: &Arc<Guard>) -> Self {
        let (sender, connections) = mpsc::channel(16);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let shared = Shared { sender: sender.clone(), guard: Arc::clone(guard), permits: Arc::clone(&permits) };
            tasks.spawn(accept_all(listener, shared));
        }
        Incoming { connections, _listeners: tasks }
    }
}

impl futures_util::Stream for Incoming {
    type Item = Result<Accepted, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(cx).map(|accepted| accepted.map(Ok))
    }
}

#[derive(Clone)]
struct Shared {
    sender: mpsc::Sender<Accepted>,
    guard: Arc<Guard>,
    permits: Arc<Semaphore>,
}

enum Raw {
    Unix(UnixStream),
    Tcp(TcpStream, Option<ServerTls>),
    Vsock(VsockStream, u32),
}

async fn accept_all(listener: Listener, shared: Shared) {
    // The handshakes end with the listener.
    let mut handshakes = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&shared.permits).acquire_owned().await else { return };
        while handshakes.try_join_next().is_some() {}
        let accepted = match &listener.socket {
            Socket::Unix(socket) => socket.accept().await.map(|(io, _)| Raw::Unix(io)),
            Socket::Tcp(socket, tls) => socket.accept().await.map(|(io, _)| Raw::Tcp(io, tls.clone())),
            Socket::Vsock(socket) => socket.accept().await.map(|(io, addr)| Raw::Vsock(io, addr.cid())),
        };
        match accepted {
            Ok(raw) => {
                let shared = shared.clone();
                let local = listener.local.clone();
                handshakes.spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, admit(raw, &shared.guard)).await {
                        Ok(Ok((stream, proof))) => {
                            let _ = shared.sender.send(Accepted { stream, proof, _permit: Some(permit) }).await;
                        }
                        Ok(Err(reason)) => tracing::warn!("refused a connection to {local}: {reason}"),
                        Err(_) => tracing::warn!("refused a connection to {local}: no handshake in time"),
                    }
                });
            }
            Err(e) => {
                tracing::warn!("accepting on {}: {e}", listener.local);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn admit(raw: Raw, guard: &Guard) -> Result<(Stream, Proof), String> {
    match raw {
        Raw::Unix(io) => {
            let uid = io.peer_cred().map_err(|e| format!("no peer credentials: {e}"))?.uid();
            if !guard.admits_uid(uid) {
                return Err(format!("uid {uid} is neither the server's own nor allowed (--allow-uid {uid})"));
            }
            let io = io.into_std().and_then(UnixIo::new).map_err(|e| format!("cannot be watched: {e}"))?;
            Ok((Stream::Unix(io), Proof::peer(Identity::Unix { uid })))
        }
        Raw::Vsock(io, cid) => {
            if !guard.admits_cid(cid) {
                return Err(format!("cid {cid} is not allowed (--allow-cid {cid})"));
            }
            Ok((Stream::Vsock(io), Proof::peer(Identity::Vsock { cid })))
        }
        Raw::Tcp(io, tls) => {
            io.set_nodelay(true).map_err(|e| format!("TCP_NODELAY: {e}"))?;
            let Some(tls) = tls else { return Ok((Stream::Tcp(io), Proof::nothing())) };
            let from = io.peer_addr().map_or_else(|_| "?".into(), |a| a.to_string());
            let tls = TlsAcceptor::from(tls.config).accept(io).await.map_err(|e| format!("TLS with {from}: {e}"))?;
            let proof = match tls.get_ref().1.peer_certificates().and_then(|certs| certs.first()) {
                Some(cert) => {
                    let name = subject_name(cert)
                        .ok_or_else(|| format!("the certificate of {from} has no common name in its subject"))?;
                    Proof::certificate(name)
                }
                None => Proof::nothing(),
            };
            Ok((Stream::Tls(Box::new(tls.into())), proof))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unix_paths_are_replaced_when_dead_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let addr = ListenAddr::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = Listener::bind(&addr, None, false).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Listener::bind(&addr, None, false).await, Err(ListenError::Live(_))));
        drop(live);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&addr, None, false).await, Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_path_bound_anew_by_another_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let ours = Listener::bind(&ListenAddr::Unix(path.clone()), None, true).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        // The old inode is kept alive under another name, so that its number can't be reused.
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_vsock_listener_binds_where_the_kernel_has_vsock() {
        match Listener::bind(&ListenAddr::Vsock(49_152), None, false).await {
            Ok(listener) => assert_eq!(listener.local(), "vsock port 49152"),
            Err(e) => eprintln!("SKIP: {e}"),
        }
    }
}
