//! Trees of the kernel host that sandboxes may have: `--export NAME=PATH[:ro]`, each use served by a gofer of its own, which the
//! [`Starter`](crate::confine::starter::Starter) starts.

use std::path::PathBuf;
use std::str::FromStr;

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
    /// None of that name.
    #[error("there is no export {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The process that starts gofers does not take the request.
    #[error("cannot serve export {name}: asking the starter of gofers: {source}")]
    Starter {
        /// The export.
        name: String,
        /// The cause.
        source: std::io::Error,
    },
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
