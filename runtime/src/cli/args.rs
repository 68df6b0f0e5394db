//! The command line, flag for flag as runc's where runc has one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rsc_oci::annotations::{Loss, Placement, Platform};

use crate::install::Client;
use crate::lifecycle::update::parse_size;

/// Runs OCI containers whose every system call is carried out by a sentry.
#[derive(Debug, Parser)]
#[command(
    name = "rsc-runtime",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = false
)]
pub struct Cli {
    /// Settings of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`.
    Json,
}

/// Settings of all commands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Directory for the state of containers [default: /run/rsc; for a user without privileges $XDG_RUNTIME_DIR/rsc, /run/user/UID/rsc or /tmp/rsc-UID]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// File for messages [default: standard error]
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of messages
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub log_format: LogFormat,
    /// Write more messages
    #[arg(long, global = true)]
    pub debug: bool,
    /// Have systemd make the cgroup, as a scope; linux.cgroupsPath is then SLICE:PREFIX:NAME
    #[arg(long, global = true)]
    pub systemd_cgroup: bool,
    /// Accepted as runc's: true, false or auto
    #[arg(long,  value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = ["true", "false", "auto"])]
    pub rootless: Option<String>,
    /// Address of the sentry: tcp://HOST:PORT, vsock://CID:PORT or unix:///PATH [default: a private one]
    #[arg(long, global = true, value_name = "URL", env = "RSC_SENTRY")]
    pub sentry: Option<String>,
    /// How to trap system calls: auto, ptrace, seccomp
    #[arg(long, global = true, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// Where system calls are carried out: strict (all by the sentry) or auto
    #[arg(long, global = true, value_name = "PLACEMENT")]
    pub placement: Option<Placement>,
    /// Write every system call to FILE (`-` or nothing: standard error)
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub strace: Option<PathBuf>,
    /// File whose first line is the token for the sentry
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities that may vouch for the sentry
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate to show to the sentry
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The host's configuration [default: /etc/rsc/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let annotations choose a sentry or a root, whatever the host's configuration says
    #[arg(long, global = true)]
    pub allow_annotations: bool,
    /// What becomes of a workload whose sentry is lost: kill, freeze, eio
    #[arg(long, global = true, value_name = "MODE")]
    pub on_loss: Option<Loss>,
    /// Seconds after which a broken session is lost [default: 30]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub loss_grace: Option<u64>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create and start a container, wait for its end, delete it
    Run(RunArgs),
    /// Create a container
    Create(CreateArgs),
    /// Start the program of a created container
    Start(Id),
    /// Run one more process in a container
    #[command(
        override_usage = "rsc-runtime exec [OPTIONS] ID COMMAND [ARGS]...\n       rsc-runtime exec [OPTIONS] --process FILE ID"
    )]
    Exec(ExecArgs),
    /// Run a program whose system calls, chosen ones or all, are carried out by a sentry
    #[command(
        override_usage = "rsc-runtime remote [OPTIONS] --sentry URL (--all | --syscalls LIST | --rules FILE) -- PROGRAM [ARGS]..."
    )]
    Remote(Box<RemoteArgs>),
    /// Take over a running process: chosen system calls of it are carried out by a sentry
    Attach(AttachArgs),
    /// Give a process back that attach has taken over
    Detach(DetachArgs),
    /// Take over processes that others start, as rules say, and share their system calls with a sentry
    Watch(Box<WatchArgs>),
    /// Print the state of a container as JSON
    State(Id),
    /// Send a signal to a container's init
    Kill(KillArgs),
    /// Print the processes of a container
    Ps(PsArgs),
    /// Freeze all processes of a container
    Pause(Id),
    /// Let the processes of a paused container run on
    Resume(Id),
    /// Change the limits of a container
    Update(Box<UpdateArgs>),
    /// Print what a container uses, again and again
    Events(EventsArgs),
    /// Not supported
    Checkpoint(Unsupported),
    /// Not supported
    Restore(Unsupported),
    /// Delete a stopped container
    Delete(DeleteArgs),
    /// List containers
    List(ListArgs),
    /// Write a config.json to begin with
    Spec(SpecArgs),
    /// Print what is supported as JSON
    Features,
    /// Answer the preload library and the SDK of this user's processes; they start it when they need it
    Broker(BrokerArgs),
    /// Say which rule decides about a system call
    Explain(ExplainArgs),
    /// Check files of rules for system calls
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Make a container tool know this runtime; without --write, say how
    Install(InstallArgs),
    /// Undo what install has done; without --write, say how
    Uninstall(InstallArgs),
    /// Write the man pages, or a shell's completions, made from this very command line
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// Of one container.
#[derive(Debug, Args)]
pub struct Id {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// What `create` and `run` have in common.
#[derive(Debug, Args)]
pub struct Common {
    /// Directory of the bundle [default: the working directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// File for the pid of the container's init
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Unix socket that is sent the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Accepted: nothing is pivoted into
    #[arg(long)]
    pub no_pivot: bool,
    /// Accepted: the workload has a keyring of no host
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass on so many descriptors, from 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What `create` has too.
    #[command(flatten)]
    pub common: Common,
    /// Do not wait for its end
    #[arg(long, short)]
    pub detach: bool,
    /// Do not delete it at its end
    #[arg(long)]
    pub keep: bool,
    /// Name of the container; one is made when left out
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}

/// `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What `run` has too.
    #[command(flatten)]
    pub common: Common,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// File with the process, in the form of config.json's; then no COMMAND
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// With a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// Unix socket that is sent the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(long, short)]
    pub detach: bool,
    /// File for its pid
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Entry for the environment
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// User, and group
    #[arg(long, short, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Further group
    #[arg(long, short = 'g', value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// Capability to add
    #[arg(long, short, value_name = "NAME")]
    pub cap: Vec<String>,
    /// Programs can't gain privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Accepted where SELinux is not active
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// Accepted where AppArmor is not active
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Pass on so many descriptors, from 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Cgroup below the container's
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub cgroup: Vec<String>,
    /// Even if the container is paused
    #[arg(long)]
    pub ignore_paused: bool,
    /// The container, then the program and its arguments
    #[arg(value_name = "ID COMMAND", trailing_var_arg = true, required = true)]
    pub words: Vec<String>,
}

/// `remote`. The address of the sentry is a setting of all commands.
#[derive(Debug, Args)]
pub struct RemoteArgs {
    /// Carry out all system calls there: the program has the server's context whole
    #[arg(long, conflicts_with_all = ["syscalls", "rules"])]
    pub all: bool,
    /// System calls that are carried out there, with commas between them
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub syscalls: Vec<String>,
    /// Rules that say which call is carried out where
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Whose standard streams the program has: the caller's (local) or the sentry process's own (remote)
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    pub stdio: Streams,
    /// Tree of the server whose files the program sees [default: the only one that the caller may use]
    #[arg(long, value_name = "NAME")]
    pub export: Option<String>,
    /// Working directory there [default: / with --all, else the one here counts]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// User there, and group [default: root at a sentry of root's, else its own]
    #[arg(long, short, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Entry for the environment, besides the caller's; a NAME alone removes one
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM ARGS", trailing_var_arg = true, required = true)]
    pub words: Vec<OsString>,
}

/// `attach`. The address of the sentry is a setting of all commands.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// System calls that are carried out there, with commas between them
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub syscalls: Vec<String>,
    /// Rules that say which call is carried out where
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Take over the processes, too, that it makes from now on
    #[arg(long)]
    pub follow_children: bool,
    /// Tree of the server whose files the process sees [default: the only one that the caller may use]
    #[arg(long, value_name = "NAME")]
    pub export: Option<String>,
    /// Working directory there [default: the process keeps the one here]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// The process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
}

/// `detach`.
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// Also with remote descriptors open, which fail from then on
    #[arg(long)]
    pub force: bool,
    /// The process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
}

/// `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Rules that say which processes are taken over ([[watch]]), and which of their calls is carried out where
    #[arg(long, value_name = "FILE")]
    pub rules: PathBuf,
    /// System calls that are carried out there, with commas between them, where no rule says otherwise
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub syscalls: Vec<String>,
    /// File for what is found and for each process's calls, lines of JSON [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Only tell of processes; take none over, and need no sentry
    #[arg(long)]
    pub dry_run: bool,
    /// Tree of the server whose files the processes see [default: the only one that the caller may use]
    #[arg(long, value_name = "NAME")]
    pub export: Option<String>,
    /// Working directory there [default: the one here counts]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// User there, and group [default: whoever the sentry is]
    #[arg(long, short, value_name = "UID[:GID]")]
    pub user: Option<String>,
}

/// Whose standard streams a remote program has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Streams {
    /// The caller's.
    #[default]
    Local,
    /// The sentry's.
    Remote,
}

/// `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// To all processes of the container
    #[arg(long, short)]
    pub all: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Number or name
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    pub signal: String,
}

/// `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Format of the list
    #[arg(long, short, value_enum, default_value_t)]
    pub format: ListFormat,
    /// The container, then options for ps(1) [default: -ef]
    #[arg(value_name = "ID OPTIONS", trailing_var_arg = true, required = true)]
    pub words: Vec<String>,
}

/// `update`. Sizes can be written like 100m.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// File with linux.resources, `-` for standard input; then the other flags are ignored
    #[arg(long, short, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Weight for block devices, 10 to 1000
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub blkio_weight: u16,
    /// Period of the quota in µs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cpu_period: u64,
    /// Processor time in a period in µs
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub cpu_quota: i64,
    /// Relative weight of processor time
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cpu_share: u64,
    /// Period of real-time tasks in µs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cpu_rt_period: u64,
    /// Processor time of real-time tasks in a period in µs
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub cpu_rt_runtime: i64,
    /// Processors
    #[arg(long, value_name = "LIST", default_value = "")]
    pub cpuset_cpus: String,
    /// Memory nodes
    #[arg(long, value_name = "LIST", default_value = "")]
    pub cpuset_mems: String,
    /// Memory
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size, allow_negative_numbers = true)]
    pub memory: i64,
    /// Memory, soft limit
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size, allow_negative_numbers = true)]
    pub memory_reservation: i64,
    /// Memory and swap together; -1: without limit
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size, allow_negative_numbers = true)]
    pub memory_swap: i64,
    /// Accepted without effect, as by current kernels
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory: Option<String>,
    /// The same
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory_tcp: Option<String>,
    /// Processes and threads; -1: without limit
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub pids_limit: i64,
    /// Not supported
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Not supported
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Time between two lines, like 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub interval: Duration,
    /// One line, then end
    #[arg(long)]
    pub stats: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// What no command line can have honoured.
#[derive(Debug, Args)]
pub struct Unsupported {
    /// Accepted, so that the refusal is the message
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<OsString>,
}

/// A time as Go writes it: `1h30m`, `5s`, `500ms`, `1.5s`; `0`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}; write 5s or 500ms");
    let (mut rest, mut total) = (text, 0.0);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(invalid)?;
        let (number, unit_on) = rest.split_at(digits);
        let unit_end = unit_on.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit_on.len());
        let (unit, after) = unit_on.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(invalid()),
        };
        total += number.parse::<f64>().map_err(|_| invalid())? * seconds;
        rest = after;
    }
    if text.is_empty() { Err(invalid()) } else { Duration::try_from_secs_f64(total).map_err(|_| invalid()) }
}

/// `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// End it first if it still runs; nothing to delete is no error
    #[arg(long, short)]
    pub force: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// How `list` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns.
    #[default]
    Table,
    /// An array of states.
    Json,
}

/// `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Ids alone
    #[arg(long, short)]
    pub quiet: bool,
    /// Format of the list
    #[arg(long, short, value_enum, default_value_t)]
    pub format: ListFormat,
}

/// `spec`.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Directory to write config.json to [default: the working directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// For a user without privileges
    #[arg(long = "rootless")]
    pub for_rootless: bool,
}

/// `install` and `uninstall`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The tool
    #[arg(value_enum, value_name = "CLIENT")]
    pub client: Client,
    /// Its file of settings [default: the usual one below /etc]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The runtime's name there
    #[arg(long, value_name = "NAME", default_value = "rsc")]
    pub name: String,
    /// Folder of rsc-runtime and containerd-shim-rsc-v1 [default: that of this program]
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Change the file
    #[arg(long)]
    pub write: bool,
}

/// `broker`.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// Unix socket to listen at [default: broker.sock where the state of containers is]
    #[arg(long, value_name = "PATH", env = "RSC_BROKER")]
    pub socket: Option<PathBuf>,
    /// Go to the background once it listens
    #[arg(long)]
    pub detach: bool,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// File of rules [default: the built-in ones alone]
    #[arg(long, value_name = "FILE", env = "RSC_RULES")]
    pub rules: Option<PathBuf>,
    /// Calls that are remote where no rule says otherwise, with commas between; or all
    #[arg(long, value_name = "LIST", env = "RSC_SYSCALLS")]
    pub syscalls: Option<String>,
    /// Program that makes the call
    #[arg(long, value_name = "PATH")]
    pub executable: Option<PathBuf>,
    /// Name under which the address was looked up
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// The call, then its paths and flags or its address, as strace writes them
    #[arg(value_name = "CALL ARG", required = true)]
    pub words: Vec<String>,
}

/// `rules`.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Find mistakes, and rules that never decide anything
    Check(RulesFile),
    /// Print the JSON schema of files of rules
    Schema,
}

/// A file of rules.
#[derive(Debug, Args)]
pub struct RulesFile {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `generate`, for packages.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What
    #[arg(value_enum, value_name = "WHAT")]
    pub what: Generated,
    /// Folder to write to
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// What `generate` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// A page, and one for each command.
    Man,
    /// For bash.
    Bash,
    /// For zsh.
    Zsh,
    /// For fish.
    Fish,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [("5s", 5000), ("500ms", 500), ("1h1m", 3_660_000), ("1.5s", 1500), ("0", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "1x", "-1s", "9999999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
