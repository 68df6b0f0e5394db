//! Sockets. Unix sockets live in the sentry alone; internet sockets are host sockets in the sandbox's network namespace, made by a
//! broker (`broker`) and handed over by descriptor. Nothing of the workload's reaches the host's kernel unparsed.

use std::cell::RefCell;
use std::rc::Rc;

pub mod addr;
pub mod control;
pub mod options;
pub mod socket;
pub mod unix;

use unix::UnixNames;

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
    /// Bound names of unix sockets.
    pub(crate) unix: RefCell<UnixNames>,
    /// Unix sockets inside control messages, for the collector.
    pub(crate) flying: unix::gc::Flying,
}

impl NetStack {
    /// A network without sockets.
    pub fn new(config: NetConfig) -> Rc<Self> {
        Rc::new(Self { config, unix: RefCell::default(), flying: unix::gc::Flying::default() })
    }

    /// Where its internet sockets are.
    pub fn config(&self) -> &NetConfig {
        &self.config
    }
}
