//! What flag, environment and annotation say together: the first of them that says anything wins.

use std::path::{Path, PathBuf};

use rsc_oci::Annotations;
use rsc_oci::state::Settings;

use super::args::Global;

/// Seconds until a broken session is lost, unless said otherwise.
const LOSS_GRACE: u64 = 30;

/// Resolves the settings of a new container.
pub fn resolve(global: &Global, annotations: &Annotations) -> Settings {
    // The supervisor works in another directory.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let file = |path: &Option<PathBuf>| path.as_ref().map(absolute);
    let strace = global.strace.as_ref().map(|path| if path == Path::new("-") { path.clone() } else { absolute(path) });
    let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
    Settings {
        sentry: given(&global.sentry).or_else(|| annotations.sentry.clone()),
        token_file: file(&global.token_file),
        tls_ca: file(&global.tls_ca),
        tls_cert: file(&global.tls_cert),
        tls_key: file(&global.tls_key),
        platform: global.platform.or(annotations.platform).unwrap_or_default(),
        placement: global.placement.or(annotations.placement).unwrap_or_default(),
        on_loss: global.on_loss.or(annotations.on_loss).unwrap_or_default(),
        loss_grace: global.loss_grace.unwrap_or(LOSS_GRACE),
        strace,
    }
}
