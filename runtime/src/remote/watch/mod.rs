//! `watch`: finds processes that others start by programs in the kernel, stops them, and takes them over.
//!
//! [`targets`] says what the kernel's side looks for, [`facts`] asks again with the whole table of the rules. A process is held by
//! SIGSTOP in between; one that is not meant is let go at once. `docs/decisions/0018-ebpf-rules.md` says why so.

mod cgroups;
mod facts;
mod report;
mod targets;

use std::os::fd::AsFd as _;
use std::time::Duration;

use rsc_bpf::Sieve;
use rsc_bpf::selection::Event;
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};

use super::rules::Rules;
use crate::cli::Context;
use crate::cli::args::WatchArgs;
use crate::lifecycle::LifecycleError;
use crate::sys::{host, process};
use facts::Facts;
use report::Report;
use targets::Plan;

/// How often it is looked whether a process has stopped, and how often at most. Mostly the first look finds it so.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 1000;

/// Watches until it is interrupted; 0.
pub fn run(_context: &Context, args: &WatchArgs) -> Result<u8, LifecycleError> {
    let rules = Rules::load(Some(&args.rules), None)?;
    if rules.watched().is_empty() {
        return Err(LifecycleError::Refused(format!(
            "{} has no [[watch]]; say which processes to take over, like executable = \"/usr/bin/app\"",
            args.rules.display()
        )));
    }
    if !args.dry_run {
        return Err(LifecycleError::Unsupported("watch without --dry-run is not there yet".to_owned()));
    }
    let plan = Plan::new(rules.watched());
    for folder in &plan.absent {
        tracing::warn!("{} is not there: no program below it is found before watch is started again", folder.display());
    }
    let sieve = Sieve::load(&plan.selection).map_err(|error| LifecycleError::Refused(format!("watching: {error}")))?;
    let name = args.report.as_deref();
    let report = Report::open(name)
        .map_err(LifecycleError::io("writing", name.map_or("the report".into(), |name| name.display().to_string())))?;
    let watch = Watch { sieve, plan, rules, report };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let executor = executor.map_err(LifecycleError::io("starting", "the executor"))?;
    let local = tokio::task::LocalSet::new();
    executor.block_on(local.run_until(watch.live()))
}

struct Watch {
    sieve: Sieve,
    plan: Plan,
    rules: Rules,
    report: Report,
}

/// What is done with a process that has passed the kernel's side.
enum Sentence {
    /// No table means it.
    LetGo,
    /// The table with this index does.
    Meant(usize),
}

impl Watch {
    async fn live(mut self) -> Result<u8, LifecycleError> {
        let taken = |kind| signal(kind).map_err(LifecycleError::io("watching for", "signals"));
        let (mut interrupt, mut terminate) = (taken(SignalKind::interrupt())?, taken(SignalKind::terminate())?);
        let fd = self.sieve.as_fd().try_clone_to_owned();
        let watched = fd.and_then(|fd| host::watch(fd, Interest::READABLE));
        let events = watched.map_err(LifecycleError::io("watching", "the eBPF ring buffer"))?;
        let unified = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines().count() == 1;
        if unified {
            cgroups::teach(&self.sieve, &self.plan, self.rules.watched());
        }
        self.report.watching(self.rules.watched().len());
        loop {
            tokio::select! {
                ready = events.readable() => {
                    // Before the events are taken, so that none that comes then is missed.
                    ready.map_err(LifecycleError::io("watching", "the eBPF ring buffer"))?.clear_ready();
                    while let Some(event) = self.sieve.next_event() {
                        self.on_event(&event);
                    }
                }
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
        }
        // Nobody is stopped from here on; those that are must not stay so.
        while let Some(event) = self.sieve.next_event() {
            let_go(event.pid).await;
        }
        match self.sieve.lost() {
            0 => {}
            lost => tracing::warn!("{lost} processes were found faster than they could be taken over, and ran on"),
        }
        Ok(0)
    }

    fn on_event(&mut self, event: &Event) {
        // It was killed meanwhile.
        let Some(facts) = Facts::of(event.pid, event.uid) else { return };
        if let Some(path) = facts.cgroup() {
            self.sieve.learn_cgroup(event.cgroup, cgroups::wanted(&self.plan, self.rules.watched(), path));
        }
        if let Sentence::Meant(table) = self.judge(event, &facts) {
            let why = self.rules.watched().get(table).map(|watched| watched.origin.to_string()).unwrap_or_default();
            tracing::info!("process {} ({}) is meant by {why}", event.pid, facts.executable.display());
            self.report.found(event.pid, &facts, &why, event.call.as_ref(), None);
        }
        tokio::task::spawn_local(let_go(event.pid));
    }

    fn judge(&self, event: &Event, facts: &Facts) -> Sentence {
        let mut other_calls = Vec::new();
        for table in self.plan.tables_of(event.mask) {
            let Some(watched) = self.rules.watched().get(table).filter(|watched| facts.meet(watched)) else { continue };
            if event.call.as_ref().is_none_or(|call| facts::call_meets(watched, event.pid, call)) {
                return Sentence::Meant(table);
            }
            other_calls.push(table);
        }
        if !other_calls.is_empty() {
            self.sieve.retry(event.pid, self.plan.mask_of(|table| other_calls.contains(&table)));
        }
        Sentence::LetGo
    }
}

/// Waits until a process that was found is stopped: it is told of a moment before.
async fn settled(pid: i32) -> bool {
    for _ in 0..LOOKS {
        match facts::is_held(pid) {
            Some(true) => return true,
            Some(false) => tokio::time::sleep(LOOK).await,
            None => return false,
        }
    }
    false
}

/// Ends its stop.
async fn let_go(pid: i32) {
    if settled(pid).await {
        // It may have been killed.
        let _ = process::kill(pid, libc::SIGCONT);
    }
}
