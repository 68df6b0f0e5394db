//! The kernels that conformance programs run under: this machine's own, runc's container of it as the control, and rsc's in each
//! combination of platform, placement and place of the root; and rsc's without a container, in the context of a sentry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bundle::{Bundle, CAPABILITIES, HOSTNAME};
use crate::command::{Output, run};

/// How rsc traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Every call by a tracer.
    Ptrace,
    /// The data plane by notifications.
    Seccomp,
}

/// Which calls leave the compute host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// All.
    Strict,
    /// All but those that the table lets through.
    Auto,
}

/// Where the root file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootPlace {
    /// In the bundle.
    Bundle,
    /// With the sentry; the bundle has none.
    Export,
}

/// A way to run a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// In fresh namespaces of this machine, without a runtime: the reference.
    Native,
    /// By an OCI runtime that knows no flags of rsc's.
    Control,
    /// By rsc-runtime.
    Rsc(Platform, Placement, RootPlace),
    /// By its `remote --all`.
    Remote(Platform, Placement),
}

impl Subject {
    /// All combinations of rsc.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for root in [RootPlace::Bundle, RootPlace::Export] {
            for platform in [Platform::Ptrace, Platform::Seccomp] {
                for placement in [Placement::Strict, Placement::Auto] {
                    all.push(Self::Rsc(platform, placement, root));
                }
            }
        }
        all.extend([
            Self::Remote(Platform::Ptrace, Placement::Strict),
            Self::Remote(Platform::Seccomp, Placement::Auto),
        ]);
        all
    }

    /// Whether it takes a sentry that exports the root.
    #[must_use]
    pub fn needs_export(self) -> bool {
        matches!(self, Self::Rsc(_, _, RootPlace::Export) | Self::Remote(..))
    }
}

fn names(platform: Platform, placement: Placement) -> (&'static str, &'static str) {
    let platform = if platform == Platform::Ptrace { "ptrace" } else { "seccomp" };
    let placement = if placement == Placement::Strict { "strict" } else { "auto" };
    (platform, placement)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Control => f.write_str("control"),
            Self::Rsc(platform, placement, root) => {
                let (platform, placement) = names(*platform, *placement);
                let root = if *root == RootPlace::Bundle { "bundle" } else { "export" };
                write!(f, "{platform}-{placement}-{root}")
            }
            Self::Remote(platform, placement) => {
                let (platform, placement) = names(*platform, *placement);
                write!(f, "remote-{platform}-{placement}")
            }
        }
    }
}

/// What running needs to know.
#[derive(Debug, Clone)]
pub struct Site {
    /// The root file system, a directory of this machine.
    pub root: PathBuf,
    /// A directory for bundles and state.
    pub work: PathBuf,
    /// The OCI runtime.
    pub runtime: PathBuf,
    /// Address of a sentry that exports `root` as `root`, for subjects with an exported root.
    pub sentry: Option<String>,
    /// At most so long for one program.
    pub limit: Duration,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A container id that no other run of this machine has.
#[must_use]
pub fn fresh_id() -> String {
    format!("rsc-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs `args` in the site's root under `subject`, standard input on /dev/null.
///
/// # Errors
/// The bundle cannot be written, or the runtime is not there.
pub fn run_under(subject: Subject, site: &Site, args: &[&str]) -> Result<Output> {
    let (platform, placement, root) = match subject {
        Subject::Rsc(platform, placement, root) => (platform, placement, root),
        Subject::Native => return natively(site, args),
        Subject::Control => {
            return with_runtime(site, &Bundle::new(&site.work.join(fresh_id()), &site.root, args), &[]);
        }
        Subject::Remote(platform, placement) => return remotely(site, platform, placement, args),
    };
    let id = fresh_id();
    let (how, which) = names(platform, placement);
    let mut flags = vec![format!("--platform={how}"), format!("--placement={which}")];
    let dir = site.work.join(id);
    let bundle = match root {
        RootPlace::Bundle => Bundle::new(&dir, &site.root, args),
        RootPlace::Export => {
            let Some(sentry) = &site.sentry else { bail!("no sentry with an export was started") };
            flags.push(format!("--sentry={sentry}"));
            flags.push("--allow-annotations".into());
            Bundle::new(&dir, Path::new("rootfs"), args).annotate("dev.rsc.rootfs", "sentry:root")
        }
    };
    with_runtime(site, &bundle, &flags)
}

/// Without a container. The sentry has the host name and the capabilities of one.
fn remotely(site: &Site, platform: Platform, placement: Placement, args: &[&str]) -> Result<Output> {
    let Some(sentry) = &site.sentry else { bail!("no sentry with an export was started") };
    let (platform, placement) = names(platform, placement);
    // The limits of a container, too.
    let mut c = Command::new("prlimit");
    c.args([
        "--nofile=1024",
        "env",
        "-i",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
    ]);
    c.arg(&site.runtime).args(["--platform", platform, "--placement", placement]);
    c.args(["remote", "--all", "--sentry", sentry, "--"]).args(args);
    run(c.stdin(Stdio::null()), site.limit)
}

fn with_runtime(site: &Site, bundle: &Bundle, flags: &[String]) -> Result<Output> {
    let dir = bundle.write()?;
    let id = dir.file_name().context("bundle without a name")?;
    let state = site.work.join("state");
    let global = |c: &mut Command| {
        c.arg("--root").arg(&state).args(flags).env_remove("RSC_SENTRY");
    };
    let mut c = Command::new(&site.runtime);
    global(&mut c);
    let out = run(c.arg("run").arg("--bundle").arg(dir).arg(id).stdin(Stdio::null()), site.limit)?;
    if out.code.is_none() {
        let mut c = Command::new(&site.runtime);
        global(&mut c);
        run(c.args(["delete", "--force"]).arg(id), Duration::from_secs(20))?;
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    Ok(out)
}

// The same world as a container's, made with util-linux alone.
const NATIVE: &str = r#"
set -eu
root=$1 caps=$2 name=$3; shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o nosuid,mode=755 tmpfs "$root/dev"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/tmp"
for d in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$root/dev/${d%:*}" c 1 "${d#*:}"; done
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs -o nosuid,noexec,nodev,mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"; ln -s /proc/self/fd "$root/dev/fd"
for i in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${i%:*}" "$root/dev/${i#*:}"; done
hostname "$name"
ip link set lo up
ulimit -Sn 1024; ulimit -Hn 1024
cd "$root"
for fd in "$root"/proc/1/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done
exec setsid env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    setpriv --bounding-set "-all,$caps" --inh-caps=-all chroot "$root" "$@"
"#;

fn natively(site: &Site, args: &[&str]) -> Result<Output> {
    let caps: Vec<_> =
        CAPABILITIES.iter().map(|c| format!("+{}", c.trim_start_matches("CAP_").to_lowercase())).collect();
    run(
        Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private"])
            .args(["bash", "-c", NATIVE, "natively"])
            .arg(&site.root)
            .args([&caps.join(","), HOSTNAME])
            .args(args)
            .stdin(Stdio::null()),
        site.limit,
    )
}
