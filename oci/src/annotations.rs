//! The annotations `dev.rsc.*` of a config.json, as types. An unknown one is an error, so that a misspelt setting is not
//! silently without effect; one that chooses a sentry or a root needs the caller's permission.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::publish::{self, Publication};

/// What all of our annotations begin with.
pub const PREFIX: &str = "dev.rsc.";

/// A mark by which test suites find the containers that are theirs; it sets nothing, and anyone may.
const MARK: &str = "dev.rsc.kit";

/// How calls are trapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// The fastest one that works on this machine.
    #[default]
    Auto,
    /// `PTRACE_SEIZE` and a `RET_TRACE` filter.
    Ptrace,
    /// User notifications for the data plane, the tracer for the control plane.
    Seccomp,
}

/// Where calls may be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Every call goes to the sentry.
    Strict,
    /// The sentry decides ahead, by its placement table.
    #[default]
    Auto,
}

/// What happens to a workload whose session is lost for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// It ends.
    #[default]
    Kill,
    /// It stays, stopped, until `kill` or `delete`.
    Freeze,
    /// Its remote calls fail with EIO.
    Eio,
}

/// A text that is none of a setting's values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{given:?} is not one of {allowed}")]
pub struct NotAValue {
    given: String,
    allowed: &'static str,
}

macro_rules! setting {
    ($type:ty, $allowed:literal, $($text:literal => $value:path),+) => {
        impl FromStr for $type {
            type Err = NotAValue;
            fn from_str(text: &str) -> Result<Self, NotAValue> {
                match text {
                    $($text => Ok($value),)+
                    _ => Err(NotAValue { given: text.to_owned(), allowed: $allowed }),
                }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($value => $text,)+ })
            }
        }
    };
}

setting!(Platform, "auto, ptrace, seccomp", "auto" => Self::Auto, "ptrace" => Self::Ptrace, "seccomp" => Self::Seccomp);
setting!(Placement, "strict, auto", "strict" => Self::Strict, "auto" => Self::Auto);
setting!(Loss, "kill, freeze, eio", "kill" => Self::Kill, "freeze" => Self::Freeze, "eio" => Self::Eio);

/// An annotation of ours, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Name {
    /// Chooses the sentry.
    #[serde(rename = "dev.rsc.sentry")]
    Sentry,
    /// Chooses the root file system.
    #[serde(rename = "dev.rsc.rootfs")]
    Rootfs,
    /// How calls are trapped.
    #[serde(rename = "dev.rsc.platform")]
    Platform,
    /// Where calls are carried out.
    #[serde(rename = "dev.rsc.placement")]
    Placement,
    /// What a lost session does.
    #[serde(rename = "dev.rsc.on-loss")]
    OnLoss,
    /// Which ports are relayed.
    #[serde(rename = "dev.rsc.publish")]
    Publish,
}

impl Name {
    const ALL: [Self; 6] = [Self::Sentry, Self::Rootfs, Self::Platform, Self::Placement, Self::OnLoss, Self::Publish];

    /// What stands behind [`PREFIX`].
    fn of(name: &str) -> Option<Self> {
        match name {
            "sentry" => Some(Self::Sentry),
            "rootfs" => Some(Self::Rootfs),
            "platform" => Some(Self::Platform),
            "placement" => Some(Self::Placement),
            "on-loss" => Some(Self::OnLoss),
            "publish" => Some(Self::Publish),
            _ => None,
        }
    }
}

/// Which annotations a bundle may set. By default those that choose neither a sentry nor a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted(BTreeSet<Name>);

impl Default for Permitted {
    fn default() -> Self {
        Self::only([Name::Platform, Name::Placement, Name::OnLoss, Name::Publish])
    }
}

impl Permitted {
    /// Each of ours.
    pub fn all() -> Self {
        Self::only(Name::ALL)
    }

    /// These and no others.
    pub fn only(names: impl IntoIterator<Item = Name>) -> Self {
        Self(names.into_iter().collect())
    }
}

/// All `dev.rsc.*` annotations of one config.json.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `dev.rsc.sentry`: address of the sentry.
    pub sentry: Option<String>,
    /// `dev.rsc.rootfs`: `sentry:NAME`, an export of the sentry as root file system. Here: NAME.
    pub rootfs: Option<String>,
    /// `dev.rsc.platform`.
    pub platform: Option<Platform>,
    /// `dev.rsc.placement`.
    pub placement: Option<Placement>,
    /// `dev.rsc.on-loss`.
    pub on_loss: Option<Loss>,
    /// `dev.rsc.publish`.
    pub publish: Vec<Publication>,
}

/// Why an annotation is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnnotationError {
    /// Not one of ours.
    #[error(
        "annotations[{0:?}]: unknown annotation; known are dev.rsc.{{sentry,rootfs,platform,placement,on-loss,publish}}"
    )]
    Unknown(String),
    /// A value that does not parse.
    #[error("annotations[{key:?}]: {problem}")]
    Value {
        /// The annotation.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// Needs a permission that was not given.
    #[error(
        "annotations[{0:?}]: is not permitted; it needs --allow-annotations, or the host's configuration to list it"
    )]
    NotPermitted(String),
}

impl Annotations {
    /// Takes ours out of `all`.
    pub fn parse(all: &HashMap<String, String>, permitted: &Permitted) -> Result<Self, AnnotationError> {
        let mut ours: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(PREFIX) && *key != MARK).collect();
        ours.sort();
        let mut parsed = Self::default();
        for (key, value) in ours {
            let bad = |problem: String| AnnotationError::Value { key: key.clone(), problem };
            let not_a_value = |error: NotAValue| bad(error.to_string());
            let name = key.strip_prefix(PREFIX).and_then(Name::of);
            let Some(name) = name else { return Err(AnnotationError::Unknown(key.clone())) };
            if !permitted.0.contains(&name) {
                return Err(AnnotationError::NotPermitted(key.clone()));
            }
            match name {
                Name::Sentry if value.is_empty() => return Err(bad("is empty; give a sentry's address".to_owned())),
                Name::Sentry => parsed.sentry = Some(value.clone()),
                Name::Rootfs => match value.strip_prefix("sentry:") {
                    Some(export) if is_export_name(export) => parsed.rootfs = Some(export.to_owned()),
                    _ => return Err(bad(format!("{value:?} is not sentry:NAME with the name of an export"))),
                },
                Name::Platform => parsed.platform = Some(value.parse().map_err(not_a_value)?),
                Name::Placement => parsed.placement = Some(value.parse().map_err(not_a_value)?),
                Name::OnLoss => parsed.on_loss = Some(value.parse().map_err(not_a_value)?),
                Name::Publish => parsed.publish = publish::parse_list(value).map_err(bad)?,
            }
        }
        Ok(parsed)
    }
}

fn is_export_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)], all: bool) -> Result<Annotations, AnnotationError> {
        parse_with(pairs, &if all { Permitted::all() } else { Permitted::default() })
    }

    fn parse_with(pairs: &[(&str, &str)], permitted: &Permitted) -> Result<Annotations, AnnotationError> {
        Annotations::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), permitted)
    }

    #[test]
    fn permitted_one_by_one() {
        let only = Permitted::only([Name::Rootfs]);
        assert!(parse_with(&[("dev.rsc.rootfs", "sentry:a")], &only).is_ok());
        for (key, value) in [("dev.rsc.sentry", "unix:///x"), ("dev.rsc.platform", "auto")] {
            let refused = AnnotationError::NotPermitted(key.to_owned());
            assert_eq!(parse_with(&[(key, value)], &only), Err(refused));
        }
    }

    #[test]
    fn ignores_those_of_others() {
        assert_eq!(parse(&[("org.example", "x"), ("dev.rscx", "y")], false), Ok(Annotations::default()));
    }

    #[test]
    fn parses_all() {
        let parsed = parse(
            &[
                ("dev.rsc.sentry", "tcp://h:1"),
                ("dev.rsc.rootfs", "sentry:debian"),
                ("dev.rsc.platform", "ptrace"),
                ("dev.rsc.placement", "strict"),
                ("dev.rsc.on-loss", "eio"),
                ("dev.rsc.publish", "8080"),
            ],
            true,
        );
        let expected = Annotations {
            sentry: Some("tcp://h:1".to_owned()),
            rootfs: Some("debian".to_owned()),
            platform: Some(Platform::Ptrace),
            placement: Some(Placement::Strict),
            on_loss: Some(Loss::Eio),
            publish: publish::parse_list("8080").unwrap(),
        };
        assert_eq!(parsed, Ok(expected));
    }

    #[test]
    fn refuses_unknown_unpermitted_and_broken() {
        assert_eq!(parse(&[("dev.rsc.sentri", "x")], true), Err(AnnotationError::Unknown("dev.rsc.sentri".to_owned())));
        assert_eq!(
            parse(&[("dev.rsc.sentry", "x")], false),
            Err(AnnotationError::NotPermitted("dev.rsc.sentry".to_owned()))
        );
        for rootfs in ["debian", "sentry:", "sentry:a/b", ""] {
            assert!(matches!(parse(&[("dev.rsc.rootfs", rootfs)], true), Err(AnnotationError::Value { .. })));
        }
        assert!(matches!(parse(&[("dev.rsc.platform", "kvm")], false), Err(AnnotationError::Value { .. })));
    }
}
