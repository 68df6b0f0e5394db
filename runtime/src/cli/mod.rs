//! The command line: parsing, where state and messages go, and which function a command is.

pub mod args;
pub mod config;
mod generate;
pub mod log;
mod root;
mod rules;
pub mod settings;
pub mod time;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use rsc_oci::annotations::Permitted;
use rsc_oci::exec::Changes;
use rsc_oci::{ContainerId, Store, defaults};

use crate::install;
use crate::lifecycle::exec::{ExecOptions, What};
use crate::lifecycle::update::Limits;
use crate::lifecycle::{self, CreateOptions, LifecycleError};
use args::{Cli, Command, Common, ExecArgs, Global, ListFormat, LogFormat};
use config::HostConfig;
use log::Log;

/// What a command needs besides its own arguments.
#[derive(Debug)]
pub struct Context {
    /// All containers.
    pub store: Store,
    /// Settings of all commands, as given.
    pub global: Global,
    /// Where messages go.
    pub log: Log,
}

/// Runs the command in `argv`; what the process is to exit with.
pub fn main(argv: Vec<OsString>) -> u8 {
    if own_words(&argv).any(|arg| arg == "--version" || arg == "-v") {
        return print(&version());
    }
    let argv = with_strace_value(argv);
    let cli = match Cli::try_parse_from(&argv) {
        Ok(cli) => cli,
        Err(error) => return misuse(&error, &argv),
    };
    let log = match Log::open(cli.global.log.as_deref(), cli.global.log_format) {
        Ok(log) => log,
        Err(error) => {
            let path = cli.global.log.unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "rsc-runtime: opening the log {}: {error}", path.display());
            return 1;
        }
    };
    log.install(cli.global.debug);
    let root = match &cli.command {
        // It has no state, and shall leave no folder.
        Command::Remote(_) => Ok(PathBuf::new()),
        _ => root::state_root(&cli.global),
    };
    let done = root.and_then(|root| {
        let context = Context { store: Store::new(root), global: cli.global, log: log.clone() };
        dispatch(&context, cli.command)
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            log.fatal(&error.to_string());
            error.exit_code()
        }
    }
}

fn dispatch(context: &Context, command: Command) -> Result<u8, LifecycleError> {
    if context.global.systemd_cgroup && !rsc_oci::systemd::is_running() {
        return Err(unsupported(
            "systemd cgroup flag passed, but systemd support for managing cgroups is not available",
        ));
    }
    let store = &context.store;
    let done = |()| 0;
    match command {
        Command::Run(args) => {
            let id = match args.id {
                Some(id) => ContainerId::parse(&id)?,
                None => fresh_id("rsc")?,
            };
            let options = create_options(context, args.common, id)?;
            lifecycle::run::run(context, &options, args.detach, args.keep)
        }
        Command::Create(args) => {
            let options = create_options(context, args.common, ContainerId::parse(&args.id)?)?;
            lifecycle::create::create(context, &options, false).map(|_| 0)
        }
        Command::Start(args) => lifecycle::start::start(store, &args.id).map(done),
        Command::Exec(args) => lifecycle::exec::exec(context, exec_options(args)?),
        Command::Remote(args) => crate::remote::run(context, *args),
        Command::Attach(args) => crate::remote::attach::attach(context, &args),
        Command::Detach(args) => crate::remote::attach::detach(&args),
        Command::Watch(args) => crate::remote::watch::run(context, &args),
        Command::State(args) => Ok(print(&json(&lifecycle::state::state(store, &args.id)?)?)),
        Command::Ps(args) => ps(store, args),
        Command::Pause(args) => lifecycle::pause::pause(store, &args.id).map(done),
        Command::Resume(args) => lifecycle::pause::resume(store, &args.id).map(done),
        Command::Update(args) => update(store, *args).map(done),
        Command::Events(args) if args.stats => lifecycle::events::once(store, &args.id).map(done),
        Command::Events(args) => lifecycle::events::watch(store, &args.id, args.interval).map(done),
        Command::Checkpoint(_) => Err(unsupported("checkpoint is not supported: a sandbox can't be saved to a file")),
        Command::Restore(_) => Err(unsupported("restore is not supported: a sandbox can't be saved to a file")),
        Command::Kill(args) => lifecycle::kill::kill(store, &args.id, &args.signal, args.all).map(done),
        Command::Delete(args) => lifecycle::delete::delete(store, &args.id, args.force).map(done),
        Command::List(args) => {
            let views = lifecycle::state::list(store)?;
            Ok(print(&match (args.quiet, args.format) {
                (true, _) => lifecycle::state::ids(&views),
                (false, ListFormat::Table) => lifecycle::state::table(&views),
                (false, ListFormat::Json) => json(&views)?,
            }))
        }
        Command::Spec(args) => write_spec(args.bundle.as_deref(), args.for_rootless).map(done),
        Command::Features => Ok(print(&json(&defaults::features())?)),
        Command::Broker(args) => crate::remote::broker::run(context, &args),
        Command::Explain(args) => Ok(print(&rules::explain(args)?)),
        Command::Rules(args::RulesCommand::Schema) => Ok(print(&json(&crate::remote::rules::schema())?)),
        Command::Rules(args::RulesCommand::Check(args)) => {
            let found = rules::check(&args.file)?;
            Ok(print(&found).max(u8::from(!found.is_empty())))
        }
        Command::Generate(args) => {
            let failed = LifecycleError::io("writing to", args.dir.display().to_string());
            generate::generate(args.what, &args.dir).map_err(failed).map(done)
        }
        Command::Install(args) => Ok(print(&install::install(&install_plan(args)?)?)),
        Command::Uninstall(args) => Ok(print(&install::uninstall(&install_plan(args)?)?)),
    }
}

fn install_plan(args: args::InstallArgs) -> Result<install::Plan, LifecycleError> {
    let programs = match args.programs {
        Some(folder) => {
            std::path::absolute(&folder).map_err(LifecycleError::io("resolving", folder.display().to_string()))?
        }
        None => {
            let own = std::env::current_exe().map_err(LifecycleError::io("finding", "this program"))?;
            own.parent().unwrap_or(Path::new("/")).to_owned()
        }
    };
    Ok(install::Plan { client: args.client, file: args.file, name: args.name, programs, write: args.write })
}

fn unsupported(text: &str) -> LifecycleError {
    LifecycleError::Unsupported(text.to_owned())
}

fn ps(store: &Store, args: args::PsArgs) -> Result<u8, LifecycleError> {
    let mut words = args.words.into_iter();
    let pids = lifecycle::ps::pids(store, &words.next().unwrap_or_default())?;
    Ok(print(&match args.format {
        ListFormat::Json => format!("{pids:?}\n").replace(", ", ","),
        ListFormat::Table => lifecycle::ps::table(&pids, &words.collect::<Vec<_>>())?,
    }))
}

fn update(store: &Store, args: args::UpdateArgs) -> Result<(), LifecycleError> {
    if args.l3_cache_schema.is_some() || args.mem_bw_schema.is_some() {
        return Err(unsupported("--l3-cache-schema and --mem-bw-schema are not supported; leave them out"));
    }
    let resources = match &args.resources {
        Some(path) => lifecycle::update::read(path)?,
        None => Limits {
            blkio_weight: args.blkio_weight,
            cpu_period: args.cpu_period,
            cpu_quota: args.cpu_quota,
            cpu_share: args.cpu_share,
            cpu_rt_period: args.cpu_rt_period,
            cpu_rt_runtime: args.cpu_rt_runtime,
            cpuset_cpus: args.cpuset_cpus,
            cpuset_mems: args.cpuset_mems,
            memory: args.memory,
            memory_reservation: args.memory_reservation,
            memory_swap: args.memory_swap,
            pids_limit: args.pids_limit,
        }
        .resources(),
    };
    lifecycle::update::update(store, &args.id, &resources)
}

fn exec_options(args: ExecArgs) -> Result<ExecOptions, LifecycleError> {
    let mut words = args.words.into_iter();
    let id = words.next().unwrap_or_default();
    let what = match args.process {
        Some(path) => What::File(path),
        None => What::Changed(Changes {
            args: words.collect(),
            terminal: args.tty,
            cwd: args.cwd,
            env: args.env,
            user: args.user,
            additional_gids: args.additional_gids,
            capabilities: args.cap,
            no_new_privileges: args.no_new_privs.then_some(true),
            apparmor_profile: args.apparmor,
            selinux_label: args.process_label,
        }),
    };
    Ok(ExecOptions {
        id,
        what,
        detach: args.detach,
        pid_file: args.pid_file,
        console_socket: args.console_socket,
        preserve_fds: args.preserve_fds,
        ignore_paused: args.ignore_paused,
        cgroups: args.cgroup,
    })
}

fn create_options(context: &Context, common: Common, id: ContainerId) -> Result<CreateOptions, LifecycleError> {
    let config = HostConfig::load(context.global.config.as_deref())?;
    Ok(CreateOptions {
        id,
        bundle: common.bundle.unwrap_or_else(|| PathBuf::from(".")),
        pid_file: common.pid_file,
        console_socket: common.console_socket,
        preserve_fds: common.preserve_fds,
        permitted: if context.global.allow_annotations { Permitted::all() } else { config.permitted() },
        config,
    })
}

/// A name that nothing else has.
pub(crate) fn fresh_id(prefix: &str) -> Result<ContainerId, LifecycleError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| LifecycleError::io("making", "a container id")(std::io::Error::other(error.to_string())))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ContainerId::parse(&format!("{prefix}-{hex}"))?)
}

fn write_spec(bundle: Option<&Path>, rootless: bool) -> Result<(), LifecycleError> {
    let path = bundle.unwrap_or(Path::new(".")).join("config.json");
    let text = if rootless {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        json(&defaults::rootless(uid.as_raw(), gid.as_raw()))?
    } else {
        defaults::SPEC.to_owned()
    };
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(LifecycleError::io("writing", path.display().to_string()))
}

fn version() -> String {
    let commit = option_env!("RSC_COMMIT").unwrap_or("unknown");
    format!("rsc-runtime version {}\ncommit: {commit}\nspec: {}\n", env!("CARGO_PKG_VERSION"), defaults::OCI_VERSION)
}

fn json(value: &impl serde::Serialize) -> Result<String, LifecycleError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| LifecycleError::io("writing", "JSON")(std::io::Error::from(error)))?;
    Ok(text + "\n")
}

/// Prints a result. A reader that went away is no failure of the command.
fn print(text: &str) -> u8 {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}

/// Help goes to standard output; a mistake is one line on standard error, and in the log.
fn misuse(error: &clap::Error, argv: &[OsString]) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return print(&error.render().to_string());
    }
    let message = if error.kind() == ErrorKind::MissingSubcommand {
        "no command given".to_owned()
    } else {
        let text = error.render().to_string();
        let words: Vec<&str> = text.split("\n\n").next().unwrap_or_default().split_whitespace().collect();
        let line = words.join(" ");
        line.strip_prefix("error: ").unwrap_or(&line).to_owned()
    };
    log_of(argv).unwrap_or_default().fatal(&format!("{message}; see rsc-runtime --help"));
    let command = argv.get(own_words(argv).count() + 1);
    if command.is_some_and(|word| word == "remote") { lifecycle::REMOTE_FAILED } else { 1 }
}

/// The log that a command line with mistakes names, as far as it can be understood.
fn log_of(argv: &[OsString]) -> Option<Log> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(argv).ok()?;
    let path = matches.try_get_one::<PathBuf>("log").ok()??;
    let format = matches.try_get_one::<LogFormat>("log_format").ok().flatten().copied().unwrap_or_default();
    Log::open(Some(path), format).ok()
}

/// How many descriptors behind 0, 1 and 2 a command line may want to pass on to a workload; looked at before it is parsed, when
/// nothing of ours is open yet. A program's argument may look like the flag: what is kept for it is not passed on.
pub fn passed_on(argv: &[OsString]) -> u32 {
    const FLAG: &str = "--preserve-fds";
    let mut words = argv.iter().skip(1);
    let mut asked = 0;
    while let Some(word) = words.next() {
        let Some(word) = word.to_str() else { continue };
        let number = match word.strip_prefix(FLAG) {
            Some("") => words.next().and_then(|number| number.to_str()),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        asked = number.and_then(|number| number.parse().ok()).unwrap_or(asked);
    }
    lifecycle::activated().saturating_add(asked).min(lifecycle::MAX_PASSED)
}

/// The words before the program of an `exec` or a `remote` or the options of a `ps`, which have flags of their own.
fn own_words(argv: &[OsString]) -> impl Iterator<Item = &OsString> {
    argv.iter().skip(1).take_while(|arg| *arg != "exec" && *arg != "ps" && *arg != "remote")
}

/// `--strace` may stand without a value right before the command, which then is no file's name.
fn with_strace_value(argv: Vec<OsString>) -> Vec<OsString> {
    let commands = ["run", "create", "start", "remote"];
    let mut result = Vec::with_capacity(argv.len() + 1);
    let own = own_words(&argv).count();
    let foreign = argv.get(own + 1..).unwrap_or_default().to_vec();
    let mut argv = argv.into_iter().take(own + 1).peekable();
    while let Some(arg) = argv.next() {
        let bare = arg == "--strace" && argv.peek().is_none_or(|next| commands.iter().any(|name| next == name));
        result.push(arg);
        if bare {
            result.push(OsString::from("-"));
        }
    }
    result.extend(foreign);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn command_lines_of_clients() {
        for line in [
            "r --root /r/ns --log /l --log-format json create --bundle /b --pid-file /p c1",
            "r --log-format=json --log /l create --bundle /b --pid-file /p --console-socket /s c1",
            "r --root /r delete --force c1",
            "r kill --all c1 9",
            "r kill c1 SIGTERM",
            "r run c1",
            "r run -d -b /b --pid-file p c1",
            "r run --bundle /b",
            "r --rootless=auto run --sentry tcp://h:1 --placement=strict x",
            "r list -q",
            "r list --format json",
            "r spec --rootless -b /b",
            "r remote --sentry tcp://h:1 --all -- ls -l",
            "r --sentry tcp://h:1 remote --all --export e --cwd /d --stdio remote -u 1:2 -e A=b ls --all",
            "r remote --syscalls openat,read --rules f cat",
        ] {
            Cli::try_parse_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "r",
            "r fly",
            "r run --fly",
            "r --platform kvm run",
            "r create",
            "r --log-format xml list",
            "r remote --all",
            "r remote --all --rules f x",
        ] {
            assert!(Cli::try_parse_from(words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn strace_with_and_without_a_file() {
        for (line, file) in [
            ("r --strace run -b x", "-"),
            ("r --strace f run -b x", "f"),
            ("r --strace=f run -b x", "f"),
            ("r run --strace -b x", "-"),
            ("r run -b x --strace", "-"),
            ("r --strace remote --all x", "-"),
        ] {
            let cli = Cli::try_parse_from(with_strace_value(words(line))).unwrap();
            assert_eq!(cli.global.strace, Some(PathBuf::from(file)), "{line}");
        }
    }

    #[test]
    fn mistakes_are_logged() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let argv = |line: &str| words(&line.replace("LOG", log.to_str().unwrap()));
        for line in [
            "r --log LOG --log-format json run --fly x",
            "r run --log-format=json --log=LOG --on-loss=cry x",
            "r --log-format json --log LOG fly",
            "r --log-format json --log LOG",
        ] {
            let argv = argv(line);
            let error = Cli::try_parse_from(&argv).unwrap_err();
            assert_eq!(misuse(&error, &argv), 1, "{line}");
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(said.starts_with("{\"level\":\"error\"") && said.lines().count() == 1, "{line}: {said}");
            std::fs::remove_file(&log).unwrap();
        }
    }

    #[test]
    fn ids_are_made() {
        assert_ne!(fresh_id("rsc").unwrap(), fresh_id("rsc").unwrap());
    }

    #[test]
    fn three_lines() {
        assert_eq!(version().lines().count(), 3);
    }
}
