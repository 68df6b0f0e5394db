//! A connection to systemd: over a bus, or to its private socket. One call at a time, everything until one deadline.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::wire::{self, HEAD, Kind, Message, Property, Target, Writer};

/// What one command asks systemd for has happened within this time, as runc has it.
const PATIENCE: Duration = Duration::from_secs(30);
/// A line of the authentication is never longer.
const MAX_LINE: usize = 512;
/// Ends of jobs of one unit that are kept until the job is known.
const MAX_SIGNALS: usize = 256;

/// Where systemd is, for root, when no bus can be reached.
const PRIVATE: &str = "unix:path=/run/systemd/private";
const SYSTEM: &str = "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket";

const DAEMON: Target<'static> =
    Target { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };
const MANAGER: Target<'static> = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// Why systemd did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    #[error("connecting to systemd ({0}): {1}")]
    Connect(String, io::Error),
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    #[error("{0}: the answer is no D-Bus message")]
    Malformed(&'static str),
    /// In systemd's words.
    #[error("{name}: {text}")]
    Refused { name: String, text: String },
}

impl BusError {
    /// Whether it is the error of systemd's that ends so.
    pub(super) fn is(&self, what: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.strip_prefix("org.freedesktop.systemd1.") == Some(what))
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    deadline: Instant,
    serial: u32,
    /// There is a bus between us and systemd.
    daemon: bool,
    /// Ends of jobs that were told before they were asked for.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects to the manager of this user, or of the machine.
    pub(super) fn connect(user: bool) -> Result<Self, BusError> {
        if user {
            let session = env::var("DBUS_SESSION_BUS_ADDRESS").ok().filter(|address| !address.is_empty());
            let bus = || env::var("XDG_RUNTIME_DIR").map(|dir| format!("unix:path={dir}/bus"));
            let Some(address) = session.or_else(|| bus().ok()) else {
                let problem = io::Error::other("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set");
                return Err(BusError::Connect("the user's bus".to_owned(), problem));
            };
            return Self::open(&address, true);
        }
        match env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|address| !address.is_empty()) {
            Some(address) => Self::open(&address, true),
            None => Self::open(SYSTEM, true).or_else(|problem| Self::open(PRIVATE, false).map_err(|_| problem)),
        }
    }

    /// Connects to the first of these addresses that can be; `daemon`: it is a bus's, whom to greet first.
    fn open(addresses: &str, daemon: bool) -> Result<Self, BusError> {
        let mut last = io::Error::other("no address of a socket");
        for address in addresses.split(';').filter_map(parse_address) {
            match address.and_then(|address| UnixStream::connect_addr(&address)) {
                Ok(stream) => {
                    let deadline = Instant::now() + PATIENCE;
                    let mut bus = Self { stream, deadline, serial: 0, daemon, signals: Vec::new() };
                    bus.authenticate()?;
                    if daemon {
                        bus.call(DAEMON, "Hello", "", &Writer::default())?;
                    }
                    return Ok(bus);
                }
                Err(problem) => last = problem,
            }
        }
        Err(BusError::Connect(addresses.to_owned(), last))
    }

    /// By the credentials of the socket. Who it is is left to the other end, who knows it better in a user namespace. All at once, as
    /// sd-bus does: systemd does not look again at a call that comes together with the last line.
    fn authenticate(&mut self) -> Result<(), BusError> {
        const DOING: &str = "authenticating to systemd";
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", DOING)?;
        let mut answer = self.line()?;
        if answer.trim_end() == "DATA" {
            answer = self.line()?;
        }
        if answer.starts_with("OK ") {
            return Ok(());
        }
        Err(BusError::Io(DOING, io::Error::other(crate::json::one_line(&answer))))
    }

    fn line(&mut self) -> Result<String, BusError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.receive(&mut byte)?;
            line.extend(byte);
            if line.len() > MAX_LINE {
                return Err(BusError::Malformed("authenticating to systemd"));
            }
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| BusError::Malformed("authenticating to systemd"))
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "systemd does not answer in time")),
            left => Ok(Some(left)),
        }
    }

    fn send(&mut self, mut bytes: &[u8], doing: &'static str) -> Result<(), BusError> {
        let mut step = || {
            self.stream.set_write_timeout(self.left()?)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(problem) if retry(&problem) => {}
                Err(problem) => return Err(problem),
            }
            Ok(!bytes.is_empty())
        };
        while step().map_err(|problem| BusError::Io(doing, problem))? {}
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<(), BusError> {
        let mut filled = 0;
        let mut step = || {
            self.stream.set_read_timeout(self.left()?)?;
            match self.stream.read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(problem) if retry(&problem) => {}
                Err(problem) => return Err(problem),
            }
            Ok(filled < buffer.len())
        };
        while step().map_err(|problem| BusError::Io("hearing from systemd", problem))? {}
        Ok(())
    }

    fn message(&mut self) -> Result<Message, BusError> {
        const DOING: &str = "hearing from systemd";
        let mut head = [0; HEAD];
        self.receive(&mut head)?;
        let length = wire::length(&head).ok_or(BusError::Malformed(DOING))?;
        let mut bytes = head.to_vec();
        bytes.resize(length, 0);
        self.receive(bytes.get_mut(HEAD..).unwrap_or_default())?;
        Message::parse(&bytes).ok_or(BusError::Malformed(DOING))
    }

    fn call(
        &mut self,
        target: Target<'_>,
        member: &'static str,
        signature: &str,
        body: &Writer,
    ) -> Result<Message, BusError> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&wire::call(serial, target, member, signature, body), member)?;
        loop {
            let message = self.message()?;
            match message.kind {
                Kind::Reply if message.reply_to == Some(serial) => return Ok(message),
                Kind::Error if message.reply_to == Some(serial) => {
                    let text = message.body(&message.signature).and_then(|mut body| body.text()).unwrap_or_default();
                    let (name, text) = (crate::json::one_line(&message.name), crate::json::one_line(&text));
                    return Err(BusError::Refused { name, text });
                }
                Kind::Signal if message.name == "JobRemoved" && self.signals.len() < MAX_SIGNALS => {
                    self.signals.push(message);
                }
                _ => {}
            }
        }
    }

    /// Calls a method of the manager.
    pub(super) fn manager(
        &mut self,
        member: &'static str,
        signature: &str,
        body: &Writer,
    ) -> Result<Message, BusError> {
        self.call(MANAGER, member, signature, body)
    }

    /// A property that is a text, of the object at `path`.
    pub(super) fn property(&mut self, path: &str, interface: &str, name: &str) -> Result<String, BusError> {
        let mut body = Writer::default();
        body.text(interface);
        body.text(name);
        let target = Target { path, interface: "org.freedesktop.DBus.Properties", ..MANAGER };
        let reply = self.call(target, "Get", "ss", &body)?;
        let value = reply.body("v").and_then(|mut body| (body.signature()? == "s").then(|| body.text())?);
        value.ok_or(BusError::Malformed("asking systemd for a property"))
    }

    /// A property of the manager.
    pub(super) fn manager_property(&mut self, name: &str) -> Result<String, BusError> {
        self.property(MANAGER.path, MANAGER.interface, name)
    }

    /// Calls a method of the manager that starts a job for `unit`, and waits for its end: what systemd calls that.
    pub(super) fn job(
        &mut self,
        unit: &str,
        member: &'static str,
        signature: &str,
        body: &Writer,
    ) -> Result<String, BusError> {
        // At the private socket, who started a job is told of it anyway.
        if self.daemon {
            let mut rule = Writer::default();
            rule.text(&format!(
                "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                 interface='org.freedesktop.systemd1.Manager',member='JobRemoved',arg2='{unit}'"
            ));
            self.call(DAEMON, "AddMatch", "s", &rule)?;
        }
        let reply = self.manager(member, signature, body)?;
        let job = reply.body("o").and_then(|mut body| body.text()).ok_or(BusError::Malformed(member))?;
        loop {
            let signal = match self.signals.pop() {
                Some(signal) => signal,
                None => self.message()?,
            };
            // A bus lets others send signals, too, but not in systemd's name.
            if signal.kind != Kind::Signal || signal.name != "JobRemoved" || signal.sender != reply.sender {
                continue;
            }
            let removed = signal.body("uoss").and_then(|mut body| {
                body.u32()?;
                let job = body.text()?;
                body.text()?;
                Some((job, body.text()?))
            });
            match removed {
                Some((removed, result)) if removed == job => return Ok(crate::json::one_line(&result)),
                _ => {}
            }
        }
    }

    /// Sets properties of a unit, until the machine's next start.
    pub(super) fn set(&mut self, unit: &str, properties: &[Property]) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.flag(true);
        body.properties(properties);
        self.manager("SetUnitProperties", "sba(sv)", &body).map(drop)
    }

    /// Lets systemd forget that a unit has failed.
    pub(super) fn forget(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        self.manager("ResetFailedUnit", "s", &body).map(drop)
    }
}

fn retry(problem: &io::Error) -> bool {
    // The deadline ends it, not the time of one call.
    matches!(problem.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// `unix:path=…` or `unix:abstract=…`; none: another kind of address.
fn parse_address(address: &str) -> Option<io::Result<SocketAddr>> {
    for pair in address.strip_prefix("unix:")?.split(',') {
        match pair.split_once('=')? {
            ("path", path) => return Some(SocketAddr::from_pathname(Path::new(&unescape(path)?))),
            ("abstract", name) => return Some(SocketAddr::from_abstract_name(unescape(name)?)),
            _ => {}
        }
    }
    None
}

/// `%` and two digits are a byte.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let path = |text: &str| Some(parse_address(text)?.ok()?.as_pathname()?.display().to_string());
        assert_eq!(path("unix:path=/a/b,guid=00").as_deref(), Some("/a/b"));
        assert_eq!(path("unix:guid=1,path=/a%20b").as_deref(), Some("/a b"));
        let address = parse_address("unix:abstract=/tmp/x").unwrap().unwrap();
        assert_eq!(address.as_abstract_name(), Some(b"/tmp/x".as_slice()));
        for other in ["tcp:host=h,port=1", "unix:tmpdir=/tmp", "unix:", "", "unix:path=%x"] {
            assert!(parse_address(other).is_none(), "{other}");
        }
    }
}
