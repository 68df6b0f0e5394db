//! Sockets.

pub mod socket;

use std::rc::Rc;

/// Which network the internet sockets of a sandbox are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetConfig {
    /// A fresh namespace with nothing but a loopback interface.
    #[default]
    None,
    /// The sentry's own.
    Host,
    /// The namespace at this path.
    Path(std::path::PathBuf),
}

/// The network of a sandbox.
pub struct NetStack {
    config: NetConfig,
}

impl NetStack {
    /// A network without sockets.
    pub fn new(config: NetConfig) -> Rc<Self> {
        Rc::new(Self { config })
    }

    /// Where its internet sockets are.
    pub fn config(&self) -> &NetConfig {
        &self.config
    }
}
