//! A relay between TCP or unix sockets which can be cut and restored: what a bad network is to a session.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Where to listen, or what to connect to.
#[derive(Debug, Clone)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

trait Stream: Read + Write + Send {
    fn again(&self) -> io::Result<Box<dyn Stream>>;
    fn end(&self);
}

impl Stream for TcpStream {
    fn again(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for UnixStream {
    fn again(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

fn connect(to: &Address) -> io::Result<Box<dyn Stream>> {
    Ok(match to {
        Address::Tcp(a) => {
            let s = TcpStream::connect(a)?;
            s.set_nodelay(true)?;
            Box::new(s)
        }
        Address::Unix(p) => Box::new(UnixStream::connect(p)?),
    })
}

#[derive(Default)]
struct Shared {
    down: AtomicBool,
    ended: AtomicBool,
    connections: AtomicU64,
    bytes: AtomicU64,
    live: Mutex<Vec<Box<dyn Stream>>>,
}

impl Shared {
    fn drop_all(&self) {
        for s in self.live.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            s.end();
        }
    }
}

fn pump(mut from: Box<dyn Stream>, mut to: Box<dyn Stream>, shared: &Shared) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || buffer.get(..n).is_none_or(|b| to.write_all(b).is_err()) {
            break;
        }
        shared.bytes.fetch_add(n as u64, Ordering::Relaxed);
    }
    from.end();
    to.end();
}

fn serve(near: Box<dyn Stream>, target: &Address, shared: &Arc<Shared>) -> io::Result<()> {
    if shared.down.load(Ordering::SeqCst) {
        near.end();
        return Ok(());
    }
    let far = connect(target)?;
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let pairs = [(near.again()?, far.again()?), (far.again()?, near.again()?)];
    shared.live.lock().unwrap_or_else(PoisonError::into_inner).extend([near, far]);
    // Cut between the check above and here: the streams must not live on.
    if shared.down.load(Ordering::SeqCst) {
        shared.drop_all();
    }
    for (from, to) in pairs {
        let shared = Arc::clone(shared);
        thread::spawn(move || pump(from, to, &shared));
    }
    Ok(())
}

/// A running relay. Dropping it ends it and its connections.
pub struct Relay {
    shared: Arc<Shared>,
    listening: Address,
}

impl Relay {
    /// Listens on `at` (TCP port 0: any) and relays each connection to `target`.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(at: &Address, target: Address) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mine = Arc::clone(&shared);
        let listening;
        match at {
            Address::Tcp(a) => {
                let listener = TcpListener::bind(a)?;
                listening = Address::Tcp(listener.local_addr()?.to_string());
                thread::spawn(move || {
                    for near in listener.incoming().flatten() {
                        if mine.ended.load(Ordering::SeqCst) {
                            break;
                        }
                        let _ = near.set_nodelay(true);
                        let _ = serve(Box::new(near), &target, &mine);
                    }
                });
            }
            Address::Unix(p) => {
                let listener = UnixListener::bind(p)?;
                listening = at.clone();
                thread::spawn(move || {
                    for near in listener.incoming().flatten() {
                        if mine.ended.load(Ordering::SeqCst) {
                            break;
                        }
                        let _ = serve(Box::new(near), &target, &mine);
                    }
                });
            }
        }
        Ok(Self { shared, listening })
    }

    /// Where it listens, with the port that was given.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.listening
    }

    /// Breaks every connection off and refuses new ones for a while, then lets them through again.
    pub fn cut(&self, pause: Duration) {
        self.shared.down.store(true, Ordering::SeqCst);
        self.shared.drop_all();
        thread::sleep(pause);
        self.shared.down.store(false, Ordering::SeqCst);
    }

    /// Connections made so far, and bytes relayed, both ways.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.connections.load(Ordering::Relaxed), self.shared.bytes.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.down.store(true, Ordering::SeqCst);
        self.shared.drop_all();
        // Wakes the listening thread, which then sees the end.
        let _ = connect(&self.listening);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_and_cuts() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Address::Tcp(server.local_addr().unwrap().to_string());
        let relay = Relay::start(&Address::Tcp("127.0.0.1:0".into()), target).unwrap();
        let Address::Tcp(at) = relay.address().clone() else { unreachable!() };
        for _ in 0..2 {
            let mut near = TcpStream::connect(&at).unwrap();
            let (mut far, _) = server.accept().unwrap();
            near.write_all(b"there").unwrap();
            let mut got = [0; 5];
            far.read_exact(&mut got).unwrap();
            far.write_all(b"back!").unwrap();
            near.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"back!");
            relay.cut(Duration::from_millis(1));
            assert!(matches!(near.read(&mut got), Ok(0) | Err(_)));
        }
        assert_eq!(relay.counts().0, 2);
    }
}
