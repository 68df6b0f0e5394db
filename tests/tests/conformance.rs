//! Runs the conformance programs natively and under rsc (or, as the control, another runtime) and compares what they print.
//!
//! `cargo test --test conformance -- [PROGRAM…]`; settings by environment:
//! - `RSC_TEST_RUNTIME`: the runtime, default `rsc-runtime` beside the test binaries; any other name than rsc-runtime is a control;
//! - `RSC_TEST_SUBJECTS`: comma list such as `ptrace-strict-bundle,seccomp-auto-export`, default all;
//! - `RSC_TEST_JOBS`: programs at a time, default 4 (they mostly sleep); `RSC_TEST_VERBOSE=1`: each program's result.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rsc_tests::bundle::{CAPABILITIES, HOSTNAME};
use rsc_tests::command::{Output, kill_group, run};
use rsc_tests::compare::{cases, differences};
use rsc_tests::root;
use rsc_tests::subject::{Site, Subject, run_under};

/// Programs about files run a second time on a tmpfs.
const ON_TMPFS: [&str; 15] = [
    "access",
    "attrs",
    "copy",
    "cwd",
    "dirs",
    "fifo",
    "links",
    "locks",
    "mmap_file",
    "open_errors",
    "open_flags",
    "paths",
    "read_write",
    "rename",
    "seek",
];
/// Programs that run a second time linked dynamically.
const DYNAMIC: [&str; 4] = ["exec", "mmap_file", "threads", "vfork"];
const LIMIT: Duration = Duration::from_secs(40);

/// A program in one of its forms.
#[derive(Debug, Clone)]
struct Program {
    name: String,
    path: String,
    on: &'static str,
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn runtime() -> PathBuf {
    if let Some(path) = std::env::var_os("RSC_TEST_RUNTIME") {
        return path.into();
    }
    let beside = std::env::current_exe().ok();
    beside.and_then(|p| Some(p.parent()?.parent()?.join("rsc-runtime"))).unwrap_or_else(|| "rsc-runtime".into())
}

fn compile(source: &Path, to: &Path, linked: &str) -> Result<()> {
    let flags = [
        "-O1",
        "-Wall",
        "-Wextra",
        "-Wno-unused-result",
        "-Wno-nonnull",
        "-Wno-stringop-overflow",
        "-Wno-stringop-overread",
    ];
    let flags = flags.into_iter().chain(["-Wno-unused-value", linked, "-o"]);
    let out = run(Command::new("gcc").args(flags).arg(to).arg(source), Duration::from_secs(60))?;
    out.expect_code(0, &format!("gcc {}", source.display()))?;
    ensure!(out.stderr.is_empty(), "gcc {}: {}", source.display(), out.stderr);
    Ok(())
}

/// Does `work` for each of `items` in a few threads.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let jobs = std::env::var("RSC_TEST_JOBS").ok().and_then(|j| j.parse().ok()).unwrap_or(4);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|s| {
        for _ in 0..jobs {
            s.spawn(|| {
                while let Some((at, item)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
                {
                    let result = work(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, r)| r).collect()
}

fn build(root: &Path, only: &[String]) -> Result<Vec<Program>> {
    let mut names: Vec<String> = fs::read_dir(sources())?
        .filter_map(|e| Some(e.ok()?.file_name().to_str()?.strip_suffix(".c")?.to_owned()))
        .filter(|n| only.is_empty() || only.contains(n))
        .collect();
    names.sort();
    ensure!(!names.is_empty(), "no program of that name");
    each(&names, |name| {
        let source = sources().join(format!("{name}.c"));
        compile(&source, &root.join("t").join(name), "-static")?;
        if DYNAMIC.contains(&name.as_str()) {
            fs::create_dir_all(root.join("t/dynamic"))?;
            compile(&source, &root.join("t/dynamic").join(name), "-pie")?;
        }
        Ok(())
    })?;
    let mut all = Vec::new();
    for name in names {
        let path = format!("/t/{name}");
        if ON_TMPFS.contains(&name.as_str()) {
            all.push(Program { name: format!("{name}@tmpfs"), path: path.clone(), on: "/tmp" });
        }
        if DYNAMIC.contains(&name.as_str()) {
            all.push(Program { name: format!("{name}@dynamic"), path: format!("/t/dynamic/{name}"), on: "/d" });
        }
        all.push(Program { name, path, on: "/d" });
    }
    Ok(all)
}

fn run_program(subject: Subject, site: &Site, program: &Program) -> Result<Output> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if program.on == "/tmp" {
        // In a sentry's context /tmp is the export's own.
        let at = if matches!(subject, Subject::Remote(..)) { "/dev/shm" } else { "/tmp" };
        return run_under(subject, site, &[&program.path, at]);
    }
    let dir = format!("/d/{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let host = site.root.join(dir.trim_start_matches('/'));
    fs::create_dir(&host)?;
    let out = run_under(subject, site, &[&program.path, &dir]);
    fs::remove_dir_all(&host).with_context(|| format!("remove {}", host.display()))?;
    out
}

/// Differences that are known, with their reason: lines `PROGRAM CASE|* SUBJECT-PREFIX|* REASON`.
fn gaps() -> Vec<[String; 3]> {
    let text = fs::read_to_string(sources().join("gaps.txt")).unwrap_or_default();
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|l| {
            let mut w = l.split_whitespace().map(str::to_owned);
            Some([w.next()?, w.next()?, w.next()?])
        })
        .collect()
}

/// Result of one program under one subject: cases that were equal, cases that are known to differ, and what else was wrong.
struct Result1 {
    equal: usize,
    known: usize,
    wrong: Vec<String>,
}

fn judge(subject: Subject, program: &Program, reference: &Output, got: &Output) -> Result1 {
    let known = gaps();
    let subject = subject.to_string();
    let is_known = |case: &str| {
        known.iter().any(|[p, c, s]| {
            (*p == program.name || program.name.split('@').next() == Some(p))
                && (c == "*" || c == case)
                && (s == "*" || subject.starts_with(s.as_str()))
        })
    };
    let all = differences(&reference.stdout, &got.stdout);
    let (old, new): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| is_known(&d.case));
    let show = |t: &Option<String>| t.as_ref().map_or("nothing".to_owned(), |t| format!("`{t}`"));
    let mut wrong: Vec<_> =
        new.iter().map(|d| format!("{}: {} instead of {}", d.case, show(&d.got), show(&d.wanted))).collect();
    let total = cases(&reference.stdout).len();
    let equal = total.saturating_sub(new.iter().chain(&old).filter(|d| d.wanted.is_some()).count());
    if got.code != reference.code {
        wrong.push(match got.code {
            Some(c) => format!("exit code {c}; stderr: {}", got.stderr.trim_end()),
            None => "did not end".into(),
        });
    }
    Result1 { equal, known: old.len(), wrong }
}

/// A sentry that exports the root, for as long as this lives.
struct Exporter(Child);

impl Exporter {
    fn start(site: &mut Site) -> Result<Self> {
        let binary = site.runtime.with_file_name("sentry");
        let socket = site.work.join("sentry.sock");
        let _ = fs::remove_file(&socket);
        let mut export = std::ffi::OsString::from("root=");
        export.push(&site.root);
        let log = fs::File::create(site.work.join("sentry.log"))?;
        // A program in its context has its name and its capabilities.
        let caps: Vec<_> =
            CAPABILITIES.iter().map(|c| format!("+{}", c.trim_start_matches("CAP_").to_lowercase())).collect();
        let mut command = Command::new("unshare");
        command.args(["--uts", "sh", "-c", "hostname \"$1\"; shift; exec \"$@\"", "sh", HOSTNAME]);
        command.args(["setpriv", &format!("--bounding-set=-all,{}", caps.join(",")), "--inh-caps=-all"]).arg(&binary);
        command.arg("serve").arg("--unix").arg(&socket).arg("--export").arg(export).stdin(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let this = Self(child);
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                let log = fs::read_to_string(site.work.join("sentry.log")).unwrap_or_default();
                bail!("the sentry does not listen on {}: {log}", socket.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        site.sentry = Some(format!("unix://{}", socket.display()));
        Ok(this)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        kill_group(&mut self.0);
    }
}

fn subjects(runtime: &Path) -> Vec<Subject> {
    if runtime.file_name().is_none_or(|n| n != "rsc-runtime") {
        return vec![Subject::Control];
    }
    let wanted = std::env::var("RSC_TEST_SUBJECTS").unwrap_or_default();
    Subject::all().into_iter().filter(|s| wanted.is_empty() || wanted.split(',').any(|w| w == s.to_string())).collect()
}

fn verify(only: &[String]) -> Result<usize> {
    let runtime = runtime();
    ensure!(nix::unistd::geteuid().is_root(), "the conformance tests need root");
    let temp = tempfile::Builder::new().prefix("rsc-conformance-").tempdir()?;
    let root = temp.path().join("rootfs");
    root::busybox(&root)?;
    root::add_libc(&root)?;
    let programs = build(&root, only)?;
    let mut site = Site { root, work: temp.path().join("work"), runtime, sentry: None, limit: LIMIT };
    fs::create_dir(&site.work)?;
    let verbose = std::env::var_os("RSC_TEST_VERBOSE").is_some();

    let references = each(&programs, |p| run_program(Subject::Native, &site, p))?;
    let mut total = 0;
    for (p, r) in programs.iter().zip(&references) {
        ensure!(r.ok() && r.stdout.contains("\nend "), "{} natively: {:?} {} {}", p.name, r.code, r.stdout, r.stderr);
        total += cases(&r.stdout).len();
    }
    let single: BTreeSet<_> = programs.iter().map(|p| p.name.split('@').next()).collect();
    let coverage = fs::read_to_string(sources().join("coverage.txt")).unwrap_or_default();
    let calls: BTreeSet<_> = coverage
        .lines()
        .filter_map(|l| l.split_once(' '))
        .filter(|(_, p)| single.contains(&Some(*p)))
        .map(|(s, _)| s)
        .collect();
    println!("{} programs, {} runs, {total} cases, {} syscalls", single.len(), programs.len(), calls.len());

    let subjects = subjects(&site.runtime);
    let (mut passed, mut failed) = (0, 0);
    let mut by_program: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for subject in &subjects {
        let began = Instant::now();
        // A sentry of its own for each subject: what one does to it is no matter of the next.
        let mut exporter = if subject.needs_export() { Some(Exporter::start(&mut site)?) } else { None };
        let outputs = each(&programs, |p| run_program(*subject, &site, p))?;
        let (mut good, mut equal, mut known) = (0, 0, 0);
        for ((program, reference), got) in programs.iter().zip(&references).zip(&outputs) {
            let r = judge(*subject, program, reference, got);
            equal += r.equal;
            known += r.known;
            if r.wrong.is_empty() {
                good += 1;
                if verbose {
                    println!("ok   {subject} {} ({} cases, {:.1} s)", program.name, r.equal, got.took.as_secs_f32());
                }
            } else {
                println!("FAIL {subject} {}: {}", program.name, r.wrong.join("\n     "));
                by_program.entry(&program.name).or_default().push(subject.to_string());
            }
        }
        if let Some(status) = exporter.as_mut().and_then(|e| e.0.try_wait().ok().flatten()) {
            let log = fs::read_to_string(site.work.join("sentry.log")).unwrap_or_default();
            println!(
                "FAIL {subject}: the sentry ended by itself ({status}): {}",
                log.lines().last().unwrap_or_default()
            );
            failed += 1;
        }
        drop(exporter);
        let bad = programs.len() - good;
        let took = began.elapsed().as_secs_f32();
        println!(
            "{subject}: {good} programs passed, {bad} failed; {equal} of {total} cases equal, {known} known to differ; {took:.0} s"
        );
        passed += good;
        failed += bad;
    }
    for (program, subjects) in &by_program {
        println!("failed: {program} under {}", subjects.join(", "));
    }
    println!("cases {total}, syscalls {}", calls.len());
    println!("{passed} passed, {failed} failed");
    println!("test result: {}. {passed} passed; {failed} failed; 0 ignored", if failed == 0 { "ok" } else { "FAILED" });
    Ok(failed)
}

fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::args().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    match verify(&only) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            println!("conformance: {e:#}");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
            ExitCode::FAILURE
        }
    }
}
