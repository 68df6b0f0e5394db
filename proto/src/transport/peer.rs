//! Who is at the other end of a connection, and how it proved it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// How a peer proved itself. Equality is what a session's resumption asks for: the same proof, not just any valid one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A unix socket's peer, by `SO_PEERCRED`.
    Unix {
        /// Its uid when it connected.
        uid: u32,
    },
    /// A vsock peer, by its context identifier.
    Vsock {
        /// The CID, which the hypervisor vouches for.
        cid: u32,
    },
    /// A token of the server's token file.
    Token {
        /// Line in the file: tells unnamed tokens apart.
        line: usize,
        /// The name on that line.
        name: Option<String>,
    },
    /// A client certificate which the server's client CA has signed.
    Certificate {
        /// The subject's common name.
        name: String,
    },
    /// The process that started this one, over a socket which it passed on.
    Inherited,
    /// Nobody in particular: TCP under `--insecure`.
    Anonymous,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Unix { uid } => write!(f, "unix uid {uid}"),
            Identity::Vsock { cid } => write!(f, "vsock cid {cid}"),
            Identity::Token { name: Some(name), .. } => write!(f, "token {name}"),
            Identity::Token { line, name: None } => write!(f, "token of line {line}"),
            Identity::Certificate { name } => write!(f, "certificate {name}"),
            Identity::Inherited => f.write_str("inherited socket"),
            Identity::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// The exports that a peer may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exports {
    /// Every one.
    All,
    /// These.
    Only(Arc<BTreeSet<String>>),
}

/// A peer: its identity and what it may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How it proved itself.
    pub identity: Identity,
    /// The exports it may use.
    pub exports: Exports,
}

impl Peer {
    /// A peer that may use every export.
    pub fn unrestricted(identity: Identity) -> Self {
        Peer { identity, exports: Exports::All }
    }

    /// Whether the peer may use the export called `name`.
    pub fn may_use(&self, name: &str) -> bool {
        match &self.exports {
            Exports::All => true,
            Exports::Only(names) => names.contains(name),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)
    }
}
