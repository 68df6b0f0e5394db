//! `install` and `uninstall`: make a container tool know rsc, and forget it again.
//!
//! Files are changed as texts: one piece is put in, the same piece is taken out, and every other byte stays. Before and after, the
//! text must be what its format demands.

mod json;
mod toml;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rsc_oci::state::write_atomically;

/// A file of settings is not larger.
const MAX_FILE: u64 = 4 << 20;

/// A tool that runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// containerd, for Kubernetes: a runtime of its CRI plugin, through containerd-shim-rsc-v1
    Containerd,
    /// Docker: a runtime in daemon.json
    Docker,
    /// Podman: a file in containers.conf.d
    Podman,
    /// CRI-O: a file in crio.conf.d
    #[value(name = "cri-o", alias = "crio")]
    CriO,
}

impl Client {
    fn default_file(self) -> &'static str {
        match self {
            Self::Containerd => "/etc/containerd/config.toml",
            Self::Docker => "/etc/docker/daemon.json",
            Self::Podman => "/etc/containers/containers.conf.d/50-rsc.conf",
            Self::CriO => "/etc/crio/crio.conf.d/50-rsc.conf",
        }
    }

    fn afterwards(self) -> &'static str {
        match self {
            Self::Containerd => "restart containerd for it to take effect",
            Self::Docker => "restart or reload docker for it to take effect",
            Self::Podman => "it has effect at once",
            Self::CriO => "restart crio for it to take effect",
        }
    }
}

/// What is to be installed where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For whom.
    pub client: Client,
    /// Its file; none: the usual one.
    pub file: Option<PathBuf>,
    /// The runtime's name there.
    pub name: String,
    /// The folder of `rsc-runtime` and `containerd-shim-rsc-v1`.
    pub programs: PathBuf,
    /// Change the file, rather than say how.
    pub write: bool,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A name that would have to be quoted.
    #[error("runtime name {0:?}: use lower-case letters, digits and -")]
    Name(String),
    /// A path that can't be written into a file of settings.
    #[error("{0}: the path holds characters that no configuration can")]
    Path(PathBuf),
    /// Not there.
    #[error("{0} is not there; install it beside rsc-runtime")]
    Missing(PathBuf),
    /// The file is not what it should be.
    #[error("{file}: {problem}")]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The operating system.
    #[error("{doing} {file}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        file: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// What is to become of a file.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// It is so already.
    None,
    /// This is its text from now on; the piece is what is put in or taken out.
    Text { text: String, piece: String },
    /// It goes.
    Remove,
}

/// Makes the client know the runtime; what to tell the user.
pub fn install(plan: &Plan) -> Result<String, InstallError> {
    act(plan, true)
}

/// Makes it forget what [`install`] has told it.
pub fn uninstall(plan: &Plan) -> Result<String, InstallError> {
    act(plan, false)
}

fn act(plan: &Plan, install: bool) -> Result<String, InstallError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if plan.name.is_empty() || plan.name.len() > 64 || !plan.name.chars().all(allowed) || plan.name.starts_with('-') {
        return Err(InstallError::Name(plan.name.clone()));
    }
    let given = plan.file.clone().unwrap_or_else(|| plan.client.default_file().into());
    // What a link names is changed, not the link.
    let file = given.canonicalize().unwrap_or(given);
    let text = read(&file)?;
    let change = change(plan, text.as_deref(), install)
        .map_err(|problem| problem.unwrap_or_else(|problem| InstallError::File { file: file.clone(), problem }))?;
    let (verb, would) = if install { ("added to", "would add to") } else { ("removed from", "would remove from") };
    let then = plan.client.afterwards();
    let shown = file.display();
    match change {
        Change::None if install => Ok(format!("{shown}: runtime {} is there already\n", plan.name)),
        Change::None => Ok(format!("{shown}: there is no runtime {}\n", plan.name)),
        Change::Text { piece, .. } if !plan.write => Ok(format!(
            "{would} {shown}:\n\n{}\n\nnothing is changed; --write makes the change\n",
            piece.trim_matches('\n')
        )),
        Change::Remove if !plan.write => {
            Ok(format!("would remove {shown}\n\nnothing is changed; --write makes the change\n"))
        }
        Change::Text { text, .. } => {
            write(&file, &text)?;
            Ok(format!("{verb} {shown}: runtime {}; {then}\n", plan.name))
        }
        Change::Remove => {
            fs::remove_file(&file).map_err(failed("removing", &file))?;
            Ok(format!("removed {shown}; {then}\n"))
        }
    }
}

/// An error of ours, or what is wrong with the file.
type Problem = Result<InstallError, String>;

fn change(plan: &Plan, text: Option<&str>, install: bool) -> Result<Change, Problem> {
    let path = |name: &str| -> Result<String, Problem> {
        let path = plan.programs.join(name);
        let text = path.to_str().filter(|text| !text.chars().any(|c| c.is_control() || c == '"' || c == '\\'));
        match text {
            None => Err(Ok(InstallError::Path(path))),
            Some(_) if install && !path.is_file() => Err(Ok(InstallError::Missing(path))),
            Some(text) => Ok(text.to_owned()),
        }
    };
    let name = &plan.name;
    match plan.client {
        Client::Docker if install => json::install(text, name, &path("rsc-runtime")?).map_err(Err),
        Client::Docker => json::uninstall(text, name).map_err(Err),
        Client::Containerd => {
            let shim = path("containerd-shim-rsc-v1")?;
            if install {
                toml::install(text, name, &shim).map_err(Err)
            } else {
                toml::uninstall(text, name).map_err(Err)
            }
        }
        Client::Podman => {
            let body = format!("[engine.runtimes]\n{name} = [\"{}\"]\n", path("rsc-runtime")?);
            drop_in(text, &body, install).map_err(Err)
        }
        Client::CriO => {
            let runtime = path("rsc-runtime")?;
            let body = format!(
                "[crio.runtime.runtimes.{name}]\nruntime_path = \"{runtime}\"\nruntime_type = \"oci\"\nruntime_root = \"/run/rsc\"\n"
            );
            drop_in(text, &body, install).map_err(Err)
        }
    }
}

/// How a file of ours alone begins.
const MARK: &str = "# Written by rsc-runtime install; rsc-runtime uninstall removes it.\n";

fn drop_in(text: Option<&str>, body: &str, install: bool) -> Result<Change, String> {
    let whole = format!("{MARK}{body}");
    match text {
        Some(text) if text == whole => Ok(if install { Change::None } else { Change::Remove }),
        Some(text) if !text.starts_with(MARK) => {
            Err("is not of rsc-runtime's making; give another with --file".to_owned())
        }
        Some(_) if !install => Ok(Change::Remove),
        None if !install => Ok(Change::None),
        _ => Ok(Change::Text { piece: whole.clone(), text: whole }),
    }
}

fn failed(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let file = file.to_owned();
    move |source| InstallError::Io { doing, file, source }
}

fn read(file: &Path) -> Result<Option<String>, InstallError> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_FILE => {
            Err(InstallError::File { file: file.to_owned(), problem: "is too large for a file of settings".to_owned() })
        }
        Ok(_) => fs::read_to_string(file).map(Some).map_err(failed("reading", file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading", file)(error)),
    }
}

fn write(file: &Path, text: &str) -> Result<(), InstallError> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed("creating the folder of", file))?;
    }
    let before = fs::metadata(file).ok();
    write_atomically(file, text.as_bytes()).map_err(failed("writing", file))?;
    match before {
        Some(before) => fs::set_permissions(file, before.permissions()).map_err(failed("setting the mode of", file)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(client: Client, dir: &Path) -> Plan {
        for program in ["rsc-runtime", "containerd-shim-rsc-v1"] {
            fs::write(dir.join(program), "").unwrap();
        }
        Plan { client, file: Some(dir.join("d/file")), name: "rsc".to_owned(), programs: dir.to_owned(), write: true }
    }

    #[test]
    fn in_and_out_again() {
        let docker = "{\n\t\"debug\": true,\n\t\"runtimes\": {\"x\": {\"path\": \"/x\"}}}";
        let containerd =
            "# mine\nversion = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd] # here\n  a = 1\n# end";
        for (client, texts) in [
            (Client::Docker, vec![docker, "{}", "{ }\n", "{\"a\":{\"runtimes\":{}}}", "{\"runtimes\":{}}\n"]),
            (Client::Containerd, vec![containerd, "version = 3\n", "version = 2"]),
            (Client::Podman, vec![]),
            (Client::CriO, vec![]),
        ] {
            for text in texts.into_iter().map(Some).chain([None]) {
                let dir = tempfile::tempdir().unwrap();
                let plan = plan(client, dir.path());
                let file = dir.path().join("d/file");
                if let Some(text) = text {
                    fs::create_dir(dir.path().join("d")).unwrap();
                    fs::write(&file, text).unwrap();
                }
                install(&Plan { write: false, ..plan.clone() }).unwrap();
                assert_eq!(fs::read_to_string(&file).ok().as_deref(), text, "{client:?}");
                install(&plan).unwrap();
                let first = fs::read_to_string(&file).unwrap();
                assert!(first.contains("rsc"), "{first}");
                assert!(install(&plan).unwrap().contains("already"), "{first}");
                assert_eq!(fs::read_to_string(&file).unwrap(), first);
                uninstall(&plan).unwrap();
                assert_eq!(fs::read_to_string(&file).ok().as_deref(), text, "{client:?}: {first}");
                assert!(uninstall(&plan).unwrap().contains("no runtime"));
            }
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        let file = dir.path().join("d/file");
        for (client, text) in [
            (Client::Podman, "[engine]\n"),
            (Client::CriO, "x"),
            (Client::Docker, "{"),
            (Client::Docker, "[]"),
            (Client::Docker, "{\"runtimes\": 1}"),
            (Client::Docker, "{\"runtimes\": {\"rsc\": {\"path\": \"/other\"}}}"),
            (Client::Containerd, "version = 2\n["),
            (Client::Containerd, "a = 1\n"),
            (Client::Containerd, "version = 9\n"),
            (Client::Containerd, "version = 2\nplugins = 1\n"),
            (
                Client::Containerd,
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.rsc]\na = 1\n",
            ),
        ] {
            fs::write(&file, text).unwrap();
            let plan = plan(client, dir.path());
            let refused = install(&plan).unwrap_err().to_string();
            assert!(refused.contains("d/file: "), "{text}: {refused}");
            // There may be nothing to remove; but nothing is removed.
            let _ = uninstall(&plan);
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn names_and_programs() {
        let dir = tempfile::tempdir().unwrap();
        let good = plan(Client::Docker, dir.path());
        for name in ["", "A", "a b", "-a", "a.b"] {
            assert!(matches!(install(&Plan { name: name.to_owned(), ..good.clone() }), Err(InstallError::Name(_))));
        }
        let nowhere = Plan { programs: "/nonexistent".into(), ..good.clone() };
        assert!(matches!(install(&nowhere), Err(InstallError::Missing(_))));
        let strange = Plan { programs: "/a\"b".into(), ..good };
        assert!(matches!(install(&strange), Err(InstallError::Path(_))));
    }
}
