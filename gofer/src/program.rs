//! The program: arguments, the jail, the server.

use crate::jail::{self, IdMap, Ids, JailError, Plan};
use crate::server::{Parts, ServeError, Server};
use crate::sys::{Result, ns};
use clap::{CommandFactory as _, Parser};
use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;

/// Descriptors that are not handles': sockets, the root, requests under way.
const RESERVED: usize = 64;

/// Serves one file tree over an inherited socket.
#[derive(Debug, Parser)]
#[command(name = "gofer", version)]
struct Args {
    /// The tree: a directory, or a single file.
    #[arg(long)]
    root: PathBuf,
    /// Refuse every change.
    #[arg(long)]
    ro: bool,
    /// Number of the inherited stream socket with the requests.
    #[arg(long)]
    fd: RawFd,
    /// Number of the inherited socket over which descriptors are given to the supervisor.
    #[arg(long)]
    donate_fd: Option<RawFd>,
    /// Owners of files: INSIDE:OUTSIDE:COUNT, may be repeated [default: every id as it is; without privileges 0:UID:1]
    #[arg(long, requires = "gid_map")]
    uid_map: Vec<IdMap>,
    /// Groups of files, likewise.
    #[arg(long, requires = "uid_map")]
    gid_map: Vec<IdMap>,
}

/// Why the gofer failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {0}: {1:?}")]
    Setup(&'static str, rsc_proto::abi::Errno),
    #[error(transparent)]
    Jail(#[from] JailError),
    #[error("cannot start helper threads: {0}")]
    Threads(#[from] std::io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// The definition of the command line, for its manual page.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the gofer with these arguments (the first is the program's name) until its socket closes. To be called by a process with
/// one thread, before it has done anything else.
pub fn main_from_args(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(e) => {
            // Nothing to be done about a closed stderr.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RSC_LOG").unwrap_or_else(|_| "warn".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn setup<T>(what: &'static str, result: Result<T>) -> std::result::Result<T, Error> {
    result.map_err(|e| Error::Setup(what, e))
}

fn run(args: Args) -> std::result::Result<(), Error> {
    ns::quiet_signals();
    let mut keep = vec![args.fd];
    keep.extend(args.donate_fd);
    setup("close descriptors", ns::close_others(&mut keep))?;
    let socket = setup("take over the request socket", ns::inherited(args.fd))?;
    let donations = setup("take over the donation socket", args.donate_fd.map(ns::inherited).transpose())?;
    let limit = setup("raise the descriptor limit", ns::raise_limit(libc::RLIMIT_NOFILE))? as usize;
    let ids = Ids { uids: args.uid_map, gids: args.gid_map };
    let tree = jail::enter(Plan { root: &args.root, read_only: args.ro, ids })?;
    let own = tree.own.as_raw_fd();
    let donate = donations.as_ref().map(AsRawFd::as_raw_fd);
    // What waits and what is slow has descriptors besides the handles'.
    let max_handles = (limit - (limit / 8).min(2048)).saturating_sub(RESERVED).clamp(16, 1 << 20);
    let server = Server::new(Parts { socket, donations, tree, read_only: args.ro, max_handles })?;
    jail::install_filter(own, donate)?;
    Ok(server.serve()?)
}
