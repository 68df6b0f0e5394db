//! Where a process's standard input and output come from and go to: containerd's FIFOs, a file, or a program that takes logs.
//!
//! Without a terminal the ends are the process's own: nothing is copied here. So that they live longer than a client (containerd
//! may be restarted), the shim holds the other end of each FIFO: a reader of the outputs, hence no SIGPIPE, and a writer of the
//! input, which `CloseIO` gives up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, pipe2};

use super::command::Stdios;
use super::error::{Doing as _, ShimError};

/// A program that takes logs says within this time that it is ready.
const LOGGER_PATIENCE: Duration = Duration::from_secs(10);

/// As a request names them; empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// A FIFO.
    pub(super) stdin: String,
    /// A FIFO, or `file://` or `binary://`.
    pub(super) stdout: String,
    /// The same.
    pub(super) stderr: String,
    /// All three are a terminal.
    pub(super) terminal: bool,
}

/// Who is to own the process's FIFOs, so that a program without privileges may open its `/dev/stdout` again. 0: as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    /// A user of this machine.
    pub(super) uid: u32,
    /// A group of it.
    pub(super) gid: u32,
}

impl Owner {
    fn take(self, fifo: &OwnedFd, path: &Path) -> Result<(), ShimError> {
        if self == Self::default() {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        nix::unistd::fchown(fifo, Some(uid), Some(gid)).doing(format!("giving {} its owner", path.display()))
    }
}

/// What the shim itself holds while the process lives.
#[derive(Debug, Default)]
pub(super) struct Held {
    input: Option<OwnedFd>,
    others: Vec<OwnedFd>,
    logger: Option<i32>,
}

impl Held {
    /// The process gets to see the end of its input as soon as the client has closed it too.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// After the process's end.
    pub(super) fn release(&mut self) {
        self.input = None;
        self.others.clear();
        // It has been given the end of its input, and what it has to do still is done in its own time.
        self.logger = None;
    }

    /// When the process never came to be.
    pub(super) fn abort(&mut self) {
        if let Some(logger) = self.logger {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(logger), Signal::SIGTERM);
        }
        self.release();
    }
}

enum Target {
    Nothing,
    Fifo(PathBuf),
    File(PathBuf),
    Program(PathBuf, Vec<String>),
}

impl Target {
    fn parse(name: &str) -> Result<Self, ShimError> {
        let (scheme, rest) = match name.split_once("://") {
            Some(split) => split,
            None if name.is_empty() => return Ok(Self::Nothing),
            None => ("fifo", name),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(unescape(path));
        if !path.is_absolute() {
            return Err(ShimError::Invalid(format!("standard output {name:?}: its path is not absolute")));
        }
        match scheme {
            "fifo" => Ok(Self::Fifo(path)),
            "file" => Ok(Self::File(path)),
            "binary" => {
                let words = query.split('&').filter(|pair| !pair.is_empty()).flat_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    [unescape(key), unescape(value)].into_iter().filter(|word| !word.is_empty())
                });
                Ok(Self::Program(path, words.collect()))
            }
            _ => Err(ShimError::Invalid(format!("standard output {name:?}: use a FIFO, file:// or binary://"))),
        }
    }
}

/// `%41` and `+` of a URL.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = rest.clone();
        let hex: Vec<u8> = digits.take(2).filter(u8::is_ascii_hexdigit).collect();
        let value = std::str::from_utf8(&hex).ok().filter(|hex| hex.len() == 2);
        match (byte, value.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest.nth(1);
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Opens what `names` says: the process's ends, and what is to be held. With a terminal all three are for its relay.
pub(super) fn open(names: &Names, namespace: &str, id: &str, owner: Owner) -> Result<(Stdios, Held), ShimError> {
    let mut held = Held::default();
    let stdin = match Target::parse(&names.stdin)? {
        Target::Nothing => None,
        Target::Fifo(path) => {
            let reader = fifo(&path, OFlag::O_RDONLY, names.terminal)?;
            if !names.terminal {
                owner.take(&reader, &path)?;
            }
            held.input = Some(fifo(&path, OFlag::O_WRONLY, true)?);
            Some(reader)
        }
        _ => return Err(ShimError::Invalid(format!("standard input {:?}: use a FIFO", names.stdin))),
    };
    let mut output = |name: &str| -> Result<Option<OwnedFd>, ShimError> {
        match Target::parse(name)? {
            Target::Nothing => Ok(None),
            Target::Fifo(path) => {
                held.others.push(fifo(&path, OFlag::O_RDONLY, true)?);
                let end = fifo(&path, OFlag::O_WRONLY, names.terminal)?;
                if !names.terminal {
                    owner.take(&end, &path)?;
                }
                Ok(Some(end))
            }
            Target::File(path) => append(&path).map(Some),
            Target::Program(..) => Err(ShimError::Invalid(format!("{name:?} for one stream alone"))),
        }
    };
    let outputs = match Target::parse(&names.stdout)? {
        Target::Program(path, args) => {
            let logger = start_logger(&path, &args, namespace, id)?;
            held.logger = Some(logger.pid);
            Ok((Some(logger.stdout), Some(logger.stderr)))
        }
        _ => output(&names.stdout).and_then(|stdout| {
            let stderr = if names.terminal { None } else { output(&names.stderr)? };
            Ok((stdout, stderr))
        }),
    };
    let (stdout, stderr) = outputs?;
    Ok(([stdin, stdout, stderr], held))
}

fn fifo(path: &Path, mode: OFlag, nonblocking: bool) -> Result<OwnedFd, ShimError> {
    let what = || format!("opening {}", path.display());
    let mut options = OpenOptions::new();
    options.read(mode == OFlag::O_RDONLY).write(mode == OFlag::O_WRONLY).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).doing(what())?;
    if !file.metadata().doing(what())?.file_type().is_fifo() {
        return Err(ShimError::Invalid(format!("{} is not a FIFO", path.display())));
    }
    if !nonblocking {
        fcntl(&file, FcntlArg::F_SETFL(mode)).doing(what())?;
    }
    Ok(file.into())
}

fn append(path: &Path) -> Result<OwnedFd, ShimError> {
    let what = || format!("opening {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).doing(what())?;
    }
    Ok(OpenOptions::new().append(true).create(true).open(path).doing(what())?.into())
}

struct Logger {
    pid: i32,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Starts a program that reads the outputs at 3 and 4 and closes 5 when it is ready.
fn start_logger(path: &Path, args: &[String], namespace: &str, id: &str) -> Result<Logger, ShimError> {
    let what = || format!("starting {}", path.display());
    let pipe = || pipe2(OFlag::O_CLOEXEC).doing(what());
    let ((out_reader, stdout), (err_reader, stderr), (ready, ready_writer)) = (pipe()?, pipe()?, pipe()?);
    let mut command = Command::new(path);
    command.args(args).env("CONTAINER_ID", id).env("CONTAINER_NAMESPACE", namespace);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    crate::sys::pass_descriptors(&mut command, vec![out_reader, err_reader, ready_writer]).doing(what())?;
    let child = command.spawn().doing(what())?;
    drop(command);
    let logger = Logger { pid: i32::try_from(child.id()).unwrap_or(-1), stdout, stderr };
    let patience = PollTimeout::try_from(LOGGER_PATIENCE).unwrap_or(PollTimeout::MAX);
    let told = poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(&ready), PollFlags::POLLIN)], patience);
    if told.doing(what())? == 0 {
        let _ = kill(Pid::from_raw(logger.pid), Signal::SIGKILL);
        return Err(ShimError::io(what())(io::Error::new(
            io::ErrorKind::TimedOut,
            "it did not say in time that it is ready",
        )));
    }
    // A byte or the end: either will do.
    let _ = File::from(ready).read(&mut [0]);
    Ok(logger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(unescape("/a%20b+c%zz%4"), "/a b c%zz%4");
        assert!(matches!(Target::parse("").unwrap(), Target::Nothing));
        assert!(matches!(Target::parse("/f").unwrap(), Target::Fifo(path) if path == Path::new("/f")));
        assert!(matches!(Target::parse("fifo:///f").unwrap(), Target::Fifo(path) if path == Path::new("/f")));
        let Target::Program(path, words) = Target::parse("binary:///bin/l?a=1&b&c=x%3d").unwrap() else { panic!() };
        assert_eq!((path, words.join(" ")), ("/bin/l".into(), "a 1 b c x=".to_owned()));
        for bad in ["f", "file://f", "http://x/y", "binary://"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fifos_live_as_long_as_they_are_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        for name in ["in", "out"] {
            nix::unistd::mkfifo(Path::new(&path(name)), mode).unwrap();
        }
        let names = Names { stdin: path("in"), stdout: path("out"), ..Names::default() };
        let ([stdin, stdout, stderr], mut held) = open(&names, "n", "i", Owner { uid: 0, gid: 7 }).unwrap();
        if nix::unistd::geteuid().is_root() {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(["in", "out"].map(|name| fs::metadata(path(name)).unwrap().gid()), [7, 7]);
        }
        assert!(stderr.is_none());
        // No reader but the one held, and no SIGPIPE.
        nix::unistd::write(stdout.unwrap(), b"x").unwrap();
        held.close_input();
        assert_eq!(nix::unistd::read(stdin.unwrap(), &mut [0]), Ok(0));
        let file = Names { stdout: path("in/none"), ..Names::default() };
        assert!(open(&file, "n", "i", Owner::default()).is_err());
        fs::write(dir.path().join("plain"), "").unwrap();
        assert!(open(&Names { stdout: path("plain"), ..Names::default() }, "n", "i", Owner::default()).is_err());
    }
}
