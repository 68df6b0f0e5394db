//! Which server, and how it is asked.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rsc_proto::v1::BrokerSettings;

use crate::broker::environment;
use crate::broker::terms::Terms;
use crate::{Error, Server};

/// The settings of a [`Server`], as the environment has them or as the program says.
#[derive(Clone, Debug)]
pub struct Config {
    settings: BrokerSettings,
    broker: Option<CString>,
}

impl Default for Config {
    fn default() -> Self {
        Self::from_environment()
    }
}

fn text(path: &Path) -> String {
    environment::absolute(path.to_string_lossy().into_owned())
}

impl Config {
    /// What `RSC_SENTRY`, `RSC_EXPORT`, `RSC_CWD`, `RSC_TOKEN_FILE`, `RSC_TLS_CA`, `RSC_TLS_CERT` and `RSC_TLS_KEY` say, and for
    /// regions `RSC_RULES` and `RSC_SYSCALLS`.
    pub fn from_environment() -> Self {
        Config { settings: environment::settings(), broker: None }
    }

    /// A server, whatever the environment says: `tcp://HOST:PORT`, `vsock://CID:PORT`, `unix:///PATH`.
    pub fn new(sentry: &str) -> Self {
        Config { settings: BrokerSettings { sentry: sentry.to_owned(), ..BrokerSettings::default() }, broker: None }
    }

    /// Which of the server's exports is the root. Without: its only one.
    pub fn export(mut self, name: &str) -> Self {
        name.clone_into(&mut self.settings.export);
        self
    }

    /// The working directory there. Without: `/`, and in regions the one here.
    pub fn cwd(mut self, path: &str) -> Self {
        path.clone_into(&mut self.settings.cwd);
        self
    }

    /// A file with the token that the server asks for.
    pub fn token_file(mut self, path: impl AsRef<Path>) -> Self {
        self.settings.token_file = text(path.as_ref());
        self
    }

    /// The certificate of the authority that the server's is from.
    pub fn tls_ca(mut self, path: impl AsRef<Path>) -> Self {
        self.settings.tls_ca = text(path.as_ref());
        self
    }

    /// This client's certificate and key.
    pub fn tls_identity(mut self, cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.settings.tls_cert = text(cert.as_ref());
        self.settings.tls_key = text(key.as_ref());
        self
    }

    /// A file of rules, for regions.
    pub fn rules(mut self, path: impl AsRef<Path>) -> Self {
        self.settings.rules = text(path.as_ref());
        self
    }

    /// Calls that go there in regions without a list of their own, with commas between.
    pub fn syscalls(mut self, list: &str) -> Self {
        list.clone_into(&mut self.settings.syscalls);
        self
    }

    /// The socket of the broker that calls are asked of. Without, and for regions: `RSC_BROKER`, or the user's own.
    pub fn broker(mut self, path: impl AsRef<Path>) -> Self {
        self.broker = CString::new(path.as_ref().as_os_str().as_bytes()).ok();
        self
    }

    /// Connects the calling thread; other threads follow with their first call. The user's broker is started if it is not there.
    pub fn connect(self) -> Result<Server, Error> {
        if self.settings.sentry.is_empty() {
            return Err(Error::NoServerNamed);
        }
        let explicit =
            BrokerSettings { rules: String::new(), syscalls: String::new(), explicit: true, ..self.settings.clone() };
        let terms = Terms::of(&self.broker.unwrap_or_else(environment::socket), explicit)?;
        terms.open()?;
        Ok(Server::new(terms, self.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing() {
        assert_eq!(Config::new("").connect().err(), Some(Error::NoServerNamed));
    }

    #[test]
    fn paths_are_the_brokers_too() {
        let config = Config::new("unix:///s").token_file("token").rules("/r");
        let here = std::env::current_dir().unwrap();
        assert_eq!(config.settings.token_file, here.join("token").to_string_lossy());
        assert_eq!(config.settings.rules, "/r");
    }
}
