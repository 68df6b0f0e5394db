//! Trees of the kernel host that sandboxes may have: `--export NAME=PATH[:ro]`, each use served by a gofer of its own.

use super::sandbox::GoferStream;
use rsc_gofer::{GoferConfig, Program, SpawnError, spawn};
use std::path::PathBuf;
use std::str::FromStr;
use tokio::signal::unix::{SignalKind, signal};

/// A tree on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What sandboxes and token files call it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Nobody may change it.
    pub read_only: bool,
}

impl FromStr for Export {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |problem: &str| format!("{problem}; write NAME=PATH or NAME=PATH:ro");
        let (name, path) = text.split_once('=').ok_or_else(|| wrong("no name"))?;
        let (path, read_only) = match path.strip_suffix(":ro") {
            Some(path) => (path, true),
            None => (path, false),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            return Err(wrong("a name is made of letters, digits, '.', '_' and '-'"));
        }
        if !path.starts_with('/') {
            return Err(wrong("the path is not absolute"));
        }
        Ok(Export { name: name.to_owned(), path: PathBuf::from(path), read_only })
    }
}

/// The network of sandboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Net {
    /// A loopback of their own.
    None,
    /// The network namespace of the sentry.
    Host,
    /// The network namespace which is bound to this path.
    Path(PathBuf),
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Net::None),
            "host" => Ok(Net::Host),
            path if path.starts_with('/') => Ok(Net::Path(path.into())),
            _ => Err("write none, host or the absolute path of a network namespace".into()),
        }
    }
}

/// Why an export can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No gofer.
    #[error("cannot serve export {name}: {source}")]
    Spawn {
        /// The export.
        name: String,
        /// The cause.
        source: SpawnError,
    },
    /// The sentry's own program can't be found.
    #[error("cannot serve export {name}: the path of the sentry's program is unknown: {source}")]
    Program {
        /// The export.
        name: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Starts a gofer for an export: this very program again, as `sentry gofer`. It ends when the stream is closed. Must be called
/// inside a tokio `LocalRuntime` or `LocalSet`, where the process is reaped.
pub fn start_export(export: &Export) -> Result<GoferStream, ExportError> {
    let program =
        std::env::current_exe().map_err(|source| ExportError::Program { name: export.name.clone(), source })?;
    let config = GoferConfig {
        root: export.path.clone(),
        read_only: export.read_only,
        program: Program::Command(program, vec!["gofer".into()]),
        ..GoferConfig::default()
    };
    let mut gofer = spawn(&config).map_err(|source| ExportError::Spawn { name: export.name.clone(), source })?;
    tokio::task::spawn_local(async move {
        let Ok(mut children) = signal(SignalKind::child()) else { return };
        // Asked first: it may have ended before the signal was watched for.
        while let Ok(None) = gofer.child.try_wait() {
            if children.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(GoferStream::Local(gofer.socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_name_path_and_ro() {
        let export: Export = "debian=/srv/debian:ro".parse().unwrap();
        assert_eq!(export, Export { name: "debian".into(), path: "/srv/debian".into(), read_only: true });
        assert!(!"a=/b".parse::<Export>().unwrap().read_only);
        for bad in ["", "a", "=/b", "a=b", "a b=/c", "a="] {
            assert!(bad.parse::<Export>().unwrap_err().contains("write NAME=PATH"), "{bad}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!("host".parse(), Ok(Net::Host));
        assert_eq!("/run/netns/x".parse(), Ok(Net::Path("/run/netns/x".into())));
        assert!("bridge".parse::<Net>().is_err());
    }
}
