//! TLS for TCP: keys and certificates from PEM files, verified both ways. Only rustls with ring.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is wrong with the TLS files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {what} {path}: {source}")]
    Read {
        /// Which of the files.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{what} {path}: {problem}")]
    Content {
        /// Which of the files.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The files do not fit together.
    #[error("TLS set-up with {path}: {problem}")]
    Setup {
        /// The certificate's path.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |problem: String| TlsError::Content { what, path: path.to_owned(), problem };
    let pem = read(what, path)?;
    let certs = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| content(format!("not a PEM certificate: {e}")))?;
    if certs.is_empty() {
        return Err(content("holds no PEM certificate".into()));
    }
    Ok(certs)
}

fn private_key(what: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(what, path)?).map_err(|e| TlsError::Content {
        what,
        path: path.to_owned(),
        problem: format!("not a PEM private key: {e}"),
    })
}

fn roots(what: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for cert in certificates(what, path)? {
        store.add(cert).map_err(|e| TlsError::Content {
            what,
            path: path.to_owned(),
            problem: format!("not usable as a certificate authority: {e}"),
        })?;
    }
    Ok(store)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

const ALPN: &[u8] = b"h2";

/// Who must show a certificate to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Every client.
    Required,
    /// Clients that show no token instead.
    Optional,
}

/// A server's side of TLS.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Loads the server's certificate chain and key, and the authority whose clients are admitted.
    pub fn load(cert: &Path, key: &Path, client_ca: Option<(&Path, ClientCertificates)>) -> Result<Self, TlsError> {
        let setup = |problem: String| TlsError::Setup { path: cert.to_owned(), problem };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| setup(e.to_string()))?;
        let builder = match client_ca {
            Some((ca, need)) => {
                let store = Arc::new(roots("client CA", ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(store, provider());
                let verifier = match need {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|e| setup(e.to_string()))?)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(certificates("server certificate", cert)?, private_key("server key", key)?)
            .map_err(|e| setup(e.to_string()))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ServerTls { config: Arc::new(config) })
    }
}

/// A client's side of TLS.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Loads the authority which signs sentries, and the client's own certificate and key, if it has one.
    pub fn load(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let setup = |problem: String| TlsError::Setup { path: ca.to_owned(), problem };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| setup(e.to_string()))?
            .with_root_certificates(roots("CA", ca)?);
        let mut config = match identity {
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates("client certificate", cert)?, private_key("client key", key)?)
                .map_err(|e| TlsError::Setup { path: cert.to_owned(), problem: e.to_string() })?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ClientTls { config: Arc::new(config) })
    }
}

/// The common name of a certificate's subject.
pub(super) fn subject_name(cert: &CertificateDer<'_>) -> Option<String> {
    let (_, cert) = x509_parser::parse_x509_certificate(cert).ok()?;
    let name = cert.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}
