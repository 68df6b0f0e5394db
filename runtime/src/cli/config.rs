//! The host's configuration, `/etc/rsc/config.toml`: settings for containers for which neither flag, environment nor annotation
//! says otherwise, and which annotations a bundle may set.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rsc_oci::annotations::{Name, Permitted};
use rsc_oci::{Loss, Placement, Platform};
use rsc_proto::transport::SentryUrl;
use serde::{Deserialize, Deserializer, de};

/// Read when `--config` names no other. Not to be had from the environment, which daemons pass on from others.
const DEFAULT: &str = "/etc/rsc/config.toml";
/// A configuration is never larger.
const MAX: u64 = 64 << 10;

/// What the file says; everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostConfig {
    /// Address of the sentry.
    #[serde(deserialize_with = "sentry")]
    #[serde(default)]
    pub sentry: Option<String>,
    /// How to trap.
    pub platform: Option<Platform>,
    /// Where calls are carried out.
    pub placement: Option<Placement>,
    /// File with the token for the sentry.
    #[serde(deserialize_with = "absolute")]
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities that may vouch for it.
    #[serde(deserialize_with = "absolute")]
    #[serde(default)]
    pub tls_ca: Option<PathBuf>,
    /// Our certificate.
    #[serde(deserialize_with = "absolute")]
    #[serde(default)]
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    #[serde(deserialize_with = "absolute")]
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    /// What a lost session does.
    pub on_loss: Option<Loss>,
    /// Seconds until a broken session is lost.
    pub loss_grace: Option<u64>,
    /// Which annotations a bundle may set.
    #[serde(default)]
    pub annotations: AnnotationRules,
}

/// The table `[annotations]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AnnotationRules {
    /// All that are permitted, and no others; left out: those that choose neither a sentry nor a root.
    pub allow: Option<Vec<Name>>,
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("host configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("host configuration {path}, line {line}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
}

impl HostConfig {
    /// Reads the file that `--config` names, or else the default one, which need not exist.
    pub fn load(given: Option<&Path>) -> Result<Self, ConfigError> {
        let path = given.unwrap_or(Path::new(DEFAULT));
        match read(path) {
            Ok(text) => {
                parse(&text).map_err(|(line, problem)| ConfigError::Content { path: path.to_owned(), line, problem })
            }
            Err(error) if given.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Which annotations a bundle may set.
    pub fn permitted(&self) -> Permitted {
        match &self.annotations.allow {
            Some(names) => Permitted::only(names.iter().copied()),
            None => Permitted::default(),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    // A FIFO in its place must not hang us, hence the look before the opening.
    let found = path.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other("others than its owner can write to it; chmod go-w"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX {
        return Err(io::Error::other(format!("larger than {MAX} bytes")));
    }
    Ok(text)
}

/// The configuration, or the line and what is wrong with it.
fn parse(text: &str) -> Result<HostConfig, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        (before.matches('\n').count() + 1, error.message().lines().collect::<Vec<_>>().join(" "))
    })
}

fn absolute<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.is_absolute() {
        return Ok(Some(path));
    }
    Err(de::Error::custom(format!("{:?} is not an absolute path", path.display().to_string())))
}

fn sentry<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let url = String::deserialize(from)?;
    url.parse::<SentryUrl>().map_err(de::Error::custom)?;
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn everything() {
        let config = parse(
            r#"
            sentry = "tcp://kernel:7000"
            platform = "ptrace"
            placement = "strict"
            token-file = "/etc/rsc/token"
            tls-ca = "/etc/rsc/ca.pem"
            tls-cert = "/etc/rsc/cert.pem"
            tls-key = "/etc/rsc/key.pem"
            on-loss = "freeze"
            loss-grace = 5
            [annotations]
            allow = ["dev.rsc.rootfs", "dev.rsc.platform"]
            "#,
        )
        .unwrap();
        assert_eq!(config.sentry.as_deref(), Some("tcp://kernel:7000"));
        assert_eq!((config.platform, config.placement), (Some(Platform::Ptrace), Some(Placement::Strict)));
        assert_eq!((config.on_loss, config.loss_grace), (Some(Loss::Freeze), Some(5)));
        assert_eq!(config.tls_key.as_deref(), Some(Path::new("/etc/rsc/key.pem")));
        assert_eq!(config.permitted(), Permitted::only([Name::Rootfs, Name::Platform]));
        assert_eq!(parse("").unwrap(), HostConfig::default());
        assert_eq!(HostConfig::default().permitted(), Permitted::default());
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, line, word) in [
            ("platform = \"ptrace\"\nsentri = \"x\"\n", 2, "sentri"),
            ("\n\nplatform = \"kvm\"", 3, "kvm"),
            ("loss-grace = -1", 1, "-1"),
            ("loss-grace = \"5\"", 1, "string"),
            ("tls-ca = \"ca.pem\"", 1, "absolute"),
            ("# c\nsentry = \"ftp://x\"", 2, "unknown scheme"),
            ("[annotations]\nallow = [\"dev.rsc.rootfs\",\n\"dev.rsc.nothing\"]", 3, "dev.rsc.nothing"),
            ("[annotations]\ndeny = []", 2, "deny"),
            ("sentry = \n", 1, ""),
            ("platform = \"auto\"\nplatform = \"auto\"", 2, "duplicate"),
            ("[network]\n", 1, "network"),
        ] {
            let (found, problem) = parse(text).unwrap_err();
            assert!(found == line && problem.contains(word) && !problem.contains('\n'), "{text}: {found}: {problem}");
        }
    }

    #[test]
    fn files_that_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        assert!(matches!(HostConfig::load(Some(&path)), Err(ConfigError::Read { .. })), "one that was asked for");
        std::fs::write(&path, "on-loss = \"eio\"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(HostConfig::load(Some(&path)).unwrap().on_loss, Some(Loss::Eio));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(HostConfig::load(Some(&path)).is_err(), "anybody could have written it");
        assert!(HostConfig::load(Some(dir.path())).is_err());
    }
}
