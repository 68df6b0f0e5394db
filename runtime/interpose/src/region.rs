//! Marked regions: stretches of a thread's code whose calls are decided on terms of their own.
//!
//! A thread has a stack of them. No destructors: calls are made until the very end of a thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use rsc_proto::v1::BrokerSettings;
use rsc_sdk::Error;
use rsc_sdk::broker::environment;
use rsc_sdk::broker::terms::Terms;
use rsc_sdk::sys::shared::Shared;

use crate::start;

/// Regions within each other at most.
const DEPTH_MAX: usize = 64;

/// The terms of threads without a region. Empty: nothing is asked about.
static OUTSIDE: Shared<Terms> = Shared::empty();
/// Rules decide there, as in a region.
static DECIDED: AtomicBool = AtomicBool::new(false);

struct Stack {
    depth: Cell<usize>,
    levels: [Cell<Option<&'static Terms>>; DEPTH_MAX],
}

thread_local! {
    static STACK: Stack = const { Stack { depth: Cell::new(0), levels: [const { Cell::new(None) }; DEPTH_MAX] } };
}

/// Sets what counts without a region. `decided`: rules decide there.
pub(crate) fn set_outside(terms: &'static Terms, decided: bool) {
    DECIDED.store(decided, Ordering::Relaxed);
    OUTSIDE.set(terms);
}

/// The terms without a region.
pub(crate) fn outside() -> Option<&'static Terms> {
    OUTSIDE.get()
}

fn innermost() -> Option<&'static Terms> {
    STACK.with(|stack| stack.levels.get(stack.depth.get().checked_sub(1)?)?.get())
}

/// The terms of the calling thread's calls now. `None`: all are this machine's.
pub(crate) fn terms() -> Option<&'static Terms> {
    let outside = OUTSIDE.get()?;
    Some(innermost().unwrap_or(outside))
}

/// Whether rules decide about the calling thread's calls now.
pub(crate) fn is_decided() -> bool {
    DECIDED.load(Ordering::Relaxed) || innermost().is_some()
}

/// Begins a region: these calls, behind the rules of the process's settings, or what the settings say.
pub(crate) fn begin(syscalls: Option<&str>) -> Result<(), Error> {
    let settings = start::settings()?;
    let syscalls = syscalls.map_or_else(|| settings.syscalls.clone(), str::to_owned);
    if syscalls.is_empty() && settings.rules.is_empty() {
        return Err(Error::EmptyRegion);
    }
    let terms = Terms::of(&environment::socket(), BrokerSettings { syscalls, ..settings })?;
    terms.open()?;
    STACK.with(|stack| {
        let depth = stack.depth.get();
        stack.levels.get(depth).ok_or(Error::TooDeep)?.set(Some(terms));
        stack.depth.set(depth + 1);
        Ok(())
    })
}

/// Ends the innermost one.
pub(crate) fn end() -> Result<(), Error> {
    STACK.with(|stack| {
        stack.depth.set(stack.depth.get().checked_sub(1).ok_or(Error::NoRegion)?);
        Ok(())
    })
}
