//! Why there is no server to ask.

use std::ffi::CStr;

use crate::broker::link::Broken;

/// Why calls cannot be carried out elsewhere. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server is named.
    #[error(
        "no server is named: give its address, or set RSC_SENTRY (tcp://HOST:PORT, vsock://CID:PORT, unix:///PATH)"
    )]
    NoServerNamed,
    /// `rsc-runtime broker` is not there and could not be started.
    #[error(
        "no broker answers at {socket}; start one by `rsc-runtime broker` to see why, or name the program by RSC_RUNTIME"
    )]
    NoBroker {
        /// Where it was looked for.
        socket: String,
    },
    /// The broker or the server says no: settings, rules or a list that don't parse, no server, a wrong token. In its words.
    #[error("{0}")]
    Refused(String),
    /// The process has calls of one server already.
    #[error("this process has another server's descriptors already; a process has one server in C and in regions")]
    OtherServer,
    /// More different lists, rules and servers than a process may have.
    #[error("too many different settings in one process (256); use the same lists of calls again")]
    TooMany,
    /// Regions within each other.
    #[error("more than 64 regions within each other; end some, each as often as it was begun")]
    TooDeep,
    /// A region is ended that was not begun.
    #[error("this thread is in no region: rsc_region_end without rsc_region_begin")]
    NoRegion,
    /// A region without anything in it.
    #[error("nothing would be carried out there: give the region a list of calls, or set RSC_SYSCALLS or RSC_RULES")]
    EmptyRegion,
    /// A region where the C library's functions are not replaced.
    #[error("librsc.so is not loaded: link the program with -lrsc, or start it with LD_PRELOAD=librsc.so")]
    NotLoaded,
}

impl Error {
    /// The error number that says it best.
    pub fn errno(&self) -> i32 {
        match self {
            Error::NoServerNamed | Error::EmptyRegion => libc::EDESTADDRREQ,
            Error::NoBroker { .. } => libc::ECONNREFUSED,
            Error::Refused(_) => libc::EACCES,
            Error::OtherServer => libc::EBUSY,
            Error::TooMany => libc::ENOBUFS,
            Error::TooDeep => libc::EAGAIN,
            Error::NoRegion => libc::EINVAL,
            Error::NotLoaded => libc::ENOSYS,
        }
    }

    /// From what has become of a connection.
    #[doc(hidden)]
    pub fn of(broken: Broken, socket: &CStr) -> Self {
        match broken {
            Broken::Refused(why) => Error::Refused(why),
            Broken::Lost => Error::NoBroker { socket: socket.to_string_lossy().into_owned() },
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = std::io::Error::from_raw_os_error(error.errno()).kind();
        std::io::Error::new(kind, error)
    }
}
