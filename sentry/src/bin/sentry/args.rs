//! The command line.

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use rsc_proto::transport::{ClientTls, Dialer, SentryUrl, client_token};
use rsc_sentry::server::exports::{Export, Net};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// The kernel of rsc's sandboxes.
#[derive(Parser)]
#[command(name = "sentry", version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve sandboxes until SIGTERM, which drains
    Serve(Box<ServeArgs>),
    /// List the sessions of a running sentry
    Ps(PsArgs),
    /// Write manual pages of this program and of `gofer` into a folder, for packages
    #[command(hide = true)]
    Man {
        /// The folder, which must exist
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
pub(crate) struct LogArgs {
    /// Write the log to this file [default: standard error]
    #[arg(long, global = true, value_name = "PATH")]
    log: Option<PathBuf>,
    /// The log's format
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Log more
    #[arg(long, global = true)]
    debug: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogArgs {
    pub(crate) fn install(&self) -> anyhow::Result<()> {
        let writer = match &self.log {
            Some(path) => {
                let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
                BoxMakeWriter::new(file.with_context(|| format!("cannot open the log {}", path.display()))?)
            }
            None => BoxMakeWriter::new(std::io::stderr),
        };
        // The libraries underneath talk about every HTTP/2 frame.
        let level = if self.debug { "info,rsc_proto=debug,rsc_sentry=debug,sentry=debug" } else { "info" };
        let builder =
            tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level)).with_writer(writer).with_target(false);
        match self.log_format {
            LogFormat::Text => builder.with_ansi(false).init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// Listen on a unix socket; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Vec<PathBuf>,
    /// Listen on TCP; may be repeated. Needs --tls-client-ca, --token-file or --insecure
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) tcp: Vec<String>,
    /// Listen on a vsock port; may be repeated
    #[arg(long, value_name = "PORT")]
    pub(crate) vsock: Vec<u32>,
    /// Offer a tree of this machine; may be repeated
    #[arg(long, value_name = "NAME=PATH[:ro]")]
    pub(crate) export: Vec<Export>,
    /// The network of sandboxes: none, host, or the path of a network namespace
    #[arg(long, default_value = "none", value_name = "none|host|PATH")]
    pub(crate) net: Net,
    /// Lend standard input, output and error to programs that ask for them (rsc-runtime remote --stdio remote)
    #[arg(long)]
    pub(crate) allow_stdio: bool,
    /// Admit TCP peers by token: lines of TOKEN [NAME [EXPORT…]]
    #[arg(long, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
    /// This sentry's certificate, for TLS on TCP
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Admit TCP peers by certificates of this authority
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Admit every TCP peer
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Admit this uid on unix sockets, besides the sentry's own; may be repeated
    #[arg(long, value_name = "UID")]
    pub(crate) allow_uid: Vec<u32>,
    /// Admit this context identifier on vsock [default: all]; may be repeated
    #[arg(long, value_name = "CID")]
    pub(crate) allow_cid: Vec<u32>,
    /// How long a session without a connection is kept
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    pub(crate) session_grace: u64,
    /// How long a drain waits for sessions to end by themselves
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub(crate) drain_grace: u64,
    /// Serve one session over this inherited socket, then end
    #[arg(long, hide = true, conflicts_with_all = ["unix", "tcp", "vsock"])]
    pub(crate) session_fd: Option<i32>,
    /// Inherited socket through which more sessions come
    #[arg(long, hide = true, requires = "session_fd")]
    pub(crate) door_fd: Option<i32>,
    /// Inherited sockets of the session's gofers, in order
    #[arg(long, hide = true, requires = "session_fd")]
    pub(crate) gofer_fd: Vec<i32>,
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["url", "unix", "tcp", "vsock"]))]
pub(crate) struct PsArgs {
    /// The sentry: tcp://HOST:PORT, vsock://CID:PORT or unix:///PATH
    url: Option<SentryUrl>,
    /// The sentry's unix socket
    #[arg(long, value_name = "PATH")]
    unix: Option<String>,
    /// The sentry's TCP address
    #[arg(long, value_name = "HOST:PORT")]
    tcp: Option<String>,
    /// The sentry's vsock address
    #[arg(long, value_name = "CID:PORT")]
    vsock: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Show the token in this file
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// Use TLS, and trust sentries with certificates of this authority
    #[arg(long, value_name = "PATH")]
    tls_ca: Option<PathBuf>,
    /// Show this certificate
    #[arg(long, value_name = "PATH", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

impl PsArgs {
    pub(crate) fn dialer(&self) -> anyhow::Result<Dialer> {
        let url = match (&self.url, &self.unix, &self.tcp, &self.vsock) {
            (Some(url), ..) => url.clone(),
            (_, Some(path), ..) => {
                let path = std::path::absolute(path).with_context(|| format!("cannot find {path}"))?;
                format!("unix://{}", path.display()).parse()?
            }
            (_, _, Some(addr), _) => format!("tcp://{addr}").parse()?,
            (.., Some(addr)) => format!("vsock://{addr}").parse()?,
            (None, None, None, None) => anyhow::bail!("no sentry given"), // clap sees to it
        };
        let identity = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let tls = self.tls_ca.as_ref().map(|ca| ClientTls::load(ca, identity)).transpose()?;
        let token = self.token_file.as_ref().map(|path| client_token(path)).transpose()?;
        Ok(Dialer::new(url, tls, token.as_deref())?)
    }
}
