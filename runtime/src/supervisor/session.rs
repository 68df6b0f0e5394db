//! From settings to a dialer: the private sentry's socket, or an address with what proves who we are.

use rsc_oci::state::Settings;
use rsc_proto::transport::{ClientTls, Dialer, SentryUrl, client_token};

use super::StartupError;

/// A dialer for the sentry that the settings name; none when a private one is wanted.
pub(crate) fn dialer(settings: &Settings) -> Result<Option<Dialer>, StartupError> {
    let Some(url) = &settings.sentry else { return Ok(None) };
    let url: SentryUrl = url.parse()?;
    let identity = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
        (None, None) => None,
        (Some(_), None) => return Err(StartupError("--tls-cert is given without --tls-key".to_owned())),
        (None, Some(_)) => return Err(StartupError("--tls-key is given without --tls-cert".to_owned())),
    };
    let tls = match &settings.tls_ca {
        Some(ca) => Some(ClientTls::load(ca, identity)?),
        None if identity.is_some() => {
            return Err(StartupError(
                "--tls-cert is given without --tls-ca, the authority of the sentry's certificate".to_owned(),
            ));
        }
        None => None,
    };
    let token = settings.token_file.as_deref().map(client_token).transpose()?;
    Ok(Some(Dialer::new(url, tls, token.as_deref())?))
}
