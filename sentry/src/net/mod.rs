//! Sockets. Unix sockets live in the sentry alone; internet sockets are host sockets in the sandbox's network namespace, made by a
//! broker (`broker`) and handed over by descriptor. Nothing of the workload's reaches the host's kernel unparsed.

use std::cell::{OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rsc_proto::abi::Errno;

pub mod addr;
pub mod broker;
pub mod control;
pub mod inet;
mod inet_options;
mod listening;
pub mod netlink;
pub mod options;
mod readiness;
pub mod socket;
pub mod unix;

#[cfg(test)]
mod tests;

use broker::{Broker, Start};
use listening::Listening;
pub use listening::connect_loopback;
use readiness::Readiness;
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
    /// Wherever the broker is that was handed over.
    Given,
}

/// The network of a sandbox.
pub struct NetStack {
    config: NetConfig,
    start: Start,
    /// Started when the first internet socket is made.
    broker: OnceCell<Option<Rc<Broker>>>,
    /// Started with it.
    readiness: OnceCell<Rc<Readiness>>,
    /// Where its internet sockets listen.
    pub(crate) listening: Listening,
    /// Bound names of unix sockets.
    pub(crate) unix: RefCell<UnixNames>,
    /// Unix sockets inside control messages, for the collector.
    pub(crate) flying: unix::gc::Flying,
}

impl NetStack {
    /// A network whose broker `start` starts.
    pub fn with_start(config: NetConfig, start: Start) -> Rc<Self> {
        Rc::new(Self {
            config,
            start,
            broker: OnceCell::new(),
            readiness: OnceCell::new(),
            listening: Listening::default(),
            unix: RefCell::default(),
            flying: unix::gc::Flying::default(),
        })
    }

    /// A network whose broker is at work and has the other end of `socket`.
    pub fn with_broker(socket: OwnedFd) -> Rc<Self> {
        let none: Start = Rc::new(|_, _| Err(std::io::ErrorKind::NotFound.into()));
        let this = Self::with_start(NetConfig::Given, none);
        let broker = Broker::over(socket)
            .inspect_err(|error| tracing::error!("the socket broker's socket is not usable: {error}"));
        let _ = this.broker.set(broker.ok().map(Rc::new));
        this
    }

    /// The broker. `ENETDOWN` if it can't be started, which is logged once.
    pub(crate) fn broker(&self) -> Result<Rc<Broker>, Errno> {
        let started = self.broker.get_or_init(|| match Broker::start(&self.config, &self.start) {
            Ok(broker) => Some(Rc::new(broker)),
            Err(error) => {
                tracing::error!("cannot start the socket broker for {:?}: {error}", self.config);
                None
            }
        });
        started.clone().ok_or(Errno::ENETDOWN)
    }

    /// What watches its internet sockets.
    fn readiness(&self) -> Result<Rc<Readiness>, Errno> {
        if let Some(readiness) = self.readiness.get() {
            return Ok(readiness.clone());
        }
        let started = Readiness::start()?;
        Ok(self.readiness.get_or_init(|| started).clone())
    }

    /// Where its internet sockets are.
    pub fn config(&self) -> &NetConfig {
        &self.config
    }
}
