//! `watch`: finds processes that others start by programs in the kernel, stops them, and takes them over.
//!
//! [`targets`] says what the kernel's side looks for, [`facts`] asks again with the whole table of the rules. A process is held by
//! the programs in between, for about a millisecond, and from then on by SIGSTOP; one that is not meant goes on at once. `docs/decisions/0018-ebpf-rules.md` says why so.

mod cgroups;
mod facts;
mod report;
mod targets;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rsc_bpf::selection::Event;
use rsc_bpf::{Held, Sieve};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};

use super::all;
use super::core::Core;
use super::open::{self, World};
use super::rules::Rules;
use super::tracer::Tracer;
use crate::cli::Context;
use crate::cli::args::WatchArgs;
use crate::lifecycle::LifecycleError;
use crate::session::SessionHandle;
use crate::sys::ptrace::Options;
use crate::sys::{host, process};
use facts::Facts;
use report::Report;
use targets::Plan;

/// How often it is looked whether a process has stopped, and how often at most. Mostly the first look finds it so.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 1000;
/// The host's pid namespace, of which the kernel's side has its pids. linux/proc_ns.h, PROC_PID_INIT_INO.
const HOST_PIDS: &str = "pid:[4026531836]";

/// Watches until it is interrupted; 0.
pub fn run(context: &Context, args: &WatchArgs) -> Result<u8, LifecycleError> {
    let list = args.syscalls.join(",");
    let rules = Rules::load(Some(&args.rules), Some(list.as_str()).filter(|list| !list.is_empty()))?;
    if rules.watched().is_empty() {
        return Err(LifecycleError::Refused(format!(
            "{} has no [[watch]]; say which processes to take over, like executable = \"/usr/bin/app\"",
            args.rules.display()
        )));
    }
    let pids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if !pids.as_os_str().is_empty() && pids.as_os_str() != HOST_PIDS {
        return Err(LifecycleError::Refused(
            "watch must run in the host's pid namespace, not in a container".to_owned(),
        ));
    }
    // What is missing is said before anything is asked of a sentry.
    let seeker = Seeker::new(args, &rules)?;
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    executor.map_err(LifecycleError::io("starting", "the executor"))?.block_on(async {
        if args.dry_run {
            return Watch { seeker, tracer: None }.live(None).await;
        }
        let settings = open::settings_of(context)?;
        let user = args.user.as_deref().map(all::parse_user).transpose().map_err(LifecycleError::Refused)?;
        let world = World { export: args.export.clone(), cwd: args.cwd.clone(), user, ..World::default() };
        let (core, mut session) = open::open(&settings, &world, rules).await?;
        let there = world.cwd.map(String::into_bytes);
        let tracer = Tracer::new(Rc::clone(&core), Options::VISITED, there);
        let done = Watch { seeker, tracer: Some(Rc::clone(&tracer)) }.live(Some((&core, &mut session))).await;
        session.close("nothing is watched any more").await;
        done
    })
}

/// Finds processes, and judges which are meant.
struct Seeker {
    /// `None`: nobody is looked for any more.
    sieve: RefCell<Option<Sieve>>,
    plan: Plan,
    watched: Vec<super::rules::Watched>,
    report: RefCell<Report>,
}

impl Seeker {
    fn new(args: &WatchArgs, rules: &Rules) -> Result<Rc<Seeker>, LifecycleError> {
        let plan = Plan::new(rules.watched());
        for folder in &plan.absent {
            let folder = folder.display();
            tracing::warn!("{folder} is not there: no program below it is found before watch is started again");
        }
        let sieve = Sieve::load(&plan.selection);
        let sieve = sieve.map_err(|error| LifecycleError::Refused(format!("watching: {error}")))?;
        let name = args.report.as_deref();
        let shown = name.map_or("the report".to_owned(), |name| name.display().to_string());
        let report = Report::open(name).map_err(LifecycleError::io("writing", shown))?;
        let lines = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if lines.lines().all(|line| line.starts_with("0::")) {
            cgroups::teach(&sieve, &plan, rules.watched());
        }
        let watched = rules.watched().to_vec();
        Ok(Rc::new(Seeker { sieve: RefCell::new(Some(sieve)), plan, watched, report: RefCell::new(report) }))
    }

    /// What tells of events.
    fn events(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let sieve = self.sieve.borrow();
        let sieve = sieve.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        host::watch(sieve.as_fd().try_clone_to_owned()?, Interest::READABLE)
    }

    fn next(&self) -> Option<Event> {
        self.sieve.borrow_mut().as_mut()?.next_event()
    }

    /// The table that means a process; or else the targets that a later call of it may be meant by.
    fn judge(&self, event: &Event, facts: &Facts) -> Result<String, u64> {
        let sieve = self.sieve.borrow();
        if let (Some(sieve), Some(path)) = (&*sieve, facts.cgroup()) {
            sieve.learn_cgroup(event.cgroup, cgroups::wanted(&self.plan, &self.watched, path));
        }
        let mut other_calls = HashSet::new();
        for table in self.plan.tables_of(event.mask) {
            let Some(watched) = self.watched.get(table).filter(|watched| facts.meet(watched)) else { continue };
            if event.call.as_ref().is_none_or(|call| facts::call_meets(watched, event.pid, call)) {
                return Ok(watched.origin.to_string());
            }
            other_calls.insert(table);
        }
        Err(self.plan.mask_of(|table| other_calls.contains(&table)))
    }

    /// A process is ours: the kernel's side does not look at it any more.
    fn keep(&self, pid: i32) -> Held {
        // Once nobody is looked for, what was found waits no more in the kernel.
        self.sieve.borrow().as_ref().map_or(Held::BySignal, |sieve| sieve.keep(pid))
    }

    /// A process that was found is not ours. `retry` as [`Seeker::judge`] says it.
    fn pass(&self, pid: i32, retry: u64) -> Held {
        self.sieve.borrow().as_ref().map_or(Held::BySignal, |sieve| sieve.pass(pid, retry))
    }

    /// Looks for nobody any more. Those that were stopped and not seen to are let go.
    async fn stop(&self) {
        let Some(mut sieve) = self.sieve.borrow_mut().take() else { return };
        match sieve.lost() {
            0 => {}
            lost => tracing::warn!("{lost} processes were found faster than they could be taken over, and ran on"),
        }
        sieve.detach();
        while let Some(event) = sieve.next_event() {
            if sieve.pass(event.pid, 0) == Held::InKernel {
                continue;
            }
            end_stop(event.pid, None).await;
        }
    }
}

struct Watch {
    seeker: Rc<Seeker>,
    /// `None`: it is only told of processes.
    tracer: Option<Rc<Tracer>>,
}

impl Watch {
    async fn live(self, session: Option<(&Rc<Core>, &mut SessionHandle)>) -> Result<u8, LifecycleError> {
        let taken = |kind| signal(kind).map_err(LifecycleError::io("watching for", "signals"));
        let (mut interrupt, mut terminate) = (taken(SignalKind::interrupt())?, taken(SignalKind::terminate())?);
        if let Err(errno) = process::be_prompt() {
            // Found processes wait in the kernel for an answer, a moment only.
            tracing::debug!("no real-time priority ({errno}): more processes are held by SIGSTOP");
        }
        let failed = || LifecycleError::io("watching", "the eBPF ring buffer");
        let events = self.seeker.events().map_err(failed())?;
        if let Some(tracer) = &self.tracer {
            let seeker = Rc::clone(&self.seeker);
            tracer.on_over(move |process, status| seeker.report.borrow_mut().over(process, Some(status)));
        }
        let (core, serve) = match session {
            Some((core, session)) => (Some(core), Some(core.client().serve(session))),
            None => (None, None),
        };
        let drive = async {
            match &self.tracer {
                Some(tracer) => tracer.drive().await,
                None => std::future::pending().await,
            }
        };
        let serve = async {
            match serve {
                Some(serve) => serve.await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(drive, serve);
        let mut lost = false;
        let mut seen = HashSet::new();
        self.seeker.report.borrow_mut().watching(self.seeker.watched.len());
        loop {
            let ends = tokio::select! {
                biased;
                driven = &mut drive => return driven.map_err(LifecycleError::io("tracing", "processes")).map(|()| 0),
                () = changed(self.tracer.as_ref()) => {
                    self.know(&mut seen);
                    false
                }
                reason = &mut serve, if !lost => {
                    lost = true;
                    tracing::error!("the session with the sentry is lost ({reason}): remote calls fail with EIO from now on");
                    false
                }
                ready = events.readable() => {
                    // Before the events are taken, so that none that comes then is missed.
                    ready.map_err(failed())?.clear_ready();
                    while let Some(event) = self.seeker.next() {
                        self.on_event(&event);
                    }
                    false
                }
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
            };
            if ends {
                let again = self.seeker.sieve.borrow().is_none();
                self.seeker.stop().await;
                match core.map_or(0, |core| core.placeholders.len()) {
                    open if open > 0 && !again => tracing::warn!(
                        "nobody is looked for any more; {open} remote descriptors are open, and their users are served until these are closed. Ctrl-C once more leaves them failing"
                    ),
                    _ => self.leave(),
                }
            }
            let idle = self.tracer.as_ref().is_none_or(|tracer| tracer.is_idle());
            if self.seeker.sieve.borrow().is_none() {
                if idle {
                    self.tell_of_released();
                    return Ok(0);
                }
                if core.is_none_or(|core| core.placeholders.is_empty()) {
                    self.leave();
                }
            }
        }
    }

    fn leave(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.leave();
        }
    }

    /// New processes of those that were taken over are ours too.
    fn know(&self, seen: &mut HashSet<i32>) {
        let Some(tracer) = &self.tracer else { return };
        let processes = tracer.processes();
        let now: HashSet<i32> = processes.iter().map(|process| process.tgid).collect();
        for process in processes.iter().filter(|process| !seen.contains(&process.tgid)) {
            // While it can still be asked.
            process.executable();
        }
        for pid in now.difference(seen) {
            self.seeker.keep(*pid);
        }
        *seen = now;
    }

    fn tell_of_released(&self) {
        for process in self.tracer.iter().flat_map(|tracer| tracer.processes()) {
            self.seeker.report.borrow_mut().over(&process, None);
        }
    }

    /// At once, as far as it goes: the process waits in the kernel, for a moment only.
    fn on_event(&self, event: &Event) {
        let (seeker, tracer, pid) = (&self.seeker, self.tracer.as_ref(), event.pid);
        let is_ours = tracer.is_some_and(|tracer| tracer.holds(pid));
        let judged = match Facts::of(event).filter(|_| !is_ours) {
            Some(facts) => seeker.judge(event, &facts).map(|why| (why, facts)),
            None => Err(0),
        };
        let (held, ours) = match judged {
            Ok((why, facts)) => {
                let attached = tracer.map_or(Ok(()), |tracer| tracer.attach(pid));
                let error = attached.err().map(|error| error.to_string());
                let ours = tracer.filter(|_| error.is_none());
                let held = if ours.is_some() { seeker.keep(pid) } else { seeker.pass(pid, 0) };
                seeker.report.borrow_mut().found(pid, &facts, &why, event.call.as_ref(), error.as_deref());
                (held, ours.cloned())
            }
            Err(_) if is_ours => (seeker.keep(pid), None),
            Err(retry) => (seeker.pass(pid, retry), None),
        };
        if held == Held::BySignal {
            tokio::task::spawn_local(end_stop(pid, ours));
        }
    }
}

async fn changed(tracer: Option<&Rc<Tracer>>) {
    match tracer {
        Some(tracer) => tracer.changed().await,
        None => std::future::pending().await,
    }
}

/// Ends the stop of a process that was found, as its tracer if that is us. It is told of a moment before it has stopped.
async fn end_stop(pid: i32, tracer: Option<Rc<Tracer>>) {
    for _ in 0..LOOKS {
        match facts::is_held(pid) {
            Some(false) => tokio::time::sleep(LOOK).await,
            Some(true) => {
                match tracer {
                    Some(tracer) => tracer.end_stop(pid),
                    // It may have been killed.
                    None => drop(process::kill(pid, libc::SIGCONT)),
                }
                return;
            }
            None => return,
        }
    }
    // It could not be stopped (init cannot), or somebody has continued it.
}
