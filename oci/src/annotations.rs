//! The annotations `dev.rsc.*` of a config.json, as types. An unknown one is an error, so that a misspelt setting is not
//! silently without effect; one that chooses a sentry or a root needs the caller's permission.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What all of our annotations begin with.
pub const PREFIX: &str = "dev.rsc.";

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
}

/// Why an annotation is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnnotationError {
    /// Not one of ours.
    #[error("annotations[{0:?}]: unknown annotation; known are dev.rsc.{{sentry,rootfs,platform,placement,on-loss}}")]
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
    #[error("annotations[{0:?}]: chooses a sentry or a root, which needs --allow-annotations")]
    NotPermitted(String),
}

impl Annotations {
    /// Takes ours out of `all`. `permitted` says whether those that choose a sentry or a root may be used.
    pub fn parse(all: &HashMap<String, String>, permitted: bool) -> Result<Self, AnnotationError> {
        let mut ours: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(PREFIX)).collect();
        ours.sort();
        let mut parsed = Self::default();
        for (key, value) in ours {
            let bad = |problem: String| AnnotationError::Value { key: key.clone(), problem };
            let not_a_value = |error: NotAValue| bad(error.to_string());
            let name = key.strip_prefix(PREFIX).unwrap_or_default();
            if matches!(name, "sentry" | "rootfs") && !permitted {
                return Err(AnnotationError::NotPermitted(key.clone()));
            }
            match name {
                "sentry" if value.is_empty() => return Err(bad("is empty; give a sentry's address".to_owned())),
                "sentry" => parsed.sentry = Some(value.clone()),
                "rootfs" => match value.strip_prefix("sentry:") {
                    Some(export) if is_export_name(export) => parsed.rootfs = Some(export.to_owned()),
                    _ => return Err(bad(format!("{value:?} is not sentry:NAME with the name of an export"))),
                },
                "platform" => parsed.platform = Some(value.parse().map_err(not_a_value)?),
                "placement" => parsed.placement = Some(value.parse().map_err(not_a_value)?),
                "on-loss" => parsed.on_loss = Some(value.parse().map_err(not_a_value)?),
                _ => return Err(AnnotationError::Unknown(key.clone())),
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

    fn parse(pairs: &[(&str, &str)], permitted: bool) -> Result<Annotations, AnnotationError> {
        Annotations::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), permitted)
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
            ],
            true,
        );
        let expected = Annotations {
            sentry: Some("tcp://h:1".to_owned()),
            rootfs: Some("debian".to_owned()),
            platform: Some(Platform::Ptrace),
            placement: Some(Placement::Strict),
            on_loss: Some(Loss::Eio),
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
