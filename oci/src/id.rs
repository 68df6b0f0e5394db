//! Container ids: parsed once, afterwards safe to use as the name of a folder.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest id: the length of a file name on Linux.
const MAX_LEN: usize = 255;

/// The name of a container: letters, digits and `_ + - . ,`, never `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Why a text is no container id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Empty.
    #[error("container id cannot be empty")]
    Empty,
    /// Longer than a file name may be.
    #[error("invalid container id: {0} characters are more than {MAX_LEN}; choose a shorter id")]
    TooLong(usize),
    /// A character outside the set, or a name with a meaning of its own.
    #[error("invalid container id format: {0:?}: use letters, digits and _ + - . only")]
    Format(String),
}

impl ContainerId {
    /// Checks `text`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(IdError::TooLong(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.' | ',');
        if !text.chars().all(allowed) || text == "." || text == ".." || text.starts_with('-') {
            return Err(IdError::Format(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_clients_use() {
        for id in ["a", "c1", "0123456789abcdef", "pod_1.x-y+z", "..."] {
            assert_eq!(ContainerId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_paths_and_noise() {
        for id in [".", "..", "a/b", "/a", "a b", "a\n", "ä", "a\0", "-rf"] {
            assert_eq!(ContainerId::parse(id), Err(IdError::Format(id.to_owned())));
        }
        assert_eq!(ContainerId::parse(""), Err(IdError::Empty));
        assert_eq!(ContainerId::parse(&"x".repeat(256)), Err(IdError::TooLong(256)));
        assert!(ContainerId::parse(&"x".repeat(255)).is_ok());
    }
}
