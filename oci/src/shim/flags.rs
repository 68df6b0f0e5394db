//! The command line that containerd gives to a shim: Go's flags (`-name value`, `-name=value`, one dash or two), then an action.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the shim is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Action {
    /// Serve a socket that is standard input.
    #[default]
    Serve,
    /// Start the shim of a container, or find the one of its pod; print its address.
    Start,
    /// Remove what a dead shim has left of a container; print how it ended.
    Delete,
    /// Print a version.
    Version,
    /// Print what this shim is, as containerd's RuntimeInfo.
    Info,
}

/// The command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// What to do.
    pub(super) action: Action,
    /// containerd's namespace of the container.
    pub(super) namespace: String,
    /// The container.
    pub(super) id: String,
    /// containerd's own socket.
    pub(super) address: String,
    /// Folder of the container; none: the working directory.
    pub(super) bundle: Option<PathBuf>,
    /// Say more.
    pub(super) debug: bool,
}

/// Why a command line is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum FlagError {
    /// Not one of containerd's.
    #[error("unknown flag {0:?}; a shim is started by containerd")]
    Unknown(String),
    /// A flag at the end.
    #[error("flag -{0} needs a value")]
    NoValue(String),
    /// Neither start nor delete.
    #[error("unknown action {0:?}; there are start and delete")]
    Action(String),
    /// Bytes.
    #[error("an argument is not UTF-8")]
    Encoding,
}

impl Flags {
    /// Parses what follows the program's name.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        let mut args = args.into_iter().map(|arg| arg.into_string().map_err(|_| FlagError::Encoding));
        while let Some(arg) = args.next().transpose()? {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                flags.action = match arg.as_str() {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    _ => return Err(FlagError::Action(arg)),
                };
                continue;
            };
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let on = given.as_deref().is_none_or(|value| value == "true" || value == "1");
            match name {
                "debug" => flags.debug = on,
                "v" if on => flags.action = Action::Version,
                "info" if on => flags.action = Action::Info,
                "v" | "info" => {}
                "namespace" | "id" | "address" | "bundle" | "publish-binary" | "socket" => {
                    let value = match given {
                        Some(value) => value,
                        None => args.next().transpose()?.ok_or_else(|| FlagError::NoValue(name.to_owned()))?,
                    };
                    match name {
                        "namespace" => flags.namespace = value,
                        "id" => flags.id = value,
                        "address" => flags.address = value,
                        "bundle" => flags.bundle = Some(value.into()),
                        // Ways of older containerds to publish events, and of none to name the socket.
                        _ => {}
                    }
                }
                _ => return Err(FlagError::Unknown(arg)),
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, FlagError> {
        Flags::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn as_containerd_calls() {
        let flags =
            parse("-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id x -debug start");
        let expected = Flags {
            action: Action::Start,
            namespace: "k8s.io".to_owned(),
            id: "x".to_owned(),
            address: "/run/c.sock".to_owned(),
            bundle: None,
            debug: true,
        };
        assert_eq!(flags, Ok(expected));
        let flags = parse("--id=y --debug=false -bundle /b delete").unwrap();
        assert_eq!((flags.action, flags.debug, flags.bundle), (Action::Delete, false, Some("/b".into())));
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("").unwrap().action, Action::Serve);
    }

    #[test]
    fn refuses_others() {
        assert_eq!(parse("-x"), Err(FlagError::Unknown("-x".to_owned())));
        assert_eq!(parse("stop"), Err(FlagError::Action("stop".to_owned())));
        assert_eq!(parse("-id"), Err(FlagError::NoValue("id".to_owned())));
    }
}
