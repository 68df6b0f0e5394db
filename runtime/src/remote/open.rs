//! Opening the session of ordinary processes: what the sentry is told of them.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rsc_oci::Annotations;
use rsc_oci::state::Settings;
use rsc_proto::v1;

use super::client::{ANCHOR, Client};
use super::core::Core;
use super::rules::Rules;
use crate::cli::Context;
use crate::cli::config::HostConfig;
use crate::cli::settings;
use crate::lifecycle::LifecycleError;
use crate::session::{SessionConfig, SessionHandle};
use crate::supervisor;

/// Remote descriptors at most.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// What a user wants there.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The export that is the root; none: the only one.
    pub export: Option<String>,
    /// The working directory that processes begin with; none: they keep the one here.
    pub cwd: Option<String>,
    /// Descriptors 0, 1 and 2 are the sentry process's own.
    pub stdio: bool,
    /// Who makes the calls there, and their group; none: whoever the sentry is.
    pub user: Option<(u32, u32)>,
}

/// The settings of a command for ordinary processes.
pub fn settings_of(context: &Context) -> Result<Settings, LifecycleError> {
    let config = HostConfig::load(context.global.config.as_deref())?;
    let settings = settings::resolve(&context.global, &Annotations::default(), &config);
    match settings.sentry {
        Some(_) => Ok(settings),
        None => Err(LifecycleError::Refused(
            "no sentry is named: give --sentry URL, or set RSC_SENTRY (tcp://HOST:PORT, vsock://CID:PORT, unix:///PATH)"
                .to_owned(),
        )),
    }
}

/// The user's directory for sockets, `$XDG_RUNTIME_DIR/rsc`; made if it is not there, for the user alone.
pub fn runtime_directory() -> Result<PathBuf, LifecycleError> {
    let own = nix::unistd::geteuid();
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let path = base.map_or_else(|| PathBuf::from(format!("/tmp/rsc-{own}")), |base| base.join("rsc"));
    let failed = |error| LifecycleError::io("making", path.display().to_string())(error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
    let owner = std::fs::symlink_metadata(&path).map_err(failed)?;
    if owner.uid() != own.as_raw() || !owner.is_dir() || owner.mode() & 0o077 != 0 && base_is_shared(&path) {
        return Err(LifecycleError::Refused(format!(
            "{} is not a directory of yours alone; remove it, or set XDG_RUNTIME_DIR",
            path.display()
        )));
    }
    Ok(path)
}

/// In a directory that everybody may write to, only what nobody else can touch is used.
fn base_is_shared(path: &Path) -> bool {
    path.parent().and_then(|base| std::fs::metadata(base).ok()).is_none_or(|base| base.mode() & 0o002 != 0)
}

/// The rules of a command line; without any at all there is nothing to do.
pub fn rules_of(file: Option<&Path>, syscalls: &[String]) -> Result<Rules, LifecycleError> {
    let list = syscalls.join(",");
    if file.is_none() && list.is_empty() {
        return Err(LifecycleError::Refused(
            "nothing is to be carried out there: give --syscalls LIST, --rules FILE or --all".to_owned(),
        ));
    }
    let list = Some(list).filter(|list| !list.is_empty());
    Rules::load(file, list.as_deref()).map_err(|error| LifecycleError::Refused(error.to_string()))
}

/// Opens the session. In a `LocalRuntime`.
pub async fn open(
    settings: &Settings,
    world: &World,
    rules: Rules,
) -> Result<(Rc<Core>, SessionHandle), LifecycleError> {
    let failed = |text: String| LifecycleError::Refused(text);
    let dialer = supervisor::session::dialer(settings).map_err(|error| failed(error.0))?;
    let dialer = dialer.ok_or_else(|| failed("no sentry is named".to_owned()))?;
    let mut config = SessionConfig::new(dialer, sandbox(world), Vec::new());
    config.loss_grace = Duration::from_secs(settings.loss_grace);
    let (client, session) = Client::connect(config).await.map_err(|error| failed(error.to_string()))?;
    let core = Core::new(client, rules).map_err(LifecycleError::io("making", "placeholders for remote descriptors"))?;
    Ok((core, session))
}

fn sandbox(world: &World) -> v1::Sandbox {
    let (uid, gid) = world.user.unwrap_or_default();
    let stdio = v1::Stdio { closed: !world.stdio, server: world.stdio, ..v1::Stdio::default() };
    let limit = v1::Rlimit { resource: libc::RLIMIT_NOFILE, soft: DESCRIPTORS_MAX, hard: DESCRIPTORS_MAX };
    v1::Sandbox {
        id: format!("remote-{}", std::process::id()),
        anchor: true,
        in_context: true,
        tid: ANCHOR,
        process: Some(v1::Process {
            args: vec!["rsc-runtime".to_owned()],
            cwd: "/".to_owned(),
            uid,
            gid,
            // The callers' own are applied where they are known.
            umask: 0,
            rlimits: vec![limit],
            own_user: world.user.is_none(),
            own_capabilities: true,
            ..v1::Process::default()
        }),
        root: Some(v1::Root {
            source: Some(v1::root::Source::Export(world.export.clone().unwrap_or_default())),
            readonly: false,
        }),
        mounts: mounts(),
        stdio: vec![stdio; 3],
        host: Some(supervisor::sandbox::host_facts()),
        ..v1::Sandbox::default()
    }
}

/// What every tree there has.
fn mounts() -> Vec<v1::Mount> {
    let mount = |destination: &str, kind: &str, options: &[&str]| v1::Mount {
        destination: destination.to_owned(),
        r#type: kind.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        source: None,
    };
    vec![mount("/proc", "proc", &["nosuid", "noexec", "nodev"])]
}
