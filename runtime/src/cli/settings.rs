//! What flag, environment, annotation and the host's configuration say together: the first of them that says anything wins.

use std::path::{Path, PathBuf};

use rsc_oci::Annotations;
use rsc_oci::state::Settings;

use super::args::Global;
use super::config::HostConfig;

/// Seconds until a broken session is lost, unless said otherwise.
const LOSS_GRACE: u64 = 30;

/// Resolves the settings of a new container.
pub fn resolve(global: &Global, annotations: &Annotations, config: &HostConfig) -> Settings {
    // The supervisor works in another directory.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let file = |path: &Option<PathBuf>, configured: &Option<PathBuf>| {
        path.as_ref().map(absolute).or_else(|| configured.clone())
    };
    let strace = global.strace.as_ref().map(|path| if path == Path::new("-") { path.clone() } else { absolute(path) });
    let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
    let (sentry, chosen) = (given(&global.sentry), annotations.sentry.clone());
    let tls_ca = file(&global.tls_ca, &config.tls_ca);
    // The host's token is for sentries that the host names or can verify, not for any that a bundle may name.
    let for_others = sentry.is_none() && chosen.is_some() && tls_ca.is_none();
    let token_file = if for_others { &None } else { &config.token_file };
    Settings {
        sentry: sentry.or(chosen).or_else(|| config.sentry.clone()),
        token_file: file(&global.token_file, token_file),
        tls_ca,
        tls_cert: file(&global.tls_cert, &config.tls_cert),
        tls_key: file(&global.tls_key, &config.tls_key),
        platform: global.platform.or(annotations.platform).or(config.platform).unwrap_or_default(),
        placement: global.placement.or(annotations.placement).or(config.placement).unwrap_or_default(),
        on_loss: global.on_loss.or(annotations.on_loss).or(config.on_loss).unwrap_or_default(),
        loss_grace: global.loss_grace.or(config.loss_grace).unwrap_or(LOSS_GRACE),
        strace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::Parser as _;
    use rsc_oci::{Loss, Platform};

    fn flags(line: &str) -> Global {
        let mut global = Cli::try_parse_from(line.split(' ')).unwrap().global;
        // Not the environment's of whoever runs the tests.
        global.sentry = global.sentry.filter(|_| line.contains("--sentry"));
        global
    }

    #[test]
    fn who_says_it_first() {
        let config = HostConfig {
            sentry: Some("unix:///c".to_owned()),
            platform: Some(Platform::Ptrace),
            on_loss: Some(Loss::Eio),
            loss_grace: Some(7),
            token_file: Some("/c/token".into()),
            ..HostConfig::default()
        };
        let none = Annotations::default();
        let some = Annotations {
            sentry: Some("unix:///a".to_owned()),
            platform: Some(Platform::Seccomp),
            ..Annotations::default()
        };
        let settings = resolve(&flags("r list"), &none, &config);
        assert_eq!(settings.sentry.as_deref(), Some("unix:///c"));
        assert_eq!((settings.platform, settings.on_loss, settings.loss_grace), (Platform::Ptrace, Loss::Eio, 7));
        assert_eq!(settings.token_file.as_deref(), Some(Path::new("/c/token")));
        let settings = resolve(&flags("r list"), &some, &config);
        assert_eq!((settings.sentry.as_deref(), settings.platform), (Some("unix:///a"), Platform::Seccomp));
        assert_eq!(settings.token_file, None, "not for a sentry that the bundle chose");
        let settings = resolve(&flags("r list"), &some, &HostConfig { tls_ca: Some("/c/ca".into()), ..config.clone() });
        assert_eq!(settings.token_file.as_deref(), Some(Path::new("/c/token")), "but the host can verify it");
        let line = "r --sentry unix:///f --platform auto --loss-grace 9 --token-file /f/token list";
        let settings = resolve(&flags(line), &some, &config);
        assert_eq!((settings.sentry.as_deref(), settings.platform), (Some("unix:///f"), Platform::Auto));
        assert_eq!((settings.loss_grace, settings.token_file.as_deref()), (9, Some(Path::new("/f/token"))));
        assert_eq!(resolve(&flags("r list"), &none, &HostConfig::default()).loss_grace, LOSS_GRACE);
    }
}
