//! What can go wrong in a shim, with the code by which containerd tells the kinds apart.

use std::io;

use containerd_shim_protos::ttrpc;
use ttrpc::Code;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// No such container or process, or it has ended.
    #[error("{0}: not found")]
    NotFound(String),
    /// The id is taken.
    #[error("{0}: already exists")]
    Exists(String),
    /// Not now.
    #[error("{0}: failed precondition")]
    Precondition(String),
    /// A request that makes no sense.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// Never.
    #[error("{0}: not implemented")]
    Unsupported(String),
    /// The OCI runtime refused; in its own words, which clients look into.
    #[error("OCI runtime {command} failed: {message}")]
    Runtime {
        /// Its command.
        command: &'static str,
        /// Its last error.
        message: String,
    },
    /// The machine.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// What failed.
        source: io::Error,
    },
}

impl ShimError {
    /// For `map_err`.
    pub(super) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NOT_FOUND,
            Self::Exists(_) => Code::ALREADY_EXISTS,
            Self::Precondition(_) => Code::FAILED_PRECONDITION,
            Self::Invalid(_) => Code::INVALID_ARGUMENT,
            Self::Unsupported(_) => Code::UNIMPLEMENTED,
            Self::Runtime { .. } | Self::Io { .. } => Code::UNKNOWN,
        }
    }
}

/// For results of the machine.
pub(super) trait Doing<T> {
    /// Says what was being done, and to what, when it failed.
    fn doing(self, what: impl Into<String>) -> Result<T, ShimError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, ShimError> {
        self.map_err(ShimError::io(what))
    }
}

impl From<ShimError> for ttrpc::Error {
    fn from(error: ShimError) -> Self {
        ttrpc::Error::RpcStatus(ttrpc::get_status(error.code(), &error))
    }
}
