//! Messages to a person or a client: as lines of runc's text or JSON format, to `--log` or standard error.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::args::LogFormat;
use super::time;

/// Where messages go.
#[derive(Clone, Debug, Default)]
pub struct Log {
    file: Option<Arc<File>>,
    format: LogFormat,
}

impl Log {
    /// Opens `path` for appending; none: standard error.
    pub fn open(path: Option<&Path>, format: LogFormat) -> io::Result<Self> {
        let file = match path {
            Some(path) => {
                let mut options = OpenOptions::new();
                // A log that is a FIFO without a reader must not hold us.
                options.append(true).create(true).mode(0o644).custom_flags(libc::O_NONBLOCK);
                Some(Arc::new(options.open(path)?))
            }
            None => None,
        };
        Ok(Self { file, format })
    }

    /// The log's descriptor, if it is a file.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.file.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Makes this the receiver of the process's tracing events.
    pub fn install(&self, debug: bool) {
        let most = if debug { Level::DEBUG } else { Level::INFO };
        let subscriber = tracing_subscriber::registry().with(Lines { log: self.clone(), most });
        // A second one in a process is a mistake without consequences.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    /// The last words of a command that failed: a line on standard error, and one in the log if that is elsewhere.
    pub fn fatal(&self, message: &str) {
        let message = one_line(message);
        if self.file.is_some() {
            self.line("error", &message);
        }
        // Standard error may be closed; then there is nobody to tell.
        let _ = writeln!(io::stderr(), "rsc-runtime: {message}");
    }

    fn line(&self, level: &str, message: &str) {
        let time = time::now();
        let line = match self.format {
            LogFormat::Json => {
                // Through the serializer, for its escapes.
                let text = |text: &str| serde_json::Value::from(text).to_string();
                format!("{{\"level\":{},\"msg\":{},\"time\":{}}}\n", text(level), text(message), text(&time))
            }
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
        };
        // One write a line: others append to the same file. A log that can't be written must not end a container.
        let _ = match &self.file {
            Some(file) => (&**file).write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

/// Messages hold what was given to us; a line break in it would forge a second message.
fn one_line(message: &str) -> String {
    message.replace(['\n', '\r'], " ").trim().to_owned()
}

struct Lines {
    log: Log,
    most: Level,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = metadata.target().starts_with("rsc_");
        *metadata.level() <= if ours { self.most } else { Level::WARN }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        // Without a log, only what a person must know goes between the workload's lines.
        if self.log.file.is_some() || *event.metadata().level() <= Level::WARN || self.most == Level::DEBUG {
            self.log.line(level, &one_line(&text.0));
        }
    }
}

/// The message of an event and its fields behind it.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{rest}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
        // Writing to a string does not fail.
        let _ = written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_are_runcs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::open(Some(&path), LogFormat::Json).unwrap();
        log.line("error", "a \"quoted\" thing");
        log.line("error", "last");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(r#"{"level":"error","msg":"a \"quoted\" thing","time":""#), "{text}");
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["msg"], "last");
    }

    #[test]
    fn no_forged_lines() {
        assert_eq!(one_line("a\nb\r"), "a b");
    }
}
