//! What a running sentry, its starter and the helpers really hold: capabilities, filters, descriptors. Needs root.

use rsc_proto::table;
use rsc_proto::transport::{Dialer, PROTOCOL_VERSION, build};
use rsc_proto::v1::{self, down, root, up};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const SENTRY: &str = env!("CARGO_BIN_EXE_sentry");
const PATIENCE: Duration = Duration::from_secs(60);

/// CAP_SETGID, CAP_SETUID, CAP_SETFCAP.
const MAPPING: u64 = 1 << 6 | 1 << 7 | 1 << 31;
/// CAP_NET_BIND_SERVICE.
const PORTS: u64 = 1 << 10;
/// What a gofer keeps, in its own user namespace.
const GOFER: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A process, by its `/proc`.
struct Seen(PathBuf);

impl Seen {
    fn of(pid: u32) -> Self {
        Seen(format!("/proc/{pid}").into())
    }

    fn status(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.0.join("status")).unwrap();
        text.lines().filter_map(|l| l.split_once(":\t")).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
    }

    /// Asserts what it may do.
    fn holds(&self, what: &str, capabilities: u64) {
        let status = self.status();
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(u64::from_str_radix(&status[set], 16), Ok(capabilities), "{what}: {set}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&status[set], 16), Ok(0), "{what}: {set}");
        }
        assert_eq!((&status["NoNewPrivs"][..], &status["Seccomp"][..]), ("1", "2"), "{what}");
        assert_eq!(status["Threads"], "1", "{what}: threads would have to be confined as well");
        let limits = std::fs::read_to_string(self.0.join("limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "{what}");
    }

    /// The kinds of its descriptors: socket, pipe, file names.
    fn descriptors(&self) -> BTreeMap<u32, String> {
        let entries = std::fs::read_dir(self.0.join("fd")).unwrap();
        let kind = |path: &Path| {
            let target = std::fs::read_link(path).unwrap().display().to_string();
            target.split_once(":[").filter(|(kind, _)| *kind == "socket").map_or(target.clone(), |(k, _)| k.to_owned())
        };
        let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        entries.map(|entry| entry.unwrap().path()).map(|path| (number(&path), kind(&path))).collect()
    }

    fn children(&self) -> Vec<u32> {
        let pid = self.0.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(self.0.join(format!("task/{pid}/children"))).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn only_child(&self) -> Seen {
        match self.children()[..] {
            [child] => Seen::of(child),
            ref others => panic!("{others:?}"),
        }
    }
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A sentry that is killed at the latest when the test ends.
struct Running(Child);

impl Running {
    fn seen(&self) -> Seen {
        Seen::of(self.0.id())
    }

    fn wait(&mut self) -> ExitStatus {
        until("the sentry does not end", || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `sentry serve` with these arguments and waits until it says that it is ready.
fn serve(dir: &Path, args: &[&str]) -> (Running, UnixDatagram) {
    let manager = UnixDatagram::bind(dir.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    // With a descriptor too many.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"exec "$0" serve "$@" 7</dev/null"#, SENTRY]).args(args);
    command.env("NOTIFY_SOCKET", dir.join("notify")).stdin(Stdio::null()).stdout(Stdio::null());
    let sentry = Running(command.spawn().unwrap());
    assert_eq!(hear(&manager), "READY=1");
    (sentry, manager)
}

fn hear(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 100];
    let n = manager.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..n]).trim().to_owned()
}

fn open(export: &str) -> v1::Hello {
    let process = v1::Process { args: vec!["/program".into()], cwd: "/".into(), ..v1::Process::default() };
    let sandbox = v1::Sandbox {
        id: "confined".into(),
        process: Some(process),
        root: Some(v1::Root { source: Some(root::Source::Export(export.into())), readonly: false }),
        ..v1::Sandbox::default()
    };
    v1::Hello {
        protocol: PROTOCOL_VERSION,
        table_digest: table::digest().to_vec().into(),
        build: build(),
        sandbox: Some(sandbox),
        ..v1::Hello::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A session: what keeps it open, and its Welcome.
async fn session(dialer: &Dialer, hello: v1::Hello) -> (tokio::sync::mpsc::Sender<v1::Up>, tonic::Streaming<v1::Down>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    sender.send(v1::Up { seq: 0, ack: 0, body: Some(up::Body::Hello(hello)) }).await.unwrap();
    let mut client = dialer.session().await.unwrap();
    let reply = client.attach(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.unwrap();
    let mut down = reply.into_inner();
    let first = down.message().await.unwrap().unwrap();
    assert!(matches!(first.body, Some(down::Body::Welcome(_))), "{first:?}");
    (sender, down)
}

/// What a sentry may have open besides its standard descriptors.
const KNOWN: [&str; 3] = ["socket", "anon_inode:[eventpoll]", "anon_inode:[eventfd]"];

#[test]
fn a_listening_sentry_holds_what_the_documentation_says() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("program"), "#!/program\n").unwrap();
    std::fs::set_permissions(tree.join("program"), Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("socket");
    let export = format!("tree={}", tree.display());
    let (mut sentry, manager) =
        serve(dir.path(), &["--unix", path.to_str().unwrap(), "--export", &export, "--drain-grace", "0"]);
    sentry.seen().holds("the sentry", 0);
    let starter = sentry.seen().only_child();
    starter.holds("the starter", MAPPING);
    let fds: BTreeSet<_> = starter.descriptors().into_iter().filter(|(fd, _)| *fd > 2).map(|(_, k)| k).collect();
    assert_eq!(fds, BTreeSet::from(["socket".into(), "anon_inode:[signalfd]".into()]));

    // A session on a kernel that can still do its work: the starter starts a gofer.
    let url = format!("unix://{}", path.display()).parse().unwrap();
    let runtime = runtime();
    let session = runtime.block_on(session(&Dialer::new(url, None, None).unwrap(), open("tree")));
    let gofer = starter.only_child();
    assert_eq!(u64::from_str_radix(&gofer.status()["CapBnd"], 16), Ok(GOFER));
    let fds = sentry.seen().descriptors();
    assert!(fds.iter().all(|(fd, kind)| *fd < 3 || KNOWN.contains(&kind.as_str())), "{fds:?}");

    drop(session);
    drop(runtime);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(sentry.0.id() as i32), nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(hear(&manager), "STOPPING=1");
    assert!(sentry.wait().success());
    assert!(!path.exists(), "the socket's path is left");
    assert!(!starter.0.join("status").exists(), "the starter is left");
}

#[test]
fn the_network_of_the_command_line_decides_what_the_starter_keeps() {
    if !is_root() {
        return;
    }
    for (net, kept) in [("none", 0), ("host", PORTS), ("/proc/self/ns/net", PORTS)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let (sentry, _manager) = serve(dir.path(), &["--unix", path.to_str().unwrap(), "--net", net]);
        sentry.seen().holds("the sentry", 0);
        sentry.seen().only_child().holds("the starter", kept);
    }
}

#[test]
fn an_embedded_sentry_holds_its_session_and_nothing_else() {
    if !is_root() {
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"exec "$0" serve --session-fd 3 3<&0 </dev/null 7</dev/null"#, SENTRY]);
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
    let mut sentry = Running(command.spawn().unwrap());
    drop(command);
    until("the sentry does not confine itself", || {
        let status = sentry.seen().status();
        (status["Name"] == "sentry" && status["Seccomp"] == "2" && status["Seccomp_filters"] == "2").then_some(())
    });
    sentry.seen().holds("the sentry", 0);
    sentry.seen().only_child().holds("the starter", 0);
    let fds = sentry.seen().descriptors();
    assert!(fds.iter().all(|(fd, kind)| *fd < 3 || KNOWN.contains(&kind.as_str())), "{fds:?}");
    drop(ours);
    assert!(sentry.wait().success());
}

#[test]
fn a_sentry_that_can_not_confine_itself_does_not_serve() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let mut command = Command::new(SENTRY);
    command.args(["serve", "--net", "/nonexistent/namespace", "--unix"]).arg(&path);
    let output = command.output().unwrap();
    assert!(!output.status.success() && !path.exists());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot enter the network namespace /nonexistent/namespace"), "{said}");
}
