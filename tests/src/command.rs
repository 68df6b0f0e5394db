//! Running a program with a time limit: its output, its status, and nothing of it alive afterwards.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code, or 128 + signal; `None`: it did not end in time and was killed.
    pub code: Option<i32>,
    /// Standard output, at most 16 MiB.
    pub stdout: String,
    /// Standard error, at most 16 MiB.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Output {
    /// Whether it ended by itself with exit code 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Fails with everything known unless the exit code is `code`.
    ///
    /// # Errors
    /// The code is another one.
    pub fn expect_code(&self, code: i32, what: &str) -> Result<&Self> {
        anyhow::ensure!(
            self.code == Some(code),
            "{what}: exit code {:?}, not {code}; stdout: {}; stderr: {}",
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        );
        Ok(self)
    }
}

const MOST: u64 = 16 << 20;

fn collect(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // A reader that fails has what it has read so far.
            let _ = from.take(MOST).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Kills the process group that `child` leads, and reaps it.
pub fn kill_group(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// Runs `command` in a process group of its own, at most for `limit`. Standard input is what the caller set, else /dev/null.
///
/// # Errors
/// The program cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let began = Instant::now();
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let mut pause = Duration::from_millis(1);
    let code = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if began.elapsed() > limit {
            kill_group(&mut child);
            break None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let took = began.elapsed();
    // Whatever still holds the pipes belongs to the group: without this a straggler would hold up the reading for ever.
    if let Ok(pid) = i32::try_from(child.id()) {
        let waiting = Instant::now();
        while !(out.is_finished() && err.is_finished()) && waiting.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let waiting = Instant::now();
    while !(out.is_finished() && err.is_finished()) && waiting.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(2));
    }
    let text = |t: thread::JoinHandle<String>| {
        if t.is_finished() {
            t.join().unwrap_or_default()
        } else {
            "(output still held open by a stray process)".into()
        }
    };
    Ok(Output { code, stdout: text(out), stderr: text(err), took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_code() {
        let o =
            run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), Duration::from_secs(10)).unwrap();
        assert_eq!((o.code, o.stdout.as_str(), o.stderr.as_str()), (Some(3), "out\n", "err\n"));
    }

    #[test]
    fn a_signal_is_128_and_more() {
        let o = run(Command::new("sh").args(["-c", "kill -TERM $$"]), Duration::from_secs(10)).unwrap();
        assert_eq!(o.code, Some(143));
    }

    #[test]
    fn the_limit_kills_the_group() {
        let o = run(Command::new("sh").args(["-c", "sleep 100 & sleep 100"]), Duration::from_millis(200)).unwrap();
        assert_eq!(o.code, None);
    }
}
