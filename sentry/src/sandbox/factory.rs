//! Opens sandboxes: from the supervisor's description to a kernel with a first task.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use rsc_proto::abi::{Errno, Rlimit64};
use rsc_proto::table;
use rsc_proto::transport::Peer;
use rsc_proto::v1;
use tokio::task::JoinSet;

use super::context::Context;
use super::namespaces::{Chosen, Namespaces};
use super::remote_host::RemoteHost;
use super::{SessionSandbox, console, tell_of_listeners};
use crate::fs::gofer::GoferFs;
use crate::gofer::GoferClient;
use crate::kernel::credentials::{Credentials, cap};
use crate::kernel::lifecycle::Init;
use crate::kernel::seccomp::Profile;
use crate::kernel::task::rlimit;
use crate::kernel::{Kernel, KernelParts};
use crate::net::broker::Start;
use crate::net::{NetConfig, NetStack};
use crate::server::guests::Handed;
use crate::server::sandbox::{GoferStream, OpenError, Opened, Outbox, SandboxFactory};
use crate::syscalls::exec;
use crate::vfs::build::{BuildError, Sources, exports_wanted};
use crate::vfs::{FileSystem, Vfs};

/// Where trees of the kernel host come from.
pub trait ExportSource {
    /// Starts a gofer for the export, if this peer may have it. A read-only export's gofer refuses writes itself. `plain_ids`: files
    /// have the owners that they have on this machine.
    fn start(&self, name: &str, peer: &Peer, plain_ids: bool) -> Result<GoferStream, OpenError>;
    /// The only export that this peer may have.
    fn only(&self, peer: &Peer) -> Result<String, OpenError>;
}

/// What `sentry serve` was told.
#[derive(Clone)]
pub struct KernelSettings {
    /// Trees of the kernel host.
    pub exports: Rc<dyn ExportSource>,
    /// The network of sandboxes.
    pub net: NetConfig,
    /// Starts the socket brokers of that network.
    pub broker: Start,
    /// The sentry's own.
    pub context: Rc<Context>,
}

/// See the module's text.
pub struct KernelFactory {
    settings: KernelSettings,
    namespaces: Namespaces,
}

impl KernelFactory {
    /// A factory of kernels with these settings.
    pub fn new(settings: KernelSettings) -> Self {
        Self { settings, namespaces: Namespaces::default() }
    }

    /// Attaches to the gofers that came with the session, and to those of the exports that the description names.
    async fn sources(
        &self,
        sandbox: &v1::Sandbox,
        peer: &Peer,
        gofers: Vec<GoferStream>,
        host: &Rc<RemoteHost>,
    ) -> Result<Sources, OpenError> {
        let mut sources = Sources { gofers: Vec::new(), exports: BTreeMap::new() };
        for (i, stream) in gofers.into_iter().enumerate() {
            let what =
                sandbox.gofers.get(i).map_or_else(|| format!("gofer {i}"), |name| format!("the gofer of {name:?}"));
            sources.gofers.push(attach(stream, host, &what).await?);
        }
        for name in exports_wanted(sandbox) {
            let stream = self.settings.exports.start(&name, peer, sandbox.in_context)?;
            let fs = attach(stream, host, &format!("the gofer of export {name:?}")).await?;
            sources.exports.insert(name, fs);
        }
        Ok(sources)
    }
}

async fn attach(stream: GoferStream, host: &Rc<RemoteHost>, what: &str) -> Result<Rc<dyn FileSystem>, OpenError> {
    let unavailable = |e: &dyn std::fmt::Display| OpenError::Unavailable(format!("attaching to {what}: {e}"));
    let client = GoferClient::new(stream).map_err(|e| unavailable(&e))?;
    let fs = GoferFs::attach(client, host.clone()).await.map_err(|e| unavailable(&e))?;
    Ok(fs)
}

fn invalid(e: BuildError) -> OpenError {
    OpenError::Invalid(e.to_string())
}

/// Bounds of a description; anything larger is no container.
const ARGS_MAX: usize = 1 << 16;
const MOUNTS_MAX: usize = 4096;
const GROUPS_MAX: usize = 65_536;
const DESCRIPTORS_MAX: usize = 256;

fn check(sandbox: &v1::Sandbox) -> Result<&v1::Process, OpenError> {
    let invalid = |what: String| OpenError::Invalid(format!("sandbox {:?}: {what}", sandbox.id));
    let process = sandbox.process.as_ref().ok_or_else(|| invalid("it has no process".into()))?;
    check_process(process, &sandbox.stdio).map_err(invalid)?;
    if sandbox.mounts.len() > MOUNTS_MAX {
        return Err(invalid(format!("more than {MOUNTS_MAX} mounts")));
    }
    Ok(process)
}

/// What every process of a sandbox has to be.
fn check_process(process: &v1::Process, stdio: &[v1::Stdio]) -> Result<(), String> {
    if process.args.is_empty() || process.args.len() > ARGS_MAX || process.env.len() > ARGS_MAX {
        return Err(format!("process.args must have 1 to {ARGS_MAX} elements"));
    }
    if !process.cwd.starts_with('/') {
        return Err(format!("process.cwd {:?} is not absolute", process.cwd));
    }
    if process.additional_gids.len() > GROUPS_MAX {
        return Err(format!("more than {GROUPS_MAX} groups"));
    }
    if stdio.len() > DESCRIPTORS_MAX {
        return Err(format!("more than {DESCRIPTORS_MAX} descriptors of the caller's"));
    }
    Ok(())
}

/// Enters a process beside the first one; why not, in words for whoever wanted it.
pub(super) async fn enter(
    kernel: &Kernel,
    host: &RemoteHost,
    context: &Context,
    mut new: v1::NewProcess,
) -> Result<(), String> {
    let mut process = new.process.ok_or("it has no process")?;
    check_process(&process, &new.stdio)?;
    if new.stdio_base.checked_add(DESCRIPTORS_MAX as u32).is_none() {
        return Err("its standard streams have no numbers".into());
    }
    context.dress(&mut process);
    host.lend(context.lent.as_ref(), new.stdio_base, &mut new.stdio)?;
    let creds = credentials(&process);
    let cwd = &process.cwd;
    let fs = kernel.vfs.context_of(&process, Rc::new(creds.clone())).await;
    let fs = fs.map_err(|errno| {
        let reason = nix::errno::Errno::from_raw(errno.number()).desc().to_lowercase();
        let whose = if process.own_capabilities { "there" } else { "set in config.json" };
        format!("chdir to cwd ({cwd:?}) {whose} failed: {reason}")
    })?;
    let (stdio, terminal) = console::open_stdio(kernel, &process, &new.stdio, new.stdio_base).await?;
    let no_new_privs = process.no_new_privileges;
    let init = Init { creds, fs, rlimits: limits(&process), stdio, no_new_privs, terminal };
    kernel.enter(new.tid, init).map(drop).map_err(|error| error.to_string())
}

fn credentials(process: &v1::Process) -> Credentials {
    let valid = (1u64 << (cap::LAST + 1)) - 1;
    let caps = process.capabilities.unwrap_or_default();
    let mut groups = process.additional_gids.clone();
    groups.sort_unstable();
    groups.dedup();
    Credentials {
        uid: process.uid,
        euid: process.uid,
        suid: process.uid,
        fsuid: process.uid,
        gid: process.gid,
        egid: process.gid,
        sgid: process.gid,
        fsgid: process.gid,
        groups: groups.into(),
        effective: caps.effective & valid,
        permitted: caps.permitted & valid,
        inheritable: caps.inheritable & valid,
        bounding: caps.bounding & valid,
        ambient: caps.ambient & valid,
        securebits: 0,
    }
}

fn limits(process: &v1::Process) -> [Rlimit64; rlimit::COUNT] {
    const UNLIMITED: Rlimit64 = Rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    let mut all = [UNLIMITED; rlimit::COUNT];
    all[rlimit::STACK].rlim_cur = 8 << 20;
    all[rlimit::NOFILE] = Rlimit64 { rlim_cur: 1024, rlim_max: 1 << 20 };
    for l in &process.rlimits {
        if let Some(slot) = all.get_mut(l.resource as usize) {
            *slot = Rlimit64 { rlim_cur: l.soft, rlim_max: l.hard };
        }
    }
    all
}

/// The placement table: all that may be native, but what the profile would not let pass or wants to know of.
fn native(seccomp: Option<&Profile>) -> Vec<u32> {
    let all = table::filter_rules().map(|(nr, _)| nr);
    all.filter(|nr| seccomp.is_none_or(|profile| profile.always_allows(*nr))).collect()
}

/// Why the first program can't be executed, in the words which clients of runc look for.
fn no_program(name: &str, errno: Errno) -> OpenError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR if !name.contains('/') => {
            OpenError::NoProgram(format!("exec: {name:?}: executable file not found in $PATH"))
        }
        Errno::ENOENT | Errno::ENOTDIR => {
            OpenError::NoProgram(format!("exec: {name:?}: stat {name}: no such file or directory"))
        }
        Errno::EACCES | Errno::EISDIR => OpenError::UnusableProgram(format!("exec: {name:?}: permission denied")),
        other => {
            let reason = nix::errno::Errno::from_raw(other.number()).desc().to_lowercase();
            OpenError::UnusableProgram(format!("exec: {name:?}: {reason}"))
        }
    }
}

/// PATH of an environment, if it is set.
fn search_path(env: &[String]) -> Option<Vec<u8>> {
    env.iter().find_map(|e| e.strip_prefix("PATH=")).map(|p| p.as_bytes().to_vec())
}

impl SandboxFactory for KernelFactory {
    fn open(
        &self,
        sandbox: v1::Sandbox,
        peer: Peer,
        out: Outbox,
        handed: Handed,
    ) -> LocalBoxFuture<'_, Result<Opened, OpenError>> {
        Box::pin(async move {
            let mut sandbox = sandbox;
            let mut process = check(&sandbox)?.clone();
            let context = Rc::clone(&self.settings.context);
            context.dress(&mut process);
            if sandbox.in_context {
                context.complete(&mut sandbox, &*self.settings.exports, &peer)?;
            }
            let seccomp = sandbox.seccomp.as_ref().map(Profile::new).transpose();
            let seccomp = seccomp
                .map_err(|e| OpenError::Invalid(format!("sandbox {:?}: its seccomp profile {e}", sandbox.id)))?;
            let host = Rc::new(RemoteHost::new(out.clone()));
            let refused = |problem: String| OpenError::Denied(format!("sandbox {:?}: {problem}", sandbox.id));
            let mut streams = sandbox.stdio.clone();
            host.lend(context.lent.as_ref(), 0, &mut streams).map_err(refused)?;
            let sources = self.sources(&sandbox, &peer, handed.gofers, &host).await?;
            let vfs = Vfs::build(host.clone(), &sandbox, &sources).await.map_err(invalid)?;
            let network = || match handed.broker {
                Some(broker) => NetStack::with_broker(broker),
                None => NetStack::with_start(self.settings.net.clone(), Rc::clone(&self.settings.broker)),
            };
            let Chosen { tasks, uts, net } = self.namespaces.choose(&peer.identity, &sandbox, network);
            let kernel = Kernel::new(KernelParts {
                id: sandbox.id.clone(),
                host: host.clone(),
                facts: sandbox.host.clone().unwrap_or_default(),
                tasks,
                uts,
                vfs,
                net,
                seccomp,
                host_pids: sandbox.host_pids,
            });
            *kernel.path.borrow_mut() = search_path(&process.env);
            let fs = kernel.vfs.context(&process).await.map_err(invalid)?;
            let (stdio, terminal) = console::open_stdio(&kernel, &process, &streams, 0)
                .await
                .map_err(|problem| OpenError::Invalid(format!("sandbox {:?}: {problem}", sandbox.id)))?;
            let init = Init {
                creds: credentials(&process),
                fs,
                rlimits: limits(&process),
                stdio,
                no_new_privs: process.no_new_privileges,
                terminal,
            };
            let task = match kernel.enter(sandbox.tid.max(1), init) {
                Ok(task) => task,
                Err(e) => {
                    kernel.close();
                    return Err(OpenError::Invalid(format!("sandbox {:?}: {e}", sandbox.id)));
                }
            };
            let path = kernel.path.borrow().clone();
            let program = process.args.first().map_or("", String::as_str);
            if !sandbox.anchor
                && let Err(errno) = exec::look_up(&kernel, &task, program.as_bytes(), path.as_deref()).await
            {
                kernel.close();
                return Err(no_program(program, errno));
            }
            let native = if sandbox.strict { Vec::new() } else { native(kernel.seccomp.as_ref()) };
            let opened = SessionSandbox { kernel, host, context, out, work: RefCell::new(JoinSet::new()) };
            if !sandbox.published.is_empty() {
                let told = tell_of_listeners(Rc::clone(&opened.kernel), sandbox.published, opened.out.clone());
                opened.spawn(told);
            }
            Ok(Opened { sandbox: Rc::new(opened), native })
        })
    }
}
